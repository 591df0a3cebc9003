//! Calls that wait for other tasks: they have lent their cpus, and their workers go on without them.
//!
//! From the moment that a call lends, a thread of its own looks after it until it ends. When it goes on, more tasks run than there
//! are cpus, until a worker comes to the end of its task and stands aside for it.

use super::reports::{Clock, Reports};
use super::settling::{Queue, Settling, dialogue_event, ends_a_task};
use super::shared::WorkerShared;
use crate::executors::{ExecutorKey, Running};
use crate::session::Session;
use rain_exec::{Interrupt, TaskOutcome};
use rain_governor::{Dialogue, DialogueAction, DialogueEvent, Hold, Next};
use std::sync::Arc;

/// A call that lends its cpus.
pub(super) struct LentCall {
    pub(super) key: Arc<ExecutorKey>,
    pub(super) running: Running,
    pub(super) session: Arc<Session>,
    pub(super) task: u32,
    /// What is said of it.
    pub(super) dialogue: Dialogue,
    /// Its time began when the last task ended on this.
    pub(super) clock: Clock,
    /// The worker that had it.
    pub(super) worker: usize,
    /// What it has beside cpus, until it ends.
    pub(super) hold: Option<Hold>,
}

/// What a call that has lent its cpus does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Doing {
    /// It is with its worker, or has ended.
    Nothing,
    Waits,
    GoesOn,
}

/// Tells others what a call does.
struct Told<'a> {
    shared: &'a WorkerShared,
    reports: &'a Reports,
    cpus: u32,
    doing: Doing,
}

impl Told<'_> {
    fn tell(&mut self, doing: Doing) {
        let before = std::mem::replace(&mut self.doing, doing);
        if before == doing {
            return;
        }
        let cpus = self.cpus;
        self.shared.lent.change(|state| {
            match before {
                Doing::Nothing => {}
                Doing::Waits => state.waiting -= 1,
                Doing::GoesOn => state.resumed -= cpus,
            }
            match doing {
                Doing::Nothing => {}
                Doing::Waits => state.waiting += 1,
                Doing::GoesOn => state.resumed += cpus,
            }
        });
        if before == Doing::Waits || doing == Doing::Waits {
            self.reports.lending();
        }
    }
}

impl LentCall {
    /// Leaves the call to a thread of its own; if the system gives none, the call fails.
    pub(super) fn leave(self, shared: &Arc<WorkerShared>) {
        let (sender, receiver) = crossbeam_channel::bounded::<LentCall>(1);
        let started = shared.lent.add().and_then(|interrupt| {
            let (own, shared_too) = (interrupt.clone(), shared.clone());
            let run = move || {
                if let Ok(call) = receiver.recv() {
                    call.look_after(&shared_too, &own);
                }
                shared_too.lent.remove(&own);
            };
            let spawned = std::thread::Builder::new().name("lent-call".to_owned()).spawn(run);
            spawned.map(drop).inspect_err(|_| shared.lent.remove(&interrupt))
        });
        match started {
            // The thread waits for exactly this.
            Ok(()) => drop(sender.send(self)),
            Err(error) => self.give_up(shared, &error),
        }
    }

    fn give_up(mut self, shared: &WorkerShared, error: &std::io::Error) {
        self.running.process.kill();
        let why = format!("no thread could be started for a call that waits for other tasks: {error}");
        let reports = reports_of(shared);
        let mut told = Told { shared, reports: &reports, cpus: 0, doing: Doing::Nothing };
        self.tell(DialogueEvent::Died { why }, shared, &mut reports_of(shared), &mut told);
        shared.executors.end(self.running);
    }

    fn look_after(mut self, shared: &Arc<WorkerShared>, interrupt: &Interrupt) {
        let mut reports = reports_of(shared);
        let waiting_reports = reports_of(shared);
        let cpus = self.key.cpus();
        let mut told = Told { shared, reports: &waiting_reports, cpus, doing: Doing::Nothing };
        told.tell(Doing::Waits);
        self.running.process.lent(u64::from(self.task));
        let mut events = Vec::new();
        let is_used_up = loop {
            let is_cancelled = self.dialogue.first().is_some_and(|task| self.session.is_cancelled(task));
            self.tell(DialogueEvent::Heard { is_cancelled }, shared, &mut reports, &mut told);
            let until = match self.dialogue.next() {
                Next::Free => break false,
                Next::UsedUp => break true,
                Next::Wait { until } => until,
            };
            let left = until.map(|until| until.saturating_sub(shared.now()));
            let waited = self.running.process.wait(interrupt, left, &mut events);
            for event in events.drain(..) {
                let event = dialogue_event(event, &self.running);
                self.tell(event, shared, &mut reports, &mut told);
            }
            if let Err(error) = waited {
                let died = DialogueEvent::Died { why: error.to_string() };
                self.tell(died, shared, &mut reports, &mut told);
            }
        };
        told.tell(Doing::Nothing);
        reports.flush();
        if is_used_up {
            shared.executors.end(self.running);
        } else {
            shared.executors.put(&self.key, self.running, self.worker);
        }
        if let Some(hold) = self.hold {
            self.session.drop_grant(self.task);
            drop(hold);
        }
    }

    /// Tells the dialogue what has happened, and does what follows.
    fn tell(
        &mut self,
        event: DialogueEvent<TaskOutcome>,
        shared: &WorkerShared,
        reports: &mut Reports,
        told: &mut Told<'_>,
    ) {
        let mut actions = Vec::new();
        self.dialogue.handle(shared.now(), event, &mut actions);
        for action in actions {
            match &action {
                DialogueAction::Lend { task } => {
                    told.tell(Doing::Waits);
                    self.running.process.lent(u64::from(*task));
                }
                DialogueAction::GoOn { .. } => told.tell(Doing::GoesOn),
                action if ends_a_task(action) => {
                    self.clock.lap();
                    told.tell(Doing::Nothing);
                }
                _ => {}
            }
            let mut settling = Settling { shared, reports, clock: &self.clock, queue: Queue::Pool };
            settling.carry_out(&self.key, &self.session, &mut self.running, action);
        }
        reports.flush();
    }
}

/// Of calls that no worker looks after: they have the number after that of the last worker.
fn reports_of(shared: &WorkerShared) -> Reports {
    Reports::new(shared.config.cpus.len() as u32, shared.reports.clone(), shared.bell.clone())
}
