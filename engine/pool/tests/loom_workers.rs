//! Model checks of how workers sleep, gather and find tasks (`README.md`, "Sleeping", "Queues", "Tasks of several cpus"). Run with `make test-loom`.
#![cfg(loom)]

use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;
use rain_pool::{Gang, GangCall, LocalQueue, Pool, ReadyTask, Sleep};

/// Checks of every interleaving with at most so many preemptions.
fn bounded(preemptions: usize) -> loom::model::Builder {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder
}

/// A queue with relaxed visibility, so that only the sleep protocol can order it.
#[test]
fn no_wake_up_is_lost() {
    loom::model(|| {
        let sleep = Arc::new(Sleep::new(1));
        let work = Arc::new(AtomicUsize::new(0));
        let worker = {
            let (sleep, work) = (sleep.clone(), work.clone());
            thread::spawn(move || {
                let mut is_searcher = false;
                while work.load(Ordering::Relaxed) == 0 {
                    sleep.sleep(0, is_searcher, || work.load(Ordering::Relaxed) > 0);
                    is_searcher = true;
                }
            })
        };
        work.store(1, Ordering::Relaxed);
        sleep.wake();
        worker.join().unwrap();
    });
}

/// Takes a piece of work, if there is one.
fn take(work: &AtomicUsize) -> bool {
    work.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
}

/// A worker that takes one piece of work, and looks for it as the workers of a pool do.
fn take_one(number: usize, stays_awake: bool, sleep: &Sleep, work: &AtomicUsize) {
    let mut is_searcher = stays_awake && sleep.start_searching();
    while !take(work) {
        sleep.sleep(number, is_searcher, || work.load(Ordering::Relaxed) > 0);
        is_searcher = true;
    }
    if is_searcher {
        sleep.has_found(|| work.load(Ordering::Relaxed) > 0);
    }
}

fn two_pieces_wake_two(stays_awake: bool) {
    // The models with a worker that stays awake have many more steps.
    bounded(if stays_awake { 2 } else { 3 }).check(move || {
        let sleep = Arc::new(Sleep::new(2));
        let work = Arc::new(AtomicUsize::new(0));
        let workers: Vec<_> = (0..2)
            .map(|number| {
                let (sleep, work) = (sleep.clone(), work.clone());
                thread::spawn(move || take_one(number, stays_awake, &sleep, &work))
            })
            .collect();
        for _ in 0..2 {
            work.fetch_add(1, Ordering::Relaxed);
            sleep.wake();
        }
        for worker in workers {
            worker.join().unwrap();
        }
    });
}

/// A worker that was called while it fell asleep falls asleep again before whoever called it has rung.
#[test]
fn a_late_ring_counts_once() {
    bounded(5).check(|| {
        let sleep = Arc::new(Sleep::new(1));
        let work = Arc::new(AtomicUsize::new(0));
        let worker = {
            let (sleep, work) = (sleep.clone(), work.clone());
            thread::spawn(move || {
                for _ in 0..2 {
                    take_one(0, false, &sleep, &work);
                }
            })
        };
        for _ in 0..2 {
            work.fetch_add(1, Ordering::Relaxed);
            sleep.wake();
        }
        worker.join().unwrap();
    });
}

/// The second is not woken for while the first looks for work, which wakes the other one then.
#[test]
fn two_pieces_of_work_wake_two_sleepers() {
    two_pieces_wake_two(false);
}

#[test]
fn a_worker_that_stays_awake_wakes_the_other_one() {
    two_pieces_wake_two(true);
}

/// A worker that is woken but has something else to do lets another one do the work.
#[test]
fn a_searcher_that_gives_up_wakes_another_one() {
    bounded(3).check(|| {
        let sleep = Arc::new(Sleep::new(2));
        let work = Arc::new(AtomicUsize::new(0));
        let worker = {
            let (sleep, work) = (sleep.clone(), work.clone());
            thread::spawn(move || take_one(0, false, &sleep, &work))
        };
        let other = {
            let (sleep, work) = (sleep.clone(), work.clone());
            thread::spawn(move || {
                if sleep.start_searching() {
                    sleep.has_found(|| work.load(Ordering::Relaxed) > 0);
                }
            })
        };
        work.fetch_add(1, Ordering::Relaxed);
        sleep.wake();
        worker.join().unwrap();
        other.join().unwrap();
    });
}

#[test]
fn shutting_down_wakes_a_worker_that_falls_asleep() {
    loom::model(|| {
        let sleep = Arc::new(Sleep::new(1));
        let worker = {
            let sleep = sleep.clone();
            thread::spawn(move || {
                let mut is_searcher = false;
                while !sleep.is_shut_down() {
                    sleep.sleep(0, is_searcher, || false);
                    is_searcher = true;
                }
            })
        };
        sleep.shut_down();
        worker.join().unwrap();
    });
}

