//! What the writer remembers of sessions that are not closed, and of governors that are in.

use crate::chunk::{FinishedTask, OpenChunk, Slot};
use crate::graph_rows::GraphRow;
use rain_model::graph::{Batch, Batches};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// Names of tasks that a session counts one by one; tasks of further names are counted together.
pub const GROUPS_MAX: usize = if cfg!(test) { 3 } else { 10_000 };
/// The name of those.
pub const OTHER_NAMES: &str = "(other)";

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
    /// What the latest finished tasks, which have the same name, add to the counts.
    finishing: Option<(u32, Tally)>,
    /// Tasks that were finished and run again because what they made was lost. They count as finished meanwhile.
    repeated: BTreeSet<u32>,
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

    /// Under which name tasks of this name are counted; `other` stands for all names for which there is no room.
    pub fn counted_name(&mut self, name: u32, other: u32) -> u32 {
        if !self.groups.contains_key(&name) && self.groups.len() >= GROUPS_MAX {
            return other;
        }
        self.groups.entry(name).or_default();
        name
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
            None if self.repeated.contains(&task) => {}
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

    /// Finished tasks are to be run again.
    pub fn repeat(&mut self, tasks: Vec<u32>) {
        self.repeated.extend(tasks);
    }

    /// Whether a task that is over now was finished before.
    fn is_repeated(&mut self, task: u32) -> bool {
        !self.repeated.is_empty() && self.repeated.remove(&task)
    }

    /// A task has finished. It is counted with the next `settle`.
    #[inline]
    pub fn finish(&mut self, task: &FinishedTask) {
        let ran = self.stop(task.task).is_some();
        if self.is_repeated(task.task) {
            // With the last task of its batch its name was forgotten.
            if let Some(name) = self.name_of(task.task, false) {
                self.change(name, |tally| tally.busy = tally.busy.saturating_add(task.duration));
                self.chunk.push(task, name);
            }
            return;
        }
        let Some(name) = self.name_of(task.task, true) else { return };
        match &mut self.finishing {
            Some((latest, added)) if *latest == name => {
                added.finished += 1;
                added.running += u64::from(ran);
                added.busy = added.busy.saturating_add(task.duration);
            }
            _ => {
                self.settle();
                let added = Tally { finished: 1, running: u64::from(ran), busy: task.duration, ..Tally::default() };
                self.finishing = Some((name, added));
            }
        }
        self.chunk.push(task, name);
    }

    /// Counts the latest finished tasks: those of a report mostly have one name, which is looked up once for all of them.
    pub fn settle(&mut self) {
        let Some((name, added)) = self.finishing.take() else { return };
        self.change(name, |tally| {
            tally.finished += added.finished;
            tally.busy = tally.busy.saturating_add(added.busy);
            tally.running -= added.running.min(tally.running);
        });
    }

    /// Tasks have finished of which nothing else is known.
    pub fn fold(&mut self, first: u32, count: u32) {
        for task in first..first.saturating_add(count) {
            let ran = self.stop(task).is_some();
            if self.is_repeated(task) {
                continue;
            }
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
        // What it has made before is lost.
        let was_finished = self.is_repeated(task);
        if let Some(name) = self.name_of(task, !was_finished) {
            self.change(name, |tally| {
                if was_finished {
                    tally.finished = tally.finished.saturating_sub(1);
                }
                tally.failed += u64::from(has_failed);
                tally.cancelled += u64::from(!has_failed);
                tally.running -= u64::from(ran.is_some() && !was_finished).min(tally.running);
            });
        }
        ran
    }

    /// A task is to be run again; where it ran.
    pub fn run_again(&mut self, task: u32, is_lost: bool) -> Option<Running> {
        let ran = self.stop(task);
        let counted = ran.is_some() && !self.repeated.contains(&task);
        if let Some(name) = self.name_of(task, false) {
            self.change(name, |tally| {
                tally.lost += u64::from(is_lost);
                tally.running -= u64::from(counted).min(tally.running);
            });
        }
        ran
    }

    /// Nothing of it goes on: what is not over never will be.
    pub fn close(&mut self) {
        let stored = self.running.drain().filter(|(_, running)| running.is_stored).map(|(task, _)| task);
        self.stopped.extend(stored);
        self.batches = Batches::default();
        self.repeated.clear();
        self.tally.close();
        for group in self.groups.values_mut() {
            group.tally.close();
            group.is_changed = true;
        }
        self.is_changed = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rain_model::graph::{BatchKind, Kind};

    const SLOT: Slot = Slot { governor: 0, worker: 0 };

    fn session(tasks: u32) -> SessionState {
        let mut state = SessionState::new(1, String::new(), 1, 0);
        let kinds: Arc<[BatchKind]> = [BatchKind { number: 0, kind: Arc::new(Kind::new("buildin/noop")) }].into();
        state.add_batch(&Batch { kinds, count: tasks, ..Batch::empty(0) }, [7].into());
        state
    }

    fn finish(state: &mut SessionState, task: u32) {
        state.finish(&FinishedTask { task, slot: SLOT, start: 1000, duration: 5 });
        state.settle();
    }

    #[test]
    fn tasks_that_are_run_again_are_counted_once_and_no_other_one_is_missed() {
        let mut state = session(4);
        finish(&mut state, 0);
        finish(&mut state, 1);
        state.start(2, SLOT, 1000);
        state.run_again(2, true);
        state.repeat(vec![0, 1]);
        let expected = Tally { tasks: 4, finished: 2, lost: 1, busy: 10, ..Tally::default() };
        assert_eq!(state.tally, expected);
        state.start(0, SLOT, 2000);
        assert_eq!((state.tally, state.running.len()), (expected, 1));
        finish(&mut state, 0);
        // It is lost while it runs again, and runs again.
        state.start(1, SLOT, 2000);
        state.run_again(1, true);
        finish(&mut state, 1);
        state.start(2, SLOT, 3000);
        assert_eq!(state.tally.running, 1);
        finish(&mut state, 2);
        finish(&mut state, 3);
        assert_eq!(state.tally, Tally { tasks: 4, finished: 4, lost: 2, busy: 30, ..Tally::default() });
        assert_eq!(state.groups[&7].tally, state.tally);
        assert_eq!(state.tally.open(), 0);
    }

    #[test]
    fn a_task_that_is_run_again_may_fail() {
        let mut state = session(3);
        finish(&mut state, 0);
        state.repeat(vec![0]);
        state.give_up(0, true);
        finish(&mut state, 1);
        finish(&mut state, 2);
        assert_eq!((state.tally.finished, state.tally.failed, state.tally.open()), (2, 1, 0));
    }

    #[test]
    fn names_beyond_a_bound_are_counted_together() {
        let mut state = session(1);
        for name in 0..100 {
            let counted = state.counted_name(name, 1000);
            let kinds: Arc<[BatchKind]> =
                [BatchKind { number: name, kind: Arc::new(Kind::new("buildin/noop")) }].into();
            let batch = Batch { kinds, count: 2, ..Batch::empty(1 + name * 2) };
            state.add_batch(&batch, [counted].into());
        }
        assert_eq!(state.groups.len(), GROUPS_MAX + 1);
        let tasks = |name: u32| state.groups.get(&name).map(|group| group.tally.tasks);
        assert_eq!((tasks(0), tasks(1), tasks(2), tasks(7)), (Some(2), Some(2), None, Some(3)));
        assert_eq!((tasks(1000), state.tally.tasks), (Some(201 - 7), 201));
        assert_eq!((state.counted_name(1, 1000), state.counted_name(99, 1000)), (1, 1000));
    }
}
