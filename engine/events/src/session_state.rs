//! What the writer remembers of sessions that are not closed, and of governors that are in.

use crate::chunk::{FinishedTask, OpenChunk, Slot};
use crate::graph_rows::GraphRow;
use rain_model::graph::{Batch, Batches};
use std::collections::HashMap;
use std::sync::Arc;

/// How many tasks there are of each state that is no guess, and how long they ran.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub tasks: u64,
    pub finished: u64,
    pub failed: u64,
    pub cancelled: u64,
    pub lost: u64,
    pub running: u64,
    /// Nanoseconds.
    pub busy: u64,
}

impl Tally {
    /// Tasks that are neither over nor known to run.
    pub fn open(&self) -> u64 {
        self.tasks.saturating_sub(self.finished + self.failed + self.cancelled + self.running)
    }

    /// Counts all tasks that are not over as cancelled.
    fn close(&mut self) {
        self.running = 0;
        self.cancelled += self.open();
    }
}

/// A governor that is in.
#[derive(Clone, Copy, Debug, Default)]
pub struct Governor {
    /// Its number in the log.
    pub id: u32,
    pub tasks: u64,
    pub busy: u64,
    pub is_changed: bool,
}

/// The tasks of a session with one name.
#[derive(Debug, Default)]
pub struct Group {
    pub tally: Tally,
    pub is_changed: bool,
}

/// What is noted of a batch: tasks that are not over, and the number of each kind's name.
#[derive(Debug)]
struct BatchNote {
    open: u32,
    names: Box<[u32]>,
}

/// A task that is known to run.
#[derive(Clone, Copy, Debug)]
pub struct Running {
    pub slot: Slot,
    /// Microseconds since 1970.
    pub start: u64,
    /// The table has it.
    pub is_stored: bool,
}

/// Objects that were made, until they are written.
#[derive(Debug, Default)]
pub struct OpenObjects {
    pub numbers: Vec<u32>,
    pub sizes: Vec<u64>,
    pub governors: Vec<u32>,
}

#[derive(Debug, Default)]
pub struct SessionState {
    pub id: u32,
    pub name: String,
    pub client: u64,
    pub state: &'static str,
    /// Microseconds since 1970.
    pub created: u64,
    pub closed: Option<u64>,
    pub error: Option<String>,
    pub error_task: Option<u32>,
    pub tally: Tally,
    /// Tasks of which only the numbers are known.
    pub folded: u64,
    /// Bytes that governors were told to bring from others.
    pub moved: u64,
    /// Objects that were made or came with submits, and their bytes.
    pub made: u64,
    pub bytes: u64,
    pub is_changed: bool,
    batches: Batches<BatchNote>,
    near: usize,
    pub graph: GraphRow,
    pub chunk: OpenChunk,
    /// The row of `chunk`, once it was written.
    pub chunk_row: Option<i64>,
    pub objects: OpenObjects,
    pub running: HashMap<u32, Running>,
    /// Tasks that do not run any more and that the table of running ones has.
    pub stopped: Vec<u32>,
    pub groups: HashMap<u32, Group>,
}

impl SessionState {
    pub fn new(id: u32, name: String, client: u64, created: u64) -> Self {
        Self { id, name, client, state: "open", created, is_changed: true, ..Self::default() }
    }

    /// Adds a batch, whose kinds have names of these numbers.
    pub fn add_batch(&mut self, batch: &Batch, names: Box<[u32]>) {
        let mut counts = vec![0; names.len()];
        batch.tasks().for_each(|task| counts[batch.kind_place(task)] += 1);
        for (name, count) in names.iter().zip(counts) {
            let group = self.groups.entry(*name).or_default();
            group.tally.tasks += count;
            group.is_changed = true;
        }
        self.tally.tasks += u64::from(batch.count);
        self.is_changed = true;
        let kinds_only = Batch { count: batch.count, kind: batch.kind.clone(), ..Batch::empty(batch.first) };
        self.batches.insert(&Arc::new(kinds_only), BatchNote { open: batch.count, names });
    }

    /// The number of the name of a task, which is over now if `is_over`.
    fn name_of(&mut self, task: u32, is_over: bool) -> Option<u32> {
        let place = self.batches.place(task, self.near)?;
        self.near = place;
        let (batch, note) = self.batches.at_mut(place)?;
        let name = note.names.get(batch.kind_place(task)).copied();
        if is_over {
            note.open = note.open.saturating_sub(1);
            if note.open == 0 {
                self.batches.remove(task);
            }
        }
        name
    }

    fn change(&mut self, name: u32, change: impl Fn(&mut Tally)) {
        let group = self.groups.entry(name).or_default();
        change(&mut group.tally);
        group.is_changed = true;
        change(&mut self.tally);
        self.is_changed = true;
    }

    /// A task is known to run.
    pub fn start(&mut self, task: u32, slot: Slot, start: u64) {
        let Some(name) = self.name_of(task, false) else { return };
        match self.running.insert(task, Running { slot, start, is_stored: false }) {
            // An attempt before this one, or a message that came twice.
            Some(before) if before.is_stored => self.stopped.push(task),
            Some(_) => {}
            None => self.change(name, |tally| tally.running += 1),
        }
    }

    /// A task is not running any more; where it did.
    fn stop(&mut self, task: u32) -> Option<Running> {
        if self.running.is_empty() {
            return None;
        }
        let before = self.running.remove(&task)?;
        if before.is_stored {
            self.stopped.push(task);
        }
        Some(before)
    }

    /// A task has finished; whether it ran as far as was known.
    pub fn finish(&mut self, task: &FinishedTask) -> bool {
        let ran = self.stop(task.task).is_some();
        let Some(name) = self.name_of(task.task, true) else { return ran };
        self.change(name, |tally| {
            tally.finished += 1;
            tally.busy = tally.busy.saturating_add(task.duration);
            tally.running -= u64::from(ran).min(tally.running);
        });
        self.chunk.push(task, name);
        ran
    }

    /// Tasks have finished of which nothing else is known.
    pub fn fold(&mut self, first: u32, count: u32) {
        for task in first..first.saturating_add(count) {
            let ran = self.stop(task).is_some();
            let Some(name) = self.name_of(task, true) else { continue };
            self.change(name, |tally| {
                tally.finished += 1;
                tally.running -= u64::from(ran).min(tally.running);
            });
            self.folded += 1;
        }
    }

    /// A task is over without having finished; where it ran.
    pub fn give_up(&mut self, task: u32, has_failed: bool) -> Option<Running> {
        let ran = self.stop(task);
        if let Some(name) = self.name_of(task, true) {
            self.change(name, |tally| {
                tally.failed += u64::from(has_failed);
                tally.cancelled += u64::from(!has_failed);
                tally.running -= u64::from(ran.is_some()).min(tally.running);
            });
        }
        ran
    }

    /// A task is to be run again; where it ran.
    pub fn run_again(&mut self, task: u32, is_lost: bool) -> Option<Running> {
        let ran = self.stop(task);
        if let Some(name) = self.name_of(task, false) {
            self.change(name, |tally| {
                tally.lost += u64::from(is_lost);
                tally.running -= u64::from(ran.is_some()).min(tally.running);
            });
        }
        ran
    }

    /// Nothing of it goes on: what is not over never will be.
    pub fn close(&mut self) {
        let stored = self.running.drain().filter(|(_, running)| running.is_stored).map(|(task, _)| task);
        self.stopped.extend(stored);
        self.batches = Batches::default();
        self.tally.close();
        for group in self.groups.values_mut() {
            group.tally.close();
            group.is_changed = true;
        }
        self.is_changed = true;
    }
}
