//! Connections that were accepted and have not shown who they are.
//!
//! What strangers can cost is bounded: their number, their time, and the bytes that are kept of them.

use super::connection::Connection;
use super::identity::{PEER_PROTOCOL, PeerTls, Role};
use super::wire::{GREETING_BYTES_MAX, Hello, Record, WireError, read, record};
use crate::log_budget::LogBudget;
use mio::net::TcpListener;
use mio::{Interest, Registry, Token};
use std::collections::{BTreeMap, VecDeque};
use std::io;
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
}

pub(super) struct Door {
    listener: Option<TcpListener>,
    acceptable: bool,
    retry_at: Option<Instant>,
    waiting: BTreeMap<Token, Connection>,
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
        self.waiting.get_mut(&token)
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
            let (socket, address) = match listener.accept() {
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
            let token = token();
            let made = tls.accept().map_err(io::Error::other);
            match made.and_then(|tls| Connection::new(socket, tls, address, token, registry)) {
                Ok(connection) => {
                    self.waiting.insert(token, connection);
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
        let connection = self.waiting.get_mut(&token)?;
        match greet(connection, tls) {
            Ok(None) => None,
            Ok(Some(hello)) => {
                let mut connection = self.waiting.remove(&token)?;
                match hello {
                    Some(hello) => Some(Entered::Peer(connection, hello)),
                    None => {
                        let _ = registry.deregister(&mut connection.socket);
                        Some(Entered::Client(connection))
                    }
                }
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
        if let Some(mut connection) = self.waiting.remove(&token) {
            self.log(&connection.address, why);
            if !connection.tls.is_handshaking() && connection.tls.alpn_protocol() == Some(PEER_PROTOCOL) {
                connection.urgent = record(Record::Refused, &why);
                let _ = connection.write(|_| Ok(false));
            }
            connection.hang_up();
        }
    }

    pub(super) fn log(&mut self, address: &std::net::SocketAddr, why: &str) {
        if self.log_budget.allows(Instant::now()) {
            tracing::warn!(peer = %address, "refused a connection: {why}");
        }
    }
}

/// Goes on with the handshakes: the hello of a peer, `Some(None)` for a client, `None` if more has to come.
fn greet(connection: &mut Connection, tls: &PeerTls) -> Result<Option<Option<Hello>>, String> {
    let read_well = connection.read().map_err(|error| error.to_string());
    if connection.tls.is_handshaking() {
        read_well?;
        connection.write(|_| Ok(false)).map_err(|error| error.to_string())?;
        let ended = connection.has_ended();
        return if ended { Err("it closed the connection".to_owned()) } else { Ok(None) };
    }
    read_well?;
    if tls.role(&connection.tls)? == Role::Client {
        return Ok(Some(None));
    }
    let wrong = |error: WireError| error.to_string();
    let hello = match connection.next_record(GREETING_BYTES_MAX).map_err(wrong)? {
        Some((Record::Hello, range)) => Some(Some(read::<Hello>(connection.body(range)).map_err(wrong)?)),
        Some(_) => return Err("it does not begin with a hello".to_owned()),
        None if connection.untaken() > GREETING_BYTES_MAX => return Err("its hello is too long".to_owned()),
        None if connection.has_ended() => return Err("it closed the connection".to_owned()),
        None => None,
    };
    connection.write(|_| Ok(false)).map_err(|error| error.to_string())?;
    Ok(hello)
}
