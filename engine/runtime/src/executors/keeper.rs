//! The thread that does for executor processes what no task should wait for: starting them ahead, ending them, and noticing that
//! idle ones have ended.

use super::{ExecutorKey, Running, Shared};
use rain_exec::{ExecutorProcess, ExecutorSpec, Interrupt};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long executors have to rest before unused ones are started in the place of those that were taken: what they do comes first.
const RESTOCK_DELAY: Duration = Duration::from_millis(500);
/// How long an idle executor gets to answer before it is looked at.
const LOOK_DELAY: Duration = Duration::from_millis(50);
/// How often idle processes are looked at for being old or large.
const ROUND: Duration = Duration::from_secs(20);
/// An idle process with more memory is large.
const LARGE_BYTES: u64 = 256 << 20;
/// Unused processes are kept for one worker in so many, and for two workers at least.
const WORKERS_PER_UNUSED: usize = 4;

pub(super) struct Keeper {
    state: Mutex<State>,
    changed: Condvar,
    workers: usize,
    unused_max: usize,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Default)]
struct State {
    shut_down: bool,
    /// To be ended.
    ending: Vec<Running>,
    /// The executor of Python that was used last: unused processes are kept of it.
    used: Option<Arc<ExecutorSpec>>,
    restock_at: Option<Instant>,
    /// When an executor was given a task last, or had done its tasks.
    active_at: Option<Instant>,
    /// Executors that have tasks.
    busy: usize,
    look_at: Option<Instant>,
}

/// What the thread does next.
enum Step {
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

    fn lock(&self) -> MutexGuard<'_, State> {
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
        if spec.name != super::PYTHON {
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

    fn next_step(&self, round_at: Instant) -> Step {
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

/// Starts the thread, which begins with starting these executors; those with a key are for tasks of it only.
pub(super) fn start(shared: &Arc<Shared>, ahead: Vec<(Arc<ExecutorSpec>, Option<Arc<ExecutorKey>>)>) -> io::Result<()> {
    let interrupt = Interrupt::new()?;
    let own = shared.clone();
    let thread = std::thread::Builder::new().name("executors".to_owned()).spawn(move || {
        for (spec, key) in ahead {
            start_ahead(&own, &spec, key);
        }
        keep(&own, &interrupt);
    })?;
    *shared.keeper.thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
    Ok(())
}

fn keep(shared: &Shared, interrupt: &Interrupt) {
    let mut round_at = Instant::now() + ROUND;
    loop {
        match shared.keeper.next_step(round_at) {
            Step::ShutDown(ending) => return drop(ending),
            Step::End(ending) => {
                let mut ending = ending;
                ending.iter_mut().for_each(|running| running.process.ask_to_end());
                ending.iter_mut().for_each(|running| running.process.finish());
            }
            Step::Look => {
                let over = shared.idle().take_over(|running| running.is_over(interrupt));
                drop(over);
            }
            Step::Restock(spec) => {
                let is_wanted = |shared: &Shared| {
                    !shared.keeper.lock().shut_down && shared.idle().unused(&spec) < shared.keeper.unused_max
                };
                while is_wanted(shared) && start_ahead(shared, &spec, None) {}
            }
            Step::Round => {
                round_at = Instant::now() + ROUND;
                let used = shared.keeper.lock().used.clone();
                let over = shared.idle().take_expired(Instant::now(), used.as_ref(), is_large);
                drop(over);
                let over = shared.idle().take_over(|running| running.is_over(interrupt));
                drop(over);
            }
        }
    }
}

/// Starts a process before it is needed; false if that did not work.
fn start_ahead(shared: &Shared, spec: &Arc<ExecutorSpec>, key: Option<Arc<ExecutorKey>>) -> bool {
    let process = match ExecutorProcess::start(spec, &shared.store, key.as_ref().map(|key| key.cpus)) {
        Ok(process) => Running::new(process),
        Err(error) => {
            tracing::warn!("executor {:?} could not be started ahead: {error}", spec.name);
            return false;
        }
    };
    let now = Instant::now();
    match key {
        None => shared.idle().add_unused(spec.clone(), now, process),
        Some(key) => {
            let excess = shared.idle().put(key, 0, now, process);
            drop(excess);
        }
    }
    true
}

fn is_large(running: &Running) -> bool {
    let path = PathBuf::from(format!("/proc/{}/status", running.process.pid()));
    let status = std::fs::read_to_string(path).unwrap_or_default();
    let kibibytes =
        status.lines().find_map(|line| line.strip_prefix("RssAnon:")?.trim().strip_suffix(" kB")?.parse().ok());
    kibibytes.is_some_and(|kibibytes: u64| kibibytes << 10 > LARGE_BYTES)
}
