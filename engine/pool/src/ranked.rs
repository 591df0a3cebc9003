//! Ready tasks with a priority other than 0: rare, so a lock is good enough; a worker that finds none pays one load.

use crate::ReadyTask;
use crate::sync::{AtomicI64, Mutex, Ordering, lock};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// `Ranked::highest` when there is no task.
const EMPTY: i64 = i64::MIN;

/// Ready tasks, the highest priority first, among equals the oldest.
pub(crate) struct Ranked {
    highest: AtomicI64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    tasks: BinaryHeap<(i32, Reverse<u64>, ReadyTask)>,
    arrivals: u64,
}

impl Ranked {
    pub(crate) fn new() -> Self {
        Self { highest: AtomicI64::new(EMPTY), state: Mutex::new(State::default()) }
    }

    pub(crate) fn push(&self, task: ReadyTask, priority: i32) {
        let mut state = lock(&self.state);
        state.arrivals += 1;
        let arrival = state.arrivals;
        state.tasks.push((priority, Reverse(arrival), task));
        self.note(&state);
    }

    /// Gives tasks that are here the priorities that `priority` says; returns how many it said one of.
    pub(crate) fn raise(&self, mut priority: impl FnMut(ReadyTask) -> Option<i32>) -> usize {
        let mut state = lock(&self.state);
        let mut raised = 0;
        let again = std::mem::take(&mut state.tasks).into_iter().map(|(old, arrival, task)| match priority(task) {
            Some(new) => {
                raised += 1;
                (new, arrival, task)
            }
            None => (old, arrival, task),
        });
        let again: BinaryHeap<_> = again.collect();
        state.tasks = again;
        self.note(&state);
        raised
    }

    fn note(&self, state: &State) {
        let highest = state.tasks.peek().map_or(EMPTY, |(priority, _, _)| i64::from(*priority));
        self.highest.store(highest, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.highest.load(Ordering::Relaxed) == EMPTY
    }

    /// The first task, if its priority is above 0.
    #[inline]
    pub(crate) fn pop_urgent(&self) -> Option<ReadyTask> {
        if self.highest.load(Ordering::Relaxed) <= 0 { None } else { self.pop(|priority| priority > 0) }
    }

    /// The first task.
    #[inline]
    pub(crate) fn pop_any(&self) -> Option<ReadyTask> {
        if self.is_empty() { None } else { self.pop(|_| true) }
    }

    #[cold]
    fn pop(&self, wanted: impl FnOnce(i32) -> bool) -> Option<ReadyTask> {
        let mut state = lock(&self.state);
        let (priority, _, _) = state.tasks.peek()?;
        if !wanted(*priority) {
            return None;
        }
        let task = state.tasks.pop().map(|(_, _, task)| task);
        self.note(&state);
        task
    }
}
