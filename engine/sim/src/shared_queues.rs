//! The queues of a governor as its state machine sees them: what it queues, and for how many tasks it wants workers to be woken.

use crate::queues::Queues;
use rain_governor::Queueing;
use rain_pool::ReadyTask;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// See above.
#[derive(Clone)]
pub struct SharedQueues(Arc<Mutex<State>>);

struct State {
    queues: Queues,
    /// For how many tasks workers are to be woken.
    wakes: usize,
    /// Workers that gathered for a task which was withdrawn.
    dismissed: Vec<usize>,
    /// A fault that is put back: only for these is anybody woken.
    wakes_only_for: Option<BTreeSet<ReadyTask>>,
    /// Another one: nothing is withdrawn.
    withdraws_nothing: bool,
}

impl SharedQueues {
    /// For so many workers.
    pub fn new(workers: usize) -> Self {
        Self(Arc::new(Mutex::new(State {
            queues: Queues::new(workers),
            wakes: 0,
            dismissed: Vec::new(),
            wakes_only_for: None,
            withdraws_nothing: false,
        })))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at the queues, or changes them.
    pub fn with<T>(&self, what: impl FnOnce(&mut Queues) -> T) -> T {
        what(&mut self.lock().queues)
    }

    /// For how many tasks workers are to be woken since this was asked last.
    pub fn take_wakes(&self) -> usize {
        std::mem::take(&mut self.lock().wakes)
    }

    /// Workers that need not gather any more.
    pub fn take_dismissed(&self) -> Vec<usize> {
        std::mem::take(&mut self.lock().dismissed)
    }

    /// Puts a fault back: nobody is woken for other tasks than these; `None`: for all.
    pub fn wake_only_for(&self, tasks: Option<BTreeSet<ReadyTask>>) {
        self.lock().wakes_only_for = tasks;
    }

    /// Puts a fault back: workers go on gathering for what is not wanted.
    pub fn withdraw_nothing(&self) {
        self.lock().withdraws_nothing = true;
    }
}

impl rain_governor::Queues for SharedQueues {
    fn queueing(&self) -> impl Queueing {
        SharedQueueing { queues: self.clone(), queued: 0 }
    }

    fn take_back(&self, session: u32, count: usize, is_wanted: impl FnMut(u32) -> bool) -> Vec<u32> {
        self.lock().queues.take_back(session, count, is_wanted)
    }

    fn raise(&self, session: u32, priorities: &BTreeMap<u32, i32>) {
        let mut state = self.lock();
        state.queues.raise(session, priorities);
        state.wakes += priorities.len();
    }

    fn withdraw_wide(&self, is_over: impl FnMut(ReadyTask) -> bool) -> Vec<ReadyTask> {
        let mut state = self.lock();
        if state.withdraws_nothing {
            return Vec::new();
        }
        let (withdrawn, dismissed) = state.queues.withdraw_wide(is_over);
        state.dismissed.extend(dismissed);
        withdrawn
    }
}

struct SharedQueueing {
    queues: SharedQueues,
    queued: usize,
}

impl Queueing for SharedQueueing {
    fn add(&mut self, task: ReadyTask, priority: i32) {
        let mut state = self.queues.lock();
        state.queues.add(task, priority);
        self.queued += usize::from(state.wakes_only_for.as_ref().is_none_or(|tasks| tasks.contains(&task)));
    }
}

impl Drop for SharedQueueing {
    fn drop(&mut self) {
        self.queues.lock().wakes += self.queued;
    }
}
