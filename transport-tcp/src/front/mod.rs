//! The server's front for clients: accepts connections, checks handshakes, reads requests and writes replies.
//!
//! A [`ClientFront`] lives on the server's thread and never blocks but in [`ClientFront::poll`]. What strangers can cost
//! is bounded: connections without a finished handshake are limited in number and time, a frame costs no more memory
//! than the bytes of it that have come, and whatever does not parse is answered with an error and closed.

mod connection;
mod handshake;
mod inbox;
mod outbox;
mod socket;
#[cfg(test)]
mod tests;
mod tls;

use crate::log_budget::LogBudget;
use connection::{Connection, Turn};
use crossbeam_channel::Receiver;
use mio::net::{TcpListener, UnixListener};
use mio::{Events, Interest, Poll, Token, Waker};
use outbox::Outbox;
use rain_model::id::ClientId;
use rain_protocol::client::{HelloReply, Request, RequestError, error_frame};
use rain_protocol::msgpack::PROTOCOL_VERSION;
pub(crate) use socket::concerns_one_connection;
use socket::{Peer, Socket};
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
pub use tls::{FrontSocket, TlsClients};

/// Connections without a finished handshake, for each listener; past it the oldest is dropped.
pub const UNGREETED_CONNECTIONS_MAX: usize = 256;
/// How long a connection may take for its handshake.
pub const HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(10);
/// A connection with more output waiting than this is not read from.
pub const OUTPUT_BYTES_HIGH: usize = 64 << 20;

/// How long a refused connection is kept so that its peer can read why.
const LINGER_TIME_MAX: Duration = Duration::from_secs(2);
/// Refused connections kept at once; past it the oldest is dropped.
const LINGERING_CONNECTIONS_MAX: usize = 64;
/// Accepts in one turn and listener.
const ACCEPTS_PER_TURN_MAX: usize = 64;
/// When accepting failed for want of descriptors, it is tried again after this.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(100);
const SCRATCH_BYTES: usize = 256 << 10;

const WAKER: Token = Token(0);
const TCP_LISTENER: Token = Token(1);
const UNIX_LISTENER: Token = Token(2);
const FIRST_CLIENT_TOKEN: usize = 3;

/// Where clients can come from.
pub struct FrontConfig {
    /// A bound listener; it is made non-blocking.
    pub tcp: Option<std::net::TcpListener>,
    /// Path at which a Unix socket is made; it is removed when the front goes.
    pub socket_path: Option<PathBuf>,
    /// What a client must show over TCP.
    pub token: String,
}

/// What happened at the front.
#[derive(Debug)]
pub enum FrontEvent {
    /// A client finished its handshake.
    Connected {
        client: ClientId,
        /// It came through the Unix socket and can open paths that the server names.
        local: bool,
        /// Interpreter for the client's Python tasks.
        python: Option<String>,
        /// What the client calls itself.
        name: String,
    },
    /// A connected client asks something (never `hello`).
    Request { client: ClientId, id: u64, request: Request },
    /// A connected client is gone; nothing more comes from it and what is sent to it is dropped.
    Closed { client: ClientId },
    /// The waker was used.
    Woken,
}

