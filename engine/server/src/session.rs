//! A session: its graph, what of it is finished, and who waits for what.

use super::edges::Edges;
use super::effects::Effects;
use super::holders::Holders;
use super::outputs::Outputs;
use super::ready::Ready;
use super::records::{BatchNote, Constant, ObjectRecord, TaskRecord, TaskState};
use super::shares::Shares;
use super::table::Table;
use super::waits::Waits;
use super::wanting::Wanting;
use rain_model::graph::{Batch, Batches, Kind};
use rain_model::id::{ClientId, GovernorId, NONE, ObjectIndex, SessionId, TaskIndex};
use rain_protocol::client::{ErrorKind, RequestError};
use rain_protocol::peer::{Failure, ObjectDetails, TaskDetails, ToGovernor};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

/// A batch that has been taken in and that no governor was chosen for.
pub(super) struct Fresh<D> {
    pub(super) batch: Arc<Batch>,
    pub(super) constants: Vec<(ObjectIndex, D)>,
    pub(super) keep: Vec<ObjectIndex>,
}

pub(super) struct Session<D> {
    pub id: SessionId,
    pub name: String,
    pub client: ClientId,
    pub python: Option<String>,
    pub failure: Option<Arc<RequestError>>,
    /// Kinds by number; `None`: forgotten.
    pub(super) kinds: Table<Option<Arc<Kind>>>,
    pub(super) batches: Batches<BatchNote>,
    pub(super) tasks: Table<TaskRecord>,
    pub(super) objects: Table<ObjectRecord>,
    /// Some kind had a priority other than 0.
    pub(super) has_priorities: bool,
    /// Priorities of tasks that are not over and were raised for those that need what they make.
    pub(super) raised: BTreeMap<TaskIndex, i32>,
    /// Raised tasks whose governors have not been told.
    pub(super) to_raise: Vec<(TaskIndex, i32)>,
    /// Inputs of all tasks there have been.
    pub(super) inputs: u64,
    /// Content types of constants that have one.
    pub(super) constant_types: BTreeMap<ObjectIndex, String>,
    pub(super) task_details: BTreeMap<TaskIndex, TaskDetails>,
    pub(super) object_details: BTreeMap<ObjectIndex, ObjectDetails>,
    /// What its tasks have written. It stays when the session fails.
    pub(super) outputs: Outputs,
    pub(super) unfinished: u64,
    /// Tasks were cancelled because there was no time left for them.
    pub(super) out_of_time: bool,
    /// Its client has left it; it is there for its results only.
    pub(super) closing: bool,
    pub(super) waits: Waits,
    pub(super) fresh: Vec<Fresh<D>>,
    /// There are batches that are not counted (`counting.rs`).
    pub(super) uncounted: bool,
    /// Its tasks are handed out when they are ready; else each batch as a whole, to the only governor there is.
    pub(super) spread: bool,
    pub(super) ready: Ready,
    /// Those that ask for more than cpus.
    pub(super) wanting: Wanting,
    /// Who waits for objects that are not finished.
    pub(super) edges: Edges,
    pub(super) holders: Holders,
    /// Content of constants that are kept or read, for governors that need them; of a session that recovers from the loss of governors
    /// also of those that tasks read which may have to run again.
    pub(super) constants: BTreeMap<ObjectIndex, Constant<D>>,
    /// Kept constants that no task reads: a governor is to hold them, so that they can be fetched there.
    pub(super) unread_constants: Vec<ObjectIndex>,
    /// Mean duration of recent tasks, seconds.
    pub(super) mean_duration: Option<f64>,
    /// Cpu time of its tasks that were handed out, as `Fair` counts it.
    pub(super) had: u64,
    /// Batches that were forgotten while a governor was asked to give tasks back: its answer may name some of theirs, which
    /// were cancelled.
    pub(super) lingering: Vec<Arc<Batch>>,
    /// Governors that were asked to give tasks back and have not answered.
    pub(super) asked: BTreeSet<GovernorId>,
    /// Governors that have answered, and are not asked again until a task has finished or a governor has come: what one gave may have
    /// come back to it, as it alone has cpus enough, so that asking at once would never end.
    pub(super) answered: BTreeSet<GovernorId>,
    /// It goes on when a governor is lost: what that takes is remembered (`lineage.rs`).
    pub(super) recovers: bool,
    /// Governors were lost.
    pub(super) has_losses: bool,
    /// Why it cannot go on, when that was found out in the middle of something.
    pub(super) broken: Option<String>,
    /// The governor that was given batches as a whole.
    pub(super) whole_on: Option<GovernorId>,
    /// Batches of which all tasks are forgotten, by their first task, and that stay because somebody may need that they run again.
    pub(super) left: BTreeSet<TaskIndex>,
    /// Their tasks.
    pub(super) left_tasks: u64,
    /// Number of the latest transfer since governors were lost.
    pub(super) transfer: u32,
    /// Transfers that were begun after a loss and have not come to an end.
    pub(super) transfers: BTreeMap<(ObjectIndex, GovernorId), u32>,
    /// How many governors in turn were lost while they ran a task.
    pub(super) losses: BTreeMap<TaskIndex, u32>,
    /// Objects that were lost and have been made again just now.
    pub(super) remade: Vec<ObjectIndex>,
    /// Finished tasks that are to be run again, of which the log was not told.
    pub(super) repeated: Vec<TaskIndex>,
    /// Governors that know this session, and how many of its tasks they have.
    pub(super) shares: Shares,
}

