//! Asking a server on another machine, as a client over TLS.

use super::access::{self, AccessError};
use crate::address::{self, AddressError};
use crate::client::{AskError, ServerConnection};
use rain_transport_tcp::peer::identity::{Credentials, client_connection};
use rustls::StreamOwned;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How often to look whether a server that was asked to stop has gone.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Why a server on another machine cannot be asked.
#[derive(Debug, thiserror::Error)]
pub enum ReachError {
    #[error(transparent)]
    Address(#[from] AddressError),
    #[error(transparent)]
    Access(#[from] AccessError),
    #[error("no Rain server at {name}: {why}")]
    Connect { name: String, why: String },
    #[error("the server at {name} and the access file {path} do not belong together, or it is no Rain server: {why}")]
    Tls { name: String, path: PathBuf, why: String },
    #[error("{name}: {source}")]
    Ask { name: String, source: AskError },
    #[error("{0} was asked to stop and is still there")]
    StillThere(String),
}

/// A server on another machine, and how to get in.
pub struct Server {
    /// As it was typed, with the port.
    pub name: String,
    addresses: Vec<SocketAddr>,
    access_path: PathBuf,
    authority: String,
    credentials: Credentials,
}

impl Server {
    /// The server at ADDRESS[:PORT]; `access`: its access file, unless the environment names it or it is here.
    ///
    /// # Errors
    /// When there is no such host, or no access file for clients.
    pub fn find(text: &str, access: Option<&Path>) -> Result<Self, ReachError> {
        let addresses = address::parse_server(text)?;
        let port = addresses.first().map_or(address::DEFAULT_LISTEN.port(), SocketAddr::port);
        let (access_path, access) = access::find(access, port)?;
        let (authority, credentials) = access::for_client(&access_path, access)?;
        let has_port = text.ends_with(&format!(":{port}")) && text.parse::<std::net::IpAddr>().is_err();
        let name = if has_port { text.to_owned() } else { format!("{text}, port {port}") };
        Ok(Self { name, addresses, access_path, authority, credentials })
    }

    /// Connects and shakes hands; `patience` is how long to wait for each answer.
    ///
    /// # Errors
    /// When nobody is there, or it is not the server of the access file.
    pub fn open(&self, patience: Duration) -> Result<ServerConnection, ReachError> {
        let mut socket = self.connect(patience).map_err(|error| {
            let timed_out = error.kind() == io::ErrorKind::TimedOut;
            let why = if timed_out { "no answer".to_owned() } else { error.to_string() };
            ReachError::Connect { name: self.name.clone(), why }
        })?;
        let strange = |why: String| ReachError::Tls { name: self.name.clone(), path: self.access_path.clone(), why };
        let mut tls = client_connection(&self.authority, &self.credentials).map_err(|e| strange(e.to_string()))?;
        while tls.is_handshaking() {
            tls.complete_io(&mut socket).map_err(|error| match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => strange("it does not answer".to_owned()),
                io::ErrorKind::UnexpectedEof => strange("it hung up".to_owned()),
                _ => strange(error.to_string()),
            })?;
        }
        let stream = Box::new(StreamOwned::new(tls, socket));
        ServerConnection::greet(stream).map_err(|source| self.unanswered(source))
    }

    /// An error in an answer.
    pub fn unanswered(&self, source: AskError) -> ReachError {
        ReachError::Ask { name: self.name.clone(), source }
    }

    fn connect(&self, patience: Duration) -> io::Result<TcpStream> {
        let mut failed = io::Error::from(io::ErrorKind::AddrNotAvailable);
        for address in &self.addresses {
            match TcpStream::connect_timeout(address, patience) {
                Ok(socket) => {
                    socket.set_read_timeout(Some(patience))?;
                    socket.set_write_timeout(Some(patience))?;
                    socket.set_nodelay(true)?;
                    return Ok(socket);
                }
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }

    /// Asks the server to stop, and waits until nobody listens there any more.
    ///
    /// # Errors
    /// When it cannot be asked, refuses, or is still there after `patience`.
    pub fn stop(&self, patience: Duration) -> Result<(), ReachError> {
        let deadline = Instant::now() + patience;
        let mut connection = self.open(patience)?;
        match connection.stop() {
            Ok(()) => connection.wait_for_end(),
            Err(AskError::Io(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {}
            Err(error) => return Err(self.unanswered(error)),
        }
        while Instant::now() < deadline {
            match self.connect(deadline.saturating_duration_since(Instant::now()).max(LOOK_AGAIN)) {
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => return Ok(()),
                _ => std::thread::sleep(LOOK_AGAIN),
            }
        }
        Err(ReachError::StillThere(self.name.clone()))
    }
}
