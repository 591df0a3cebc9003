//! A link: what two peers have to tell each other, over one connection after the other.

use super::apart::{AHEAD_BYTES_MAX, write_apart, write_plain};
use super::connection::{Connection, TURN_BYTES_MAX};
use super::plain::{Pass, Plain, PlainError};
use super::wire::{
    GREETING_BYTES_MAX, Hello, RECORD_BYTES_MAX, Received, Record, Welcome, WireError, append_record, read, record,
};
use rain_io::IoThreads;
use rain_link::{Liveness, Patience, Verdict};
use rain_model::id::GovernorId;
use rain_protocol::peer::Message;
use rain_transport::{Peer, Place, Wake};
use rain_wire::lane::{LaneIn, LaneOut, Piece};
use rain_wire::message::{MessageError, lane_of};
use rain_wire::payload::Payload;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Content travels in pieces of this size, between which other messages can go.
const PIECE_BYTES: usize = 256 << 10;
/// So many messages, heads of so many bytes, or what came in this time, are acknowledged together.
const ACKNOWLEDGE_AFTER: u64 = 64;
const ACKNOWLEDGE_AFTER_BYTES: usize = 1 << 20;
const ACKNOWLEDGE_DELAY: Duration = Duration::from_millis(250);
/// After so many plain connections that broke with nothing achieved, content goes through TLS.
const PLAIN_FAILURES_MAX: u32 = 3;

/// Which link of a peer. Messages go both ways on each; two governors have a second one only when both connected at the same time, and
/// where content goes without encryption.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LinkKey {
    pub(super) peer: Peer,
    /// This end connects, or is the server.
    pub(super) out: bool,
}

/// What a turn of a link found, for the endpoint to carry out.
pub(super) enum Happened<D> {
    Message(Message<D>),
    Welcomed(Welcome),
    /// A governor asks where another one is.
    Asked(GovernorId),
    Located(GovernorId, Option<Place>),
    /// A governor asks that this one connects to it, as it cannot connect itself.
    Unreachable(GovernorId),
    /// This governor, which is at this place, cannot connect to this end.
    Summoned(GovernorId, Place),
}

/// Why a link has no connection any more.
pub(super) enum Broken {
    /// The connection was closed or failed; the peer may come back.
    Cut(String),
    /// Nothing came on it; the peer may come back.
    Silent(String),
    /// The peer is lost: it will not come back.
    Over(String),
}

impl Broken {
    /// What the system says of a connection.
    fn by_system(error: &std::io::Error) -> Self {
        use std::io::ErrorKind::{HostUnreachable, NetworkDown, NetworkUnreachable, TimedOut};
        match error.kind() {
            HostUnreachable | NetworkDown | NetworkUnreachable | TimedOut => Broken::Silent(error.to_string()),
            _ => Broken::Cut(error.to_string()),
        }
    }
}

impl From<WireError> for Broken {
    fn from(error: WireError) -> Self {
        Broken::Over(format!("what it sends is not Rain's protocol: {error}"))
    }
}

impl From<MessageError> for Broken {
    fn from(error: MessageError) -> Self {
        match error {
            // It is sent again then.
            MessageError::Checksum => Broken::Cut(error.to_string()),
            error => WireError::from(error).into(),
        }
    }
}

/// Records with the beginnings of messages, and with pieces of their contents, for each lane.
const HEADS: [Record; 2] = [Record::Head0, Record::Head1];
const PIECES: [Record; 2] = [Record::Piece0, Record::Piece1];
const SPOILED: [Record; 2] = [Record::Spoiled0, Record::Spoiled1];

/// Whether content goes through a plain connection.
pub(super) enum PlainPath {
    /// Through TLS.
    Absent,
    /// The other side has told this pass; nothing was opened yet.
    Offered(Pass),
    /// Content waits for it to be opened.
    Wanted(Pass),
    Open(Plain),
}

