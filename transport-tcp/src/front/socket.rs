//! The two kinds of sockets that clients come through, seen as one.

use crate::tls_socket::TlsSocket;
use mio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use mio::{Interest, Registry, Token};
use nix::sys::socket::{getsockopt, setsockopt, sockopt};
use std::fmt;
use std::io::{self, IoSlice, Write};
use std::mem::MaybeUninit;
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsRawFd, RawFd};

/// A record of TLS is not longer; more room would only be cleared in vain.
const TLS_READ_BYTES: usize = 16 << 10;

/// After so many seconds without anything from a client its machine is asked whether it is there,
const KEEP_IDLE_S: u32 = 10;
/// then each so many seconds,
const KEEP_INTERVAL_S: u32 = 5;
/// and the connection is broken after so many questions.
const KEEP_COUNT: u32 = 4;
/// Or when what was sent has not been acknowledged for so long, milliseconds.
const UNANSWERED_MS_MAX: u32 = 30_000;

/// A connected, non-blocking stream socket.
pub(super) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
    /// TCP, with TLS.
    Tls(Box<TlsSocket<TcpStream>>),
}

/// Who is at the other end.
pub(super) enum Peer {
    Address(SocketAddr),
    Process { uid: u32, pid: i32 },
}

impl Peer {
    /// A process of another user.
    pub(super) fn is_stranger(&self) -> bool {
        matches!(self, Peer::Process { uid, .. } if *uid != nix::unistd::geteuid().as_raw())
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Peer::Address(address) => write!(f, "{address}"),
            Peer::Process { uid, pid } => write!(f, "unix socket, process {pid} of user {uid}"),
        }
    }
}

impl Socket {
    pub(super) fn accept_tcp(listener: &TcpListener) -> io::Result<(Self, Peer)> {
        let (stream, address) = listener.accept()?;
        // Replies are whole frames; waiting for more to fill a packet only delays them.
        let _ = stream.set_nodelay(true);
        notice_death(&stream);
        Ok((Socket::Tcp(stream), Peer::Address(address)))
    }

    pub(super) fn accept_unix(listener: &UnixListener) -> io::Result<(Self, Peer)> {
        let (stream, _) = listener.accept()?;
        let credentials = getsockopt(&stream, sockopt::PeerCredentials)?;
        let peer = Peer::Process { uid: credentials.uid(), pid: credentials.pid() };
        Ok((Socket::Unix(stream), peer))
    }

    pub(super) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        let interest = Interest::READABLE | Interest::WRITABLE;
        match self {
            Socket::Tcp(stream) => registry.register(stream, token, interest),
            Socket::Unix(stream) => registry.register(stream, token, interest),
            Socket::Tls(socket) => registry.register(&mut socket.stream, token, interest),
        }
    }

    pub(super) fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Socket::Tcp(stream) => stream.write_vectored(slices),
            Socket::Unix(stream) => stream.write_vectored(slices),
            Socket::Tls(socket) => socket.write_vectored(slices),
        }
    }

    /// Writes what was taken before and waits for the system.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        match self {
            Socket::Tls(socket) => socket.flush(),
            Socket::Tcp(_) | Socket::Unix(_) => Ok(()),
        }
    }

    /// Whether something was taken that waits for the system.
    pub(super) fn has_output(&self) -> bool {
        matches!(self, Socket::Tls(socket) if socket.has_output())
    }

    /// Reads into `buffer`; 0 is the end of the stream.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Socket::Tls(socket) = self {
            return socket.read(buffer);
        }
        // SAFETY: `u8` has no invalid values, and `receive` writes nothing but initialised bytes.
        let spare = unsafe { &mut *(std::ptr::from_mut::<[u8]>(buffer) as *mut [MaybeUninit<u8>]) };
        receive(self.as_raw_fd(), spare)
    }

    /// Reads up to `count` bytes to the end of `buffer`, which has that much spare capacity; 0 is the end of the stream.
    pub(super) fn append_to(&mut self, buffer: &mut Vec<u8>, count: usize) -> io::Result<usize> {
        if let Socket::Tls(socket) = self {
            let start = buffer.len();
            buffer.resize(start + count.min(buffer.capacity() - start).min(TLS_READ_BYTES), 0);
            let read = socket.read(&mut buffer[start..]);
            buffer.truncate(start + read.as_ref().copied().unwrap_or(0));
            return read;
        }
        let spare = buffer.spare_capacity_mut();
        let count = count.min(spare.len());
        let received = receive(self.as_raw_fd(), &mut spare[..count])?;
        let length = buffer.len() + received;
        // SAFETY: `receive` has initialised that many bytes after the old end, within the capacity.
        unsafe { buffer.set_len(length) };
        Ok(received)
    }

    /// Tells the peer that nothing more comes.
    pub(super) fn shut_output(&mut self) {
        let _ = match self {
            Socket::Tls(socket) => {
                socket.say_end();
                socket.stream.shutdown(Shutdown::Write)
            }
            Socket::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Socket::Unix(stream) => stream.shutdown(Shutdown::Write),
        };
    }
}

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        match self {
            Socket::Tcp(stream) => stream.as_raw_fd(),
            Socket::Unix(stream) => stream.as_raw_fd(),
            Socket::Tls(socket) => socket.stream.as_raw_fd(),
        }
    }
}

/// Has the system break the connection when the client's machine has not answered for about 30 s: when nothing is on its way to
/// it, that is asked for. Where the system does not know how, a machine that loses power is noticed when something is sent to it.
pub(super) fn notice_death(stream: &TcpStream) {
    let set = || {
        setsockopt(stream, sockopt::KeepAlive, &true)?;
        setsockopt(stream, sockopt::TcpKeepIdle, &KEEP_IDLE_S)?;
        setsockopt(stream, sockopt::TcpKeepInterval, &KEEP_INTERVAL_S)?;
        setsockopt(stream, sockopt::TcpKeepCount, &KEEP_COUNT)?;
        setsockopt(stream, sockopt::TcpUserTimeout, &UNANSWERED_MS_MAX)
    };
    if let Err(error) = set() {
        tracing::debug!("the death of a client's machine may go unnoticed: {error}");
    }
}

fn receive(fd: RawFd, buffer: &mut [MaybeUninit<u8>]) -> io::Result<usize> {
    loop {
        // SAFETY: the pointer and length describe memory that is ours to write for the time of the call.
        let received = unsafe { libc::recv(fd, buffer.as_mut_ptr().cast(), buffer.len(), 0) };
        if received >= 0 {
            return Ok(received as usize);
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// Whether accepting failed because of the one connection that was to be accepted, so that the next may be tried.
pub(crate) fn concerns_one_connection(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::ECONNABORTED | libc::EINTR | libc::EPERM | libc::EPROTO | libc::ECONNRESET | libc::ENOTCONN)
    )
}
