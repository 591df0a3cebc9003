//! A link: what two peers have to tell each other, over one connection after the other.

use super::connection::Connection;
use super::wire::{
    GREETING_BYTES_MAX, Hello, Place, RECORD_BYTES_MAX, Received, Record, Welcome, WireError, append_record, read,
    record,
};
use rain_core::id::GovernorId;
use rain_core::peer::Message;
use rain_transport::{Peer, Wake};
use rain_wire::lane::{LaneIn, LaneOut, Piece};
use rain_wire::message::{MessageError, lane_of};
use rain_wire::payload::Payload;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Content travels in pieces of this size, between which other messages can go.
const PIECE_BYTES: usize = 256 << 10;
/// A connection on which nothing is written for so long is shown to be alive.
const PING_AFTER: Duration = Duration::from_secs(1);
/// A connection on which nothing comes for so long is given up.
const SILENCE_MAX: Duration = Duration::from_secs(6);
/// How long a cut may last.
pub(super) const CUT_MAX: Duration = Duration::from_secs(4);
/// So many messages, or this time, are acknowledged together.
const ACKNOWLEDGE_AFTER: u64 = 64;

/// Which link of a peer: governors have one in each direction between them, so that none has to wait for the other to
/// agree who connects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LinkKey {
    pub(super) peer: Peer,
    /// The messages of this end go out on it.
    pub(super) out: bool,
}

/// What a turn of a link found, for the endpoint to carry out.
pub(super) enum Happened<D> {
    Message(Message<D>),
    Welcomed(Welcome),
    /// A governor asks where another one is.
    Asked(GovernorId),
    Located(GovernorId, Option<Place>),
}

/// Why a link has no connection any more.
pub(super) enum Broken {
    /// It may come back.
    Cut(String),
    /// It will not.
    Over(String),
}

impl From<WireError> for Broken {
    fn from(error: WireError) -> Self {
        Broken::Over(format!("what it sends is not Rain's protocol: {error}"))
    }
}

impl From<MessageError> for Broken {
    fn from(error: MessageError) -> Self {
        WireError::from(error).into()
    }
}

/// Records with the beginnings of messages, and with pieces of their contents, for each lane.
const HEADS: [Record; 2] = [Record::Head0, Record::Head1];
const PIECES: [Record; 2] = [Record::Piece0, Record::Piece1];

pub(super) struct Link<D: Payload> {
    out: [LaneOut; 2],
    incoming: [LaneIn<D>; 2],
    /// Which lane goes next when both have something.
    turn: usize,
    acknowledged: Received,
    pub(super) connection: Option<Connection>,
    /// Since when it has had no working connection, and why.
    pub(super) cut: Option<(Instant, String)>,
    /// Where to connect to, if this end does.
    pub(super) addresses: Vec<SocketAddr>,
    /// Which of them is next.
    pub(super) tries: usize,
    pub(super) retry_at: Option<Instant>,
    /// What a governor shows when it returns.
    pub(super) pass: u64,
    wake: Wake,
    place: D::Place,
}

impl<D: Payload> Link<D> {
    /// A link without a connection; `wake` wakes the thread that it lives on.
    pub(super) fn new(wake: Wake, place: D::Place) -> Self {
        Self {
            out: [LaneOut::default(), LaneOut::default()],
            incoming: [LaneIn::default(), LaneIn::default()],
            turn: 0,
            acknowledged: [0; 2],
            connection: None,
            cut: Some((Instant::now(), "no connection".to_owned())),
            addresses: Vec::new(),
            tries: 0,
            retry_at: None,
            pass: 0,
            wake,
            place,
        }
    }

    pub(super) fn push(&mut self, message: Message<D>) -> Result<(), String> {
        let lane = lane_of(&message);
        self.out[lane].push(message, &self.wake)
    }

    pub(super) fn received(&self) -> Received {
        [self.incoming[0].received(), self.incoming[1].received()]
    }

    /// Takes a connection into use whose other side has `received` so many messages; the rest is sent (again).
    pub(super) fn resume(&mut self, received: Received) -> Result<(), WireError> {
        for (lane, received) in self.out.iter_mut().zip(received) {
            lane.begin_again(received)?;
        }
        self.incoming.iter_mut().for_each(LaneIn::begin_again);
        self.acknowledged = self.received();
        self.cut = None;
        self.tries = 0;
        if let Some(connection) = &mut self.connection {
            connection.greeted = true;
        }
        Ok(())
    }

    /// Puts a connection that was just made into the link's place, with the first record for it.
    pub(super) fn connect(&mut self, mut connection: Connection, hello: &Hello) {
        connection.urgent = record(Record::Hello, hello);
        self.connection = Some(connection);
    }

    /// The connection is gone.
    pub(super) fn cut(&mut self, why: String) {
        self.connection = None;
        self.cut.get_or_insert_with(|| (Instant::now(), why));
        self.incoming.iter_mut().for_each(LaneIn::begin_again);
    }

    /// Everything that was sent was written.
    pub(super) fn is_flushed(&self) -> bool {
        let written = self.connection.as_ref().is_none_or(|connection| !connection.wants_write());
        written && self.out.iter().all(LaneOut::is_idle)
    }

    pub(super) fn urge(&mut self, record: &[u8]) {
        if let Some(connection) = &mut self.connection {
            connection.urgent.extend_from_slice(record);
        }
    }

    /// Whether all that is to be sent is content that another thread is still reading.
    pub(super) fn waits_for_content(&self) -> bool {
        let connection = self.connection.as_ref().is_none_or(|c| !c.readable && !c.wants_write());
        connection && self.out.iter().all(|lane| lane.is_idle() || lane.is_waiting())
    }

