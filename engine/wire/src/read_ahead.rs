//! The contents of one message, read by an I/O thread a few pieces before they are written.

use crossbeam_channel::{Receiver, TryRecvError, bounded};
use rain_io::{IoQueue, IoThreads};
use rain_transport::Wake;
use rain_transport::content::Content;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// So many pieces are read, or wait to be read, before they are written.
const PIECES_AHEAD: usize = 4;

/// A piece that was read.
pub(crate) struct Read {
    /// Or why it could not be.
    pub(crate) bytes: Result<Vec<u8>, String>,
    pub(crate) range: Range<usize>,
}

/// Reads the contents of one message after the other.
pub(crate) struct ReadAhead {
    queue: IoQueue,
    wake: Wake,
    piece_bytes: usize,
    pieces: VecDeque<Reading>,
    /// Which content the next piece to be asked for is of, and where it begins.
    body: usize,
    offset: usize,
    /// The thread that writes waits for a piece.
    wants_piece: Arc<AtomicBool>,
    free: Vec<Vec<u8>>,
}

/// A piece that is being read.
struct Reading {
    body: usize,
    range: Range<usize>,
    read: Receiver<Result<Vec<u8>, String>>,
}

impl ReadAhead {
    pub(crate) fn new(io: &IoThreads, wake: Wake, piece_bytes: usize) -> Self {
        Self {
            queue: io.queue(),
            wake,
            piece_bytes,
            pieces: VecDeque::new(),
            body: 0,
            offset: 0,
            wants_piece: Arc::default(),
            free: Vec::new(),
        }
    }

    /// Has the next pieces of these contents read.
    pub(crate) fn go_on(&mut self, bodies: &[Arc<dyn Content>]) {
        while self.pieces.len() < PIECES_AHEAD
            && let Some(source) = bodies.get(self.body)
        {
            let length = usize::try_from(source.length()).unwrap_or(usize::MAX);
            let range = self.offset..length.min(self.offset.saturating_add(self.piece_bytes));
            let (done, read) = bounded(1);
            self.pieces.push_back(Reading { body: self.body, range: range.clone(), read });
            (self.body, self.offset) = if range.end >= length { (self.body + 1, 0) } else { (self.body, range.end) };
            let (source, mut memory) = (source.clone(), self.free.pop().unwrap_or_default());
            let (wake, wanted) = (self.wake.clone(), self.wants_piece.clone());
            self.queue.run(move || {
                let bytes = source
                    .read_piece(range.start as u64..range.end as u64, &mut memory)
                    .map(|()| memory)
                    .map_err(|error| error.to_string());
                // An error means that it is not wanted any more.
                let _ = done.send(bytes);
                if wanted.swap(false, Ordering::SeqCst) {
                    wake();
                }
            });
        }
    }

    /// Whether the next piece is not read yet.
    pub(crate) fn is_waiting(&self) -> bool {
        self.pieces.front().is_some_and(|reading| reading.read.is_empty())
    }

    /// The next piece; none when it is not read yet, and then there will be a wake.
    pub(crate) fn next(&mut self) -> Option<Read> {
        let reading = self.pieces.front()?;
        let bytes = match reading.read.try_recv() {
            Err(TryRecvError::Empty) => {
                self.wants_piece.store(true, Ordering::SeqCst);
                // It may have been read meanwhile, without a wake.
                reading.read.try_recv()
            }
            read => read,
        };
        let bytes = match bytes {
            Ok(bytes) => bytes,
            Err(TryRecvError::Empty) => return None,
            Err(TryRecvError::Disconnected) => Err("it could not be read".to_owned()),
        };
        let Reading { range, .. } = self.pieces.pop_front()?;
        Some(Read { bytes, range })
    }

    /// Reads no more of this content.
    pub(crate) fn skip(&mut self, body: usize) {
        self.pieces.retain(|reading| reading.body != body);
        if self.body == body {
            (self.body, self.offset) = (body + 1, 0);
        }
    }

    /// Forgets what was read; the next piece is the first one of a message.
    pub(crate) fn begin_again(&mut self) {
        self.pieces.clear();
        (self.body, self.offset) = (0, 0);
        self.free.clear();
    }

    /// Takes the memory of a piece, to be used again.
    pub(crate) fn give_back(&mut self, memory: Vec<u8>) {
        if self.free.len() < PIECES_AHEAD && !self.pieces.is_empty() {
            self.free.push(memory);
        }
    }
}
