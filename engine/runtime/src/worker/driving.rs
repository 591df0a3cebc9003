//! How a worker drives an executor process: one call after the other, quick ones sent ahead.

use super::lending::LentCall;
use super::settling::Lost;
use super::{Route, Worker, WorkerShared, kind_id, plain_failure};
use crate::executors::{ExecutorKey, Running};
use crate::session::Session;
use rain_data::Object;
use rain_exec::{ExecutorEvent, TaskCall, TaskFailure};
use rain_model::graph::Batch;
use rain_model::id::{SessionId, TaskId};
use rain_pool::ReadyTask;
use rain_topology::CpuId;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

/// Work that may be sent ahead to an executor: it cannot be stolen back, so it is little.
const AHEAD_SECONDS: f64 = 200e-6;
const AHEAD_MAX: f64 = 16.0;
/// A call that waits for other tasks counts as one that takes so long: none is sent ahead behind its like.
const LENT_SECONDS: f64 = 1.0;
/// Kinds whose durations are known before forgotten ones and those of closed sessions go.
const KINDS_BEFORE_CLEANING: usize = 64;

/// Mean durations of calls by kind, seconds.
#[derive(Default)]
pub(super) struct Durations {
    means: HashMap<u64, f64>,
    clean_at: usize,
}

impl Durations {
    /// How many calls of this kind may be with an executor at once.
    fn depth(&self, kind: u64) -> usize {
        match self.means.get(&kind) {
            None => 1,
            Some(mean) => (AHEAD_SECONDS / mean.max(1e-9)).clamp(1.0, AHEAD_MAX) as usize,
        }
    }

    fn learn(&mut self, kind: u64, seconds: f64, shared: &WorkerShared) {
        let mean = self.means.entry(kind).or_insert(seconds);
        *mean += (seconds - *mean) / 8.0;
        if self.means.len() > self.clean_at.max(KINDS_BEFORE_CLEANING) {
            let sessions = &shared.sessions;
            self.means.retain(|kind, _| sessions.get((kind >> 32) as u32).is_some_and(|s| s.has_kind(*kind as u32)));
            self.clean_at = 2 * self.means.len();
        }
    }
}

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
    /// When the time of the call is over, which is alone then.
    limit: Option<Instant>,
    is_used_up: bool,
}

impl Worker {
    /// Runs a task on an executor, and others of the same session that it can take meanwhile. `cpus`: where it may run,
    /// if that is not the worker's own cpu.
    pub(super) fn run_on_executor(
        &mut self,
        key: &Arc<ExecutorKey>,
        session: &Arc<Session>,
        batch: &Arc<Batch>,
        task: ReadyTask,
        cpus: &[CpuId],
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
        let goes_on = cpus.is_empty();
        let own = self.shared.config.cpus[worker];
        let mut drive = Drive { key, session, running, goes_on, limit: None, is_used_up: false };
        drive.running.begin(session.number, if goes_on { own.as_slice() } else { cpus });
        let driven = self.drive(&mut drive, (task, batch.clone()));
        let Drive { running, limit, .. } = drive;
        match driven {
            Driven::Free => self.shared.executors.put(key, running, worker),
            Driven::UsedUp => self.shared.executors.end(running),
            Driven::Lent { task } => {
                if let Some(batch) = self.batch_for(session, task) {
                    let kind = kind_id(session, &batch, task);
                    if self.durations.depth(kind) > 1 {
                        self.reports.started(session.number, task, self.clock.begin());
                    }
                    self.durations.learn(kind, LENT_SECONDS, &self.shared);
                }
                let (key, session, clock) = (key.clone(), session.clone(), self.clock.clone());
                LentCall { key, running, session, task, limit, clock, worker }.leave(&self.shared);
                self.clock.restart();
            }
        }
    }

