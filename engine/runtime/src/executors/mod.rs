//! The executor processes of a governor that have nothing to do: kept for the next task that they may run, started ahead, and
//! ended when nobody wants them.

mod idle;
mod keeper;

use crate::session::SessionTable;
use idle::{Idle, Taken};
use keeper::Keeper;
use rain_data::Store;
use rain_exec::{ExecutorError, ExecutorEvent, ExecutorProcess, ExecutorSpec, Interrupt, python_spec};
use rain_model::graph::Kind;
use rain_topology::CpuId;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Executor name of Python tasks.
const PYTHON: &str = "py";
/// Idle processes that have run something: for each worker, and for a few calls that start others and wait for them.
const USED_PER_WORKER_MAX: usize = 2;
const USED_MORE_MAX: usize = 8;

/// Kinds that an executor may know before forgotten ones are looked for.
const KINDS_MIN: usize = 64;

/// Which executor processes may run a task.
#[derive(Clone, Debug)]
pub(crate) struct ExecutorKey {
    spec: Arc<ExecutorSpec>,
    /// [`Kind::process`].
    process: String,
    /// Libraries size their thread pools once, so a process runs tasks of one number of cpus.
    cpus: u32,
}

impl ExecutorKey {
    pub(crate) fn new(spec: Arc<ExecutorSpec>, kind: &Kind) -> Self {
        Self { spec, process: kind.process.clone(), cpus: kind.cpus }
    }

    /// Whether the executor itself ends what its tasks have started, before it answers.
    pub(crate) fn ends_its_children(&self) -> bool {
        self.spec.name == PYTHON
    }

    /// Cpus of a task.
    pub(crate) fn cpus(&self) -> u32 {
        self.cpus
    }

    /// The executor's name.
    pub(crate) fn name(&self) -> &str {
        &self.spec.name
    }
}

impl PartialEq for ExecutorKey {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.spec, &other.spec) && self.process == other.process && self.cpus == other.cpus
    }
}

/// An executor process with what its next user has to know of it.
pub(crate) struct Running {
    pub(crate) process: ExecutorProcess,
    /// The session whose call it had last.
    session: Option<u32>,
    /// It has answered a call.
    pub(crate) has_answered: bool,
    /// The cpus that it is bound to, if that is known.
    cpus: Vec<CpuId>,
    /// How many sessions had been closed when it was last looked at for kinds of those.
    closes: u64,
    /// How many kinds were left when it was last looked at for forgotten ones.
    kinds_left: usize,
}

impl Running {
    fn new(process: ExecutorProcess) -> Self {
        Self { process, session: None, has_answered: false, cpus: Vec::new(), closes: 0, kinds_left: 0 }
    }

    /// Prepares the process for a call of a session that is to run on these cpus (none: wherever it is).
    pub(crate) fn begin(&mut self, session: u32, cpus: &[CpuId]) {
        let is_other_session = self.session != Some(session);
        // What one that is new has written tells why it does not start.
        if is_other_session && self.session.replace(session).is_some() {
            self.process.begin_session();
        }
        // A task may have bound its process to other cpus.
        if !cpus.is_empty() && (is_other_session || self.cpus != cpus) {
            match rain_topology::pin_process(self.process.pid(), cpus) {
                Ok(()) => self.cpus = cpus.to_vec(),
                Err(error) => tracing::warn!("executor {} is not pinned: {error}", self.process.pid()),
            }
        }
    }

    /// Lets the executor forget kinds of sessions that are closed; false if it cannot be told.
    fn forget_closed(&mut self, sessions: &SessionTable, closes: u64) -> bool {
        if self.closes == closes {
            return true;
        }
        self.closes = closes;
        let mut next = 0;
        while let Some(kind) = self.process.knows_from(next) {
            let session = (kind >> 32) as u32;
            if sessions.get(session).is_none() {
                self.process.forget(kinds_of(session));
            }
            let Some(following) = session.checked_add(1) else { break };
            next = u64::from(following) << 32;
        }
        self.process.flush().is_ok()
    }

    /// Lets the executor forget kinds that their client has forgotten, when it knows twice as many as were left the last time:
    /// so that costs, on the whole, a constant time a kind.
    fn forget_kinds(&mut self, sessions: &SessionTable) {
        if self.process.kinds_known() <= KINDS_MIN.max(2 * self.kinds_left) {
            return;
        }
        self.process.forget_if(|kind| {
            let session = sessions.get((kind >> 32) as u32);
            session.is_none_or(|session| !session.has_kind(kind as u32))
        });
        self.kinds_left = self.process.kinds_known();
    }

    /// Whether it has ended or asked not to be used any more, while it was idle.
    fn is_over(&mut self, interrupt: &Interrupt) -> bool {
        let mut events = Vec::new();
        if let Err(error) = self.process.wait(interrupt, Some(Duration::ZERO), &mut events) {
            tracing::warn!("an idle executor has ended: {error}");
            return true;
        }
        let reason = events.into_iter().find_map(|event| match event {
            ExecutorEvent::Returned { reason, .. } => reason,
            _ => None,
        });
        if let Some(reason) = &reason {
            tracing::debug!("executor {} is not used again: {reason}", self.process.pid());
        }
        reason.is_some()
    }
}

/// Ids of all kinds of a session.
fn kinds_of(session: u32) -> std::ops::RangeInclusive<u64> {
    let first = u64::from(session) << 32;
    first..=first | u64::from(u32::MAX)
}

/// The executors of a governor.
pub(crate) struct Executors {
    shared: Arc<Shared>,
    registered: HashMap<String, Arc<ExecutorSpec>>,
    python: PathBuf,
    pythons: Mutex<HashMap<PathBuf, Arc<ExecutorSpec>>>,
}

/// What workers and the keeper share.
struct Shared {
    store: Arc<Store>,
    sessions: Arc<SessionTable>,
    idle: Mutex<Idle<Running>>,
    /// Sessions that were closed so far.
    closes: AtomicU64,
    keeper: Keeper,
}

impl Shared {
    fn idle(&self) -> MutexGuard<'_, Idle<Running>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Executors {
    /// The executors of a governor with so many workers.
    pub(crate) fn new(
        store: Arc<Store>,
        sessions: Arc<SessionTable>,
        registered: &[ExecutorSpec],
        python: &Path,
        workers: usize,
    ) -> Self {
        let idle = Mutex::new(Idle::new(USED_PER_WORKER_MAX * workers + USED_MORE_MAX));
        let keeper = Keeper::new(workers);
        let registered = registered.iter().map(|spec| (spec.name.clone(), Arc::new(spec.clone()))).collect();
        let shared = Arc::new(Shared { store, sessions, idle, closes: AtomicU64::new(0), keeper });
        Self { shared, registered, python: python.to_owned(), pythons: Mutex::default() }
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
            let key = ExecutorKey { spec: spec.clone(), process: String::new(), cpus: 1 };
            wanted.extend((0..spec.warm.min(workers)).map(|_| (spec.clone(), Some(Arc::new(key.clone())))));
        }
        keeper::start(&self.shared, wanted)
    }

    /// A process for a task, idle so far or just started.
    pub(crate) fn get(
        &self,
        key: &ExecutorKey,
        worker: usize,
        interrupt: &Interrupt,
    ) -> Result<Running, ExecutorError> {
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
        let cpus = (key.spec.name != PYTHON).then_some(key.cpus);
        self.shared.keeper.is_used(&key.spec);
        let started = ExecutorProcess::start(&key.spec, &self.shared.store, cpus)?;
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
