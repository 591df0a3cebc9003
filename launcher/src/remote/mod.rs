//! Rain on several machines: `rain server`, `rain governor`, and what `rain start` does to start governors elsewhere.

pub mod access;
pub mod args;
pub mod engine;
pub mod governor;
mod hosts;
pub mod reach;
pub mod role;
mod server;
mod srun;
mod ssh;
pub mod start;

pub use governor::run as run_governor;
pub use server::run as run_server;
#[cfg(feature = "mpi")]
pub use server::server_role;

use crate::address::AddressError;
use crate::governor_config::GovernorConfigError;
use crate::plan::PlanError;
use crate::runtime_dir::RuntimeDirError;
use crate::start::StartError;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Why a server or a governor was not started.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    #[error(transparent)]
    Plan(#[from] PlanError),
    #[error(transparent)]
    Address(#[from] AddressError),
    #[error("--cpus={0}: give a number of cpus, -N for all but N, or detect")]
    Cpus(String),
    #[error("the address of the server is not known: {0} is not set here, or has none")]
    NoServerIp(String),
    #[error("cannot listen on {0}: {1}")]
    Listen(std::net::SocketAddr, io::Error),
    #[error("cannot write the ready file {0}: {1}")]
    ReadyFile(PathBuf, io::Error),
    #[error("no governor could be started on:\n{}\neverything that was started has been stopped", start::shown(.0))]
    Hosts(Vec<ssh::HostError>),
    #[error("interrupted while governors were being started; everything that was started has been stopped")]
    GivenUp,
    #[error("the server has gone away")]
    NoServer,
    #[error("{0} is not a path that can be written on a command line")]
    NotText(PathBuf),
    #[error(transparent)]
    HostList(#[from] hosts::HostsError),
    #[error(transparent)]
    Access(#[from] access::AccessError),
    #[error(transparent)]
    GovernorConfig(#[from] GovernorConfigError),
    #[error(transparent)]
    RuntimeDir(#[from] RuntimeDirError),
    #[error(transparent)]
    Start(#[from] StartError),
}

impl RemoteError {
    /// Whether the command line was wrong.
    pub fn is_usage(&self) -> bool {
        use RemoteError::{Address, Cpus, GovernorConfig, HostList, Plan};
        matches!(self, Plan(_) | Address(_) | Cpus(_) | GovernorConfig(_) | HostList(_))
    }
}

/// Removes the ready file of an earlier run.
///
/// # Errors
/// When it is there and cannot be removed.
pub fn clear_ready_file(path: Option<&Path>) -> Result<(), RemoteError> {
    match path.map(|path| (path, fs::remove_file(path))) {
        Some((path, Err(error))) if error.kind() != io::ErrorKind::NotFound => {
            Err(RemoteError::ReadyFile(path.to_owned(), error))
        }
        _ => Ok(()),
    }
}

/// Writes the ready file, at once as a whole.
pub fn write_ready_file(path: Option<&Path>) {
    let Some(path) = path else { return };
    let mut draft = path.as_os_str().to_owned();
    draft.push(format!(".{}", std::process::id()));
    let written = fs::write(&draft, "ready\n").and_then(|()| fs::rename(&draft, path));
    if let Err(error) = written {
        let _ = fs::remove_file(&draft);
        crate::terminal::complain(&RemoteError::ReadyFile(path.to_owned(), error));
    }
}
