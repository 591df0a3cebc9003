//! Frames on their way out of one connection.

use super::socket::Socket;
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::Arc;

/// Frames given to the system in one call.
const SLICES_MAX: usize = 64;

/// A frame, or a part of one that others have, too.
enum Piece {
    Own(Vec<u8>),
    Shared(Arc<[u8]>),
}

impl Piece {
    fn bytes(&self) -> &[u8] {
        match self {
            Piece::Own(bytes) => bytes,
            Piece::Shared(bytes) => bytes,
        }
    }
}

/// A queue of frames, written in order and never copied together.
#[derive(Default)]
pub(super) struct Outbox {
    pieces: VecDeque<Piece>,
    /// How much of the first piece is written.
    written: usize,
    byte_count: usize,
}

impl Outbox {
    pub(super) fn push(&mut self, frame: Vec<u8>) {
        self.byte_count += frame.len();
        self.pieces.push_back(Piece::Own(frame));
    }

    /// Adds a frame of two parts, of which the second may be in other frames as well.
    pub(super) fn push_shared(&mut self, head: Vec<u8>, body: Arc<[u8]>) {
        self.push(head);
        self.byte_count += body.len();
        self.pieces.push_back(Piece::Shared(body));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.byte_count == 0
    }

    /// Bytes that wait to be written.
    pub(super) fn byte_count(&self) -> usize {
        self.byte_count
    }

    /// Writes until everything is written or the socket takes no more for now.
    pub(super) fn flush(&mut self, socket: &mut Socket) -> io::Result<()> {
        while self.byte_count > 0 {
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            let mut used = 0;
            for (slice, piece) in slices.iter_mut().zip(&self.pieces) {
                let start = if used == 0 { self.written } else { 0 };
                *slice = IoSlice::new(&piece.bytes()[start..]);
                used += 1;
            }
            match socket.write_vectored(&slices[..used]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => self.advance(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn advance(&mut self, count: usize) {
        self.byte_count -= count;
        self.written += count;
        while let Some(first) = self.pieces.front().map(|piece| piece.bytes().len())
            && self.written >= first
        {
            self.written -= first;
            self.pieces.pop_front();
        }
    }
}
