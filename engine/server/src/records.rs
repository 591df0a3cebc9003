//! What is remembered of each task, object and batch: a record of few bytes, as there may be millions of them.

use super::holders::HolderMark;
use rain_model::id::{GovernorId, NONE, ObjectIndex, TaskIndex};
use rain_protocol::peer::TaskReport;
use std::ops::Range;

/// Mark in a task's record that no governor has it.
const UNASSIGNED: u16 = u16::MAX;

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

/// A task that has finished before is to run again, for what it has made was lost.
const AGAIN: u8 = 1;
/// Its client does not mention it any more, but what it has made may have to be made again.
const LEFT: u8 = 2;
/// Tasks that governors have already wait for it.
const URGENT: u8 = 4;

/// What the server remembers of a task beside its batch: 16 bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct TaskRecord {
    /// When it began, seconds since 1970.
    pub(super) start: f64,
    /// Until the task is over, how many of its inputs are not finished; then the bits of how long it took, seconds.
    number: u32,
    /// The governor that has it or has run it.
    governor: u16,
    pub(super) state: TaskState,
    /// `AGAIN`, `LEFT`, `URGENT`.
    flags: u8,
}

impl TaskRecord {
    /// A task that waits for nothing and that no governor has.
    pub(super) const NEW: Self =
        Self { start: 0.0, number: 0, governor: UNASSIGNED, state: TaskState::Waiting, flags: 0 };

    /// The governor that has the task or has run it.
    pub(super) fn governor(&self) -> Option<GovernorId> {
        (self.governor != UNASSIGNED).then_some(GovernorId(u32::from(self.governor)))
    }

    /// Notes who has the task now.
    pub(super) fn assign(&mut self, governor: GovernorId) {
        debug_assert!(governor.0 < u32::from(UNASSIGNED), "{governor} fits into a record");
        self.governor = governor.0 as u16;
    }

    /// Notes that nobody has the task any more, and that it has not begun.
    pub(super) fn unassign(&mut self) {
        self.governor = UNASSIGNED;
        self.state = TaskState::Waiting;
    }

    fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    fn set(&mut self, flag: u8, is_set: bool) {
        self.flags = if is_set { self.flags | flag } else { self.flags & !flag };
    }

    /// Whether it has finished before and is not over now, for what it has made was lost. To clients it is finished.
    pub(super) fn is_again(&self) -> bool {
        self.has(AGAIN) && !self.state.is_over()
    }

    /// Whether a task that is over has run again, and what follows from that was not seen to.
    pub(super) fn has_run_again(&self) -> bool {
        self.has(AGAIN) && self.state.is_over()
    }

    /// Notes that what follows from its end was seen to.
    pub(super) fn has_caught_up(&mut self) {
        self.set(AGAIN, false);
    }

    /// A task that is finished is to run again: it waits for nothing, and no governor has it.
    pub(super) fn begin_again(&mut self) {
        debug_assert!(self.state == TaskState::Finished);
        (self.number, self.governor, self.state) = (0, UNASSIGNED, TaskState::Waiting);
        self.set(AGAIN, true);
    }

    /// Whether its client does not mention it any more.
    pub(super) fn is_left(&self) -> bool {
        self.has(LEFT) || self.state == TaskState::Forgotten
    }

    /// Notes that its client does not mention it any more; what it has made may have to be made again.
    pub(super) fn leave(&mut self) {
        self.set(LEFT, true);
    }

    /// Whether tasks that governors have already wait for it, so that it has to find room.
    pub(super) fn is_urgent(&self) -> bool {
        self.has(URGENT)
    }

    /// Notes that tasks that governors have already wait for it.
    pub(super) fn set_urgent(&mut self) {
        self.set(URGENT, true);
    }

    /// What its client is told of it.
    pub(super) fn told_state(&self) -> TaskState {
        match self.state {
            _ if self.is_left() => TaskState::Forgotten,
            _ if self.is_again() => TaskState::Finished,
            state => state,
        }
    }

    /// How many inputs of a task that is not over are not finished.
    pub(super) fn unmet(&self) -> u32 {
        if self.state.is_over() { 0 } else { self.number }
    }

