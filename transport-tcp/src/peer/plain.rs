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
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Shown by who opens it, once; told through TLS.
pub(super) type Pass = [u8; 32];

/// What it begins with, before the pass. TLS begins with another byte.
pub(super) const MAGIC: [u8; 8] = *b"raindata";
/// All that is read before it is known who opened it.
pub(super) const GREETING_BYTES: usize = MAGIC.len() + size_of::<Pass>();

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
    /// The memory of the last piece.
    free: Vec<u8>,
    progress: Instant,
}

/// A content that is being sent.
struct Sending {
    piece: Vec<u8>,
    /// Bytes of the piece that were written.
    written: usize,
    /// Bytes that come after the piece.
    left: usize,
    checksum: Checksum,
    /// Why it cannot be read. The other side waits for so many bytes, so that zeros follow.
    spoiled: Option<String>,
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
        Self { socket, token, readable, writable, opened: false, greeting, sending: None, free: Vec::new(), progress }
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
        self.writable && self.is_busy() && !self.wants_piece()
    }

    /// Whether a content is being sent of which the next piece is to be [given](Self::give).
    pub(super) fn wants_piece(&self) -> bool {
        self.sending.as_ref().is_some_and(|sending| sending.written == sending.piece.len())
    }

    /// Takes the next piece of the content that is being sent, or the first of one: `length` bytes, or why they cannot be read; `left`
    /// bytes come after them. What there was before is written. The memory of the piece before comes back.
    pub(super) fn give(&mut self, bytes: Result<Vec<u8>, String>, length: usize, left: usize) -> Vec<u8> {
        self.progress = Instant::now();
        let free = std::mem::take(&mut self.free);
        let sending = self.sending.get_or_insert_with(|| Sending {
            piece: free,
            written: 0,
            left: 0,
            checksum: Checksum::default(),
            spoiled: None,
        });
        let piece = match bytes {
            Ok(bytes) => bytes,
            Err(why) => {
                sending.spoiled.get_or_insert(why);
                vec![0; length]
            }
        };
        sending.checksum.update(&piece);
        (sending.written, sending.left) = (0, left);
        std::mem::replace(&mut sending.piece, piece)
    }

    /// Writes as long as the system takes it, and takes what that is off `left`; of a content that is written whole the checksum, or why
    /// it could not be read.
    pub(super) fn send(&mut self, left: &mut usize) -> Result<Option<Result<u64, String>>, PlainError> {
        while self.writable && !self.greeting.is_empty() {
            let count = write(&mut self.socket, &self.greeting, &mut self.writable);
            let count = count.map_err(|error| PlainError::NotOpened(error.to_string()))?;
            self.greeting.drain(..count);
        }
        let Some(sending) = self.sending.as_mut().filter(|_| self.greeting.is_empty()) else { return Ok(None) };
        while self.writable
            && *left > 0
            && let Some(rest) = sending.piece.get(sending.written..).filter(|rest| !rest.is_empty())
        {
            let count = write(&mut self.socket, rest, &mut self.writable);
            let count = count.map_err(|error| PlainError::Broken(error.to_string()))?;
            sending.written += count;
            *left = left.saturating_sub(count);
            self.progress = Instant::now();
        }
        if sending.written < sending.piece.len() || sending.left > 0 {
            return Ok(None);
        }
        let Some(Sending { checksum, spoiled, piece, .. }) = self.sending.take() else { return Ok(None) };
        self.free = piece;
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
