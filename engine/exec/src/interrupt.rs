//! Waking a worker that waits for a child.

use nix::sys::eventfd::{EfdFlags, EventFd};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

/// A flag that a thread can wait for in `poll`, beside what its child does.
#[derive(Debug)]
pub struct Interrupt {
    event: EventFd,
}

impl Interrupt {
    /// An interrupt that is not raised.
    pub fn new() -> io::Result<Self> {
        let event = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        Ok(Self { event })
    }

    /// Ends the waiting of the worker, now or when it next begins to wait.
    pub fn raise(&self) {
        // Fails only when it was raised 2^64 times without being cleared.
        let _ = self.event.write(1);
    }

    /// Readable while raised.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }

    /// Takes the flag down; false if it was not raised.
    pub fn clear(&self) -> bool {
        self.event.read().is_ok()
    }
}
