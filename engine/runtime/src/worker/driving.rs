//! How a worker drives an executor process: one call after the other, quick ones sent ahead. What becomes of each call says the
//! `Dialogue`: fill it, return if it is empty, wait, settle what was said.

use super::lending::LentCall;
use super::settling::{dialogue_event, ends_a_task};
use super::shared::{kind_id, plain_failure};
use super::{Route, Worker};
use crate::executors::{ExecutorKey, Running};
use crate::session::Session;
use rain_data::Object;
use rain_exec::{TaskCall, TaskOutcome};
use rain_governor::{Dialogue, DialogueAction, DialogueEvent, Hold, Next};
use rain_model::graph::Batch;
use rain_model::id::{SessionId, TaskId};
use rain_pool::ReadyTask;
use rain_topology::CpuId;
use std::sync::Arc;

/// A call that waits for other tasks counts as one that takes so long: none is sent ahead behind its like.
const LENT_SECONDS: f64 = 1.0;

/// What has become of a process that was driven.
enum Driven {
    /// It can be used for other tasks.
    Free,
    /// It must not be used again.
    UsedUp,
    /// The call that it is at waits for other tasks.
    Lent { task: u32 },
}

/// A process that is driven for tasks of one session.
struct Drive<'a> {
    key: &'a Arc<ExecutorKey>,
    session: &'a Arc<Session>,
    running: Running,
    /// Whether tasks may follow the first one, and be sent ahead.
    goes_on: bool,
    dialogue: Dialogue,
}

impl Worker {
    /// Runs a task on an executor, and others of the same session that it can take meanwhile. `cpus`: where it may run,
    /// if that is not the worker's own cpu; `hold`: what it has beside cpus, with which it has the executor to itself.
    pub(super) fn run_on_executor(
        &mut self,
        key: &Arc<ExecutorKey>,
        session: &Arc<Session>,
        batch: &Arc<Batch>,
        task: ReadyTask,
        cpus: &[CpuId],
        hold: Option<Hold>,
    ) {
        if !session.graph.begin(task.task()) {
            return session.abandon(batch, task.task());
        }
        let worker = self.queue.index();
        let running = match self.shared.executors.get(key, worker, &self.interrupt) {
            Ok(running) => running,
            Err(error) => {
                let failure = plain_failure(error.to_string());
                return self.settling().fail(session, batch, task.task(), failure);
            }
        };
        let goes_on = cpus.is_empty() && hold.is_none();
        let own = self.shared.config.cpus[worker];
        let dialogue = Dialogue::new(running.has_answered);
        let mut drive = Drive { key, session, running, goes_on, dialogue };
        drive.running.begin(session.number, if cpus.is_empty() { own.as_slice() } else { cpus });
        let driven = self.drive(&mut drive, (task, batch.clone()));
        let Drive { mut running, dialogue, .. } = drive;
        running.has_answered = dialogue.has_answered();
        match driven {
            Driven::Free => self.shared.executors.put(key, running, worker),
            Driven::UsedUp => self.shared.executors.end(running),
            Driven::Lent { task } => {
                if let Some(batch) = self.batch_for(session, task) {
                    let kind = kind_id(session, &batch, task);
                    if self.durations.depth(kind) > 1 {
                        self.reports.started(session.number, task, self.clock.begin());
                    }
                    self.durations.learn(kind, LENT_SECONDS, &self.shared.sessions);
                }
                let (key, session, clock) = (key.clone(), session.clone(), self.clock.clone());
                LentCall { key, running, session, task, dialogue, clock, worker, hold }.leave(&self.shared);
                self.clock.restart();
            }
        }
    }

    /// Keeps the executor busy until there is nothing for it.
    fn drive(&mut self, drive: &mut Drive<'_>, first: (ReadyTask, Arc<Batch>)) -> Driven {
        let mut events = Vec::new();
        let mut first = Some(first);
        self.clock.restart();
        loop {
            while drive.dialogue.wants_more() {
                let event = match first.take().or_else(|| self.next_call(drive)) {
                    Some((task, batch)) => self.send_call(drive, task.task(), &batch),
                    None => DialogueEvent::NothingToSend,
                };
                self.tell(drive, event);
            }
            let until = match drive.dialogue.next() {
                Next::Free => return Driven::Free,
                Next::UsedUp => return Driven::UsedUp,
                Next::Wait { until } => until,
            };
            self.reports.flush();
            if let Some(task) = self.next.take() {
                self.queue.leave(task);
            }
            let left = until.map(|until| until.saturating_sub(self.shared.now()));
            let waited = drive.running.process.wait(&self.interrupt, left, &mut events);
            if !events.is_empty() && drive.running.process.in_flight() == 0 && !drive.key.ends_its_children() {
                drive.running.process.end_started();
            }
            let mut lent = None;
            for event in events.drain(..) {
                lent = self.tell(drive, dialogue_event(event, &drive.running)).or(lent);
            }
            if let Err(error) = waited {
                self.tell(drive, DialogueEvent::Died { why: error.to_string() });
            } else if let Some(task) = lent {
                return Driven::Lent { task };
            } else {
                let is_cancelled = drive.dialogue.first().is_some_and(|task| drive.session.is_cancelled(task));
                self.tell(drive, DialogueEvent::Heard { is_cancelled });
            }
        }
    }

