//! Model checks of the protocols in `README.md`: loom runs every interleaving that the C11 memory model allows.
//! Run with `make test-loom`.
#![cfg(loom)]

use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::sync::{Arc, Mutex};
use loom::thread;
use rain_pool::{Cancelled, Released, SessionGraph};

/// Counts how often values are dropped.
struct Value(std::sync::Arc<std::sync::atomic::AtomicUsize>);

impl Drop for Value {
    fn drop(&mut self) {
        self.0.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
    }
}

type Graph = SessionGraph<std::sync::Arc<Value>>;

fn value(drops: &std::sync::Arc<std::sync::atomic::AtomicUsize>) -> std::sync::Arc<Value> {
    std::sync::Arc::new(Value(drops.clone()))
}

#[test]
fn a_consumer_linked_while_its_input_is_supplied_is_ready_once_and_sees_it() {
    loom::model(|| {
        let drops = std::sync::Arc::default();
        let graph = Arc::new(Graph::new());
        graph.claim(0); // the producer's
        graph.claim(0); // the consumer's
        let ready = Arc::new(AtomicUsize::new(0));
        let producer = {
            let (graph, ready, value) = (graph.clone(), ready.clone(), value(&drops));
            thread::spawn(move || {
                graph.supply(0, value, |task| {
                    assert_eq!(task, 3);
                    assert!(graph.value(0).is_some());
                    ready.fetch_add(1, Ordering::Relaxed);
                });
            })
        };
        if graph.link(3, &[0], 0) {
            assert!(graph.value(0).is_some());
            ready.fetch_add(1, Ordering::Relaxed);
        }
        producer.join().unwrap();
        assert_eq!(ready.load(Ordering::Relaxed), 1);
        assert_eq!(graph.release(0), Released::Dropped);
        assert_eq!(drops.load(std::sync::atomic::Ordering::SeqCst), 1);
    });
}

#[test]
fn of_two_producers_one_makes_the_consumer_ready_and_both_values_are_seen() {
    loom::model(|| {
        let drops = std::sync::Arc::default();
        let graph = Arc::new(Graph::new());
        for object in [0, 1, 0, 1] {
            graph.claim(object);
        }
        assert!(!graph.link(2, &[0, 1], 0));
        let ready = Arc::new(AtomicUsize::new(0));
        let producers: Vec<_> = [0, 1]
            .into_iter()
            .map(|object| {
                let (graph, ready, value) = (graph.clone(), ready.clone(), value(&drops));
                thread::spawn(move || {
                    graph.supply(object, value, |_| {
                        assert!(graph.value(0).is_some() && graph.value(1).is_some());
                        ready.fetch_add(1, Ordering::Relaxed);
                    });
                })
            })
            .collect();
        for producer in producers {
            producer.join().unwrap();
        }
        assert_eq!(ready.load(Ordering::Relaxed), 1);
    });
}

#[test]
fn two_consumers_join_the_list_while_it_closes() {
    loom::model(|| {
        let drops = std::sync::Arc::default();
        let graph = Arc::new(Graph::new());
        for _ in 0..3 {
            graph.claim(0);
        }
        let ready = Arc::new(Mutex::new(Vec::new()));
        let producer = {
            let (graph, ready, value) = (graph.clone(), ready.clone(), value(&drops));
            thread::spawn(move || {
                graph.supply(0, value, |task| ready.lock().unwrap().push(task));
            })
        };
        for task in [1, 2] {
            if graph.link(task, &[0], task - 1) {
                ready.lock().unwrap().push(task);
            }
        }
        producer.join().unwrap();
        let mut ready = ready.lock().unwrap().clone();
        ready.sort_unstable();
        assert_eq!(ready, [1, 2]);
    });
}

#[test]
fn the_last_of_producer_and_pin_drops_the_value_once() {
    loom::model(|| {
        let drops = std::sync::Arc::default();
        let graph = Arc::new(Graph::new());
        graph.claim(0); // the producer's
        graph.claim(0); // a pin that is taken back before or after the value is there
        let producer = {
            let (graph, value) = (graph.clone(), value(&drops));
            thread::spawn(move || graph.supply(0, value, |_| panic!("nobody waits")))
        };
        let released = graph.release(0);
        let supplied = producer.join().unwrap();
        assert_ne!(released, supplied);
        assert_eq!(drops.load(std::sync::atomic::Ordering::SeqCst), 1);
    });
}

#[test]
fn readers_are_done_before_the_value_is_dropped() {
    loom::model(|| {
        let drops = std::sync::Arc::default();
        let graph = Arc::new(Graph::new());
        for _ in 0..3 {
            graph.claim(0);
        }
        graph.supply(0, value(&drops), |_| {});
        let readers: Vec<_> = (0..2)
            .map(|_| {
                let graph = graph.clone();
                thread::spawn(move || {
                    assert!(graph.value(0).is_some());
                    graph.release(0)
                })
            })
            .collect();
        let dropped = readers.into_iter().map(|r| r.join().unwrap()).filter(|r| *r == Released::Dropped).count();
        assert_eq!(dropped, 1);
        assert_eq!(drops.load(std::sync::atomic::Ordering::SeqCst), 1);
    });
}

