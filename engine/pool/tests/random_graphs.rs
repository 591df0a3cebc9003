//! Random graphs on real threads: every task runs exactly once, after its inputs; nothing is left over.
#![cfg(not(loom))]

use proptest::prelude::*;
use rain_pool::{GangCall, LocalQueue, Pool, ReadyTask, SessionGraph};
use std::ops::Range;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Inputs of each task; task `n` makes object `n`. Cpus of each task.
#[derive(Clone, Debug)]
struct Plan {
    inputs: Vec<Vec<u32>>,
    cpus: Vec<usize>,
}

fn plan(tasks_max: usize, workers: usize) -> impl Strategy<Value = Plan> {
    let task = (proptest::collection::vec(any::<prop::sample::Index>(), 0..5), 0..100u32);
    proptest::collection::vec(task, 1..tasks_max).prop_map(move |tasks| {
        let inputs = tasks
            .iter()
            .enumerate()
            .map(|(task, (inputs, _))| {
                let earlier = |index: &prop::sample::Index| index.index(task) as u32;
                if task == 0 { Vec::new() } else { inputs.iter().map(earlier).collect() }
            })
            .collect();
        let cpus = tasks.iter().map(|(_, draw)| if *draw < 95 { 1 } else { 2 + *draw as usize % (workers - 1) });
        Plan { inputs, cpus: cpus.map(|cpus| cpus.min(workers)).collect() }
    })
}

struct Run {
    plan: Plan,
    /// Number of the first edge of each task.
    edges: Vec<u32>,
    graph: SessionGraph<Arc<AtomicU32>>,
    runs: Vec<AtomicU32>,
    left: AtomicUsize,
    live: Arc<AtomicUsize>,
    cpus_in_use: AtomicUsize,
    workers: usize,
    /// Tasks that are over and were not forgotten.
    finished: Mutex<Vec<u32>>,
}

impl Run {
    fn edges_of(&self, task: u32) -> Range<u32> {
        let first = self.edges[task as usize];
        first..first + self.plan.inputs[task as usize].len() as u32
    }

    /// Forgets tasks that are over and what they made, which some may still read; as a governor does.
    fn forget(&self) {
        let finished = std::mem::take(&mut *self.finished.lock().unwrap());
        self.graph.forget(finished.iter().map(|task| (*task, self.edges_of(*task))), finished.iter().copied());
    }

    fn execute(&self, queue: &LocalQueue, task: u32, cpus: usize) {
        let in_use = self.cpus_in_use.fetch_add(cpus, Ordering::SeqCst) + cpus;
        assert!(in_use <= self.workers, "{in_use} cpus in use of {}", self.workers);
        let expected: u32 = self.plan.inputs[task as usize].iter().map(|input| input + 1).sum();
        let found: u32 = self.plan.inputs[task as usize]
            .iter()
            .map(|input| self.graph.value(*input).expect("input is there").load(Ordering::Relaxed))
            .sum();
        assert_eq!(found, expected, "task {task} sees the values of its inputs");
        assert_eq!(self.runs[task as usize].fetch_add(1, Ordering::SeqCst), 0, "task {task} runs once");
        self.cpus_in_use.fetch_sub(cpus, Ordering::SeqCst);
        self.live.fetch_add(1, Ordering::SeqCst);
        let mut queueing = queue.pool().queueing();
        self.graph.supply(task, Arc::new(AtomicU32::new(task + 1)), |ready| {
            queueing.add_own(queue, ReadyTask::new(0, ready));
        });
        drop(queueing);
        for input in &self.plan.inputs[task as usize] {
            self.graph.release(*input);
        }
        self.graph.set_over(task);
        self.finished.lock().unwrap().push(task);
        if self.left.fetch_sub(1, Ordering::SeqCst) == 1 {
            queue.pool().shut_down();
        }
    }

    fn work(&self, mut queue: LocalQueue) {
        while !queue.pool().is_shut_down() {
            if queue.pool().gang().is_wanted() {
                let called = queue.pool().gang().join(queue.index(), Duration::MAX, || true);
                if let GangCall::Lead { task, members, group } = called {
                    assert_eq!(members.len(), self.plan.cpus[task.task() as usize]);
                    self.execute(&queue, task.task(), members.len());
                    queue.pool().gang().disband(group);
                }
            } else if let Some(task) = queue.find() {
                match self.plan.cpus[task.task() as usize] {
                    1 => self.execute(&queue, task.task(), 1),
                    cpus => queue.pool().inject_wide(task, cpus),
                }
            } else {
                queue.sleep();
            }
        }
    }
}

