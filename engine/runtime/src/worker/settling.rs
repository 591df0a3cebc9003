//! What follows from the end of a task: its outputs go to their consumers, its inputs are released, the governor is told.

use super::reports::{Clock, Reports};
use super::{WorkerShared, kind_id, plain_failure};
use crate::session::Session;
use rain_data::Object;
use rain_exec::{TaskFailure, TaskOutcome};
use rain_model::graph::Batch;
use rain_pool::{LocalQueue, ReadyTask};
use rain_protocol::cut::cut;
use rain_protocol::peer::Failure;
use std::sync::Arc;

/// How many failures of a task that is run again are logged, before only each power of two is.
const FAILURES_LOGGED: u32 = 3;
/// How much of a failure's message is logged, bytes.
const LOGGED_BYTES_MAX: usize = 1 << 10;

/// Where tasks go that become ready.
pub(super) enum Queue<'a> {
    /// To the worker: the first is its next task, the others are in its own queue.
    Worker { next: &'a mut Option<ReadyTask>, own: &'a LocalQueue },
    /// To whichever worker takes them.
    Pool,
}

/// Settles tasks that have ended.
pub(super) struct Settling<'a> {
    pub(super) shared: &'a WorkerShared,
    pub(super) reports: &'a mut Reports,
    pub(super) clock: &'a Clock,
    pub(super) queue: Queue<'a>,
}

impl Settling<'_> {
    pub(super) fn take_outcome(&mut self, session: &Arc<Session>, batch: &Arc<Batch>, task: u32, outcome: TaskOutcome) {
        match outcome {
            TaskOutcome::Finished { outputs, info } => {
                let objects = batch.outputs(task);
                if outputs.len() != objects.len() {
                    let message = format!("{} outputs were made instead of {}", outputs.len(), objects.len());
                    let failure = TaskFailure { message, debug: info.debug, user: None };
                    return self.fail(session, batch, task, failure);
                }
                for (index, (object, value)) in objects.zip(outputs).enumerate() {
                    let declared = batch.kind(task).outputs[index].content_type.as_deref();
                    self.reports.object(session.number, object, &value, declared);
                    self.supply(session, object, value);
                }
                if info.debug.is_some() || info.user.is_some() {
                    self.reports.details(session.number, task, info);
                }
                self.finish(session, batch, task);
            }
            TaskOutcome::Failed(failure) => self.fail(session, batch, task, failure),
            TaskOutcome::Cancelled => session.abandon(batch, task),
        }
    }

    /// Hands an output to its consumers.
    #[inline]
    pub(super) fn supply(&mut self, session: &Session, object: u32, value: Arc<Object>) {
        let mut queueing = self.shared.pool.queueing();
        let queue = &mut self.queue;
        session.graph.supply(object, value, |consumer| {
            let priority = session.priority(consumer);
            let consumer = ReadyTask::new(session.number, consumer);
            match queue {
                Queue::Worker { next, own } if priority == 0 => match next {
                    None => **next = Some(consumer),
                    Some(_) => queueing.add_own(own, consumer),
                },
                _ => queueing.add(consumer, priority),
            }
        });
    }

    #[inline]
    pub(super) fn finish(&mut self, session: &Session, batch: &Batch, task: u32) {
        session.release_inputs(batch, task);
        session.graph.set_over(task);
        let times = self.clock.times();
        if self.shared.end.is_known() {
            self.shared.end.learn(kind_id(session, batch, task), f64::from(times.0.duration));
        }
        self.reports.task(session.number, task, times);
    }

    /// Runs the task again if its kind asks for that, else reports the failure.
    pub(super) fn fail(&mut self, session: &Session, batch: &Batch, task: u32, failure: TaskFailure) {
        let retries = batch.kind(task).retries;
        if retries > 0
            && let Some(failed) = session.may_retry(task, retries)
        {
            if failed <= FAILURES_LOGGED || failed.is_power_of_two() {
                let why = cut(&failure.message, LOGGED_BYTES_MAX);
                let number = session.number;
                tracing::info!("task {number}:{task} has failed {failed} times and is run again: {why}");
            }
            return self.reports.retried(session.number, task, failed);
        }
        let TaskFailure { message, debug, user } = failure;
        let failure = Failure { message, debug, user, times: Some(self.clock.times().0) };
        self.reports.failed(session.number, task, failure);
    }

    /// Queues a task that was taken out of the queues and is still to be run.
    pub(super) fn again(&mut self, session: &Session, task: u32) {
        let mut queueing = self.shared.pool.queueing();
        let ready = ReadyTask::new(session.number, task);
        match (&self.queue, session.priority(task)) {
            (Queue::Worker { own, .. }, 0) => queueing.add_own(own, ready),
            (_, priority) => queueing.add(ready, priority),
        }
    }

    /// Calls that an executor has not begun go to another one.
    pub(super) fn return_calls(&mut self, session: &Session, calls: impl IntoIterator<Item = u64>) {
        for task in calls.into_iter().map(|call| call as u32) {
            session.graph.put_back(task);
            self.again(session, task);
        }
    }

    /// The executor of these calls is gone: the first one, which it was at, has this end, and the others go to another one.
    pub(super) fn lose_calls(&mut self, session: &Arc<Session>, calls: Vec<u64>, first: Lost) {
        let mut calls = calls.into_iter();
        if let Some(task) = calls.next().map(|call| call as u32)
            && let Some(batch) = session.batch_of(task)
        {
            match first {
                Lost::Cancelled => session.abandon(&batch, task),
                Lost::TimedOut => self.fail(session, &batch, task, timed_out(&batch, task)),
                Lost::Failed(message) => self.fail(session, &batch, task, plain_failure(message)),
            }
        }
        self.return_calls(session, calls);
    }
}

/// How a call ended whose executor is gone.
pub(super) enum Lost {
    Cancelled,
    TimedOut,
    Failed(String),
}

pub(super) fn timed_out(batch: &Batch, task: u32) -> TaskFailure {
    let seconds = batch.kind(task).timeout.unwrap_or_default().as_secs_f64();
    plain_failure(format!("it took longer than its timeout of {seconds} s and was stopped"))
}
