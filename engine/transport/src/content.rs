//! Content of objects, for who sends it.

use std::io;
use std::ops::Range;

/// Content that is read in pieces, from where it is.
pub trait Content: Send + Sync {
    /// Bytes.
    fn length(&self) -> u64;

    /// Fills `into` with content from `offset` on.
    ///
    /// # Errors
    /// When there is not so much, or it cannot be read: files of objects may have been changed.
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()>;

    /// Makes `into` hold a piece of the content.
    ///
    /// # Errors
    /// As [`read_at`](Self::read_at).
    fn read_piece(&self, range: Range<u64>, into: &mut Vec<u8>) -> io::Result<()> {
        into.resize(usize::try_from(range.end - range.start).map_err(io::Error::other)?, 0);
        self.read_at(range.start, into)
    }
}
