//! Content of objects for clients, from the governors that have it, or from the server: each connection has a thread of its own,
//! which answers one `fetch` after the other. TLS has shown before that it is a client of this cluster.

use mio::net::TcpStream;
use rain_core::client::{Fetch, FetchHeader, Request, RequestError, decode_request, error_frame, ok_frame};
pub use rain_wire::payload::Source;
use rustls::Connection as Tls;
use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Connections at once; who comes then is sent away, and asks the server for what it needs.
pub const CONTENT_CONNECTIONS_MAX: usize = 64;
/// How long a client may think between two requests.
const IDLE_TIME_MAX: Duration = Duration::from_secs(60);
/// How long a client may take nothing of what it is sent.
const STALLED_TIME_MAX: Duration = Duration::from_secs(20);
/// A fetch has a few numbers.
const REQUEST_BYTES_MAX: usize = 1 << 10;
/// Content encrypted at a time.
const PIECE_BYTES: usize = 256 << 10;

/// Where content is found.
pub trait Contents: Send + Sync + 'static {
    /// The content that a client asks for.
    ///
    /// # Errors
    /// When it is not here, or cannot be read.
    fn find(&self, fetch: &Fetch) -> Result<(FetchHeader, Arc<dyn Source>), RequestError>;
}

/// Answers clients that fetch content, until it is dropped.
pub struct ContentService {
    contents: Arc<dyn Contents>,
    open: Arc<Open>,
}

/// The connections that are served, to be closed from another thread.
#[derive(Default)]
struct Open(Mutex<(u64, BTreeMap<u64, std::net::TcpStream>)>);

impl Open {
    fn lock(&self) -> MutexGuard<'_, (u64, BTreeMap<u64, std::net::TcpStream>)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its number; `None` when there are too many.
    fn add(&self, socket: std::net::TcpStream) -> Option<u64> {
        let (next, sockets) = &mut *self.lock();
        if sockets.len() >= CONTENT_CONNECTIONS_MAX {
            return None;
        }
        *next += 1;
        sockets.insert(*next, socket);
        Some(*next)
    }
}

impl ContentService {
    /// A service for this content.
    pub fn new(contents: Arc<dyn Contents>) -> Self {
        Self { contents, open: Arc::default() }
    }

    /// Serves a client; `early` is what has come from it, decrypted.
    pub(crate) fn take(&self, socket: TcpStream, tls: Tls, address: SocketAddr, early: Vec<u8>) {
        let served = serve_in_thread(&self.contents, &self.open, socket, tls, early);
        if let Err(error) = served {
            tracing::warn!(peer = %address, "cannot serve content: {error}");
        }
    }
}

impl Drop for ContentService {
    fn drop(&mut self) {
        for socket in self.open.lock().1.values() {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

fn serve_in_thread(
    contents: &Arc<dyn Contents>,
    open: &Arc<Open>,
    socket: TcpStream,
    mut tls: Tls,
    early: Vec<u8>,
) -> io::Result<()> {
    let socket = std::net::TcpStream::from(OwnedFd::from(socket));
    socket.set_nonblocking(false)?;
    socket.set_read_timeout(Some(IDLE_TIME_MAX))?;
    socket.set_write_timeout(Some(STALLED_TIME_MAX))?;
    tls.set_buffer_limit(Some(2 * PIECE_BYTES));
    let Some(number) = open.add(socket.try_clone()?) else {
        return Err(io::Error::other(format!("there are {CONTENT_CONNECTIONS_MAX} connections for it already")));
    };
    let (contents, open_too) = (contents.clone(), open.clone());
    let serve = move || {
        let mut connection = Connection { socket, tls, early: early.into() };
        match connection.serve(&*contents) {
            Ok(()) => {}
            Err(error) => tracing::debug!("a client that fetches content is gone: {error}"),
        }
        open_too.lock().1.remove(&number);
    };
    let started = std::thread::Builder::new().name("content".to_owned()).spawn(serve);
    if started.is_err() {
        open.lock().1.remove(&number);
    }
    started.map(drop)
}

struct Connection {
    socket: std::net::TcpStream,
    tls: Tls,
    early: std::collections::VecDeque<u8>,
}

impl Connection {
    /// Answers requests until the client hangs up.
    fn serve(&mut self, contents: &dyn Contents) -> io::Result<()> {
        while let Some(frame) = self.next_frame()? {
            match decode_request(&frame) {
                Ok((id, Request::Fetch(fetch))) => self.answer(id, &fetch, contents)?,
                Ok((id, _)) => self.write(&error_frame(id, &RequestError::protocol("only fetch is served here")))?,
                Err(error) => {
                    self.write(&error_frame(0, &RequestError::protocol(error.to_string())))?;
                    break;
                }
            }
        }
        self.tls.send_close_notify();
        self.send()
    }

    fn answer(&mut self, id: u64, fetch: &Fetch, contents: &dyn Contents) -> io::Result<()> {
        let (header, source) = match contents.find(fetch) {
            Ok(found) => found,
            Err(error) => return self.write(&error_frame(id, &error)),
        };
        let bytes = source.bytes();
        let start = (fetch.offset as usize).min(bytes.len());
        let limit = fetch.limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
        let end = start.saturating_add(limit).min(bytes.len());
        self.write(&ok_frame(id, &FetchHeader { length: (end - start) as u64, ..header }))?;
        self.write(&bytes[start..end])
    }

    /// The next request's frame without its length; `None` when there is none.
    fn next_frame(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut length = [0; 4];
        if !self.read_exact_or_end(&mut length)? {
            return Ok(None);
        }
        let length = u32::from_le_bytes(length) as usize;
        if length > REQUEST_BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a request of {length} bytes")));
        }
        let mut frame = vec![0; length];
        let whole = self.read_exact_or_end(&mut frame)?;
        if whole { Ok(Some(frame)) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    /// Fills the buffer; false when nothing more comes.
    fn read_exact_or_end(&mut self, mut buffer: &mut [u8]) -> io::Result<bool> {
        let early = self.early.read(buffer)?;
        buffer = &mut buffer[early..];
        while !buffer.is_empty() {
            match self.tls.reader().read(buffer) {
                Ok(0) => return Ok(false),
                Ok(count) => buffer = &mut buffer[count..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    // Without bytes it is the end, which the reader tells.
                    self.tls.read_tls(&mut self.socket)?;
                    self.tls.process_new_packets().map_err(io::Error::other)?;
                    self.send()?;
                }
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Sends what is encrypted.
    fn send(&mut self) -> io::Result<()> {
        while self.tls.wants_write() {
            self.tls.write_tls(&mut self.socket)?;
        }
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        for piece in bytes.chunks(PIECE_BYTES) {
            self.tls.writer().write_all(piece)?;
            self.send()?;
        }
        Ok(())
    }
}
