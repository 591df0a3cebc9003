//! A worker: one cpu slot. It runs built-in tasks in place, and waits for the program or executor that it drives.

mod driving;
mod durations;
mod gang_leave;
mod granted;
mod lending;
mod lent_calls;
mod reports;
mod settling;
mod shared;

use crate::deadlines::Deadline;
use crate::executors::ExecutorKey;
use crate::session::Session;
use durations::Durations;
use gang_leave::GangLeave;
use rain_data::Object;
use rain_exec::{Interrupt, TaskCall, TaskFailure, TaskOutcome, may_block, run_built_in};
use rain_model::graph::{Batch, Kind};
use rain_model::id::{SessionId, TaskId};
use rain_pool::{GangCall, LocalQueue, ReadyTask};
use rain_protocol::peer::Failure;
use rain_topology::CpuId;
use reports::{Clock, Reports};
use settling::{Queue, Settling, timed_out};
use shared::{kind_id, plain_failure};
use std::sync::Arc;

pub(crate) use granted::{queue_again, without_grant};
pub(crate) use lent_calls::LentCalls;
pub(crate) use shared::{Report, WorkerShared};

/// How tasks of a kind are run.
#[derive(Clone)]
enum Route {
    /// Outputs are empty blobs: not worth a call.
    Noop,
    BuiltIn,
    Executor(Arc<ExecutorKey>),
    Unknown,
}

/// One worker, on its own thread.
pub(crate) struct Worker {
    shared: Arc<WorkerShared>,
    queue: LocalQueue,
    interrupt: Arc<Interrupt>,
    /// A task that this worker runs before it looks into its queue.
    next: Option<ReadyTask>,
    leave: GangLeave,
    session: Option<Arc<Session>>,
    batch: Option<Arc<Batch>>,
    route: Option<(Arc<Kind>, Route)>,
    durations: Durations,
    reports: Reports,
    clock: Clock,
    empty_blob: Arc<Object>,
    inputs: Vec<Arc<Object>>,
}

