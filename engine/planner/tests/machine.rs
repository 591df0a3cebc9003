//! Replays of small graphs, with times worked out by hand. Links carry 10 bytes a second.

use rain_planner::cluster::Cluster;
use rain_planner::graph::{Graph, Task};
use rain_planner::machine::Machine;
use rain_planner::plan::Plan;
use rain_planner::random::Random;

const BANDWIDTH: f64 = 10.0;

fn task(duration: f64, inputs: &[usize], outputs: &[f64]) -> Task {
    Task { duration, cpus: 1, inputs: inputs.to_vec(), outputs: outputs.to_vec(), kind: 0 }
}

fn cluster(cpus: &[u32]) -> Cluster {
    Cluster::new(cpus.to_vec(), BANDWIDTH).expect("a cluster")
}

/// Replays a plan whose earlier tasks go first.
fn replay(tasks: &[Task], cpus: &[u32], places: &[u32]) -> f64 {
    let priorities = (0..tasks.len()).map(|task| -(task as f64)).collect();
    replay_plan(tasks, cpus, &Plan { places: places.to_vec(), priorities, strict: false })
}

fn replay_plan(tasks: &[Task], cpus: &[u32], plan: &Plan) -> f64 {
    let (graph, cluster) = (Graph::new(tasks).expect("a graph"), cluster(cpus));
    Machine::new(&graph, &cluster).replay(plan, f64::INFINITY).expect("there is no bound")
}

#[test]
fn an_object_moves_only_to_another_governor() {
    let tasks = [task(1.0, &[], &[30.0]), task(2.0, &[0], &[])];
    assert_eq!(replay(&tasks, &[1, 1], &[0, 0]), 3.0);
    assert_eq!(replay(&tasks, &[1, 1], &[0, 1]), 6.0);
}

#[test]
fn an_object_moves_once_to_each_governor() {
    let tasks = [task(0.0, &[], &[30.0]), task(1.0, &[0], &[]), task(1.0, &[0], &[])];
    assert_eq!(replay(&tasks, &[1, 2], &[0, 1, 1]), 4.0);
    assert_eq!(replay(&tasks, &[1, 1, 1], &[0, 1, 2]), 7.0, "the sender's link is shared");
}

#[test]
fn an_empty_object_is_a_byte() {
    let tasks = [task(1.0, &[], &[0.0]), task(1.0, &[0], &[])];
    assert_eq!(replay(&tasks, &[1, 1], &[0, 1]), 2.1);
}

#[test]
fn links_are_full_duplex() {
    let tasks = [task(0.0, &[], &[20.0]), task(0.0, &[], &[20.0]), task(1.0, &[0], &[]), task(1.0, &[1], &[])];
    assert_eq!(replay(&tasks, &[1, 1], &[0, 1, 1, 0]), 3.0);
}

#[test]
fn objects_come_while_cpus_are_busy() {
    let tasks = [task(1.0, &[], &[20.0]), task(5.0, &[], &[]), task(1.0, &[0], &[])];
    assert_eq!(replay(&tasks, &[1, 1], &[0, 1, 1]), 6.0);
}

#[test]
fn two_objects_come_from_one_governor_at_once() {
    // Three objects of which the last is small: it waits until one of the others has come.
    let tasks = [task(0.0, &[], &[20.0, 20.0, 1.0]), task(0.0, &[0], &[]), task(0.0, &[1], &[]), task(0.0, &[2], &[])];
    assert_eq!(replay(&tasks, &[1, 1], &[0, 1, 1, 1]), 4.1);
}

#[test]
fn four_objects_come_to_one_governor_at_once() {
    let mut tasks: Vec<Task> = (0..4).map(|_| task(0.0, &[], &[10.0])).collect();
    tasks.push(task(0.0, &[], &[1.0]));
    tasks.push(task(1.0, &[4], &[]));
    tasks.push(task(0.0, &[0, 1, 2, 3], &[]));
    // The small one goes first when it is wanted first: 5 bytes a fifth of the time is not what happens, for four at once are all.
    let priorities = vec![0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0];
    let plan = Plan { places: vec![1, 2, 3, 4, 5, 0, 0], priorities, strict: false };
    assert_eq!(replay_plan(&tasks, &[2; 6], &plan), 5.1, "4 s for the four, then a tenth, then the task");
    let priorities = vec![0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0];
    let plan = Plan { priorities, ..plan };
    assert_eq!(replay_plan(&tasks, &[2; 6], &plan), 4.1, "0.4 s for the first and its fourth part of the link");
}

