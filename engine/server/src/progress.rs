//! Tasks that are over: what that means for those that wait for them, and for the objects that they read.

use super::effects::Effects;
use super::holders::Holders;
use super::records::{ObjectRecord, TaskState};
use super::session::Session;
use rain_model::graph::Batch;
use rain_model::id::{GovernorId, NONE, ObjectIndex, TaskIndex};
use rain_protocol::peer::{Finished, TaskDetails, TaskOutput, TaskReport, ToGovernor};
use std::sync::Arc;

/// Configurations of a batch that take less memory, bytes, are not worth a message to governors: they go with their batch.
pub(super) const CONFIG_BYTES_MIN: usize = 1 << 10;

/// Input objects that tasks on these governors wait for, and that were made elsewhere.
pub(super) type Wanted = Vec<(GovernorId, ObjectIndex)>;

/// The batch of the latest task that was asked for: tasks of one batch often come one after another.
#[derive(Default)]
struct Latest {
    place: Option<usize>,
    batch: Option<Arc<Batch>>,
}

impl Latest {
    fn of<D: Clone>(&mut self, session: &Session<D>, task: TaskIndex) -> Option<Arc<Batch>> {
        let place = session.batches.place(task, self.place.unwrap_or(usize::MAX))?;
        if self.place != Some(place) {
            self.place = Some(place);
            self.batch = session.batches.at(place).map(|(batch, _)| batch.clone());
        }
        self.batch.take()
    }

    /// Takes the batch back that `of` gave.
    fn put(&mut self, batch: Arc<Batch>) {
        self.batch = Some(batch);
    }
}

/// Whether an object is needed that this governor was not told to hold.
fn is_wanted_elsewhere(made: &ObjectRecord, holders: &Holders, governor: Option<GovernorId>) -> bool {
    let is_wanted = made.mark.is_kept() || made.readers() > 0;
    is_wanted && governor.is_none_or(|governor| !holders.has(made.mark, governor))
}

impl<D: Clone> Session<D> {
    /// Takes what a governor reports of tasks that it has. Returns those that are finished now.
    pub(super) fn finish(&mut self, id: GovernorId, finished: &Finished) -> Vec<TaskIndex> {
        let mut done = Vec::with_capacity(finished.tasks.len());
        let mut again = 0;
        for report in &finished.tasks {
            // Others were cancelled meanwhile.
            if let Some(record) = self.tasks.get_mut(report.task)
                && !record.state.is_over()
                && record.governor() == Some(id)
            {
                again += u64::from(record.is_again());
                record.finish(report);
                if !self.losses.is_empty() {
                    self.losses.remove(&report.task);
                }
                done.push(report.task);
            }
        }
        for details in &finished.details {
            if self.task_is_finished(details.task) && self.is_known(details.task) {
                if !details.output.is_empty() {
                    self.outputs.add(details.task, details.output.clone());
                }
                if details.debug.is_some() || details.user.is_some() {
                    let output = TaskOutput::default();
                    let (task, debug, user) = (details.task, details.debug.clone(), details.user.clone());
                    self.task_details.insert(task, TaskDetails { task, debug, user, output });
                }
            }
        }
        for details in &finished.object_details {
            if self.known_object(details.object).is_some() {
                self.object_details.insert(details.object, details.clone());
            }
        }
        self.unfinished -= done.len() as u64 - again;
        self.answered.clear();
        done
    }

    /// Whether a task has finished as this report says.
    pub(super) fn was_finished_by(&self, id: GovernorId, report: &TaskReport) -> bool {
        self.tasks.get(report.task).is_some_and(|record| {
            record.state == TaskState::Finished && record.governor() == Some(id) && record.start == report.start
        })
    }

    /// Notes the sizes of objects that are finished, after their consumers were counted down.
    pub(super) fn note_sizes(&mut self, finished: &Finished) {
        for report in &finished.objects {
            let Some(record) = self.objects.get_mut(report.object) else { continue };
            if self.tasks.get(record.producer).is_some_and(|task| task.state == TaskState::Finished) {
                record.number = report.size;
            }
        }
    }

    /// Takes what a governor reports of tasks; counts down what waited for them.
    pub(super) fn tasks_finished(&mut self, id: GovernorId, finished: &Finished, effects: &mut Effects<D>) -> u64 {
        let done = self.finish(id, finished);
        let wanted = self.count_down(&done, effects);
        self.note_sizes(finished);
        self.bring(wanted, effects);
        self.advance_waits(&done, effects);
        done.len() as u64
    }

