//! One connection of a client.

use super::handshake;
use super::inbox::Inbox;
use super::listener::Listener;
use super::outbox::{Flushed, Outbox};
use super::socket::{Peer, Socket};
use rain_model::id::ClientId;
use rain_protocol::client::{HelloReply, Request, RequestError, decode_request, ok_frame};
use rain_protocol::msgpack::{FRAME_BYTES_MAX, FRAME_BYTES_MAX_BEFORE_HELLO, FrameError};
use rain_transport::clients::FrontEvent;
use std::io;

/// A connection with more output waiting than this is not read from.
pub const OUTPUT_BYTES_HIGH: u64 = 8 << 20;
/// Bytes read from one connection before the others get their turn,
const TURN_BYTES_MAX: usize = 1 << 20;
/// and requests.
const TURN_REQUESTS_MAX: u32 = 64;
/// Frames of this size take long to decode.
const LARGE_FRAME_BYTES: usize = 1 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Its handshake has not come.
    Ungreeted,
    /// It may send requests.
    Open,
    /// It was refused; the rest of its input is thrown away.
    Lingering,
}

/// What a connection has come to.
pub(super) enum Step {
    Event(FrontEvent),
    /// There may be more, but others are to get their turn.
    TurnIsOver,
    /// There is nothing more for now.
    Idle,
    /// The peer broke the rules.
    Refuse(Refusal),
    /// The peer is gone.
    Gone,
}

/// What a refused peer is answered.
pub(super) struct Refusal {
    pub(super) id: u64,
    pub(super) error: RequestError,
}

impl From<FrameError> for Refusal {
    fn from(error: FrameError) -> Self {
        Self { id: 0, error: RequestError::protocol(error.to_string()) }
    }
}

pub(super) struct Connection {
    socket: Socket,
    pub(super) peer: Peer,
    pub(super) listener: Listener,
    stage: Stage,
    inbox: Inbox,
    pub(super) outbox: Outbox,
    /// There may be something to read.
    pub(super) readable: bool,
    /// Whether the connection stands in the line of those that are to be read.
    pub(super) scheduled: bool,
    /// Whether the connection stands in the line of those that are to be written to.
    pub(super) dirty: bool,
    /// Whether the connection is not to be read for now.
    pub(super) held: bool,
    /// What is left of its turn to be read.
    turn: ReadTurn,
}

struct ReadTurn {
    bytes: usize,
    requests: u32,
}

impl Default for ReadTurn {
    fn default() -> Self {
        Self { bytes: TURN_BYTES_MAX, requests: TURN_REQUESTS_MAX }
    }
}

impl Connection {
    pub(super) fn new(socket: Socket, peer: Peer, listener: Listener) -> Self {
        Self {
            socket,
            peer,
            listener,
            stage: Stage::Ungreeted,
            inbox: Inbox::default(),
            outbox: Outbox::default(),
            readable: false,
            scheduled: false,
            dirty: false,
            held: false,
            turn: ReadTurn::default(),
        }
    }

    pub(super) fn is_ungreeted(&self) -> bool {
        self.stage == Stage::Ungreeted
    }

    pub(super) fn is_open(&self) -> bool {
        self.stage == Stage::Open
    }

    pub(super) fn is_lingering(&self) -> bool {
        self.stage == Stage::Lingering
    }

    /// Whether there is something that was not written.
    pub(super) fn has_output(&self) -> bool {
        !self.outbox.is_empty() || self.socket.has_output()
    }

    /// Whether a request may have come that was not taken.
    pub(super) fn has_input(&self) -> bool {
        self.readable || !self.inbox.is_empty()
    }

    /// Whether requests may be taken from it now.
    pub(super) fn may_be_read(&self) -> bool {
        !self.held && self.outbox.byte_count() <= OUTPUT_BYTES_HIGH
    }

    /// Writes what can be written now.
    pub(super) fn flush(&mut self) -> io::Result<Flushed> {
        let had_output = !self.outbox.is_empty();
        self.socket.flush()?;
        let flushed = self.outbox.flush(&mut self.socket)?;
        if self.stage == Stage::Lingering && had_output && self.outbox.is_empty() {
            self.socket.shut_output();
        }
        Ok(flushed)
    }

