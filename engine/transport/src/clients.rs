//! How a server reaches its clients: what a front has to do, whatever its connections are.

use crate::Wake;
use crate::content::Content;
use rain_model::graph::DataType;
use rain_model::id::ClientId;
use rain_protocol::client::{Fetch, HelloReply, Request, RequestError};
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

/// A whole frame on its way to a client.
pub struct ReplyFrame {
    /// Its beginning, or all of it.
    pub head: Vec<u8>,
    pub rest: Rest,
}

/// How a frame ends.
pub enum Rest {
    Nothing,
    /// Bytes that other frames may have, too.
    Shared(Arc<[u8]>),
    /// A range of content, which is read when its turn to be sent comes.
    Content(Arc<dyn Content>, Range<u64>),
}

impl ReplyFrame {
    /// Bytes.
    pub fn length(&self) -> u64 {
        let rest = match &self.rest {
            Rest::Nothing => 0,
            Rest::Shared(bytes) => bytes.len() as u64,
            Rest::Content(_, range) => range.end - range.start,
        };
        self.head.len() as u64 + rest
    }
}

impl From<Vec<u8>> for ReplyFrame {
    fn from(head: Vec<u8>) -> Self {
        Self { head, rest: Rest::Nothing }
    }
}

/// What happened at a front.
#[derive(Debug)]
pub enum FrontEvent {
    /// A client finished its handshake.
    Connected {
        client: ClientId,
        /// The client is on this machine, of the same user, and can open paths that the server names.
        local: bool,
        /// Interpreter for the client's Python tasks.
        python: Option<String>,
        /// What the client calls itself.
        name: String,
    },
    /// A connected client asks something (never `hello`).
    Request { client: ClientId, id: u64, request: Request },
    /// A connected client asks something that takes long to decode: its frame, length included.
    LargeRequest { client: ClientId, frame: Vec<u8> },
    /// A connected client is gone; nothing more comes from it and what is sent to it is dropped.
    Closed { client: ClientId },
    /// The front's wake was called.
    Woken,
}

/// Why a front cannot go on.
#[derive(Debug, thiserror::Error)]
#[error("cannot wait for clients: {0}")]
pub struct PollError(#[from] pub io::Error);

/// The server's side of all connections of clients. It lives on the server's thread, which sleeps in [`poll`](Clients::poll) and
/// nowhere else.
///
/// Requests are handed out one by one, so that what one of them makes the server send counts before the next is handed out:
/// a client with much output waiting is not listened to.
pub trait Clients {
    /// Ends a `poll`, from any thread.
    fn wake(&self) -> Wake;

    /// What a good handshake is answered with; `local` is filled in for each connection.
    fn set_greeting(&mut self, hello: HelloReply);

    /// Writes what waits to be written, and waits until there is something to do, or for `timeout` (`None`: as long as it takes).
    ///
    /// # Errors
    /// When the system cannot wait; nothing that a client does is an error here.
    fn poll(&mut self, timeout: Option<Duration>) -> Result<(), PollError>;

    /// The next thing that happened; `None`: nothing more before the next `poll`.
    fn next_event(&mut self) -> Option<FrontEvent>;

    /// Queues a frame; the next `poll` writes it.
    fn send(&mut self, client: ClientId, frame: ReplyFrame);

    /// Bytes that wait to be sent to a client.
    fn waiting_bytes(&self, client: ClientId) -> u64;

    /// Listens to a client no more until `go_on`, because a request of it has to be dealt with first.
    fn hold(&mut self, client: ClientId);

    /// Listens to a client again.
    fn go_on(&mut self, client: ClientId);

    /// Ends the connection of a client that does not keep to the protocol, with this error as its last reply.
    fn refuse(&mut self, client: ClientId, id: u64, error: RequestError);

    /// Takes no more clients, gives what waits up to `timeout` to get away, and closes everything.
    fn flush_and_close(&mut self, timeout: Duration);
}

/// Where content is found for clients that fetch it over connections of their own.
pub trait Contents: Send + Sync + 'static {
    /// The content that a client asks for.
    ///
    /// # Errors
    /// When it is not here, or cannot be read.
    fn find(&self, fetch: &Fetch) -> Result<Found, RequestError>;
}

/// The content of an object.
pub struct Found {
    pub data_type: DataType,
    pub content_type: Option<String>,
    pub content: Arc<dyn Content>,
}
