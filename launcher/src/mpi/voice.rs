//! Where a rank's process speaks to the user: the standard error of its supervisor, for its own is the log.

use crate::launch::{Report, Reports, adopt};
use crate::terminal;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::RawFd;
use std::sync::{Arc, Mutex, PoisonError};

/// The rank's voice, and the way to tell the supervisor that it was used.
#[derive(Clone)]
pub struct Voice(Arc<Mutex<(File, Reports)>>);

impl Voice {
    /// Speaks there.
    ///
    /// # Errors
    /// When there is no such descriptor.
    pub fn new(fd: RawFd, reports: &Reports) -> io::Result<Self> {
        Ok(Self(Arc::new(Mutex::new((File::from(adopt(fd)?), reports.try_clone()?)))))
    }

    /// Says why the rank ends; one line.
    pub fn say(&self, why: &str) {
        let (file, reports) = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = file.write_all(terminal::complaint(&why).as_bytes());
        let _ = reports.send(&Report::Spoken);
    }

    /// There is nothing more to be said about the end of this rank.
    pub fn leave_it(&self) {
        let (_, reports) = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = reports.send(&Report::Spoken);
    }
}
