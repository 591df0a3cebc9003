//! An array that grows without moving, so that workers read it while the governor adds to it.

#[cfg(not(loom))]
mod imp {
    use std::alloc::{Layout, alloc_zeroed, handle_alloc_error};
    use std::sync::OnceLock;

    /// log2 of the length of the first chunk.
    const FIRST_CHUNK_BITS: u32 = 8;
    const CHUNKS: usize = 32 - FIRST_CHUNK_BITS as usize + 1;

    /// Types for which all-zero bytes are a valid, empty value.
    ///
    /// # Safety
    /// An all-zero bit pattern must be a valid value of the type.
    pub(crate) unsafe trait ZeroInit: Sized {}

    /// Chunks that double in length; memory that is never touched is never resident, because it is asked for zeroed.
    pub(crate) struct Chunked<T> {
        chunks: [OnceLock<Box<[T]>>; CHUNKS],
    }

    #[inline]
    fn locate(index: u32) -> (usize, usize) {
        let position = u64::from(index) + (1 << FIRST_CHUNK_BITS);
        let bits = 63 - position.leading_zeros();
        ((bits - FIRST_CHUNK_BITS) as usize, (position - (1 << bits)) as usize)
    }

    impl<T: ZeroInit> Chunked<T> {
        pub(crate) fn new() -> Self {
            Self { chunks: std::array::from_fn(|_| OnceLock::new()) }
        }

        /// The element at `index`; its chunk is made if there is none yet.
        #[inline]
        pub(crate) fn get(&self, index: u32) -> &T {
            let (chunk, offset) = locate(index);
            let chunk = match self.chunks[chunk].get() {
                Some(chunk) => chunk,
                None => self.chunks[chunk].get_or_init(|| zeroed(1 << (chunk as u32 + FIRST_CHUNK_BITS))),
            };
            &chunk[offset]
        }
    }

    fn zeroed<T: ZeroInit>(len: usize) -> Box<[T]> {
        let layout = Layout::array::<T>(len).expect("chunk fits the address space");
        assert!(layout.size() > 0);
        // SAFETY: the layout is not empty; all-zero is a valid T (ZeroInit); pointer and length describe the
        // allocation that the global allocator made for this layout, as Box requires.
        unsafe {
            let pointer = alloc_zeroed(layout);
            if pointer.is_null() {
                handle_alloc_error(layout);
            }
            Box::from_raw(std::ptr::slice_from_raw_parts_mut(pointer.cast::<T>(), len))
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn indices_fill_chunks_in_order_without_gaps() {
            let mut expected = (0, 0);
            for index in 0..100_000 {
                assert_eq!(locate(index), expected);
                expected.1 += 1;
                if expected.1 == 1 << (expected.0 + FIRST_CHUNK_BITS as usize) {
                    expected = (expected.0 + 1, 0);
                }
            }
            assert_eq!(locate(u32::MAX).0, CHUNKS - 1);
        }
    }
}

#[cfg(loom)]
mod imp {
    /// # Safety
    /// See the other build; here values come from `Default`.
    pub(crate) unsafe trait ZeroInit: Default {}

    /// A few elements made ahead: growth is std's `OnceLock`, which loom does not model.
    pub(crate) struct Chunked<T>(Vec<T>);

    impl<T: ZeroInit> Chunked<T> {
        pub(crate) fn new() -> Self {
            Self((0..4).map(|_| T::default()).collect())
        }

        pub(crate) fn get(&self, index: u32) -> &T {
            &self.0[index as usize]
        }
    }
}

pub(crate) use imp::{Chunked, ZeroInit};