    /// Reads, unless `full`, and writes.
    pub(super) fn turn(&mut self, full: bool, happened: &mut Vec<Happened<D>>) -> Result<(), Broken> {
        let read = if full { Ok(()) } else { self.read(happened) };
        let whole = self.take_whole(happened);
        read.and(whole)?;
        self.acknowledge(ACKNOWLEDGE_AFTER);
        self.write()
    }

    fn read(&mut self, happened: &mut Vec<Happened<D>>) -> Result<(), Broken> {
        let Some(mut connection) = self.connection.take() else { return Ok(()) };
        let read = connection.read();
        let taken = self.take_records(&mut connection, happened);
        let ended = connection.has_ended();
        self.connection = Some(connection);
        taken?;
        read.map_err(|error| match error.kind() {
            // Of TLS: it is nobody of this cluster, or does not take us for one.
            std::io::ErrorKind::InvalidData => Broken::Over(error.to_string()),
            _ => Broken::Cut(error.to_string()),
        })?;
        if ended { Err(Broken::Cut("it closed the connection".to_owned())) } else { Ok(()) }
    }

    fn take_records(&mut self, connection: &mut Connection, happened: &mut Vec<Happened<D>>) -> Result<(), Broken> {
        loop {
            let max = if connection.greeted { RECORD_BYTES_MAX } else { GREETING_BYTES_MAX };
            let Some((kind, range)) = connection.next_record(max)? else { return Ok(()) };
            let body = connection.body(range);
            match (kind, connection.greeted) {
                (Record::Welcome, false) => {
                    let welcome: Welcome = read(body)?;
                    connection.greeted = true;
                    self.resume(welcome.received)?;
                    happened.push(Happened::Welcomed(welcome));
                }
                (Record::Refused, false) => {
                    let why: String = read(body)?;
                    return Err(Broken::Over(why));
                }
                (_, false) | (Record::Hello | Record::Welcome | Record::Refused, true) => {
                    return Err(WireError::Rule("a greeting at the wrong time".to_owned()).into());
                }
                (Record::Ping, true) => {}
                (Record::Ack, true) => {
                    let received: Received = read(body)?;
                    for (lane, count) in self.out.iter_mut().zip(received) {
                        lane.acknowledge(count)?;
                    }
                }
                (Record::Bye, true) => {
                    self.take_whole(happened)?;
                    return Err(Broken::Over("it has ended".to_owned()));
                }
                (Record::Where, true) => happened.push(Happened::Asked(read(body)?)),
                (Record::Address, true) => {
                    let (governor, place) = read(body)?;
                    happened.push(Happened::Located(governor, place));
                }
                (Record::Head0, true) => self.incoming[0].head(body, &self.place, &self.wake)?,
                (Record::Head1, true) => self.incoming[1].head(body, &self.place, &self.wake)?,
                (Record::Piece0, true) => self.incoming[0].piece(body, &self.wake)?,
                (Record::Piece1, true) => self.incoming[1].piece(body, &self.wake)?,
            }
        }
    }

    /// Hands on the messages that have come whole.
    fn take_whole(&mut self, happened: &mut Vec<Happened<D>>) -> Result<(), Broken> {
        for lane in &mut self.incoming {
            while let Some(message) = lane.take_whole() {
                let lost = |why| Broken::Over(format!("content that it sent could not be stored: {why}"));
                happened.push(Happened::Message(message.map_err(lost)?));
            }
        }
        Ok(())
    }

    /// Says what has come, if it is as much as `least`.
    pub(super) fn acknowledge(&mut self, least: u64) {
        let received = self.received();
        let more = received.iter().sum::<u64>() - self.acknowledged.iter().sum::<u64>();
        // Content is held by its sender until then.
        let content = received[1] > self.acknowledged[1];
        if let Some(connection) = &mut self.connection
            && connection.greeted
            && more > 0
            && (more >= least || content)
        {
            connection.urgent.extend(record(Record::Ack, &received));
            self.acknowledged = received;
        }
    }

    fn write(&mut self) -> Result<(), Broken> {
        let Some(connection) = &mut self.connection else { return Ok(()) };
        if !connection.writable {
            return Ok(());
        }
        let (out, turn, greeted) = (&mut self.out, &mut self.turn, connection.greeted);
        let written = connection.write(|batch| {
            if !greeted {
                return Ok(false);
            }
            for lane in [*turn, 1 - *turn] {
                match out[lane].next_piece(PIECE_BYTES)? {
                    Some(Piece::Head(head)) => append_record(HEADS[lane], head, batch),
                    Some(Piece::Content { source, range }) => {
                        append_record(PIECES[lane], source.bytes().get(range).unwrap_or_default(), batch);
                    }
                    None => continue,
                }
                *turn = 1 - lane;
                return Ok(true);
            }
            Ok(false)
        });
        written.map_err(|error| match error.kind() {
            std::io::ErrorKind::Other => Broken::Over(error.to_string()),
            _ => Broken::Cut(error.to_string()),
        })
    }

    /// Shows that this end lives, and finds out whether the other one does.
    pub(super) fn tick(&mut self, now: Instant, full: bool) -> Result<(), Broken> {
        self.acknowledge(1);
        let Some(connection) = &mut self.connection else { return Ok(()) };
        if full {
            // Nothing was read on purpose.
            connection.heard = now;
        }
        if now.saturating_duration_since(connection.heard) > SILENCE_MAX {
            return Err(Broken::Cut(format!("nothing was heard from it for {} s", SILENCE_MAX.as_secs())));
        }
        if connection.greeted
            && now.saturating_duration_since(connection.wrote) >= PING_AFTER
            && !connection.wants_write()
        {
            append_record(Record::Ping, &[], &mut connection.urgent);
        }
        Ok(())
    }
}