#[test]
fn what_is_missing_alone_comes_first() {
    // The object of the urgent task comes later: its other input takes long to make.
    let tasks = [
        task(0.0, &[], &[10.0, 10.0, 10.0]),
        task(9.0, &[], &[1.0]),
        task(1.0, &[0, 3], &[]),
        task(1.0, &[1], &[]),
        task(1.0, &[2], &[]),
    ];
    let plan = Plan { places: vec![0, 1, 1, 1, 1], priorities: vec![0.0, 1.0, 5.0, 4.0, 3.0], strict: false };
    let (graph, cluster) = (Graph::new(&tasks).expect("a graph"), cluster(&[1, 4]));
    let mut machine = Machine::new(&graph, &cluster);
    assert_eq!(machine.replay(&plan, f64::INFINITY), Some(10.0));
    assert_eq!((machine.run(3).start, machine.run(4).start), (2.0, 2.0));
    assert_eq!(machine.received(), 30.0);
}

#[test]
fn wide_tasks_wait_for_cpus() {
    let wide = |duration: f64| Task { duration, cpus: 2, ..Task::default() };
    let tasks = [task(2.0, &[], &[]), wide(1.0), task(3.0, &[], &[])];
    assert_eq!(replay(&tasks, &[2], &[0, 0, 0]), 4.0, "the third one passes the second");
    let plan = Plan { places: vec![0, 0, 0], priorities: vec![2.0, 1.0, 0.0], strict: true };
    assert_eq!(replay_plan(&tasks, &[2], &plan), 6.0, "the third one waits");
}

#[test]
fn a_replay_ends_when_its_bound_is_exceeded() {
    let tasks = [task(1.0, &[], &[30.0]), task(2.0, &[0], &[])];
    let (graph, cluster) = (Graph::new(&tasks).expect("a graph"), cluster(&[1, 1]));
    let mut machine = Machine::new(&graph, &cluster);
    let plan = Plan { places: vec![0, 1], priorities: vec![1.0, 0.0], strict: false };
    assert_eq!(machine.replay(&plan, 5.9), None);
    assert!(machine.now() <= 1.0, "it is known when the object is made");
    assert_eq!(machine.replay(&plan, 6.0), Some(6.0), "a machine can be used again");
}

/// A random graph, and a random place for each task.
fn random_case(random: &mut Random, governors: usize) -> (Vec<Task>, Plan) {
    let count = 1 + random.below(60);
    let mut tasks: Vec<Task> = Vec::new();
    let mut objects = 0;
    for _ in 0..count {
        let inputs = (0..random.below(4)).filter(|_| objects > 0).map(|_| random.below(objects)).collect();
        let outputs: Vec<f64> = (0..random.below(3)).map(|_| random.below(60) as f64).collect();
        objects += outputs.len();
        let cpus = 1 + random.below(3) as u32;
        tasks.push(Task { duration: random.below(50) as f64 / 10.0, cpus, inputs, outputs, kind: 0 });
    }
    let places = (0..count).map(|_| random.below(governors) as u32).collect();
    let priorities = (0..count).map(|_| random.unit()).collect();
    (tasks, Plan { places, priorities, strict: random.below(2) == 0 })
}

#[test]
fn random_replays_keep_the_rules() {
    let mut random = Random::new(1);
    for case in 0..400 {
        let governors = 1 + random.below(6);
        let (tasks, plan) = random_case(&mut random, governors);
        let (graph, cluster) = (Graph::new(&tasks).expect("a graph"), cluster(&vec![3; governors]));
        let mut machine = Machine::new(&graph, &cluster);
        let makespan = machine.replay(&plan, f64::INFINITY).expect("there is no bound");
        assert!(makespan >= graph.critical_path() - 1e-9, "case {case}");
        for task in 0..graph.tasks() {
            let run = machine.run(task);
            assert!((run.finish - run.start - graph.duration(task)).abs() < 1e-9, "case {case}, task {task}");
            for object in graph.inputs(task) {
                let object = *object as usize;
                let producer = graph.producer(object);
                let moves = plan.places[producer] != plan.places[task];
                let takes = if moves { graph.size(object) / BANDWIDTH } else { 0.0 };
                assert!(run.start >= machine.run(producer).finish + takes - 1e-9, "case {case}, task {task}");
            }
            let beside = (0..graph.tasks()).filter(|other| {
                let other_run = machine.run(*other);
                plan.places[*other] == plan.places[task] && other_run.start <= run.start && run.start < other_run.finish
            });
            let cpus: u32 = beside.map(|other| graph.cpus(other)).sum();
            assert!(cpus <= 3, "case {case}, task {task}: {cpus} cpus");
        }
        let again = machine.replay(&plan, makespan);
        assert_eq!(again, Some(makespan), "case {case}: a bound that is kept changes nothing");
        assert_eq!(machine.replay(&plan, makespan * 0.999 - 1e-6), None, "case {case}");
    }
}
