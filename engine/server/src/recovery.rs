//! What a lost governor has had: its tasks run elsewhere, and what only it held and somebody needs is made again.

use super::effects::Effects;
use super::holders::Left;
use super::records::TaskState;
use super::session::Session;
use rain_model::graph::Batch;
use rain_model::id::{GovernorId, NONE, ObjectIndex, TaskIndex};
use rain_protocol::log::LogEntry;
use rain_protocol::peer::ToGovernor;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A task that was running on so many governors in turn that were lost is taken for the reason.
const LOSSES_MAX: u32 = 3;
/// What tasks of this type do to files is not done twice.
const STORE: &str = "buildin/store";

/// Why a session cannot go on without a governor.
pub(super) struct NotRepeated {
    /// The task that is not run again.
    pub(super) task: Option<TaskIndex>,
    pub(super) why: String,
}

/// Finds the batches of tasks that often come one after another.
#[derive(Default)]
struct Near {
    place: Option<usize>,
    batch: Option<Arc<Batch>>,
}

impl Near {
    fn of<D: Clone>(&mut self, session: &Session<D>, task: TaskIndex) -> Option<Arc<Batch>> {
        let place = session.batches.place(task, self.place.unwrap_or(usize::MAX))?;
        if self.place != Some(place) {
            self.place = Some(place);
            self.batch = session.batches.at(place).map(|(batch, _)| batch.clone());
        }
        self.batch.clone()
    }
}

impl<D: Clone> Session<D> {
    /// Whether an object was finished and is not lost.
    pub(super) fn is_there(&self, object: ObjectIndex) -> bool {
        let is_lost = self.objects.get(object).is_some_and(|record| record.mark.is_lost());
        !is_lost && self.object_is_finished(object)
    }

    /// Whether a governor that the server knows of, or the server itself, has the content of a finished object.
    pub(super) fn is_anywhere(&self, object: ObjectIndex) -> bool {
        let is_held = self.objects.get(object).is_some_and(|record| self.holders.count(record.mark) > 0);
        is_held || self.constants.contains_key(&object)
    }

    /// Whether a task finds an object on the governor that it was given to as part of a whole batch.
    fn is_beside(&self, object: ObjectIndex, task: TaskIndex) -> bool {
        let has_run = |task: TaskIndex| self.tasks.get(task).and_then(|record| record.governor());
        self.whole_on.is_some()
            && has_run(task) == self.whole_on
            && self.producer_of(object).is_some_and(|producer| has_run(producer) == self.whole_on)
    }

    /// Takes a governor out that was lost. What it had of tasks waits for another one; what only it held and tasks that are not over
    /// read, or its client has kept and not fetched, is to be made again.
    ///
    /// # Errors
    /// Why a task is not run again, or something that is needed cannot be made again.
    pub(super) fn recover(&mut self, id: GovernorId, effects: &mut Effects<D>) -> Result<(), NotRepeated> {
        self.count_all();
        (self.spread, self.has_losses) = (true, true);
        let had_whole = self.whole_on == Some(id);
        if had_whole {
            self.whole_on = None;
        }
        self.asked.remove(&id);
        self.answered.clear();
        let tasks = self.take_tasks_of(id)?;
        if had_whole {
            for (object, reader) in self.unnoticed_waits(&tasks) {
                self.wait_for(object, reader);
            }
        }
        let mut lost = self.lose_copies(id, effects);
        let missing = self.missing_inputs();
        lost.extend(missing.iter().map(|(object, _)| *object));
        let mut again = Vec::new();
        for object in lost {
            again.extend(self.make_again(object).map_err(|why| NotRepeated { task: None, why })?);
        }
        for (object, reader) in missing {
            self.wait_for(object, reader);
        }
        effects.log(LogEntry::Lost { session: self.id, governor: id, tasks: tasks.clone() });
        self.tell_repeated(effects);
        again.extend(tasks);
        again.extend(self.find_urgent());
        again.sort_unstable();
        again.dedup();
        self.push_again(again);
        Ok(())
    }

