//! Clients over TLS alone: the port of a server whose governors come another way.

use super::door::{Door, Entered};
use super::endpoint::{LISTENER, WAKER};
use super::identity::PeerTls;
use super::{ClientDoor, FIRST_TOKEN};
use mio::{Events, Poll, Token, Waker};
use std::collections::BTreeSet;
use std::io;
use std::net::TcpListener;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How often connections are looked at that nothing happens on.
const TICK: Duration = Duration::from_millis(250);

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
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), WAKER)?;
        let door = Door::new(listener, LISTENER, poll.registry())?;
        let reception = Reception { poll, door, tls, clients, next_token: FIRST_TOKEN, active: BTreeSet::new() };
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
    fn run(mut self) {
        let mut ready = Events::with_capacity(256);
        loop {
            let idle = self.active.is_empty() && !self.door.is_ready();
            match self.poll.poll(&mut ready, Some(if idle { TICK } else { Duration::ZERO })) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    tracing::error!("cannot wait for clients: {error}");
                    return;
                }
            }
            for event in &ready {
                match event.token() {
                    WAKER => return self.door.close(),
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
            self.door.tick(Instant::now());
        }
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
