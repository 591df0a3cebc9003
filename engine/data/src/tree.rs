//! A directory that is an object: a read-only tree in the store.

use crate::archive;
use crate::blob::BlobFile;
use crate::copy;
use crate::entries::{inside, is_executable, name_entry, refuse, special_name};
use crate::lack::explain_lack;
use crate::memory::{Counted, Memory, Movable, OnDisk};
use crate::protect::{Origin, Root, Summary, check_link, protect};
use crate::removal::remove_tree;
use crate::stamp::{changed, missing};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

/// Directories with more entries are not looked at before and after each task: each entry costs about a microsecond.
const CHECKED_ENTRIES_MAX: usize = 128;

/// A read-only directory of the store, with everything below it; removed when dropped.
#[derive(Debug)]
pub struct DirTree {
    path: Box<Path>,
    summary: Summary,
    archive: OnceLock<Arc<BlobFile>>,
    /// Its memory.
    counted: Option<Counted>,
    on_disk: Option<OnDisk>,
}

impl DirTree {
    /// Takes over the directory at `path`: checks it and sets read-only rights. A tree that is refused is removed.
    pub(crate) fn protect(path: PathBuf, origin: &Origin<'_>) -> io::Result<Self> {
        let mut tree = Self {
            path: path.into_boxed_path(),
            summary: Summary::default(),
            archive: OnceLock::new(),
            counted: None,
            on_disk: None,
        };
        tree.summary = protect(&tree.path, origin)?;
        Ok(tree)
    }

    /// Counts the tree, whose files are in memory.
    pub(crate) fn in_memory(mut self, memory: &Arc<Memory>) -> Self {
        self.counted = Some(Counted::new(memory, self.size()));
        self
    }

    /// Moves a tree that nobody uses yet to `path` on the disk.
    ///
    /// # Errors
    /// When the disk does not take it.
    pub(crate) fn moved_to(self, path: PathBuf, memory: &Arc<Memory>) -> io::Result<Self> {
        let on_disk = OnDisk::new(memory, self.size(), path);
        copy_tree(&self.path, on_disk.path(), FileCopy::Copy, Rights::PRIVATE)?;
        let mut moved = Self::protect(on_disk.path().to_owned(), &Origin::Own)?;
        moved.on_disk = Some(on_disk);
        Ok(moved)
    }

    /// Where the directory is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Sum of the sizes of the files, bytes.
    pub fn size(&self) -> u64 {
        self.summary.size
    }

    /// Whether the directory is as it was when it became an object, if it has few entries; else this is not looked at.
    ///
    /// # Errors
    /// When something in it was changed.
    pub fn check(&self) -> io::Result<()> {
        if self.summary.entries <= CHECKED_ENTRIES_MAX { self.check_all() } else { Ok(()) }
    }

    /// Whether the directory is as it was when it became an object.
    ///
    /// # Errors
    /// When something in it was changed.
    pub fn check_all(&self) -> io::Result<()> {
        if Summary::of(&self.path).map_err(missing)? == self.summary { Ok(()) } else { Err(changed()) }
    }

    /// The tar archive of the directory, a file beside it made at the first call.
    ///
    /// # Errors
    /// When it cannot be made, or the directory was changed.
    pub fn archive(&self) -> io::Result<&BlobFile> {
        if let Some(archive) = self.archive.get() {
            return Ok(archive);
        }
        let root = self.path.parent().unwrap_or(&self.path);
        let (made, metadata) = archive::write_beside(&self.path).map_err(|error| explain_lack(root, error))?;
        let made = match &self.counted {
            Some(counted) => made.in_memory(counted.memory(), &metadata),
            None => made,
        };
        self.check_all()?;
        // Another thread may have been faster; then ours is dropped, which unlinks it.
        let mut is_first = false;
        let archive = self.archive.get_or_init(|| {
            is_first = true;
            Arc::new(made)
        });
        if let (true, Some(counted)) = (is_first, &self.counted) {
            counted.memory().add(&(archive.clone() as Arc<dyn Movable>));
            counted.memory().make_room(0)?;
        }
        Ok(archive)
    }
}

impl Drop for DirTree {
    fn drop(&mut self) {
        // The whole store may be gone already.
        let _ = remove_tree(&self.path);
    }
}

/// How the files of a tree are copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileCopy {
    /// As further names of the same read-only files, where the file system can.
    Link,
    /// As files of their own.
    Copy,
}

/// Rights of copied files and directories, before the umask; a file that its owner may execute stays so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rights {
    pub file_mode: u32,
    pub dir_mode: u32,
}

impl Rights {
    /// The mode of a file, before the umask.
    pub fn file_mode(self, executable: bool) -> u32 {
        let execute = if executable { (self.file_mode & 0o444) >> 2 } else { 0 };
        self.file_mode | execute
    }

    /// For the owner alone.
    pub const PRIVATE: Rights = Rights { file_mode: 0o600, dir_mode: 0o700 };
    /// What programs usually make.
    pub const PUBLIC: Rights = Rights { file_mode: 0o666, dir_mode: 0o777 };
}

/// Copies the directory `from` to `to`, which must not exist. Links stay links if they stay inside, absolute ones as
/// relative ones, and are refused if they do not.
pub fn copy_tree(from: &Path, to: &Path, files: FileCopy, rights: Rights) -> io::Result<()> {
    copy_level(&Root { path: from, was: from }, from, to, files, rights, 0)
}

fn copy_level(
    root: &Root<'_>,
    from: &Path,
    to: &Path,
    files: FileCopy,
    rights: Rights,
    depth: usize,
) -> io::Result<()> {
    DirBuilder::new().mode(rights.dir_mode).create(to)?;
    for entry in fs::read_dir(from).map_err(|error| name_entry(from, &error))? {
        let entry = entry?;
        let file_type = entry.file_type()?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if file_type.is_dir() {
            copy_level(root, &source, &target, files, rights, depth + 1)?;
        } else if file_type.is_symlink() {
            symlink(check_link(root, &source, &fs::read_link(&source)?, depth)?, &target)?;
        } else if file_type.is_file() {
            copy_file(&source, &target, files, rights).map_err(|error| name_entry(&source, &error))?;
        } else {
            return Err(refuse(inside(root.path, &source), format_args!("{}", special_name(file_type))));
        }
    }
    Ok(())
}

/// Copies one file; the target must not exist.
pub(crate) fn copy_file(from: &Path, to: &Path, files: FileCopy, rights: Rights) -> io::Result<()> {
    if files == FileCopy::Link && fs::hard_link(from, to).is_ok() {
        return Ok(());
    }
    let source = File::open(from)?;
    let mode = rights.file_mode(is_executable(&source.metadata()?));
    let target = OpenOptions::new().write(true).create_new(true).mode(mode).open(to)?;
    copy::append(&source, &target, 0).map(drop)
}
