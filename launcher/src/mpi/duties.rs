//! What there is of a rank in the file system beside its directories, and who removes it.

use crate::launch::Launch;
use crate::{descendants, runtime_dir, supervisor};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

const SHARED_MEMORY: &str = "/dev/shm/";

/// Files of shared memory that this process has mapped. MPI libraries remove theirs when they are finalized, and leave them
/// when a process is killed.
pub fn shared_memory() -> Vec<PathBuf> {
    mapped(&fs::read_to_string("/proc/self/maps").unwrap_or_default())
        .into_iter()
        .filter(|path| path.is_file())
        .collect()
}

fn mapped(maps: &str) -> BTreeSet<PathBuf> {
    // The sixth column is the path.
    let paths = maps.lines().filter_map(|line| line.split_whitespace().nth(5));
    paths.filter(|path| path.starts_with(SHARED_MEMORY)).map(PathBuf::from).collect()
}

/// What the process of a rank does itself when its supervisor is gone.
pub struct Duties {
    launch: Launch,
    /// The directory of the port, on the rank that is the server.
    server: Mutex<Option<PathBuf>>,
}

impl Duties {
    /// Those of a rank that has not begun.
    pub fn new(launch: Launch) -> Self {
        Self { launch, server: Mutex::new(None) }
    }

    /// It is the server, and has the lock in this directory.
    pub fn add_server(&self, directory: &Path) {
        *self.server.lock().unwrap_or_else(PoisonError::into_inner) = Some(directory.to_owned());
    }

    /// Whether the supervisor is gone.
    pub fn is_orphan(&self) -> bool {
        let parent = nix::unistd::getppid().as_raw();
        self.launch.supervisor_pid.is_some_and(|pid| i32::try_from(pid) != Ok(parent))
    }

    /// Kills and removes all there is of the rank, but this process.
    pub fn leave_nothing(&self) {
        descendants::kill_all();
        supervisor::clean_up(&self.launch);
        shared_memory().iter().for_each(|path| _ = fs::remove_file(path));
        if let Some(directory) = &*self.server.lock().unwrap_or_else(PoisonError::into_inner) {
            runtime_dir::remove(directory);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_shared_memory_are_found_among_the_mapped_ones() {
        let maps = "7f00-7f01 rw-s 00000000 00:19 42       /dev/shm/vader_segment.node.0.1.0\n\
                    7f01-7f02 rw-s 00000000 00:19 42       /dev/shm/vader_segment.node.0.1.0\n\
                    7f03-7f04 r-xp 00000000 08:01 7        /usr/lib/libc.so.6\n\
                    7f05-7f06 rw-p 00000000 00:00 0 \n";
        assert_eq!(mapped(maps), BTreeSet::from([PathBuf::from("/dev/shm/vader_segment.node.0.1.0")]));
    }
}
