//! Tasks of several cpus: workers gather until there are enough, then one of them runs the task for all.

use crate::ReadyTask;
use crate::sync::{AtomicBool, Condvar, Mutex, Ordering, lock};
use std::collections::VecDeque;
use std::time::Duration;

/// What a worker that joined is to do.
#[derive(Debug, PartialEq, Eq)]
pub enum GangCall {
    /// Run this task with the cpus of these workers (itself among them), then call `Gang::disband`.
    Lead { task: ReadyTask, members: Vec<usize>, group: u64 },
    /// It has lent its cpu, or nobody needed it: look for other work.
    Dismissed,
    /// It has waited in vain for as long as it may while there is other work: do some of that, then offer the cpu again.
    OnLeave { group: u64 },
}

/// Wide tasks in order of arrival, and the workers that gather for the first.
pub struct Gang {
    wanted: AtomicBool,
    state: Mutex<State>,
    bell: Condvar,
    workers: usize,
}

#[derive(Default)]
struct State {
    queue: VecDeque<(ReadyTask, usize)>,
    gathered: Vec<usize>,
    /// Number of the group that is gathering.
    group: u64,
    /// Groups whose task is running.
    running: Vec<u64>,
    shut_down: bool,
}

impl Gang {
    /// For a pool of `workers` workers.
    pub fn new(workers: usize) -> Self {
        Self { wanted: AtomicBool::new(false), state: Mutex::new(State::default()), bell: Condvar::new(), workers }
    }

    /// Whether free workers should come to `join`.
    #[inline]
    pub fn is_wanted(&self) -> bool {
        self.wanted.load(Ordering::Acquire)
    }

    /// Queues a task for `cpus` workers (at most as many as there are). The caller wakes sleepers.
    pub fn push(&self, task: ReadyTask, cpus: usize) {
        let mut state = lock(&self.state);
        state.queue.push_back((task, cpus.clamp(1, self.workers)));
        self.wanted.store(true, Ordering::Release);
    }

    /// The group that gathers now.
    pub fn group(&self) -> u64 {
        lock(&self.state).group
    }

    /// Takes the tasks out that `is_over` says yes of. Workers that have gathered for one of them are free again.
    pub fn withdraw(&self, mut is_over: impl FnMut(ReadyTask) -> bool) -> Vec<ReadyTask> {
        let mut state = lock(&self.state);
        let first = state.queue.front().copied();
        let mut withdrawn = Vec::new();
        state.queue.retain(|(task, _)| {
            let over = is_over(*task);
            if over {
                withdrawn.push(*task);
            }
            !over
        });
        self.wanted.store(!state.queue.is_empty(), Ordering::Release);
        if state.queue.front().copied() != first && !state.gathered.is_empty() {
            state.gathered.clear();
            state.group += 1;
            self.bell.notify_all();
        }
        withdrawn
    }

    /// A free worker offers its cpu; returns when it is to lead, or when it is free again. One that waits longer than `patience`
    /// for others goes on leave if `has_other_work` says so.
    pub fn join(&self, worker: usize, patience: Duration, has_other_work: impl Fn() -> bool) -> GangCall {
        let mut state = self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let Some(&(task, cpus)) = state.queue.front() else { return GangCall::Dismissed };
        if state.shut_down {
            return GangCall::Dismissed;
        }
        state.gathered.push(worker);
        let group = state.group;
        if state.gathered.len() == cpus {
            state.queue.pop_front();
            self.wanted.store(!state.queue.is_empty(), Ordering::Release);
            let members = std::mem::take(&mut state.gathered);
            state.group += 1;
            state.running.push(group);
            return GangCall::Lead { task, members, group };
        }
        while !state.shut_down && (state.group == group || state.running.contains(&group)) {
            let waited = self.bell.wait_timeout(state, patience);
            let (now, timeout) = waited.unwrap_or_else(std::sync::PoisonError::into_inner);
            state = now;
            if timeout.timed_out() && state.group == group && has_other_work() {
                state.gathered.retain(|other| *other != worker);
                return GangCall::OnLeave { group };
            }
        }
        GangCall::Dismissed
    }

    /// The leader has finished: its members are free again.
    pub fn disband(&self, group: u64) {
        lock(&self.state).running.retain(|other| *other != group);
        self.bell.notify_all();
    }

    /// Frees everybody who waits, for good.
    pub fn shut_down(&self) {
        lock(&self.state).shut_down = true;
        self.bell.notify_all();
    }
}
