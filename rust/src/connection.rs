//! The frames of the socket.

use crate::error::ExecutorError;
use crate::messages::{FRAME_BYTES_MAX, FrameError};
use std::io::{self, Read};
use std::os::unix::net::UnixStream;

/// Room for many calls at once; larger ones get a larger buffer for a while.
const BUFFER_BYTES: usize = 128 << 10;

/// Takes frames out of what has been received; one read may bring several.
pub(crate) struct Connection<'a> {
    stream: &'a UnixStream,
    buffer: Vec<u8>,
    begin: usize,
    end: usize,
}

impl<'a> Connection<'a> {
    pub(crate) fn new(stream: &'a UnixStream) -> Self {
        Self { stream, buffer: vec![0; BUFFER_BYTES], begin: 0, end: 0 }
    }

    /// The body of the next frame; `None` when the governor has closed the socket.
    pub(crate) fn receive(&mut self) -> Result<Option<&[u8]>, ExecutorError> {
        loop {
            let pending = &self.buffer[self.begin..self.end];
            let wanted = match pending.first_chunk::<4>() {
                None => 4,
                Some(head) => {
                    let length = u32::from_le_bytes(*head) as usize;
                    if length > FRAME_BYTES_MAX {
                        return Err(FrameError::TooLong(length).into());
                    }
                    if pending.len() >= 4 + length {
                        let body = self.begin + 4..self.begin + 4 + length;
                        self.begin = body.end;
                        return Ok(Some(&self.buffer[body]));
                    }
                    4 + length
                }
            };
            if !self.fill(wanted)? {
                return Ok(None);
            }
        }
    }

    fn fill(&mut self, wanted: usize) -> io::Result<bool> {
        self.buffer.copy_within(self.begin..self.end, 0);
        self.end -= self.begin;
        self.begin = 0;
        let capacity = wanted.max(BUFFER_BYTES);
        if capacity != self.buffer.len() && self.end <= capacity {
            self.buffer.resize(capacity, 0);
            self.buffer.shrink_to_fit();
        }
        loop {
            match self.stream.read(&mut self.buffer[self.end..]) {
                Ok(received) => {
                    self.end += received;
                    return Ok(received > 0);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(false),
                Err(error) => return Err(error),
            }
        }
    }
}
