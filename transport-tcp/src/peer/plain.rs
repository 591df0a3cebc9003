//! The plain connection beside a TLS connection (`--data-plain`): it carries the bytes of large contents, one after the
//! other, from who connected to who accepted, and nothing else. Everything about them goes through TLS: what comes next,
//! how long it is, and its checksum.
//!
//! Bytes are read from the file and written, and not sent with `sendfile`: the copies that this costs the sender leave them in the
//! cache for the receiver, who has more to do.

use mio::event::Event;
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use rain_wire::checksum::Checksum;
use rain_wire::payload::Source;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Shown by who opens it, once; told through TLS.
pub(super) type Pass = [u8; 32];

/// What it begins with, before the pass. TLS begins with another byte.
pub(super) const MAGIC: [u8; 8] = *b"raindata";
/// All that is read before it is known who opened it.
pub(super) const GREETING_BYTES: usize = MAGIC.len() + size_of::<Pass>();

/// Bytes that are summed up and then written while they are in the cache.
const CHUNK_BYTES: usize = 256 << 10;
/// How long opening it may take; then content goes through TLS.
const OPEN_TIME_MAX: Duration = Duration::from_secs(3);
/// When nothing of a content was taken for so long, the connections are made anew.
const STALL_TIME_MAX: Duration = Duration::from_secs(30);

/// A pass that nobody can guess; none when the system gives no random bytes.
pub(super) fn new_pass() -> Option<Pass> {
    let mut pass = [0; 32];
    rustls::crypto::ring::default_provider().secure_random.fill(&mut pass).ok()?;
    Some(pass)
}

/// An open plain connection, or one that is being opened.
pub(super) struct Plain {
    socket: TcpStream,
    pub(super) token: Token,
    pub(super) readable: bool,
    pub(super) writable: bool,
    /// This end has opened it, so nothing comes.
    opened: bool,
    /// What is left of it to be written.
    greeting: Vec<u8>,
    sending: Option<Sending>,
    /// For pieces of content.
    buffer: Vec<u8>,
    progress: Instant,
}

/// A content that is being sent.
struct Sending {
    source: Arc<dyn Source>,
    length: usize,
    /// Bytes that were read and summed up; the last of them are in the buffer.
    read: usize,
    buffer: Vec<u8>,
    written: usize,
    checksum: Checksum,
    /// Why it cannot be read. The other side waits for so many bytes, so that zeros follow.
    spoiled: Option<String>,
}

impl Sending {
    fn new(source: Arc<dyn Source>, buffer: Vec<u8>) -> Self {
        let length = usize::try_from(source.length()).unwrap_or(usize::MAX);
        Self { source, length, read: 0, buffer, written: 0, checksum: Checksum::default(), spoiled: None }
    }

    /// What is to be written next, read when all before it is written.
    fn chunk(&mut self) -> &[u8] {
        if self.written == self.read {
            let next = self.length.min(self.read + CHUNK_BYTES);
            if self.spoiled.is_none()
                && let Err(error) = self.source.read_piece(self.read..next, &mut self.buffer)
            {
                self.spoiled = Some(error.to_string());
            }
            if self.spoiled.is_some() {
                self.buffer.clear();
                self.buffer.resize(next - self.read, 0);
            }
            self.checksum.update(&self.buffer);
            self.read = next;
        }
        self.buffer.get(self.buffer.len() - (self.read - self.written)..).unwrap_or_default()
    }
}

/// Why nothing more goes through a plain connection.
pub(super) enum PlainError {
    /// It was never opened.
    NotOpened(String),
    /// Some content may be lost.
    Broken(String),
}

impl Plain {
    /// Notes what the system says that can be done.
    pub(super) fn take_readiness(&mut self, event: &Event) {
        self.readable |= event.is_readable() || event.is_read_closed() || event.is_error();
        self.writable |= event.is_writable() || event.is_write_closed();
    }

    /// Connects to an end that has told this pass.
    pub(super) fn open(address: SocketAddr, pass: &Pass, token: Token, registry: &Registry) -> io::Result<Self> {
        let mut socket = TcpStream::connect(address)?;
        registry.register(&mut socket, token, Interest::READABLE | Interest::WRITABLE)?;
        let mut plain = Self::accepted(socket, token);
        (plain.opened, plain.readable) = (true, false);
        plain.greeting = [MAGIC.as_slice(), pass].concat();
        Ok(plain)
    }