#[test]
fn a_gang_has_one_leader_and_lets_everybody_go() {
    bounded(3).check(|| {
        let gang = Arc::new(Gang::new(2));
        let task = ReadyTask::new(1, 2);
        gang.push(task, 2);
        let join = move |gang: Arc<Gang>, worker: usize| match gang.join(worker, std::time::Duration::MAX, || true) {
            GangCall::Lead { task: led, members, group } => {
                assert_eq!(led, task);
                assert_eq!(members.len(), 2);
                gang.disband(group);
                1
            }
            GangCall::Dismissed | GangCall::OnLeave { .. } => 0,
        };
        let other = {
            let gang = gang.clone();
            thread::spawn(move || join(gang, 1))
        };
        let leaders = join(gang.clone(), 0) + other.join().unwrap();
        assert_eq!(leaders, 1);
        assert!(!gang.is_wanted());
    });
}

#[test]
fn a_wide_task_that_is_withdrawn_keeps_nobody() {
    bounded(3).check(|| {
        let gang = Arc::new(Gang::new(2));
        let (gone, next) = (ReadyTask::new(1, 2), ReadyTask::new(3, 4));
        gang.push(gone, 2);
        let worker = {
            let gang = gang.clone();
            thread::spawn(move || {
                while gang.is_wanted() {
                    match gang.join(1, std::time::Duration::MAX, || true) {
                        GangCall::Lead { task, members, group } => {
                            assert_eq!((task, members), (next, vec![1]));
                            gang.disband(group);
                        }
                        GangCall::Dismissed | GangCall::OnLeave { .. } => {}
                    }
                }
            })
        };
        gang.push(next, 1);
        assert_eq!(gang.withdraw(|task| task == gone), [gone]);
        worker.join().unwrap();
    });
}

/// Tasks of a whole pool that are over when as many have begun as depend on each other: so each needs a worker of its own at the same
/// time, and a worker that sleeps while one is in a queue is a deadlock, which loom finds.
struct Together {
    begun: Mutex<usize>,
    changed: Condvar,
    count: usize,
}

impl Together {
    fn new(count: usize) -> Arc<Self> {
        Arc::new(Self { begun: Mutex::new(0), changed: Condvar::new(), count })
    }

    /// Runs a task; the last one to begin ends the pool.
    fn run(&self, pool: &Pool) {
        let mut begun = self.begun.lock().unwrap();
        *begun += 1;
        if *begun == self.count {
            self.changed.notify_all();
            drop(begun);
            return pool.shut_down();
        }
        while *begun < self.count {
            begun = self.changed.wait(begun).unwrap();
        }
    }
}

fn work(mut queue: LocalQueue, mut run: impl FnMut(&LocalQueue, ReadyTask)) {
    while !queue.pool().is_shut_down() {
        match queue.find() {
            Some(task) => run(&queue, task),
            None => queue.sleep(),
        }
    }
}

fn check_pool(model: impl Fn() + Sync + Send + 'static) {
    let mut builder = bounded(2);
    builder.max_branches = 10_000;
    builder.check(model);
}

#[test]
fn two_tasks_from_outside_get_two_workers() {
    check_pool(|| {
        let (pool, queues) = Pool::new(2);
        let together = Together::new(2);
        let workers: Vec<_> = queues
            .into_iter()
            .map(|queue| {
                let together = together.clone();
                thread::spawn(move || work(queue, |queue, _| together.run(queue.pool())))
            })
            .collect();
        let mut queueing = pool.queueing();
        queueing.add(ReadyTask::new(0, 1), 0);
        queueing.add(ReadyTask::new(0, 2), 0);
        drop(queueing);
        workers.into_iter().for_each(|worker| worker.join().unwrap());
        assert_eq!(*together.begun.lock().unwrap(), 2);
    });
}

#[test]
fn a_task_that_a_busy_worker_has_queued_gets_another_one() {
    check_pool(|| {
        let (pool, queues) = Pool::new(2);
        let together = Together::new(2);
        let workers: Vec<_> = queues
            .into_iter()
            .map(|queue| {
                let together = together.clone();
                let run = move |queue: &LocalQueue, task: ReadyTask| {
                    if task.task() == 1 {
                        queue.leave(ReadyTask::new(0, 2));
                    }
                    together.run(queue.pool());
                };
                thread::spawn(move || work(queue, run))
            })
            .collect();
        pool.queueing().add(ReadyTask::new(0, 1), 0);
        workers.into_iter().for_each(|worker| worker.join().unwrap());
        assert_eq!(*together.begun.lock().unwrap(), 2);
    });
}

#[test]
fn tasks_of_another_session_and_of_a_priority_are_found_by_a_worker_that_falls_asleep() {
    check_pool(|| {
        let (pool, mut queues) = Pool::new(1);
        let queue = queues.pop().unwrap();
        let left = Arc::new(AtomicUsize::new(2));
        let worker = {
            let left = left.clone();
            thread::spawn(move || {
                work(queue, |queue, _| {
                    if left.fetch_sub(1, Ordering::SeqCst) == 1 {
                        queue.pool().shut_down();
                    }
                });
            })
        };
        pool.queueing().add(ReadyTask::new(1, 1), 0);
        pool.queueing().add(ReadyTask::new(0, 2), -3);
        worker.join().unwrap();
        assert_eq!(left.load(Ordering::SeqCst), 0);
    });
}
