//! `rain stop`.

use crate::client::{AskError, ServerConnection};
use crate::launch::{LAUNCH_FILE, Launch};
use crate::remote::reach::ReachError;
use crate::runtime_dir;
use crate::status::{self, LookupError};
use crate::which_args::WhichServer;
use crate::which_server::{Meant, WhichError};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io;
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

/// How long a server may take to stop.
const STOP_TIME_MAX: Duration = Duration::from_secs(10);
/// How often to look where the system cannot tell of a process's end.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// Why a server was not stopped.
#[derive(Debug, thiserror::Error)]
pub enum StopError {
    #[error(transparent)]
    Lookup(#[from] LookupError),
    #[error(transparent)]
    Reach(#[from] ReachError),
    #[error(transparent)]
    Which(#[from] WhichError),
    #[error("{error}\nend it with `kill -9 {pid}`: what it has started is then ended, too")]
    Unwilling { error: AskError, pid: u32 },
    #[error("the server has not stopped in time\nend it with `kill -9 {0}`: what it has started is then ended, too")]
    StillThere(u32),
}

/// Stops the server and returns when nothing is left of it; the text to be printed.
///
/// # Errors
/// When there is none, or it does not stop.
pub fn run(which: &WhichServer) -> Result<String, StopError> {
    match Meant::find(which)? {
        Meant::Elsewhere(server) => {
            server.stop(STOP_TIME_MAX)?;
            Ok(format!("Rain on {} has stopped\n", server.name))
        }
        Meant::Here(port) => run_here(port),
    }
}

/// Stops a server on this machine.
///
/// # Errors
/// When there is none, or it does not stop.
pub fn run_here(port: u16) -> Result<String, StopError> {
    let found = status::find(port)?;
    // Opened while it lives for sure, so that it is this process and no later one with its pid.
    let supervisor = runtime_dir::supervisor_pid(&found.directory).and_then(|pid| open_process(pid).ok());
    let launch = Launch::read(&found.directory.join(LAUNCH_FILE)).ok();
    let deadline = Instant::now() + STOP_TIME_MAX + launch.map_or(Duration::ZERO, |l| l.end.storing_time_max());
    let pid = found.access.pid;
    let asked = ServerConnection::open(&found.access, STOP_TIME_MAX).and_then(|mut server| server.stop());
    match asked {
        Ok(()) => {}
        // It may have gone away before its answer got here.
        Err(AskError::Io(_)) if !runtime_dir::is_live(&found.directory) => {}
        // It was asked by somebody else, and stops.
        Err(AskError::Io(error)) if is_hang_up(&error) || is_nobody(&error) => {}
        Err(error) => return Err(StopError::Unwilling { error, pid }),
    }
    if wait_for_end(supervisor.as_ref(), &found.directory, deadline) {
        Ok(format!("Rain on {} has stopped\n", found.access.tcp))
    } else {
        Err(StopError::StillThere(pid))
    }
}

fn is_hang_up(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe)
}

/// Nobody listens at its socket, or not any more.
fn is_nobody(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}

/// Waits until the supervisor, which goes last, is gone.
fn wait_for_end(supervisor: Option<&OwnedFd>, directory: &Path, deadline: Instant) -> bool {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match supervisor {
            Some(process) => {
                let mut polled = [PollFd::new(process.as_fd(), PollFlags::POLLIN)];
                let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
                if poll(&mut polled, timeout).is_ok_and(|count| count > 0) {
                    return true;
                }
            }
            None if !runtime_dir::is_live(directory) => return true,
            None => std::thread::sleep(LOOK_AGAIN),
        }
        if left.is_zero() {
            return false;
        }
    }
}

/// A descriptor that becomes readable when the process ends.
fn open_process(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: a plain system call with two numbers.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_process_is_noticed() {
        let mut child = std::process::Command::new("sleep").arg("30").spawn().unwrap();
        let process = open_process(child.id() as i32).unwrap();
        let soon = Instant::now() + Duration::from_millis(20);
        assert!(!wait_for_end(Some(&process), Path::new("/"), soon));
        child.kill().unwrap();
        assert!(wait_for_end(Some(&process), Path::new("/"), Instant::now() + Duration::from_secs(5)));
        child.wait().unwrap();
    }
}
