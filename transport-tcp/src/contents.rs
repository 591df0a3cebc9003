//! Content of objects for clients, from the governors that have it, or from the server: each connection has a thread of its own,
//! which answers one `fetch` after the other. TLS has shown before that it is a client of this cluster.

use crate::log_budget::LogBudget;
use crate::tls_socket::TlsSocket;
use mio::net::TcpStream;
use rain_protocol::client::{Fetch, FetchHeader, Request, RequestError, decode_request, error_frame, ok_frame};
use rain_protocol::msgpack::{HEADER_BYTES, body_length};
use rain_transport::clients::{Contents, Found};
use rustls::Connection as Tls;
use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Connections at once; who comes then is sent away, and asks the server for what it needs.
pub const CONTENT_CONNECTIONS_MAX: usize = 64;
/// How long a client may think between two requests, and take to send one.
const IDLE_TIME_MAX: Duration = Duration::from_secs(60);
/// How long a client may take nothing of what it is sent.
const STALLED_TIME_MAX: Duration = Duration::from_secs(20);
/// A fetch has a few numbers.
const REQUEST_BYTES_MAX: usize = 1 << 10;
/// Content encrypted at a time.
const PIECE_BYTES: usize = 256 << 10;

/// Answers clients that fetch content, until it is dropped.
pub struct ContentService {
    contents: Arc<dyn Contents>,
    open: Arc<Open>,
}

/// The connections that are served, to be closed from another thread.
#[derive(Default)]
struct Open(Mutex<Sockets>);

#[derive(Default)]
struct Sockets {
    by_number: BTreeMap<u64, std::net::TcpStream>,
    next_number: u64,
    log_budget: LogBudget,
}

impl Open {
    fn lock(&self) -> MutexGuard<'_, Sockets> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its number; `None` when there are too many.
    fn add(&self, socket: std::net::TcpStream) -> Option<u64> {
        let mut sockets = self.lock();
        if sockets.by_number.len() >= CONTENT_CONNECTIONS_MAX {
            return None;
        }
        let number = sockets.next_number;
        sockets.next_number += 1;
        sockets.by_number.insert(number, socket);
        Some(number)
    }

    fn remove(&self, number: u64) {
        self.lock().by_number.remove(&number);
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
        if let Err(error) = served
            && self.open.lock().log_budget.allows(Instant::now())
        {
            tracing::warn!(peer = %address, "cannot serve content: {error}");
        }
    }
}

impl Drop for ContentService {
    fn drop(&mut self) {
        for socket in self.open.lock().by_number.values() {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

fn serve_in_thread(
    contents: &Arc<dyn Contents>,
    open: &Arc<Open>,
    socket: TcpStream,
    tls: Tls,
    early: Vec<u8>,
) -> io::Result<()> {
    let socket = std::net::TcpStream::from(OwnedFd::from(socket));
    socket.set_nonblocking(false)?;
    socket.set_write_timeout(Some(STALLED_TIME_MAX))?;
    let Some(number) = open.add(socket.try_clone()?) else {
        return Err(io::Error::other(format!("there are {CONTENT_CONNECTIONS_MAX} connections for it already")));
    };
    let (contents, open_too) = (contents.clone(), open.clone());
    let serve = move || {
        let socket = TlsSocket::new(socket, tls, 2 * PIECE_BYTES, early);
        let mut connection = Connection { socket, piece: Vec::new() };
        if let Err(error) = connection.serve(&*contents) {
            tracing::debug!("a client that fetches content is gone: {error}");
        }
        open_too.remove(number);
    };
    let started = std::thread::Builder::new().name("content".to_owned()).spawn(serve);
    if started.is_err() {
        open.remove(number);
    }
    started.map(drop)
}

/// A connection on which calls wait, for a bounded time.
struct Connection {
    socket: TlsSocket<std::net::TcpStream>,
    /// Content between its file and TLS.
    piece: Vec<u8>,
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
        self.socket.say_end();
        Ok(())
    }

    fn answer(&mut self, id: u64, fetch: &Fetch, contents: &dyn Contents) -> io::Result<()> {
        let Found { data_type, content_type, content } = match contents.find(fetch) {
            Ok(found) => found,
            Err(error) => return self.write(&error_frame(id, &error)),
        };
        let size = usize::try_from(content.length()).unwrap_or(usize::MAX);
        let mut range = fetch.range(size, usize::MAX, usize::MAX);
        let header =
            FetchHeader { size: size as u64, length: range.len() as u64, data_type: data_type.code(), content_type };
        let mut is_begun = false;
        while !range.is_empty() || !is_begun {
            let piece = range.start..range.end.min(range.start + PIECE_BYTES);
            range.start = piece.end;
            match content.read_piece(piece.start as u64..piece.end as u64, &mut self.piece) {
                // The client asks the server then, which can tell it why.
                Err(error) if is_begun => return Err(error),
                Err(error) => {
                    let why = format!("object {} cannot be read: {error}", fetch.object);
                    return self.write(&error_frame(id, &RequestError::request(why)));
                }
                Ok(()) => {}
            }
            if !is_begun {
                is_begun = true;
                self.write(&ok_frame(id, &header))?;
            }
            let bytes = std::mem::take(&mut self.piece);
            let written = self.write(&bytes);
            self.piece = bytes;
            written?;
        }
        Ok(())
    }

    /// The next request's frame without its length; `None` when there is none.
    fn next_frame(&mut self) -> io::Result<Option<Vec<u8>>> {
        let deadline = Instant::now() + IDLE_TIME_MAX;
        let mut header = [0; HEADER_BYTES];
        if !self.read_exact_or_end(&mut header, deadline)? {
            return Ok(None);
        }
        let invalid = |error| io::Error::new(io::ErrorKind::InvalidData, error);
        let mut frame = vec![0; body_length(header, REQUEST_BYTES_MAX).map_err(invalid)?];
        let whole = self.read_exact_or_end(&mut frame, deadline)?;
        if whole { Ok(Some(frame)) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    /// Fills the buffer; false when nothing more comes.
    fn read_exact_or_end(&mut self, mut buffer: &mut [u8], deadline: Instant) -> io::Result<bool> {
        while !buffer.is_empty() {
            // A time limit of zero would be none.
            let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            self.socket.stream.set_read_timeout(Some(left))?;
            match self.socket.read(buffer)? {
                0 => return Ok(false),
                count => buffer = &mut buffer[count..],
            }
        }
        Ok(true)
    }

    fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let piece = &bytes[..bytes.len().min(PIECE_BYTES)];
            let count = self.socket.write_vectored(&[IoSlice::new(piece)])?;
            bytes = &bytes[count..];
        }
        // The stream's time may be over.
        if self.socket.has_output() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(()) }
    }
}