    /// From now on only `last_frame` goes out, and what comes in is thrown away.
    ///
    /// Closing at once would lose `last_frame`: a TCP socket closed with unread input resets the connection.
    pub(super) fn start_lingering(&mut self, last_frame: Vec<u8>) {
        self.stage = Stage::Lingering;
        self.inbox = Inbox::default();
        self.outbox.push(last_frame.into());
    }

    /// Ends the output and throws the input away that has come.
    pub(super) fn hang_up(&mut self, scratch: &mut [u8]) {
        self.socket.shut_output();
        let mut left = TURN_BYTES_MAX;
        while let Ok(count) = self.socket.read(scratch)
            && count > 0
            && left > 0
        {
            left = left.saturating_sub(count);
        }
    }

    /// The next request, from what has come or through one read after the other.
    pub(super) fn step(&mut self, client: ClientId, token: &str, greeting: &HelloReply, scratch: &mut [u8]) -> Step {
        loop {
            if self.turn.bytes == 0 || self.turn.requests == 0 {
                self.turn = ReadTurn::default();
                return Step::TurnIsOver;
            }
            if self.stage != Stage::Lingering {
                match self.take_frame(client, token, greeting) {
                    Ok(Some(event)) => {
                        self.turn.requests -= 1;
                        return Step::Event(event);
                    }
                    Ok(None) => {}
                    Err(refusal) => return Step::Refuse(refusal),
                }
            }
            if !self.readable {
                return Step::Idle;
            }
            let max = self.frame_bytes_max();
            let read = match self.stage {
                Stage::Lingering => Ok(self.socket.read(scratch)),
                Stage::Ungreeted | Stage::Open => self.inbox.read(&mut self.socket, scratch, max),
            };
            match read {
                Ok(Ok(0)) => return Step::Gone,
                Ok(Ok(count)) => self.turn.bytes = self.turn.bytes.saturating_sub(count),
                Ok(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => self.readable = false,
                Ok(Err(_)) => return Step::Gone,
                Err(error) => return Step::Refuse(error.into()),
            }
        }
    }

    fn frame_bytes_max(&self) -> usize {
        match self.stage {
            Stage::Open => FRAME_BYTES_MAX,
            Stage::Ungreeted | Stage::Lingering => FRAME_BYTES_MAX_BEFORE_HELLO,
        }
    }

    /// The event that the next frame is, if it has come whole.
    fn take_frame(
        &mut self,
        client: ClientId,
        token: &str,
        greeting: &HelloReply,
    ) -> Result<Option<FrontEvent>, Refusal> {
        enum Taken {
            Request(u64, Request),
            Large(Vec<u8>),
        }
        let take = |body: &[u8]| decode_request(body).map(|(id, request)| Taken::Request(id, request));
        let max = self.frame_bytes_max();
        let taken = self.inbox.take_frame(max, LARGE_FRAME_BYTES, take, |frame| Ok(Taken::Large(frame)))?;
        let (id, request) = match taken.transpose()? {
            None => return Ok(None),
            Some(Taken::Large(frame)) => return Ok(Some(FrontEvent::LargeRequest { client, frame })),
            Some(Taken::Request(id, request)) => (id, request),
        };
        let refuse = |error| Refusal { id, error };
        Ok(Some(match (self.stage, request) {
            (Stage::Ungreeted, Request::Hello(hello)) => {
                let local = self.listener == Listener::Unix;
                let needs_token = self.listener == Listener::Tcp;
                handshake::check(&hello, needs_token.then_some(token)).map_err(refuse)?;
                self.stage = Stage::Open;
                self.outbox.push(ok_frame(id, &HelloReply { local, ..greeting.clone() }).into());
                FrontEvent::Connected { client, local, python: hello.python, name: hello.client }
            }
            (Stage::Ungreeted, _) => return Err(refuse(RequestError::protocol("the first request must be hello"))),
            (_, Request::Hello(_)) => return Err(refuse(RequestError::protocol("hello was said before"))),
            (_, request) => FrontEvent::Request { client, id, request },
        }))
    }
}

#[cfg(test)]
impl Connection {
    pub(super) fn inbox_capacity(&self) -> usize {
        self.inbox.capacity()
    }
}
