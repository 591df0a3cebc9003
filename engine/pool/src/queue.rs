//! Ready queues: a deque a worker, lanes for what comes from outside the workers, stealing between them.

use crate::ranked::Ranked;
use crate::sleep::Sleep;
use crate::sync::{AtomicU32, Ordering};
use crate::{Gang, ReadyTask};
use crossbeam_utils::{Backoff, CachePadded};
use deque::{Injector, Stealer, Worker};
use std::sync::Arc;

#[cfg(not(loom))]
mod deque {
    pub(super) use crossbeam_deque::{Injector, Steal, Stealer, Worker};
}

/// Stand-ins with the same interface, for models of the whole pool: crossbeam-deque has no loom support.
#[cfg(loom)]
mod deque {
    use loom::sync::{Arc, Mutex};
    use std::collections::VecDeque;

    pub(super) enum Steal<T> {
        Success(T),
        #[allow(dead_code)]
        Retry,
        Empty,
    }

    pub(super) struct Injector<T>(Mutex<VecDeque<T>>);
    pub(super) struct Worker<T>(Arc<Mutex<VecDeque<T>>>);
    pub(super) struct Stealer<T>(Arc<Mutex<VecDeque<T>>>);

    /// Takes the oldest, and one more that comes along: for a moment that one is in no queue.
    fn steal_two<T>(from: &Mutex<VecDeque<T>>, thief: &Worker<T>) -> Steal<T> {
        let (first, second) = {
            let mut queue = from.lock().unwrap();
            (queue.pop_front(), queue.pop_front())
        };
        second.into_iter().for_each(|task| thief.push(task));
        first.map_or(Steal::Empty, Steal::Success)
    }

    impl<T> Injector<T> {
        pub(super) fn new() -> Self {
            Self(Mutex::new(VecDeque::new()))
        }
        pub(super) fn push(&self, item: T) {
            self.0.lock().unwrap().push_back(item);
        }
        pub(super) fn is_empty(&self) -> bool {
            self.0.lock().unwrap().is_empty()
        }
        pub(super) fn len(&self) -> usize {
            self.0.lock().unwrap().len()
        }
        pub(super) fn steal(&self) -> Steal<T> {
            self.0.lock().unwrap().pop_front().map_or(Steal::Empty, Steal::Success)
        }
        pub(super) fn steal_batch_and_pop(&self, thief: &Worker<T>) -> Steal<T> {
            steal_two(&self.0, thief)
        }
    }

    impl<T> Worker<T> {
        pub(super) fn new_lifo() -> Self {
            Self(Arc::new(Mutex::new(VecDeque::new())))
        }
        pub(super) fn push(&self, item: T) {
            self.0.lock().unwrap().push_back(item);
        }
        pub(super) fn pop(&self) -> Option<T> {
            self.0.lock().unwrap().pop_back()
        }
        pub(super) fn is_empty(&self) -> bool {
            self.0.lock().unwrap().is_empty()
        }
        pub(super) fn stealer(&self) -> Stealer<T> {
            Stealer(self.0.clone())
        }
    }

    impl<T> Stealer<T> {
        pub(super) fn is_empty(&self) -> bool {
            self.0.lock().unwrap().is_empty()
        }
        pub(super) fn len(&self) -> usize {
            self.0.lock().unwrap().len()
        }
        pub(super) fn steal(&self) -> Steal<T> {
            self.0.lock().unwrap().pop_front().map_or(Steal::Empty, Steal::Success)
        }
        pub(super) fn steal_batch_and_pop(&self, thief: &Worker<T>) -> Steal<T> {
            steal_two(&self.0, thief)
        }
    }
}

/// Sleeping workers are woken for ready tasks in groups of this size while more are being queued.
const WAKE_EVERY: usize = 64;

/// Queued tasks that are looked at to find some of one session.
const LOOKED_AT_MAX: usize = 1 << 16;

/// Lanes of tasks from outside the workers; a session has one of them. In models each costs steps.
const LANES: u32 = if cfg!(loom) { 2 } else { 16 };

fn lane_of(session: u32) -> u32 {
    session % LANES
}

/// What the workers of a governor share.
pub struct Pool {
    lanes: Vec<Injector<ReadyTask>>,
    /// A bit for each lane that may have tasks: whether to look there. A lane with tasks has its bit soon after.
    waiting: CachePadded<AtomicU32>,
    stealers: Vec<Stealer<ReadyTask>>,
    // Each is read before every task and seldom written, but for what is beside it.
    ranked: CachePadded<Ranked>,
    sleep: CachePadded<Sleep>,
    gang: CachePadded<Gang>,
}

