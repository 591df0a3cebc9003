//! The thread that reads and writes all connections of one end.

use super::client_door::ClientDoor;
use super::connection::Connection;
use super::door::{Door, Entered};
use super::identity::PeerTls;
use super::link::{Broken, Happened, Link, LinkKey, PlainPath};
use super::own::{host_name, random};
use super::plain::{self, Pass, Plain};
use super::shared::Shared;
use super::wire::{Hello, PEER_VERSION, Purpose, Received, Record, Welcome, append_record, record};
use crossbeam_channel::{Receiver, Sender};
use mio::net::TcpStream;
use mio::{Events, Poll, Token};
use rain_io::IoThreads;
use rain_link::Patience;
use rain_model::id::GovernorId;
use rain_protocol::peer::Message;
use rain_transport::{Peer, Place, TransportEvent, Wake};
use rain_wire::payload::Payload;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Connections are looked at no more often than this for what is due.
const TICK: Duration = Duration::from_millis(250);
/// When nothing is due, connections are looked at after this.
const IDLE_MAX: Duration = Duration::from_secs(60);
/// How long the last messages may take at the end.
const GOODBYE_MAX: Duration = Duration::from_secs(2);
/// With more messages than this not taken by the owner, nothing is read.
const UNTAKEN_MAX: usize = 1 << 14;
/// Governors get numbers below this (`TaskRecord` keeps them in 16 bits).
const GOVERNORS_MAX: u32 = u16::MAX as u32 - 16;
const RETRY_DELAY: Duration = Duration::from_millis(200);

pub(super) const WAKER: Token = Token(0);
pub(super) const LISTENER: Token = Token(1);
pub(super) const FIRST_TOKEN: usize = 2;

/// What the owner asks.
pub(super) enum Request<D> {
    Send(Peer, Message<D>),
    /// Say goodbye and end.
    Close,
}

/// How joining ended.
pub(super) type Joined = Result<GovernorId, String>;

pub(super) struct Endpoint<D: Payload> {
    pub(super) poll: Poll,
    pub(super) me: Option<Peer>,
    pub(super) tls: PeerTls,
    pub(super) door: Door,
    pub(super) requests: Receiver<Request<D>>,
    pub(super) events: Sender<TransportEvent<D>>,
    pub(super) shared: Arc<Shared>,
    /// The threads that read content, and store it at `place`.
    pub(super) io: IoThreads,
    pub(super) place: D::Place,
    pub(super) clients: Option<ClientDoor>,
    /// For a governor: who waits for its joining.
    pub(super) joining: Option<Sender<Joined>>,
    pub(super) listen: SocketAddr,
    pub(super) server: Vec<SocketAddr>,
    pub(super) patience: Patience,
    pub(super) wake_self: Wake,
    /// Peers whose links another thread has something for, and who tells of them.
    pub(super) woken: Receiver<Peer>,
    pub(super) wake_link: Sender<Peer>,
    /// Some link was not read, because the owner had not taken what came before.
    pub(super) was_full: bool,
    pub(super) links: BTreeMap<LinkKey, Link<D>>,
    pub(super) tokens: BTreeMap<Token, LinkKey>,
    pub(super) next_token: usize,
    pub(super) next_governor: u32,
    /// Links and connections at the door that may have something to do.
    pub(super) active: BTreeSet<LinkKey>,
    pub(super) active_at_door: BTreeSet<Token>,
    /// Large content goes through plain connections (`--data-plain`): for the server, as it was told; for a governor, as
    /// the server does it.
    pub(super) data_plain: bool,
    /// Passes that were told and not used, and the links they are for.
    pub(super) passes: BTreeMap<Pass, LinkKey>,
    /// When something is due on some link or at the door.
    pub(super) due: Instant,
}

pub(super) const SERVER: LinkKey = LinkKey { peer: Peer::Server, out: true };

pub(super) fn key(governor: GovernorId, out: bool) -> LinkKey {
    LinkKey { peer: Peer::Governor(governor), out }
}