    /// Tells the dialogue what has happened and does what follows; returns the task whose call has lent its cpus.
    fn tell(&mut self, drive: &mut Drive<'_>, event: DialogueEvent<TaskOutcome>) -> Option<u32> {
        let mut actions = Vec::new();
        drive.dialogue.handle(self.shared.now(), event, &mut actions);
        let mut lent = None;
        for action in actions {
            if ends_a_task(&action) {
                self.clock.lap();
            }
            match &action {
                DialogueAction::Lend { task } => lent = Some(*task),
                DialogueAction::Settle { task, .. } => {
                    if let Some(batch) = self.batch_for(drive.session, *task) {
                        let seconds = f64::from(self.clock.times().0.duration);
                        self.durations.learn(kind_id(drive.session, &batch, *task), seconds, &self.shared.sessions);
                    }
                }
                _ => {}
            }
            self.settling().carry_out(drive.key, drive.session, &mut drive.running, action);
        }
        lent
    }

    /// The next task for the process, if it may be given another one.
    fn next_call(&mut self, drive: &Drive<'_>) -> Option<(ReadyTask, Arc<Batch>)> {
        let may_go_on = drive.goes_on && !self.shared.pool.gang().is_wanted() && !self.shared.lent.is_owed();
        if may_go_on { self.next_for(drive.key, drive.session, drive.dialogue.is_idle()) } else { None }
    }

    fn batch_for(&mut self, session: &Session, task: u32) -> Option<Arc<Batch>> {
        match &self.batch {
            Some(batch) if batch.tasks().contains(&task) => Some(batch.clone()),
            _ => session.batch_of(task),
        }
    }

    /// The next ready task if it is for the same executor and session; another one is left for later. `alone`: nothing
    /// would be before it, so that its time limit begins at once.
    fn next_for(
        &mut self,
        key: &Arc<ExecutorKey>,
        session: &Arc<Session>,
        alone: bool,
    ) -> Option<(ReadyTask, Arc<Batch>)> {
        let task = self.next_task()?;
        if task.session() == session.number {
            // One that is not to be run any more is done with: it must not be looked at twice.
            let (located, batch) = self.located(task)?;
            let kind = batch.kind(task.task());
            if kind.cpus == 1
                && kind.resources.is_empty()
                && (kind.timeout.is_none() || alone)
                && let Route::Executor(other) = self.route(&located, kind)
                && other == *key
            {
                if session.graph.begin(task.task()) {
                    return Some((task, batch));
                }
                session.abandon(&batch, task.task());
                return None;
            }
        }
        self.next = Some(task);
        None
    }

    /// Puts a call in line for the executor; a task whose call cannot be sent fails.
    fn send_call(&mut self, drive: &mut Drive<'_>, task: u32, batch: &Arc<Batch>) -> DialogueEvent<TaskOutcome> {
        let session = drive.session;
        self.collect_inputs(session, batch, task);
        let inputs: Vec<Arc<Object>> = std::mem::take(&mut self.inputs);
        let call = TaskCall {
            task: TaskId { session: SessionId(session.number), index: task },
            governor: self.shared.id,
            batch,
            inputs: &inputs,
            store: &self.shared.store,
            interrupt: &self.interrupt,
            cancelled: &|| session.is_cancelled(task),
            // Its process knows it.
            environment: &[],
        };
        let kind = kind_id(session, batch, task);
        let sent = drive.running.process.send(u64::from(task), kind, &call);
        self.inputs = inputs;
        self.inputs.clear();
        if let Err(failure) = sent {
            self.settling().fail(session, batch, task, failure);
            return DialogueEvent::NotSent;
        }
        let depth = self.durations.depth(kind);
        if depth == 1 {
            self.reports.started(session.number, task, self.clock.begin());
        }
        DialogueEvent::Sent { task, limit: batch.kind(task).timeout, depth }
    }
}