/// A worker's own end of the pool.
pub struct LocalQueue {
    pool: Arc<Pool>,
    index: usize,
    deque: Worker<ReadyTask>,
    /// Where the next search for a victim begins, so that thieves spread out.
    next_victim: usize,
    /// The lane of the session whose task was found last.
    lane: u32,
    /// Whether it is the turn of other sessions, when some wait.
    others_turn: bool,
    /// Whether it is one of the searchers (`Sleep`), so that others are not woken.
    is_searcher: bool,
}

impl Pool {
    /// A pool for `workers` workers, and the queue of each.
    pub fn new(workers: usize) -> (Arc<Pool>, Vec<LocalQueue>) {
        let deques: Vec<_> = (0..workers).map(|_| Worker::new_lifo()).collect();
        let pool = Arc::new(Pool {
            lanes: (0..LANES).map(|_| Injector::new()).collect(),
            waiting: CachePadded::new(AtomicU32::new(0)),
            stealers: deques.iter().map(Worker::stealer).collect(),
            ranked: CachePadded::new(Ranked::new()),
            sleep: CachePadded::new(Sleep::new(workers)),
            gang: CachePadded::new(Gang::new(workers)),
        });
        let queues = deques
            .into_iter()
            .enumerate()
            .map(|(index, deque)| LocalQueue {
                pool: pool.clone(),
                index,
                deque,
                next_victim: index + 1,
                lane: 0,
                others_turn: false,
                is_searcher: false,
            })
            .collect();
        (pool, queues)
    }

    /// Begins to queue ready tasks.
    pub fn queueing(&self) -> Queueing<'_> {
        Queueing { pool: self, queued: 0 }
    }

    #[inline]
    fn inject(&self, task: ReadyTask) {
        let lane = lane_of(task.session());
        self.lanes[lane as usize].push(task);
        if self.waiting.load(Ordering::Relaxed) & (1 << lane) == 0 {
            self.waiting.fetch_or(1 << lane, Ordering::SeqCst);
        }
    }

    /// A lane was found to be empty.
    fn is_drained(&self, lane: u32) {
        self.waiting.fetch_and(!(1 << lane), Ordering::SeqCst);
        if !self.lanes[lane as usize].is_empty() {
            self.waiting.fetch_or(1 << lane, Ordering::SeqCst);
        }
    }

    /// Takes up to `count` ready tasks of a session of which `is_wanted` says yes out of the queues where its tasks may be: the oldest of
    /// those that came from outside first, then those in the deques of workers; those with a priority stay. What other tasks came
    /// from outside keep their order.
    pub fn take_back(&self, session: u32, count: usize, mut is_wanted: impl FnMut(u32) -> bool) -> Vec<u32> {
        let mut taken = Vec::new();
        let lane = &self.lanes[lane_of(session) as usize];
        let mut queueing = self.queueing();
        let mut looked = 0;
        let lengths = std::iter::once(lane.len()).chain(self.stealers.iter().map(Stealer::len));
        for (queue, length) in lengths.enumerate() {
            let mut has_moved = false;
            for _ in 0..length {
                // Going through all of the lane leaves its order as it was, and breaking off in its middle does not.
                if looked == LOOKED_AT_MAX || (taken.len() == count && !(queue == 0 && has_moved)) {
                    break;
                }
                looked += 1;
                // Whoever was quicker has taken the others.
                let Some(task) = self.take_oldest(lane, queue) else { break };
                if taken.len() < count && task.session() == session && is_wanted(task.task()) {
                    taken.push(task.task());
                } else {
                    has_moved = true;
                    queueing.add(task, 0);
                }
            }
        }
        taken
    }

    /// The oldest task of the lane (`queue` 0) or of a worker's deque.
    fn take_oldest(&self, lane: &Injector<ReadyTask>, queue: usize) -> Option<ReadyTask> {
        loop {
            let stolen = match queue {
                0 => lane.steal(),
                queue => self.stealers[queue - 1].steal(),
            };
            match stolen {
                deque::Steal::Success(task) => return Some(task),
                deque::Steal::Empty => return None,
                deque::Steal::Retry => {}
            }
        }
    }

    /// Gives `count` tasks of a session, which are ready and in some queue, the priorities that `priority` says of them. Looks through the queues
    /// until they are found, at most at so many tasks as are worth it; what one may run meanwhile is not found.
    pub fn raise(&self, session: u32, mut count: usize, mut priority: impl FnMut(ReadyTask) -> Option<i32>) {
        let lane = &self.lanes[lane_of(session) as usize];
        count -= count.min(self.ranked.raise(&mut priority));
        let mut queueing = self.queueing();
        let lengths = std::iter::once(lane.len()).chain(self.stealers.iter().map(Stealer::len));
        let mut looked = 0;
        for (queue, length) in lengths.enumerate() {
            for _ in 0..length {
                if count == 0 || looked == LOOKED_AT_MAX {
                    return;
                }
                looked += 1;
                let Some(task) = self.take_oldest(lane, queue) else { break };
                // Going through all of the lane leaves its order as it was.
                match priority(task) {
                    Some(priority) => {
                        count -= 1;
                        queueing.add(task, priority);
                    }
                    None => queueing.add(task, 0),
                }
            }
        }
    }

    /// Adds a ready task that takes `cpus` workers; it goes before narrow ones.
    pub fn inject_wide(&self, task: ReadyTask, cpus: usize) {
        self.gang.push(task, cpus);
        self.sleep.wake_all();
    }

    /// Several-cpu tasks and the workers that gather for them.
    pub fn gang(&self) -> &Gang {
        &self.gang
    }

    /// Lets every worker find out that the pool is ending.
    pub fn shut_down(&self) {
        self.gang.shut_down();
        self.sleep.shut_down();
    }

    /// Whether `shut_down` was called.
    pub fn is_shut_down(&self) -> bool {
        self.sleep.is_shut_down()
    }

    /// Whether something has come from outside the workers, at the cost of reading few words.
    fn has_arrivals(&self) -> bool {
        let waiting = self.waiting.load(Ordering::Relaxed);
        let may_have = |lane: &usize| waiting & (1 << lane) != 0;
        self.gang.is_wanted()
            || !self.ranked.is_empty()
            || (waiting != 0 && (0..LANES as usize).filter(may_have).any(|lane| !self.lanes[lane].is_empty()))
    }

    fn has_work(&self) -> bool {
        self.gang.is_wanted() || self.has_narrow_work()
    }

    /// Whether some queue has a task of one cpu.
    pub fn has_narrow_work(&self) -> bool {
        !self.ranked.is_empty()
            || self.lanes.iter().any(|lane| !lane.is_empty())
            || self.stealers.iter().any(|s| !s.is_empty())
    }
}

