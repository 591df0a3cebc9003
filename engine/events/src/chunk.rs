//! Chunks of finished tasks: what is noted of each, in columns, and a summary for whoever looks from afar.

use crate::columns::{BrokenColumn, Columns, put_column, put_number};
use std::collections::BTreeMap;

/// Finished tasks of one chunk at most.
pub const CHUNK_TASKS_MAX: usize = 1024;

/// A worker: the number that its governor has in the log, and its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot {
    pub governor: u32,
    pub worker: u32,
}

/// A finished task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FinishedTask {
    pub task: u32,
    pub slot: Slot,
    /// Microseconds since 1970.
    pub start: u64,
    /// Nanoseconds.
    pub duration: u64,
}

impl FinishedTask {
    /// When it was over, microseconds since 1970.
    pub fn end(&self) -> u64 {
        self.start.saturating_add(self.duration.div_ceil(1000))
    }
}

/// Tasks of one session that one slot has run under one name, in a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    pub slot: Slot,
    /// Number of the name among the log's strings.
    pub name: u32,
    pub count: u32,
    /// When the first began, microseconds since 1970.
    pub start: u64,
    /// When the last was over, microseconds since 1970.
    pub end: u64,
    /// Nanoseconds in which they ran.
    pub busy: u64,
    /// The task that ran longest, and for how many nanoseconds.
    pub task: u32,
    pub longest: u64,
}

/// What the table of chunks says of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkBounds {
    pub first: u32,
    pub last: u32,
    /// Microseconds since 1970.
    pub start: u64,
    pub end: u64,
    /// Nanoseconds.
    pub longest: u64,
}

/// A chunk that is being filled.
#[derive(Debug, Default)]
pub struct OpenChunk {
    tasks: Vec<u32>,
    places: Vec<u32>,
    starts: Vec<u64>,
    durations: Vec<u64>,
    slots: Vec<Slot>,
    stretches: BTreeMap<(u32, u32), Stretch>,
    /// The stretch of the latest task, which `stretches` has once another one comes.
    latest: Option<((u32, u32), Stretch)>,
    bounds: Option<ChunkBounds>,
    /// Its row has all of it.
    pub is_written: bool,
}

impl OpenChunk {
    /// Adds a task, which has the name of this number.
    pub fn push(&mut self, task: &FinishedTask, name: u32) {
        let place = match self.places.last() {
            Some(last) if self.slots[*last as usize] == task.slot => *last,
            _ => self.place(task.slot),
        };
        self.is_written = false;
        self.tasks.push(task.task);
        self.places.push(place);
        self.starts.push(task.start);
        self.durations.push(task.duration);
        let end = task.end();
        let stretch = self.stretch((place, name), task);
        stretch.count += 1;
        stretch.start = stretch.start.min(task.start);
        stretch.end = stretch.end.max(end);
        stretch.busy = stretch.busy.saturating_add(task.duration);
        if task.duration > stretch.longest {
            (stretch.task, stretch.longest) = (task.task, task.duration);
        }
        let bounds = self.bounds.get_or_insert(ChunkBounds {
            first: task.task,
            last: task.task,
            start: task.start,
            end,
            longest: task.duration,
        });
        bounds.first = bounds.first.min(task.task);
        bounds.last = bounds.last.max(task.task);
        bounds.start = bounds.start.min(task.start);
        bounds.end = bounds.end.max(end);
        bounds.longest = bounds.longest.max(task.duration);
    }

    /// The stretch of a place and a name, which a task is going to be added to.
    fn stretch(&mut self, key: (u32, u32), task: &FinishedTask) -> &mut Stretch {
        if self.latest.as_ref().is_none_or(|(latest, _)| *latest != key) {
            self.settle();
        }
        let Self { stretches, latest, .. } = self;
        let (_, stretch) = latest.get_or_insert_with(|| {
            let begun = Stretch {
                slot: task.slot,
                name: key.1,
                count: 0,
                start: task.start,
                end: task.end(),
                busy: 0,
                task: task.task,
                longest: 0,
            };
            (key, stretches.remove(&key).unwrap_or(begun))
        });
        stretch
    }

    /// Puts the latest stretch to the others.
    fn settle(&mut self) {
        if let Some((key, stretch)) = self.latest.take() {
            self.stretches.insert(key, stretch);
        }
    }

    fn place(&mut self, slot: Slot) -> u32 {
        let known = self.slots.iter().position(|known| *known == slot);
        known.unwrap_or_else(|| {
            self.slots.push(slot);
            self.slots.len() - 1
        }) as u32
    }

    pub fn len(&self) -> usize {
        self.tasks.len()
    }

    pub fn is_full(&self) -> bool {
        self.tasks.len() >= CHUNK_TASKS_MAX
    }

    /// `None` while there is no task in it.
    pub fn bounds(&self) -> Option<ChunkBounds> {
        self.bounds
    }

