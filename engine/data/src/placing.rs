//! Content of objects as files: of content in memory one is made in a store when a program needs it.

use crate::blob::BlobFile;
use crate::copy;
use crate::object::{Data, Object};
use crate::store::Store;
use crate::tree::{FileCopy, Rights};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

impl Object {
    /// The content's file, which is made in `store` for content in memory, open for reading.
    ///
    /// # Errors
    /// When it cannot be opened, was changed since it was made, or is a directory.
    pub fn open(&self, store: &Store) -> io::Result<File> {
        match &self.data {
            Data::Inline { .. } => self.materialised(store)?.open(),
            Data::File(file) => file.open(),
            Data::Tree(_) => Err(io::ErrorKind::IsADirectory.into()),
            Data::Lost(lost) => Err(lost.error()),
        }
    }

    /// The read-only file or directory with the content; one is made in `store` for content in memory.
    pub fn path(&self, store: &Store) -> io::Result<&Path> {
        match &self.data {
            Data::Inline { .. } => Ok(self.materialised(store)?.path()),
            Data::File(file) => Ok(file.path()),
            Data::Tree(tree) => Ok(tree.path()),
            Data::Lost(lost) => Err(lost.error()),
        }
    }

    /// The file with content that is in memory, made at the first call.
    fn materialised(&self, store: &Store) -> io::Result<&BlobFile> {
        let Data::Inline { bytes, file, .. } = &self.data else { return Err(io::ErrorKind::Unsupported.into()) };
        if let Some(file) = file.get() {
            return Ok(file);
        }
        let made = Box::new(store.create_blob_from(bytes, self.is_executable())?);
        // Another thread may have been faster; then ours is dropped, which unlinks it.
        Ok(file.get_or_init(|| made))
    }

    /// Puts the content at `to`, where nothing is: as files of their own that may be written, or, where it is in files,
    /// as further names of these.
    ///
    /// # Errors
    /// When it cannot be written, or the content was changed since it was made.
    pub fn copy_out(&self, store: &Store, to: &Path, files: FileCopy) -> io::Result<()> {
        let file = match &self.data {
            Data::Inline { file, .. } => file.get().map(|file| &**file),
            Data::File(file) => Some(&**file),
            Data::Tree(tree) => {
                tree.check()?;
                return store.copy_tree_out(tree.path(), to, files);
            }
            Data::Lost(lost) => return Err(lost.error()),
        };
        if let (Some(file), FileCopy::Link) = (file, files) {
            file.check()?;
            if file.add_name(to).is_ok() {
                return Ok(());
            }
        }
        let mode = Rights::PRIVATE.file_mode(self.is_executable());
        let mut target = OpenOptions::new().write(true).create_new(true).mode(mode).open(to)?;
        let copied = match &self.data {
            Data::Inline { bytes, .. } => target.write_all(bytes),
            _ => self.open(store).and_then(|source| copy::append(&source, &target, 0).map(drop)),
        };
        copied.map_err(|error| store.explain(error))
    }
}