impl<D: Clone> Session<D> {
    pub(super) fn new(id: SessionId, name: String, client: ClientId, python: Option<String>) -> Self {
        Self {
            id,
            name,
            client,
            python,
            failure: None,
            kinds: Table::default(),
            batches: Batches::default(),
            tasks: Table::default(),
            objects: Table::default(),
            has_priorities: false,
            raised: BTreeMap::new(),
            to_raise: Vec::new(),
            inputs: 0,
            constant_types: BTreeMap::new(),
            task_details: BTreeMap::new(),
            object_details: BTreeMap::new(),
            outputs: Outputs::default(),
            unfinished: 0,
            out_of_time: false,
            closing: false,
            waits: Waits::default(),
            fresh: Vec::new(),
            uncounted: false,
            spread: false,
            ready: Ready::default(),
            wanting: Wanting::default(),
            edges: Edges::default(),
            holders: Holders::default(),
            constants: BTreeMap::new(),
            unread_constants: Vec::new(),
            mean_duration: None,
            had: 0,
            lingering: Vec::new(),
            asked: BTreeSet::new(),
            answered: BTreeSet::new(),
            recovers: false,
            has_losses: false,
            broken: None,
            whole_on: None,
            left: BTreeSet::new(),
            left_tasks: 0,
            transfer: 1,
            transfers: BTreeMap::new(),
            losses: BTreeMap::new(),
            remade: Vec::new(),
            repeated: Vec::new(),
            shares: Shares::default(),
        }
    }

    pub(super) fn closed_error(&self) -> RequestError {
        session_error(self.id, format!("{} was closed", self.id))
    }

    /// Frees what a failed session does not need any more.
    pub(super) fn forget_graph(&mut self) {
        self.kinds = Table::default();
        self.batches = Batches::default();
        self.fresh = Vec::new();
        self.ready = Ready::default();
        self.wanting = Wanting::default();
        self.edges = Edges::default();
        self.holders = Holders::default();
        self.constants = BTreeMap::new();
        self.unread_constants = Vec::new();
        self.raised = BTreeMap::new();
        self.to_raise = Vec::new();
        self.lingering = Vec::new();
        self.left = BTreeSet::new();
        self.transfers = BTreeMap::new();
        self.losses = BTreeMap::new();
        self.remade = Vec::new();
        self.repeated = Vec::new();
        self.task_details.clear();
        self.object_details.clear();
        self.constant_types.clear();
        self.tasks = Table::default();
        self.objects = Table::default();
    }

