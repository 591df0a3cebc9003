//! What follows from the end of a task: its outputs go to their consumers, its inputs are released, the governor is told.

use super::reports::{Clock, Reports};
use super::shared::{WorkerShared, kind_id, plain_failure};
use crate::executors::{ExecutorKey, Running};
use crate::session::Session;
use rain_data::Object;
use rain_exec::{ExecutorEvent, TaskFailure, TaskOutcome};
use rain_governor::{DialogueAction, DialogueEvent};
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
            TaskOutcome::Finished { outputs, notes } => {
                let objects = batch.outputs(task);
                if outputs.len() != objects.len() {
                    let message = format!("{} outputs were made instead of {}", outputs.len(), objects.len());
                    let failure = TaskFailure { message, debug: notes.debug, user: None, output: notes.output };
                    return self.fail(session, batch, task, failure);
                }
                for (index, (object, value)) in objects.zip(outputs).enumerate() {
                    let declared = batch.kind(task).outputs[index].content_type.as_deref();
                    self.reports.object(session.number, object, &value, declared);
                    self.supply(session, object, value);
                }
                if !notes.is_empty() {
                    self.reports.details(session.number, task, notes);
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
        let TaskFailure { message, debug, user, output } = failure;
        let failure = Failure { message, debug, user, output, times: Some(self.clock.times().0) };
        self.reports.failed(session.number, task, failure);
    }

    /// Queues a task that was taken out of the queues and is still to be run.
    fn again(&mut self, session: &Session, task: u32) {
        let mut queueing = self.shared.pool.queueing();
        let ready = ReadyTask::new(session.number, task);
        match (&self.queue, session.priority(task)) {
            (Queue::Worker { own, .. }, 0) => queueing.add_own(own, ready),
            (_, priority) => queueing.add(ready, priority),
        }
    }

    /// Calls that an executor has not begun go to another one.
    fn return_calls(&mut self, session: &Session, tasks: Vec<u32>) {
        for task in tasks {
            session.graph.put_back(task);
            self.again(session, task);
        }
    }

    /// Does what a dialogue with an executor says of its calls and of the process.
    pub(super) fn carry_out(
        &mut self,
        key: &ExecutorKey,
        session: &Arc<Session>,
        running: &mut Running,
        action: DialogueAction<TaskOutcome>,
    ) {
        let (task, end): (u32, TaskOutcome) = match action {
            DialogueAction::Settle { task, outcome } => (task, outcome),
            DialogueAction::Fail { task, why } => {
                // Nobody asks the process for them any more.
                running.process.take_in_flight();
                (task, TaskOutcome::Failed(plain_failure(why)))
            }
            DialogueAction::Refuse { task, reason } => {
                let why = format!("executor {:?} gave back its first call: {reason}", key.name());
                (task, TaskOutcome::Failed(plain_failure(why)))
            }
            DialogueAction::TimedOut { task } => match session.batch_of(task) {
                Some(batch) => (task, TaskOutcome::Failed(timed_out(&batch, task))),
                None => return,
            },
            DialogueAction::Abandon { task } => (task, TaskOutcome::Cancelled),
            DialogueAction::GiveBack { tasks } => return self.return_calls(session, tasks),
            DialogueAction::Kill => {
                running.process.kill();
                running.process.take_in_flight();
                return;
            }
            DialogueAction::Lend { .. } | DialogueAction::GoOn { .. } => return,
        };
        if let Some(batch) = session.batch_of(task) {
            self.take_outcome(session, &batch, task, end);
        }
    }
}

/// What an executor has said, for the dialogue with it.
pub(super) fn dialogue_event(event: ExecutorEvent, running: &Running) -> DialogueEvent<TaskOutcome> {
    match event {
        ExecutorEvent::Answered { call, outcome } => DialogueEvent::Answered { task: call as u32, outcome },
        ExecutorEvent::Returned { calls, reason } => {
            if let Some(reason) = &reason {
                tracing::debug!("executor {} is not used again: {reason}", running.process.pid());
            }
            DialogueEvent::Returned { tasks: calls.into_iter().map(|call| call as u32).collect(), reason }
        }
        ExecutorEvent::Lent { call } => DialogueEvent::Lent { task: call as u32 },
        ExecutorEvent::Resumed { call } => DialogueEvent::Resumed { task: call as u32 },
    }
}

/// Whether a task has come to its end, whichever.
pub(super) fn ends_a_task(action: &DialogueAction<TaskOutcome>) -> bool {
    matches!(
        action,
        DialogueAction::Settle { .. }
            | DialogueAction::Fail { .. }
            | DialogueAction::Refuse { .. }
            | DialogueAction::TimedOut { .. }
            | DialogueAction::Abandon { .. }
    )
}

pub(super) fn timed_out(batch: &Batch, task: u32) -> TaskFailure {
    let seconds = batch.kind(task).timeout.unwrap_or_default().as_secs_f64();
    plain_failure(format!("it took longer than its timeout of {seconds} s and was stopped"))
}
