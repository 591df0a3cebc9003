//! The queues of ready tasks of a governor, as its machines see them.

use rain_model::id::TaskIndex;
use rain_pool::{Pool, ReadyTask};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The ready tasks of all sessions, which workers take out.
pub trait Queues {
    /// Begins to queue ready tasks; workers that sleep are woken for them at the latest when the returned value is dropped. So a
    /// wake-up cannot be forgotten.
    fn queueing(&self) -> impl Queueing;

    /// Takes up to `count` tasks of a session, which no worker has begun and `is_wanted` says yes of, out of the queues. Other
    /// tasks keep their order.
    fn take_back(&self, session: u32, count: usize, is_wanted: impl FnMut(TaskIndex) -> bool) -> Vec<TaskIndex>;

    /// Gives ready tasks of a session these priorities.
    fn raise(&self, session: u32, priorities: &BTreeMap<TaskIndex, i32>);

    /// Takes the tasks of several cpus out that `is_over` says yes of: nobody gathers for them any more.
    fn withdraw_wide(&self, is_over: impl FnMut(ReadyTask) -> bool) -> Vec<ReadyTask>;
}

/// Ready tasks that are being queued.
#[must_use]
pub trait Queueing {
    /// Queues a ready task behind those that wait, one of a priority other than 0 by that.
    fn add(&mut self, task: ReadyTask, priority: i32);
}

/// The lock-free ones.
impl Queues for Pool {
    #[inline]
    fn queueing(&self) -> impl Queueing {
        self.queueing()
    }

    fn take_back(&self, session: u32, count: usize, is_wanted: impl FnMut(TaskIndex) -> bool) -> Vec<TaskIndex> {
        self.take_back(session, count, is_wanted)
    }

    fn raise(&self, session: u32, priorities: &BTreeMap<TaskIndex, i32>) {
        let is_its = |task: &ReadyTask| task.session() == session;
        let priority = |task| Some(task).filter(is_its).and_then(|task| priorities.get(&task.task()).copied());
        self.raise(session, priorities.len(), priority);
    }

    fn withdraw_wide(&self, is_over: impl FnMut(ReadyTask) -> bool) -> Vec<ReadyTask> {
        self.gang().withdraw(is_over)
    }
}

impl Queueing for rain_pool::Queueing<'_> {
    #[inline]
    fn add(&mut self, task: ReadyTask, priority: i32) {
        self.add(task, priority);
    }
}

impl<Q: Queues> Queues for Arc<Q> {
    #[inline]
    fn queueing(&self) -> impl Queueing {
        (**self).queueing()
    }

    fn take_back(&self, session: u32, count: usize, is_wanted: impl FnMut(TaskIndex) -> bool) -> Vec<TaskIndex> {
        (**self).take_back(session, count, is_wanted)
    }

    fn raise(&self, session: u32, priorities: &BTreeMap<TaskIndex, i32>) {
        (**self).raise(session, priorities);
    }

    fn withdraw_wide(&self, is_over: impl FnMut(ReadyTask) -> bool) -> Vec<ReadyTask> {
        (**self).withdraw_wide(is_over)
    }
}