/// Links the tasks in `batches` pieces while earlier ones already run. `forget`: forgets tasks as they finish.
fn check(plan: Plan, workers: usize, batches: usize, forget: bool) {
    let tasks = plan.inputs.len();
    let before = |sum: &mut u32, inputs: &Vec<u32>| Some(std::mem::replace(sum, *sum + inputs.len() as u32));
    let edges = plan.inputs.iter().scan(0, before).collect();
    let (pool, queues) = Pool::new(workers);
    let run = Run {
        graph: SessionGraph::new(),
        runs: (0..tasks).map(|_| AtomicU32::new(0)).collect(),
        left: AtomicUsize::new(tasks),
        live: Arc::default(),
        cpus_in_use: AtomicUsize::new(0),
        workers,
        finished: Mutex::default(),
        edges,
        plan,
    };
    // What later batches read is pinned, as kept objects are.
    for task in 0..tasks as u32 {
        run.graph.claim(task);
    }
    std::thread::scope(|scope| {
        for queue in queues {
            scope.spawn(|| run.work(queue));
        }
        let all: Vec<u32> = (0..tasks as u32).collect();
        for batch in all.chunks(tasks.div_ceil(batches)) {
            for task in batch {
                run.graph.claim(*task);
                run.plan.inputs[*task as usize].iter().for_each(|input| run.graph.claim(*input));
            }
            for task in batch {
                if run.graph.link(*task, &run.plan.inputs[*task as usize], run.edges[*task as usize]) {
                    pool.queueing().add(ReadyTask::new(0, *task), 0);
                }
            }
            // A governor is asked for tasks, of which some are not wanted; here they all stay.
            let back = pool.take_back(0, 5, |task| !task.is_multiple_of(3));
            let mut queueing = pool.queueing();
            back.iter().for_each(|task| queueing.add(ReadyTask::new(0, *task), 0));
            drop(queueing);
            if forget {
                // What later batches read stays pinned until the last one is linked.
                run.forget();
            }
        }
        if forget {
            (0..tasks as u32).for_each(|task| drop(run.graph.unpin(task)));
            while !pool.is_shut_down() {
                run.forget();
                std::thread::yield_now();
            }
        }
    });
    if forget {
        run.forget();
        // What was put off is looked at again when as much is forgotten; what is gone is passed over.
        run.graph.forget((0..tasks as u32).map(|task| (task, run.edges_of(task))), 0..tasks as u32);
        let newest_only = run.graph.chunks().iter().all(|chunks| *chunks <= 1);
        assert!(newest_only, "chunks of tasks, objects and edges are left: {:?}", run.graph.chunks());
        assert!(run.runs.iter().all(|runs| runs.load(Ordering::SeqCst) == 1));
        return;
    }
    for task in 0..tasks {
        assert_eq!(run.runs[task].load(Ordering::SeqCst), 1);
        let value = run.graph.value(task as u32).expect("pinned").clone();
        run.graph.release(task as u32);
        assert_eq!(Arc::strong_count(&value), 1, "nobody else holds object {task}");
        assert!(run.graph.value(task as u32).is_none(), "object {task} was dropped with its last claim");
    }
}

/// Cases of a property test: few in the short form, `PROPTEST_CASES` in the long one (`make stress`).
fn cases(short: u32) -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(short)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(200), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_task_runs_once_after_its_inputs(plan in plan(300, 4), batches in 1usize..5, forget in any::<bool>()) {
        check(plan, 4, batches, forget);
    }

    #[test]
    fn also_with_one_worker(plan in plan(100, 2), batches in 1usize..3, forget in any::<bool>()) {
        let cpus = vec![1; plan.inputs.len()];
        check(Plan { cpus, ..plan }, 1, batches, forget);
    }
}

/// Wide tasks among a flood of narrow ones do not starve: the run ends.
#[test]
fn wide_tasks_are_not_starved() {
    let tasks = 20_000;
    let cpus = (0..tasks).map(|task| if task % 1000 == 17 { 3 } else { 1 }).collect();
    check(Plan { inputs: vec![Vec::new(); tasks], cpus }, 3, 7, false);
}

/// A long chain whose every link is made ready by another worker's steal or its own queue.
#[test]
fn a_chain_of_a_hundred_thousand() {
    let tasks = 100_000u32;
    let inputs = (0..tasks).map(|task| if task == 0 { Vec::new() } else { vec![task - 1] }).collect();
    check(Plan { inputs, cpus: vec![1; tasks as usize] }, 2, 3, false);
}

