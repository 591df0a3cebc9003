//! One TLS connection, read and written without waiting.

use super::wire::{RECORD_HEADER_BYTES, Record, WireError, append_header, append_record};
use mio::event::Event;
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use rustls::Connection as Tls;
use std::cell::RefCell;
use std::io::{self, BufRead, IoSlice, Read, Write};
use std::net::SocketAddr;
use std::ops::Range;
use std::time::Instant;

/// Bytes read or written in one turn, so that all connections of a thread get theirs, and what was read is still in the
/// cache when it is looked at.
pub(super) const TURN_BYTES_MAX: usize = 1 << 20;
/// Records are written in batches of at least this size, if there are so many.
const BATCH_BYTES: usize = 256 << 10;
/// Bytes asked of the system at a time; TLS by itself asks for little more than 4 KiB.
const READ_BYTES: usize = 128 << 10;
/// Bodies of records of this size are not copied into the batch.
const COPY_BYTES_MAX: usize = 16 << 10;

thread_local! {
    /// Encrypted bytes between the system and TLS: one buffer for all connections of a thread.
    static ENCRYPTED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Records that are written together.
pub(super) struct Batch<'a> {
    tls: &'a mut Tls,
    /// What was not encrypted yet.
    small: &'a mut Vec<u8>,
    written: usize,
}

impl Batch<'_> {
    /// Appends a record.
    pub(super) fn record(&mut self, kind: Record, body: &[u8]) -> Result<(), String> {
        if body.len() <= COPY_BYTES_MAX {
            append_record(kind, body, self.small);
            return Ok(());
        }
        append_header(kind, body.len(), self.small);
        self.flush(body).map_err(|error| error.to_string())
    }

    /// Appends records as they are written.
    pub(super) fn append(&mut self, records: &[u8]) {
        self.small.extend_from_slice(records);
    }

    fn len(&self) -> usize {
        self.written + self.small.len()
    }

    /// Encrypts what was appended, and `body` after it.
    fn flush(&mut self, body: &[u8]) -> io::Result<()> {
        let length = self.small.len() + body.len();
        let taken = self.tls.writer().write_vectored(&[IoSlice::new(self.small), IoSlice::new(body)])?;
        self.small.clear();
        self.written += taken;
        // Its buffer has no limit.
        if taken == length { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
    }
}

/// A connection and the records that have come in part.
pub(super) struct Connection {
    pub(super) socket: TcpStream,
    pub(super) tls: Tls,
    pub(super) address: SocketAddr,
    pub(super) token: Token,
    /// There may be something to read, or room to write.
    pub(super) readable: bool,
    pub(super) writable: bool,
    /// The other side will send nothing more.
    ended: bool,
    input: Vec<u8>,
    /// Where the next record begins in `input`.
    taken: usize,
    /// Written before anything else.
    pub(super) urgent: Vec<u8>,
    /// The handshakes of TLS and of this protocol are over.
    pub(super) greeted: bool,
    pub(super) heard: Instant,
    pub(super) wrote: Instant,
}

impl Connection {
    pub(super) fn new(
        mut socket: TcpStream,
        mut tls: Tls,
        address: SocketAddr,
        token: Token,
        registry: &Registry,
    ) -> io::Result<Self> {
        let _ = socket.set_nodelay(true);
        // Bounded by how it is used: one batch of records at a time.
        tls.set_buffer_limit(None);
        registry.register(&mut socket, token, Interest::READABLE | Interest::WRITABLE)?;
        let now = Instant::now();
        Ok(Self {
            socket,
            tls,
            address,
            token,
            readable: false,
            writable: false,
            ended: false,
            input: Vec::new(),
            taken: 0,
            urgent: Vec::new(),
            greeted: false,
            heard: now,
            wrote: now,
        })
    }

    /// The system says what can be done now.
    pub(super) fn take_readiness(&mut self, event: &Event) {
        self.readable |= event.is_readable() || event.is_read_closed() || event.is_error();
        self.writable |= event.is_writable() || event.is_write_closed();
    }

    /// Whether there may be something to do without waiting for the system.
    pub(super) fn is_ready(&self) -> bool {
        self.readable || (self.writable && self.wants_write())
    }

    pub(super) fn wants_write(&self) -> bool {
        self.tls.wants_write() || (!self.urgent.is_empty() && !self.tls.is_handshaking())
    }

