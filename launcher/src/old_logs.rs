//! Logs of servers that ran some time ago, which nobody else would ever remove.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// As many stay, however old they are,
const KEPT: usize = 10;
/// and those that were written to in this time.
const YOUNG: Duration = Duration::from_secs(7 * 24 * 3600);

/// Removes directories of logs below `logs`, which are called `NAME-HOST-PID`: those of this user and of processes on this host
/// that do not run, but for the newest ten and those of the last week. What cannot be removed stays.
pub fn remove(logs: &Path, host: &str) {
    let Some(week_ago) = SystemTime::now().checked_sub(YOUNG) else { return };
    let Ok(entries) = fs::read_dir(logs) else { return };
    let mut found: Vec<(SystemTime, PathBuf)> = entries
        .filter_map(Result::ok)
        .filter(|entry| entry.file_name().to_str().is_some_and(|name| is_of_the_dead(name, host)))
        .filter_map(|entry| Some((last_change(&entry.path())?, entry.path())))
        .collect();
    found.sort_by(|(a, _), (b, _)| b.cmp(a));
    for (changed, path) in found.into_iter().skip(KEPT) {
        if changed < week_ago {
            let _ = fs::remove_dir_all(path);
        }
    }
}

fn is_of_the_dead(name: &str, host: &str) -> bool {
    let Some((rest, pid)) = name.rsplit_once('-') else { return false };
    let is_ours = rest.strip_suffix(host).is_some_and(|kind| kind.ends_with('-'));
    is_ours && pid.parse::<u32>().is_ok_and(|pid| !Path::new(&format!("/proc/{pid}")).exists())
}

/// When something was last written to a directory or the files in it; `None` when it is no directory of this user.
fn last_change(directory: &Path) -> Option<SystemTime> {
    let about = fs::symlink_metadata(directory).ok()?;
    if !about.is_dir() || about.uid() != nix::unistd::geteuid().as_raw() {
        return None;
    }
    let of_files = fs::read_dir(directory).ok()?.filter_map(|entry| entry.ok()?.metadata().ok()?.modified().ok());
    of_files.chain(about.modified().ok()).max()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 3600);

    /// A directory of logs that was written to so many days ago.
    fn logs(root: &Path, name: &str, days: u32) -> PathBuf {
        let directory = root.join(name);
        fs::create_dir(&directory).unwrap();
        let log = fs::File::create(directory.join("server.log")).unwrap();
        let then = SystemTime::now() - DAY * days;
        log.set_modified(then).unwrap();
        fs::File::open(&directory).unwrap().set_modified(then).unwrap();
        directory
    }

    #[test]
    fn old_logs_of_the_dead_go_and_nothing_else() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        // No process has such a number.
        let dead = |n: u32| format!("server-host-{}", 4_200_000_000 + n);
        let newest: Vec<PathBuf> = (0..9).map(|n| logs(root, &dead(n), 8 + n)).collect();
        let written = logs(root, &dead(50), 300);
        fs::File::options()
            .write(true)
            .open(written.join("server.log"))
            .unwrap()
            .set_modified(SystemTime::now())
            .unwrap();
        let old: Vec<PathBuf> = (20..25).map(|n| logs(root, &dead(n), 30 + n)).collect();
        let live = logs(root, &format!("governor-host-{}", std::process::id()), 400);
        let elsewhere = logs(root, "server-otherhost-4200000900", 400);
        let other = logs(root, "mine", 400);
        let link = root.join(dead(99));
        std::os::unix::fs::symlink(&other, &link).unwrap();
        remove(root, "host");
        for stays in newest.iter().chain([&written, &live, &elsewhere, &other, &link]) {
            assert!(stays.exists(), "{}", stays.display());
        }
        for gone in &old {
            assert!(!gone.exists(), "{}", gone.display());
        }
        remove(&root.join("nothing"), "host");
    }
}
