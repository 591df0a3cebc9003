//! Batches of a session, found by the number of a task.

use super::Batch;
use crate::id::TaskIndex;
use std::sync::Arc;

/// Places of removed batches that are not worth closing up for.
const GAPS_MIN: usize = 32;

/// The batches of a session that are needed, in the order of their tasks. `N` is what the holder notes of each.
#[derive(Debug)]
pub struct Batches<N> {
    entries: Vec<Entry<N>>,
    /// Entries whose batch was removed.
    gaps: usize,
}

#[derive(Debug)]
struct Entry<N> {
    first: TaskIndex,
    held: Option<(Arc<Batch>, N)>,
}

impl<N> Default for Batches<N> {
    fn default() -> Self {
        Self { entries: Vec::new(), gaps: 0 }
    }
}

impl<N> Batches<N> {
    /// Adds a batch of at least one task; false when it is there already.
    pub fn insert(&mut self, batch: &Arc<Batch>, note: N) -> bool {
        let place = self.entries.partition_point(|entry| entry.first < batch.first);
        if self.entries.get(place).is_some_and(|entry| entry.first == batch.first) {
            return false;
        }
        self.entries.insert(place, Entry { first: batch.first, held: Some((batch.clone(), note)) });
        true
    }

    /// Place of the batch of `task`, which may be the one at `near`. Places hold until a batch is added or removed.
    #[inline]
    pub fn place(&self, task: TaskIndex, near: usize) -> Option<usize> {
        let holds = |place: usize| self.at(place).is_some_and(|(batch, _)| batch.tasks().contains(&task));
        if holds(near) {
            return Some(near);
        }
        let place = self.entries.partition_point(|entry| entry.first <= task).checked_sub(1)?;
        holds(place).then_some(place)
    }

    /// The batch at a place, and what is noted of it.
    #[inline]
    pub fn at(&self, place: usize) -> Option<(&Arc<Batch>, &N)> {
        self.entries.get(place)?.held.as_ref().map(|(batch, note)| (batch, note))
    }

    /// The same, to be changed.
    #[inline]
    pub fn at_mut(&mut self, place: usize) -> Option<(&mut Arc<Batch>, &mut N)> {
        self.entries.get_mut(place)?.held.as_mut().map(|(batch, note)| (batch, note))
    }

    /// The batch of a task, and what is noted of it.
    #[inline]
    pub fn find(&self, task: TaskIndex) -> Option<(&Arc<Batch>, &N)> {
        self.at(self.place(task, usize::MAX)?)
    }

    /// The same, to be changed.
    pub fn find_mut(&mut self, task: TaskIndex) -> Option<(&mut Arc<Batch>, &mut N)> {
        self.at_mut(self.place(task, usize::MAX)?)
    }

    /// Removes the batch of `task`.
    pub fn remove(&mut self, task: TaskIndex) -> Option<(Arc<Batch>, N)> {
        let place = self.place(task, usize::MAX)?;
        let removed = self.entries[place].held.take()?;
        self.gaps += 1;
        // So each removal costs, on the whole, a constant time.
        if self.gaps > GAPS_MIN.max(self.entries.len() / 2) {
            self.entries.retain(|entry| entry.held.is_some());
            self.entries.shrink_to(2 * self.entries.len());
            self.gaps = 0;
        }
        Some(removed)
    }

    /// All batches, to be changed.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&mut Arc<Batch>, &mut N)> {
        self.entries.iter_mut().filter_map(|entry| entry.held.as_mut()).map(|(batch, note)| (batch, note))
    }

    /// All batches, in the order of their tasks.
    pub fn iter(&self) -> impl Iterator<Item = (&Arc<Batch>, &N)> {
        self.entries.iter().filter_map(|entry| entry.held.as_ref()).map(|(batch, note)| (batch, note))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(first: u32, count: u32) -> Arc<Batch> {
        Arc::new(Batch { count, ..Batch::empty(first) })
    }

    #[test]
    fn batches_are_found_in_whatever_order_they_came() {
        let mut batches = Batches::default();
        let inserted =
            [(10, 5), (0, 10), (10, 5), (20, 1)].map(|(first, count)| batches.insert(&batch(first, count), first));
        assert_eq!(inserted, [true, true, false, true]);
        let first_of = |task| batches.find(task).map(|(batch, note)| (batch.first, *note));
        assert_eq!(
            [0, 9, 10, 14, 20].map(first_of),
            [Some((0, 0)), Some((0, 0)), Some((10, 10)), Some((10, 10)), Some((20, 20))]
        );
        assert_eq!([15, 19, 21].map(first_of), [None, None, None]);
    }

    #[test]
    fn removed_batches_leave_no_memory_and_the_others_are_found() {
        let mut batches = Batches::default();
        (0..10_000).for_each(|number| assert!(batches.insert(&batch(2 * number, 2), ())));
        for number in (0..10_000).filter(|number| number % 100 != 7) {
            assert!(batches.remove(2 * number + 1).is_some());
            assert!(batches.remove(2 * number).is_none());
        }
        assert_eq!(
            batches.iter().map(|(batch, ())| batch.first).collect::<Vec<_>>(),
            (0..100).map(|n| 200 * n + 14).collect::<Vec<_>>()
        );
        assert!(batches.entries.capacity() <= 500, "{} places", batches.entries.capacity());
        let found = (0..10_000).filter(|number| batches.find(2 * number).is_some()).count();
        assert_eq!(found, 100);
    }
}
