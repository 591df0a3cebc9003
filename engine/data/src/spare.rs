//! Files of dropped blobs, kept for a moment so that their memory need not be got anew: on file systems in memory, getting a
//! page costs several times as much as filling it.

use nix::errno::Errno;
use nix::sys::statfs::{TMPFS_MAGIC, fstatfs};
use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

/// Bytes that are kept at most.
const KEPT_BYTES_MAX: u64 = 256 << 20;
/// Smaller files are not worth it.
const FILE_BYTES_MIN: u64 = 1 << 20;
/// How long a file is kept.
const KEPT_TIME_MAX: Duration = Duration::from_secs(2);

/// A file whose content nobody needs.
#[derive(Debug)]
struct Spare {
    file: File,
    path: PathBuf,
    size: u64,
    since: Instant,
}

/// The files that a store keeps.
#[derive(Debug, Default)]
pub(crate) struct Spares(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    files: Vec<Spare>,
    /// A thread removes those that nobody takes.
    watched: bool,
}

impl Spares {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the file at `path`, which nobody of this process uses any more, unless it is not worth it or others may still
    /// read it, when it is removed; whether it is gone.
    pub(crate) fn keep(self: &Arc<Self>, path: &Path, size: u64) -> bool {
        if size < FILE_BYTES_MIN {
            return false;
        }
        let mut kept = self.kept();
        let sum: u64 = kept.files.iter().map(|spare| spare.size).sum();
        if sum + size > KEPT_BYTES_MAX {
            return false;
        }
        let to = path.with_extension("spare");
        if !kept.watched && watch(Arc::downgrade(self)).is_err() {
            return false;
        }
        kept.watched = true;
        let Ok(file) = take_for_writing(path, &to) else { return true };
        kept.files.push(Spare { file, path: to, size, since: Instant::now() });
        true
    }

    /// A file to be written anew, for content of this length: the smallest that is large enough, else the largest.
    pub(crate) fn take(&self, length: u64) -> Option<(File, PathBuf)> {
        if length < FILE_BYTES_MIN {
            return None;
        }
        let files = &mut self.kept().files;
        let fits = |spare: &Spare| if spare.size >= length { (0, spare.size) } else { (1, u64::MAX - spare.size) };
        let best = (0..files.len()).min_by_key(|index| fits(&files[*index]))?;
        let Spare { file, path, .. } = files.swap_remove(best);
        Some((file, path))
    }

    /// Removes what was kept long enough; whether nothing is left.
    fn remove_old(&self) -> bool {
        let mut kept = self.kept();
        let (old, young): (Vec<Spare>, Vec<Spare>) =
            kept.files.drain(..).partition(|spare| spare.since.elapsed() >= KEPT_TIME_MAX);
        kept.files = young;
        kept.watched = !kept.files.is_empty();
        let empty = !kept.watched;
        drop(kept);
        for spare in old {
            let _ = fs::remove_file(&spare.path);
        }
        empty
    }
}

/// Starts the thread that removes files in time; it ends with the store, or when there are none.
fn watch(spares: Weak<Spares>) -> io::Result<()> {
    let work = move || {
        loop {
            std::thread::sleep(KEPT_TIME_MAX / 2);
            match spares.upgrade() {
                Some(spares) if !spares.remove_old() => {}
                _ => return,
            }
        }
    };
    std::thread::Builder::new().name("spare-files".to_owned()).spawn(work).map(drop)
}

/// Moves a file away and opens it for writing, if it is certain that nobody else sees what is written: it has one name, and
/// nobody has it open or mapped.
fn take_for_writing(path: &Path, to: &Path) -> io::Result<File> {
    fs::rename(path, to)?;
    let taken = (|| {
        fs::set_permissions(to, Permissions::from_mode(0o600))?;
        let file = OpenOptions::new().read(true).write(true).open(to)?;
        if file.metadata()?.nlink() != 1 {
            return Err(io::Error::from(io::ErrorKind::ResourceBusy));
        }
        let system = fstatfs(&file)?;
        let scarce = system.blocks_available() < system.blocks() / 2;
        if system.filesystem_type() != TMPFS_MAGIC || scarce {
            return Err(io::Error::from(io::ErrorKind::Unsupported));
        }
        // The system gives this lease only where there is no other descriptor and no mapping. As the file has a new name
        // by now, nobody can open it afterwards.
        for lease in [libc::F_WRLCK, libc::F_UNLCK] {
            // SAFETY: a live descriptor, and numbers.
            Errno::result(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, lease) })?;
        }
        Ok(file)
    })();
    if taken.is_err() {
        // Whoever has it open keeps it.
        let _ = fs::remove_file(to);
    }
    taken
}
