//! Server and governors over TCP: mutual TLS, one connection between the server and each governor, and connections
//! between governors when they have something for each other.
//!
//! Each end has one thread for all its connections ([`endpoint`]). A [`link`] is what two ends have to tell each other;
//! it outlives a connection that is cut for a short time. Content of objects has a [lane](rain_wire::lane) of its own, so that other
//! messages overtake it.

mod apart;
mod client_door;
mod clients;
mod connection;
mod door;
mod endpoint;
pub mod identity;
mod link;
mod own;
mod pause;
mod plain;
mod reach;
mod shared;
#[cfg(test)]
mod tests;
mod wire;

pub use client_door::ClientDoor;
pub use clients::ClientListener;
use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use door::Door;
use endpoint::{Endpoint, Joined, LISTENER, Request, WAKER};
use identity::PeerTls;
use mio::{Poll, Waker};
use rain_io::IoThreads;
pub use rain_link::Patience;
use rain_model::id::GovernorId;
use rain_protocol::peer::Message;
use rain_transport::{Peer, Place, Transport, TransportEvent, Wake};
use rain_wire::payload::Payload;
use shared::Shared;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long joining a server may take.
pub const JOIN_TIME_MAX: Duration = Duration::from_secs(15);
/// When the owner has taken so many messages that no more than these are left, more are read.
const UNTAKEN_LOW: usize = 1 << 13;

/// Why there is no transport.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("cannot listen or wait for connections: {0}")]
    System(#[from] io::Error),
    #[error("cannot join the server at {address}: {why}")]
    Join { address: String, why: String },
}

/// What a server decides for all ends.
#[derive(Clone, Copy, Debug, Default)]
pub struct Terms {
    /// Large content that governors send to each other and to the server goes through connections without TLS.
    pub data_plain: bool,
    /// How long a governor, and for governors the server, may be unreachable.
    pub patience: Patience,
}

/// An end of the connections over TCP.
pub struct TcpTransport<D: Payload> {
    me: Peer,
    requests: Sender<Request<D>>,
    events: Receiver<TransportEvent<D>>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl<D: Payload> TcpTransport<D> {
    /// The server's end, which takes governors that connect to `listener`, and hands clients on.
    ///
    /// # Errors
    /// When the system gives no descriptors or threads.
    pub fn serve(
        listener: TcpListener,
        tls: PeerTls,
        place: D::Place,
        clients: Option<ClientDoor>,
        terms: Terms,
        wake: Wake,
    ) -> Result<Self, ConnectError> {
        let (mut endpoint, mut transport) = Self::make(listener, tls, place)?;
        endpoint.data_plain = terms.data_plain;
        endpoint.door.plain = terms.data_plain;
        endpoint.patience = terms.patience;
        endpoint.me = Some(Peer::Server);
        endpoint.clients = clients;
        transport.set_wake(wake);
        transport.start(endpoint)?;
        Ok(transport)
    }

    /// A governor's end: joins the server at one of `addresses`, takes other governors that connect to `listener`, and hands
    /// clients on. `set_wake` is to be called.
    ///
    /// # Errors
    /// When the server is not there or does not let it in.
    pub fn join(
        addresses: &[SocketAddr],
        listener: TcpListener,
        tls: PeerTls,
        place: D::Place,
        clients: Option<ClientDoor>,
    ) -> Result<(GovernorId, Self), ConnectError> {
        let address = addresses.iter().map(SocketAddr::to_string).collect::<Vec<_>>().join(" or ");
        let failed = |why: String| ConnectError::Join { address: address.clone(), why };
        let (mut endpoint, mut transport) = Self::make(listener, tls, place)?;
        let (told, joined): (Sender<Joined>, _) = bounded(1);
        endpoint.server = addresses.to_vec();
        endpoint.clients = clients;
        endpoint.joining = Some(told);
        transport.start(endpoint)?;
        let governor =
            joined.recv_timeout(JOIN_TIME_MAX).map_err(|_| failed("it does not answer".to_owned()))?.map_err(failed)?;
        transport.me = Peer::Governor(governor);
        Ok((governor, transport))
    }

    /// Called from now on when something has come.
    pub fn set_wake(&mut self, wake: Wake) {
        // For what has come already.
        wake();
        *self.shared.owner.lock().unwrap_or_else(PoisonError::into_inner) = Some(wake);
        self.shared.wake_owner();
    }

    fn make(listener: TcpListener, tls: PeerTls, place: D::Place) -> Result<(Endpoint<D>, Self), ConnectError> {
        let poll = Poll::new()?;
        let shared = Arc::new(Shared {
            waker: Waker::new(poll.registry(), WAKER)?,
            awake: AtomicBool::new(false),
            untaken: AtomicUsize::new(0),
            wants_room: AtomicBool::new(false),
            owner: Mutex::new(None),
            places: Mutex::default(),
        });
        let (requests_in, requests) = unbounded();
        let (events_in, events) = unbounded();
        let (wake_link, woken) = unbounded();
        let wake_shared = shared.clone();
        let endpoint = Endpoint {
            me: None,
            listen: listener.local_addr()?,
            door: Door::new(listener, LISTENER, poll.registry())?,
            poll,
            tls,
            requests,
            events: events_in,
            shared: shared.clone(),
            io: IoThreads::start(rain_io::THREADS_MAX)?,
            place,
            clients: None,
            joining: None,
            server: Vec::new(),
            patience: Patience::default(),
            wake_self: Arc::new(move || wake_shared.wake()),
            woken,
            wake_link,
            was_full: false,
            links: BTreeMap::new(),
            tokens: BTreeMap::new(),
            next_token: 0,
            next_governor: 0,
            active: BTreeSet::new(),
            active_at_door: BTreeSet::new(),
            data_plain: false,
            passes: BTreeMap::new(),
            due: Instant::now(),
        };
        Ok((endpoint, Self { me: Peer::Server, requests: requests_in, events, shared, thread: None }))
    }

    fn start(&mut self, endpoint: Endpoint<D>) -> io::Result<()> {
        let thread = std::thread::Builder::new().name("connections".to_owned()).spawn(move || endpoint.run())?;
        self.thread = Some(thread);
        Ok(())
    }

    fn request(&self, request: Request<D>) {
        // An error means that the thread has ended, and with it all connections.
        if self.requests.send(request).is_ok() {
            self.shared.wake();
        }
    }
}

impl<D: Payload> Transport<D> for TcpTransport<D> {
    fn me(&self) -> Peer {
        self.me
    }

    fn send(&mut self, to: Peer, message: Message<D>) {
        self.request(Request::Send(to, message));
    }

    fn try_receive(&mut self) -> Option<TransportEvent<D>> {
        let event = self.events.try_recv().ok()?;
        let left = self.shared.untaken.fetch_sub(1, Ordering::SeqCst) - 1;
        if left <= UNTAKEN_LOW && self.shared.wants_room.swap(false, Ordering::SeqCst) {
            self.shared.wake();
        }
        Some(event)
    }

    fn place_of(&self, governor: GovernorId) -> Option<Place> {
        self.shared.places().get(&governor).copied()
    }
}

impl<D: Payload> Drop for TcpTransport<D> {
    fn drop(&mut self) {
        self.request(Request::Close);
        if let Some(thread) = self.thread.take() {
            // A panic there has been reported by the panic hook.
            let _ = thread.join();
        }
    }
}