    /// The kind with this number, unless it is forgotten.
    pub(super) fn kind(&self, number: u32) -> Option<&Arc<Kind>> {
        self.kinds.get(number)?.as_ref()
    }

    /// The batch of a task, unless all of its tasks are forgotten.
    pub(super) fn batch_of(&self, task: TaskIndex) -> Option<&Arc<Batch>> {
        self.batches.find(task).map(|(batch, _)| batch)
    }

    pub(super) fn outputs(&self, task: TaskIndex) -> Range<ObjectIndex> {
        self.batch_of(task).map_or(0..0, |batch| batch.outputs(task))
    }

    /// The state of a task; `None` when there has never been one with this number.
    pub(super) fn state_of(&self, task: TaskIndex) -> Option<TaskState> {
        let state = self.tasks.get(task).map_or(TaskState::Forgotten, TaskRecord::told_state);
        (task < self.tasks.len()).then_some(state)
    }

    /// Whether a task is over and was not cancelled; who asks about a forgotten one asked before it was.
    pub(super) fn task_is_finished(&self, task: TaskIndex) -> bool {
        matches!(self.state_of(task), Some(TaskState::Finished | TaskState::Forgotten))
    }

    pub(super) fn task_is_cancelled(&self, task: TaskIndex) -> bool {
        self.state_of(task) == Some(TaskState::Cancelled)
    }

    /// Whether there is a task with this number that is not forgotten.
    pub(super) fn is_known(&self, task: TaskIndex) -> bool {
        self.state_of(task).is_some_and(|state| state != TaskState::Forgotten)
    }

    /// Whether a task is to run or runs: also one that has finished before.
    pub(super) fn is_open(&self, task: TaskIndex) -> bool {
        self.tasks.get(task).is_some_and(|record| !record.state.is_over())
    }

    /// What is remembered of an object that is not forgotten.
    pub(super) fn known_object(&self, object: ObjectIndex) -> Option<&ObjectRecord> {
        self.objects.get(object).filter(|record| !record.mark.is_forgotten())
    }

    pub(super) fn is_kept(&self, object: ObjectIndex) -> bool {
        self.known_object(object).is_some_and(|record| record.mark.is_kept())
    }

    /// The task that makes an object which is not forgotten.
    pub(super) fn producer_of(&self, object: ObjectIndex) -> Option<TaskIndex> {
        self.known_object(object).map(|record| record.producer).filter(|producer| *producer != NONE)
    }

    /// Tasks and objects that take memory.
    pub(super) fn items_held(&self) -> u64 {
        u64::from(self.tasks.held()) + u64::from(self.objects.held())
    }

    /// Size of an object in bytes as far as it is known, at most `u32::MAX`.
    pub(super) fn size_of(&self, object: ObjectIndex) -> u32 {
        match self.objects.get(object) {
            Some(record) if self.is_there(object) => record.number,
            _ => 0,
        }
    }

    pub(super) fn object_is_finished(&self, object: ObjectIndex) -> bool {
        object < self.objects.len() && self.producer_of(object).is_none_or(|producer| self.task_is_finished(producer))
    }

    /// The governors that have the content of a finished, kept object.
    pub(super) fn holders_of_kept(&self, object: ObjectIndex) -> impl Iterator<Item = GovernorId> {
        let record = self.known_object(object).filter(|record| record.mark.is_kept());
        record.into_iter().flat_map(|record| self.holders.having(record.mark))
    }

    /// Whether governors are to hold an object.
    pub(super) fn is_held(&self, object: ObjectIndex) -> bool {
        self.objects.get(object).is_some_and(|record| self.holders.count(record.mark) > 0)
    }

    /// The content of a kept constant that governors may not have yet.
    pub(super) fn constant(&self, object: ObjectIndex) -> Option<&D> {
        let fresh = || self.fresh.iter().flat_map(|fresh| &fresh.constants).find(|(number, _)| *number == object);
        let known = self.constants.get(&object).map(|constant| &constant.data);
        let content = known.or_else(|| fresh().map(|(_, content)| content));
        content.filter(|_| self.is_kept(object))
    }