/// Ready tasks that are being queued. Sleeping workers are woken for them in groups, and when this is dropped: so a wake-up
/// cannot be forgotten.
#[must_use]
pub struct Queueing<'a> {
    pool: &'a Pool,
    /// Tasks for which nobody was woken.
    queued: usize,
}

impl Queueing<'_> {
    /// Queues a ready task behind those that wait, from any thread; one of a priority other than 0 by that.
    #[inline]
    pub fn add(&mut self, task: ReadyTask, priority: i32) {
        match priority {
            0 => self.pool.inject(task),
            priority => self.pool.ranked.push(task, priority),
        }
        self.note();
    }

    /// Queues a task that a worker made ready, which will be the next one that it takes.
    #[inline]
    pub fn add_own(&mut self, queue: &LocalQueue, task: ReadyTask) {
        queue.deque.push(task);
        self.note();
    }

    #[inline]
    fn note(&mut self) {
        self.queued += 1;
        if self.queued == WAKE_EVERY {
            self.wake();
        }
    }

    fn wake(&mut self) {
        self.queued = 0;
        self.pool.sleep.wake();
    }
}

impl Drop for Queueing<'_> {
    #[inline]
    fn drop(&mut self) {
        if self.queued > 0 {
            self.wake();
        }
    }
}

impl LocalQueue {
    /// This worker's number.
    pub fn index(&self) -> usize {
        self.index
    }

    /// The shared part.
    pub fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    /// Queues a task that this worker will not come to soon.
    pub fn leave(&self, task: ReadyTask) {
        self.pool.queueing().add_own(self, task);
    }

    /// The newest task of this worker's own.
    #[inline]
    pub fn pop(&self) -> Option<ReadyTask> {
        self.deque.pop()
    }

    /// A ready task from anywhere: one of a priority above 0, one of another session if it is their turn, own deque, the lanes,
    /// another worker's deque, one of a priority below 0.
    #[inline]
    pub fn find(&mut self) -> Option<ReadyTask> {
        let found = self
            .urgent()
            .or_else(|| self.of_others(self.lane))
            .or_else(|| self.deque.pop())
            .or_else(|| self.find_elsewhere())
            .or_else(|| self.pool.ranked.pop_any())?;
        self.lane = lane_of(found.session());
        self.stop_searching();
        Some(found)
    }

