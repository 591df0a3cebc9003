//! The server's front for clients: accepts connections, checks handshakes, reads requests and writes replies.
//!
//! A [`ClientFront`] lives on the server's thread and never blocks but in `poll`. What strangers can cost
//! is bounded: connections without a finished handshake are limited in number and time, a frame costs no more memory
//! than the bytes of it that have come, and whatever does not parse is answered with an error and closed. What clients can
//! cost is, too: while more than [`OUTPUT_BYTES_HIGH`] waits for a client its requests wait, and large content is read when its turn to be sent
//! comes.

mod connection;
mod handshake;
mod inbox;
mod listener;
mod outbox;
mod socket;
#[cfg(test)]
mod tests;
mod tls;

use crate::log_budget::LogBudget;
pub use connection::OUTPUT_BYTES_HIGH;
use connection::{Connection, Refusal, Step};
use crossbeam_channel::Receiver;
use listener::Listener;
use mio::net::{TcpListener, UnixListener};
use mio::{Events, Interest, Poll, Token, Waker};
use outbox::Flushed;
use rain_model::id::ClientId;
use rain_protocol::client::{HelloReply, RequestError, error_frame};
use rain_protocol::msgpack::PROTOCOL_VERSION;
use rain_transport::Wake;
use rain_transport::clients::{Clients, FrontEvent, PollError, ReplyFrame};
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

