//! Calls that wait for other tasks: they have lent their cpus, and their workers go on without them.
//!
//! From the moment that a call lends, a thread of its own looks after it until it ends: while it waits, and also when it goes on,
//! when more tasks run for a while than there are cpus.

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
    interrupts: Mutex<Vec<Arc<Interrupt>>>,
    ended: Condvar,
    /// Calls that wait now.
    waiting: AtomicU32,
}

impl LentCalls {
    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Interrupt>>> {
        self.interrupts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many calls have lent their cpus and not gone on.
    pub(crate) fn waiting(&self) -> u32 {
        self.waiting.load(Ordering::SeqCst)
    }

    /// Has all threads look whether their call was cancelled.
    pub(crate) fn interrupt(&self) {
        self.lock().iter().for_each(|interrupt| interrupt.raise());
    }

    /// Waits until there are no such calls any more.
    pub(crate) fn join(&self) {
        let mut interrupts = self.lock();
        while !interrupts.is_empty() {
            interrupts = self.ended.wait(interrupts).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn add(&self) -> std::io::Result<Arc<Interrupt>> {
        let interrupt = Arc::new(Interrupt::new()?);
        self.lock().push(interrupt.clone());
        Ok(interrupt)
    }

    fn remove(&self, interrupt: &Arc<Interrupt>) {
        self.lock().retain(|other| !Arc::ptr_eq(other, interrupt));
        self.ended.notify_all();
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

/// Whether a call waits, as far as others are told.
struct Waiting<'a> {
    shared: &'a WorkerShared,
    reports: &'a Reports,
    waits: bool,
}

impl Waiting<'_> {
    fn set(&mut self, waits: bool) {
        if self.waits == waits {
            return;
        }
        self.waits = waits;
        let waiting = &self.shared.lent.waiting;
        if waits {
            waiting.fetch_add(1, Ordering::SeqCst)
        } else {
            waiting.fetch_sub(1, Ordering::SeqCst)
        };
        self.reports.lending();
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
        let mut waiting = Waiting { shared, reports: &waiting_reports, waits: false };
        waiting.set(true);
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
                        waiting.set(false);
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
                        waiting.set(true);
                        self.running.process.lent(call);
                    }
                    ExecutorEvent::Resumed { .. } => waiting.set(false),
                }
            }
            if let Err(error) = waited {
                self.lose(shared, &mut reports, Lost::Failed(error.to_string()));
                is_used_up = true;
            }
        }
        waiting.set(false);
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
