//! What the thread that keeps executor processes has to do, and when.

use super::key::PYTHON;
use super::running::Running;
use rain_exec::ExecutorSpec;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long executors have to rest before unused ones are started in the place of those that were taken: what they do comes first.
const RESTOCK_DELAY: Duration = Duration::from_millis(500);
/// How long an idle executor gets to answer before it is looked at.
const LOOK_DELAY: Duration = Duration::from_millis(50);
/// How often idle processes are looked at for being old or large.
pub(super) const ROUND: Duration = Duration::from_secs(20);
/// Unused processes are kept for one worker in so many, and for two workers at least.
const WORKERS_PER_UNUSED: usize = 4;

pub(super) struct Keeper {
    state: Mutex<State>,
    changed: Condvar,
    workers: usize,
    pub(super) unused_max: usize,
    pub(super) thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) shut_down: bool,
    /// To be ended.
    ending: Vec<Running>,
    /// The executor of Python that was used last: unused processes are kept of it.
    pub(super) used: Option<Arc<ExecutorSpec>>,
    restock_at: Option<Instant>,
    /// When an executor was given a task last, or had done its tasks.
    active_at: Option<Instant>,
    /// Executors that have tasks.
    busy: usize,
    look_at: Option<Instant>,
}

/// What the thread does next.
pub(super) enum Step {
    End(Vec<Running>),
    Restock(Arc<ExecutorSpec>),
    Look,
    Round,
    ShutDown(Vec<Running>),
}

impl Keeper {
    pub(super) fn new(workers: usize) -> Self {
        let unused_max = workers.div_ceil(WORKERS_PER_UNUSED).max(2).min(workers.max(1));
        Self { state: Mutex::default(), changed: Condvar::new(), workers, unused_max, thread: Mutex::default() }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends a process.
    pub(super) fn end(&self, running: Running) {
        let mut state = self.lock();
        if state.shut_down {
            drop(state);
            return drop(running);
        }
        state.ending.push(running);
        self.changed.notify_one();
    }

    /// Unused processes are kept of this executor from the start.
    pub(super) fn keep_unused(&self, spec: &Arc<ExecutorSpec>) {
        self.lock().used = Some(spec.clone());
    }

    /// A process of this executor is used, so that the next ones shall be started ahead.
    pub(super) fn is_used(&self, spec: &Arc<ExecutorSpec>) {
        if spec.name != PYTHON {
            return;
        }
        let mut state = self.lock();
        if state.used.as_ref().is_none_or(|used| !Arc::ptr_eq(used, spec)) {
            state.used = Some(spec.clone());
        }
        if state.restock_at.is_none() {
            state.restock_at = Instant::now().checked_add(RESTOCK_DELAY);
            self.changed.notify_one();
        }
    }

    /// An executor is given tasks.
    pub(super) fn begins(&self) {
        let mut state = self.lock();
        state.busy += 1;
        state.active_at = state.restock_at.map(|_| Instant::now());
    }

    /// An executor has done its tasks.
    pub(super) fn ends(&self) {
        let mut state = self.lock();
        state.busy = state.busy.saturating_sub(1);
        state.active_at = state.restock_at.map(|_| Instant::now());
    }

    /// Idle processes were told something that they may answer.
    pub(super) fn look_soon(&self) {
        let mut state = self.lock();
        if state.look_at.is_none() {
            state.look_at = Instant::now().checked_add(LOOK_DELAY);
            self.changed.notify_one();
        }
    }

    /// Ends the thread, and the processes that were to be ended.
    pub(super) fn shut_down(&self) {
        self.lock().shut_down = true;
        self.changed.notify_one();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }

    pub(super) fn next_step(&self, round_at: Instant) -> Step {
        let mut state = self.lock();
        loop {
            if state.shut_down {
                return Step::ShutDown(std::mem::take(&mut state.ending));
            }
            if !state.ending.is_empty() {
                return Step::End(std::mem::take(&mut state.ending));
            }
            let now = Instant::now();
            let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
            if is_due(state.look_at) {
                state.look_at = None;
                return Step::Look;
            }
            let rested_at = state.active_at.and_then(|active| active.checked_add(RESTOCK_DELAY));
            let has_no_cpu = state.busy >= self.workers;
            if is_due(state.restock_at) && (has_no_cpu || rested_at.is_some_and(|rested| rested > now)) {
                state.restock_at = if has_no_cpu { now.checked_add(RESTOCK_DELAY) } else { rested_at };
            }
            if is_due(state.restock_at) {
                state.restock_at = None;
                if let Some(spec) = &state.used {
                    return Step::Restock(spec.clone());
                }
            }
            if round_at <= now {
                return Step::Round;
            }
            let next = [Some(round_at), state.look_at, state.restock_at].into_iter().flatten().min();
            let left = next.map_or(ROUND, |next| next.saturating_duration_since(now));
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}
