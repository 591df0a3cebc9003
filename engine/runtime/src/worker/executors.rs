//! The executors that a worker drives, one process for each kind of executor, and how calls are sent ahead.

use super::{Route, Worker, WorkerShared, has_passed, plain_failure, timed_out};
use crate::session::Session;
use rain_core::graph::Batch;
use rain_core::id::{SessionId, TaskId};
use rain_data::Object;
use rain_exec::{Answer, ExecutorError, ExecutorProcess, ExecutorSpec, TaskCall, TaskFailure, python_spec};
use rain_pool::ReadyTask;
use rain_topology::CpuId;
use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Work that may be sent ahead to an executor: it cannot be stolen back, so it is little.
const AHEAD_SECONDS: f64 = 200e-6;
const AHEAD_MAX: f64 = 16.0;

/// Kinds that an executor knows before those of closed sessions are looked for.
const KINDS_BEFORE_CLEANING: usize = 64;

/// Executor name of Python tasks.
const PYTHON: &str = "py";

/// An executor process and the kinds of tasks that were defined to it.
struct Running {
    process: ExecutorProcess,
    kinds: BTreeSet<u64>,
}

#[derive(Default)]
pub(super) struct Executors {
    registered: HashMap<String, Arc<ExecutorSpec>>,
    pythons: HashMap<PathBuf, Arc<ExecutorSpec>>,
    /// By address of the specification, which `registered` and `pythons` keep alive.
    running: HashMap<*const ExecutorSpec, Running>,
    /// Mean duration of calls by kind, seconds.
    durations: HashMap<u64, f64>,
}

// SAFETY: the pointers are keys only, never followed.
unsafe impl Send for Executors {}

impl Executors {
    pub(super) fn new(shared: &WorkerShared) -> Self {
        let registered = shared.config.executors.iter().map(|spec| (spec.name.clone(), Arc::new(spec.clone())));
        Self { registered: registered.collect(), ..Self::default() }
    }

    /// How the executor `name` is started, for a client that wants `python`.
    pub(super) fn spec(
        &mut self,
        shared: &WorkerShared,
        name: &str,
        python: Option<&Path>,
    ) -> Option<Arc<ExecutorSpec>> {
        if let Some(spec) = self.registered.get(name) {
            return Some(spec.clone());
        }
        if name != PYTHON {
            return None;
        }
        let python = python.unwrap_or(&shared.config.python);
        if let Some(spec) = self.pythons.get(python) {
            return Some(spec.clone());
        }
        let known = self.pythons.iter().find(|(path, _)| is_same_interpreter(path, python));
        let spec = known.map_or_else(|| Arc::new(python_spec(python)), |(_, spec)| spec.clone());
        self.pythons.insert(python.to_owned(), spec.clone());
        Some(spec)
    }

    /// Starts the executors that worker `index` is to have before they are needed.
    pub(super) fn prestart(&mut self, shared: &WorkerShared, index: usize) {
        let mut wanted: Vec<Arc<ExecutorSpec>> =
            self.registered.values().filter(|spec| index < spec.warm).cloned().collect();
        if index < shared.config.prestart {
            wanted.extend(self.spec(shared, PYTHON, None));
        }
        for spec in wanted {
            match ExecutorProcess::start(&spec, &shared.store) {
                Ok(process) => {
                    self.running.insert(Arc::as_ptr(&spec), Running { process, kinds: BTreeSet::new() });
                }
                Err(error) => tracing::warn!("executor {:?} could not be started ahead: {error}", spec.name),
            }
        }
    }

    /// How many calls of this kind may be with an executor at once.
    fn depth(&self, kind: u64) -> usize {
        match self.durations.get(&kind) {
            None => 1,
            Some(mean) => (AHEAD_SECONDS / mean.max(1e-9)).clamp(1.0, AHEAD_MAX) as usize,
        }
    }

    fn learn(&mut self, kind: u64, seconds: f64) {
        let mean = self.durations.entry(kind).or_insert(seconds);
        *mean += (seconds - *mean) / 8.0;
    }
}

