//! What the processes of a start are told: the launch file. Their reports come up through a pipe.

use crate::end_time::EndPlan;
use crate::governor_config::ExecutorConfig;
use crate::http::HttpPlan;
use crate::log_plan::LogPlan;
use crate::memory::MemoryPlan;
use crate::plan::{Governors, StartPlan};
pub use crate::reports::{Report, Reports, read_reports};
use crate::resources::ResourcePlan;
use crate::role::Role;
use crate::runtime_dir::{self, RuntimeDirError};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use rain_data::Memory;
use serde::{Deserialize, Serialize};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Name of the launch file in the server's runtime directory.
pub const LAUNCH_FILE: &str = "launch.json";

/// Everything that supervisor and engine need to know.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Launch {
    #[serde(default)]
    pub role: Role,
    pub governors: Governors,
    pub listen: SocketAddr,
    /// The server's runtime directory.
    pub directory: PathBuf,
    pub log_dir: Option<PathBuf>,
    pub work_dir: Option<PathBuf>,
    #[serde(default)]
    pub memory: MemoryPlan,
    pub run_prefix: Vec<String>,
    pub executors: Vec<ExecutorConfig>,
    #[serde(default)]
    pub resources: ResourcePlan,
    pub reserve_cpu: bool,
    pub pin: bool,
    pub keep_capabilities: bool,
    /// Whether the end of the supervisor's standard input stops the server.
    pub until_input_ends: bool,
    pub prestart_python: Option<PathBuf>,
    pub end: EndPlan,
    pub http: Option<HttpPlan>,
    #[serde(default)]
    pub log: LogPlan,
    pub supervisor_pid: Option<u32>,
    pub descriptors: Descriptors,
    /// Filled in by the supervisor.
    pub places: Places,
}

/// Inherited file descriptors.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Descriptors {
    pub listener: RawFd,
    pub reports: RawFd,
    pub lock: RawFd,
    /// Standard error of who started the supervisor, for ranks.
    #[serde(default = "none")]
    pub voice: RawFd,
}

/// No descriptor.
pub const NO_DESCRIPTOR: RawFd = -1;

fn none() -> RawFd {
    NO_DESCRIPTOR
}

impl Default for Descriptors {
    fn default() -> Self {
        Self { listener: NO_DESCRIPTOR, reports: NO_DESCRIPTOR, lock: NO_DESCRIPTOR, voice: NO_DESCRIPTOR }
    }
}

/// Directories of a running server.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Places {
    /// For what clients send.
    pub server_work_dir: PathBuf,
    /// Working directory of each governor.
    pub work_dirs: Vec<PathBuf>,
    /// Where data goes for which there is not enough memory; made when there is some.
    #[serde(default)]
    pub spill_dir: Option<PathBuf>,
    /// What is to be removed in the end.
    pub remove: Vec<PathBuf>,
}

impl Launch {
    pub fn new(plan: StartPlan, listen: SocketAddr, directory: &Path, descriptors: Descriptors) -> Self {
        Self {
            role: Role::Local,
            governors: plan.governors,
            listen,
            directory: directory.to_owned(),
            // The server's directory is removed with it.
            log_dir: plan.log_dir.or_else(|| plan.private.then(|| directory.to_owned())),
            work_dir: plan.work_dir,
            memory: plan.memory,
            run_prefix: plan.run_prefix,
            executors: plan.executors,
            resources: plan.resources,
            reserve_cpu: plan.reserve_cpu,
            pin: plan.pin,
            keep_capabilities: plan.keep_capabilities,
            until_input_ends: plan.private,
            prestart_python: crate::programs::python(),
            end: plan.end,
            http: plan.http,
            log: plan.log,
            supervisor_pid: None,
            descriptors,
            places: Places::default(),
        }
    }

    /// The memory for objects of this process, on a machine with so many like it.
    pub fn memory(&self, governors: usize) -> Arc<Memory> {
        let work_dir = self.places.work_dirs.first().unwrap_or(&self.places.server_work_dir);
        self.memory.memory(work_dir, self.places.spill_dir.clone(), governors)
    }

    /// How many governors are to be started.
    pub fn governor_count(&self) -> usize {
        match &self.governors {
            Governors::Simple => 1,
            Governors::Cpus(counts) => counts.len(),
        }
    }

    pub fn path(&self) -> PathBuf {
        self.directory.join(LAUNCH_FILE)
    }

    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self) -> Result<(), RuntimeDirError> {
        let text = serde_json::to_vec(self).map_err(|error| RuntimeDirError::Io {
            what: "write",
            path: self.path(),
            source: error.into(),
        })?;
        runtime_dir::write_private(&self.directory, LAUNCH_FILE, &text)
    }

    /// # Errors
    /// When the file cannot be read or is none.
    pub fn read(path: &Path) -> io::Result<Self> {
        Ok(serde_json::from_slice(&std::fs::read(path)?)?)
    }
}

/// Says when the time is over.
pub fn tell_end(launch: &Launch, reports: &mut Reports) {
    if let Some(note) = launch.end.note() {
        tracing::info!("{note}");
        let _ = reports.send(&Report::Note(note));
    }
}

/// Lets programs that are started from now on inherit a descriptor.
///
/// # Errors
/// When the system refuses.
pub fn make_inheritable(fd: BorrowedFd<'_>) -> io::Result<RawFd> {
    fcntl(fd, FcntlArg::F_SETFD(FdFlag::empty()))?;
    Ok(fd.as_raw_fd())
}

/// Takes a descriptor that was inherited under this number, and inherits it to nobody else.
///
/// # Errors
/// When there is no such descriptor.
pub fn adopt(fd: RawFd) -> io::Result<OwnedFd> {
    if fd < 3 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: only borrowed for the call, which fails if it is not open.
    fcntl(unsafe { BorrowedFd::borrow_raw(fd) }, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    // SAFETY: it is open, and each of the numbers in a launch file is adopted once, at the start of the program, when
    // nothing else in it can own them.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
