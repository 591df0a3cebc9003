//! What an engine process is: everything on this machine, a server alone, a governor of a server elsewhere, or a rank of an
//! MPI program.

use crate::host_name::host_name;
use crate::remote::role::{GovernorRole, ServerRole};
use serde::{Deserialize, Serialize};
use std::fs;
use std::time::Duration;

/// What to run.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub enum Role {
    /// Server and governors in one process.
    #[default]
    Local,
    Server(ServerRole),
    Governor(GovernorRole),
    #[cfg(feature = "mpi")]
    Rank(Box<crate::mpi::role::RankRole>),
}

impl Role {
    /// What its log file is called, without its ending; `is_shared`: governors of other machines may have theirs in the same
    /// directory.
    pub fn log_name(&self, is_shared: bool) -> String {
        match self {
            Role::Local | Role::Server(_) => "server".to_owned(),
            Role::Governor(_) if is_shared => format!("governor-{}-{}", host_name(), std::process::id()),
            Role::Governor(_) => "governor".to_owned(),
            #[cfg(feature = "mpi")]
            Role::Rank(role) => role.log_name(),
        }
    }

    /// What the directory for its logs is called, unless one was chosen.
    pub fn log_directory(&self, host: &str) -> String {
        match self {
            #[cfg(feature = "mpi")]
            // All ranks of a job that are on a node have one parent.
            Role::Rank(_) => format!("engine-{host}-{}", nix::unistd::getppid()),
            _ => format!("{}-{host}-{}", self.log_name(false), std::process::id()),
        }
    }

    /// Removes the files that were written for others to find it by. The supervisor of a rank does that itself, as only one of them is
    /// the server.
    pub fn remove_files(&self) {
        let ready_file = match self {
            Role::Server(role) => {
                role.access_files.remove();
                role.ready_file.as_ref()
            }
            Role::Governor(role) => role.ready_file.as_ref(),
            _ => None,
        };
        ready_file.map(fs::remove_file);
    }

    /// How long the engine process may take to stop once it was asked to from outside.
    pub fn stop_time_max(&self) -> Duration {
        match self {
            #[cfg(feature = "mpi")]
            Role::Rank(_) => crate::mpi::role::STOP_TIME_MAX,
            _ => Duration::from_secs(8),
        }
    }

    /// What could not be prepared: a rank tells the others, and they end together.
    ///
    /// # Errors
    /// All other roles end at once.
    pub fn excuse<E: std::fmt::Display>(&mut self, error: E) -> Result<(), E> {
        match self {
            #[cfg(feature = "mpi")]
            Role::Rank(role) => {
                role.unready.get_or_insert(error.to_string());
                Ok(())
            }
            _ => Err(error),
        }
    }

    /// What the supervisor is to run beside the engine once that is ready.
    pub fn command(&self) -> Option<&str> {
        match self {
            #[cfg(feature = "mpi")]
            Role::Rank(role) => role.run.as_deref(),
            _ => None,
        }
    }
}