    /// One that was accepted, and whose greeting was read.
    pub(super) fn accepted(socket: TcpStream, token: Token) -> Self {
        let (readable, writable) = (true, false);
        let (greeting, progress) = (Vec::new(), Instant::now());
        Self { socket, token, readable, writable, opened: false, greeting, sending: None, buffer: Vec::new(), progress }
    }

    /// Where it goes from and to, as the receiver sees it.
    pub(super) fn route(&self, from: &str, to: &str) -> String {
        let place =
            |address: io::Result<SocketAddr>| address.map(|address| format!(" ({address})")).unwrap_or_default();
        format!("from {from}{} to {to}{}", place(self.socket.peer_addr()), place(self.socket.local_addr()))
    }

    /// Whether content goes out through it, and does not come in.
    pub(super) fn is_opened_here(&self) -> bool {
        self.opened
    }

    /// Whether the next content has to wait.
    pub(super) fn is_busy(&self) -> bool {
        !self.greeting.is_empty() || self.sending.is_some()
    }

    /// Whether `send` has something to do.
    pub(super) fn can_send(&self) -> bool {
        self.writable && self.is_busy()
    }

    /// Begins to send a content; there is none that is being sent.
    pub(super) fn begin(&mut self, source: Arc<dyn Source>) {
        self.progress = Instant::now();
        self.sending = Some(Sending::new(source, std::mem::take(&mut self.buffer)));
    }

    /// Writes as long as the system takes it, and up to about `bytes_max`; of a content that is written whole the checksum, or why it
    /// could not be read.
    pub(super) fn send(&mut self, bytes_max: usize) -> Result<Option<Result<u64, String>>, PlainError> {
        while self.writable && !self.greeting.is_empty() {
            let count = write(&mut self.socket, &self.greeting, &mut self.writable);
            let count = count.map_err(|error| PlainError::NotOpened(error.to_string()))?;
            self.greeting.drain(..count);
        }
        let Some(sending) = self.sending.as_mut().filter(|_| self.greeting.is_empty()) else { return Ok(None) };
        let end = sending.length.min(sending.written.saturating_add(bytes_max));
        while self.writable && sending.written < end {
            let count = write(&mut self.socket, sending.chunk(), &mut self.writable);
            sending.written += count.map_err(|error| PlainError::Broken(error.to_string()))?;
            self.progress = Instant::now();
        }
        if sending.written < sending.length {
            return Ok(None);
        }
        let Some(Sending { checksum, spoiled, buffer, .. }) = self.sending.take() else { return Ok(None) };
        self.buffer = buffer;
        Ok(Some(spoiled.map_or(Ok(checksum.value()), Err)))
    }

    /// Finds out whether the other side has closed it, without waiting for a write to fail: what it has not read may keep
    /// that from happening.
    pub(super) fn check_open(&mut self) -> Result<(), PlainError> {
        if !self.opened || !self.readable || !self.greeting.is_empty() {
            return Ok(());
        }
        match self.read(&mut [0]) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(PlainError::Broken(error.to_string())),
            Ok(_) => Err(PlainError::Broken("something comes through it".to_owned())),
        }
    }

    /// Reads into `buffer`, which is not empty.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.socket.read(buffer) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.readable = false;
                    return Err(error);
                }
                read => return read,
            }
        }
    }

    /// When `tick` has to be called.
    pub(super) fn due(&self) -> Option<Instant> {
        let opening = (!self.greeting.is_empty()).then(|| self.progress + OPEN_TIME_MAX);
        opening.or_else(|| self.sending.as_ref().map(|_| self.progress + STALL_TIME_MAX))
    }

    /// Whether it goes on.
    pub(super) fn tick(&self, now: Instant) -> Result<(), PlainError> {
        match self.due() {
            Some(due) if due <= now && !self.greeting.is_empty() => {
                Err(PlainError::NotOpened(format!("it took more than {} s", OPEN_TIME_MAX.as_secs())))
            }
            Some(due) if due <= now => {
                Err(PlainError::Broken(format!("nothing was taken for {} s", STALL_TIME_MAX.as_secs())))
            }
            _ => Ok(()),
        }
    }
}

/// How much was written; 0 when the system takes nothing now.
fn write(socket: &mut TcpStream, bytes: &[u8], writable: &mut bool) -> io::Result<usize> {
    loop {
        match socket.write(bytes) {
            Ok(0) if !bytes.is_empty() => return Err(io::ErrorKind::WriteZero.into()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock || error.kind() == io::ErrorKind::NotConnected => {
                *writable = false;
                return Ok(0);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            written => return written,
        }
    }
}
