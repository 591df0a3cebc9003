//! Calls that wait for other tasks: they have lent their cpus, and their workers go on without them.
//!
//! From the moment that a call lends, a thread of its own looks after it until it ends. When it goes on, more tasks run than there
//! are cpus, until a worker comes to the end of its task and stands aside for it.

use super::WorkerShared;
use super::reports::{Clock, Reports};
use super::settling::{Lost, Queue, Settling};
use crate::executors::{ExecutorKey, Running};
use crate::session::Session;
use rain_exec::{ExecutorEvent, Interrupt};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// The calls of a governor that have lent their cpus and have not ended.
#[derive(Default)]
pub(crate) struct LentCalls {
    state: Mutex<State>,
    changed: Condvar,
    /// Cpus of calls that have gone on, less those of workers that stand aside; to be read without the lock.
    owed: AtomicU32,
}

#[derive(Default)]
struct State {
    interrupts: Vec<Arc<Interrupt>>,
    /// Calls that wait now.
    waiting: u32,
    /// Cpus of those that have gone on.
    resumed: u32,
    /// Workers that stand aside for these.
    aside: u32,
    shut_down: bool,
}

impl LentCalls {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.lock();
        change(&mut state);
        self.owed.store(state.resumed.saturating_sub(state.aside), Ordering::Release);
        self.changed.notify_all();
    }

    /// How many calls have lent their cpus and not gone on.
    pub(crate) fn waiting(&self) -> u32 {
        self.lock().waiting
    }

    /// Whether a call has gone on for which no worker stands aside.
    #[inline]
    pub(super) fn is_owed(&self) -> bool {
        self.owed.load(Ordering::Acquire) > 0
    }

    /// A worker that has nothing in hand leaves its cpu to a call that has gone on, until this ends or lends again.
    pub(super) fn stand_aside(&self) {
        self.change(|state| state.aside += 1);
        let mut state = self.lock();
        while state.resumed >= state.aside && !state.shut_down {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.aside -= 1;
        self.owed.store(state.resumed.saturating_sub(state.aside), Ordering::Release);
    }

    /// Has all threads look whether their call was cancelled.
    pub(crate) fn interrupt(&self) {
        self.lock().interrupts.iter().for_each(|interrupt| interrupt.raise());
    }

    /// Lets workers go that stand aside, for good.
    pub(crate) fn shut_down(&self) {
        self.change(|state| state.shut_down = true);
    }

    /// Waits until there are no such calls any more.
    pub(crate) fn join(&self) {
        let mut state = self.lock();
        while !state.interrupts.is_empty() {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn add(&self) -> std::io::Result<Arc<Interrupt>> {
        let interrupt = Arc::new(Interrupt::new()?);
        self.change(|state| state.interrupts.push(interrupt.clone()));
        Ok(interrupt)
    }

    fn remove(&self, interrupt: &Arc<Interrupt>) {
        self.change(|state| state.interrupts.retain(|other| !Arc::ptr_eq(other, interrupt)));
    }
}

/// A call that lends its cpus.
pub(super) struct LentCall {
    pub(super) key: Arc<ExecutorKey>,
    pub(super) running: Running,
    pub(super) session: Arc<Session>,
    pub(super) task: u32,
    /// When its time is over.
    pub(super) limit: Option<Instant>,
    /// Its time began when the last task ended on this.
    pub(super) clock: Clock,
    /// The worker that had it.
    pub(super) worker: usize,
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
        let message = format!("no thread could be started for a call that waits for other tasks: {error}");
        self.lose(shared, &mut reports_of(shared), Lost::Failed(message));
        shared.executors.end(self.running);
    }

    fn lose(&mut self, shared: &WorkerShared, reports: &mut Reports, how: Lost) {
        self.clock.lap();
        let calls = self.running.process.take_in_flight();
        self.settling(shared, reports).lose_calls(&self.session.clone(), calls, how);
    }

    fn settling<'a>(&'a self, shared: &'a WorkerShared, reports: &'a mut Reports) -> Settling<'a> {
        Settling { shared, reports, clock: &self.clock, queue: Queue::Pool }
    }

    fn look_after(mut self, shared: &Arc<WorkerShared>, interrupt: &Interrupt) {
        let mut reports = reports_of(shared);
        let waiting_reports = reports_of(shared);
        let cpus = self.key.cpus();
        let mut told = Told { shared, reports: &waiting_reports, cpus, doing: Doing::Nothing };
        told.tell(Doing::Waits);
        self.running.process.lent(u64::from(self.task));
        let mut is_used_up = false;
        let mut events = Vec::new();
        while let Some(call) = self.running.process.first_in_flight() {
            let has_passed = self.limit.is_some_and(|limit| limit <= Instant::now());
            if self.session.is_cancelled(call as u32) || has_passed {
                self.running.process.kill();
                self.lose(shared, &mut reports, if has_passed { Lost::TimedOut } else { Lost::Cancelled });
                is_used_up = true;
                break;
            }
            let left = self.limit.map(|limit| limit.saturating_duration_since(Instant::now()));
            let waited = self.running.process.wait(interrupt, left, &mut events);
            for event in events.drain(..) {
                match event {
                    ExecutorEvent::Answered { call, outcome } => {
                        self.clock.lap();
                        self.limit = None;
                        told.tell(Doing::Nothing);
                        let (session, task) = (self.session.clone(), call as u32);
                        if let Some(batch) = session.batch_of(task) {
                            self.settling(shared, &mut reports).take_outcome(&session, &batch, task, outcome);
                        }
                        reports.flush();
                    }
                    ExecutorEvent::Returned { calls, reason } => {
                        is_used_up |= reason.is_some();
                        self.settling(shared, &mut reports).return_calls(&self.session, calls);
                    }
                    ExecutorEvent::Lent { call } => {
                        told.tell(Doing::Waits);
                        self.running.process.lent(call);
                    }
                    ExecutorEvent::Resumed { .. } => told.tell(Doing::GoesOn),
                }
            }
            if waited.is_err() && is_used_up {
                // It has begun none of them.
                let calls = self.running.process.take_in_flight();
                self.settling(shared, &mut reports).return_calls(&self.session, calls);
            } else if let Err(error) = waited {
                self.lose(shared, &mut reports, Lost::Failed(error.to_string()));
                is_used_up = true;
            }
        }
        told.tell(Doing::Nothing);
        reports.flush();
        if is_used_up {
            shared.executors.end(self.running);
        } else {
            shared.executors.put(&self.key, self.running, self.worker);
        }
    }
}

fn reports_of(shared: &WorkerShared) -> Reports {
    Reports::new(shared.reports.clone(), shared.bell.clone())
}
