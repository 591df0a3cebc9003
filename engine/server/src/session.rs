//! A session: its graph, what of it is finished, and who waits for what.

use super::balance::Asked;
use super::effects::Effects;
use super::placement::Spread;
use super::table::Table;
use super::waits::Waits;
use super::{Governor, session_error};
use rain_model::graph::{Batch, Batches, Kind};
use rain_model::id::{ClientId, GovernorId, NONE, ObjectIndex, SessionId, TaskIndex};
use rain_protocol::client::{ErrorKind, RequestError};
use rain_protocol::peer::{Failure, Finished, ObjectDetails, TaskDetails, TaskTimes, ToGovernor};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TaskState {
    Waiting,
    /// Only tasks that may take long are known to run.
    Running,
    Finished,
    Cancelled,
    /// It is over, and its client does not mention it any more.
    Forgotten,
}

impl TaskState {
    pub(super) fn is_over(self) -> bool {
        matches!(self, TaskState::Finished | TaskState::Cancelled | TaskState::Forgotten)
    }
}

/// What the server remembers of a task beside its batch: 16 bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct TaskRecord {
    pub start: f64,
    pub duration: f32,
    pub governor: u16,
    pub state: TaskState,
}

/// What the server remembers of an object: 12 bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct ObjectRecord {
    /// Bytes; `u32::MAX` and more are in `Session::object_details`.
    pub size: u32,
    /// The task that makes it; `NONE` for constants.
    pub producer: TaskIndex,
    pub kept: bool,
    /// Its client does not mention it any more; tasks that are not over may still read it.
    pub forgotten: bool,
}

/// What the server notes of a batch.
#[derive(Debug)]
pub(super) struct BatchNote {
    /// Tasks that are not over.
    pub open: u32,
    /// Tasks that are not forgotten.
    pub known: u32,
    /// Objects of its submit, which are constants and outputs.
    pub objects: Range<ObjectIndex>,
}