pub(super) struct Link<D: Payload> {
    out: [LaneOut; 2],
    incoming: [LaneIn<D>; 2],
    /// Which lane goes next when both have something.
    turn: usize,
    acknowledged: Received,
    /// Bytes of heads that came since then.
    unacknowledged_bytes: usize,
    liveness: Liveness,
    /// From when on its times count.
    begin: Instant,
    pub(super) plain: PlainPath,
    plain_failures: u32,
    /// Bytes of heads written since something of that lane was acknowledged.
    ahead_bytes: usize,
    /// How many of its messages were.
    sent_content: u64,
    pub(super) connection: Option<Connection>,
    /// The other side was asked to connect to this one.
    pub(super) summoned: bool,
    /// Whether messages of an earlier link to the same peer go through this one.
    pub(super) has_taken_over: bool,
    /// The name of its host, which a governor tells the server; for people.
    pub(super) host: String,
    /// Where to connect to, if this end does.
    pub(super) addresses: Vec<SocketAddr>,
    /// Which of them is next.
    pub(super) tries: usize,
    pub(super) retry_at: Option<Instant>,
    /// What a governor shows when it returns.
    pub(super) pass: u64,
    /// Nothing is read, as enough waits to be stored.
    stalled: bool,
}

impl<D: Payload> Link<D> {
    /// A link without a connection. `io` reads content and stores it at `place`; `wake` wakes the thread that the link lives on.
    pub(super) fn new(io: &IoThreads, wake: &Wake, place: &D::Place) -> Self {
        Self {
            out: [0; 2].map(|_| LaneOut::new(io.clone(), wake.clone(), PIECE_BYTES)),
            incoming: [0; 2].map(|_| LaneIn::new(io.clone(), place.clone(), wake.clone())),
            turn: 0,
            acknowledged: [0; 2],
            unacknowledged_bytes: 0,
            liveness: Liveness::new(Duration::ZERO),
            begin: Instant::now(),
            plain: PlainPath::Absent,
            plain_failures: 0,
            ahead_bytes: 0,
            sent_content: 0,
            connection: None,
            summoned: false,
            has_taken_over: false,
            host: String::new(),
            addresses: Vec::new(),
            tries: 0,
            retry_at: None,
            pass: 0,
            stalled: false,
        }
    }

    pub(super) fn push(&mut self, message: Message<D>) -> Result<(), String> {
        let lane = lane_of(&message);
        self.out[lane].push(message)
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
        (self.unacknowledged_bytes, self.ahead_bytes) = (0, 0);
        self.liveness.greet(self.begin.elapsed());
        self.tries = 0;
        if let Some(connection) = &mut self.connection {
            connection.greeted = true;
        }
        Ok(())
    }

    /// Puts a connection that was just made into the link's place, with the first record for it.
    pub(super) fn connect(&mut self, mut connection: Connection, hello: &Hello) {
        connection.urgent = record(Record::Hello, hello);
        self.liveness.connect(self.begin.elapsed());
        self.connection = Some(connection);
    }

    /// The connection is gone; `silent` if this end has given it up because nothing came.
    pub(super) fn cut(&mut self, why: String, silent: bool) {
        self.connection = None;
        if matches!(self.plain, PlainPath::Open(_)) && self.out[1].held_bytes() > 0 {
            // Perhaps because of it: the other side closes both when content does not come as it should.
            self.plain_failures += 1;
        }
        self.plain = PlainPath::Absent;
        self.liveness.cut(self.begin.elapsed(), why, silent);
        self.incoming.iter_mut().for_each(LaneIn::begin_again);
    }

    /// This end did nothing for so long until now.
    pub(super) fn slept(&mut self, now: Instant, pause: Duration) {
        let time = self.time(now);
        self.liveness.slept(time, pause);
    }

    /// A moment, as the decisions about the peer count it.
    fn time(&self, moment: Instant) -> Duration {
        moment.saturating_duration_since(self.begin)
    }

    /// Whether it has had a working connection.
    pub(super) fn was_greeted(&self) -> bool {
        self.liveness.was_greeted()
    }

    /// Why it is lost now, if it is.
    pub(super) fn lost(&self, now: Instant, patience: Patience) -> Option<String> {
        self.liveness.lost(self.time(now), patience)
    }

    /// Why it is lost, with the name of its host where that is known.
    pub(super) fn with_host(&self, why: String) -> String {
        if self.host.is_empty() { why } else { format!("{}: {why}", self.host) }
    }

    /// Takes over what is to be sent from a link to the same peer that has never had a connection.
    pub(super) fn take_over(&mut self, other: Self) {
        self.has_taken_over = true;
        self.out = other.out;
    }

