//! What must stay so that lost objects can be made again: batches with their configurations, records, and constants.
//!
//! Somebody may need that tasks of a batch are run again as long as one of them is not over, an output is kept, or a batch of which
//! the same is true reads what it makes. A batch that its client has forgotten stays for this reason only up to a bound.

use super::effects::Effects;
use super::progress::CONFIG_BYTES_MIN;
use super::records::{Lineage, TaskState};
use super::session::Session;
use rain_model::graph::Batch;
use rain_model::id::{NONE, ObjectIndex, TaskIndex};
use rain_protocol::peer::{Forget, ToGovernor};

/// Forgotten tasks of a session whose batches stay because what they have made may have to be made again. The batches that were
/// submitted first go beyond that.
const LEFT_TASKS_MAX: u64 = 1 << 17;

/// What goes with batches of which nobody needs any more that tasks are run again.
#[derive(Default)]
struct Gone {
    without_configs: Vec<TaskIndex>,
    forgotten: Vec<TaskIndex>,
}

impl<D: Clone> Session<D> {
    /// What a new batch reads of others, which stay for it; `kept`: how many outputs are.
    pub(super) fn new_lineage(&mut self, batch: &Batch, first_object: ObjectIndex, kept: u32) -> Lineage {
        if !self.recovers {
            return Lineage::default();
        }
        let (mut reads, mut constants) = (Vec::new(), Vec::new());
        let mut near = usize::MAX;
        for object in batch.inputs.iter().copied().filter(|object| *object < first_object) {
            let Some(producer) = self.objects.get(object).map(|record| record.producer) else { continue };
            if producer == NONE {
                constants.push(object);
            } else if let Some(place) = self.batches.place(producer, near)
                && place != near
            {
                near = place;
                reads.extend(self.batches.at(place).map(|(batch, _)| batch.first));
            }
        }
        reads.sort_unstable();
        reads.dedup();
        constants.sort_unstable();
        constants.dedup();
        constants.retain(|object| self.constants.get_mut(object).map(|constant| constant.readers += 1).is_some());
        for first in &reads {
            if let Some((_, note)) = self.batches.find_mut(*first) {
                note.lineage.readers += 1;
            }
        }
        Lineage { is_needed: true, kept, readers: 0, reads: reads.into(), constants: constants.into() }
    }

    /// Whether the records of a batch's tasks and outputs stay when they are forgotten.
    pub(super) fn is_needed(&self, task: TaskIndex) -> bool {
        self.batches.find(task).is_some_and(|(_, note)| note.lineage.is_needed)
    }

    /// Whether the record of an object stays when it is forgotten.
    pub(super) fn stays(&self, object: ObjectIndex) -> bool {
        let producer = self.objects.get(object).map_or(NONE, |record| record.producer);
        self.recovers && producer != NONE && self.is_needed(producer)
    }

    /// Outputs of these tasks are not kept any more, one for each time that a task is named.
    pub(super) fn outputs_are_let_go(&mut self, producers: &[TaskIndex], effects: &mut Effects<D>) {
        if !self.recovers {
            return;
        }
        let mut batches = Vec::new();
        let mut near = usize::MAX;
        for producer in producers {
            let Some(place) = self.batches.place(*producer, near) else { continue };
            near = place;
            let Some((batch, note)) = self.batches.at_mut(place) else { continue };
            note.lineage.kept = note.lineage.kept.saturating_sub(1);
            if note.lineage.kept == 0 {
                batches.push(batch.first);
            }
        }
        self.check_lineage(batches, effects);
    }

    /// Lets go of what stays for these batches, if nobody needs any more that tasks of theirs are run again.
    pub(super) fn check_lineage(&mut self, batches: Vec<TaskIndex>, effects: &mut Effects<D>) {
        let mut left = batches;
        let mut gone = Gone::default();
        while let Some(first) = left.pop() {
            let Some((_, note)) = self.batches.find(first) else { continue };
            let lineage = &note.lineage;
            if lineage.is_needed && note.open == 0 && lineage.kept == 0 && lineage.readers == 0 {
                self.end_lineage(first, &mut left, &mut gone);
            }
        }
        self.tell_gone(gone, effects);
    }

