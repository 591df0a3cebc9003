//! Clients that come over TLS: another thread shakes hands with them and hands them over.

use super::socket::{Peer, Socket};
use crossbeam_channel::Sender;
use mio::Waker;
use mio::net::TcpStream;
use std::io::{self, IoSlice, Read, Write};
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
    pub fn tls(stream: TcpStream, mut tls: rustls::Connection, address: SocketAddr, early: Vec<u8>) -> Self {
        tls.set_buffer_limit(Some(PENDING_BYTES_MAX));
        let socket = TlsSocket { stream, tls, early, early_taken: 0 };
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

/// A socket with TLS on it.
pub(super) struct TlsSocket {
    pub(super) stream: TcpStream,
    tls: rustls::Connection,
    /// Plain bytes that were read before it was handed over, and how many of them were taken.
    early: Vec<u8>,
    early_taken: usize,
}

impl TlsSocket {
    /// Reads plain bytes; 0 is the end of the stream.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let early = self.early.get(self.early_taken..).unwrap_or_default();
        if !early.is_empty() {
            let count = early.len().min(buffer.len());
            buffer[..count].copy_from_slice(&early[..count]);
            self.early_taken += count;
            return Ok(count);
        }
        self.early = Vec::new();
        loop {
            match self.tls.reader().read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(0),
                read => return read,
            }
            match self.tls.read_tls(&mut self.stream) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            self.tls.process_new_packets().map_err(io::Error::other)?;
            self.flush()?;
        }
    }

    /// Takes what there is room for.
    pub(super) fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.flush()?;
        if self.tls.wants_write() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let written = self.tls.writer().write_vectored(slices)?;
        self.flush()?;
        Ok(written)
    }

    /// Writes what the system takes now.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        while self.tls.wants_write() {
            match self.tls.write_tls(&mut self.stream) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    pub(super) fn has_output(&self) -> bool {
        self.tls.wants_write()
    }

    pub(super) fn shut_output(&mut self) {
        self.tls.send_close_notify();
        let _ = self.flush();
        let _ = self.stream.shutdown(std::net::Shutdown::Write);
    }
}
