//! What has come on one connection and was not taken yet: frames that wait, and one that has come in part.

use super::socket::Socket;
use rain_protocol::msgpack::{FrameError, HEADER_BYTES, body_length};
use std::io;

/// Least memory asked for when a frame grows.
const GROWTH_BYTES_MIN: usize = 4 << 10;
/// Memory that is kept for the next frame.
const KEPT_BYTES_MAX: usize = 64 << 10;

/// The bytes that have come; a frame that is not whole grows with what comes, not with what its header claims.
#[derive(Default)]
pub(super) struct Inbox {
    bytes: Vec<u8>,
    /// Where the next frame begins.
    start: usize,
}

impl Inbox {
    /// Whether nothing has come that was not taken.
    pub(super) fn is_empty(&self) -> bool {
        self.start == self.bytes.len()
    }

    /// Reads once: more of the frame that has come in part, never past its end, or what there is, through `scratch`; 0 is the end of
    /// the stream. To be called when no frame is whole.
    pub(super) fn read(
        &mut self,
        socket: &mut Socket,
        scratch: &mut [u8],
        max: usize,
    ) -> Result<io::Result<usize>, FrameError> {
        if self.is_empty() {
            self.clear();
            let read = socket.read(scratch);
            if let Ok(count) = read {
                self.bytes.extend_from_slice(scratch.get(..count).unwrap_or_default());
            }
            return Ok(read);
        }
        self.bytes.drain(..self.start);
        self.start = 0;
        let missing = match self.bytes.first_chunk::<HEADER_BYTES>() {
            None => HEADER_BYTES - self.bytes.len(),
            Some(header) => HEADER_BYTES + body_length(*header, max)? - self.bytes.len(),
        };
        let count = missing.min(self.bytes.len().max(GROWTH_BYTES_MIN));
        if self.bytes.capacity() - self.bytes.len() < count {
            self.bytes.reserve_exact(count);
        }
        Ok(socket.append_to(&mut self.bytes, missing))
    }

    /// Takes the next frame out if it is whole: its body is handed to `take`, or, from `large` bytes on, the whole frame to
    /// `take_large`.
    pub(super) fn take_frame<T>(
        &mut self,
        max: usize,
        large: usize,
        take: impl FnOnce(&[u8]) -> T,
        take_large: impl FnOnce(Vec<u8>) -> T,
    ) -> Result<Option<T>, FrameError> {
        let pending = self.bytes.get(self.start..).unwrap_or_default();
        let Some((header, rest)) = pending.split_first_chunk::<HEADER_BYTES>() else { return Ok(None) };
        let Some((body, after)) = rest.split_at_checked(body_length(*header, max)?) else { return Ok(None) };
        if body.len() < large {
            let taken = take(body);
            self.start += HEADER_BYTES + body.len();
            return Ok(Some(taken));
        }
        let frame = if self.start == 0 && after.is_empty() {
            std::mem::take(&mut self.bytes)
        } else {
            let whole = HEADER_BYTES + body.len();
            let frame = pending[..whole].to_vec();
            self.start += whole;
            frame
        };
        Ok(Some(take_large(frame)))
    }

    fn clear(&mut self) {
        self.start = 0;
        if self.bytes.capacity() > KEPT_BYTES_MAX { self.bytes = Vec::new() } else { self.bytes.clear() }
    }
}

#[cfg(test)]
impl Inbox {
    pub(super) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }
}