impl<D: Payload> Endpoint<D> {
    /// Runs until the owner closes it.
    pub(super) fn run(mut self) {
        if !self.server.is_empty() {
            self.insert_link(SERVER).addresses = self.server.clone();
            self.dial(SERVER);
        }
        let mut ready = Events::with_capacity(1024);
        let mut ticked = Instant::now();
        let mut looked = ticked;
        loop {
            let idle = self.active.is_empty() && self.active_at_door.is_empty() && !self.door.is_ready();
            let next_tick = self.due.max(ticked + TICK);
            let wait = if idle { next_tick.saturating_duration_since(Instant::now()) } else { Duration::ZERO };
            // Past it, for the system's clock is coarse.
            match self.poll.poll(&mut ready, Some(wait + Duration::from_millis(u64::from(idle)))) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    tracing::error!("cannot wait for connections: {error}");
                    return;
                }
            }
            looked = self.look_for_pause(looked + wait);
            self.take_ready(&ready);
            self.shared.awake.store(false, Ordering::SeqCst);
            self.take_woken();
            if !self.take_requests() {
                self.close();
                return;
            }
            let registry = self.poll.registry();
            let next_token = &mut self.next_token;
            self.door.accept(&self.tls, registry, || {
                *next_token += 1;
                Token(*next_token - 1 + FIRST_TOKEN)
            });
            for token in std::mem::take(&mut self.active_at_door) {
                self.turn_at_door(token);
            }
            for key in std::mem::take(&mut self.active) {
                self.turn(key);
            }
            let now = Instant::now();
            self.due = self.door.due().map_or(self.due, |due| self.due.min(due));
            if now >= self.due.max(ticked + TICK) {
                ticked = now;
                self.tick(now);
            }
        }
    }

    fn take_ready(&mut self, ready: &Events) {
        for event in ready {
            let token = event.token();
            if token == LISTENER {
                self.door.knock();
                continue;
            }
            let key = self.tokens.get(&token).copied();
            let link = key.and_then(|key| self.links.get_mut(&key));
            if let Some(PlainPath::Open(plain)) = link.map(|link| &mut link.plain)
                && plain.token == token
            {
                plain.take_readiness(event);
            } else {
                let connection = match key {
                    Some(key) => self.links.get_mut(&key).and_then(|link| link.connection.as_mut()),
                    None => self.door.get_mut(token),
                };
                let Some(connection) = connection.filter(|connection| connection.token == token) else { continue };
                connection.take_readiness(event);
            }
            match key {
                Some(key) => _ = self.active.insert(key),
                None => _ = self.active_at_door.insert(token),
            }
        }
    }

    /// Takes note of the links that other threads have something for, and of room that the owner has made.
    fn take_woken(&mut self) {
        while let Ok(peer) = self.woken.try_recv() {
            let links = [true, false].map(|out| LinkKey { peer, out });
            self.active.extend(links.into_iter().filter(|key| self.links.contains_key(key)));
        }
        if self.was_full && !self.is_full() {
            self.was_full = false;
            let waits = |link: &Link<D>| link.connection.as_ref().is_some_and(|connection| connection.readable);
            self.active.extend(self.links.iter().filter(|(_, link)| waits(link)).map(|(key, _)| *key));
        }
    }

    /// A new link, which wakes this thread by its peer's name.
    pub(super) fn insert_link(&mut self, key: LinkKey) -> &mut Link<D> {
        let (wake_link, wake_self, peer) = (self.wake_link.clone(), self.wake_self.clone(), key.peer);
        let wake: Wake = Arc::new(move || {
            // An error means that the thread has ended.
            let _ = wake_link.send(peer);
            wake_self();
        });
        let link = Link::new(&self.io, &wake, &self.place);
        self.links.remove(&key);
        self.links.entry(key).or_insert(link)
    }

    /// Carries out what the owner asked; whether it goes on.
    fn take_requests(&mut self) -> bool {
        loop {
            match self.requests.try_recv() {
                Ok(Request::Send(to, message)) => self.send(to, message),
                Ok(Request::Close) | Err(crossbeam_channel::TryRecvError::Disconnected) => return false,
                Err(crossbeam_channel::TryRecvError::Empty) => return true,
            }
        }
    }

    fn send(&mut self, to: Peer, message: Message<D>) {
        let Some(key) = self.way_to(to) else { return };
        let Some(link) = self.links.get_mut(&key) else { return };
        match link.push(message) {
            Ok(()) => _ = self.active.insert(key),
            Err(why) => self.lose(key, why),
        }
    }

    fn turn_at_door(&mut self, token: Token) {
        match self.door.turn(token, &self.tls, self.poll.registry()) {
            Some(Entered::Peer(connection, hello)) => self.welcome(connection, &hello),
            Some(Entered::Client(connection)) => {
                if let Some(clients) = &self.clients {
                    clients.hand_over(connection);
                }
            }
            Some(Entered::Plain(plain, address, pass)) => self.attach_plain(plain, address, &pass),
            None => {
                let ready = self.door.get_mut(token).is_some_and(|connection| connection.is_ready());
                if ready {
                    self.active_at_door.insert(token);
                }
            }
        }
    }

    /// Lets a peer in, or tells it why not.
    fn welcome(&mut self, mut connection: Connection, hello: &Hello) {
        match self.admit(hello, &connection) {
            Ok((key, mut welcome)) => {
                self.forget_connections(key);
                if self.data_plain {
                    welcome.plain = plain::new_pass();
                    self.passes.extend(welcome.plain.map(|pass| (pass, key)));
                }
                connection.urgent = record(Record::Welcome, &welcome);
                self.tokens.insert(connection.token, key);
                let Some(link) = self.links.get_mut(&key) else { return };
                link.plain = PlainPath::Absent;
                link.connection = Some(connection);
                match link.resume(hello.received) {
                    Ok(()) => {
                        self.active.insert(key);
                        self.take_over_unreachable(key.peer);
                    }
                    Err(error) => self.lose(key, error.to_string()),
                }
            }
            Err(why) => {
                self.door.log(&connection.address, &why);
                connection.urgent = record(Record::Refused, &why);
                let _ = connection.write(|_| Ok(false));
                connection.hang_up();
            }
        }
    }

    fn admit(&mut self, hello: &Hello, connection: &Connection) -> Result<(LinkKey, Welcome), String> {
        if hello.version != PEER_VERSION {
            return Err(format!(
                "the server speaks version {PEER_VERSION} of the protocol, this governor version {}: use the same \
                 release of Rain everywhere",
                hello.version
            ));
        }
        match (&hello.purpose, self.me) {
            (Purpose::Join { listen, host }, Some(Peer::Server)) => {
                if self.next_governor >= GOVERNORS_MAX {
                    return Err("this server has had too many governors".to_owned());
                }
                let governor = GovernorId(self.next_governor);
                self.next_governor += 1;
                let ip = if listen.ip().is_unspecified() { connection.address.ip() } else { listen.ip() };
                let place = Place { ip: (!ip.is_loopback()).then_some(ip), port: listen.port() };
                self.shared.places().insert(governor, place);
                let pass = random();
                let link = self.insert_link(key(governor, true));
                (link.pass, link.host) = (pass, host.clone());
                let welcome = self.welcome_with(governor, pass, [0; 2]);
                tracing::info!("{governor} comes from {} ({host})", connection.address);
                Ok((key(governor, true), welcome))
            }
            (Purpose::Return { governor, pass }, Some(Peer::Server)) => {
                let key = key(*governor, true);
                let link = self.links.get(&key).filter(|link| link.pass == *pass);
                let link = link.ok_or("the server has given this governor up")?;
                tracing::info!("{governor} is back");
                Ok((key, self.welcome_with(*governor, *pass, link.received())))
            }
            (Purpose::Deliver { from, to }, Some(me)) if me == Peer::Governor(*to) => {
                let key = key(*from, false);
                if hello.received == [0; 2] && !self.links.contains_key(&key) {
                    self.insert_link(key);
                }
                let link = self.links.get(&key).ok_or("this governor is not known any more")?;
                Ok((key, self.welcome_with(*to, 0, link.received())))
            }
            _ => Err("this is not who it is looking for".to_owned()),
        }
    }

    fn welcome_with(&self, governor: GovernorId, pass: u64, received: Received) -> Welcome {
        let client = self.tls.client_certificate().filter(|_| self.me == Some(Peer::Server));
        let client = client.map(<[u8]>::to_vec);
        Welcome { governor, pass, received, plain: None, client, patience: self.patience }
    }

    /// Connects a link whose addresses are known.
    pub(super) fn dial(&mut self, key: LinkKey) {
        let Some(link) = self.links.get_mut(&key) else { return };
        link.retry_at = None;
        let Some(address) = link.addresses.get(link.tries % link.addresses.len().max(1)).copied() else { return };
        let purpose = match (key.peer, self.me) {
            (Peer::Server, Some(Peer::Governor(governor))) => Purpose::Return { governor, pass: link.pass },
            (Peer::Server, _) => Purpose::Join { listen: self.listen, host: host_name() },
            (Peer::Governor(to), Some(Peer::Governor(from))) => Purpose::Deliver { from, to },
            _ => return,
        };
        let token = Token(self.next_token + FIRST_TOKEN);
        self.next_token += 1;
        let connection =
            self.tls.dial(key.peer == Peer::Server).map_err(io::Error::other).and_then(|tls| {
                Connection::new(TcpStream::connect(address)?, tls, address, token, self.poll.registry())
            });
        match connection {
            Ok(connection) => {
                let hello = Hello { version: PEER_VERSION, purpose, received: link.received() };
                link.connect(connection, &hello);
                self.tokens.insert(token, key);
                self.active.insert(key);
            }
            Err(error) => self.cut(key, error.to_string(), false),
        }
    }

    fn turn(&mut self, key: LinkKey) {
        let full = self.is_full();
        self.was_full |= full;
        let patience = self.patience;
        let Some(link) = self.links.get_mut(&key) else { return };
        let mut happened = Vec::new();
        let turned = link.turn(full, &mut happened);
        self.due = self.due.min(link.due(Instant::now(), patience));
        if turned.is_ok() && link.has_more(full) {
            self.active.insert(key);
        }
        if matches!(link.plain, PlainPath::Wanted(_)) {
            self.open_plain(key);
        }
        for happened in happened {
            self.carry_out(key, happened);
        }
        match turned {
            Ok(()) => {}
            Err(broken) => self.break_off(key, broken),
        }
    }

    fn break_off(&mut self, key: LinkKey, broken: Broken) {
        match broken {
            Broken::Cut(why) => self.cut(key, why, false),
            Broken::Silent(why) => self.cut(key, why, true),
            Broken::Over(why) => self.lose(key, why),
        }
    }

    /// Opens the plain connection of a link that has content for it.
    fn open_plain(&mut self, key: LinkKey) {
        let Some(link) = self.links.get_mut(&key) else { return };
        let (PlainPath::Wanted(pass), Some(connection)) = (&link.plain, &link.connection) else { return };
        let token = Token(self.next_token + FIRST_TOKEN);
        self.next_token += 1;
        match Plain::open(connection.address, pass, token, self.poll.registry()) {
            Ok(plain) => {
                link.plain = PlainPath::Open(plain);
                self.tokens.insert(token, key);
            }
            Err(error) => link.give_up_plain(&error.to_string()),
        }
        self.due = self.due.min(link.due(Instant::now(), self.patience));
        self.active.insert(key);
    }

    /// Takes a plain connection into use that somebody has opened, if it was this end that told its pass.
    fn attach_plain(&mut self, plain: Plain, address: SocketAddr, pass: &Pass) {
        let key = self.passes.remove(pass);
        let link = key.and_then(|key| self.links.get_mut(&key).map(|link| (key, link)));
        let Some((key, link)) = link.filter(|(_, link)| link.connection.as_ref().is_some_and(|c| c.greeted)) else {
            self.door.log(&address, "it opens a data connection with a pass that is not good, or not any more");
            return;
        };
        self.tokens.insert(plain.token, key);
        link.accept_plain(plain, &name(Some(key.peer)), &name(self.me));
        self.active.insert(key);
    }

    /// The connections of a link are not in use any more.
    fn forget_connections(&mut self, key: LinkKey) {
        let Some(link) = self.links.get_mut(&key) else { return };
        if let Some(connection) = &link.connection {
            self.tokens.remove(&connection.token);
        }
        if let PlainPath::Open(plain) = &link.plain {
            self.tokens.remove(&plain.token);
        }
        self.passes.retain(|_, for_link| *for_link != key);
    }

    fn is_full(&self) -> bool {
        let full = self.shared.untaken.load(Ordering::SeqCst) >= UNTAKEN_MAX;
        if full {
            self.shared.wants_room.store(true, Ordering::SeqCst);
        }
        full && self.shared.untaken.load(Ordering::SeqCst) >= UNTAKEN_MAX
    }

    fn carry_out(&mut self, key: LinkKey, happened: Happened<D>) {
        match happened {
            Happened::Message(message) => self.tell(TransportEvent::Message { from: key.peer, message }),
            Happened::Welcomed(welcome) if key == SERVER => {
                if let Some(link) = self.links.get_mut(&key) {
                    link.pass = welcome.pass;
                }
                self.me = Some(Peer::Governor(welcome.governor));
                self.data_plain = welcome.plain.is_some();
                self.tls.know_client(welcome.client);
                self.patience = welcome.patience;
                self.door.plain = self.data_plain;
                if let Some(joining) = self.joining.take() {
                    let _ = joining.send(Ok(welcome.governor));
                }
                self.ask_again();
            }
            Happened::Welcomed(_) => {}
            Happened::Asked(governor) => {
                let place = self.shared.places().get(&governor).copied();
                if let Some(link) = self.links.get_mut(&key) {
                    link.urge(&record(Record::Address, &(governor, place)));
                    self.active.insert(key);
                }
            }
            Happened::Located(governor, place) => self.located(governor, place),
            Happened::Unreachable(governor) => self.summon(key, governor),
            Happened::Summoned(governor, place) => self.summoned(governor, place),
        }
    }

    /// A link has lost its connection, or did not get one; it may get another one. `silent`: this end has given it up because nothing
    /// came.
    fn cut(&mut self, key: LinkKey, why: String, silent: bool) {
        self.forget_connections(key);
        let Some(link) = self.links.get_mut(&key) else { return };
        link.cut(why.clone(), silent);
        self.due = self.due.min(link.due(Instant::now(), self.patience));
        let Some(addresses) = Some(link.addresses.len()).filter(|&count| count > 0) else {
            tracing::debug!("the connection to {key:?} was cut: {why}");
            return;
        };
        link.tries += 1;
        let tried_all = link.tries >= addresses;
        let may_be_summoned = matches!(key.peer, Peer::Governor(_)) && !link.was_greeted();
        let refused = why.contains("onnection refused") && !may_be_summoned;
        let retry_at = Instant::now() + RETRY_DELAY;
        if tried_all && (refused || self.me.is_none()) {
            // Nobody listens there any more; or it never was, and who waits for it should hear at once.
            return self.lose(key, why);
        }
        link.retry_at = Some(retry_at);
        self.due = self.due.min(retry_at);
        if tried_all && may_be_summoned {
            self.go_another_way(key, &why);
        }
    }

    /// A link is over.
    pub(super) fn lose(&mut self, key: LinkKey, why: String) {
        self.forget_connections(key);
        let Some(mut link) = self.links.remove(&key) else { return };
        self.active.remove(&key);
        if let Some(connection) = &mut link.connection {
            connection.hang_up();
        }
        if let Some(joining) = self.joining.take_if(|_| key == SERVER) {
            let _ = joining.send(Err(why));
            return;
        }
        if let Peer::Governor(governor) = key.peer {
            self.shared.places().remove(&governor);
            if self.me != Some(Peer::Server) && !link.is_idle() {
                tracing::warn!("{} cannot send what it has for {governor}: {why}", name(self.me));
            }
        }
        self.tell(TransportEvent::Lost { peer: key.peer, why: link.with_host(why) });
    }

    fn tell(&mut self, event: TransportEvent<D>) {
        self.shared.untaken.fetch_add(1, Ordering::SeqCst);
        // An owner that is gone needs nothing.
        let _ = self.events.send(event);
        self.shared.wake_owner();
    }

    fn tick(&mut self, now: Instant) {
        self.due = now + IDLE_MAX;
        self.door.tick(now);
        let full = self.is_full();
        for key in self.links.keys().copied().collect::<Vec<_>>() {
            let Some(link) = self.links.get_mut(&key) else { continue };
            let ticked = link.tick(now, full, self.patience);
            if let Some(why) = link.lost(now, self.patience) {
                self.lose(key, why);
            } else if link.retry_at.is_some_and(|at| at <= now) {
                self.dial(key);
            } else {
                match ticked {
                    // What is due then is found at the end of its turn.
                    Ok(()) if link.connection.is_some() => _ = self.active.insert(key),
                    Ok(()) => self.due = self.due.min(link.due(now, self.patience)),
                    Err(broken) => self.break_off(key, broken),
                }
            }
        }
    }

    /// Sends what is left, says goodbye, and hangs up.
    fn close(mut self) {
        self.door.close();
        let deadline = Instant::now() + GOODBYE_MAX;
        let mut ready = Events::with_capacity(1024);
        let mut said = false;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let mut flushed = true;
            for key in self.links.keys().copied().collect::<Vec<_>>() {
                let Some(link) = self.links.get_mut(&key) else { continue };
                if matches!(link.plain, PlainPath::Offered(_) | PlainPath::Wanted(_)) {
                    link.plain = PlainPath::Absent;
                }
                // What comes in now is of no interest, but what it acknowledges and closes is.
                let broken = link.turn(false, &mut Vec::new()).is_err();
                if broken {
                    link.connection = None;
                }
                flushed &= link.connection.is_none() || link.is_flushed();
            }
            if (flushed && said) || left.is_zero() {
                break;
            }
            if flushed {
                said = true;
                for link in self.links.values_mut() {
                    let mut bye = Vec::new();
                    append_record(Record::Bye, &[], &mut bye);
                    link.urge(&bye);
                }
                continue;
            }
            if self.poll.poll(&mut ready, Some(left.min(TICK))).is_ok() {
                self.take_ready(&ready);
            }
        }
        for link in self.links.values_mut() {
            if let Some(connection) = &mut link.connection {
                connection.hang_up();
            }
        }
    }
}

/// What a peer is called in messages.
pub(super) fn name(peer: Option<Peer>) -> String {
    match peer {
        Some(Peer::Governor(governor)) => governor.to_string(),
        Some(Peer::Server) => "the server".to_owned(),
        None => "a new governor".to_owned(),
    }
}