/// Whether two paths lead to the same program in the same directory: `python` and `python3` of one environment. The
/// directory counts because a virtual environment is told by where its link to the program is.
fn is_same_interpreter(a: &Path, b: &Path) -> bool {
    let place = |path: &Path| Some((path.canonicalize().ok()?, path.parent()?.canonicalize().ok()?));
    place(a).is_some_and(|of_a| place(b) == Some(of_a))
}

fn session_of(kind: u64) -> u32 {
    (kind >> 32) as u32
}

pub(super) fn kind_id(session: &Session, batch: &Batch, task: u32) -> u64 {
    u64::from(session.number) << 32 | u64::from(batch.kind_index(task))
}

impl Worker {
    /// Runs a task on an executor, and others of the same session that it can take meanwhile. `cpus`: where it may run,
    /// if that is not the worker's own cpu.
    pub(super) fn run_on_executor(
        &mut self,
        spec: &Arc<ExecutorSpec>,
        session: &Arc<Session>,
        batch: &Arc<Batch>,
        task: ReadyTask,
        cpus: &[CpuId],
    ) {
        let key = Arc::as_ptr(spec);
        let mut running = match self.take_running(key) {
            Some(running) => running,
            None => match ExecutorProcess::start(spec, &self.shared.store) {
                Ok(process) => Running { process, kinds: BTreeSet::new() },
                Err(error) => return self.fail(session, batch, task.task(), plain_failure(error.to_string())),
            },
        };
        if !cpus.is_empty() {
            self.pin_executor(&running.process, cpus);
        }
        let intact = self.drive(&mut running, spec, session, batch, task, cpus.is_empty());
        if !cpus.is_empty() {
            let own: Vec<CpuId> = self.shared.config.cpus[self.queue.index()].into_iter().collect();
            self.pin_executor(&running.process, &own);
        }
        if intact {
            self.executors.running.insert(key, running);
        }
    }

    /// The idle executor, unless it has died meanwhile: that is no fault of the next task.
    fn take_running(&mut self, key: *const ExecutorSpec) -> Option<Running> {
        let mut running = self.executors.running.remove(&key)?;
        if running.kinds.len() > KINDS_BEFORE_CLEANING {
            self.forget_closed_sessions(&mut running);
        }
        match running.process.wait(&self.interrupt, Some(Duration::ZERO), &mut Vec::new()) {
            Ok(()) => Some(running),
            Err(error) => {
                tracing::warn!("an idle executor is replaced: {error}");
                None
            }
        }
    }

    fn forget_closed_sessions(&mut self, running: &mut Running) {
        let sessions = &self.shared.sessions;
        let is_over = |kind: &u64| sessions.get(session_of(*kind)).is_none_or(|s| !s.has_kind(*kind as u32));
        let over: Vec<u64> = running.kinds.iter().copied().filter(is_over).collect();
        running.process.forget(&over);
        running.kinds.retain(|kind| !over.contains(kind));
        self.executors.durations.retain(|kind, _| !over.contains(kind));
    }

    fn pin_executor(&self, process: &ExecutorProcess, cpus: &[CpuId]) {
        if !cpus.is_empty()
            && let Err(error) = rain_topology::pin_process(process.pid(), cpus)
        {
            tracing::warn!("executor {} is not pinned: {error}", process.pid());
        }
    }