    /// Everything that was sent was written.
    pub(super) fn is_flushed(&self) -> bool {
        let written = self.connection.as_ref().is_none_or(|connection| !connection.wants_write());
        let plain = !matches!(&self.plain, PlainPath::Open(plain) if plain.is_busy());
        written && plain && self.out.iter().all(LaneOut::is_idle)
    }

    /// Whether everything that was sent has been acknowledged, or at least written.
    pub(super) fn is_idle(&self) -> bool {
        self.out.iter().all(LaneOut::is_idle)
    }

    /// Writes a record before all messages; false when there is no connection for it.
    pub(super) fn urge(&mut self, record: &[u8]) -> bool {
        let Some(connection) = self.connection.as_mut().filter(|connection| connection.greeted) else { return false };
        connection.urgent.extend_from_slice(record);
        true
    }

    /// Whether there is something to do without waiting for the system, another thread or the other side.
    pub(super) fn has_more(&self, full: bool) -> bool {
        let Some(connection) = &self.connection else { return false };
        if let PlainPath::Open(plain) = &self.plain
            && (plain.can_send()
                || (plain.writable && plain.wants_piece() && !self.out[1].is_waiting())
                || (plain.readable && !full && !self.stalled && self.incoming[1].awaits_content()))
        {
            return true;
        }
        if (connection.readable && !full && !self.stalled) || (connection.writable && connection.wants_write()) {
            return true;
        }
        let goes = |lane: &LaneOut| !lane.is_idle() && !lane.is_waiting();
        connection.writable && connection.greeted && (goes(&self.out[0]) || (goes(&self.out[1]) && !self.is_held_up()))
    }

    /// Whether lane 1 waits for the plain connection.
    fn is_held_up(&self) -> bool {
        match &self.plain {
            PlainPath::Absent | PlainPath::Offered(_) => false,
            PlainPath::Wanted(_) => true,
            PlainPath::Open(plain) => plain.is_opened_here() && (plain.is_busy() || self.ahead_bytes > AHEAD_BYTES_MAX),
        }
    }

    /// The other side takes a plain connection with this pass.
    fn offer_plain(&mut self, pass: Option<Pass>) {
        self.plain = match pass {
            Some(pass) if self.plain_failures < PLAIN_FAILURES_MAX => PlainPath::Offered(pass),
            Some(_) => {
                tracing::warn!("data connections break again and again: content goes through TLS");
                PlainPath::Absent
            }
            None => PlainPath::Absent,
        };
    }

    /// A plain connection that the other side has opened; `me` and `peer` are for errors.
    pub(super) fn accept_plain(&mut self, plain: Plain, peer: &str, me: &str) {
        self.incoming[1].set_route(plain.route(peer, me));
        self.plain = PlainPath::Open(plain);
    }

    /// Content goes through TLS from now on; nothing of it has gone another way.
    pub(super) fn give_up_plain(&mut self, why: &str) {
        tracing::warn!("cannot open a data connection, so content goes through TLS: {why}");
        self.plain = PlainPath::Absent;
    }

    fn plain_error(&mut self, error: PlainError) -> Result<(), Broken> {
        match error {
            PlainError::NotOpened(why) => {
                self.give_up_plain(&why);
                Ok(())
            }
            PlainError::Broken(why) => Err(Broken::Cut(format!("the data connection: {why}"))),
        }
    }

    /// Reads, unless `full`, and writes.
    pub(super) fn turn(&mut self, full: bool, happened: &mut Vec<Happened<D>>) -> Result<(), Broken> {
        let read = if full { Ok(()) } else { self.read(happened).and_then(|()| self.read_plain()) };
        let whole = self.take_whole(happened);
        read.and(whole)?;
        self.acknowledge(ACKNOWLEDGE_AFTER);
        self.write()
    }

