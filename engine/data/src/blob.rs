//! A blob that is a file in the store.

use crate::copy;
use crate::memory::{Counted, Memory, Movable, OnDisk};
use crate::spare::Spares;
use crate::stamp::{Stamp, changed, missing};
use crate::writers;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// Bytes of a block as `stat` counts them, whatever the file system's are.
const BLOCK_BYTES: u64 = 512;

/// A read-only file of the store; unlinked when dropped. One in memory may go to a disk while it is an object: then a symbolic link to it
/// is in its place, so that its path is good all the time, and who has it open reads on.
#[derive(Debug)]
pub struct BlobFile {
    path: Box<Path>,
    size: u64,
    place: Mutex<Place>,
    /// When it was used last, as [`Memory::tick`] counts.
    used_at: AtomicU64,
    /// Where its memory may be used again.
    spares: Weak<Spares>,
}

/// Where the content is, and how to tell that it was not changed.
#[derive(Debug)]
struct Place {
    stamp: Stamp,
    /// What tells that the file in memory was not changed, which some may still have open, when it is on the disk.
    before: Option<Stamp>,
    /// Its memory.
    counted: Option<Counted>,
    on_disk: Option<OnDisk>,
}

impl Place {
    /// Whether somebody has changed the file, which is as `now` says.
    fn is_outdated(&self, now: &Stamp) -> bool {
        self.stamp.is_outdated(now) && self.before.is_none_or(|before| before.is_outdated(now))
    }
}

impl BlobFile {
    /// Takes over the file at `path`, which nobody writes any more, as `metadata` describes it.
    pub(crate) fn new(path: PathBuf, metadata: &Metadata) -> Self {
        let place = Place { stamp: Stamp::of(metadata), before: None, counted: None, on_disk: None };
        Self {
            path: path.into_boxed_path(),
            size: metadata.len(),
            place: Mutex::new(place),
            used_at: AtomicU64::new(0),
            spares: Weak::new(),
        }
    }

    /// Counts the file, which is in memory.
    pub(crate) fn in_memory(self, memory: &Arc<Memory>, metadata: &Metadata) -> Self {
        self.used_at.store(memory.tick(), Ordering::Relaxed);
        self.place().counted = Some(Counted::of_file(memory, metadata.blocks().saturating_mul(BLOCK_BYTES)));
        self
    }

    /// Counts the file, which is on the disk because there is no room in memory.
    pub(crate) fn beyond_memory(self, memory: &Arc<Memory>) -> Self {
        self.place().on_disk = Some(OnDisk::new(memory, self.size, self.path.to_path_buf()));
        self
    }

    /// Lets these have the file when it is not needed any more.
    pub(crate) fn with_spares(mut self, spares: &Arc<Spares>) -> Self {
        self.spares = Arc::downgrade(spares);
        self
    }

    /// Where the file is, or a symbolic link to it.
    pub fn path(&self) -> &Path {
        self.is_used();
        &self.path
    }

    /// Whether `real`, a path without symbolic links, leads to it.
    pub(crate) fn is_at(&self, real: &Path) -> bool {
        *self.path == *real || self.place().on_disk.as_ref().is_some_and(|on_disk| on_disk.path() == real)
    }

    /// Size in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    fn place(&self) -> MutexGuard<'_, Place> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When the content was made, nanoseconds since 1970.
    pub(crate) fn modified(&self) -> i64 {
        self.place().stamp.modified()
    }

    /// Whether the file is as it was when it became an object.
    ///
    /// # Errors
    /// When it is not, or is gone.
    pub fn check(&self) -> io::Result<()> {
        self.compare(&fs::metadata(&self.path).map_err(missing)?)
    }

    fn compare(&self, metadata: &Metadata) -> io::Result<()> {
        let now = Stamp::of(metadata);
        let mut place = self.place();
        if place.is_outdated(&now) {
            return Err(changed());
        }
        if !place.stamp.is_outdated(&now) {
            place.stamp = now;
        }
        Ok(())
    }

    /// The file, open for reading.
    ///
    /// # Errors
    /// When it cannot be opened, or is not as it was.
    pub fn open(&self) -> io::Result<File> {
        self.is_used();
        let file = File::open(&self.path).map_err(missing)?;
        self.compare(&file.metadata()?)?;
        Ok(file)
    }

