//! Tables by number whose memory goes, chunk by chunk, with the items that are forgotten.

use std::ops::{Index, IndexMut};

/// Items of a chunk.
const CHUNK: u32 = 1024;

/// Items numbered from 0. Items are forgotten in any order; the memory of a chunk is given back when all of its items are,
/// but for 8 bytes.
#[derive(Debug)]
pub(super) struct Table<T> {
    chunks: Vec<Option<Box<Chunk<T>>>>,
    len: u32,
    /// Chunks whose memory was given back.
    gone: u32,
}

#[derive(Debug)]
struct Chunk<T> {
    items: Vec<T>,
    /// Items that are not forgotten.
    needed: u32,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { chunks: Vec::new(), len: 0, gone: 0 }
    }
}

impl<T> Table<T> {
    /// How many items there have been.
    pub(super) fn len(&self) -> u32 {
        self.len
    }

    /// Items whose memory was not given back.
    pub(super) fn held(&self) -> u32 {
        self.len - self.gone * CHUNK
    }

    /// The item with this number, unless its chunk is gone. A forgotten one is here as long as its chunk is: the item has to say
    /// that of itself.
    #[inline]
    pub(super) fn get(&self, number: u32) -> Option<&T> {
        let chunk = self.chunks.get((number / CHUNK) as usize)?.as_ref()?;
        chunk.items.get((number % CHUNK) as usize)
    }

    /// The same, to be changed.
    #[inline]
    pub(super) fn get_mut(&mut self, number: u32) -> Option<&mut T> {
        let chunk = self.chunks.get_mut((number / CHUNK) as usize)?.as_mut()?;
        chunk.items.get_mut((number % CHUNK) as usize)
    }

    /// Adds items at the end.
    pub(super) fn extend(&mut self, items: impl IntoIterator<Item = T>) {
        let mut items = items.into_iter();
        loop {
            let room = (CHUNK - self.len % CHUNK) as usize;
            if room == CHUNK as usize {
                let Some(first) = items.next() else { return };
                self.chunks.push(Some(Box::new(Chunk { items: vec![first], needed: 1 })));
                self.len += 1;
                continue;
            }
            // The last chunk is there: it goes only when it is full.
            let Some(Some(chunk)) = self.chunks.last_mut() else { return };
            let before = chunk.items.len();
            chunk.items.extend(items.by_ref().take(room));
            let added = (chunk.items.len() - before) as u32;
            chunk.needed += added;
            self.len += added;
            if (added as usize) < room {
                return;
            }
        }
    }

    /// Says that an item is not needed any more. To be said once of each.
    pub(super) fn forget(&mut self, number: u32) {
        if let Some(place) = self.chunks.get_mut((number / CHUNK) as usize)
            && let Some(chunk) = place
        {
            chunk.needed = chunk.needed.saturating_sub(1);
            if chunk.needed == 0 && chunk.items.len() == CHUNK as usize {
                *place = None;
                self.gone += 1;
            }
        }
    }

    /// Which chunks there are.
    #[cfg(test)]
    pub(super) fn chunks_held(&self) -> std::collections::BTreeSet<usize> {
        (0..).zip(&self.chunks).filter(|(_, chunk)| chunk.is_some()).map(|(place, _)| place).collect()
    }

    /// The numbers and items whose chunks are there; forgotten ones may be among them.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        let first_numbers = (0u32..).step_by(CHUNK as usize);
        let there = self.chunks.iter().zip(first_numbers).filter_map(|(chunk, first)| Some((chunk.as_ref()?, first)));
        there.flat_map(|(chunk, first)| (first..).zip(&chunk.items))
    }
}

impl<T: Clone> Table<T> {
    /// Adds copies of `item` at the end, up to `len` items in all.
    pub(super) fn grow(&mut self, len: u32, item: T) {
        let more = len.saturating_sub(self.len) as usize;
        self.extend(std::iter::repeat_n(item, more));
    }

    /// An item that was forgotten is needed after all; where its chunk is gone, it becomes `item`.
    pub(super) fn remember(&mut self, number: u32, item: T) {
        if number < self.len
            && let Some(place) = self.chunks.get_mut((number / CHUNK) as usize)
        {
            self.gone -= u32::from(place.is_none());
            let fresh = || Box::new(Chunk { items: vec![item; CHUNK as usize], needed: 0 });
            place.get_or_insert_with(fresh).needed += 1;
        }
    }
}

/// For items that are known to be there.
impl<T> Index<u32> for Table<T> {
    type Output = T;

    #[inline]
    fn index(&self, number: u32) -> &T {
        let chunk = self.chunks[(number / CHUNK) as usize].as_ref();
        &chunk.expect("an item that is needed has its chunk").items[(number % CHUNK) as usize]
    }
}

impl<T> IndexMut<u32> for Table<T> {
    #[inline]
    fn index_mut(&mut self, number: u32) -> &mut T {
        let chunk = self.chunks[(number / CHUNK) as usize].as_mut();
        &mut chunk.expect("an item that is needed has its chunk").items[(number % CHUNK) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_keep_their_numbers_however_they_are_added() {
        let mut table = Table::default();
        let mut next = 0u32;
        for count in [0, 1, 1022, 1, 1, 5000, 24, 0, 1024, 3] {
            table.extend(next..next + count);
            next += count;
            assert_eq!(table.len(), next);
        }
        assert!((0..next).all(|number| table[number] == number && table.get(number) == Some(&number)));
        assert_eq!(table.get(next), None);
        assert!(table.iter().map(|(number, item)| (number, *item)).eq((0..next).map(|number| (number, number))));
    }

    #[test]
    fn one_item_that_stays_holds_its_chunk_only() {
        let mut table = Table::default();
        for number in 0..100_000u32 {
            table.extend([number]);
            if number != 5_000 {
                table.forget(number);
            }
        }
        assert_eq!(table.chunks_held(), [4, 97].into(), "the chunk of item 5000, and the last one, which is not full");
        assert_eq!(table[5_000], 5_000);
        assert_eq!((table.get(3), table.get(200_000), table.len()), (None, None, 100_000));
        table.extend([7]);
        assert_eq!(table[100_000], 7);
        table.forget(5_000);
        assert_eq!(table.chunks_held(), [97].into());
    }

    #[test]
    fn what_is_needed_after_all_has_a_chunk_again() {
        let mut table = Table::default();
        table.grow(5_000, 'a');
        (1024..3072).for_each(|number| table.forget(number));
        table.remember(2000, 'b');
        assert_eq!((table[2000], table.chunks_held()), ('b', [0, 1, 3, 4].into()));
        table.forget(2000);
        assert_eq!(table.chunks_held(), [0, 3, 4].into());
    }
}