    /// Whether there is something that no governor has been given and that one can be.
    pub(super) fn has_work(&self) -> bool {
        self.broken.is_some() || !self.fresh.is_empty() || !self.ready.is_empty() || !self.unread_constants.is_empty()
    }

    /// A governor that was lost is no holder any more; whether it was the only one of something that is kept or that tasks
    /// which are not over read.
    pub(super) fn lose_holder(&mut self, id: GovernorId) -> bool {
        let mut is_lost = false;
        let numbers: Vec<ObjectIndex> = self
            .objects
            .iter()
            .filter(|(_, record)| self.holders.has(record.mark, id))
            .map(|(object, _)| object)
            .collect();
        for object in numbers {
            let Some(record) = self.objects.get_mut(object) else { continue };
            self.holders.remove(&mut record.mark, id);
            let is_needed = record.mark.is_kept() || record.readers() > 0;
            let is_anywhere = self.holders.count(record.mark) > 0 || self.constants.contains_key(&object);
            is_lost |= is_needed && !is_anywhere;
        }
        self.asked.remove(&id);
        self.answered.remove(&id);
        is_lost
    }

    pub(super) fn task_started(&mut self, governor: GovernorId, task: TaskIndex, start: f64) {
        if let Some(record) = self.tasks.get_mut(task)
            && !record.state.is_over()
            && record.governor() == Some(governor)
        {
            record.start = start;
            record.state = TaskState::Running;
        }
    }

    /// What everybody who asks about the session gets when a task has failed.
    pub(super) fn failed_error(&self, governor: GovernorId, task: TaskIndex, failure: Failure) -> RequestError {
        let what = self.describe_task(task);
        RequestError {
            kind: ErrorKind::Task,
            message: format!("{what} failed on {governor}: {}", failure.message),
            session: Some(self.id.0),
            task: (task != NONE).then_some(task),
            debug: failure.debug,
        }
    }

    /// How messages for people call a task.
    pub(super) fn describe_task(&self, task: TaskIndex) -> String {
        let Some(batch) = self.batch_of(task) else { return "a task".to_owned() };
        let kind = batch.kind(task);
        if kind.name.is_empty() {
            format!("task {task} ({})", kind.task_type)
        } else {
            format!("task {task} {:?} ({})", kind.name, kind.task_type)
        }
    }

    /// Checks that the client asks for a fetch that can succeed.
    pub(super) fn check_fetch(&self, object: ObjectIndex) -> Result<(), RequestError> {
        self.check_items(&[], &[object])?;
        if self.is_kept(object) {
            return Ok(());
        }
        Err(RequestError::request(format!(
            "object {object} is not kept, so it is dropped once its consumers have run; call keep() before submit()"
        )))
    }

    /// Checks that tasks and objects exist and are not forgotten.
    pub(super) fn check_items(&self, tasks: &[u32], objects: &[u32]) -> Result<(), RequestError> {
        let refuse = |what: &str, number: u32, count: u32| {
            let why =
                if number < count { "was forgotten: its client has asked for that in" } else { "does not exist in" };
            Err(RequestError::request(format!("{what} {number} {why} {}", self.id)))
        };
        if let Some(task) = tasks.iter().find(|task| !self.is_known(**task)) {
            return refuse("task", *task, self.tasks.len());
        }
        if let Some(object) = objects.iter().find(|object| self.known_object(**object).is_none()) {
            return refuse("object", *object, self.objects.len());
        }
        Ok(())
    }

    pub(super) fn unkeep(&mut self, objects: &[u32], effects: &mut Effects<D>) -> Result<(), RequestError> {
        self.check_items(&[], objects)?;
        if let Some(object) = objects.iter().find(|object| !self.is_kept(**object)) {
            return Err(RequestError::request(format!("object {object} is not kept")));
        }
        self.stop_keeping(objects.iter().copied().collect(), effects);
        Ok(())
    }

