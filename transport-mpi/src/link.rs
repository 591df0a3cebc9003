//! What two ranks have to tell each other.

use crate::calls::{Comm, Operation};
use crate::error::MpiError;
use crate::intake::{Intake, PIECE_BYTES, Pieces, STREAM_TAG, Trouble, content_tag};
use crate::packet::{
    FrameReader, HEADER_BYTES, PACKET_BYTES, Packet, append_frame, begin_stream, read_packet, write_bye,
};
use rain_io::IoThreads;
use rain_protocol::peer::Message;
use rain_transport::Wake;
use rain_wire::lane::{LaneOut, Piece};
use rain_wire::message::lane_of;
use rain_wire::payload::Payload;
use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;

/// So many bytes of a stream may be under way, or wait at the receiver because its owner does not take them.
const WINDOW_BYTES: usize = 4 * PACKET_BYTES;
/// With so much room freed, the sender is told.
const CREDIT_BYTES: usize = WINDOW_BYTES / 2;
/// Packets that are kept for use again.
const FREE_PACKETS_MAX: usize = 64;

/// Memory for packets.
#[derive(Default)]
pub(crate) struct Packets(Vec<Vec<u8>>);

impl Packets {
    pub(crate) fn take(&mut self) -> Vec<u8> {
        self.0.pop().unwrap_or_else(|| Vec::with_capacity(PACKET_BYTES))
    }

    pub(crate) fn give_back(&mut self, packet: Vec<u8>) {
        if self.0.len() < FREE_PACKETS_MAX {
            self.0.push(packet);
        }
    }
}

/// What a link uses during its turn.
pub(crate) struct Turn<'a> {
    pub(crate) comm: &'a Comm,
    pub(crate) packets: &'a mut Packets,
    pub(crate) sending: &'a mut Pieces,
    pub(crate) receiving: &'a mut Pieces,
}

/// The heads that go to a peer.
struct StreamOut {
    /// Frames that are in no packet yet; those before `start` are.
    waiting: Vec<u8>,
    start: usize,
    /// How many bytes may be sent.
    room: usize,
    sending: VecDeque<Operation<Vec<u8>>>,
}

pub(crate) struct Link<D: Payload> {
    rank: u32,
    out: [LaneOut; 2],
    /// Which lane goes next when both have something.
    next_lane: usize,
    stream: StreamOut,
    contents: [VecDeque<Operation<Vec<u8>>>; 2],
    incoming: [Intake<D>; 2],
    frames: FrameReader,
    /// Packets that have come and were not read, and how long they are.
    inbox: VecDeque<(Vec<u8>, usize)>,
    /// Bytes of the other's stream that were used, and that it was not told of.
    credit: usize,
    /// Something went one way or the other.
    pub(crate) known: bool,
    /// Why it ends, and whether all that it sent before comes.
    farewell: Option<(bool, String)>,
    pub(crate) said_bye: bool,
    /// The owner was told that it is gone: nothing is handed on, and nothing begun.
    pub(crate) lost: bool,
    /// Something was dropped that was to be sent.
    pub(crate) dropped: bool,
    /// What comes is not understood, so it is not read.
    deaf: bool,
    /// Why it was given up, for its goodbye.
    pub(crate) complaint: Option<String>,
}

impl<D: Payload> Link<D> {
    /// A link to a rank. `io` reads content and stores it at `place`, and `wake` is called when that is done.
    pub(crate) fn new(rank: u32, io: &IoThreads, place: &D::Place, wake: &Wake) -> Self {
        Self {
            rank,
            out: [0; 2].map(|_| LaneOut::new(io.clone(), wake.clone(), PIECE_BYTES)),
            next_lane: 0,
            stream: StreamOut { waiting: Vec::new(), start: 0, room: WINDOW_BYTES, sending: VecDeque::new() },
            contents: Default::default(),
            incoming: [0, 1].map(|lane| Intake::new(rank, lane, io, place, wake)),
            frames: FrameReader::default(),
            inbox: VecDeque::new(),
            credit: 0,
            known: false,
            farewell: None,
            said_bye: false,
            lost: false,
            dropped: false,
            deaf: false,
            complaint: None,
        }
    }

    /// The peer is on this machine, and its store was made in this directory.
    pub(crate) fn set_neighbour(&mut self, store: &Path) {
        let store: Arc<Path> = store.into();
        self.out.iter_mut().for_each(|lane| lane.set_neighbour(store.clone()));
    }