/// Tasks of up to six inputs, forgotten while others run: chunks come and go.
#[test]
fn tasks_are_forgotten_while_others_run() {
    let tasks = 60_000u32;
    let inputs = |task: u32| (0..task % 7).map(|step| task - 1 - (step * step * 37) % task.min(3000)).collect();
    let inputs = (0..tasks).map(|task| if task < 7 { Vec::new() } else { inputs(task) }).collect();
    check(Plan { inputs, cpus: vec![1; tasks as usize] }, 3, 40, true);
}

/// One worker, and a session with many tasks: those of other sessions have their turn soon, also before a chain goes on.
#[test]
fn sessions_take_turns() {
    let (pool, mut queues) = Pool::new(1);
    let mut queue = queues.pop().unwrap();
    let add = |session: u32, tasks: std::ops::Range<u32>| {
        let mut queueing = pool.queueing();
        tasks.for_each(|task| queueing.add(ReadyTask::new(session, task), 0));
    };
    add(1, 0..100);
    let first: Vec<u32> = (0..10).map(|_| queue.find().unwrap().session()).collect();
    assert_eq!(first, [1; 10]);
    add(2, 0..1);
    add(3, 0..5);
    let turns: Vec<u32> = (0..20).map(|_| queue.find().unwrap().session()).collect();
    let last_of = |session: u32| turns.iter().rposition(|turn| *turn == session).unwrap();
    assert!(last_of(2) < 6 && last_of(3) < 16, "{turns:?}");
    // A task that the worker has at hand goes on, but for each second turn of others.
    add(2, 1..3);
    let next = ReadyTask::new(1, 1000);
    let before: Vec<Option<u32>> = (0..4).map(|_| queue.before(next).map(ReadyTask::session)).collect();
    assert_eq!(before.iter().flatten().collect::<Vec<_>>(), [&2, &2]);
    assert!(before.windows(2).all(|pair| pair[0].is_none() || pair[1].is_none()), "{before:?}");
    // All are found once.
    let rest: Vec<ReadyTask> = std::iter::from_fn(|| queue.find()).collect();
    assert_eq!(rest.len(), 100 + 1 + 5 + 2 - 10 - 20 - 2);
    assert!(queue.before(next).is_none());
}

/// Taking tasks of one session back leaves those of another one, which has the same lane, in their order.
#[test]
fn tasks_that_stay_keep_their_order() {
    let (pool, _queues) = Pool::new(1);
    let mut queueing = pool.queueing();
    for task in 0..100 {
        queueing.add(ReadyTask::new(1 + 16 * (task % 2), task), 0);
    }
    drop(queueing);
    assert_eq!(pool.take_back(1, 10, |task| task % 4 != 0), [2, 6, 10, 14, 18, 22, 26, 30, 34, 38]);
    assert_eq!(pool.take_back(2, 10, |_| true), [0; 0]);
    // Those that stay in spite of being asked for are where they were.
    assert_eq!(pool.take_back(17, 3, |task| task > 10), [11, 13, 15]);
    let odd: Vec<u32> = (0..100).filter(|task| task % 2 == 1 && ![11, 13, 15].contains(task)).collect();
    assert_eq!(pool.take_back(17, 100, |_| true), odd);
    let even: Vec<u32> = (0..100).filter(|task| task % 2 == 0 && (task % 4 == 0 || *task > 38)).collect();
    assert_eq!(pool.take_back(1, 100, |_| true), even);
}

/// A worker that waits for others goes on leave while there is other work, and gathers again.
#[test]
fn a_worker_does_other_work_when_it_has_waited_long() {
    let (pool, queues) = Pool::new(2);
    let (wide, narrow) = (ReadyTask::new(1, 0), ReadyTask::new(1, 1));
    pool.inject_wide(wide, 2);
    let offer = |worker: usize| pool.gang().join(worker, Duration::from_millis(1), || pool.has_narrow_work());
    pool.queueing().add(narrow, 0);
    let group = pool.gang().group();
    assert_eq!(offer(0), GangCall::OnLeave { group });
    assert!(pool.gang().is_wanted());
    let leads = |worker: usize| match offer(worker) {
        GangCall::Lead { task, members, group } => {
            assert_eq!((task, members.len()), (wide, 2));
            pool.gang().disband(group);
            1
        }
        called => {
            assert_eq!(called, GangCall::Dismissed);
            0
        }
    };
    let mut first = queues.into_iter().next().unwrap();
    assert_eq!(first.find(), Some(narrow));
    // Without other work each waits until the other one comes, however long that takes.
    let leaders: u32 = std::thread::scope(|scope| {
        let other = scope.spawn(|| leads(1));
        leads(0) + other.join().unwrap()
    });
    assert_eq!(leaders, 1);
}