    /// Takes back the keep of objects that are kept.
    pub(super) fn stop_keeping(&mut self, objects: BTreeSet<ObjectIndex>, effects: &mut Effects<D>) {
        // Tasks that no governor has been told of may read them.
        if !self.fresh.is_empty() {
            self.count_all();
        }
        let (mut unneeded, mut producers) = (Vec::new(), Vec::new());
        for object in objects {
            if let Some(record) = self.objects.get_mut(object) {
                record.mark.set_kept(false);
                if record.readers() == 0 {
                    unneeded.push(object);
                }
                if record.producer != NONE {
                    producers.push(record.producer);
                }
            }
        }
        self.drop_objects(unneeded, effects);
        self.outputs_are_let_go(&producers, effects);
    }

    /// Tells holders that nobody needs these objects any more; forgotten ones go.
    pub(super) fn drop_objects(&mut self, objects: Vec<ObjectIndex>, effects: &mut Effects<D>) {
        let mut unpins: BTreeMap<GovernorId, Vec<ObjectIndex>> = BTreeMap::new();
        for object in objects {
            let Some(record) = self.objects.get_mut(object) else { continue };
            debug_assert!(record.readers() == 0 && !record.mark.is_kept());
            let is_forgotten = record.mark.is_forgotten();
            for holder in self.holders.take(&mut record.mark) {
                if !self.transfers.is_empty() {
                    self.transfers.remove(&(object, holder));
                }
                unpins.entry(holder).or_default().push(object);
            }
            if !self.constants.is_empty() {
                if self.recovers {
                    self.drop_constant(object);
                } else {
                    self.constants.remove(&object);
                }
            }
            if is_forgotten && !self.stays(object) {
                self.objects.forget(object);
            }
        }
        for (governor, objects) in unpins {
            effects.send(governor, ToGovernor::Unpin { session: self.id, objects });
        }
    }

    /// Sends a message to each governor that knows this session.
    pub(super) fn tell_governors(&self, message: impl Fn(SessionId) -> ToGovernor<D>, effects: &mut Effects<D>) {
        for governor in self.shares.governors() {
            effects.send(governor, message(self.id));
        }
    }

    /// The priority of a task of this batch: of its kind, or of those that need it.
    pub(super) fn priority_in(&self, batch: &Batch, task: TaskIndex) -> i32 {
        match self.raised.get(&task) {
            Some(raised) if self.has_priorities => *raised,
            _ => batch.kind(task).priority,
        }
    }

    /// Puts a task that is ready behind others of its priority that wait for a governor.
    pub(super) fn push_ready(&mut self, batch: &Batch, task: TaskIndex) {
        if self.has_losses && self.tasks[task].is_urgent() {
            return self.push_given_back(batch, task);
        }
        self.queue(batch, task, false);
    }

    /// Puts a task that is ready and was given back before others of its priority that wait for a governor.
    pub(super) fn push_given_back(&mut self, batch: &Batch, task: TaskIndex) {
        self.queue(batch, task, true);
    }

    fn queue(&mut self, batch: &Batch, task: TaskIndex, was_given_back: bool) {
        let priority = if self.has_priorities { self.priority_in(batch, task) } else { 0 };
        let kind = batch.kind(task);
        if !kind.resources.is_empty() {
            self.wanting.push(task, priority, batch.kind_index(task), was_given_back);
        } else if was_given_back {
            self.ready.push_given_back(task, priority, kind.cpus);
        } else {
            self.ready.push(task, priority, kind.cpus);
        }
    }

    /// A batch of no tasks, for messages that only bring objects.
    pub(super) fn empty_batch(&self) -> Arc<Batch> {
        Arc::new(Batch::empty(self.tasks.len()))
    }
}

/// The error of a session that cannot go on.
pub(super) fn session_error(session: SessionId, message: String) -> RequestError {
    RequestError { kind: ErrorKind::Session, message, session: Some(session.0), task: None, debug: None }
}