    /// Keeps the executor busy until there is nothing for it.
    fn drive(&mut self, drive: &mut Drive<'_>, first: (ReadyTask, Arc<Batch>)) -> Driven {
        let mut events = Vec::new();
        let mut waiting = Some(first);
        self.clock.restart();
        loop {
            while let Some((task, batch)) = waiting.take() {
                waiting = self.begin_call(drive, task, &batch);
            }
            if drive.running.process.in_flight() == 0 {
                return if drive.is_used_up { Driven::UsedUp } else { Driven::Free };
            }
            self.reports.flush();
            if let Some(task) = self.next.take() {
                self.queue.leave(task);
            }
            let left = drive.limit.map(|limit| limit.saturating_duration_since(Instant::now()));
            let waited = drive.running.process.wait(&self.interrupt, left, &mut events);
            let mut lent = None;
            let took_answers = !events.is_empty();
            if took_answers && drive.running.process.in_flight() == 0 && !drive.key.ends_its_children() {
                drive.running.process.end_started();
            }
            for event in events.drain(..) {
                lent = self.take_event(drive, event).or(lent);
            }
            if let Err(error) = waited {
                if drive.is_used_up {
                    // It has begun none of them.
                    let calls = drive.running.process.take_in_flight();
                    self.settling().return_calls(drive.session, calls);
                    return Driven::UsedUp;
                }
                return self.lose_calls(drive, Lost::Failed(error.to_string()));
            }
            if let Some(task) = lent {
                return Driven::Lent { task };
            }
            if let Some(task) = drive.running.process.first_in_flight().map(|call| call as u32) {
                let has_passed = !took_answers && drive.limit.is_some_and(|limit| limit <= Instant::now());
                if has_passed || drive.session.is_cancelled(task) {
                    drive.running.process.kill();
                    return self.lose_calls(drive, if has_passed { Lost::TimedOut } else { Lost::Cancelled });
                }
            }
            if took_answers && self.may_go_on(drive) {
                waiting = self.next_for(drive.key, drive.session, drive.running.process.in_flight() == 0);
            }
        }
    }

    /// Sends a call; returns the next task if it may be sent, too.
    fn begin_call(
        &mut self,
        drive: &mut Drive<'_>,
        task: ReadyTask,
        batch: &Arc<Batch>,
    ) -> Option<(ReadyTask, Arc<Batch>)> {
        let (session, number) = (drive.session, task.task());
        if let Err(failure) = self.send_call(drive, batch, number) {
            self.settling().fail(session, batch, number, failure);
        } else {
            let in_flight = drive.running.process.in_flight();
            let depth = self.durations.depth(kind_id(session, batch, number));
            if depth == 1 {
                self.reports.started(session.number, number, self.clock.begin());
            }
            if let Some(limit) = batch.kind(number).timeout {
                if in_flight == 1 {
                    drive.limit = Instant::now().checked_add(limit);
                }
                return None;
            }
            if in_flight >= depth {
                return None;
            }
        }
        let is_alone = drive.running.process.in_flight() == 0;
        if self.may_go_on(drive) { self.next_for(drive.key, session, is_alone) } else { None }
    }

    /// Whether the process may be given another task.
    fn may_go_on(&self, drive: &Drive<'_>) -> bool {
        drive.goes_on && !drive.is_used_up && !self.shared.pool.gang().is_wanted() && !self.shared.lent.is_owed()
    }

    /// Takes what the executor has said; returns the task whose call has lent its cpus.
    fn take_event(&mut self, drive: &mut Drive<'_>, event: ExecutorEvent) -> Option<u32> {
        match event {
            ExecutorEvent::Answered { call, outcome } => {
                let (session, task) = (drive.session, call as u32);
                // A call with a limit is alone, so the answer is its.
                drive.limit = None;
                drive.running.has_answered = true;
                self.clock.lap();
                let batch = self.batch_for(session, task)?;
                let seconds = f64::from(self.clock.times().0.duration);
                self.durations.learn(kind_id(session, &batch, task), seconds, &self.shared);
                self.settling().take_outcome(session, &batch, task, outcome);
                None
            }
            ExecutorEvent::Returned { calls, reason } => {
                // A call with a limit is alone, so it is the one that was returned.
                drive.limit = None;
                if let Some(reason) = reason {
                    tracing::debug!("executor {} is not used again: {reason}", drive.running.process.pid());
                    drive.is_used_up = true;
                    if !drive.running.has_answered {
                        // So would the next one, and so on.
                        let why = format!("executor {:?} gave back its first call: {reason}", drive.key.name());
                        self.settling().lose_calls(drive.session, calls, Lost::Failed(why));
                        return None;
                    }
                }
                self.settling().return_calls(drive.session, calls);
                None
            }
            ExecutorEvent::Lent { call } => Some(call as u32),
            // Only a call that has lent goes on, and that is not driven here.
            ExecutorEvent::Resumed { .. } => None,
        }
    }

    fn lose_calls(&mut self, drive: &mut Drive<'_>, first: Lost) -> Driven {
        self.clock.lap();
        let calls = drive.running.process.take_in_flight();
        self.settling().lose_calls(drive.session, calls, first);
        Driven::UsedUp
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

    fn send_call(&mut self, drive: &mut Drive<'_>, batch: &Arc<Batch>, task: u32) -> Result<(), TaskFailure> {
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
        };
        let sent = drive.running.process.send(u64::from(task), kind_id(session, batch, task), &call);
        self.inputs = inputs;
        self.inputs.clear();
        sent
    }
}
