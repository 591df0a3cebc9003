//! Frames on their way out of one connection.

use super::socket::Socket;
use rain_transport::clients::{ReplyFrame, Rest};
use rain_transport::content::Content;
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::ops::Range;
use std::sync::Arc;

/// Frames given to the system in one call.
const SLICES_MAX: usize = 64;
/// Content read at a time.
const CONTENT_PIECE_BYTES: u64 = 256 << 10;
/// The beginning of a frame that is written together with its content is shorter.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// Bytes written for one connection before others get their turn.
const TURN_BYTES_MAX: usize = 4 << 20;

/// A frame, or a part of one.
enum Piece {
    Own(Vec<u8>),
    Shared(Arc<[u8]>),
    /// What is left of a range of content.
    Content(Arc<dyn Content>, Range<u64>),
}

/// How a turn of writing ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flushed {
    /// Everything is written, or the socket takes no more for now.
    Done,
    /// The socket may take more.
    TurnIsOver,
}

/// A queue of frames, written in order and never copied together.
#[derive(Default)]
pub(super) struct Outbox {
    pieces: VecDeque<Piece>,
    /// How much of the first piece is written.
    written: usize,
    /// Bytes that wait, those of content included.
    byte_count: u64,
    /// Memory for the next piece of content.
    spare: Vec<u8>,
}

impl Outbox {
    pub(super) fn push(&mut self, frame: ReplyFrame) {
        self.byte_count += frame.length();
        self.pieces.push_back(Piece::Own(frame.head));
        match frame.rest {
            Rest::Shared(bytes) if !bytes.is_empty() => self.pieces.push_back(Piece::Shared(bytes)),
            Rest::Content(content, range) if !range.is_empty() => {
                self.pieces.push_back(Piece::Content(content, range));
            }
            Rest::Nothing | Rest::Shared(_) | Rest::Content(..) => {}
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.byte_count == 0
    }

    /// Bytes that wait to be written.
    pub(super) fn byte_count(&self) -> u64 {
        self.byte_count
    }

    /// Writes until everything is written, the socket takes no more for now, or others are to get their turn.
    pub(super) fn flush(&mut self, socket: &mut Socket) -> io::Result<Flushed> {
        let mut left = TURN_BYTES_MAX;
        while self.byte_count > 0 {
            if left == 0 {
                return Ok(Flushed::TurnIsOver);
            }
            self.read_content()?;
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            let mut used = 0;
            for (slice, piece) in slices.iter_mut().zip(&self.pieces) {
                let start = if used == 0 { self.written } else { 0 };
                let bytes: &[u8] = match piece {
                    Piece::Own(bytes) => bytes,
                    Piece::Shared(bytes) => bytes,
                    Piece::Content(..) => break,
                };
                *slice = IoSlice::new(&bytes[start..]);
                used += 1;
            }
            match socket.write_vectored(&slices[..used]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    self.advance(count);
                    left = left.saturating_sub(count);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Flushed::Done),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Flushed::Done)
    }

    /// Puts bytes in the place of content that comes first, or right after its frame's beginning.
    fn read_content(&mut self) -> io::Result<()> {
        let at = match (self.pieces.front(), self.pieces.get(1)) {
            (Some(Piece::Content(..)), _) => 0,
            (Some(Piece::Own(head)), Some(Piece::Content(..))) if head.len() < HEAD_BYTES_MAX => 1,
            _ => return Ok(()),
        };
        let Some(Piece::Content(content, range)) = self.pieces.get_mut(at) else { return Ok(()) };
        let count = CONTENT_PIECE_BYTES.min(range.end - range.start);
        let mut bytes = std::mem::take(&mut self.spare);
        content.read_piece(range.start..range.start + count, &mut bytes)?;
        range.start += count;
        if range.is_empty() {
            self.pieces.remove(at);
        }
        self.pieces.insert(at, Piece::Own(bytes));
        Ok(())
    }

    fn advance(&mut self, count: usize) {
        self.byte_count -= count as u64;
        self.written += count;
        while let Some(Piece::Own(_) | Piece::Shared(_)) = self.pieces.front()
            && let Some(first) = self.pieces.front().map(Piece::length)
            && self.written >= first
        {
            self.written -= first;
            if let Some(Piece::Own(bytes)) = self.pieces.pop_front()
                && bytes.capacity() as u64 >= CONTENT_PIECE_BYTES
                && self.byte_count > 0
            {
                self.spare = bytes;
            }
        }
        if self.byte_count == 0 {
            self.spare = Vec::new();
        }
    }
}

impl Piece {
    /// Bytes in memory.
    fn length(&self) -> usize {
        match self {
            Piece::Own(bytes) => bytes.len(),
            Piece::Shared(bytes) => bytes.len(),
            Piece::Content(..) => 0,
        }
    }
}
