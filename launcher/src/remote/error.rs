//! Why a server or a governor was not started.

use super::{access, hosts, ssh};
use crate::address::{AddressError, PortRange};
use crate::governor_config::GovernorConfigError;
use crate::plan::PlanError;
use crate::runtime_dir::RuntimeDirError;
use crate::start::StartError;
use std::io;
use std::path::PathBuf;

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
    Listen(PortRange, io::Error),
    #[error("cannot write the ready file {0}: {1}")]
    ReadyFile(PathBuf, io::Error),
    #[error("no governor could be started on:\n{}\neverything that was started has been stopped{hint}", shown(.missing))]
    Hosts {
        missing: Vec<ssh::HostError>,
        /// What else may be the matter.
        hint: String,
    },
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

/// One line for each host.
fn shown(failed: &[ssh::HostError]) -> String {
    let lines: Vec<String> =
        failed.iter().map(|error| format!("  {}", error.to_string().replace('\n', "\n    "))).collect();
    lines.join("\n")
}