/// Why the front cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum FrontError {
    #[error("cannot listen on the Unix socket {path}: {source}")]
    UnixSocket { path: PathBuf, source: io::Error },
    #[error("cannot listen for clients: {0}")]
    Listen(#[source] io::Error),
    #[error("cannot wait for clients: {0}")]
    Wait(#[source] io::Error),
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
    /// Connections that may be written to.
    dirty: VecDeque<ClientId>,
    /// What has happened and was not asked for yet, but for requests.
    events: VecDeque<FrontEvent>,
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
        let poll = Poll::new().map_err(FrontError::Wait)?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKER).map_err(FrontError::Wait)?);
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
            dirty: VecDeque::new(),
            events: VecDeque::new(),
            scratch: vec![0; SCRATCH_BYTES].into_boxed_slice(),
            log_budget: LogBudget::default(),
        })
    }

    /// Where connections of clients that came over TLS are handed over.
    pub fn tls_clients(&self) -> TlsClients {
        self.tls_clients.clone()
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
        let has_work = !self.readable.is_empty() || !self.dirty.is_empty() || !self.events.is_empty();
        if has_work || self.acceptable != [false; 2] {
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

    fn take_ready_events(&mut self) {
        let ready = std::mem::replace(&mut self.ready_events, Events::with_capacity(0));
        for event in &ready {
            match event.token() {
                WAKER => self.events.push_back(FrontEvent::Woken),
                TCP_LISTENER => self.acceptable[Listener::Tcp as usize] = true,
                UNIX_LISTENER => self.acceptable[Listener::Unix as usize] = true,
                Token(token) => {
                    let client = ClientId((token - FIRST_CLIENT_TOKEN) as u64);
                    let Some(connection) = self.connections.get_mut(&client) else { continue };
                    if event.is_readable() || event.is_read_closed() || event.is_error() {
                        connection.readable = true;
                        self.schedule(client);
                    }
                    self.mark_dirty(client);
                }
            }
        }
        self.ready_events = ready;
    }

    /// Puts a connection that can be read into the line of those that get a turn.
    fn schedule(&mut self, client: ClientId) {
        let Some(connection) = self.connections.get_mut(&client) else { return };
        if connection.may_be_read() && connection.has_input() && !connection.scheduled {
            connection.scheduled = true;
            self.readable.push_back(client);
        }
    }

    /// Puts a connection into the line of those that are written to.
    fn mark_dirty(&mut self, client: ClientId) {
        let Some(connection) = self.connections.get_mut(&client) else { return };
        if connection.has_output() && !connection.dirty {
            connection.dirty = true;
            self.dirty.push_back(client);
        }
    }

    /// Writes to each connection that stands in line, once.
    fn flush_dirty(&mut self) {
        for _ in 0..self.dirty.len() {
            let Some(client) = self.dirty.pop_front() else { return };
            let Some(connection) = self.connections.get_mut(&client) else { continue };
            connection.dirty = false;
            match connection.flush() {
                Ok(Flushed::TurnIsOver) => self.mark_dirty(client),
                // Requests may have waited for that.
                Ok(Flushed::Done) => self.schedule(client),
                Err(error) => {
                    tracing::debug!("cannot write to {client}: {error}");
                    self.close(client);
                }
            }
        }
    }

    /// The next event of the connection whose turn it is; `None`: it has none now.
    fn read_step(&mut self, client: ClientId) -> Option<FrontEvent> {
        let connection = self.connections.get_mut(&client).filter(|connection| connection.scheduled);
        let Some(connection) = connection else {
            self.readable.pop_front();
            return None;
        };
        let was_ungreeted = connection.is_ungreeted();
        let step = match connection.may_be_read() {
            true => connection.step(client, &self.token, &self.greeting, &mut self.scratch),
            false => Step::Idle,
        };
        if let Step::Event(event) = step {
            if was_ungreeted {
                forget(&mut self.ungreeted[connection.listener as usize], client);
                self.mark_dirty(client);
            }
            return Some(event);
        }
        self.readable.pop_front();
        connection.scheduled = false;
        match step {
            Step::TurnIsOver => self.schedule(client),
            Step::Refuse(refusal) => self.refuse_connection(client, &refusal),
            Step::Gone => self.close(client),
            Step::Idle | Step::Event(_) => {}
        }
        None
    }

    /// Answers a connection with `error`, and closes it once that is read or a short time is over.
    fn refuse_connection(&mut self, client: ClientId, error: &Refusal) {
        let Some(connection) = self.connections.get_mut(&client) else { return };
        if self.log_budget.allows(Instant::now()) {
            tracing::warn!(peer = %connection.peer, "refused a client: {}", error.error.message);
        }
        if connection.is_open() {
            self.events.push_back(FrontEvent::Closed { client });
        } else if !connection.is_lingering() {
            forget(&mut self.ungreeted[connection.listener as usize], client);
        }
        connection.start_lingering(error_frame(error.id, &error.error));
        if connection.flush().is_err() {
            self.remove(client);
            return;
        }
        self.lingering.push_back((Instant::now() + LINGER_TIME_MAX, client));
        connection.readable = true;
        self.mark_dirty(client);
        self.schedule(client);
        if self.lingering.len() > LINGERING_CONNECTIONS_MAX
            && let Some((_, oldest)) = self.lingering.pop_front()
        {
            self.remove(oldest);
        }
    }

    /// Drops a connection, and says so when it was a client's.
    fn close(&mut self, client: ClientId) {
        if self.remove(client) {
            self.events.push_back(FrontEvent::Closed { client });
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
            self.refuse_connection(client, &Refusal { id: 0, error });
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

impl Clients for ClientFront {
    fn wake(&self) -> Wake {
        let waker = Arc::clone(&self.waker);
        Arc::new(move || {
            if let Err(error) = waker.wake() {
                tracing::error!("cannot wake the server: {error}");
            }
        })
    }

    fn set_greeting(&mut self, hello: HelloReply) {
        self.greeting = hello;
    }

    fn poll(&mut self, timeout: Option<Duration>) -> Result<(), PollError> {
        self.flush_dirty();
        let wait_time = self.wait_time(timeout);
        match self.poll.poll(&mut self.ready_events, wait_time) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            Err(error) => return Err(PollError(error)),
        }
        self.take_ready_events();
        self.flush_dirty();
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
        self.drop_overdue();
        Ok(())
    }

    fn next_event(&mut self) -> Option<FrontEvent> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Some(event);
            }
            let client = *self.readable.front()?;
            if let Some(event) = self.read_step(client) {
                return Some(event);
            }
        }
    }

    fn send(&mut self, client: ClientId, frame: ReplyFrame) {
        let connection = self.connections.get_mut(&client).filter(|connection| connection.is_open());
        if let Some(connection) = connection {
            connection.outbox.push(frame);
            self.mark_dirty(client);
        }
    }

    fn waiting_bytes(&self, client: ClientId) -> u64 {
        self.connections.get(&client).map_or(0, |connection| connection.outbox.byte_count())
    }

    fn hold(&mut self, client: ClientId) {
        if let Some(connection) = self.connections.get_mut(&client) {
            connection.held = true;
        }
    }

    fn go_on(&mut self, client: ClientId) {
        if let Some(connection) = self.connections.get_mut(&client) {
            connection.held = false;
            self.schedule(client);
        }
    }

    fn refuse(&mut self, client: ClientId, id: u64, error: RequestError) {
        if self.connections.get(&client).is_some_and(Connection::is_open) {
            self.go_on(client);
            self.refuse_connection(client, &Refusal { id, error });
        }
    }

    fn flush_and_close(&mut self, timeout: Duration) {
        let deadline = Instant::now() + timeout;
        self.stop_listening();
        loop {
            let mut waiting = false;
            let mut can_go_on = false;
            self.connections.retain(|_, connection| {
                let flushed = connection.flush();
                waiting |= flushed.is_ok() && connection.has_output();
                can_go_on |= matches!(flushed, Ok(Flushed::TurnIsOver));
                flushed.is_ok()
            });
            let left = deadline.saturating_duration_since(Instant::now());
            if !waiting || left.is_zero() {
                break;
            }
            match self.poll.poll(&mut self.ready_events, Some(if can_go_on { Duration::ZERO } else { left })) {
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
        self.dirty.clear();
        self.lingering.clear();
        self.ungreeted.iter_mut().for_each(VecDeque::clear);
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