    /// Whether the file that `open` has given is still as it was.
    pub(crate) fn check_open(&self, file: &File) -> io::Result<()> {
        self.compare(&file.metadata()?)
    }

    /// The whole content.
    pub(crate) fn read_all(&self) -> io::Result<Vec<u8>> {
        let file = self.open()?;
        let mut bytes = vec![0; usize::try_from(self.size).map_err(io::Error::other)?];
        read_exact_at(&file, &mut bytes, 0)?;
        self.check_open(&file)?;
        Ok(bytes)
    }

    /// Gives the file another name, on the same file system.
    pub(crate) fn add_name(&self, name: &Path) -> io::Result<()> {
        // Nobody compares while the new name is not noted.
        let mut place = self.place();
        if place.on_disk.is_some() {
            return Err(io::ErrorKind::CrossesDevices.into());
        }
        if place.is_outdated(&Stamp::of(&fs::symlink_metadata(&self.path).map_err(missing)?)) {
            return Err(changed());
        }
        fs::hard_link(&self.path, name)?;
        place.stamp = Stamp::of(&fs::symlink_metadata(&self.path)?);
        Ok(())
    }

    /// Makes a copy of the file at `path`, unless somebody reads it or has changed it.
    fn copy_to(&self, path: &Path) -> io::Result<Option<(File, File)>> {
        let Ok(source) = File::open(&self.path) else { return Ok(None) };
        // Who reads it goes on with it, so that its memory would stay. What was changed is an error of who wants it.
        if !writers::has_no_other_user(&source) || self.compare(&source.metadata()?).is_err() {
            return Ok(None);
        }
        let target = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        copy::append(&source, &target, 0)?;
        target.set_permissions(source.metadata()?.permissions())?;
        start_writing(&target);
        Ok(Some((source, target)))
    }
}

impl Movable for BlobFile {
    fn used_at(&self) -> u64 {
        self.used_at.load(Ordering::Relaxed)
    }

    fn is_used(&self) {
        if let Some(counted) = &self.place().counted {
            self.used_at.store(counted.memory().tick(), Ordering::Relaxed);
        }
    }

    fn move_to(&self, path: PathBuf) -> io::Result<bool> {
        let copied = self.copy_to(&path).inspect_err(|_| _ = fs::remove_file(&path))?;
        let Some((source, target)) = copied else { return Ok(false) };
        let mut place = self.place();
        let before = Stamp::of(&source.metadata()?);
        let Some(memory) = place.counted.as_ref().map(|counted| counted.memory().clone()) else { return Ok(false) };
        let on_disk = OnDisk::new(&memory, self.size, path);
        if place.stamp.is_outdated(&before) {
            return Ok(false);
        }
        let link = self.path.with_extension("link");
        symlink(on_disk.path(), &link)?;
        fs::rename(&link, &self.path)?;
        *place = Place {
            stamp: Stamp::of(&target.metadata()?),
            before: Some(before),
            counted: None,
            on_disk: Some(on_disk),
        };
        Ok(true)
    }
}

/// Has the system begin to write a file to its disk, which makes its pages ones that can be had.
fn start_writing(file: &File) {
    use std::os::fd::AsRawFd;
    // SAFETY: a live descriptor, and numbers.
    let _ = unsafe { libc::sync_file_range(file.as_raw_fd(), 0, 0, libc::SYNC_FILE_RANGE_WRITE) };
}

/// Fills `into` with what is in the file from `offset` on; a file that has become shorter was changed.
pub(crate) fn read_exact_at(file: &File, into: &mut [u8], offset: u64) -> io::Result<()> {
    file.read_exact_at(into, offset).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => changed(),
        _ => error,
    })
}

impl Drop for BlobFile {
    fn drop(&mut self) {
        let is_on_disk = self.place().on_disk.is_some();
        match self.spares.upgrade() {
            Some(spares) if !is_on_disk => spares.keep(&self.path, self.size),
            // The whole store may be gone already.
            _ => _ = fs::remove_file(&self.path),
        }
    }
}
