//! A worker: one cpu slot. It runs built-in tasks in place, and waits for the program or executor that it drives.

mod executors;
mod reports;

use crate::bell::Bell;
use crate::deadlines::{Deadline, Deadlines};
use crate::end_of_work::EndOfWork;
use crate::governor::GovernorConfig;
use crate::session::{Session, SessionTable};
use crossbeam_channel::Sender;
use executors::{Executors, kind_id};
use rain_core::graph::{Batch, Kind};
use rain_core::id::{GovernorId, SessionId, TaskId};
use rain_core::peer::{Failure, Finished};
use rain_data::{Object, Store};
use rain_exec::{ExecutorSpec, Interrupt, TaskCall, TaskFailure, TaskOutcome, may_block, run_built_in};
use rain_pool::{GangCall, LocalQueue, Pool, ReadyTask};
use rain_topology::CpuId;
use reports::{Clock, Reports};
use std::sync::Arc;

/// What workers tell their governor.
#[derive(Debug)]
pub(crate) enum Report {
    /// A task that may take long has begun; `start` in seconds since 1970.
    Started {
        session: u32,
        task: u32,
        start: f64,
    },
    Finished(Finished),
    /// Not begun, for want of time.
    Withheld {
        session: u32,
        tasks: Vec<u32>,
    },
    Failed {
        session: u32,
        task: u32,
        failure: Failure,
    },
}

/// What the workers of a governor share.
pub(crate) struct WorkerShared {
    pub(crate) id: GovernorId,
    pub(crate) sessions: Arc<SessionTable>,
    pub(crate) store: Arc<Store>,
    pub(crate) config: GovernorConfig,
    pub(crate) pool: Arc<Pool>,
    pub(crate) interrupts: Vec<Arc<Interrupt>>,
    pub(crate) reports: Sender<Report>,
    pub(crate) bell: Bell,
    pub(crate) deadlines: Deadlines,
    pub(crate) end: EndOfWork,
}

/// How tasks of a kind are run.
#[derive(Clone)]
enum Route {
    /// Outputs are empty blobs: not worth a call.
    Noop,
    BuiltIn,
    Executor(Arc<ExecutorSpec>),
    Unknown,
}

/// One worker, on its own thread.
pub(crate) struct Worker {
    shared: Arc<WorkerShared>,
    queue: LocalQueue,
    interrupt: Arc<Interrupt>,
    /// A task that this worker runs before it looks into its queue.
    next: Option<ReadyTask>,
    session: Option<Arc<Session>>,
    batch: Option<Arc<Batch>>,
    route: Option<(Arc<Kind>, Route)>,
    executors: Executors,
    reports: Reports,
    clock: Clock,
    empty_blob: Arc<Object>,
    inputs: Vec<Arc<Object>>,
}

impl Worker {
    pub(crate) fn new(shared: Arc<WorkerShared>, queue: LocalQueue) -> Self {
        let reports = Reports::new(shared.reports.clone(), shared.bell.clone());
        Self {
            interrupt: shared.interrupts[queue.index()].clone(),
            next: None,
            session: None,
            batch: None,
            route: None,
            executors: Executors::new(&shared),
            reports,
            clock: Clock::new(),
            empty_blob: Arc::new(Object::inline(Vec::new(), None)),
            inputs: Vec::new(),
            shared,
            queue,
        }
    }

    /// Runs tasks until the pool is shut down.
    pub(crate) fn run(mut self) {
        let cpu = self.shared.config.cpus[self.queue.index()];
        self.pin(&cpu.into_iter().collect::<Vec<_>>());
        self.executors.prestart(&self.shared, self.queue.index());
        while !self.shared.pool.is_shut_down() {
            if self.shared.pool.gang().is_wanted() {
                self.join_gang();
            } else if let Some(task) = self.next_task() {
                self.run_guarded(task);
            } else {
                self.rest();
            }
        }
    }

    #[inline]
    fn next_task(&mut self) -> Option<ReadyTask> {
        match self.next.take() {
            None => self.queue.find(),
            Some(next) => match self.queue.urgent() {
                None => Some(next),
                Some(urgent) => {
                    self.queue.leave(next);
                    Some(urgent)
                }
            },
        }
    }

    /// Nothing to do: everything is reported, nothing is held back from being freed.
    fn rest(&mut self) {
        self.reports.flush();
        self.session = None;
        self.batch = None;
        self.route = None;
        self.queue.sleep();
        self.clock.restart();
    }

