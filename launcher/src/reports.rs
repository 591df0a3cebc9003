//! What the processes of a start tell the one who waits for it, through a pipe.

use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

/// What the processes of a start tell the one who waits for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Report {
    LogDir(PathBuf),
    /// This rank is the server: its directory and where it listens.
    Serving {
        directory: PathBuf,
        listen: SocketAddr,
    },
    /// The engine is the rank of this number.
    Rank(u32),
    /// Files that it has mapped, and leaves when it is killed.
    SharedMemory(Vec<PathBuf>),
    /// The engine has said what there is to say about its end, or another rank does.
    Spoken,
    /// Something the user should know.
    Note(String),
    /// Where browsers are shown what it does.
    Dashboard(String),
    /// The server accepts clients.
    Ready {
        pid: u32,
        governors: usize,
        cpus: usize,
    },
    /// The engine will not get ready, for this reason.
    Failed(String),
}

/// The end of the pipe at which reports are written.
pub struct Reports(File);

impl Reports {
    pub fn new(pipe: OwnedFd) -> Self {
        Self(File::from(pipe))
    }

    /// Another one that writes to the same pipe.
    ///
    /// # Errors
    /// When the system gives no descriptor.
    #[cfg(feature = "mpi")]
    pub fn try_clone(&self) -> io::Result<Self> {
        self.0.try_clone().map(Self)
    }

    /// # Errors
    /// When nobody listens any more.
    pub fn send(&mut self, report: &Report) -> io::Result<()> {
        let mut line = serde_json::to_vec(report)?;
        line.push(b'\n');
        self.0.write_all(&line)
    }
}

impl AsFd for Reports {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Reads the reports that come until all writers are gone.
pub fn read_reports(pipe: OwnedFd) -> impl Iterator<Item = Report> {
    let lines = BufReader::new(File::from(pipe)).lines();
    lines.map_while(Result::ok).filter_map(|line| serde_json::from_str(&line).ok())
}
