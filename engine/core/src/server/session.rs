//! A session: its graph, what of it is finished, and who waits for what.

use super::balance::Asked;
use super::placement::Spread;
use super::waits::Waits;
use super::{Action, Governor, session_error};
use crate::client::{ErrorKind, RequestError};
use crate::graph::{Batch, Kind};
use crate::id::{ClientId, GovernorId, NONE, ObjectIndex, SessionId, TaskIndex};
use crate::peer::{Failure, Finished, Message, ObjectDetails, TaskDetails, TaskTimes, ToGovernor};
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
}

impl TaskState {
    pub(super) fn is_over(self) -> bool {
        matches!(self, TaskState::Finished | TaskState::Cancelled)
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
    pub failure: Option<RequestError>,
    pub(super) kinds: Arc<Vec<Arc<Kind>>>,
    pub(super) batches: Vec<Arc<Batch>>,
    pub(super) tasks: Vec<TaskRecord>,
    pub(super) objects: Vec<ObjectRecord>,
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
            kinds: Arc::new(Vec::new()),
            batches: Vec::new(),
            tasks: Vec::new(),
            objects: Vec::new(),
            constant_types: BTreeMap::new(),
            task_details: BTreeMap::new(),
            object_details: BTreeMap::new(),
            unfinished: 0,
            out_of_time: false,
            closing: false,
            waits: Waits::default(),
            unplaced: Vec::new(),
            spread: None,
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
        self.batches = Vec::new();
        self.unplaced = Vec::new();
        self.spread = None;
        self.task_details.clear();
        self.object_details.clear();
        self.constant_types.clear();
        self.tasks = Vec::new();
        self.objects = Vec::new();
    }

    /// The batch of a task that exists.
    pub(super) fn batch_of(&self, task: TaskIndex) -> &Arc<Batch> {
        let position = self.batches.partition_point(|batch| batch.first <= task);
        &self.batches[position - 1]
    }

    pub(super) fn outputs(&self, task: TaskIndex) -> Range<ObjectIndex> {
        self.batch_of(task).outputs(task)
    }

    pub(super) fn task_is_finished(&self, task: TaskIndex) -> bool {
        self.tasks.get(task as usize).is_some_and(|record| record.state == TaskState::Finished)
    }

    pub(super) fn task_is_cancelled(&self, task: TaskIndex) -> bool {
        self.tasks.get(task as usize).is_some_and(|record| record.state == TaskState::Cancelled)
    }

    pub(super) fn object_is_finished(&self, object: ObjectIndex) -> bool {
        match self.objects.get(object as usize) {
            Some(record) => record.producer == NONE || self.task_is_finished(record.producer),
            None => false,
        }
    }

    /// The governors that have the content of a finished, kept object, or are about to; the first one has it.
    pub(super) fn holders(&self, object: ObjectIndex) -> impl Iterator<Item = GovernorId> {
        let is_kept = self.objects.get(object as usize).is_some_and(|record| record.kept);
        let (several, one) = match &self.spread {
            _ if !is_kept => (&[][..], None),
            Some(spread) => (spread.holders(object), None),
            None => (&[][..], self.governors.keys().next()),
        };
        several.iter().chain(one).copied()
    }

    /// The content of a kept constant that governors may not have yet.
    pub(super) fn constant(&self, object: ObjectIndex) -> Option<&D> {
        self.objects.get(object as usize).filter(|record| record.kept)?;
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
        actions: &mut Vec<Action<D>>,
    ) {
        for object in &finished.objects {
            if let Some(record) = self.objects.get_mut(object.object as usize) {
                record.size = object.size;
            }
        }
        for details in &finished.details {
            self.task_details.insert(details.task, details.clone());
        }
        for details in &finished.object_details {
            self.object_details.insert(details.object, details.clone());
        }
        let mut done = Vec::with_capacity(finished.tasks.len());
        for report in &finished.tasks {
            let Some(record) = self.tasks.get_mut(report.task as usize) else { continue };
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
        self.spread_over(&done, actions);
        self.advance_waits(&done, actions);
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
        if let Some(record) = self.tasks.get_mut(task as usize)
            && !record.state.is_over()
        {
            *record = TaskRecord { start, duration: 0.0, governor: governor.0 as u16, state: TaskState::Running };
        }
    }

    /// Remembers why a task failed, and makes the error that everybody who asks about the session gets.
    pub(super) fn record_failure(&mut self, governor: GovernorId, task: TaskIndex, failure: Failure) -> RequestError {
        if let Some(record) = self.tasks.get_mut(task as usize) {
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
        if task as usize >= self.tasks.len() {
            return "a task".to_owned();
        }
        let kind = self.batch_of(task).kind(task);
        if kind.name.is_empty() {
            format!("task {task} ({})", kind.task_type)
        } else {
            format!("task {task} {:?} ({})", kind.name, kind.task_type)
        }
    }

    /// Checks that the client asks for a fetch that can succeed.
    pub(super) fn check_fetch(&self, object: ObjectIndex) -> Result<(), RequestError> {
        let record = self
            .objects
            .get(object as usize)
            .ok_or_else(|| RequestError::request(format!("object {object} does not exist in {}", self.id)))?;
        if record.kept {
            return Ok(());
        }
        Err(RequestError::request(format!(
            "object {object} is not kept, so it is dropped once its consumers have run; call keep() before submit()"
        )))
    }

    pub(super) fn check_items(&self, tasks: &[u32], objects: &[u32]) -> Result<(), RequestError> {
        if let Some(task) = tasks.iter().find(|task| **task as usize >= self.tasks.len()) {
            return Err(RequestError::request(format!("task {task} does not exist in {}", self.id)));
        }
        if let Some(object) = objects.iter().find(|object| **object as usize >= self.objects.len()) {
            return Err(RequestError::request(format!("object {object} does not exist in {}", self.id)));
        }
        Ok(())
    }

    pub(super) fn unkeep(&mut self, objects: &[u32], actions: &mut Vec<Action<D>>) -> Result<(), RequestError> {
        self.check_items(&[], objects)?;
        if let Some(object) = objects.iter().find(|object| !self.objects[**object as usize].kept) {
            return Err(RequestError::request(format!("object {object} is not kept")));
        }
        let distinct: BTreeSet<u32> = objects.iter().copied().collect();
        for object in &distinct {
            self.objects[*object as usize].kept = false;
        }
        match &mut self.spread {
            Some(spread) => spread.unpin(self.id, distinct, actions),
            None => {
                let still_unplaced: BTreeSet<u32> =
                    self.unplaced.iter().flat_map(|unplaced| unplaced.keep.iter().copied()).collect();
                for unplaced in &mut self.unplaced {
                    unplaced.keep.retain(|object| !distinct.contains(object));
                }
                let objects: Vec<u32> = distinct.difference(&still_unplaced).copied().collect();
                for governor in self.governors.keys() {
                    let message = ToGovernor::Unpin { session: self.id, objects: objects.clone() };
                    actions.push(Action::Send { governor: *governor, message: Message::ToGovernor(message) });
                }
            }
        }
        Ok(())
    }
}
