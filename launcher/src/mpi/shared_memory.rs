//! Shared memory of MPI libraries.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

/// Where it is.
const SHARED_MEMORY: &str = "/dev/shm/";

/// Removes what `mapped_files` gives, where MPI is not finalized.
pub fn remove_mapped_files() {
    mapped_files().iter().for_each(|path| _ = fs::remove_file(path));
}

/// Files of shared memory that this process has mapped. MPI libraries remove theirs when they are finalized, and leave them
/// when a process is killed.
pub fn mapped_files() -> Vec<PathBuf> {
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