/// A batch that has been taken but not been handed to governors.
pub(super) struct Unplaced<D> {
    pub batch: Arc<Batch>,
    pub constants: Vec<(ObjectIndex, D)>,
    pub keep: Vec<ObjectIndex>,
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
    /// Those of them that governors have not been told.
    pub(super) to_raise: Vec<(TaskIndex, i32)>,
    /// Inputs of all tasks there have been.
    pub(super) inputs: u64,
    /// Content types of constants that have one.
    pub(super) constant_types: BTreeMap<ObjectIndex, String>,
    pub(super) task_details: BTreeMap<TaskIndex, TaskDetails>,
    pub(super) object_details: BTreeMap<ObjectIndex, ObjectDetails>,
    pub(super) unfinished: u64,
    /// Tasks were cancelled because there was no time left for them.
    pub(super) out_of_time: bool,
    /// Its client has left it; it is there for its results only.
    pub(super) closing: bool,
    pub(super) waits: Waits,
    pub(super) unplaced: Vec<Unplaced<D>>,
    /// Set from the first submit on that did not find exactly one governor.
    pub(super) spread: Option<Box<Spread<D>>>,
    /// Batches that were forgotten while a governor was asked to give tasks back: its answer may name some of theirs, which
    /// were cancelled.
    pub(super) lingering: Vec<Arc<Batch>>,
    /// Governors that were asked to give tasks back.
    pub(super) asked: BTreeMap<GovernorId, Asked>,
    /// Governors that know this session, and how many of its tasks they have.
    pub(super) governors: BTreeMap<GovernorId, u64>,
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
            unfinished: 0,
            out_of_time: false,
            closing: false,
            waits: Waits::default(),
            unplaced: Vec::new(),
            spread: None,
            lingering: Vec::new(),
            asked: BTreeMap::new(),
            governors: BTreeMap::new(),
        }
    }

    pub(super) fn closed_error(&self) -> RequestError {
        session_error(self.id, format!("{} was closed", self.id))
    }

    pub(super) fn uses_governor(&self, governor: GovernorId) -> bool {
        self.governors.contains_key(&governor)
    }

    /// Takes this session's tasks out of a governor's load; whether the governor knew the session.
    pub(super) fn leave_governor(&mut self, id: GovernorId, governor: &mut Governor) -> bool {
        match self.governors.remove(&id) {
            Some(outstanding) => {
                governor.outstanding -= outstanding;
                true
            }
            None => false,
        }
    }

    /// Frees what a failed session does not need any more.
    pub(super) fn forget_graph(&mut self) {
        self.kinds = Table::default();
        self.batches = Batches::default();
        self.unplaced = Vec::new();
        self.raised = BTreeMap::new();
        self.to_raise = Vec::new();
        self.lingering = Vec::new();
        self.spread = None;
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
        let state = self.tasks.get(task).map_or(TaskState::Forgotten, |record| record.state);
        (task < self.tasks.len()).then_some(state)
    }

    /// Whether a task is over and was not cancelled; who asks about a forgotten one asked before it was.
    pub(super) fn task_is_finished(&self, task: TaskIndex) -> bool {
        matches!(self.state_of(task), Some(TaskState::Finished | TaskState::Forgotten))
    }

    pub(super) fn task_is_cancelled(&self, task: TaskIndex) -> bool {
        self.state_of(task) == Some(TaskState::Cancelled)
    }

    /// What is remembered of an object that is not forgotten.
    pub(super) fn known_object(&self, object: ObjectIndex) -> Option<&ObjectRecord> {
        self.objects.get(object).filter(|record| !record.forgotten)
    }

    pub(super) fn is_kept(&self, object: ObjectIndex) -> bool {
        self.known_object(object).is_some_and(|record| record.kept)
    }

    /// The task that makes an object which is not forgotten.
    pub(super) fn producer_of(&self, object: ObjectIndex) -> Option<TaskIndex> {
        self.known_object(object).map(|record| record.producer).filter(|producer| *producer != NONE)
    }

    /// Size of an object in bytes as far as it is known, at most `u32::MAX`.
    pub(super) fn size_of(&self, object: ObjectIndex) -> u32 {
        self.objects.get(object).map_or(0, |record| record.size)
    }

    pub(super) fn object_is_finished(&self, object: ObjectIndex) -> bool {
        object < self.objects.len() && self.producer_of(object).is_none_or(|producer| self.task_is_finished(producer))
    }

    /// The governors that have the content of a finished, kept object, or are about to; the first one has it.
    pub(super) fn holders(&self, object: ObjectIndex) -> impl Iterator<Item = GovernorId> {
        let is_kept = self.is_kept(object);
        let (several, one) = match &self.spread {
            _ if !is_kept => (&[][..], None),
            Some(spread) => (spread.holders(object), None),
            None => (&[][..], self.governors.keys().next()),
        };
        several.iter().chain(one).copied()
    }

    /// The content of a kept constant that governors may not have yet.
    pub(super) fn constant(&self, object: ObjectIndex) -> Option<&D> {
        self.known_object(object).filter(|record| record.kept)?;
        match &self.spread {
            Some(spread) => spread.constant(object),
            None => {
                let mut constants = self.unplaced.iter().flat_map(|unplaced| &unplaced.constants);
                constants.find(|(number, _)| *number == object).map(|(_, content)| content)
            }
        }
    }

    pub(super) fn tasks_finished(
        &mut self,
        id: GovernorId,
        governor: &mut Governor,
        finished: &Finished,
        effects: &mut Effects<D>,
    ) {
        for object in &finished.objects {
            if let Some(record) = self.objects.get_mut(object.object) {
                record.size = object.size;
            }
        }
        for details in &finished.details {
            if self.state_of(details.task).is_some_and(|state| state != TaskState::Forgotten) {
                self.task_details.insert(details.task, details.clone());
            }
        }
        for details in &finished.object_details {
            if self.known_object(details.object).is_some() {
                self.object_details.insert(details.object, details.clone());
            }
        }
        let mut done = Vec::with_capacity(finished.tasks.len());
        for report in &finished.tasks {
            let Some(record) = self.tasks.get_mut(report.task) else { continue };
            if !record.state.is_over() {
                *record = TaskRecord {
                    start: report.start,
                    duration: report.duration,
                    governor: id.0 as u16,
                    state: TaskState::Finished,
                };
                done.push(report.task);
            }
        }
        let count = done.len() as u64;
        governor.finished += count;
        self.take_off(id, governor, count);
        self.ask_again();
        self.spread_over(&done, effects);
        self.advance_waits(&done, effects);
        self.drop_configs(&done, effects);
    }

    /// Takes `count` tasks that are over out of what is to be done.
    pub(super) fn take_off(&mut self, id: GovernorId, governor: &mut Governor, count: u64) {
        self.unfinished -= count;
        governor.outstanding = governor.outstanding.saturating_sub(count);
        if let Some(outstanding) = self.governors.get_mut(&id) {
            *outstanding = outstanding.saturating_sub(count);
        }
    }

    pub(super) fn task_started(&mut self, governor: GovernorId, task: TaskIndex, start: f64) {
        if let Some(record) = self.tasks.get_mut(task)
            && !record.state.is_over()
        {
            *record = TaskRecord { start, duration: 0.0, governor: governor.0 as u16, state: TaskState::Running };
        }
    }

    /// Remembers why a task failed, and makes the error that everybody who asks about the session gets.
    pub(super) fn record_failure(&mut self, governor: GovernorId, task: TaskIndex, failure: Failure) -> RequestError {
        if let Some(record) = self.tasks.get_mut(task) {
            if let Some(TaskTimes { start, duration }) = failure.times {
                record.start = start;
                record.duration = duration;
            }
            record.governor = governor.0 as u16;
        }
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
        let is_known = |task: u32| self.state_of(task).is_some_and(|state| state != TaskState::Forgotten);
        if let Some(task) = tasks.iter().find(|task| !is_known(**task)) {
            return refuse("task", *task, self.tasks.len());
        }
        if let Some(object) = objects.iter().find(|object| self.known_object(**object).is_none()) {
            return refuse("object", *object, self.objects.len());
        }
        Ok(())
    }

    pub(super) fn unkeep(&mut self, objects: &[u32], effects: &mut Effects<D>) -> Result<(), RequestError> {
        self.check_items(&[], objects)?;
        if let Some(object) = objects.iter().find(|object| !self.objects[**object].kept) {
            return Err(RequestError::request(format!("object {object} is not kept")));
        }
        self.stop_keeping(objects.iter().copied().collect(), effects);
        Ok(())
    }

    /// Takes back the keep of objects that are kept.
    pub(super) fn stop_keeping(&mut self, objects: BTreeSet<ObjectIndex>, effects: &mut Effects<D>) {
        for object in &objects {
            self.objects[*object].kept = false;
        }
        match &mut self.spread {
            Some(spread) => spread.unpin(self.id, objects, effects),
            None => {
                let still_unplaced: BTreeSet<u32> =
                    self.unplaced.iter().flat_map(|unplaced| unplaced.keep.iter().copied()).collect();
                for unplaced in &mut self.unplaced {
                    unplaced.keep.retain(|object| !objects.contains(object));
                }
                let objects: Vec<u32> = objects.difference(&still_unplaced).copied().collect();
                self.tell_governors(|session| ToGovernor::Unpin { session, objects: objects.clone() }, effects);
            }
        }
    }

    /// Sends a message to each governor that knows this session.
    pub(super) fn tell_governors(&self, message: impl Fn(SessionId) -> ToGovernor<D>, effects: &mut Effects<D>) {
        for governor in self.governors.keys() {
            effects.send(*governor, message(self.id));
        }
    }
}