    /// Its tasks as `Tasks` reads them.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(8 * self.tasks.len() + 32);
        put_column(&mut out, &self.tasks);
        put_number(&mut out, self.slots.len() as u64);
        for slot in &self.slots {
            put_number(&mut out, u64::from(slot.governor));
            put_number(&mut out, u64::from(slot.worker));
        }
        put_column(&mut out, &self.places);
        put_column(&mut out, &self.starts);
        put_column(&mut out, &self.durations);
        out
    }

    /// Its stretches as `decode_summary` reads them.
    pub fn encode_summary(&mut self) -> Vec<u8> {
        self.settle();
        let mut out = Vec::with_capacity(16 * self.stretches.len() + 16);
        let base = self.bounds.map_or(0, |bounds| bounds.start);
        put_number(&mut out, self.stretches.len() as u64);
        put_number(&mut out, base);
        for stretch in self.stretches.values() {
            let Stretch { slot, name, count, start, end, busy, task, longest } = *stretch;
            for number in [slot.governor, slot.worker, name, count, task] {
                put_number(&mut out, u64::from(number));
            }
            put_number(&mut out, start - base);
            put_number(&mut out, end - start);
            put_number(&mut out, busy);
            put_number(&mut out, longest);
        }
        out
    }
}

/// The numbers of a chunk's tasks, in the order in which they were reported.
///
/// # Errors
/// When the bytes are not those of a chunk.
pub fn decode_numbers(bytes: &[u8], count: usize, each: impl FnMut(u64)) -> Result<(), BrokenColumn> {
    Columns(bytes).column(count, each)
}

/// A chunk's tasks, in the order in which they were reported.
///
/// # Errors
/// When the bytes are not those of a chunk.
pub fn decode_tasks(bytes: &[u8], count: usize, mut each: impl FnMut(FinishedTask)) -> Result<(), BrokenColumn> {
    let mut columns = Columns(bytes);
    let tasks = columns.small_column(count)?;
    let slot_count = columns.small()? as usize;
    let mut slots = Vec::with_capacity(slot_count.min(count));
    for _ in 0..slot_count {
        slots.push(Slot { governor: columns.small()?, worker: columns.small()? });
    }
    let places = columns.small_column(count)?;
    let starts = columns.large_column(count)?;
    let mut row = 0;
    let mut is_broken = false;
    columns.column(count, |duration| {
        match slots.get(places[row] as usize) {
            Some(slot) => each(FinishedTask { task: tasks[row], slot: *slot, start: starts[row], duration }),
            None => is_broken = true,
        }
        row += 1;
    })?;
    if is_broken { Err(BrokenColumn) } else { Ok(()) }
}

/// A chunk's stretches.
///
/// # Errors
/// When the bytes are not those of a summary.
pub fn decode_summary(bytes: &[u8], mut each: impl FnMut(Stretch)) -> Result<(), BrokenColumn> {
    let mut columns = Columns(bytes);
    let count = columns.number()?;
    let base = columns.number()?;
    for _ in 0..count {
        let slot = Slot { governor: columns.small()?, worker: columns.small()? };
        let (name, count, task) = (columns.small()?, columns.small()?, columns.small()?);
        let start = base.wrapping_add(columns.number()?);
        let end = start.wrapping_add(columns.number()?);
        let (busy, longest) = (columns.number()?, columns.number()?);
        each(Stretch { slot, name, count, start, end, busy, task, longest });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk() -> (OpenChunk, Vec<FinishedTask>) {
        let tasks: Vec<FinishedTask> = (0..100u32)
            .map(|i| FinishedTask {
                task: (i * 37) % 100,
                slot: Slot { governor: i % 3, worker: i % 7 },
                start: 1_700_000_000_000_000 + u64::from(i) * 11,
                duration: u64::from(i % 13) * 1_000_000,
            })
            .collect();
        let mut open = OpenChunk::default();
        for task in &tasks {
            open.push(task, task.task % 2);
        }
        (open, tasks)
    }

    #[test]
    fn a_chunk_gives_back_its_tasks_and_their_numbers() {
        let (open, tasks) = chunk();
        let bytes = open.encode();
        let (mut read, mut numbers) = (Vec::new(), Vec::new());
        decode_tasks(&bytes, 100, |task| read.push(task)).unwrap();
        decode_numbers(&bytes, 100, |number| numbers.push(number as u32)).unwrap();
        assert_eq!(read, tasks);
        assert_eq!(numbers, tasks.iter().map(|task| task.task).collect::<Vec<_>>());
        assert_eq!(open.bounds().map(|bounds| (bounds.first, bounds.last)), Some((0, 99)));
        for length in 0..bytes.len() {
            assert_eq!(decode_tasks(&bytes[..length], 100, |_| {}), Err(BrokenColumn), "{length}");
        }
    }

    #[test]
    fn a_summary_has_all_tasks_and_their_time() {
        let (mut open, tasks) = chunk();
        let mut stretches = Vec::new();
        decode_summary(&open.encode_summary(), |stretch| stretches.push(stretch)).unwrap();
        assert_eq!(stretches.iter().map(|stretch| stretch.count).sum::<u32>(), 100);
        let busy: u64 = tasks.iter().map(|task| task.duration).sum();
        assert_eq!(stretches.iter().map(|stretch| stretch.busy).sum::<u64>(), busy);
        assert_eq!(stretches.iter().map(|stretch| stretch.start).min(), tasks.iter().map(|task| task.start).min());
        assert_eq!(stretches.iter().map(|stretch| stretch.end).max(), tasks.iter().map(FinishedTask::end).max());
    }
}