    fn join_gang(&mut self) {
        if let Some(task) = self.next.take() {
            self.queue.leave(task);
        }
        self.reports.flush();
        if let GangCall::Lead { task, members, group } = self.shared.pool.gang().join(self.queue.index()) {
            let cpus: Vec<CpuId> = members.iter().filter_map(|member| self.shared.config.cpus[*member]).collect();
            self.pin(&cpus);
            self.clock.restart();
            self.run_as_leader(task, &cpus);
            let own = self.shared.config.cpus[self.queue.index()];
            self.pin(&own.into_iter().collect::<Vec<_>>());
            self.shared.pool.gang().disband(group);
        }
        self.clock.restart();
    }

    fn pin(&self, cpus: &[CpuId]) {
        if !cpus.is_empty()
            && let Err(error) = rain_topology::pin_current_thread(cpus)
        {
            tracing::warn!("worker {} is not pinned: {error}", self.queue.index());
        }
    }

    /// Runs a task; a panic, which is a bug of ours, fails the task and not everybody who waits for this worker.
    fn run_guarded(&mut self, task: ReadyTask) {
        let run = std::panic::AssertUnwindSafe(|| self.run_task(task));
        if std::panic::catch_unwind(run).is_err() {
            let message = "Rain itself failed at this task; the server's log says where".to_owned();
            let failure = Failure { message, ..Failure::default() };
            self.reports.failed(task.session(), task.task(), failure);
        }
    }

    fn run_task(&mut self, task: ReadyTask) {
        let Some((session, batch)) = self.locate(task) else { return };
        let kind = batch.kind(task.task());
        if kind.cpus > 1 {
            return self.shared.pool.inject_wide(task, kind.cpus as usize);
        }
        match self.route(&session, kind) {
            Route::Executor(spec) => self.run_on_executor(&spec, &session, &batch, task, &[]),
            route => self.run_in_place(route, &session, &batch, task),
        }
    }

    fn run_as_leader(&mut self, task: ReadyTask, cpus: &[CpuId]) {
        let Some((session, batch)) = self.locate(task) else { return };
        match self.route(&session, batch.kind(task.task())) {
            Route::Executor(spec) => self.run_on_executor(&spec, &session, &batch, task, cpus),
            route => self.run_in_place(route, &session, &batch, task),
        }
        self.reports.flush();
    }

    /// Session and batch of a task; `None` when the session is over.
    #[inline]
    fn locate(&mut self, task: ReadyTask) -> Option<(Arc<Session>, Arc<Batch>)> {
        if self.session.as_ref().is_none_or(|session| session.number != task.session()) {
            self.session = self.shared.sessions.get(task.session());
            self.batch = None;
        }
        let session = self.session.as_ref()?;
        if self.batch.as_ref().is_none_or(|batch| !batch.tasks().contains(&task.task())) {
            self.batch = session.batch_of(task.task());
        }
        let batch = self.batch.as_ref()?;
        if session.is_cancelled(task.task()) {
            session.abandon(batch, task.task());
            self.session = None;
            return None;
        }
        let now = self.clock.begin();
        if !self.shared.end.is_far(now) && !self.shared.end.leaves_time(now, kind_id(session, batch, task.task())) {
            session.abandon(batch, task.task());
            self.reports.withheld(session.number, task.task());
            return None;
        }
        Some((session.clone(), batch.clone()))
    }

    fn route(&mut self, session: &Session, kind: &Arc<Kind>) -> Route {
        if let Some((known, route)) = &self.route
            && Arc::ptr_eq(known, kind)
        {
            return route.clone();
        }
        let route = if kind.is_built_in() {
            match kind.method() {
                "noop" if kind.outputs.iter().all(|o| o.data_type == rain_core::graph::DataType::Blob) => Route::Noop,
                _ => Route::BuiltIn,
            }
        } else {
            match self.executors.spec(&self.shared, kind.executor(), session.python.as_deref()) {
                Some(spec) => Route::Executor(spec),
                None => Route::Unknown,
            }
        };
        self.route = Some((kind.clone(), route.clone()));
        route
    }

    fn run_in_place(&mut self, route: Route, session: &Arc<Session>, batch: &Arc<Batch>, task: ReadyTask) {
        let task = task.task();
        match route {
            Route::Noop => {
                for object in batch.outputs(task) {
                    let value = self.empty_blob.clone();
                    self.supply(session, object, value);
                }
                self.clock.lap();
                return self.finish(session, batch, task);
            }
            Route::BuiltIn => {}
            Route::Executor(_) | Route::Unknown => {
                let name = batch.kind(task).executor();
                let message = format!(
                    "no executor {name:?} is registered on this governor; register it in the governor's configuration"
                );
                return self.fail(session, batch, task, plain_failure(message));
            }
        }
        let deadline = match self.set_deadline(batch, task) {
            Ok(deadline) => deadline,
            Err(failure) => return self.fail(session, batch, task, failure),
        };
        self.collect_inputs(session, batch, task);
        let call = TaskCall {
            task: TaskId { session: SessionId(session.number), index: task },
            governor: self.shared.id,
            batch,
            inputs: &self.inputs,
            store: &self.shared.store,
            interrupt: &self.interrupt,
            cancelled: &|| session.is_cancelled(task) || has_passed(deadline.as_ref()),
        };
        if may_block(&call) {
            self.reports.started(session.number, task, self.clock.begin());
        }
        let outcome = run_built_in(&call);
        self.inputs.clear();
        self.clock.lap();
        match outcome {
            TaskOutcome::Cancelled if !session.is_cancelled(task) && has_passed(deadline.as_ref()) => {
                self.fail(session, batch, task, timed_out(batch, task));
            }
            outcome => self.take_outcome(session, batch, task, outcome),
        }
    }

