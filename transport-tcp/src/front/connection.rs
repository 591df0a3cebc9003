//! One connection of a client.

use super::inbox::{self, Inbox};
use super::outbox::Outbox;
use super::socket::{Peer, Socket};
use super::{FrontEvent, Listener, handshake};
use rain_model::id::ClientId;
use rain_protocol::client::{HelloReply, Request, RequestError, decode_request, ok_frame};
use rain_protocol::msgpack::{FRAME_BYTES_MAX, FRAME_BYTES_MAX_BEFORE_HELLO, FrameError};
use std::io;

/// Bytes read from one connection before the others get their turn.
const TURN_BYTES_MAX: usize = 1 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Its handshake has not come.
    Ungreeted,
    /// It may send requests.
    Open,
    /// It was refused; the rest of its input is thrown away.
    Lingering,
}

/// How a turn of reading ended.
pub(super) enum Turn {
    /// The connection stays; `readable` says whether there may be more to read.
    GoOn,
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
    /// It stands in the line of those that are to be read.
    pub(super) scheduled: bool,
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

    /// Writes what can be written now.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        let had_output = !self.outbox.is_empty();
        self.socket.flush()?;
        self.outbox.flush(&mut self.socket)?;
        if self.stage == Stage::Lingering && had_output && self.outbox.is_empty() {
            self.socket.shut_output();
        }
        Ok(())
    }

    /// From now on only `last_frame` goes out, and what comes in is thrown away.
    ///
    /// Closing at once would lose `last_frame`: a TCP socket closed with unread input resets the connection.
    pub(super) fn start_lingering(&mut self, last_frame: Vec<u8>) {
        self.stage = Stage::Lingering;
        self.inbox = Inbox::default();
        self.outbox.push(last_frame);
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

    /// Reads up to a bound and hands on the frames that are whole.
    pub(super) fn read_turn(
        &mut self,
        client: ClientId,
        token: &str,
        greeting: &HelloReply,
        scratch: &mut [u8],
        events: &mut Vec<FrontEvent>,
    ) -> Turn {
        let mut taker = FrameTaker { client, token, greeting, events };
        let mut left = TURN_BYTES_MAX;
        while left > 0 {
            let read = match self.stage {
                Stage::Lingering => Ok(self.socket.read(scratch)),
                Stage::Ungreeted | Stage::Open => self.read_frames(&mut taker, scratch),
            };
            match read {
                Ok(Ok(0)) => return Turn::Gone,
                Ok(Ok(count)) => left = left.saturating_sub(count),
                Ok(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.readable = false;
                    return Turn::GoOn;
                }
                Ok(Err(_)) => return Turn::Gone,
                Err(refusal) => return Turn::Refuse(refusal),
            }
        }
        Turn::GoOn
    }

    /// One read: straight into the frame that has begun, or else into `scratch`, from which whole frames are taken.
    fn read_frames(&mut self, taker: &mut FrameTaker<'_>, scratch: &mut [u8]) -> Result<io::Result<usize>, Refusal> {
        if !self.inbox.is_empty() {
            let max = self.frame_bytes_max();
            let read = self.inbox.read_more(&mut self.socket, max)?;
            if let Some(frame) = self.inbox.take_whole(max)? {
                self.take_frame(taker, inbox::body(&frame))?;
            }
            return Ok(read);
        }
        let read = self.socket.read(scratch);
        if let Ok(count) = read {
            let mut rest = scratch.get(..count).unwrap_or_default();
            while let Some((body, after)) = inbox::split_frame(rest, self.frame_bytes_max())? {
                self.take_frame(taker, body)?;
                rest = after;
            }
            self.inbox.keep(rest);
        }
        Ok(read)
    }

    fn frame_bytes_max(&self) -> usize {
        match self.stage {
            Stage::Open => FRAME_BYTES_MAX,
            Stage::Ungreeted | Stage::Lingering => FRAME_BYTES_MAX_BEFORE_HELLO,
        }
    }

    fn take_frame(&mut self, taker: &mut FrameTaker<'_>, body: &[u8]) -> Result<(), Refusal> {
        let (id, request) = decode_request(body)?;
        let client = taker.client;
        let refuse = |error| Refusal { id, error };
        match (self.stage, request) {
            (Stage::Ungreeted, Request::Hello(hello)) => {
                let local = self.listener == Listener::Unix;
                let needs_token = self.listener == Listener::Tcp;
                handshake::check(&hello, needs_token.then_some(taker.token)).map_err(refuse)?;
                self.stage = Stage::Open;
                self.outbox.push(ok_frame(id, &HelloReply { local, ..taker.greeting.clone() }));
                taker.events.push(FrontEvent::Connected { client, local, python: hello.python, name: hello.client });
            }
            (Stage::Ungreeted, _) => return Err(refuse(RequestError::protocol("the first request must be hello"))),
            (_, Request::Hello(_)) => return Err(refuse(RequestError::protocol("hello was said before"))),
            (_, request) => taker.events.push(FrontEvent::Request { client, id, request }),
        }
        Ok(())
    }
}

/// Where the frames of a connection go.
struct FrameTaker<'a> {
    client: ClientId,
    token: &'a str,
    greeting: &'a HelloReply,
    events: &'a mut Vec<FrontEvent>,
}

#[cfg(test)]
impl Connection {
    pub(super) fn inbox_capacity(&self) -> usize {
        self.inbox.capacity()
    }
}
