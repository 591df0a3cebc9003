//! A running child and its process group.

use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};

/// A child that leads a process group of its own. Dropping it kills the group.
#[derive(Debug)]
pub(crate) struct Child {
    pid: Pid,
    pidfd: OwnedFd,
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
    /// Takes charge of a child that was just started as the leader of a group.
    pub(crate) fn new(pid: Pid) -> io::Result<Self> {
        // SAFETY: pidfd_open takes a pid and flags and touches no memory of ours.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), 0) };
        if fd < 0 {
            let error = io::Error::last_os_error();
            let _ = killpg(pid, Signal::SIGKILL);
            let _ = reap(pid);
            return Err(error);
        }
        // SAFETY: the kernel just made this descriptor for us.
        let pidfd = unsafe { OwnedFd::from_raw_fd(fd as i32) };
        Ok(Self { pid, pidfd, reaped: false })
    }

    /// The process id.
    pub(crate) fn pid(&self) -> Pid {
        self.pid
    }

    /// Readable when the child has ended.
    pub(crate) fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Kills whatever is left of the group and waits for the child's end.
    pub(crate) fn finish(&mut self) -> Ending {
        if self.reaped {
            return Ending::Unknown;
        }
        // Before reaping: until then the group's number cannot be another group's.
        let _ = killpg(self.pid, Signal::SIGKILL);
        self.reaped = true;
        reap(self.pid)
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
