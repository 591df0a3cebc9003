//! A blob that is a file in the store.

use crate::spare::{MappedFile, Spares};
use memmap2::Mmap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock, Weak};

/// A read-only file of the store; unlinked when dropped.
#[derive(Debug)]
pub struct BlobFile {
    path: Box<Path>,
    size: u64,
    map: OnceLock<Mmap>,
    /// Where its memory may be used again.
    spares: Weak<Spares>,
    /// The memory through which it was written.
    mapped: Option<Arc<MappedFile>>,
}

impl BlobFile {
    /// Takes over the file at `path`, which nobody writes any more.
    pub(crate) fn new(path: PathBuf, size: u64) -> Self {
        Self { path: path.into_boxed_path(), size, map: OnceLock::new(), spares: Weak::new(), mapped: None }
    }

    /// Lets these have the file when it is not needed any more; `mapped` is the memory through which it was written.
    pub(crate) fn with_spares(mut self, spares: &Arc<Spares>, mapped: Option<Arc<MappedFile>>) -> Self {
        self.spares = Arc::downgrade(spares);
        self.mapped = mapped;
        self
    }

    /// Says how long the file became, before anybody reads it.
    pub(crate) fn set_size(&mut self, size: u64) {
        self.size = size;
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Size in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The content, mapped at the first call and as long as the object lives.
    pub fn bytes(&self) -> io::Result<&[u8]> {
        if self.size == 0 {
            return Ok(&[]);
        }
        if let Some(mapped) = &self.mapped {
            // SAFETY: the file has this size, and whoever made it an object writes to it no more.
            return Ok(unsafe { mapped.bytes(self.size) });
        }
        if let Some(map) = self.map.get() {
            return Ok(map);
        }
        let file = File::open(&self.path)?;
        // SAFETY: the file is in the store's private directory, has read-only rights, and nothing in Rain writes or
        // truncates it before it is unlinked; a program that changes its rights breaks the contract in the user's guide.
        let map = unsafe { Mmap::map(&file) }?;
        // Another thread may have been faster; then its map is the one to use.
        Ok(self.map.get_or_init(|| map))
    }
}

impl Drop for BlobFile {
    fn drop(&mut self) {
        drop(self.map.take());
        // If somebody still has the memory, it is not to be written.
        let mapped = self.mapped.take().map(Arc::try_unwrap);
        if let (Some(spares), Ok(mapped)) = (self.spares.upgrade(), mapped.transpose()) {
            spares.keep(&self.path, self.size, mapped);
            return;
        }
        // The whole store may be gone already.
        let _ = fs::remove_file(&self.path);
    }
}
