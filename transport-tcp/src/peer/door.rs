//! Connections that were accepted and have not shown who they are.
//!
//! What strangers can cost is bounded: their number, their time, and the bytes that are kept of them.

use super::connection::Connection;
use super::identity::{PEER_PROTOCOL, PeerTls, Role};
use super::plain::{GREETING_BYTES, MAGIC, Pass, Plain};
use super::wire::{GREETING_BYTES_MAX, Hello, Record, WireError, read, record};
use crate::log_budget::LogBudget;
use mio::net::TcpListener;
use mio::{Interest, Registry, Token};
use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Read};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Connections at the door; past it the oldest is dropped.
pub const WAITING_CONNECTIONS_MAX: usize = 256;
/// How long one may take to show who it is.
pub const DOOR_TIME_MAX: Duration = Duration::from_secs(10);

const ACCEPTS_PER_TURN_MAX: usize = 64;
/// When accepting failed for want of descriptors, it is tried again after this.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(100);

/// Who has come in.
pub(super) enum Entered {
    Peer(Connection, Hello),
    Client(Connection),
    /// A plain connection that was opened with this pass, which is to be checked.
    Plain(Plain, SocketAddr, Pass),
}

/// A connection at the door.
struct Guest {
    connection: Connection,
    /// For one without TLS: the beginning of its greeting.
    plain: Option<Vec<u8>>,
    /// It has shown whether it speaks TLS.
    sorted: bool,
}

pub(super) struct Door {
    listener: Option<TcpListener>,
    acceptable: bool,
    retry_at: Option<Instant>,
    waiting: BTreeMap<Token, Guest>,
    /// Whether plain connections are taken.
    pub(super) plain: bool,
    /// The oldest first.
    deadlines: VecDeque<(Instant, Token)>,
    log_budget: LogBudget,
}

impl Door {
    pub(super) fn new(listener: std::net::TcpListener, token: Token, registry: &Registry) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let mut listener = TcpListener::from_std(listener);
        registry.register(&mut listener, token, Interest::READABLE)?;
        Ok(Self {
            listener: Some(listener),
            acceptable: true,
            retry_at: None,
            waiting: BTreeMap::new(),
            plain: false,
            deadlines: VecDeque::new(),
            log_budget: LogBudget::default(),
        })
    }

    /// Somebody knocks.
    pub(super) fn knock(&mut self) {
        self.acceptable = true;
    }

    /// Whether there is something to do without waiting for the system.
    pub(super) fn is_ready(&self) -> bool {
        self.acceptable
    }

    pub(super) fn get_mut(&mut self, token: Token) -> Option<&mut Connection> {
        self.waiting.get_mut(&token).map(|guest| &mut guest.connection)
    }

    pub(super) fn close(&mut self) {
        self.listener = None;
        self.acceptable = false;
        self.waiting.clear();
    }

    /// Lets connections come to the door.
    pub(super) fn accept(&mut self, tls: &PeerTls, registry: &Registry, mut token: impl FnMut() -> Token) {
        for _ in 0..ACCEPTS_PER_TURN_MAX {
            let Some(listener) = self.listener.as_ref().filter(|_| self.acceptable) else { return };
            let (socket, from) = match listener.accept() {
                Ok(accepted) => accepted,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.acceptable = false;
                    return;
                }
                Err(error) if crate::front::concerns_one_connection(&error) => continue,
                Err(error) => {
                    if self.log_budget.allows(Instant::now()) {
                        tracing::warn!("cannot accept connections: {error}");
                    }
                    self.acceptable = false;
                    self.retry_at = Some(Instant::now() + ACCEPT_RETRY_DELAY);
                    return;
                }
            };
            // As the system's own form of an IPv4 address where this end listens for both, which no other end may be able to reach.
            let address = SocketAddr::new(from.ip().to_canonical(), from.port());
            let token = token();
            let made = tls.accept().map_err(io::Error::other);
            match made.and_then(|tls| Connection::new(socket, tls, address, token, registry)) {
                Ok(connection) => {
                    self.waiting.insert(token, Guest { connection, plain: None, sorted: !self.plain });
                    self.deadlines.push_back((Instant::now() + DOOR_TIME_MAX, token));
                }
                Err(error) => self.log(&address, &format!("it cannot be served: {error}")),
            }
            while self.waiting.len() > WAITING_CONNECTIONS_MAX
                && let Some((_, oldest)) = self.deadlines.pop_front()
            {
                // It may have come in, or gone, long ago.
                self.refuse(oldest, "too many connections wait to be let in");
            }
        }
    }

    /// A turn of a connection at the door.
    pub(super) fn turn(&mut self, token: Token, tls: &PeerTls, registry: &Registry) -> Option<Entered> {
        let guest = self.waiting.get_mut(&token)?;
        let greeted = match guest.sort() {
            Ok(true) => match &mut guest.plain {
                Some(greeting) => read_greeting(&mut guest.connection, greeting).map(|pass| pass.map(Greeted::Plain)),
                None => greet(&mut guest.connection, tls),
            },
            Ok(false) => Ok(None),
            Err(error) => Err(error.to_string()),
        };
        match greeted {
            Ok(None) => None,
            Ok(Some(greeted)) => {
                let mut connection = self.waiting.remove(&token)?.connection;
                Some(match greeted {
                    Greeted::Peer(hello) => Entered::Peer(connection, hello),
                    Greeted::Client => {
                        let _ = registry.deregister(&mut connection.socket);
                        Entered::Client(connection)
                    }
                    Greeted::Plain(pass) => {
                        let (socket, _, address, _) = connection.into_parts();
                        Entered::Plain(Plain::accepted(socket, token), address, pass)
                    }
                })
            }
            Err(why) => {
                self.refuse(token, &why);
                None
            }
        }
    }

    /// Drops who took too long, and accepts again after a while in which it was not possible.
    pub(super) fn tick(&mut self, now: Instant) {
        if self.retry_at.is_some_and(|at| at <= now) {
            self.retry_at = None;
            self.acceptable = true;
        }
        while let Some(&(deadline, token)) = self.deadlines.front() {
            if self.waiting.contains_key(&token) {
                if deadline > now {
                    return;
                }
                self.refuse(token, "it has not shown who it is in time");
            }
            self.deadlines.pop_front();
        }
    }

    fn refuse(&mut self, token: Token, why: &str) {
        if let Some(Guest { mut connection, plain, .. }) = self.waiting.remove(&token) {
            self.log(&connection.address, why);
            if !connection.tls.is_handshaking() && connection.tls.alpn_protocol() == Some(PEER_PROTOCOL) {
                connection.urgent = record(Record::Refused, &why);
                let _ = connection.write(|_| Ok(false));
            }
            if plain.is_none() {
                connection.hang_up();
            }
        }
    }

    /// When `tick` has to be called.
    pub(super) fn due(&self) -> Option<Instant> {
        let deadline = self.deadlines.front().map(|(deadline, _)| *deadline);
        deadline.into_iter().chain(self.retry_at).min()
    }

    pub(super) fn log(&mut self, address: &SocketAddr, why: &str) {
        if self.log_budget.allows(Instant::now()) {
            tracing::warn!(peer = %address, "refused a connection: {why}");
        }
    }
}