#[test]
fn an_object_is_shared_while_its_last_claim_is_given_up_or_not_at_all() {
    loom::model(|| {
        let drops = std::sync::Arc::default();
        let graph = Arc::new(Graph::new());
        graph.claim(0); // the producer's
        graph.claim(0); // the consumer's
        graph.supply(0, value(&drops), |_| {});
        let consumer = {
            let graph = graph.clone();
            thread::spawn(move || {
                graph.release(0);
            })
        };
        let shared = graph.share(0);
        consumer.join().unwrap();
        assert!(graph.share(0).is_none());
        let held = usize::from(shared.is_some());
        assert_eq!(drops.load(std::sync::atomic::Ordering::SeqCst), 1 - held);
        drop(shared);
        assert_eq!(drops.load(std::sync::atomic::Ordering::SeqCst), 1);
    });
}

/// Forgets the task 3, which reads object 0, and objects, and once more what was put off.
fn forget(graph: &Graph, objects: std::ops::Range<u32>) {
    for _ in 0..2 {
        graph.forget([(3, 0..1)], objects.clone());
    }
}

#[test]
fn an_object_is_given_back_after_its_last_reader_has_done_with_it() {
    loom::model(|| {
        let drops = std::sync::Arc::default();
        let graph = Arc::new(Graph::new());
        graph.claim(0); // the producer's
        graph.claim(0); // the readers'
        graph.claim(0);
        graph.supply(0, value(&drops), |_| {});
        let readers: Vec<_> = (0..2)
            .map(|_| {
                let graph = graph.clone();
                thread::spawn(move || {
                    assert!(graph.value(0).is_some());
                    graph.release(0);
                })
            })
            .collect();
        forget(&graph, 0..1);
        for reader in readers {
            reader.join().unwrap();
        }
        forget(&graph, 0..1);
        assert_eq!(drops.load(std::sync::atomic::Ordering::SeqCst), 1);
        // It is as if it had never been there.
        graph.claim(0);
        graph.supply(0, value(&drops), |_| {});
        assert_eq!(drops.load(std::sync::atomic::Ordering::SeqCst), 2);
    });
}

#[test]
fn a_task_that_is_cancelled_while_it_gets_ready_is_given_back_once() {
    loom::model(|| {
        let drops = std::sync::Arc::default();
        let graph = Arc::new(Graph::new());
        graph.claim(0); // the producer's
        graph.claim(0); // the consumer's
        assert!(!graph.link(3, &[0], 0));
        let producer = {
            let (graph, value) = (graph.clone(), value(&drops));
            thread::spawn(move || {
                let mut ready = 0;
                graph.supply(0, value, |task| {
                    // A worker finds it, and that it is cancelled, or runs it.
                    assert_eq!(task, 3);
                    ready += 1;
                });
                if ready > 0 {
                    graph.release(0);
                    graph.set_over(3);
                }
                ready
            })
        };
        let cancelled = graph.cancel_task(3, false);
        if cancelled == Cancelled::Waiting {
            graph.release(0);
        }
        forget(&graph, 0..1);
        let ready = producer.join().unwrap();
        assert_eq!(ready, usize::from(cancelled != Cancelled::Waiting));
        forget(&graph, 0..1);
        assert_eq!(drops.load(std::sync::atomic::Ordering::SeqCst), 1);
        // Both are as if they had never been there.
        assert_eq!(graph.cancel_task(3, false), Cancelled::Unknown);
        graph.claim(0);
        graph.claim(0);
        assert!(!graph.link(3, &[0], 0));
    });
}

#[test]
fn of_the_claims_on_an_object_that_is_not_made_the_last_counts_down_who_waited() {
    loom::model(|| {
        let graph = Arc::new(Graph::new());
        graph.claim(0); // the producer's
        graph.claim(0); // the consumer's
        assert!(!graph.link(3, &[0], 0));
        let producer = {
            let graph = graph.clone();
            thread::spawn(move || graph.release(0))
        };
        assert_eq!(graph.cancel_task(3, false), Cancelled::Waiting);
        let released = graph.release(0);
        forget(&graph, 0..1);
        assert_ne!(released, producer.join().unwrap());
        forget(&graph, 0..1);
        graph.claim(0);
        graph.claim(0);
        assert!(!graph.link(3, &[0], 0));
        assert!(!graph.is_done_with(3));
    });
}

#[test]
fn who_has_no_claim_finds_an_object_or_that_it_was_given_back() {
    loom::model(|| {
        let drops = std::sync::Arc::default();
        let graph = Arc::new(Graph::new());
        graph.claim(0); // the producer's
        graph.claim(0); // the server's
        graph.supply(0, value(&drops), |_| {});
        let visitor = {
            let graph = graph.clone();
            thread::spawn(move || drop(graph.share(0)))
        };
        drop(graph.unpin(0));
        graph.forget([], [0]);
        visitor.join().unwrap();
        graph.forget([], [0]);
        assert!(graph.share(0).is_none());
        assert_eq!(drops.load(std::sync::atomic::Ordering::SeqCst), 1);
    });
}