    /// Sets the time limit that a task of this kind has.
    fn set_deadline(&self, batch: &Batch, task: u32) -> Result<Option<Deadline>, TaskFailure> {
        let Some(limit) = batch.kind(task).timeout else { return Ok(None) };
        let set = self.shared.deadlines.set(limit, &self.interrupt);
        let no_thread = |e| plain_failure(format!("no thread for its time limit could be started: {e}"));
        set.map(Some).map_err(no_thread)
    }

    fn collect_inputs(&mut self, session: &Session, batch: &Batch, task: u32) {
        self.inputs.clear();
        // A linked, ready task has a claim on each input, and each is there.
        self.inputs.extend(batch.inputs(task).iter().filter_map(|object| session.graph.value(*object).cloned()));
    }

    fn take_outcome(&mut self, session: &Arc<Session>, batch: &Arc<Batch>, task: u32, outcome: TaskOutcome) {
        match outcome {
            TaskOutcome::Finished { outputs, info } => {
                let objects = batch.outputs(task);
                if outputs.len() != objects.len() {
                    let message = format!("{} outputs were made instead of {}", outputs.len(), objects.len());
                    let failure = TaskFailure { message, debug: info.debug, user: None };
                    return self.fail(session, batch, task, failure);
                }
                for (index, (object, value)) in objects.zip(outputs).enumerate() {
                    let declared = batch.kind(task).outputs[index].content_type.as_deref();
                    self.reports.object(session.number, object, &value, declared);
                    self.supply(session, object, value);
                }
                if info.debug.is_some() || info.user.is_some() {
                    self.reports.details(session.number, task, info);
                }
                self.finish(session, batch, task);
            }
            TaskOutcome::Failed(failure) => self.fail(session, batch, task, failure),
            TaskOutcome::Cancelled => session.abandon(batch, task),
        }
    }

    /// Hands an output to its consumers; the first one that gets ready is this worker's next task.
    #[inline]
    fn supply(&mut self, session: &Session, object: u32, value: Arc<Object>) {
        let mut pushed = 0;
        let (next, queue) = (&mut self.next, &self.queue);
        session.graph.supply(object, value, |consumer| {
            let priority = session.priority(consumer);
            let consumer = ReadyTask::new(session.number, consumer);
            if priority != 0 {
                queue.pool().inject_ranked(consumer, priority);
                pushed += 1;
            } else if next.is_none() {
                *next = Some(consumer);
            } else {
                queue.push(consumer);
                pushed += 1;
            }
        });
        if pushed > 0 {
            self.shared.pool.wake(pushed);
        }
    }

    #[inline]
    fn finish(&mut self, session: &Session, batch: &Batch, task: u32) {
        session.release_inputs(batch, task);
        session.graph.set_over(task);
        let times = self.clock.times();
        if self.shared.end.is_known() {
            self.shared.end.learn(kind_id(session, batch, task), f64::from(times.0.duration));
        }
        self.reports.task(session.number, task, times);
    }

    /// Runs the task again if its kind asks for that, else reports the failure.
    fn fail(&mut self, session: &Session, batch: &Batch, task: u32, failure: TaskFailure) {
        let retries = batch.kind(task).retries;
        if retries > 0 && session.may_retry(task, retries) {
            tracing::info!("task {}:{task} is run again: {}", session.number, failure.message);
            return self.queue.push(ReadyTask::new(session.number, task));
        }
        let TaskFailure { message, debug, user } = failure;
        let failure = Failure { message, debug, user, times: Some(self.clock.times().0) };
        self.reports.failed(session.number, task, failure);
    }
}

fn has_passed(deadline: Option<&Deadline>) -> bool {
    deadline.is_some_and(Deadline::has_passed)
}

fn plain_failure(message: String) -> TaskFailure {
    TaskFailure { message, debug: None, user: None }
}

fn timed_out(batch: &Batch, task: u32) -> TaskFailure {
    let seconds = batch.kind(task).timeout.unwrap_or_default().as_secs_f64();
    plain_failure(format!("it took longer than its timeout of {seconds} s and was stopped"))
}