impl Guest {
    /// Whether it has shown whether it speaks TLS.
    fn sort(&mut self) -> io::Result<bool> {
        if self.sorted || !self.connection.readable {
            return Ok(self.sorted);
        }
        let mut first = [0];
        match self.connection.socket.peek(&mut first) {
            Ok(count) => {
                self.sorted = true;
                self.plain = (count > 0 && first[0] == MAGIC[0]).then(Vec::new);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.connection.readable = false,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        Ok(self.sorted)
    }
}

/// What a connection at the door has shown.
enum Greeted {
    Peer(Hello),
    Client,
    Plain(Pass),
}

/// Reads the greeting of a plain connection and nothing after it: its pass, or none if more has to come.
fn read_greeting(connection: &mut Connection, greeting: &mut Vec<u8>) -> Result<Option<Pass>, String> {
    while greeting.len() < GREETING_BYTES {
        let mut buffer = [0; GREETING_BYTES];
        match connection.socket.read(&mut buffer[greeting.len()..]) {
            Ok(0) => return Err("it closed the connection".to_owned()),
            Ok(count) => greeting.extend_from_slice(&buffer[greeting.len()..greeting.len() + count]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                connection.readable = false;
                return Ok(None);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.to_string()),
        }
    }
    let pass = greeting.strip_prefix(&MAGIC).and_then(|pass| Pass::try_from(pass).ok());
    pass.map(Some).ok_or_else(|| "it speaks neither TLS nor Rain".to_owned())
}

/// Goes on with the handshakes; `None` if more has to come.
fn greet(connection: &mut Connection, tls: &PeerTls) -> Result<Option<Greeted>, String> {
    let read_well = connection.read().map_err(|error| error.to_string());
    if connection.tls.is_handshaking() {
        read_well?;
        connection.write(|_| Ok(false)).map_err(|error| error.to_string())?;
        let ended = connection.has_ended();
        return if ended { Err("it closed the connection".to_owned()) } else { Ok(None) };
    }
    read_well?;
    if tls.role(&connection.tls)? == Role::Client {
        return Ok(Some(Greeted::Client));
    }
    let wrong = |error: WireError| error.to_string();
    let hello = match connection.next_record(GREETING_BYTES_MAX).map_err(wrong)? {
        Some((Record::Hello, range)) => Some(Greeted::Peer(read(connection.body(range)).map_err(wrong)?)),
        Some(_) => return Err("it does not begin with a hello".to_owned()),
        None if connection.untaken() > GREETING_BYTES_MAX => return Err("its hello is too long".to_owned()),
        None if connection.has_ended() => return Err("it closed the connection".to_owned()),
        None => None,
    };
    connection.write(|_| Ok(false)).map_err(|error| error.to_string())?;
    Ok(hello)
}
