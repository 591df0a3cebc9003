//! Files of dropped blobs, kept for a moment so that their memory need not be got anew: on file systems in memory, getting a
//! page costs several times as much as filling it.

use crate::memory::Memory;
use crate::writers;
use nix::sys::statfs::{TMPFS_MAGIC, fstatfs};
use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
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

/// The files that a store keeps, as far as they are within the bound of its memory.
#[derive(Debug)]
pub(crate) struct Spares {
    kept: Mutex<Kept>,
    memory: Arc<Memory>,
}

#[derive(Debug, Default)]
struct Kept {
    files: Vec<Spare>,
    /// Somebody has asked for one.
    wanted: bool,
    /// A thread removes those that nobody takes.
    watched: bool,
}

impl Spares {
    /// None yet.
    pub(crate) fn within(memory: Arc<Memory>) -> Self {
        Self { kept: Mutex::default(), memory }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the file at `path`, which nobody of this process uses any more, unless it is not worth it or others may still
    /// read it; then it is removed.
    pub(crate) fn keep(self: &Arc<Self>, path: &Path, size: u64) {
        let to = path.with_extension("spare");
        // With another name it is somebody else's, too, who relies on its rights.
        let shared = fs::symlink_metadata(path).is_ok_and(|metadata| metadata.nlink() > 1);
        if shared || !self.has_room(size) || fs::rename(path, &to).is_err() {
            let _ = fs::remove_file(path);
            return;
        }
        match open_for_writing(&to) {
            Ok(file) => self.put(file, to, size),
            Err(_) => _ = fs::remove_file(&to),
        }
    }

    fn has_room(&self, size: u64) -> bool {
        let kept = self.kept();
        let sum: u64 = kept.files.iter().map(|spare| spare.size).sum();
        let is_within = sum + size <= KEPT_BYTES_MAX && self.memory.has_room(sum + size);
        kept.wanted && size >= FILE_BYTES_MIN && is_within
    }

    fn put(self: &Arc<Self>, file: File, path: PathBuf, size: u64) {
        let mut kept = self.kept();
        let watched = kept.watched || watch(Arc::downgrade(self)).is_ok();
        if watched && is_private(&file) {
            kept.files.push(Spare { file, path, size, since: Instant::now() });
        } else {
            // Whoever has it open keeps it.
            let _ = fs::remove_file(path);
        }
        kept.watched = watched;
    }

    /// A file to be written anew, for content of this length: the smallest that is large enough.
    pub(crate) fn take(&self, length: u64) -> Option<(File, PathBuf)> {
        let mut kept = self.kept();
        kept.wanted |= length >= FILE_BYTES_MIN;
        let files = &mut kept.files;
        let fitting = (0..files.len()).filter(|index| length >= FILE_BYTES_MIN && files[*index].size >= length);
        let best = fitting.min_by_key(|index| files[*index].size)?;
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

fn open_for_writing(path: &Path) -> io::Result<File> {
    fs::set_permissions(path, Permissions::from_mode(0o600))?;
    OpenOptions::new().read(true).write(true).open(path)
}

/// Whether it is certain that nobody else sees what is written to this file, which nobody can open any more as it has a new
/// name. And whether there is room enough to keep it.
fn is_private(file: &File) -> bool {
    let roomy = fstatfs(file).is_ok_and(|system| {
        system.filesystem_type() == TMPFS_MAGIC && system.blocks_available() >= system.blocks() / 2
    });
    roomy && writers::has_no_other_user(file)
}
