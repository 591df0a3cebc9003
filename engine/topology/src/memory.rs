//! How much memory this process may use.

use std::path::{Path, PathBuf};

/// Bytes of memory that this process may use: those of the machine, or of its control group if that has less. `None` if the system
/// does not tell.
pub fn memory_bytes() -> Option<u64> {
    memory_bytes_below(Path::new("/"))
}

/// Bytes of memory, where `/proc` and `/sys` are below the directory `root`.
fn memory_bytes_below(root: &Path) -> Option<u64> {
    let text = std::fs::read_to_string(root.join("proc/meminfo")).ok();
    let line = |text: &str| text.lines().find_map(|line| line.strip_prefix("MemTotal:").map(str::to_owned));
    let machine = text.as_deref().and_then(line);
    let machine = machine.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
    machine.map(|kibibytes| kibibytes.saturating_mul(1024)).into_iter().chain(limits(root)).min()
}

/// The limits of the process's control groups and of those that they are in.
fn limits(root: &Path) -> Vec<u64> {
    let text = std::fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let mut limits = Vec::new();
    for line in text.lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next()) else { continue };
        let (mount, file) = match controllers {
            "" => ("sys/fs/cgroup", "memory.max"),
            v1 if v1.split(',').any(|controller| controller == "memory") => {
                ("sys/fs/cgroup/memory", "memory.limit_in_bytes")
            }
            _ => continue,
        };
        let mut group = PathBuf::from(path.trim_start_matches('/'));
        loop {
            let limit = std::fs::read_to_string(root.join(mount).join(&group).join(file));
            limits.extend(limit.ok().and_then(|text| text.trim().parse::<u64>().ok()));
            if !group.pop() {
                break;
            }
        }
    }
    limits
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    #[test]
    fn the_least_limit_counts() {
        let machine = ("proc/meminfo", "MemTotal:       8000000 kB\nMemFree: 1 kB\n");
        assert_eq!(memory_bytes_below(tree(&[machine]).path()), Some(8_192_000_000));
        let root = tree(&[
            machine,
            ("proc/self/cgroup", "0::/a/b\n"),
            ("sys/fs/cgroup/a/memory.max", "4294967296\n"),
            ("sys/fs/cgroup/a/b/memory.max", "max\n"),
        ]);
        assert_eq!(memory_bytes_below(root.path()), Some(4 << 30));
        let root = tree(&[
            machine,
            ("proc/self/cgroup", "5:cpu:/x\n4:memory:/job\n"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
            ("sys/fs/cgroup/memory/job/memory.limit_in_bytes", "1073741824\n"),
        ]);
        assert_eq!(memory_bytes_below(root.path()), Some(1 << 30));
        assert_eq!(memory_bytes_below(tree(&[("x", "")]).path()), None);
        assert!(memory_bytes().is_some_and(|bytes| bytes > 1 << 20));
    }
}
