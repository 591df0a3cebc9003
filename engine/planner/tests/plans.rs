//! How good plans are, on graphs of several shapes that are made here.

use rain_planner::cluster::Cluster;
use rain_planner::graph::{Graph, Task};
use rain_planner::list::{portfolio, schedule};
use rain_planner::machine::Machine;
use rain_planner::random::Random;
use rain_planner::search::{lower_bound, search};

const MIB: f64 = 1_048_576.0;

fn task(duration: f64, inputs: Vec<usize>, outputs: Vec<f64>) -> Task {
    Task { duration, cpus: 1, inputs, outputs, kind: 0 }
}

fn around(random: &mut Random, middle: f64) -> f64 {
    middle * (0.5 + random.unit())
}

/// Maps of which each sends something to each of the reducers.
fn map_reduce(random: &mut Random, width: usize) -> Vec<Task> {
    let mut tasks: Vec<Task> = Vec::new();
    for _ in 0..width {
        let outputs = (0..width).map(|_| around(random, 8.0 * MIB)).collect();
        tasks.push(task(around(random, 20.0), vec![], outputs));
    }
    for reducer in 0..width {
        let inputs = (0..width).map(|map| map * width + reducer).collect();
        tasks.push(task(around(random, 20.0), inputs, vec![MIB]));
    }
    tasks
}

/// Tasks that read their neighbours above and to the left.
fn grid(random: &mut Random, side: usize) -> Vec<Task> {
    let cell = |row: usize, column: usize| row * side + column;
    let mut tasks = Vec::new();
    for row in 0..side {
        for column in 0..side {
            let above = (row > 0).then(|| cell(row - 1, column));
            let left = (column > 0).then(|| cell(row, column - 1));
            tasks.push(task(around(random, 10.0), above.into_iter().chain(left).collect(), vec![64.0 * MIB]));
        }
    }
    tasks
}

/// A tree that splits and comes together again.
fn splits_and_joins(random: &mut Random, depth: usize) -> Vec<Task> {
    let mut tasks = vec![task(around(random, 5.0), vec![], vec![100.0 * MIB])];
    let mut level = vec![0];
    for _ in 0..depth {
        let parents = level.iter().flat_map(|object| [*object, *object]).collect::<Vec<usize>>();
        level = parents.iter().map(|_| 0).collect();
        for (at, parent) in parents.into_iter().enumerate() {
            level[at] = tasks.len();
            tasks.push(task(around(random, 20.0), vec![parent], vec![around(random, 60.0 * MIB)]));
        }
    }
    while level.len() > 1 {
        let pairs: Vec<Vec<usize>> = level.chunks(2).map(<[usize]>::to_vec).collect();
        level.clear();
        for pair in pairs {
            level.push(tasks.len());
            tasks.push(task(around(random, 10.0), pair, vec![around(random, 60.0 * MIB)]));
        }
    }
    tasks
}

fn independent(random: &mut Random, count: usize) -> Vec<Task> {
    (0..count)
        .map(|_| Task { cpus: 1 + random.below(4) as u32, ..task(around(random, 30.0), vec![], vec![]) })
        .collect()
}

fn instances() -> Vec<(&'static str, Graph, Cluster)> {
    let mut random = Random::new(2026);
    let shapes = [
        ("map and reduce", map_reduce(&mut random, 16)),
        ("grid", grid(&mut random, 12)),
        ("splits and joins", splits_and_joins(&mut random, 6)),
        ("independent", independent(&mut random, 150)),
    ];
    let mut found = Vec::new();
    for (name, tasks) in shapes {
        let graph = Graph::new(&tasks).expect("a graph");
        for (governors, cpus) in [(4, 4), (8, 4)] {
            let cluster = Cluster::new(vec![cpus; governors], 256.0 * MIB).expect("a cluster");
            found.push((name, graph.clone(), cluster));
        }
    }
    found
}

#[test]
fn plans_are_near_the_lower_bound() {
    let mut logarithms = 0.0;
    let instances = instances();
    for (name, graph, cluster) in &instances {
        let found = search(graph, cluster, 0, 1, &|replays| replays as f64 / 600.0).expect("all tasks fit");
        let mut machine = Machine::new(graph, cluster);
        assert_eq!(
            machine.replay(&found.plan, f64::INFINITY),
            Some(found.makespan),
            "{name}: it is as long as was said"
        );
        let list = schedule(graph, cluster, portfolio(graph, cluster)[0]);
        let listed = machine.replay(&list, f64::INFINITY).expect("there is no bound");
        assert!(found.makespan <= listed, "{name}: {} and the first list schedule {listed}", found.makespan);
        let bound = lower_bound(graph, cluster);
        assert!(found.makespan >= bound * (1.0 - 1e-9), "{name}");
        assert!(found.makespan <= bound * 1.4, "{name}: {} and the bound is {bound}", found.makespan);
        logarithms += (found.makespan / bound).ln();
    }
    let mean = (logarithms / instances.len() as f64).exp();
    assert!(mean <= 1.12, "geometric mean over the lower bound: {mean}");
}

#[test]
fn a_plan_follows_from_its_seed() {
    let (_, graph, cluster) = &instances()[4];
    let plan = |seed: u64| search(graph, cluster, seed, 2, &|replays| replays as f64 / 400.0).expect("all tasks fit");
    assert_eq!(plan(5).plan, plan(5).plan);
}

#[test]
fn a_used_up_budget_still_gives_a_plan() {
    for (name, graph, cluster) in &instances() {
        let found = search(graph, cluster, 0, 2, &|_| 1.0).expect("all tasks fit");
        assert_eq!(found.plan.places.len(), graph.tasks(), "{name}");
        assert!(found.makespan.is_finite(), "{name}");
    }
}

#[test]
fn tasks_go_only_where_they_fit() {
    let mut random = Random::new(9);
    let graph = Graph::new(&independent(&mut random, 80)).expect("a graph");
    let cluster = Cluster::new(vec![1, 2, 4], MIB).expect("a cluster");
    let found = search(&graph, &cluster, 0, 1, &|replays| replays as f64 / 300.0).expect("all tasks fit");
    for (task, place) in found.plan.places.iter().enumerate() {
        assert!(graph.cpus(task) <= cluster.cpus(*place as usize), "task {task} on {place}");
    }
}
