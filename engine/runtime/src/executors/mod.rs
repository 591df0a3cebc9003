//! The executor processes of a governor that have nothing to do: kept for the next task that they may run, started ahead, and
//! ended when nobody wants them.

mod idle;
mod keeper;
mod keeping;
mod key;
mod running;
mod shared;

use crate::config::GovernorConfig;
use crate::session::SessionTable;
use idle::{Idle, Taken};
use keeper::Keeper;
use key::PYTHON;
use rain_data::Store;
use rain_exec::{ExecutorError, ExecutorProcess, ExecutorSpec, Interrupt, python_spec};
use shared::Shared;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

pub(crate) use key::{ExecutorKey, Granted};
pub(crate) use running::Running;

/// Idle processes that have run something: for each worker, and for a few calls that start others and wait for them.
const USED_PER_WORKER_MAX: usize = 2;
const USED_MORE_MAX: usize = 8;

/// The executors of a governor.
pub(crate) struct Executors {
    shared: Arc<Shared>,
    registered: HashMap<String, Arc<ExecutorSpec>>,
    python: PathBuf,
    pythons: Mutex<HashMap<PathBuf, Arc<ExecutorSpec>>>,
}

impl Executors {
    /// The executors of a governor. `ungranted`: variables of those whose tasks were given cpus alone.
    pub(crate) fn new(
        store: Arc<Store>,
        sessions: Arc<SessionTable>,
        config: &GovernorConfig,
        ungranted: &[(String, String)],
    ) -> Self {
        let workers = config.cpus.len();
        let idle = Mutex::new(Idle::new(USED_PER_WORKER_MAX * workers + USED_MORE_MAX));
        let keeper = Keeper::new(workers);
        let registered = config.executors.iter().map(|spec| (spec.name.clone(), Arc::new(spec.clone()))).collect();
        let shared = Arc::new(Shared {
            store,
            sessions,
            idle,
            closes: AtomicU64::new(0),
            keeper,
            ungranted: ungranted.to_vec(),
        });
        Self { shared, registered, python: config.python.clone(), pythons: Mutex::default() }
    }

    /// How the executor `name` is started, for a client that wants `python`.
    pub(crate) fn spec(&self, name: &str, python: Option<&Path>) -> Option<Arc<ExecutorSpec>> {
        if let Some(spec) = self.registered.get(name) {
            return Some(spec.clone());
        }
        if name != PYTHON {
            return None;
        }
        let python = python.unwrap_or(&self.python);
        let mut pythons = self.pythons.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(spec) = pythons.get(python) {
            return Some(spec.clone());
        }
        let known = pythons.iter().find(|(path, _)| is_same_interpreter(path, python));
        let spec = known.map_or_else(|| Arc::new(python_spec(python)), |(_, spec)| spec.clone());
        pythons.insert(python.to_owned(), spec.clone());
        Some(spec)
    }

    /// Starts the keeper, and has it start executors before they are needed: so many of Python's, and what the registered ones
    /// ask for, one for each worker at most.
    ///
    /// # Errors
    /// When the system gives no thread or descriptor.
    pub(crate) fn start(&self, pythons: usize, workers: usize) -> std::io::Result<()> {
        let mut wanted: Vec<(Arc<ExecutorSpec>, Option<Arc<ExecutorKey>>)> = Vec::new();
        if pythons > 0
            && let Some(spec) = self.spec(PYTHON, None)
        {
            self.shared.keeper.keep_unused(&spec);
            wanted.extend((0..pythons).map(|_| (spec.clone(), None)));
        }
        for spec in self.registered.values() {
            let key = ExecutorKey { spec: spec.clone(), process: String::new(), cpus: 1, granted: None };
            wanted.extend((0..spec.warm.min(workers)).map(|_| (spec.clone(), Some(Arc::new(key.clone())))));
        }
        keeping::start(&self.shared, wanted)
    }

    /// A process for a task, idle so far or just started.
    pub(crate) fn get(
        &self,
        key: &ExecutorKey,
        worker: usize,
        interrupt: &Interrupt,
    ) -> Result<Running, ExecutorError> {
        if let Some(granted) = key.granted.as_ref().filter(|granted| !granted.places.is_empty()) {
            // Those that have had the same may still use it, as memory of a GPU.
            let others = self.shared.idle().take_others(key, granted);
            others.into_iter().for_each(|other| self.shared.keeper.end(other));
        }
        loop {
            let taken = self.shared.idle().take(key, worker);
            let Some(Taken { mut process, is_unused }) = taken else { break };
            if is_unused {
                self.shared.keeper.is_used(&key.spec);
            }
            if !process.is_over(interrupt) {
                self.shared.keeper.begins();
                return Ok(process);
            }
            self.shared.keeper.end(process);
        }
        // The Python executor learns from its first call how many cpus it has, so that one that was started ahead may run any.
        let cpus = (key.spec.name != PYTHON || key.granted.is_some()).then_some(key.cpus);
        let granted = key.granted.as_ref().map_or(&self.shared.ungranted, |granted| &granted.environment);
        self.shared.keeper.is_used(&key.spec);
        let started = ExecutorProcess::start(&key.spec, &self.shared.store, cpus, granted)?;
        self.shared.keeper.begins();
        Ok(Running::new(started))
    }

    /// Keeps a process, which has nothing in flight, for other tasks of its key.
    pub(crate) fn put(&self, key: &Arc<ExecutorKey>, mut running: Running, worker: usize) {
        self.shared.keeper.ends();
        let closes = self.shared.closes.load(Ordering::Acquire);
        let told = running.closes != closes;
        running.forget_kinds(&self.shared.sessions);
        if !running.forget_closed(&self.shared.sessions, closes) {
            return self.shared.keeper.end(running);
        }
        let excess = self.shared.idle().put(key.clone(), worker, Instant::now(), running);
        if told {
            self.shared.keeper.look_soon();
        }
        excess.into_iter().for_each(|excess| self.shared.keeper.end(excess));
    }

    /// Ends a process that has had tasks; another thread waits until all of it is gone.
    pub(crate) fn end(&self, running: Running) {
        self.shared.keeper.ends();
        self.shared.keeper.end(running);
    }

    /// A session was closed: idle processes let go of what they keep of it.
    pub(crate) fn session_closed(&self) {
        let closes = self.shared.closes.fetch_add(1, Ordering::AcqRel) + 1;
        let over = self.shared.idle().take_over(|running| !running.forget_closed(&self.shared.sessions, closes));
        over.into_iter().for_each(|running| self.shared.keeper.end(running));
        self.shared.keeper.look_soon();
    }

    /// Ends all idle processes and the keeper.
    pub(crate) fn shut_down(&self) {
        self.shared.keeper.shut_down();
        drop(self.shared.idle().take_all());
    }
}

/// Whether two clients want the same program in the same directory, as `python` and `python3` of one environment are. The
/// directory counts because a virtual environment is told by where its link to the program is. Lines after the first are
/// directories that the program is told of, see [`python_spec`].
fn is_same_interpreter(a: &Path, b: &Path) -> bool {
    fn split(python: &Path) -> (&Path, &[u8]) {
        let bytes = python.as_os_str().as_bytes();
        let end = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
        (Path::new(OsStr::from_bytes(&bytes[..end])), &bytes[end..])
    }
    let place = |path: &Path| Some((path.canonicalize().ok()?, path.parent()?.canonicalize().ok()?));
    let ((a, told_a), (b, told_b)) = (split(a), split(b));
    told_a == told_b && place(a).is_some_and(|of_a| place(b) == Some(of_a))
}
