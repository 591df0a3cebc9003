//! What a graph or a cluster is refused for.

use rain_planner::cluster::Cluster;
use rain_planner::error::PlanError;
use rain_planner::graph::{Graph, Task};
use rain_planner::kinds::structural;

fn task(inputs: &[usize], outputs: &[f64]) -> Task {
    Task { duration: 1.0, cpus: 1, inputs: inputs.to_vec(), outputs: outputs.to_vec(), kind: 0 }
}

fn refused(tasks: &[Task]) -> PlanError {
    Graph::new(tasks).expect_err("it is wrong")
}

#[test]
fn graphs_are_checked() {
    assert_eq!(refused(&[task(&[0], &[1.0])]), PlanError::Circle { task: 0 });
    assert_eq!(refused(&[task(&[], &[]), task(&[1], &[1.0]), task(&[0], &[1.0])]), PlanError::Circle { task: 1 });
    assert_eq!(refused(&[task(&[3], &[1.0])]), PlanError::UnknownObject { task: 0, object: 3, objects: 1 });
    assert_eq!(refused(&[task(&[], &[-1.0])]), PlanError::Size { object: 0, size: -1.0 });
    assert_eq!(refused(&[Task { cpus: 0, ..task(&[], &[]) }]), PlanError::NoCpus { task: 0 });
    let endless = Task { duration: f64::INFINITY, ..task(&[], &[]) };
    assert_eq!(refused(&[endless]), PlanError::Duration { task: 0, duration: f64::INFINITY });
}

#[test]
fn clusters_are_checked() {
    assert_eq!(Cluster::new(vec![], 1.0).expect_err("empty"), PlanError::EmptyCluster);
    assert_eq!(Cluster::new(vec![1, 0], 1.0).expect_err("no cpu"), PlanError::EmptyCluster);
    assert_eq!(Cluster::new(vec![1], 0.0).expect_err("no link"), PlanError::Bandwidth(0.0));
    let graph = Graph::new(&[task(&[], &[]), Task { cpus: 5, ..task(&[], &[]) }]).expect("a graph");
    let cluster = Cluster::new(vec![2, 4], 1.0).expect("a cluster");
    assert_eq!(cluster.fits(&graph), Err(PlanError::TooWide { task: 1, cpus: 5, largest: 4 }));
}

#[test]
fn tasks_in_any_order_are_put_in_order() {
    let graph = Graph::new(&[task(&[1], &[1.0]), task(&[2], &[1.0]), task(&[], &[1.0])]).expect("a graph");
    assert_eq!(graph.order(), [2, 1, 0]);
    assert_eq!((graph.tail(2), graph.critical_path(), graph.work()), (3.0, 3.0, 3.0));
}

#[test]
fn an_input_that_is_named_twice_is_read_once() {
    let graph = Graph::new(&[task(&[], &[1.0]), task(&[0, 0], &[])]).expect("a graph");
    assert_eq!((graph.inputs(1), graph.consumers(0)), ([0].as_slice(), [1].as_slice()));
}

#[test]
fn kinds_follow_from_the_shape() {
    // Two pairs of a map and what it is read by, and one that gathers.
    let tasks = [
        task(&[], &[1.0]),
        task(&[], &[1.0]),
        task(&[0], &[1.0]),
        task(&[1], &[1.0]),
        task(&[2, 3], &[]),
        task(&[], &[]),
    ];
    assert_eq!(structural(&tasks), [0, 0, 1, 1, 2, 3]);
}