    /// Keeps the executor busy until there is nothing for it; false when the process must not be used again.
    fn drive(
        &mut self,
        Running { process, kinds }: &mut Running,
        spec: &Arc<ExecutorSpec>,
        session: &Arc<Session>,
        batch: &Arc<Batch>,
        first: ReadyTask,
        ahead: bool,
    ) -> bool {
        let mut answers: Vec<Answer> = Vec::new();
        let mut waiting = Some((first, batch.clone()));
        let mut deadline = None;
        self.clock.restart();
        loop {
            while let Some((task, batch)) = waiting.take() {
                if let Err(failure) = self.send_call(process, session, &batch, task.task()) {
                    self.fail(session, &batch, task.task(), failure);
                }
                let kind = kind_id(session, &batch, task.task());
                kinds.insert(kind);
                let depth = self.executors.depth(kind);
                if depth == 1 {
                    self.reports.started(session.number, task.task(), self.clock.begin());
                }
                let limited = batch.kind(task.task()).timeout.is_some();
                if limited && process.in_flight() == 1 {
                    deadline = match self.set_deadline(&batch, task.task()) {
                        Ok(deadline) => deadline,
                        Err(failure) => {
                            self.fail(session, &batch, task.task(), failure);
                            return false;
                        }
                    };
                }
                if ahead && !limited && process.in_flight() < depth {
                    waiting = self.next_for(spec, session, false);
                }
            }
            self.reports.flush();
            if let Some(task) = self.next.take() {
                self.queue.leave(task);
            }
            let waited = process.wait(&self.interrupt, None, &mut answers);
            let took_answers = !answers.is_empty();
            if took_answers {
                // A task with a limit is alone, so the answer was its.
                deadline = None;
            }
            for answer in answers.drain(..) {
                let task = answer.call as u32;
                self.clock.lap();
                let Some(batch) = self.batch_for(session, task) else { continue };
                self.executors.learn(kind_id(session, &batch, task), f64::from(self.clock.times().0.duration));
                self.take_outcome(session, &batch, task, answer.outcome);
            }
            if let Err(error) = waited {
                self.executor_died(process, session, &error);
                return false;
            }
            if let Some(running) = process.first_in_flight().map(|call| call as u32) {
                if session.is_cancelled(running) {
                    self.abandon_calls(process, session);
                    return false;
                }
                if !took_answers && has_passed(deadline.as_ref()) {
                    self.clock.lap();
                    let calls = process.take_in_flight();
                    if let (Some(batch), 1) = (self.batch_for(session, running), calls.len()) {
                        self.fail(session, &batch, running, timed_out(&batch, running));
                    }
                    return false;
                }
            }
            if took_answers && ahead && !self.shared.pool.gang().is_wanted() {
                waiting = self.next_for(spec, session, process.in_flight() == 0);
            }
            if process.in_flight() == 0 && waiting.is_none() {
                return true;
            }
        }
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
        spec: &Arc<ExecutorSpec>,
        session: &Arc<Session>,
        alone: bool,
    ) -> Option<(ReadyTask, Arc<Batch>)> {
        let task = self.next_task()?;
        if task.session() == session.number {
            // One that is not to be run any more is done with: it must not be looked at twice.
            let (located, batch) = self.locate(task)?;
            let kind = batch.kind(task.task());
            if kind.cpus == 1
                && (kind.timeout.is_none() || alone)
                && let Route::Executor(other) = self.route(&located, kind)
                && Arc::ptr_eq(&other, spec)
            {
                return Some((task, batch));
            }
        }
        self.next = Some(task);
        None
    }

    fn send_call(
        &mut self,
        process: &mut ExecutorProcess,
        session: &Arc<Session>,
        batch: &Arc<Batch>,
        task: u32,
    ) -> Result<(), TaskFailure> {
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
        let sent = process.send(u64::from(task), kind_id(session, batch, task), &call);
        self.inputs = inputs;
        self.inputs.clear();
        sent
    }

    /// The executor is gone: the call it was at fails, the ones behind it have not begun and go to another one.
    fn executor_died(&mut self, process: &mut ExecutorProcess, session: &Arc<Session>, error: &ExecutorError) {
        let mut calls = process.take_in_flight().into_iter().map(|call| call as u32);
        if let Some(task) = calls.next() {
            self.clock.lap();
            if let Some(batch) = self.batch_for(session, task) {
                self.fail(session, &batch, task, plain_failure(error.to_string()));
            }
        }
        self.requeue(session, calls);
    }

    /// The call that runs was cancelled: it ends with its executor, and the ones behind it go to another one.
    fn abandon_calls(&mut self, process: &mut ExecutorProcess, session: &Session) {
        let mut calls = process.take_in_flight().into_iter().map(|call| call as u32);
        if let Some(task) = calls.next()
            && let Some(batch) = self.batch_for(session, task)
        {
            session.abandon(&batch, task);
        }
        self.requeue(session, calls);
    }

    fn requeue(&self, session: &Session, tasks: impl Iterator<Item = u32>) {
        for task in tasks {
            self.queue.push(ReadyTask::new(session.number, task));
        }
    }
}
