//! Tasks that are over: what that means for those that wait for them, and for the objects that they read.

use super::effects::Effects;
use super::session::Session;
use rain_model::graph::Batch;
use rain_model::id::{GovernorId, ObjectIndex, TaskIndex};
use rain_protocol::peer::{Finished, ToGovernor};
use std::sync::Arc;

/// Configurations of a batch that take less memory, bytes, are not worth a message to governors: they go with their batch.
const CONFIG_BYTES_MIN: usize = 1 << 10;

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

impl<D: Clone> Session<D> {
    /// Takes what a governor reports of tasks that it has. Returns those that are finished now.
    pub(super) fn finish(&mut self, id: GovernorId, finished: &Finished) -> Vec<TaskIndex> {
        let mut done = Vec::with_capacity(finished.tasks.len());
        for report in &finished.tasks {
            // Others were cancelled meanwhile.
            if let Some(record) = self.tasks.get_mut(report.task)
                && !record.state.is_over()
                && record.governor() == Some(id)
            {
                record.finish(report);
                done.push(report.task);
            }
        }
        for details in &finished.details {
            if self.task_is_finished(details.task) && self.is_known(details.task) {
                self.task_details.insert(details.task, details.clone());
            }
        }
        for details in &finished.object_details {
            if self.known_object(details.object).is_some() {
                self.object_details.insert(details.object, details.clone());
            }
        }
        self.unfinished -= done.len() as u64;
        self.answered.clear();
        done
    }

    /// Notes the sizes of objects that are finished, after their consumers were counted down.
    pub(super) fn note_sizes(&mut self, finished: &Finished) {
        for report in &finished.objects {
            if self.producer_of(report.object).is_some_and(|producer| self.task_is_finished(producer))
                && let Some(record) = self.objects.get_mut(report.object)
            {
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
        let mut without_configs = Vec::new();
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
            for object in batch.inputs(task) {
                if let Some(read) = self.objects.get_mut(*object)
                    && read.reader_is_over()
                    && !read.mark.is_kept()
                {
                    unneeded.push(*object);
                }
            }
            for object in batch.outputs(task) {
                let Some(made) = self.objects.get_mut(object) else { continue };
                while let Some(consumer) = self.edges.pop(&mut made.number) {
                    // One that was cancelled may be forgotten.
                    let Some(waiting) = self.tasks.get_mut(consumer) else { continue };
                    if record.duration().is_none() {
                        continue;
                    }
                    let is_open = !waiting.state.is_over();
                    let is_ready = waiting.met() && waiting.governor().is_none();
                    if is_ready {
                        ready.push(consumer);
                    }
                    // It was made elsewhere than planned, because its task was given back.
                    if let Some(reader) =
                        waiting.governor().filter(|reader| is_open && Some(*reader) != record.governor())
                    {
                        wanted.push((reader, object));
                    }
                }
                made.number = 0;
                // The list has the newest consumer first; the oldest is to run first.
                for consumer in ready.drain(..).rev() {
                    if let Some(batch) = readers.of(self, consumer) {
                        self.push_ready(&batch, consumer);
                        readers.put(batch);
                    }
                }
            }
            own.put(batch);
            if let Some((batch, note)) = own.place.and_then(|place| self.batches.at_mut(place)) {
                debug_assert!(note.open > 0, "a task is over once");
                note.open = note.open.saturating_sub(1);
                if note.open == 0 && batch.config_bytes() >= CONFIG_BYTES_MIN {
                    without_configs.push(batch.first);
                }
            }
        }
        self.drop_objects(unneeded, effects);
        self.drop_configs(&without_configs, effects);
        wanted
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