    /// Counts tasks down that are over: their inputs have readers less, and those that wait for their outputs may be ready. What
    /// nobody needs any more is dropped. Returns objects that are to be brought to governors.
    pub(super) fn count_down(&mut self, over: &[TaskIndex], effects: &mut Effects<D>) -> Wanted {
        let (mut unneeded, mut wanted, mut ready) = (Vec::new(), Vec::new(), Vec::new());
        let (mut without_configs, mut ended) = (Vec::new(), Vec::new());
        let (mut own, mut readers) = (Latest::default(), Latest::default());
        for task in over.iter().copied() {
            if !self.raised.is_empty() {
                self.raised.remove(&task);
            }
            let Some(batch) = own.of(self, task) else { continue };
            let record = self.tasks[task];
            if let Some(duration) = record.duration() {
                let duration = f64::from(duration);
                let mean = self.mean_duration.unwrap_or(duration);
                self.mean_duration = Some(mean + (duration - mean) / 16.0);
            }
            if record.has_run_again() && self.is_wanted_again(&batch, task) {
                self.outputs_are_made(&batch, task, &mut ready, &mut wanted);
                self.tasks[task].begin_again();
                self.repeated.push(task);
                ready.push(task);
                own.put(batch);
                self.push_made_ready(&mut ready, &mut readers);
                continue;
            }
            let mut is_counted = false;
            if let Some((batch, note)) = own.place.and_then(|place| self.batches.at_mut(place)) {
                debug_assert!(note.open > 0, "a task is over once");
                note.open = note.open.saturating_sub(1);
                if note.open == 0 && note.lineage.is_needed {
                    ended.push(batch.first);
                } else if note.open == 0 && batch.config_bytes() >= CONFIG_BYTES_MIN {
                    without_configs.push(batch.first);
                }
                is_counted = note.counted;
            }
            if is_counted {
                self.inputs_are_read(&batch, task, &mut unneeded);
                self.outputs_are_made(&batch, task, &mut ready, &mut wanted);
                self.push_made_ready(&mut ready, &mut readers);
            } else {
                for object in batch.outputs(task) {
                    if let Some(made) = self.objects.get_mut(object) {
                        debug_assert!(made.number == NONE, "nobody waits for it");
                        made.number = 0;
                    }
                }
            }
            if record.has_run_again() {
                self.tasks[task].has_caught_up();
            }
            own.put(batch);
        }
        self.drop_objects(unneeded, effects);
        self.drop_configs(&without_configs, effects);
        self.check_lineage(ended, effects);
        wanted
    }

    /// Whether a task that has run again makes what nobody wanted when it was given to its governor, which has dropped it.
    fn is_wanted_again(&self, batch: &Batch, task: TaskIndex) -> bool {
        let record = self.tasks[task];
        let is_dropped =
            |made: &ObjectRecord| made.mark.is_lost() && is_wanted_elsewhere(made, &self.holders, record.governor());
        record.duration().is_some()
            && batch.outputs(task).any(|object| self.objects.get(object).is_some_and(is_dropped))
    }

    /// Has tasks wait for a governor that have become ready.
    fn push_made_ready(&mut self, ready: &mut Vec<TaskIndex>, near: &mut Latest) {
        for task in ready.drain(..) {
            if let Some(batch) = near.of(self, task) {
                self.push_ready(&batch, task);
                near.put(batch);
            }
        }
    }

    /// The inputs of a task that is over have a reader less.
    fn inputs_are_read(&mut self, batch: &Batch, task: TaskIndex, unneeded: &mut Vec<ObjectIndex>) {
        for object in batch.inputs(task) {
            if let Some(read) = self.objects.get_mut(*object)
                && read.reader_is_over()
                && !read.mark.is_kept()
            {
                unneeded.push(*object);
            }
        }
    }

    /// Tasks wait no more for the outputs of one that is over. Appends those that are ready now, and objects that are to be brought
    /// to governors.
    fn outputs_are_made(&mut self, batch: &Batch, task: TaskIndex, ready: &mut Vec<TaskIndex>, wanted: &mut Wanted) {
        let record = self.tasks[task];
        for object in batch.outputs(task) {
            let Some(made) = self.objects.get_mut(object) else { continue };
            if record.has_run_again() {
                // The others are there since it ran before, or are wanted since it was given away.
                let is_dropped = is_wanted_elsewhere(made, &self.holders, record.governor());
                if !made.mark.is_lost() || is_dropped {
                    continue;
                }
                made.mark.set_lost(false);
                self.remade.push(object);
            }
            let before = ready.len();
            while let Some(consumer) = self.edges.pop(&mut made.number) {
                // One that was cancelled may be forgotten.
                let Some(waiting) = self.tasks.get_mut(consumer) else { continue };
                if record.duration().is_none() || waiting.state.is_over() {
                    continue;
                }
                match (waiting.met(), waiting.governor()) {
                    (true, None) => ready.push(consumer),
                    // It was made elsewhere than planned, because its task was given back.
                    (_, Some(reader)) if Some(reader) != record.governor() => wanted.push((reader, object)),
                    _ => {}
                }
            }
            // The list of consumers has the newest first; the oldest is to run first.
            ready[before..].reverse();
            made.number = 0;
        }
    }

    /// Nobody needs the configurations of batches any more whose tasks are all over.
    fn drop_configs(&mut self, batches: &[TaskIndex], effects: &mut Effects<D>) {
        for first in batches {
            if let Some((batch, _)) = self.batches.find_mut(*first) {
                *batch = Arc::new(batch.without_configs());
            }
        }
        if !batches.is_empty() {
            self.tell_governors(|session| ToGovernor::DropConfigs { session, batches: batches.to_vec() }, effects);
        }
    }
}
