//! A blob that is a file in the store.

use crate::spare::Spares;
use crate::stamp::{Stamp, changed, missing};
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// A read-only file of the store; unlinked when dropped.
#[derive(Debug)]
pub struct BlobFile {
    path: Box<Path>,
    size: u64,
    stamp: Mutex<Stamp>,
    /// Where its memory may be used again.
    spares: Weak<Spares>,
}

impl BlobFile {
    /// Takes over the file at `path`, which nobody writes any more, as `metadata` describes it.
    pub(crate) fn new(path: PathBuf, metadata: &Metadata) -> Self {
        let stamp = Mutex::new(Stamp::of(metadata));
        Self { path: path.into_boxed_path(), size: metadata.len(), stamp, spares: Weak::new() }
    }

    /// Lets these have the file when it is not needed any more.
    pub(crate) fn with_spares(mut self, spares: &Arc<Spares>) -> Self {
        self.spares = Arc::downgrade(spares);
        self
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Size in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    fn stamp(&self) -> MutexGuard<'_, Stamp> {
        self.stamp.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When the content was made, nanoseconds since 1970.
    pub(crate) fn modified(&self) -> i64 {
        self.stamp().modified()
    }

    /// Whether the file is as it was when it became an object.
    ///
    /// # Errors
    /// When it is not, or is gone.
    pub fn check(&self) -> io::Result<()> {
        self.compare(&fs::symlink_metadata(&self.path).map_err(missing)?)
    }

    fn compare(&self, metadata: &Metadata) -> io::Result<()> {
        let now = Stamp::of(metadata);
        let mut stamp = self.stamp();
        if stamp.is_outdated(&now) {
            return Err(changed());
        }
        *stamp = now;
        Ok(())
    }

    /// The file, open for reading.
    ///
    /// # Errors
    /// When it cannot be opened, or is not as it was.
    pub fn open(&self) -> io::Result<File> {
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
        let mut stamp = self.stamp();
        if stamp.is_outdated(&Stamp::of(&fs::symlink_metadata(&self.path).map_err(missing)?)) {
            return Err(changed());
        }
        fs::hard_link(&self.path, name)?;
        *stamp = Stamp::of(&fs::symlink_metadata(&self.path)?);
        Ok(())
    }
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
        match self.spares.upgrade() {
            Some(spares) => spares.keep(&self.path, self.size),
            // The whole store may be gone already.
            None => _ = fs::remove_file(&self.path),
        }
    }
}
