//! Files and directories that tasks have made become objects, without a copy where nobody else can write to them any more.

use crate::blob::BlobFile;
use crate::entries::{is_executable, read_only_mode};
use crate::object::Object;
use crate::protect::{Origin, open_protected};
use crate::removal::remove_tree;
use crate::store::{INLINE_BYTES_MAX, Store};
use crate::tree::{DirTree, FileCopy};
use crate::writers;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

impl Store {
    /// Takes the regular file at `path` out of its place and makes it an object, which may be executed if the file's owner may. If
    /// others can still write to it, the object is a copy.
    ///
    /// # Errors
    /// When it is not a regular file, or the system refuses.
    pub fn adopt_file(&self, path: &Path) -> io::Result<Object> {
        let (mut file, metadata) = open_protected(path)?;
        let executable = is_executable(&metadata);
        if metadata.len() <= INLINE_BYTES_MAX as u64 {
            let mut bytes = Vec::with_capacity(metadata.len() as usize + 1);
            (&mut file).take(INLINE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
            if bytes.len() <= INLINE_BYTES_MAX {
                fs::remove_file(path)?;
                return self.blob_with(bytes, executable);
            }
        }
        if writers::has_none(&file, &metadata)
            && let Some(blob) = self.move_in(&file, path)?
        {
            // Who has it open keeps it in memory.
            drop(file);
            return self.file_object(blob, executable);
        }
        let object = self.copy_of(&file, executable)?;
        fs::remove_file(path)?;
        Ok(object)
    }

    /// Moves the open file at `path` into the store; none if it is on another file system.
    fn move_in(&self, file: &File, path: &Path) -> io::Result<Option<BlobFile>> {
        let target = self.new_file_path();
        match fs::rename(path, &target) {
            Ok(()) => {
                let metadata = file.metadata()?;
                Ok(Some(self.counted(BlobFile::new(target, &metadata), &metadata)))
            }
            Err(error) if error.kind() == io::ErrorKind::CrossesDevices => Ok(None),
            Err(error) => Err(self.explain(error)),
        }
    }

    /// Takes the directory at `path` out of its place and makes it an object; if it is refused, it is removed. Absolute links
    /// in it that lead into it become relative ones. What others could still write to is copied, but not what is below the paths
    /// `objects`: there are files of objects.
    ///
    /// # Errors
    /// When it is not a directory, something in it cannot be in an object, or the system refuses.
    pub fn adopt_dir(&self, path: &Path, objects: &[PathBuf]) -> io::Result<Object> {
        if !fs::symlink_metadata(path)?.is_dir() {
            return Err(io::Error::new(io::ErrorKind::NotADirectory, "not a directory"));
        }
        let target = self.new_file_path();
        let objects: Vec<PathBuf> =
            objects.iter().filter_map(|object| Some(target.join(object.strip_prefix(path).ok()?))).collect();
        match fs::rename(path, &target) {
            Ok(()) => {
                let origin = Origin::Task { was: path, objects: &objects, new_path: &|| self.new_file_path() };
                self.tree_object(DirTree::protect(target, &origin).map_err(|error| self.explain(error))?)
            }
            Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
                let object = self.copy_dir_in(path, FileCopy::Copy)?;
                remove_tree(path)?;
                Ok(object)
            }
            Err(error) => Err(self.explain(error)),
        }
    }

    /// Makes an object of the file at `path` in this store, which this process has filled with `size` bytes. When the object goes,
    /// its memory may be used again for another one.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn adopt_filled(&self, path: &Path, size: u64, executable: bool) -> io::Result<Object> {
        if fs::symlink_metadata(path)?.len() != size {
            OpenOptions::new().write(true).open(path)?.set_len(size)?;
        }
        // A program that looks around in the store may have opened it.
        let (file, metadata) = open_protected(path)?;
        if !writers::has_none(&file, &metadata) {
            let object = self.copy_of(&file, executable)?;
            fs::remove_file(path)?;
            return Ok(object);
        }
        file.set_permissions(Permissions::from_mode(read_only_mode(executable)))?;
        let blob = self.move_in(&file, path)?.ok_or(io::ErrorKind::CrossesDevices)?;
        drop(file);
        self.file_object(blob.with_spares(self.spares()), executable)
    }

    /// Takes the file at `path`, which is that of an object in another store, too, and makes it an object: of this size, and last
    /// modified then (nanoseconds since 1970).
    ///
    /// # Errors
    /// When it is another file, or the system refuses.
    pub fn adopt_shared(&self, path: &Path, size: u64, modified: i64, executable: bool) -> io::Result<Object> {
        let (file, _) = open_protected(path)?;
        let blob = self.move_in(&file, path)?.ok_or(io::ErrorKind::CrossesDevices)?;
        if (blob.size(), blob.modified()) != (size, modified) {
            return Err(crate::stamp::changed());
        }
        drop(file);
        self.file_object(blob, executable)
    }
}
