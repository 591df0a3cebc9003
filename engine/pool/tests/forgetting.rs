//! Memory of tasks, objects and edges that were forgotten: which chunks there are.
#![cfg(not(loom))]

use rain_pool::{Cancelled, SessionGraph};
use std::ops::Range;
use std::sync::Arc;

type Graph = SessionGraph<Arc<u32>>;

/// Links task `n`, which reads object `n - 1` and makes object `n`, with as many edges.
fn link(graph: &Graph, task: u32) -> bool {
    graph.claim(task);
    if task > 0 {
        graph.claim(task - 1);
    }
    let inputs: Vec<u32> = task.checked_sub(1).into_iter().collect();
    graph.link(task, &inputs, task)
}

fn edges(task: u32) -> Range<u32> {
    task..task + u32::from(task > 0)
}

/// Runs a task as a worker does; who is ready then.
fn run(graph: &Graph, task: u32) -> Vec<u32> {
    let mut ready = Vec::new();
    graph.supply(task, Arc::new(task), |consumer| ready.push(consumer));
    if task > 0 {
        graph.release(task - 1);
    }
    graph.set_over(task);
    ready
}

#[test]
fn a_long_chain_that_is_forgotten_as_it_runs_takes_no_memory() {
    let graph = Graph::new();
    // Each is linked before the one before it has run.
    assert!(link(&graph, 0));
    for task in 0..50_000 {
        assert!(!link(&graph, task + 1));
        assert_eq!(run(&graph, task), [task + 1]);
        graph.forget([(task, edges(task))], [task]);
    }
    assert!(graph.chunks().iter().all(|chunks| *chunks <= 2), "{:?}", graph.chunks());
}

#[test]
fn what_is_pending_holds_its_chunk_and_no_more() {
    let graph = Graph::new();
    for task in 0..10_000 {
        graph.claim(task);
        assert!(graph.link(task, &[], 0));
    }
    for task in (0..10_000).filter(|task| *task != 3000) {
        graph.supply(task, Arc::new(task), |_| {});
        graph.set_over(task);
    }
    let all = || (0..10_000).map(|task| (task, 0..0));
    graph.forget(all(), 0..10_000);
    assert_eq!(graph.chunks(), [2, 2, 0], "that of task 3000, and the newest");
    assert_eq!(graph.value(3000), None);
    graph.supply(3000, Arc::new(3000), |_| {});
    graph.set_over(3000);
    graph.forget(all(), 0..10_000);
    assert_eq!(graph.chunks(), [1, 1, 0]);
}

#[test]
fn cancelled_tasks_are_given_back_when_nobody_comes_to_them_any_more() {
    let graph = Graph::new();
    // 2048 tasks make an object; as many read one each, and one that nobody makes here.
    let never = 9999;
    graph.claim(never);
    for task in 0..2048 {
        graph.claim(task);
        assert!(graph.link(task, &[], 0));
    }
    for task in 2048..4096 {
        graph.claim(task - 2048);
        graph.claim(never);
        assert!(!graph.link(task, &[task - 2048, never], 2 * task));
    }
    let readers = || (2048..4096).map(|task| (task, 2 * task..2 * task + 2));
    for (task, _) in readers() {
        assert_eq!(graph.cancel_task(task, true), Cancelled::Waiting);
        assert_eq!(graph.cancel_task(task, false), Cancelled::Over);
        assert!(graph.is_done_with(task));
        graph.release(task - 2048);
        graph.release(never);
    }
    graph.forget(readers(), []);
    assert_eq!(graph.chunks()[0], 4, "the lists of the objects lead to them");
    for task in 0..2048 {
        graph.supply(task, Arc::new(task), |_| panic!("it was cancelled"));
        graph.set_over(task);
    }
    graph.forget(readers(), []);
    assert_eq!(graph.chunks()[0], 4, "they wait for one more");
    // Its last claim: it will not be made.
    assert_eq!(graph.unpin(never), None);
    assert_eq!(graph.unpin(never), None);
    graph.forget(readers().chain((0..2048).map(|task| (task, 0..0))), (0..2048).chain([never]));
    assert_eq!(graph.chunks(), [1, 1, 1]);
}

#[test]
fn a_begun_task_is_given_back_when_its_worker_says_that_it_is_over() {
    let graph = Graph::new();
    assert!(link(&graph, 0));
    assert!(!link(&graph, 5000));
    assert!(graph.begin(0) && graph.has_begun(0));
    assert_eq!(graph.cancel_task(0, true), Cancelled::Begun);
    assert!(!graph.task_is_cancelled(0));
    graph.put_back(0);
    assert_eq!(graph.cancel_task(0, true), Cancelled::Ready);
    assert!(!graph.begin(0));
    assert!(graph.task_is_cancelled(0) && !graph.is_done_with(0));
    graph.forget([(0, edges(0))], [0]);
    assert_eq!(graph.chunks()[0], 2);
    graph.release(0);
    graph.set_over(0);
    assert!(graph.is_done_with(0));
    assert_eq!(graph.cancel_task(0, false), Cancelled::Over);
    graph.forget([(0, edges(0))], [0]);
    assert_eq!(graph.chunks()[..2], [1, 1], "those of task 5000 and its objects");
    assert!(graph.is_done_with(0) && graph.is_done_with(1_000_000));
    assert_eq!(graph.cancel_task(0, false), Cancelled::Unknown);
}

#[test]
fn an_object_that_was_gone_can_come_from_elsewhere() {
    let graph = Graph::new();
    assert!(link(&graph, 0));
    // Its task is given back, and the claims on what it would have made with it.
    graph.unlink(0, edges(0));
    assert!(graph.is_done_with(0));
    assert_eq!(graph.unpin(0), None);
    // Another governor makes it, and a task here reads it.
    graph.claim(0);
    assert!(!link(&graph, 1));
    let mut ready = Vec::new();
    graph.supply(0, Arc::new(7), |task| ready.push(task));
    assert_eq!((ready, graph.value(0).map(|value| **value)), (vec![1], Some(7)));
    assert_eq!(run(&graph, 1), []);
    assert_eq!((graph.share(0), graph.share(1), graph.share(77_777)), (None, None, None));
    link(&graph, 5000);
    graph.forget([(0, edges(0)), (1, edges(1))], [0, 1]);
    assert_eq!(graph.chunks()[..2], [1, 1]);
}
