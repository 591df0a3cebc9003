//! A running child and what it has started.

use super::table::is_ending;
use super::tree::{Root, Tree, pidfd_open};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use std::ffi::CString;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// A child that leads a session of its own. Dropping it kills it and everything it has started.
#[derive(Debug)]
pub(crate) struct Child {
    pid: Pid,
    pidfd: OwnedFd,
    tree: Tree,
    reaped: bool,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    Exited(i32),
    Killed(Signal),
    /// Somebody else took the status.
    Unknown,
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ending::Exited(status) => write!(f, "exited with status {status}"),
            Ending::Killed(signal) => write!(f, "was killed by signal {} ({})", *signal as i32, signal.as_str()),
            Ending::Unknown => f.write_str("ended"),
        }
    }
}

impl Child {
    /// Takes charge of a child that was just started as the leader of a session, with `entry` in its environment.
    pub(super) fn new(pid: Pid, entry: CString) -> io::Result<Self> {
        let mut tree = Tree::new(pid, entry);
        match pidfd_open(pid.as_raw()) {
            Ok(pidfd) => Ok(Self { pid, pidfd, tree, reaped: false }),
            Err(error) => {
                tree.end(Root::Ends);
                reap(pid);
                Err(error)
            }
        }
    }

    /// The process id.
    pub(crate) fn pid(&self) -> Pid {
        self.pid
    }

    /// Readable when the child has ended.
    pub(crate) fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Whether the system is ending the child, or it has ended.
    pub(crate) fn is_ending(&self) -> bool {
        is_ending(self.pid.as_raw())
    }

    /// Kills the child, if it has not ended, and everything it has started, and waits for their end.
    pub(crate) fn finish(&mut self) -> Ending {
        if self.reaped {
            return Ending::Unknown;
        }
        // Before reaping: until then the child's pid cannot be another's.
        self.tree.end(if self.has_ended() { Root::Ended } else { Root::Ends });
        self.reaped = true;
        reap(self.pid)
    }

    /// After `finish`: nothing was started, by whomever, since the child was, so that nothing of it can live on.
    pub(crate) fn was_alone(&self) -> bool {
        self.tree.is_root_only()
    }

    /// Kills everything that the child has started, but not the child itself.
    pub(crate) fn end_started(&mut self) {
        if !self.reaped {
            self.tree.end(Root::Stays);
        }
    }

    fn has_ended(&self) -> bool {
        let mut fds = [PollFd::new(self.pidfd(), PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::ZERO).is_ok_and(|count| count > 0)
    }
}

fn reap(pid: Pid) -> Ending {
    loop {
        match waitpid(pid, None) {
            Ok(WaitStatus::Exited(_, status)) => return Ending::Exited(status),
            Ok(WaitStatus::Signaled(_, signal, _)) => return Ending::Killed(signal),
            // A signal outside of nix's list, such as a real-time one, is EINVAL.
            Err(Errno::EINTR) | Ok(_) => {}
            Err(_) => return Ending::Unknown,
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.finish();
    }
}