    fn read(&mut self, happened: &mut Vec<Happened<D>>) -> Result<(), Broken> {
        let Some(mut connection) = self.connection.take() else { return Ok(()) };
        self.stalled = self.incoming.iter_mut().any(LaneIn::is_full);
        let read = if self.stalled { Ok(()) } else { connection.read() };
        let taken = self.take_records(&mut connection, happened);
        // What has come before its end may not be taken yet.
        let ended = connection.has_ended() && !self.stalled;
        self.liveness.heard(connection.heard.saturating_duration_since(self.begin));
        self.connection = Some(connection);
        taken?;
        read.map_err(|error| match error.kind() {
            // Of TLS: it is nobody of this cluster, or does not take us for one.
            std::io::ErrorKind::InvalidData => Broken::Over(error.to_string()),
            _ => Broken::by_system(&error),
        })?;
        if ended { Err(Broken::Cut("it closed the connection".to_owned())) } else { Ok(()) }
    }

    fn take_records(&mut self, connection: &mut Connection, happened: &mut Vec<Happened<D>>) -> Result<(), Broken> {
        loop {
            self.stalled = self.incoming.iter_mut().any(LaneIn::is_full);
            if self.stalled {
                return Ok(());
            }
            let max = if connection.greeted { RECORD_BYTES_MAX } else { GREETING_BYTES_MAX };
            let Some((kind, range)) = connection.next_record(max)? else { return Ok(()) };
            let body = connection.body(range);
            match (kind, connection.greeted) {
                (Record::Welcome, false) => {
                    let welcome: Welcome = read(body)?;
                    connection.greeted = true;
                    self.resume(welcome.received)?;
                    self.offer_plain(welcome.plain);
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
                        if lane.acknowledge(count)? > 0 {
                            self.liveness.acknowledged(self.begin.elapsed());
                        }
                    }
                    if received[1] > self.sent_content {
                        (self.sent_content, self.ahead_bytes, self.plain_failures) = (received[1], 0, 0);
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
                (Record::Unreachable, true) => happened.push(Happened::Unreachable(read(body)?)),
                (Record::Summon, true) => {
                    let (governor, place) = read(body)?;
                    happened.push(Happened::Summoned(governor, place));
                }
                (Record::Head0 | Record::Head1 | Record::HeadApart, true) => {
                    self.unacknowledged_bytes += body.len();
                    match kind {
                        Record::Head0 => self.incoming[0].head(body)?,
                        Record::Head1 => self.incoming[1].head(body)?,
                        _ => self.incoming[1].head_apart(body)?,
                    }
                }
                (Record::Piece0, true) => self.incoming[0].piece(body)?,
                (Record::Piece1, true) => self.incoming[1].piece(body)?,
                (Record::Checksum, true) => self.incoming[1].checksum(read(body)?)?,
                (Record::Spoiled0, true) => self.incoming[0].spoil(None, read(body)?)?,
                (Record::Spoiled1, true) => self.incoming[1].spoil(None, read(body)?)?,
                (Record::SpoiledApart, true) => {
                    self.incoming[1].spoil_apart(read(body)?)?;
                }
            }
        }
    }

    /// Reads content from the plain connection, up to a bound.
    fn read_plain(&mut self) -> Result<(), Broken> {
        let PlainPath::Open(plain) = &mut self.plain else { return Ok(()) };
        if let Err(error) = plain.check_open() {
            return self.plain_error(error);
        }
        let mut left = TURN_BYTES_MAX;
        while plain.readable && left > 0 && self.incoming[1].awaits_content() {
            if self.incoming[1].is_full() {
                self.stalled = true;
                return Ok(());
            }
            match self.incoming[1].fill(|buffer| plain.read(buffer))? {
                Ok(count) => left = left.saturating_sub(count),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(Broken::Cut(format!("the data connection: {error}"))),
            }
        }
        Ok(())
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
            && (more >= least || content || self.unacknowledged_bytes >= ACKNOWLEDGE_AFTER_BYTES)
        {
            self.unacknowledged_bytes = 0;
            connection.urgent.extend(record(Record::Ack, &received));
            self.acknowledged = received;
        }
    }

    /// Writes up to a bound. Content may be written through both connections in turn, if it is in many small parts.
    fn write(&mut self) -> Result<(), Broken> {
        let mut left = TURN_BYTES_MAX;
        loop {
            let Some(connection) = &mut self.connection else { return Ok(()) };
            if let PlainPath::Open(plain) = &mut self.plain {
                match write_plain(&mut self.out[1], plain, &mut left) {
                    Ok(None) => {}
                    Ok(Some(Ok(checksum))) => connection.urgent.extend(record(Record::Checksum, &checksum)),
                    Ok(Some(Err(why))) => connection.urgent.extend(record(Record::SpoiledApart, &why)),
                    Err(error) => self.plain_error(error)?,
                }
            }
            self.write_tls()?;
            if left == 0 || !matches!(&self.plain, PlainPath::Open(plain) if plain.can_send()) {
                return Ok(());
            }
        }
    }

    /// Writes what goes through TLS, and begins content that goes through the plain connection.
    fn write_tls(&mut self) -> Result<(), Broken> {
        let Some(connection) = self.connection.as_mut().filter(|connection| connection.writable) else { return Ok(()) };
        let greeted = connection.greeted;
        let wrote = connection.wrote;
        // Pings, which are written while everything else waits for acknowledgements, are no progress.
        let waits = self.out.iter().all(|lane| lane.is_idle() || lane.is_waiting()) && !connection.tls.wants_write();
        let (out, turn, plain, ahead) = (&mut self.out, &mut self.turn, &mut self.plain, &mut self.ahead_bytes);
        let written = connection.write(|batch| {
            if !greeted {
                return Ok(false);
            }
            for lane in [*turn, 1 - *turn] {
                let written = match plain {
                    PlainPath::Open(plain) if lane == 1 && plain.is_opened_here() => {
                        write_apart(&mut out[1], plain, ahead, batch)?
                    }
                    PlainPath::Wanted(_) if lane == 1 => false,
                    PlainPath::Offered(pass) if lane == 1 && out[1].is_large_next()? => {
                        *plain = PlainPath::Wanted(*pass);
                        false
                    }
                    _ => match out[lane].next_piece()? {
                        Some(Piece::Head(head)) => batch.record(HEADS[lane], head).map(|()| true)?,
                        Some(Piece::Content { bytes: Ok(bytes), .. }) => {
                            batch.record(PIECES[lane], &bytes)?;
                            out[lane].give_back(bytes);
                            true
                        }
                        Some(Piece::Content { bytes: Err(why), .. }) => {
                            out[lane].abandon_content();
                            batch.append(&record(SPOILED[lane], &why));
                            true
                        }
                        None => false,
                    },
                };
                if written {
                    *turn = 1 - lane;
                    return Ok(true);
                }
            }
            Ok(false)
        });
        if connection.wrote != wrote {
            self.liveness.wrote(connection.wrote.saturating_duration_since(self.begin), !waits);
        }
        written.map_err(|error| match error.kind() {
            std::io::ErrorKind::Other => Broken::Over(error.to_string()),
            _ => Broken::by_system(&error),
        })
    }

    /// Shows that this end lives, and finds out whether the other one does.
    pub(super) fn tick(&mut self, now: Instant, full: bool, patience: Patience) -> Result<(), Broken> {
        self.acknowledge(1);
        if let PlainPath::Open(plain) = &self.plain
            && let Err(error) = plain.tick(now)
        {
            self.plain_error(error)?;
        }
        let held: usize = self.out.iter().map(LaneOut::held_bytes).sum();
        let time = self.time(now);
        let Some(connection) = &mut self.connection else { return Ok(()) };
        if full || self.stalled {
            self.liveness.paused(time);
        }
        match self.liveness.tick(time, patience, held, connection.wants_write()) {
            Verdict::Nothing => {}
            Verdict::Ping => append_record(Record::Ping, &[], &mut connection.urgent),
            Verdict::Silent(why) => return Err(Broken::Silent(why)),
            Verdict::Stuck(why) => return Err(Broken::Over(why)),
        }
        Ok(())
    }

    /// When `tick` has to be called, if nothing else happens.
    pub(super) fn due(&self, now: Instant, patience: Patience) -> Instant {
        let Some(connection) = &self.connection else {
            let lost = self.liveness.lost_at(patience).map_or(now, |at| self.begin + at);
            return self.retry_at.map_or(lost, |at| at.min(lost));
        };
        let mut due = self.begin + self.liveness.due(self.time(now), patience, connection.wants_write());
        if self.received() != self.acknowledged {
            due = due.min(now + ACKNOWLEDGE_DELAY);
        }
        if let PlainPath::Open(plain) = &self.plain
            && let Some(at) = plain.due()
        {
            due = due.min(at);
        }
        due
    }
}