    /// Reads what has come, up to a bound.
    pub(super) fn read(&mut self) -> io::Result<()> {
        if self.taken > 0 {
            self.input.drain(..self.taken);
            self.taken = 0;
        }
        ENCRYPTED.with_borrow_mut(|buffer| {
            buffer.resize(READ_BYTES, 0);
            let mut left = TURN_BYTES_MAX;
            while self.readable && left > 0 {
                match self.socket.read(buffer) {
                    Ok(0) => (self.ended, self.readable) = (true, false),
                    Ok(count) => {
                        left = left.saturating_sub(count);
                        self.heard = Instant::now();
                        self.decrypt(buffer.get(..count).unwrap_or_default())?;
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.readable = false,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(())
        })
    }

    fn decrypt(&mut self, mut encrypted: &[u8]) -> io::Result<()> {
        while !encrypted.is_empty() {
            if self.tls.read_tls(&mut encrypted)? == 0 {
                // It has said that nothing more comes.
                self.ended = true;
                return Ok(());
            }
            if let Err(error) = self.tls.process_new_packets() {
                // The other side is told why.
                let _ = self.tls.write_tls(&mut self.socket);
                return Err(io::Error::new(io::ErrorKind::InvalidData, error));
            }
            self.take_plain()?;
        }
        Ok(())
    }

    fn take_plain(&mut self) -> io::Result<()> {
        let mut reader = self.tls.reader();
        loop {
            let count = match reader.fill_buf() {
                Ok([]) => {
                    self.ended = true;
                    return Ok(());
                }
                Ok(plain) => {
                    self.input.extend_from_slice(plain);
                    plain.len()
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    self.ended = true;
                    return Ok(());
                }
                Err(error) => return Err(error),
            };
            reader.consume(count);
        }
    }

    /// The next record that is whole: its kind, and where its body is.
    pub(super) fn next_record(&mut self, max: usize) -> Result<Option<(Record, Range<usize>)>, WireError> {
        let rest = self.input.get(self.taken..).unwrap_or_default();
        let Some((header, _)) = rest.split_first_chunk::<RECORD_HEADER_BYTES>() else { return Ok(None) };
        let kind = Record::from_code(header[0])?;
        let length = u32::from_le_bytes([header[1], header[2], header[3], header[4]]) as usize;
        if length > max {
            return Err(WireError::TooLong { length, max });
        }
        if rest.len() < RECORD_HEADER_BYTES + length {
            return Ok(None);
        }
        let start = self.taken + RECORD_HEADER_BYTES;
        self.taken = start + length;
        Ok(Some((kind, start..start + length)))
    }

    pub(super) fn body(&self, range: Range<usize>) -> &[u8] {
        self.input.get(range).unwrap_or_default()
    }

    /// Whether the other side has closed the connection and all that it sent was taken.
    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    /// Bytes that have come and were not taken.
    pub(super) fn untaken(&self) -> usize {
        self.input.len() - self.taken
    }

    /// Writes what is urgent, and then what `more` appends, as long as the system takes it and up to a bound.
    pub(super) fn write(&mut self, mut more: impl FnMut(&mut Batch<'_>) -> Result<bool, String>) -> io::Result<()> {
        let mut left = TURN_BYTES_MAX;
        let mut small = Vec::new();
        while left > 0 {
            while self.tls.wants_write() {
                match self.tls.write_tls(&mut self.socket) {
                    Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                    Ok(count) => {
                        left = left.saturating_sub(count);
                        self.wrote = Instant::now();
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        self.writable = false;
                        return Ok(());
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
            if self.tls.is_handshaking() {
                return Ok(());
            }
            small.clear();
            small.append(&mut self.urgent);
            let mut batch = Batch { tls: &mut self.tls, small: &mut small, written: 0 };
            while batch.len() < BATCH_BYTES && more(&mut batch).map_err(io::Error::other)? {}
            if batch.len() == 0 {
                return Ok(());
            }
            batch.flush(&[])?;
        }
        Ok(())
    }

    /// The socket, TLS, the address, and what has come and was not taken.
    pub(super) fn into_parts(mut self) -> (TcpStream, Tls, SocketAddr, Vec<u8>) {
        self.input.drain(..self.taken);
        (self.socket, self.tls, self.address, self.input)
    }

    /// Tells the other side that nothing more comes, as far as this can be done without waiting.
    pub(super) fn hang_up(&mut self) {
        self.tls.send_close_notify();
        while self.tls.wants_write() && self.tls.write_tls(&mut self.socket).is_ok_and(|count| count > 0) {}
        let _ = self.socket.shutdown(std::net::Shutdown::Write);
    }
}
