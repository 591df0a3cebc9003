//! Clients that come over TLS: another thread shakes hands with them and hands them over.

use super::socket::{Peer, Socket, notice_death};
use crate::tls_socket::TlsSocket;
use crossbeam_channel::Sender;
use mio::Waker;
use mio::net::TcpStream;
use std::net::SocketAddr;
use std::sync::Arc;

/// Encrypted bytes that wait for the system, at most.
const PENDING_BYTES_MAX: usize = 1 << 20;

/// A connection of a client, to be handed over.
pub struct FrontSocket {
    pub(super) socket: Socket,
    pub(super) peer: Peer,
}

impl FrontSocket {
    /// A connection whose TLS handshake is over, and which nothing else is registered for; `early` is what has come since.
    pub fn tls(stream: TcpStream, tls: rustls::Connection, address: SocketAddr, early: Vec<u8>) -> Self {
        notice_death(&stream);
        let socket = TlsSocket::new(stream, tls, PENDING_BYTES_MAX, early);
        Self { socket: Socket::Tls(Box::new(socket)), peer: Peer::Address(address) }
    }
}

/// Where clients are handed over, from any thread.
#[derive(Clone)]
pub struct TlsClients {
    pub(super) sockets: Sender<FrontSocket>,
    pub(super) waker: Arc<Waker>,
}

impl TlsClients {
    /// The front takes this connection.
    pub fn hand_over(&self, socket: FrontSocket) {
        // An error means that the front is gone; the connection is closed then.
        if self.sockets.send(socket).is_ok()
            && let Err(error) = self.waker.wake()
        {
            tracing::error!("cannot wake the server: {error}");
        }
    }
}
