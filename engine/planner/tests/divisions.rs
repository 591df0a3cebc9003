//! Dividing a graph among governors, and placing tasks as they become ready.

use rain_planner::cluster::Cluster;
use rain_planner::graph::{Graph, Task};
use rain_planner::machine::Machine;
use rain_planner::online::{Policy, run_online};
use rain_planner::partition::divide;
use rain_planner::plan::Plan;
use rain_planner::search::lower_bound;

const OBJECTS: usize = 16;
const SIZE: f64 = 1000.0;

/// Tasks that each read two of the objects: every two have one.
fn all_pairs() -> (Graph, Cluster) {
    let task = |duration: f64, inputs: &[usize], outputs: &[f64], kind: u32| Task {
        duration,
        cpus: 1,
        inputs: inputs.to_vec(),
        outputs: outputs.to_vec(),
        kind,
    };
    let mut tasks: Vec<Task> = (0..OBJECTS).map(|_| task(0.1, &[], &[SIZE], 0)).collect();
    for first in 0..OBJECTS {
        tasks.extend((0..first).map(|second| task(1.0, &[first, second], &[], 1)));
    }
    (Graph::new(&tasks).expect("a graph"), Cluster::new(vec![2; 8], SIZE).expect("a cluster"))
}

/// Tasks in turn on all governors.
fn in_turn(graph: &Graph, cluster: &Cluster) -> Plan {
    let places = (0..graph.tasks()).map(|task| (task % cluster.governors()) as u32).collect();
    Plan { places, priorities: (0..graph.tasks()).map(|task| -(task as f64)).collect(), strict: false }
}

#[test]
fn what_reads_the_same_comes_together() {
    let (graph, cluster) = all_pairs();
    let before = in_turn(&graph, &cluster);
    let after = divide(&graph, &cluster, &before, 1, 7, |_| false, || false).expect("it is small");
    let mut machine = Machine::new(&graph, &cluster);
    let mut replay = |plan: &Plan| {
        let makespan = machine.replay(plan, f64::INFINITY).expect("there is no bound");
        (makespan, machine.received())
    };
    let ((longer, more), (shorter, less)) = (replay(&before), replay(&after));
    assert!(less < 0.8 * more, "{less} bytes move, before {more}");
    assert!(shorter < longer, "{shorter} s, before {longer} s");
    let tasks_of = |governor: u32| after.places.iter().filter(|place| **place == governor).count();
    for governor in 0..8 {
        assert!((8..=30).contains(&tasks_of(governor)), "governor {governor} has {} tasks", tasks_of(governor));
    }
}

#[test]
fn fixed_tasks_stay() {
    let (graph, cluster) = all_pairs();
    let before = in_turn(&graph, &cluster);
    let after = divide(&graph, &cluster, &before, 4, 7, |task| task < 60, || false).expect("it is small");
    assert_eq!(after.places[..60], before.places[..60]);
    assert_ne!(after.places, before.places);
    assert_eq!(divide(&graph, &cluster, &before, 4, 7, |_| false, || true), None, "it ends when it is enough");
}

#[test]
fn tasks_are_placed_as_they_become_ready() {
    let (graph, cluster) = all_pairs();
    let mut machine = Machine::new(&graph, &cluster);
    for (knows_all, patience) in [(true, 0.0), (false, 0.0), (false, 1.0)] {
        let policy = Policy { transfer: 1.0, urgency: 1.0, knows_all, explores: !knows_all, patience };
        let makespan = run_online(&mut machine, &graph, &cluster, policy, || false).expect("it is never enough");
        let bound = lower_bound(&graph, &cluster);
        assert!((bound..=4.0 * bound).contains(&makespan), "{policy:?}: {makespan} s, and the bound is {bound} s");
        for task in 0..graph.tasks() {
            assert!(machine.run(task).finish <= makespan, "{policy:?}: task {task} has run");
        }
        let plan = machine.as_run();
        let again = run_online(&mut machine, &graph, &cluster, policy, || false);
        assert_eq!((again, machine.as_run()), (Some(makespan), plan), "{policy:?}: nothing is drawn");
    }
}