    /// A batch of which all tasks are forgotten stays. Those beyond the bound go.
    pub(super) fn stay_forgotten(&mut self, first: TaskIndex, count: u32, effects: &mut Effects<D>) {
        if self.left.insert(first) {
            self.left_tasks += u64::from(count);
        }
        let mut gone = Gone::default();
        let mut at = 0;
        while self.left_tasks > LEFT_TASKS_MAX
            && let Some(oldest) = self.left.range(at..).next().copied()
        {
            at = oldest + 1;
            // One of which tasks are being run again stays until they have.
            if self.batches.find(oldest).is_some_and(|(_, note)| note.open == 0) {
                let mut left = Vec::new();
                self.end_lineage(oldest, &mut left, &mut gone);
                self.check_lineage(left, effects);
            }
        }
        self.tell_gone(gone, effects);
    }

    fn end_lineage(&mut self, first: TaskIndex, left: &mut Vec<TaskIndex>, gone: &mut Gone) {
        let Some((batch, note)) = self.batches.find_mut(first) else { return };
        let Lineage { reads, constants, .. } = std::mem::take(&mut note.lineage);
        let (known, objects) = (note.known, note.objects.clone());
        if known > 0 && batch.config_bytes() >= CONFIG_BYTES_MIN {
            *batch = std::sync::Arc::new(batch.without_configs());
            gone.without_configs.push(first);
        }
        let batch = batch.clone();
        for read in reads {
            if let Some((_, note)) = self.batches.find_mut(read) {
                note.lineage.readers = note.lineage.readers.saturating_sub(1);
                left.push(read);
            }
        }
        for object in constants {
            if let Some(constant) = self.constants.get_mut(&object) {
                constant.readers = constant.readers.saturating_sub(1);
            }
            self.drop_constant(object);
        }
        let own: Vec<ObjectIndex> = self.constants.range(objects.clone()).map(|(object, _)| *object).collect();
        own.into_iter().for_each(|object| self.drop_constant(object));
        if known < batch.count {
            for task in batch.tasks() {
                if let Some(record) = self.tasks.get_mut(task).filter(|record| record.is_left()) {
                    record.state = TaskState::Forgotten;
                    self.tasks.forget(task);
                    for object in batch.outputs(task) {
                        if self.objects.get(object).is_some_and(|record| record.readers() == 0) {
                            self.objects.forget(object);
                        }
                    }
                }
            }
        }
        if known == 0 {
            if self.left.remove(&first) {
                self.left_tasks -= u64::from(batch.count);
            }
            self.remove_batch(first);
            gone.forgotten.push(first);
        }
    }

    /// A batch of which all tasks are forgotten goes.
    pub(super) fn remove_batch(&mut self, first: TaskIndex) {
        if let Some((batch, _)) = self.batches.remove(first)
            && !self.asked.is_empty()
        {
            self.lingering.push(batch);
        }
    }

    fn tell_gone(&mut self, gone: Gone, effects: &mut Effects<D>) {
        let Gone { without_configs, forgotten } = gone;
        if !without_configs.is_empty() {
            let message = |session| ToGovernor::DropConfigs { session, batches: without_configs.clone() };
            self.tell_governors(message, effects);
        }
        if !forgotten.is_empty() {
            let forget = Forget { session: self.id.0, batches: forgotten, ..Forget::default() };
            self.tell_governors(|_| ToGovernor::Forget(forget.clone()), effects);
        }
    }

    /// Drops the content of a constant that nobody can need any more.
    pub(super) fn drop_constant(&mut self, object: ObjectIndex) {
        let Some(constant) = self.constants.get(&object) else { return };
        let is_read = self.objects.get(object).is_some_and(|record| record.readers() > 0 || record.mark.is_kept());
        if !is_read && constant.readers == 0 && (constant.batch == NONE || !self.is_needed(constant.batch)) {
            self.constants.remove(&object);
        }
    }
}