    /// Has another worker look for what this one was woken for, if that is not done yet: this one does something else.
    #[inline]
    pub fn stop_searching(&mut self) {
        if self.is_searcher {
            self.is_searcher = false;
            self.pool.sleep.has_found(|| self.pool.has_work());
        }
    }

    /// A ready task that goes before `next`, which this worker would run otherwise: one of a priority above 0, or one of another
    /// session if it is their turn.
    #[inline]
    pub fn before(&mut self, next: ReadyTask) -> Option<ReadyTask> {
        let found = self.urgent().or_else(|| self.of_others(lane_of(next.session())))?;
        self.lane = lane_of(found.session());
        Some(found)
    }

    /// A task from another lane than this one, every second time while there are some: sessions take turns.
    #[inline]
    fn of_others(&mut self, lane: u32) -> Option<ReadyTask> {
        let others = self.pool.waiting.load(Ordering::Relaxed) & !(1 << lane);
        if others == 0 {
            return None;
        }
        self.others_turn = !self.others_turn;
        if self.others_turn { self.take_from(lane, others) } else { None }
    }

    /// A single task of one of these lanes, the next ones after `lane` first.
    fn take_from(&self, lane: u32, lanes: u32) -> Option<ReadyTask> {
        let after = (1..=LANES).map(|step| (lane + step) % LANES);
        for lane in after.filter(|lane| lanes & (1 << lane) != 0) {
            loop {
                match self.pool.lanes[lane as usize].steal() {
                    deque::Steal::Success(task) => return Some(task),
                    deque::Steal::Retry => {}
                    deque::Steal::Empty => break,
                }
            }
            self.pool.is_drained(lane);
        }
        None
    }

    /// A ready task of a priority above 0, which goes before anything else.
    #[inline]
    pub fn urgent(&self) -> Option<ReadyTask> {
        self.pool.ranked.pop_urgent()
    }

    fn find_elsewhere(&mut self) -> Option<ReadyTask> {
        let found = self.steal()?;
        // What came along was for a moment in no queue: a worker that looked then may have gone to sleep.
        if !self.deque.is_empty() {
            self.pool.sleep.wake();
        }
        Some(found)
    }

    fn steal(&mut self) -> Option<ReadyTask> {
        let workers = self.pool.stealers.len();
        loop {
            let mut retry = false;
            let filled = (1..=LANES).map(|step| (self.lane + step) % LANES);
            for lane in filled.filter(|lane| !self.pool.lanes[*lane as usize].is_empty()) {
                let injector = &self.pool.lanes[lane as usize];
                // Several at once only where nobody else waits for a turn.
                let is_alone = self.pool.waiting.load(Ordering::Relaxed) & !(1 << lane) == 0;
                match if is_alone { injector.steal_batch_and_pop(&self.deque) } else { injector.steal() } {
                    deque::Steal::Success(task) => return Some(task),
                    deque::Steal::Retry => retry = true,
                    deque::Steal::Empty => self.pool.is_drained(lane),
                }
            }
            for step in 0..workers {
                let victim = (self.next_victim + step) % workers;
                if victim == self.index {
                    continue;
                }
                match self.pool.stealers[victim].steal_batch_and_pop(&self.deque) {
                    deque::Steal::Success(task) => {
                        self.next_victim = victim;
                        return Some(task);
                    }
                    deque::Steal::Retry => retry = true,
                    deque::Steal::Empty => {}
                }
            }
            if !retry {
                return None;
            }
        }
    }

    /// Sleeps until there may be work or the pool is ending; returns at once if there is some already. One worker stays awake for a
    /// moment before it sleeps: where tasks come faster than a worker is woken, waking is most of the work.
    pub fn sleep(&mut self) {
        let pool = &self.pool;
        if !self.is_searcher && pool.sleep.start_searching() {
            self.is_searcher = true;
        }
        if self.is_searcher {
            let backoff = Backoff::new();
            while !cfg!(loom) && !backoff.is_completed() {
                if pool.has_arrivals() || pool.is_shut_down() {
                    return;
                }
                backoff.snooze();
            }
        }
        pool.sleep.sleep(self.index, self.is_searcher, || pool.has_work());
        self.is_searcher = true;
    }
}
