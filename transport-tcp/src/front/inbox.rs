//! The frame that has come in part on one connection.

use super::socket::Socket;
use rain_protocol::msgpack::FrameError;
use std::io;

/// Least memory asked for when a frame grows.
const GROWTH_BYTES_MIN: usize = 4 << 10;
const HEADER_BYTES: usize = 4;

/// The bytes of a frame that has not come whole; it grows with what comes, not with what its header claims.
#[derive(Default)]
pub(super) struct Inbox {
    partial: Vec<u8>,
}

impl Inbox {
    pub(super) fn is_empty(&self) -> bool {
        self.partial.is_empty()
    }

    /// Keeps the beginning of a frame.
    pub(super) fn keep(&mut self, beginning: &[u8]) {
        self.partial.extend_from_slice(beginning);
    }

    /// Reads more of the frame, never past its end; 0 is the end of the stream.
    pub(super) fn read_more(&mut self, socket: &mut Socket, max: usize) -> Result<io::Result<usize>, FrameError> {
        let missing = self.missing(max)?;
        let count = missing.min(self.partial.len().max(GROWTH_BYTES_MIN));
        if self.partial.capacity() - self.partial.len() < count {
            self.partial.reserve_exact(count);
        }
        Ok(socket.append_to(&mut self.partial, missing))
    }

    /// Takes the frame, length included, out if it is whole.
    pub(super) fn take_whole(&mut self, max: usize) -> Result<Option<Vec<u8>>, FrameError> {
        let whole = self.partial.len() >= HEADER_BYTES && self.missing(max)? == 0;
        Ok(whole.then(|| std::mem::take(&mut self.partial)))
    }

    /// Bytes that can be asked for without reading past the frame: of its header first, then of its body.
    fn missing(&self, max: usize) -> Result<usize, FrameError> {
        match self.partial.first_chunk::<HEADER_BYTES>() {
            None => Ok(HEADER_BYTES - self.partial.len()),
            Some(header) => Ok(HEADER_BYTES + body_length(*header, max)? - self.partial.len()),
        }
    }
}

type BodyAndRest<'a> = (&'a [u8], &'a [u8]);

/// Splits the body of the first frame and what follows it off `bytes`; `None` when it is not whole.
pub(super) fn split_frame(bytes: &[u8], max: usize) -> Result<Option<BodyAndRest<'_>>, FrameError> {
    let Some((header, rest)) = bytes.split_first_chunk::<HEADER_BYTES>() else { return Ok(None) };
    let length = body_length(*header, max)?;
    Ok(rest.split_at_checked(length))
}

/// The body of a whole frame.
pub(super) fn body(frame: &[u8]) -> &[u8] {
    frame.get(HEADER_BYTES..).unwrap_or_default()
}

fn body_length(header: [u8; HEADER_BYTES], max: usize) -> Result<usize, FrameError> {
    let length = u32::from_le_bytes(header) as usize;
    if length > max { Err(FrameError::TooLong { length, max }) } else { Ok(length) }
}

#[cfg(test)]
impl Inbox {
    pub(super) fn capacity(&self) -> usize {
        self.partial.capacity()
    }
}
