//! An array that grows without moving, so that workers read it while the governor adds to it and gives parts of it back.

#[cfg(not(loom))]
mod imp {
    use crossbeam_utils::CachePadded;
    use std::alloc::{Layout, alloc_zeroed, handle_alloc_error};
    use std::marker::PhantomData;
    use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};
    use std::sync::{OnceLock, PoisonError, RwLock};

    /// log2 of the elements of a chunk.
    const CHUNK_BITS: u32 = 10;
    const CHUNK: usize = 1 << CHUNK_BITS;
    /// log2 of the number of chunks that the first block of pointers has room for.
    const FIRST_BLOCK_BITS: u32 = 6;
    const BLOCKS: usize = (32 - CHUNK_BITS - FIRST_BLOCK_BITS) as usize + 1;

    /// Types for which all-zero bytes are a valid, empty value.
    ///
    /// # Safety
    /// An all-zero bit pattern must be a valid value of the type.
    pub(crate) unsafe trait ZeroInit: Sized {}

    struct Chunk<T> {
        /// Elements in use; only the governor's thread reads and writes it, often, so no element is beside it.
        in_use: CachePadded<AtomicU32>,
        elements: [T; CHUNK],
    }

    type Block<T> = Box<[AtomicPtr<Chunk<T>>]>;

    /// Elements by number, in chunks that are there while an element in them is in use. Only one thread, the governor's, takes
    /// elements into use and out of it again.
    pub(crate) struct Chunked<T> {
        /// Pointers to chunks, in blocks that double in length; null where there is no chunk.
        blocks: [OnceLock<Block<T>>; BLOCKS],
        /// The highest chunk that there has been.
        newest: AtomicU32,
        /// Held by those who look at an element without knowing whether it is in use.
        visitors: RwLock<()>,
        owned: PhantomData<Chunk<T>>,
    }

    #[inline]
    fn locate(chunk: u32) -> (usize, usize) {
        let position = chunk + (1 << FIRST_BLOCK_BITS);
        let bits = 31 - position.leading_zeros();
        ((bits - FIRST_BLOCK_BITS) as usize, (position - (1 << bits)) as usize)
    }

    impl<T: ZeroInit> Chunked<T> {
        pub(crate) fn new() -> Self {
            Self {
                blocks: std::array::from_fn(|_| OnceLock::new()),
                newest: AtomicU32::new(0),
                visitors: RwLock::new(()),
                owned: PhantomData,
            }
        }

        #[inline]
        fn place(&self, chunk: u32) -> Option<&AtomicPtr<Chunk<T>>> {
            let (block, offset) = locate(chunk);
            Some(&self.blocks[block].get()?[offset])
        }

        #[inline]
        fn chunk(&self, chunk: u32) -> Option<&Chunk<T>> {
            let pointer = self.place(chunk)?.load(Ordering::Acquire);
            // SAFETY: a pointer that is not null came from a Box in `add`, and the chunk is freed in `free_if_unused` only: when
            // no element in it is in use. Who comes here has one in use, is the governor's thread, which frees, or is in
            // `visit`, which freeing waits for (README.md, "Forgetting").
            unsafe { pointer.as_ref() }
        }

        /// The element at `index`, if its chunk is there.
        #[inline]
        pub(crate) fn find(&self, index: u32) -> Option<&T> {
            Some(&self.chunk(index >> CHUNK_BITS)?.elements[index as usize % CHUNK])
        }

        /// The element at `index`, which is in use.
        #[inline]
        pub(crate) fn get(&self, index: u32) -> &T {
            self.find(index).unwrap_or_else(|| missing(index))
        }

        /// Shows the element at `index` to a caller who does not know whether it is in use, if its chunk is there.
        pub(crate) fn visit<R>(&self, index: u32, visit: impl FnOnce(Option<&T>) -> R) -> R {
            let _visiting = self.visitors.read().unwrap_or_else(PoisonError::into_inner);
            visit(self.find(index))
        }

        /// The element at `index`, whose chunk is made if there is none. The governor's thread only.
        #[inline]
        pub(crate) fn make(&self, index: u32) -> &T {
            let chunk = self.chunk(index >> CHUNK_BITS).unwrap_or_else(|| self.add(index >> CHUNK_BITS));
            &chunk.elements[index as usize % CHUNK]
        }

        /// The element with this number, which counts as in use from now on; its chunk is made if it is not there.
        #[inline]
        pub(crate) fn take(&self, index: u32) -> &T {
            let chunk = self.chunk(index >> CHUNK_BITS).unwrap_or_else(|| self.add(index >> CHUNK_BITS));
            chunk.in_use.store(chunk.in_use.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
            &chunk.elements[index as usize % CHUNK]
        }

        #[cold]
        fn add(&self, chunk: u32) -> &Chunk<T> {
            let (block, offset) = locate(chunk);
            let pointers = self.blocks[block].get_or_init(|| {
                let room = 1 << (block as u32 + FIRST_BLOCK_BITS);
                (0..room).map(|_| AtomicPtr::default()).collect()
            });
            let made = Box::into_raw(zeroed::<T>());
            pointers[offset].store(made, Ordering::Release);
            let newest = self.newest.load(Ordering::Relaxed);
            if chunk > newest {
                self.newest.store(chunk, Ordering::Relaxed);
                // The newest one stays while it is that: elements are taken into use in order, and given back soon after.
                self.free_if_unused(newest);
            }
            // SAFETY: it was made just now, and only this thread frees.
            unsafe { &*made }
        }

        /// Takes the element at `index`, which was made, into use. The governor's thread only.
        #[inline]
        pub(crate) fn start_using(&self, index: u32) {
            if let Some(chunk) = self.chunk(index >> CHUNK_BITS) {
                chunk.in_use.store(chunk.in_use.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
            }
        }

        /// The element at `index`, which is all zero again, is not in use any more: nobody has a reference to it, and nobody
        /// will ask for it before it was taken into use again. The governor's thread only.
        pub(crate) fn stop_using(&self, index: u32) {
            let number = index >> CHUNK_BITS;
            if let Some(chunk) = self.chunk(number) {
                chunk.in_use.store(chunk.in_use.load(Ordering::Relaxed) - 1, Ordering::Relaxed);
                if number != self.newest.load(Ordering::Relaxed) {
                    self.free_if_unused(number);
                }
            }
        }

        fn free_if_unused(&self, number: u32) {
            let Some(place) = self.place(number) else { return };
            let is_unused = |chunk: &Chunk<T>| chunk.in_use.load(Ordering::Relaxed) == 0;
            if self.chunk(number).is_some_and(is_unused) {
                let chunk = place.swap(std::ptr::null_mut(), Ordering::AcqRel);
                // Visitors who found it leave first; those who come later do not find it.
                drop(self.visitors.write().unwrap_or_else(PoisonError::into_inner));
                // SAFETY: it came from a Box, and was taken out of its place just now, which happens once. No element of it
                // is in use, so nobody else has a reference into it (README.md, "Forgetting").
                drop(unsafe { Box::from_raw(chunk) });
            }
        }

        /// Checked in the model only.
        #[inline]
        pub(crate) fn assert_there(&self, _: u32) {}

        /// How many chunks there are.
        pub(crate) fn chunks(&self) -> usize {
            let blocks = self.blocks.iter().filter_map(OnceLock::get);
            blocks.flat_map(|block| block.iter()).filter(|place| !place.load(Ordering::Relaxed).is_null()).count()
        }
    }

    impl<T> Drop for Chunked<T> {
        fn drop(&mut self) {
            for place in self.blocks.iter_mut().filter_map(OnceLock::get_mut).flatten() {
                let chunk = std::mem::replace(place.get_mut(), std::ptr::null_mut());
                if !chunk.is_null() {
                    // SAFETY: it came from a Box, and nobody else has this array any more.
                    drop(unsafe { Box::from_raw(chunk) });
                }
            }
        }
    }

    #[cold]
    fn missing(index: u32) -> ! {
        panic!("element {index} was given back while it was in use")
    }

    fn zeroed<T: ZeroInit>() -> Box<Chunk<T>> {
        let layout = Layout::new::<Chunk<T>>();
        // SAFETY: the layout is not empty, for the count is in it; all-zero is a valid T (ZeroInit) and a valid count; the
        // pointer is of the allocation that the global allocator made for this layout, as Box requires.
        unsafe {
            let pointer = alloc_zeroed(layout);
            if pointer.is_null() {
                handle_alloc_error(layout);
            }
            Box::from_raw(pointer.cast())
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        // SAFETY: an atomic of zero is valid.
        unsafe impl ZeroInit for AtomicU32 {}

        #[test]
        fn chunks_fill_blocks_in_order_without_gaps() {
            let mut expected = (0, 0);
            for chunk in 0..100_000 {
                assert_eq!(locate(chunk), expected);
                expected.1 += 1;
                if expected.1 == 1 << (expected.0 + FIRST_BLOCK_BITS as usize) {
                    expected = (expected.0 + 1, 0);
                }
            }
            assert_eq!(locate(u32::MAX >> CHUNK_BITS).0, BLOCKS - 1);
        }

        #[test]
        fn a_chunk_is_there_while_an_element_in_it_is_in_use_and_the_newest_always() {
            let array = Chunked::<AtomicU32>::new();
            let chunk = CHUNK as u32;
            for index in 0..100 * chunk {
                array.make(index).store(index, Ordering::Relaxed);
                array.start_using(index);
                if index >= chunk && index % (10 * chunk) != 5 {
                    array.get(index).store(0, Ordering::Relaxed);
                    array.stop_using(index);
                }
            }
            // The first, each tenth, and the newest.
            assert_eq!(array.chunks(), 11);
            assert!((0..chunk).all(|index| array.get(index).load(Ordering::Relaxed) == index));
            assert!(array.find(15 * chunk).is_none() && array.find(u32::MAX).is_none());
            assert_eq!(array.get(10 * chunk + 5).load(Ordering::Relaxed), 10 * chunk + 5);
            array.stop_using(10 * chunk + 5);
            assert!(array.find(10 * chunk + 5).is_none());
            assert_eq!(array.make(15 * chunk).load(Ordering::Relaxed), 0);
        }
    }
}

/// Each element is a chunk of its own, whose making and freeing loom orders with every access.
#[cfg(loom)]
mod imp {
    use crate::sync::{RwLock, UnsafeCell};
    use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

    const ELEMENTS: u32 = 6;

    /// # Safety
    /// See the other build; here values come from `Default`.
    pub(crate) unsafe trait ZeroInit: Default {}

    struct Element<T> {
        is_there: UnsafeCell<bool>,
        /// The same, to be looked at without being part of the model.
        is_there_now: AtomicBool,
        in_use: AtomicU32,
        value: T,
    }

    pub(crate) struct Chunked<T> {
        elements: Vec<Element<T>>,
        visitors: RwLock<()>,
    }

    impl<T: ZeroInit> Chunked<T> {
        pub(crate) fn new() -> Self {
            let element = |_| Element {
                is_there: UnsafeCell::new(false),
                is_there_now: AtomicBool::new(false),
                in_use: AtomicU32::new(0),
                value: T::default(),
            };
            Self { elements: (0..ELEMENTS).map(element).collect(), visitors: RwLock::new(()) }
        }

        fn is_there(&self, index: u32) -> bool {
            // SAFETY: loom checks that nobody writes meanwhile.
            self.elements[index as usize].is_there.with(|is_there| unsafe { *is_there })
        }

        fn set_there(&self, index: u32, there: bool) {
            // SAFETY: loom checks that nobody reads or writes meanwhile.
            self.elements[index as usize].is_there.with_mut(|is_there| unsafe { *is_there = there });
            self.elements[index as usize].is_there_now.store(there, Ordering::SeqCst);
        }

        pub(crate) fn find(&self, index: u32) -> Option<&T> {
            self.is_there(index).then(|| &self.elements[index as usize].value)
        }

        pub(crate) fn visit<R>(&self, index: u32, visit: impl FnOnce(Option<&T>) -> R) -> R {
            let _visiting = self.visitors.read().unwrap();
            visit(self.find(index))
        }

        pub(crate) fn get(&self, index: u32) -> &T {
            self.find(index).expect("it is in use")
        }

        pub(crate) fn make(&self, index: u32) -> &T {
            if !self.is_there(index) {
                self.set_there(index, true);
            }
            &self.elements[index as usize].value
        }

        pub(crate) fn take(&self, index: u32) -> &T {
            self.make(index);
            self.start_using(index);
            &self.elements[index as usize].value
        }

        pub(crate) fn start_using(&self, index: u32) {
            self.elements[index as usize].in_use.fetch_add(1, Ordering::SeqCst);
        }

        pub(crate) fn stop_using(&self, index: u32) {
            if self.elements[index as usize].in_use.fetch_sub(1, Ordering::SeqCst) == 1 {
                let _nobody = self.visitors.write().unwrap();
                self.set_there(index, false);
            }
        }

        /// To be said right after an access, so that no other thread has run in between: the element was there.
        pub(crate) fn assert_there(&self, index: u32) {
            let there = self.elements[index as usize].is_there_now.load(Ordering::SeqCst);
            assert!(there, "element {index} was used after it had been given back");
        }
    }
}

pub(crate) use imp::{Chunked, ZeroInit};