/// Why the front cannot be opened or go on.
#[derive(Debug, thiserror::Error)]
pub enum FrontError {
    #[error("cannot listen on the Unix socket {path}: {source}")]
    UnixSocket { path: PathBuf, source: io::Error },
    #[error("cannot listen for clients: {0}")]
    Listen(#[source] io::Error),
    #[error("cannot wait for clients: {0}")]
    Poll(#[source] io::Error),
}

/// Which queue of connections without a handshake a connection stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Listener {
    Tcp = 0,
    Unix = 1,
    /// Clients that another thread has let in.
    Tls = 2,
}

/// The server's side of all client connections.
pub struct ClientFront {
    poll: Poll,
    waker: Arc<Waker>,
    ready_events: Events,
    tcp: Option<TcpListener>,
    unix: Option<UnixListener>,
    socket_path: Option<PathBuf>,
    token: String,
    greeting: HelloReply,
    connections: BTreeMap<ClientId, Connection>,
    next_client: u64,
    /// Connections that can be read further without waiting for an event.
    readable: VecDeque<ClientId>,
    /// Listeners that can accept further without waiting for an event.
    acceptable: [bool; 2],
    accept_retry_at: Option<Instant>,
    /// Connections without a handshake by listener, the oldest first.
    ungreeted: [VecDeque<(Instant, ClientId)>; 3],
    /// Refused connections that are kept for a while, the oldest first.
    lingering: VecDeque<(Instant, ClientId)>,
    /// Clients that were lost in `send`; reported by the next `poll`.
    lost: Vec<ClientId>,
    scratch: Box<[u8]>,
    log_budget: LogBudget,
    tls_clients: TlsClients,
    handed_over: Receiver<FrontSocket>,
}

impl ClientFront {
    /// Opens the Unix socket and starts to listen.
    ///
    /// # Errors
    /// When the socket cannot be made or the system gives no descriptors.
    pub fn new(config: FrontConfig) -> Result<Self, FrontError> {
        let poll = Poll::new().map_err(FrontError::Poll)?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKER).map_err(FrontError::Poll)?);
        let tcp = match config.tcp {
            Some(listener) => {
                listener.set_nonblocking(true).map_err(FrontError::Listen)?;
                let mut listener = TcpListener::from_std(listener);
                let registered = poll.registry().register(&mut listener, TCP_LISTENER, Interest::READABLE);
                registered.map_err(FrontError::Listen)?;
                Some(listener)
            }
            None => None,
        };
        let unix = match &config.socket_path {
            Some(path) => {
                let failed = |source| FrontError::UnixSocket { path: path.clone(), source };
                let mut listener = UnixListener::bind(path).map_err(failed)?;
                std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
                poll.registry().register(&mut listener, UNIX_LISTENER, Interest::READABLE).map_err(failed)?;
                Some(listener)
            }
            None => None,
        };
        let greeting = HelloReply {
            version: PROTOCOL_VERSION,
            server: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            governors: 0,
            cpus: 0,
            local: false,
        };
        let (sockets, handed_over) = crossbeam_channel::unbounded();
        Ok(Self {
            tls_clients: TlsClients { sockets, waker: waker.clone() },
            handed_over,
            poll,
            waker,
            ready_events: Events::with_capacity(256),
            tcp,
            unix,
            socket_path: config.socket_path,
            token: config.token,
            greeting,
            connections: BTreeMap::new(),
            next_client: 0,
            readable: VecDeque::new(),
            acceptable: [false; 2],
            accept_retry_at: None,
            ungreeted: [VecDeque::new(), VecDeque::new(), VecDeque::new()],
            lingering: VecDeque::new(),
            lost: Vec::new(),
            scratch: vec![0; SCRATCH_BYTES].into_boxed_slice(),
            log_budget: LogBudget::default(),
        })
    }

    /// Makes `poll` return [`FrontEvent::Woken`], from any thread.
    pub fn waker(&self) -> Arc<Waker> {
        Arc::clone(&self.waker)
    }

    /// Where connections of clients that came over TLS are handed over.
    pub fn tls_clients(&self) -> TlsClients {
        self.tls_clients.clone()
    }

    /// What a good handshake is answered with; `local` is filled in for each connection.
    pub fn set_greeting(&mut self, hello: HelloReply) {
        self.greeting = hello;
    }

    /// Waits until something happens, or for `timeout` (`None`: as long as it takes), and replaces `events` with what
    /// happened. It may return without events.
    ///
    /// # Errors
    /// When the system cannot wait for events; nothing that a client does is an error here.
    pub fn poll(&mut self, timeout: Option<Duration>, events: &mut Vec<FrontEvent>) -> Result<(), FrontError> {
        events.clear();
        let wait_time = self.wait_time(timeout);
        match self.poll.poll(&mut self.ready_events, wait_time) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            Err(error) => return Err(FrontError::Poll(error)),
        }
        self.take_ready_events(events);
        if self.accept_retry_at.is_some_and(|at| at <= Instant::now()) {
            self.accept_retry_at = None;
            self.acceptable = [true; 2];
        }
        for listener in [Listener::Tcp, Listener::Unix] {
            if self.acceptable[listener as usize] {
                self.accept(listener);
            }
        }
        while let Ok(FrontSocket { socket, peer }) = self.handed_over.try_recv() {
            self.add_readable(socket, peer);
        }
        for _ in 0..self.readable.len() {
            if let Some(client) = self.readable.pop_front() {
                self.read_turn(client, events);
            }
        }
        events.extend(self.lost.drain(..).map(|client| FrontEvent::Closed { client }));
        self.drop_overdue();
        Ok(())
    }

    /// Sends a whole frame: writes what can be written now and keeps the rest until it can be.
    pub fn send(&mut self, client: ClientId, frame: Vec<u8>) {
        self.send_with(client, |outbox| outbox.push(frame));
    }

    /// The same with a frame of two parts, of which the second may be sent in other frames as well.
    pub fn send_shared(&mut self, client: ClientId, head: Vec<u8>, body: Arc<[u8]>) {
        self.send_with(client, |outbox| outbox.push_shared(head, body));
    }

    fn send_with(&mut self, client: ClientId, push: impl FnOnce(&mut Outbox)) {
        let Some(connection) = self.connections.get_mut(&client) else { return };
        if !connection.is_open() {
            return;
        }
        push(&mut connection.outbox);
        if connection.flush().is_err() {
            self.remove(client);
            self.lost.push(client);
        } else {
            self.schedule(client);
        }
    }

    /// At stop: takes no more clients, gives the queued output up to `timeout` to get away, and closes everything.
    pub fn flush_and_close(&mut self, timeout: Duration) {
        let deadline = Instant::now() + timeout;
        self.stop_listening();
        loop {
            let mut waiting = false;
            self.connections.retain(|_, connection| {
                let flushed = connection.flush();
                waiting |= flushed.is_ok() && connection.has_output();
                flushed.is_ok()
            });
            let left = deadline.saturating_duration_since(Instant::now());
            if !waiting || left.is_zero() {
                break;
            }
            match self.poll.poll(&mut self.ready_events, Some(left)) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        for connection in self.connections.values_mut() {
            connection.hang_up(&mut self.scratch);
        }
        self.connections.clear();
        self.readable.clear();
        self.lingering.clear();
        self.ungreeted.iter_mut().for_each(VecDeque::clear);
    }

    fn stop_listening(&mut self) {
        self.tcp = None;
        self.unix = None;
        self.acceptable = [false; 2];
        self.accept_retry_at = None;
        if let Some(path) = self.socket_path.take() {
            let _ = std::fs::remove_file(path);
        }
    }

    /// How long to wait: not at all when there is work left over, and no longer than until the next deadline.
    fn wait_time(&self, timeout: Option<Duration>) -> Option<Duration> {
        if !self.readable.is_empty() || !self.lost.is_empty() || self.acceptable != [false; 2] {
            return Some(Duration::ZERO);
        }
        let deadlines = self.ungreeted.iter().chain([&self.lingering]).filter_map(|queue| queue.front());
        let next = deadlines.map(|&(deadline, _)| deadline).chain(self.accept_retry_at).min();
        // Rounded up: the system waits whole milliseconds, and a wait that ends too early would have to be repeated.
        let until_next = next.map(|at| at.saturating_duration_since(Instant::now()) + Duration::from_millis(1));
        match (timeout, until_next) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    fn take_ready_events(&mut self, events: &mut Vec<FrontEvent>) {
        let ready = std::mem::replace(&mut self.ready_events, Events::with_capacity(0));
        for event in &ready {
            match event.token() {
                WAKER => events.push(FrontEvent::Woken),
                TCP_LISTENER => self.acceptable[Listener::Tcp as usize] = true,
                UNIX_LISTENER => self.acceptable[Listener::Unix as usize] = true,
                Token(token) => {
                    let client = ClientId((token - FIRST_CLIENT_TOKEN) as u64);
                    let Some(connection) = self.connections.get_mut(&client) else { continue };
                    if event.is_readable() || event.is_read_closed() || event.is_error() {
                        connection.readable = true;
                    }
                    if connection.flush().is_err() {
                        self.close(client, events);
                    } else {
                        self.schedule(client);
                    }
                }
            }
        }
        self.ready_events = ready;
    }

    /// Puts a connection that can be read into the line of those that get a turn.
    fn schedule(&mut self, client: ClientId) {
        let Some(connection) = self.connections.get_mut(&client) else { return };
        let may_read = connection.readable && connection.outbox.byte_count() <= OUTPUT_BYTES_HIGH;
        if may_read && !connection.scheduled {
            connection.scheduled = true;
            self.readable.push_back(client);
        }
    }

    fn read_turn(&mut self, client: ClientId, events: &mut Vec<FrontEvent>) {
        let Some(connection) = self.connections.get_mut(&client) else { return };
        connection.scheduled = false;
        if connection.outbox.byte_count() > OUTPUT_BYTES_HIGH {
            return;
        }
        let was_ungreeted = connection.is_ungreeted();
        let turn = connection.read_turn(client, &self.token, &self.greeting, &mut self.scratch, events);
        if was_ungreeted && !connection.is_ungreeted() {
            forget(&mut self.ungreeted[connection.listener as usize], client);
        }
        match turn {
            Turn::GoOn if connection.flush().is_ok() => self.schedule(client),
            Turn::Refuse(error) => self.refuse(client, &error, events),
            Turn::GoOn | Turn::Gone => self.close(client, events),
        }
    }

    /// Answers a connection with `error`, and closes it once that is read or a short time is over.
    fn refuse(&mut self, client: ClientId, error: &connection::Refusal, events: &mut Vec<FrontEvent>) {
        let Some(connection) = self.connections.get_mut(&client) else { return };
        if self.log_budget.allows(Instant::now()) {
            tracing::warn!(peer = %connection.peer, "refused a client: {}", error.error.message);
        }
        if connection.is_open() {
            events.push(FrontEvent::Closed { client });
        } else {
            forget(&mut self.ungreeted[connection.listener as usize], client);
        }
        connection.start_lingering(error_frame(error.id, &error.error));
        if connection.flush().is_err() {
            self.remove(client);
            return;
        }
        self.lingering.push_back((Instant::now() + LINGER_TIME_MAX, client));
        self.schedule(client);
        if self.lingering.len() > LINGERING_CONNECTIONS_MAX
            && let Some((_, oldest)) = self.lingering.pop_front()
        {
            self.remove(oldest);
        }
    }

    /// Drops a connection, and says so when it was a client's.
    fn close(&mut self, client: ClientId, events: &mut Vec<FrontEvent>) {
        if self.remove(client) {
            events.push(FrontEvent::Closed { client });
        }
    }

    /// Forgets a connection and closes its socket; whether it was one with a finished handshake.
    fn remove(&mut self, client: ClientId) -> bool {
        let Some(connection) = self.connections.remove(&client) else { return false };
        if connection.is_ungreeted() {
            forget(&mut self.ungreeted[connection.listener as usize], client);
        } else if connection.is_lingering() {
            forget(&mut self.lingering, client);
        }
        connection.is_open()
    }

    fn accept(&mut self, listener: Listener) {
        for _ in 0..ACCEPTS_PER_TURN_MAX {
            let accepted = match (listener, &self.tcp, &self.unix) {
                (Listener::Tcp, Some(tcp), _) => Socket::accept_tcp(tcp),
                (Listener::Unix, _, Some(unix)) => Socket::accept_unix(unix),
                _ => Err(io::ErrorKind::WouldBlock.into()),
            };
            match accepted {
                Ok((socket, peer)) => self.add(socket, peer, listener),
                Err(error) if socket::concerns_one_connection(&error) => {}
                Err(error) => {
                    self.acceptable[listener as usize] = false;
                    if error.kind() != io::ErrorKind::WouldBlock {
                        if self.log_budget.allows(Instant::now()) {
                            tracing::warn!("failed to accept a connection: {error}");
                        }
                        self.accept_retry_at = Some(Instant::now() + ACCEPT_RETRY_DELAY);
                    }
                    return;
                }
            }
        }
    }

    fn add(&mut self, mut socket: Socket, peer: Peer, listener: Listener) {
        let client = ClientId(self.next_client);
        self.next_client += 1;
        let token = Token(client.0 as usize + FIRST_CLIENT_TOKEN);
        if let Err(error) = socket.register(self.poll.registry(), token) {
            tracing::warn!(%peer, "failed to watch a connection: {error}");
            return;
        }
        let stranger = peer.is_stranger();
        self.connections.insert(client, Connection::new(socket, peer, listener));
        self.ungreeted[listener as usize].push_back((Instant::now() + HANDSHAKE_TIME_MAX, client));
        if stranger {
            let error = RequestError::protocol("this server belongs to another user");
            self.refuse(client, &connection::Refusal { id: 0, error }, &mut Vec::new());
            return;
        }
        if self.ungreeted[listener as usize].len() > UNGREETED_CONNECTIONS_MAX
            && let Some(&(_, oldest)) = self.ungreeted[listener as usize].front()
        {
            self.log_drop(oldest, "too many connections wait for their handshake");
            self.remove(oldest);
        }
    }

    /// Adds a connection of which something may have been read already.
    fn add_readable(&mut self, socket: Socket, peer: Peer) {
        let client = ClientId(self.next_client);
        self.add(socket, peer, Listener::Tls);
        if let Some(connection) = self.connections.get_mut(&client) {
            connection.readable = true;
            self.schedule(client);
        }
    }

    fn drop_overdue(&mut self) {
        let queues = self.ungreeted.iter().chain([&self.lingering]);
        if queues.clone().all(VecDeque::is_empty) {
            return;
        }
        let now = Instant::now();
        let overdue: Vec<_> = queues
            .flat_map(|queue| queue.iter().take_while(|&&(at, _)| at <= now))
            .map(|&(_, client)| client)
            .collect();
        for client in overdue {
            if self.connections.get(&client).is_some_and(Connection::is_ungreeted) {
                self.log_drop(client, "no handshake in time");
            }
            self.remove(client);
        }
    }

    fn log_drop(&mut self, client: ClientId, why: &str) {
        if let Some(connection) = self.connections.get(&client)
            && self.log_budget.allows(Instant::now())
        {
            tracing::warn!(peer = %connection.peer, "dropped a connection: {why}");
        }
    }
}

fn forget(queue: &mut VecDeque<(Instant, ClientId)>, client: ClientId) {
    queue.retain(|&(_, waiting)| waiting != client);
}

impl Drop for ClientFront {
    fn drop(&mut self) {
        self.stop_listening();
    }
}
