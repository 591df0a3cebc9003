//! An engine whose supervisor was killed: it stops, and does at its end what the supervisor would have done.

use crate::descendants;
use crate::engine_error::EngineError;
use crate::launch::Launch;
use crate::runtime_dir::{self, Claim, ServerDir};
use crate::{supervisor, work_dir};
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::unistd::{Pid, getppid};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// The process that started this one: the supervisor, or the program that it puts before the engine.
#[derive(Debug, Clone)]
pub struct Guardian {
    parent: Pid,
    /// Directories of ports that were taken later.
    ports: Arc<Mutex<Vec<PathBuf>>>,
}

impl Guardian {
    /// Has the system send SIGTERM to this process, instead of killing it, when the guardian ends.
    ///
    /// # Errors
    /// When it has ended already.
    pub fn watch(launch: &Launch) -> Result<Self, EngineError> {
        prctl::set_pdeathsig(Signal::SIGTERM)?;
        let parent = getppid();
        let expected = launch.supervisor_pid.is_none_or(|pid| i32::try_from(pid) == Ok(parent.as_raw()));
        // It may have died before that call; a prefix's program may stand between.
        if launch.run_prefix.is_empty() && !expected {
            return Err(EngineError::Orphaned);
        }
        Ok(Self { parent, ports: Arc::default() })
    }

    /// Whether it has ended.
    pub fn is_gone(&self) -> bool {
        getppid() != self.parent
    }

    /// This process has the lock in the directory of a port: it is removed at the end, too.
    #[cfg_attr(not(feature = "mpi"), expect(dead_code, reason = "other servers have their port from the start"))]
    pub fn also_removes(&self, directory: &Path) {
        self.ports.lock().unwrap_or_else(PoisonError::into_inner).push(directory.to_owned());
    }

    /// Ends this process when it takes too long to stop by itself.
    pub fn end_in_time(&self, launch: &Launch) {
        // What loses its parent from now on becomes a child of this process.
        let _ = prctl::set_child_subreaper(true);
        std::thread::sleep(launch.role.stop_time_max());
        tracing::error!("the engine does not stop; it ends now");
        self.clean_up(launch);
        std::process::exit(1);
    }

    /// Kills what the engine has started, and removes what it has in the file system.
    pub fn clean_up(&self, launch: &Launch) {
        let _ = prctl::set_child_subreaper(true);
        descendants::kill_all();
        for directory in &*self.ports.lock().unwrap_or_else(PoisonError::into_inner) {
            runtime_dir::remove(directory);
        }
        #[cfg(feature = "mpi")]
        if let crate::remote::role::Role::Rank(_) = &launch.role {
            crate::mpi::shared_memory::remove_mapped_files();
        }
        let (Some(root), Some(name)) = (launch.directory.parent(), launch.directory.file_name()) else { return };
        // The supervisor's lock is free; somebody who starts on the same port may have taken it, and cleans up then.
        match name.to_str().map(|name| ServerDir::claim_named(root, name)) {
            Some(Ok(Claim::Claimed(_lock))) => supervisor::clean_up(launch),
            _ => launch.places.remove.iter().for_each(|path| work_dir::remove_tree(path)),
        }
    }
}