    pub(crate) fn push(&mut self, message: Message<D>) -> Result<(), String> {
        if self.lost {
            return Ok(());
        }
        self.known = true;
        let lane = lane_of(&message);
        self.out[lane].push(message)
    }

    /// Takes a packet that has come.
    pub(crate) fn take_packet(&mut self, packet: Vec<u8>, length: usize) {
        self.known = true;
        if let Some((credit, _)) = read_packet(&packet[..length]) {
            self.stream.room += credit as usize;
        }
        self.inbox.push_back((packet, length));
    }

    /// Whether there is something to look at, however long it takes.
    pub(crate) fn is_active(&self) -> bool {
        !self.inbox.is_empty()
            || !self.is_sent()
            || self.incoming.iter().any(Intake::is_active)
            || self.out.iter().any(|lane| !lane.is_idle() && !lane.is_waiting())
    }

    fn is_sent(&self) -> bool {
        self.stream.start == self.stream.waiting.len() && self.is_quiet()
    }

    /// Whether MPI is done with all that was given to it to send.
    pub(crate) fn is_quiet(&self) -> bool {
        self.stream.sending.is_empty() && self.contents.iter().all(VecDeque::is_empty)
    }

    /// Whether all that was to be sent was sent.
    pub(crate) fn is_flushed(&self) -> bool {
        self.is_sent() && self.out.iter().all(LaneOut::is_idle)
    }

    /// Why the other side has ended, once all has come that comes.
    pub(crate) fn ending(&self) -> Option<&str> {
        let (whole, why) = self.farewell.as_ref()?;
        (!whole || self.incoming.iter().all(Intake::is_done)).then_some(why)
    }

    /// Sends nothing more of what was not begun.
    pub(crate) fn drop_unsent(&mut self) {
        let begun = self.stream.start < self.stream.waiting.len();
        self.dropped |= begun || self.out.iter().any(|lane| !lane.is_idle());
        self.out.iter_mut().for_each(LaneOut::clear);
        self.stream.waiting.clear();
        self.stream.start = 0;
    }

    /// Reads nothing more.
    pub(crate) fn turn_deaf(&mut self) {
        self.deaf = true;
        self.inbox.clear();
    }

    /// Receives and sends what can be; messages go to `tell`, which says whether it takes more. Whether something happened.
    pub(crate) fn turn(
        &mut self,
        turn: &mut Turn,
        tell: &mut impl FnMut(Message<D>, usize) -> bool,
        mut room: bool,
    ) -> Result<bool, Trouble> {
        let mut moved = self.finish_sends(turn)?;
        while room && let Some((packet, length)) = self.inbox.pop_front() {
            moved = true;
            let read = self.read(&packet[..length]);
            turn.packets.give_back(packet);
            read?;
            room = self.hand_on(turn, tell)?.1;
        }
        moved |= self.hand_on(turn, tell)?.0;
        moved |= self.write(turn)?;
        Ok(moved)
    }

    fn finish_sends(&mut self, turn: &mut Turn) -> Result<bool, MpiError> {
        let mut moved = false;
        while let Some(sending) = self.stream.sending.front_mut()
            && let Some((packet, _)) = sending.poll()?
        {
            turn.packets.give_back(packet);
            self.stream.sending.pop_front();
            moved = true;
        }
        for (contents, lane) in self.contents.iter_mut().zip(&mut self.out) {
            while let Some(sending) = contents.front_mut()
                && let Some((piece, _)) = sending.poll()?
            {
                contents.pop_front();
                turn.sending.under_way -= 1;
                lane.give_back(piece);
                moved = true;
            }
        }
        Ok(moved)
    }

    fn read(&mut self, packet: &[u8]) -> Result<(), Trouble> {
        if self.deaf {
            return Ok(());
        }
        match read_packet(packet) {
            None => Err(Trouble::Peer("what it sends is not Rain's protocol".to_owned())),
            Some((_, Packet::Bye { whole, why })) => {
                self.farewell = Some((whole, why));
                Ok(())
            }
            Some((_, Packet::Stream(bytes))) => {
                let mut kept = 0;
                let incoming = &mut self.incoming;
                self.frames.read(bytes, |lane, head| {
                    kept += incoming[lane].head(head)?;
                    Ok::<(), Trouble>(())
                })?;
                self.credit = (self.credit + bytes.len()).saturating_sub(kept);
                Ok(())
            }
        }
    }