    /// Tells the log which finished tasks are to be run again since the last time.
    pub(super) fn tell_repeated(&mut self, effects: &mut Effects<D>) {
        if !self.repeated.is_empty() {
            let tasks = std::mem::take(&mut self.repeated);
            effects.log(LogEntry::Repeated { session: self.id, tasks });
        }
    }

    /// Has those of these tasks that are ready wait for a governor.
    pub(super) fn push_again(&mut self, tasks: Vec<TaskIndex>) {
        let mut near = Near::default();
        for task in tasks {
            if let Some(batch) = near.of(self, task)
                && self.tasks[task].is_ready()
            {
                self.push_ready(&batch, task);
            }
        }
    }

    /// A lost governor holds nothing any more. Returns finished objects that nobody else has, and that are kept and were not fetched.
    fn lose_copies(&mut self, id: GovernorId, effects: &mut Effects<D>) -> Vec<ObjectIndex> {
        let held = self.objects.iter().filter(|(_, record)| self.holders.has(record.mark, id));
        let held: Vec<ObjectIndex> = held.map(|(object, _)| object).collect();
        let mut lost = Vec::new();
        let mut unpins: BTreeMap<GovernorId, Vec<ObjectIndex>> = BTreeMap::new();
        for object in held {
            let Some(record) = self.objects.get_mut(object) else { continue };
            self.transfers.remove(&(object, id));
            let Left::Nothing(awaiting) = self.holders.lose(&mut record.mark, id) else { continue };
            let is_wanted = record.mark.is_kept() && !record.mark.is_fetched();
            for governor in awaiting {
                self.transfers.remove(&(object, governor));
                unpins.entry(governor).or_default().push(object);
            }
            if is_wanted && self.is_there(object) && !self.constants.contains_key(&object) {
                lost.push(object);
            }
        }
        for (governor, objects) in unpins {
            effects.send(governor, ToGovernor::Unpin { session: self.id, objects });
        }
        lost
    }

    /// Nobody has the tasks of a lost governor any more; returns them.
    ///
    /// # Errors
    /// Why one of them is not run again.
    fn take_tasks_of(&mut self, id: GovernorId) -> Result<Vec<TaskIndex>, NotRepeated> {
        let its = self.tasks.iter().filter(|(_, record)| !record.state.is_over() && record.governor() == Some(id));
        let its: Vec<TaskIndex> = its.map(|(task, _)| task).collect();
        let mut near = Near::default();
        let mut not_begun = BTreeSet::new();
        for task in its.iter().copied() {
            let Some(batch) = near.of(self, task) else { continue };
            if !self.may_have_begun(&batch, task, id, &not_begun) {
                not_begun.insert(task);
            } else if batch.kind(task).task_type == STORE {
                let why = format!("it may have run {}, and it is not run twice", self.describe_task(task));
                return Err(NotRepeated { task: Some(task), why });
            }
            if self.tasks[task].state == TaskState::Running {
                let losses = self.losses.entry(task).or_default();
                *losses += 1;
                if *losses >= LOSSES_MAX {
                    let why = format!(
                        "{} was running on it, as it was on each of {LOSSES_MAX} governors in turn that were lost: it is not \
                         run again",
                        self.describe_task(task)
                    );
                    return Err(NotRepeated { task: Some(task), why });
                }
            }
        }
        for task in &its {
            self.tasks[*task].unassign();
        }
        Ok(its)
    }

    /// Whether a task of a lost governor may have begun there: it has not if it waits for what is neither there nor may have been made
    /// by that governor. `not_begun`: tasks before it of which that is known.
    fn may_have_begun(&self, batch: &Batch, task: TaskIndex, id: GovernorId, not_begun: &BTreeSet<TaskIndex>) -> bool {
        let may_have_been_there = |object: &ObjectIndex| {
            let producer = self.objects.get(*object).map_or(NONE, |record| record.producer);
            let has_run_there = || {
                let record = self.tasks.get(producer);
                record.is_some_and(|record| record.governor() == Some(id)) && !not_begun.contains(&producer)
            };
            self.is_there(*object) || has_run_there()
        };
        batch.inputs(task).iter().all(may_have_been_there)
    }