    /// Counts an input that is not finished.
    pub(super) fn add_unmet(&mut self) {
        debug_assert!(!self.state.is_over());
        self.number += 1;
    }

    /// Counts an input that has been finished; whether all inputs of the task, which is not over, are now.
    pub(super) fn met(&mut self) -> bool {
        if self.state.is_over() {
            return false;
        }
        debug_assert!(self.number > 0, "an input was waited for");
        self.number = self.number.saturating_sub(1);
        self.number == 0
    }

    /// Whether the task can be given to a governor.
    pub(super) fn is_ready(&self) -> bool {
        self.state == TaskState::Waiting && self.governor == UNASSIGNED && self.number == 0
    }

    /// Notes that the task has run.
    pub(super) fn finish(&mut self, report: &TaskReport) {
        self.start = report.start;
        self.number = report.duration.to_bits();
        self.state = TaskState::Finished;
        self.set(URGENT, false);
    }

    /// How long a finished task took, seconds.
    pub(super) fn duration(&self) -> Option<f32> {
        (self.state == TaskState::Finished).then(|| f32::from_bits(self.number))
    }
}

/// What the server remembers of an object: 16 bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct ObjectRecord {
    /// Until the object is finished, the newest of the tasks that wait for it: an edge. Then its size in bytes, at most
    /// `u32::MAX`; the size of larger ones is in `Session::object_details`.
    pub(super) number: u32,
    /// The task that makes it; `NONE` for constants.
    pub(super) producer: TaskIndex,
    /// How often tasks that are not over read it.
    readers: u32,
    /// Which governors hold it, whether it is kept and whether it is forgotten.
    pub(super) mark: HolderMark,
}

impl ObjectRecord {
    /// An object that nobody reads; a constant when `producer` is `NONE`.
    pub(super) fn new(producer: TaskIndex) -> Self {
        let number = if producer == NONE { 0 } else { NONE };
        Self { number, producer, readers: 0, mark: HolderMark::default() }
    }

    /// How often tasks that are not over read it.
    pub(super) fn readers(&self) -> u32 {
        self.readers
    }

    /// Counts a reader.
    pub(super) fn add_reader(&mut self) {
        self.readers += 1;
    }

    /// Says that the object, which was finished, is to be made again; nobody waits for it yet.
    pub(super) fn lose(&mut self) {
        self.number = NONE;
        self.mark.set_lost(true);
    }

    /// Counts a reader that is over; whether it was the last one.
    pub(super) fn reader_is_over(&mut self) -> bool {
        debug_assert!(self.readers > 0, "a reader was counted");
        self.readers = self.readers.saturating_sub(1);
        self.readers == 0
    }
}

/// What the server notes of a batch.
#[derive(Debug)]
pub(super) struct BatchNote {
    /// Tasks that are not over.
    pub(super) open: u32,
    /// Tasks that are not forgotten.
    pub(super) known: u32,
    /// Objects of its submit, which are constants and outputs.
    pub(super) objects: Range<ObjectIndex>,
    /// Its tasks are counted as readers of their inputs, and wait for those that are not finished (`counting.rs`).
    pub(super) counted: bool,
    pub(super) lineage: Lineage,
}

/// Who may need that tasks of a batch are run again (`lineage.rs`).
#[derive(Debug, Default)]
pub(super) struct Lineage {
    /// Somebody may: then configurations stay, and records of what its client has forgotten.
    pub(super) is_needed: bool,
    /// Outputs that are kept.
    pub(super) kept: u32,
    /// Batches of which somebody may need that tasks are run again, and that read what this one makes.
    pub(super) readers: u32,
    /// Batches, by their first task, that make what this one reads.
    pub(super) reads: Box<[TaskIndex]>,
    /// Constants of other submits that it reads.
    pub(super) constants: Box<[ObjectIndex]>,
}

/// Content of a constant.
pub(super) struct Constant<D> {
    pub(super) data: D,
    /// The batch of its submit, `NONE` for a submit without tasks.
    pub(super) batch: TaskIndex,
    /// Batches of other submits that read it and of which somebody may need that tasks are run again.
    pub(super) readers: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_small() {
        assert_eq!((size_of::<TaskRecord>(), size_of::<ObjectRecord>()), (16, 16));
    }
}