    /// Receives content, and hands on the messages that have come whole. Whether something happened, and there is room.
    fn hand_on(
        &mut self,
        turn: &mut Turn,
        tell: &mut impl FnMut(Message<D>, usize) -> bool,
    ) -> Result<(bool, bool), Trouble> {
        let (mut moved, mut room) = (false, true);
        for intake in &mut self.incoming {
            moved |= intake.turn(turn.comm, turn.receiving, &mut self.credit)?;
            while let Some((message, size)) = intake.take_whole()? {
                moved = true;
                room = self.lost || tell(message, size);
            }
        }
        Ok((moved, room))
    }

    fn write(&mut self, turn: &mut Turn) -> Result<bool, Trouble> {
        let mut moved = false;
        while self.fill(turn)? {
            moved = true;
            while self.stream.waiting.len() - self.stream.start >= PACKET_BYTES - HEADER_BYTES
                && self.send_packet(turn)?
            {}
        }
        while self.stream.start < self.stream.waiting.len() && self.send_packet(turn)? {
            moved = true;
        }
        if self.credit >= CREDIT_BYTES {
            self.send_packet_with(turn, |_| ())?;
        }
        Ok(moved)
    }

    /// Takes the next head or piece that is to be sent; whether there was one.
    fn fill(&mut self, turn: &mut Turn) -> Result<bool, Trouble> {
        for lane in [self.next_lane, 1 - self.next_lane] {
            let full = self.stream.waiting.len() - self.stream.start >= WINDOW_BYTES;
            if full || !turn.sending.may_begin(self.contents[lane].len()) {
                continue;
            }
            match self.out[lane].next_piece().map_err(Trouble::Peer)? {
                None => continue,
                Some(Piece::Head(head)) => {
                    append_frame(lane, head, &mut self.stream.waiting).map_err(Trouble::Peer)?;
                }
                Some(Piece::Content { bytes, length, .. }) => {
                    let piece = bytes.unwrap_or_else(|why| {
                        // The receiver takes a piece that is shorter than it should be for the reason why it is not there.
                        let mut piece = why.into_bytes();
                        piece.truncate(length - 1);
                        piece
                    });
                    self.contents[lane].push_back(turn.comm.send(piece, self.rank, content_tag(lane))?);
                    turn.sending.under_way += 1;
                }
            }
            self.out[lane].forget_written();
            self.next_lane = 1 - lane;
            return Ok(true);
        }
        Ok(false)
    }

    /// Sends the next packet of the stream, as far as there is room for it; whether there was.
    fn send_packet(&mut self, turn: &mut Turn) -> Result<bool, MpiError> {
        let waiting = self.stream.waiting.len() - self.stream.start;
        let length = waiting.min(PACKET_BYTES - HEADER_BYTES).min(self.stream.room);
        if length == 0 {
            return Ok(false);
        }
        let start = self.stream.start;
        let bytes = std::mem::take(&mut self.stream.waiting);
        self.send_packet_with(turn, |packet| packet.extend_from_slice(&bytes[start..start + length]))?;
        self.stream.waiting = bytes;
        self.stream.room -= length;
        self.stream.start += length;
        if self.stream.start == self.stream.waiting.len() || self.stream.start >= WINDOW_BYTES {
            self.stream.waiting.drain(..self.stream.start);
            self.stream.start = 0;
        }
        Ok(true)
    }

    fn send_packet_with(&mut self, turn: &mut Turn, fill: impl FnOnce(&mut Vec<u8>)) -> Result<(), MpiError> {
        let mut packet = turn.packets.take();
        begin_stream(&mut packet, std::mem::take(&mut self.credit) as u32);
        fill(&mut packet);
        self.stream.sending.push_back(turn.comm.send(packet, self.rank, STREAM_TAG)?);
        Ok(())
    }

    /// Says goodbye; nothing that was not sent before is sent any more.
    pub(crate) fn say_bye(&mut self, comm: &Comm, why: &str) -> Result<(), MpiError> {
        if std::mem::replace(&mut self.said_bye, true) {
            return Ok(());
        }
        self.drop_unsent();
        let complaint = self.complaint.as_ref().map(|complaint| format!("it has given this end up: {complaint}"));
        let why = complaint.as_deref().unwrap_or(why);
        let mut packet = Vec::new();
        write_bye(&mut packet, std::mem::take(&mut self.credit) as u32, !self.dropped, why);
        self.stream.sending.push_back(comm.send(packet, self.rank, STREAM_TAG)?);
        Ok(())
    }

    /// Gives up what does not come any more.
    pub(crate) fn cancel(&mut self) {
        self.incoming.iter_mut().for_each(Intake::cancel);
    }
}