    /// What tasks that are not over read and what is nowhere any more, with each of these tasks as often as it reads it.
    fn missing_inputs(&self) -> Vec<(ObjectIndex, TaskIndex)> {
        let mut missing = Vec::new();
        let mut near = Near::default();
        for (task, record) in self.tasks.iter() {
            if record.state.is_over() {
                continue;
            }
            let Some(batch) = near.of(self, task) else { continue };
            let is_missing = |object: &&ObjectIndex| {
                self.is_there(**object) && !self.is_anywhere(**object) && !self.is_beside(**object, task)
            };
            missing.extend(batch.inputs(task).iter().filter(is_missing).map(|object| (*object, task)));
        }
        missing
    }

    /// What these tasks read and what is lost, though they were not said to wait for it: they had it on the governor that was given whole
    /// batches, while it was made again for others.
    fn unnoticed_waits(&self, tasks: &[TaskIndex]) -> Vec<(ObjectIndex, TaskIndex)> {
        let mut known: BTreeMap<ObjectIndex, BTreeSet<TaskIndex>> = BTreeMap::new();
        let mut unnoticed = Vec::new();
        let mut near = Near::default();
        for task in tasks.iter().copied() {
            let Some(batch) = near.of(self, task) else { continue };
            for object in batch.inputs(task).iter().copied() {
                let Some(record) = self.objects.get(object).filter(|record| record.mark.is_lost()) else { continue };
                let waiting = known.entry(object).or_insert_with(|| self.edges.iter(record.number).collect());
                if !waiting.contains(&task) {
                    unnoticed.push((object, task));
                }
            }
        }
        unnoticed
    }

    /// A task that is not over waits for an object that is not there.
    fn wait_for(&mut self, object: ObjectIndex, reader: TaskIndex) {
        if let Some(record) = self.objects.get_mut(object) {
            self.edges.push(&mut record.number, reader);
            self.tasks[reader].add_unmet();
        }
    }

    /// Has an object that was finished and is nowhere made again, with everything that takes, unless it is to be already. Returns the
    /// tasks that are to run again.
    ///
    /// # Errors
    /// Why that cannot be.
    pub(super) fn make_again(&mut self, object: ObjectIndex) -> Result<Vec<TaskIndex>, String> {
        let mut left = Vec::new();
        let mut again = Vec::new();
        self.lose_object(object, &mut left)?;
        while let Some(task) = left.pop() {
            if self.tasks[task].is_again() {
                continue;
            }
            let Some((batch, note)) = self.batches.find_mut(task) else { continue };
            let batch = batch.clone();
            note.open += 1;
            self.tasks[task].begin_again();
            self.repeated.push(task);
            again.push(task);
            for output in batch.outputs(task) {
                let record = &self.objects[output];
                let is_wanted = record.mark.is_kept() || record.readers() > 0;
                if is_wanted && self.is_there(output) && !self.is_anywhere(output) {
                    self.objects[output].lose();
                }
            }
            for input in batch.inputs(task).iter().copied() {
                self.remember_read(input);
                self.objects[input].add_reader();
                if self.is_there(input) && !self.is_anywhere(input) {
                    self.lose_object(input, &mut left)?;
                }
                if !self.is_there(input) {
                    self.wait_for(input, task);
                }
            }
        }
        Ok(again)
    }

