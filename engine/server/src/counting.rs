//! Who reads which object, and what each task waits for: counted when it is needed.
//!
//! A governor that has a batch as a whole knows this itself, and the server need not. It is needed once tasks are handed out one
//! by one, or when tasks are cancelled with those that need them. From then on it is kept up to date (`progress.rs`).

use super::records::ObjectRecord;
use super::session::Session;
use rain_model::graph::Batch;
use rain_model::id::NONE;
use std::sync::Arc;

impl<D: Clone> Session<D> {
    /// Counts what is not counted yet: tasks that are not over as readers of their inputs, and inputs that they wait for.
    pub(super) fn count_all(&mut self) {
        if !std::mem::take(&mut self.uncounted) {
            return;
        }
        let mut batches: Vec<Arc<Batch>> = Vec::new();
        for (batch, note) in self.batches.iter_mut().filter(|(_, note)| !note.counted) {
            note.counted = true;
            batches.push(batch.clone());
        }
        batches.iter().for_each(|batch| self.count(batch));
    }

    fn count(&mut self, batch: &Batch) {
        if batch.inputs.is_empty() {
            return;
        }
        for task in batch.tasks() {
            if !self.is_open(task) {
                continue;
            }
            for object in batch.inputs(task) {
                if self.has_losses && self.is_kept(*object) && self.is_there(*object) && !self.is_anywhere(*object) {
                    self.bring_back(*object);
                }
                let is_finished = self.is_there(*object);
                self.remember_read(*object);
                let record = &mut self.objects[*object];
                record.add_reader();
                if !is_finished {
                    self.edges.push(&mut record.number, task);
                    self.tasks[task].add_unmet();
                }
            }
        }
    }

    /// Sees to it that an object which is going to be read has a record.
    pub(super) fn remember_read(&mut self, object: u32) {
        if self.known_object(object).is_none() && !self.has_forgotten_readers(object) && !self.stays(object) {
            // Its record may be gone: it goes with this reader.
            self.objects.remember(object, ObjectRecord::new(NONE));
            self.objects[object].mark.set_forgotten();
        }
    }

    /// An object that was lost and not needed then is now.
    fn bring_back(&mut self, object: u32) {
        match self.make_again(object) {
            Ok(tasks) => self.push_again(tasks),
            Err(why) => self.broken = Some(why),
        }
    }

    /// Whether a forgotten object is there for readers that are not over.
    fn has_forgotten_readers(&self, object: u32) -> bool {
        self.objects.get(object).is_some_and(|record| record.readers() > 0)
    }
}
