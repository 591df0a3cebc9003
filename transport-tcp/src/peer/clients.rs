//! Clients over TLS alone: the port of a server whose governors come another way.

use super::client_door::ClientDoor;
use super::door::{Door, Entered};
use super::endpoint::{FIRST_TOKEN, LISTENER, WAKER};
use super::identity::PeerTls;
use mio::{Events, Poll, Token, Waker};
use std::collections::BTreeSet;
use std::io;
use std::net::TcpListener;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Takes clients on a port and hands them to a front, on a thread of its own, until it is dropped.
pub struct ClientListener {
    waker: Waker,
    thread: Option<JoinHandle<()>>,
}

impl ClientListener {
    /// Starts to listen; `tls` is that of [`PeerTls::for_clients`].
    ///
    /// # Errors
    /// When the system gives no descriptors or threads.
    pub fn start(listener: TcpListener, tls: PeerTls, clients: ClientDoor) -> io::Result<Self> {
        let reception = Reception::new(listener, tls, clients)?;
        let waker = Waker::new(reception.poll.registry(), WAKER)?;
        let thread = std::thread::Builder::new().name("clients".to_owned()).spawn(move || reception.run())?;
        Ok(Self { waker, thread: Some(thread) })
    }
}

impl Drop for ClientListener {
    fn drop(&mut self) {
        // Woken is asked to end. Without that the thread would not, and is left to the end of the process.
        if let (Ok(()), Some(thread)) = (self.waker.wake(), self.thread.take()) {
            let _ = thread.join();
        }
    }
}

struct Reception {
    poll: Poll,
    door: Door,
    tls: PeerTls,
    clients: ClientDoor,
    next_token: usize,
    /// Connections that may have something to do.
    active: BTreeSet<Token>,
}

impl Reception {
    fn new(listener: TcpListener, tls: PeerTls, clients: ClientDoor) -> io::Result<Self> {
        let poll = Poll::new()?;
        let door = Door::new(listener, LISTENER, poll.registry())?;
        Ok(Self { poll, door, tls, clients, next_token: FIRST_TOKEN, active: BTreeSet::new() })
    }

    fn run(mut self) {
        let mut ready = Events::with_capacity(256);
        loop {
            match self.poll.poll(&mut ready, self.wait(Instant::now())) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    tracing::error!("cannot wait for clients: {error}");
                    return;
                }
            }
            if ready.iter().any(|event| event.token() == WAKER) {
                return self.door.close();
            }
            self.pass(&ready, Instant::now());
        }
    }

    /// How long there is nothing to do unless something happens; none if that may be for ever.
    fn wait(&self, now: Instant) -> Option<Duration> {
        if !self.active.is_empty() || self.door.is_ready() {
            return Some(Duration::ZERO);
        }
        self.door.due().map(|due| due.saturating_duration_since(now))
    }

    /// Does what can be done now.
    fn pass(&mut self, ready: &Events, now: Instant) {
        for event in ready {
            match event.token() {
                LISTENER => self.door.knock(),
                token => {
                    if let Some(connection) = self.door.get_mut(token) {
                        connection.take_readiness(event);
                        self.active.insert(token);
                    }
                }
            }
        }
        let next_token = &mut self.next_token;
        self.door.accept(&self.tls, self.poll.registry(), || {
            *next_token += 1;
            Token(*next_token - 1)
        });
        for token in std::mem::take(&mut self.active) {
            self.turn(token);
        }
        self.door.tick(now);
    }

    fn turn(&mut self, token: Token) {
        match self.door.turn(token, &self.tls, self.poll.registry()) {
            Some(Entered::Client(connection)) => self.clients.hand_over(connection),
            // Not possible: only the protocol of clients is spoken here.
            Some(Entered::Peer(..) | Entered::Plain(..)) => {}
            None if self.door.get_mut(token).is_some_and(|connection| connection.is_ready()) => {
                self.active.insert(token);
            }
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::door::DOOR_TIME_MAX;
    use super::super::identity::Cluster;
    use super::super::tests::contents::OneObject;
    use super::*;
    use crate::contents::ContentService;
    use crate::front::{ClientFront, FrontConfig};
    use std::io::Read;
    use std::net::TcpStream;
    use std::sync::Arc;

    /// Against hanging only.
    const PATIENCE: Duration = Duration::from_secs(60);

    /// A listener, what it has to know, and a connection to it that says nothing.
    fn silent_connection() -> (TcpListener, PeerTls, ClientDoor, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let tls = PeerTls::for_clients(&Cluster::new().unwrap()).unwrap();
        let front = ClientFront::new(FrontConfig { tcp: None, socket_path: None, token: String::new() }).unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let contents = ContentService::new(Arc::new(OneObject));
        (listener, tls, ClientDoor::of_server(front.tls_clients(), contents), stream)
    }

    fn is_dropped(mut stream: TcpStream) -> bool {
        // Before that it may be told why.
        let read = stream.read_to_end(&mut Vec::new());
        read.map_or_else(|error| error.kind() == io::ErrorKind::ConnectionReset, |_| true)
    }

    #[test]
    fn it_sleeps_until_a_silent_connection_has_to_go_and_then_for_ever() {
        let before = Instant::now();
        let (listener, tls, clients, stream) = silent_connection();
        let mut reception = Reception::new(listener, tls, clients).unwrap();
        let nothing = Events::with_capacity(1);
        reception.pass(&nothing, Instant::now());
        let after = Instant::now();
        assert!(reception.wait(before) >= Some(DOOR_TIME_MAX));
        assert!(reception.wait(after) <= Some(DOOR_TIME_MAX));
        reception.pass(&nothing, after + DOOR_TIME_MAX);
        assert_eq!(reception.wait(after), None);
        assert!(is_dropped(stream));
    }

    #[test]
    fn it_ends_while_it_sleeps() {
        let (listener, tls, clients, stream) = silent_connection();
        drop(ClientListener::start(listener, tls, clients).unwrap());
        assert!(is_dropped(stream));
    }
}