    /// Notes that an object which nobody has is to be made again, by a task that is appended if it has to begin again for that.
    fn lose_object(&mut self, object: ObjectIndex, left: &mut Vec<TaskIndex>) -> Result<(), String> {
        let Some(record) = self.objects.get(object) else { return Err(format!("object {object} was forgotten")) };
        if record.mark.is_lost() {
            return Ok(());
        }
        let producer = record.producer;
        if producer == NONE {
            return Err(format!("object {object} is a constant whose content is nowhere any more"));
        }
        let state = self.tasks.get(producer).map_or(TaskState::Forgotten, |record| record.state);
        if !self.is_needed(producer) || state == TaskState::Forgotten {
            return Err(format!(
                "object {object} was made by task {producer}, which was forgotten: what it takes to run it again is not \
                 remembered any more"
            ));
        }
        if state == TaskState::Cancelled {
            return Err(format!(
                "object {object} was to be made by {}, which was cancelled",
                self.describe_task(producer)
            ));
        }
        if let Some(record) = self.objects.get_mut(object) {
            debug_assert!(self.holders.count(record.mark) == 0);
            record.lose();
        }
        left.push(producer);
        Ok(())
    }

    /// Tasks that governors have wait for what others make: these have to find room, however full the governors are. Returns them.
    fn find_urgent(&mut self) -> Vec<TaskIndex> {
        let mut found = BTreeSet::new();
        let waits = self.tasks.iter().filter(|(_, record)| record.governor().is_some() && record.unmet() > 0);
        let mut left: Vec<TaskIndex> = waits.map(|(task, _)| task).collect();
        let mut near = Near::default();
        while let Some(task) = left.pop() {
            let Some(batch) = near.of(self, task) else { continue };
            for object in batch.inputs(task) {
                if self.is_there(*object) {
                    continue;
                }
                let Some(producer) = self.objects.get(*object).map(|record| record.producer) else { continue };
                if let Some(record) = self.tasks.get_mut(producer)
                    && record.governor().is_none()
                    && !record.state.is_over()
                    && found.insert(producer)
                {
                    record.set_urgent();
                    left.push(producer);
                }
            }
        }
        found.into_iter().collect()
    }
}

/// Copies of objects on their way, and those that cannot be brought.
impl<D: Clone> Session<D> {
    /// Whether this is what a governor says of the transfer that it was told of last.
    fn is_current(&self, id: GovernorId, object: ObjectIndex, transfer: u32) -> bool {
        let is_its = self.objects.get(object).is_some_and(|record| self.holders.is_awaiting(record.mark, id));
        is_its && self.transfers.get(&(object, id)).copied().unwrap_or(1) == transfer
    }

    /// A governor has got an object that it was to bring from others.
    pub(super) fn has_arrived(&mut self, id: GovernorId, object: ObjectIndex, transfer: u32) {
        if self.is_current(id, object, transfer) {
            self.transfers.remove(&(object, id));
            self.holders.arrived(self.objects[object].mark, id);
        }
    }

    /// A governor cannot get an object from those who it was told have it. Whether it is to have it all the same.
    pub(super) fn has_not_arrived(
        &mut self,
        id: GovernorId,
        object: ObjectIndex,
        transfer: u32,
        effects: &mut Effects<D>,
    ) -> bool {
        if !self.is_current(id, object, transfer) {
            return false;
        }
        self.transfers.remove(&(object, id));
        let record = &mut self.objects[object];
        self.holders.remove(&mut record.mark, id);
        effects.send(id, ToGovernor::Unpin { session: self.id, objects: vec![object] });
        record.readers() > 0
    }

    /// A governor that has an object.
    pub(super) fn holder_of(&self, object: ObjectIndex) -> Option<GovernorId> {
        self.holders.having(self.objects.get(object)?.mark).next()
    }

    /// Notes that the client has a kept object.
    pub(super) fn is_fetched(&mut self, object: ObjectIndex) {
        if let Some(record) = self.objects.get_mut(object) {
            record.mark.set_fetched();
        }
    }

    /// Whether a finished, kept object is nowhere.
    pub(super) fn is_to_be_made_again(&self, object: ObjectIndex) -> bool {
        let is_gone = || !self.is_there(object) || !self.is_anywhere(object);
        self.recovers && self.is_kept(object) && self.object_is_finished(object) && is_gone()
    }
}