impl Worker {
    pub(crate) fn new(shared: Arc<WorkerShared>, queue: LocalQueue) -> Self {
        let reports = Reports::new(queue.index() as u32, shared.reports.clone(), shared.bell.clone());
        Self {
            interrupt: shared.interrupts[queue.index()].clone(),
            next: None,
            leave: GangLeave::default(),
            session: None,
            batch: None,
            route: None,
            durations: Durations::default(),
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
        while !self.shared.pool.is_shut_down() {
            if self.shared.lent.is_owed() {
                self.stand_aside();
            } else if self.shared.pool.gang().is_wanted() && !self.leave.lasts() {
                self.join_gang();
            } else if let Some(task) = self.next_task() {
                self.run_guarded(task);
            } else if !self.leave.give_up() {
                self.rest();
            }
        }
    }

    #[inline]
    fn next_task(&mut self) -> Option<ReadyTask> {
        match self.next.take() {
            None => self.queue.find(),
            Some(next) => match self.queue.before(next) {
                None => Some(next),
                Some(first) => {
                    self.queue.leave(next);
                    Some(first)
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

    /// Leaves its cpu to a call that has lent its own and goes on.
    fn stand_aside(&mut self) {
        if let Some(task) = self.next.take() {
            self.queue.leave(task);
        }
        self.reports.flush();
        self.queue.stop_searching();
        self.shared.lent.stand_aside();
        self.clock.restart();
    }

    fn join_gang(&mut self) {
        if let Some(task) = self.next.take() {
            self.queue.leave(task);
        }
        self.queue.stop_searching();
        self.reports.flush();
        let pool = &self.shared.pool;
        let patience = self.leave.patience(pool.gang().group());
        let called = pool.gang().join(self.queue.index(), patience, || pool.has_narrow_work());
        if let GangCall::OnLeave { group } = called {
            self.leave.begin(group);
        } else if let GangCall::Lead { task, members, group } = called {
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
        if !self.locate(task) {
            return;
        }
        // Taken for the time of the task: counting references, which all workers share, would cost as much as a no-op.
        let (Some(session), Some(batch)) = (self.session.take(), self.batch.take()) else { return };
        let kind = batch.kind(task.task());
        if !kind.resources.is_empty() {
            self.run_granted(&session, &batch, task);
        } else if kind.cpus > 1 {
            self.gather_for(task, kind.cpus, &session, &batch);
        } else {
            match self.route(&session, kind) {
                Route::Executor(key) => self.run_on_executor(&key, &session, &batch, task, &[], None),
                route => self.run_in_place(route, &session, &batch, task, &[]),
            }
        }
        if self.session.is_none() {
            (self.session, self.batch) = (Some(session), Some(batch));
        }
    }

    /// Has workers gather for a task of several cpus.
    fn gather_for(&self, task: ReadyTask, cpus: u32, session: &Session, batch: &Batch) {
        self.shared.pool.inject_wide(task, cpus as usize);
        // Whoever has cancelled it since it was looked at may not have found it there.
        if session.is_cancelled(task.task()) && !self.shared.pool.gang().withdraw(|other| other == task).is_empty() {
            session.abandon(batch, task.task());
        }
    }

    fn run_as_leader(&mut self, task: ReadyTask, cpus: &[CpuId]) {
        let Some((session, batch)) = self.located(task) else { return };
        let kind = batch.kind(task.task());
        if let Some(grant) = session.grant(task.task()).filter(|_| !kind.resources.is_empty()) {
            self.run_holding(&grant, &session, &batch, task, cpus);
            return self.reports.flush();
        }
        match self.route(&session, kind) {
            Route::Executor(key) => self.run_on_executor(&key, &session, &batch, task, cpus, None),
            route => self.run_in_place(route, &session, &batch, task, &[]),
        }
        self.reports.flush();
    }

    /// Session and batch of a task that is to be run.
    fn located(&mut self, task: ReadyTask) -> Option<(Arc<Session>, Arc<Batch>)> {
        if self.locate(task) { self.session.clone().zip(self.batch.clone()) } else { None }
    }

    /// Puts session and batch of a task in their places; false when it is not to be run.
    #[inline]
    fn locate(&mut self, task: ReadyTask) -> bool {
        if self.session.as_ref().is_none_or(|session| session.number != task.session()) {
            self.session = self.shared.sessions.get(task.session());
            self.batch = None;
        }
        let Some(session) = &self.session else { return false };
        if self.batch.as_ref().is_none_or(|batch| !batch.tasks().contains(&task.task())) {
            self.batch = session.batch_of(task.task());
        }
        let Some(batch) = &self.batch else { return false };
        if session.is_cancelled(task.task()) {
            session.abandon(batch, task.task());
            self.session = None;
            return false;
        }
        let now = self.clock.begin();
        if self.shared.end.is_known()
            && !self.shared.end.is_far(now)
            && !self.shared.end.leaves_time(now, kind_id(session, batch, task.task()))
        {
            session.abandon(batch, task.task());
            self.reports.withheld(session.number, task.task());
            return false;
        }
        true
    }

    fn route(&mut self, session: &Session, kind: &Arc<Kind>) -> Route {
        if let Some((known, route)) = &self.route
            && Arc::ptr_eq(known, kind)
        {
            return route.clone();
        }
        let route = if kind.is_built_in() {
            match kind.method() {
                "noop" if kind.outputs.iter().all(|o| o.data_type == rain_model::graph::DataType::Blob) => Route::Noop,
                _ => Route::BuiltIn,
            }
        } else {
            match self.shared.executors.spec(kind.executor(), session.python.as_deref()) {
                Some(spec) => Route::Executor(Arc::new(ExecutorKey::new(spec, kind))),
                None => Route::Unknown,
            }
        };
        self.route = Some((kind.clone(), route.clone()));
        route
    }

    /// Runs a task without an executor. `granted`: variables that say what it was given, if it was given more than cpus.
    fn run_in_place(
        &mut self,
        route: Route,
        session: &Arc<Session>,
        batch: &Arc<Batch>,
        task: ReadyTask,
        granted: &[(String, String)],
    ) {
        let task = task.task();
        match route {
            Route::Noop => {
                for object in batch.outputs(task) {
                    let value = self.empty_blob.clone();
                    self.settling().supply(session, object, value);
                }
                self.clock.lap_noop();
                return self.settling().finish(session, batch, task);
            }
            Route::BuiltIn if !session.graph.begin(task) => return session.abandon(batch, task),
            Route::BuiltIn => {}
            Route::Executor(_) | Route::Unknown => {
                let name = batch.kind(task).executor();
                let message = format!(
                    "no executor {name:?} is registered on this governor; register it in the governor's configuration"
                );
                return self.settling().fail(session, batch, task, plain_failure(message));
            }
        }
        let deadline = match self.set_deadline(batch, task) {
            Ok(deadline) => deadline,
            Err(failure) => return self.settling().fail(session, batch, task, failure),
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
            environment: if granted.is_empty() { &self.shared.ungranted } else { granted },
        };
        if may_block(&call) {
            self.reports.started(session.number, task, self.clock.begin());
        }
        let outcome = run_built_in(&call);
        self.inputs.clear();
        self.clock.lap();
        match outcome {
            TaskOutcome::Cancelled if !session.is_cancelled(task) && has_passed(deadline.as_ref()) => {
                self.settling().fail(session, batch, task, timed_out(batch, task));
            }
            outcome => self.settling().take_outcome(session, batch, task, outcome),
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

    fn settling(&mut self) -> Settling<'_> {
        Settling {
            shared: &self.shared,
            reports: &mut self.reports,
            clock: &self.clock,
            queue: Queue::Worker { next: &mut self.next, own: &self.queue },
        }
    }
}

fn has_passed(deadline: Option<&Deadline>) -> bool {
    deadline.is_some_and(Deadline::has_passed)
}
