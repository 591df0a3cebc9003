//! One lane of what comes from a peer: heads out of its stream, and the content that follows them, received ahead.

use crate::calls::{Comm, Operation};
use crate::error::MpiError;
use rain_io::IoThreads;
use rain_protocol::peer::Message;
use rain_transport::Wake;
use rain_wire::buffers::Buffers;
use rain_wire::lane::LaneIn;
use rain_wire::payload::Payload;
use std::collections::VecDeque;

/// Content travels in pieces of this size, each a message of MPI.
pub const PIECE_BYTES: usize = 1 << 20;
/// The tag of the stream's packets.
pub(crate) const STREAM_TAG: i32 = 0;
/// So many pieces of a lane may be under way, or have come and wait to be stored: about as many as a rank can do while the other one
/// does not run.
const PIECES_AHEAD: usize = 8;
/// So many pieces may be under way in all; a lane with none under way may always have one, so that each gets on.
const PIECES_IN_ALL: usize = 128;

/// Memory for so many is kept for use again.
const FREE_PIECES_MAX: usize = 2 * PIECES_AHEAD;

/// The tag of the pieces of a lane.
pub(crate) fn content_tag(lane: usize) -> i32 {
    1 + lane as i32
}

/// What makes a peer or all of MPI unusable.
pub(crate) enum Trouble {
    Mpi(MpiError),
    Peer(String),
}

impl From<MpiError> for Trouble {
    fn from(error: MpiError) -> Self {
        Trouble::Mpi(error)
    }
}

impl From<rain_wire::message::MessageError> for Trouble {
    fn from(error: rain_wire::message::MessageError) -> Self {
        Trouble::Peer(format!("what it sends is not Rain's protocol: {error}"))
    }
}

/// How many pieces are under way.
#[derive(Default)]
pub(crate) struct Pieces {
    pub(crate) under_way: usize,
    /// Memory for use again.
    free: Vec<Vec<u8>>,
}

impl Pieces {
    /// Memory for a piece.
    pub(crate) fn take(&mut self, length: usize) -> Vec<u8> {
        let mut room = self.free.pop().unwrap_or_default();
        room.resize(length, 0);
        room
    }

    /// A piece is not under way any more.
    pub(crate) fn give_back(&mut self, room: Vec<u8>) {
        self.under_way -= 1;
        if self.free.len() < FREE_PIECES_MAX {
            self.free.push(room);
        }
    }

    /// Whether a lane that has so many under way may have one more.
    pub(crate) fn may_begin(&self, of_lane: usize) -> bool {
        of_lane == 0 || (of_lane < PIECES_AHEAD && self.under_way < PIECES_IN_ALL)
    }
}

/// Content that is not received yet, or only in part: bytes.
struct Planned {
    received: u64,
    length: u64,
}

pub(crate) struct Intake<D: Payload> {
    lane: LaneIn<D>,
    tag: i32,
    from: u32,
    /// Heads behind a message whose content has not come whole.
    heads: VecDeque<Vec<u8>>,
    plan: VecDeque<Planned>,
    receiving: VecDeque<Operation<Vec<u8>>>,
    /// Pieces that have come and wait to be stored.
    stored: Buffers,
    /// Lengths of the heads of messages that are not handed on.
    sizes: VecDeque<usize>,
}

impl<D: Payload> Intake<D> {
    /// `io` stores content at `place`, and `wake` is called when that is done.
    pub(crate) fn new(from: u32, lane: usize, io: &IoThreads, place: &D::Place, wake: &Wake) -> Self {
        Self {
            lane: LaneIn::new(io.clone(), place.clone(), wake.clone()),
            tag: content_tag(lane),
            from,
            heads: VecDeque::new(),
            plan: VecDeque::new(),
            receiving: VecDeque::new(),
            stored: Buffers::new(wake.clone()),
            sizes: VecDeque::new(),
        }
    }

    /// Takes a message's head; how many of its bytes have to wait for other content.
    pub(crate) fn head(&mut self, head: &[u8]) -> Result<usize, Trouble> {
        if self.is_receiving() || !self.heads.is_empty() || self.lane.is_full() {
            self.heads.push_back(head.to_vec());
            return Ok(head.len());
        }
        self.begin(head)?;
        Ok(0)
    }

    fn begin(&mut self, head: &[u8]) -> Result<(), Trouble> {
        self.lane.head(head)?;
        self.sizes.push_back(head.len());
        let missing = self.lane.missing().into_iter();
        self.plan.extend(missing.map(|length| Planned { received: 0, length }));
        Ok(())
    }

    fn is_receiving(&self) -> bool {
        !self.receiving.is_empty() || !self.plan.is_empty()
    }

    /// Whether all that was announced has come and was handed on.
    pub(crate) fn is_done(&self) -> bool {
        !self.is_receiving() && self.heads.is_empty() && !self.lane.holds_messages()
    }

    /// Whether there is something to look at.
    pub(crate) fn is_active(&self) -> bool {
        self.is_receiving()
    }

    /// Receives content; `used` counts the bytes of heads that waited and do not any more. Whether something happened.
    pub(crate) fn turn(&mut self, comm: &Comm, pieces: &mut Pieces, used: &mut usize) -> Result<bool, Trouble> {
        let mut moved = false;
        while let Some(room) = self.stored.take_back() {
            pieces.give_back(room);
            moved = true;
        }
        loop {
            while let Some(receiving) = self.receiving.front_mut()
                && let Some((room, arrived)) = receiving.poll()?
            {
                self.receiving.pop_front();
                let planned = room.len();
                if arrived.length == planned {
                    let piece = self.stored.hand_out(room, planned);
                    self.lane.buffer(piece)?;
                } else {
                    // A shorter piece is no content: its sender cannot read that, and says why.
                    let why = String::from_utf8_lossy(room.get(..arrived.length).unwrap_or_default()).into_owned();
                    pieces.give_back(room);
                    self.lane.spoil(Some(planned), why)?;
                }
                moved = true;
            }
            while let Some(planned) = self.plan.front_mut()
                && pieces.may_begin(self.receiving.len() + self.stored.out())
            {
                let length = (planned.length - planned.received).min(PIECE_BYTES as u64) as usize;
                planned.received += length as u64;
                if planned.received == planned.length {
                    self.plan.pop_front();
                }
                let room = pieces.take(length);
                self.receiving.push_back(comm.receive(room, Some(self.from), self.tag)?);
                pieces.under_way += 1;
                moved = true;
            }
            if self.is_receiving() {
                return Ok(moved);
            }
            if self.heads.is_empty() || self.lane.is_full() {
                return Ok(moved);
            }
            let Some(head) = self.heads.pop_front() else { return Ok(moved) };
            *used += head.len();
            self.begin(&head)?;
            moved = true;
        }
    }

    /// The next message that is whole, and the size of its head.
    pub(crate) fn take_whole(&mut self) -> Result<Option<(Message<D>, usize)>, Trouble> {
        let Some(whole) = self.lane.take_whole() else { return Ok(None) };
        let size = self.sizes.pop_front().unwrap_or_default();
        let lost = |why| Trouble::Peer(format!("content that it sent could not be stored: {why}"));
        Ok(Some((whole.map_err(lost)?, size)))
    }

    /// Gives up what does not come any more.
    pub(crate) fn cancel(&mut self) {
        self.receiving.drain(..).for_each(Operation::cancel);
    }
}
