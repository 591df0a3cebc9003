//! A governor that comes before its server (`rain governor --wait`).

use super::access::{self, AccessError};
use crate::local::Stop;
use crate::runtime_dir::Access;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// How long one attempt to connect may take.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(2);

/// Finds the access file of the server on `port`, as `access::find` does, and waits for one that is not there yet.
///
/// # Errors
/// When there is none in time, or it is not private.
pub fn find_access(chosen: Option<&Path>, port: u16, wait: Duration) -> Result<(PathBuf, Access), AccessError> {
    let deadline = Instant::now() + wait;
    loop {
        let found = access::find(chosen, port);
        let may_come = match &found {
            Err(AccessError::None(_)) => true,
            Err(AccessError::Io { source, .. }) => source.kind() == io::ErrorKind::NotFound,
            _ => false,
        };
        if !may_come || Instant::now() >= deadline {
            return found;
        }
        std::thread::sleep(LOOK_AGAIN);
    }
}

/// Waits until somebody listens at one of the addresses, the time is over, or a stop is requested.
pub fn await_server(addresses: &[SocketAddr], wait: Duration, stop: &Stop) {
    let deadline = Instant::now() + wait;
    while Instant::now() < deadline && !stop.is_requested() {
        if addresses.iter().any(|address| TcpStream::connect_timeout(address, CONNECT_TIME_MAX).is_ok()) {
            return;
        }
        std::thread::sleep(LOOK_AGAIN);
    }
}
