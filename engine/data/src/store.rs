//! The directory where a governor keeps files and directories of objects.

use crate::archive;
use crate::blob::BlobFile;
use crate::copy;
use crate::entries::{is_executable, read_only_mode};
use crate::lack::explain_lack;
use crate::memory::{COUNTED_BYTES_MIN, Memory, Movable};
use crate::object::{Data, Object};
use crate::protect::Origin;
use crate::removal::remove_tree;
use crate::spare::Spares;
use crate::tree::{DirTree, FileCopy, Rights, copy_tree};
use nix::sys::statfs::{FsType, TMPFS_MAGIC, statfs};
use std::borrow::Cow;
use std::fs::{self, DirBuilder, File, Metadata, OpenOptions, Permissions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// See statfs(2).
const RAMFS_MAGIC: FsType = FsType(0x8584_58f6);

/// Blobs up to this size are kept in memory, larger ones in files.
pub const INLINE_BYTES_MAX: usize = 64 * 1024;

/// A private directory for the files of objects. Clones are handles of the same directory, which is removed with the
/// last of them, with all that is in it.
#[derive(Debug, Clone)]
pub struct Store {
    directory: Arc<Directory>,
}

#[derive(Debug)]
struct Directory {
    root: PathBuf,
    next: AtomicU64,
    spares: Arc<Spares>,
    memory: Arc<Memory>,
    /// Whether its file system is in memory, and so what is in it counts.
    is_in_memory: bool,
    /// The directory given by the user, if it did not exist before.
    created_parent: Option<PathBuf>,
}

/// A store that cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("working directory {path}: {source}")]
    Create { path: PathBuf, source: io::Error },
    #[error("working directory {0} is not a directory")]
    NotADirectory(PathBuf),
}

impl Store {
    /// Makes a store in a new directory inside `dir`, which is made if it does not exist; its memory has no bound.
    ///
    /// # Errors
    /// When there cannot be such a directory.
    pub fn create(dir: &Path) -> Result<Store, StoreError> {
        Self::create_within(dir, Arc::default())
    }

    /// Makes a store whose objects count as part of this memory.
    ///
    /// # Errors
    /// As [`create`](Self::create).
    pub fn create_within(dir: &Path, memory: Arc<Memory>) -> Result<Store, StoreError> {
        let wrong = |source| StoreError::Create { path: dir.to_owned(), source };
        let existed = dir.exists();
        if existed && !dir.is_dir() {
            return Err(StoreError::NotADirectory(dir.to_owned()));
        }
        DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(wrong)?;
        let dir = dir.canonicalize().map_err(wrong)?;
        let root = nix::unistd::mkdtemp(&dir.join("rain-XXXXXX")).map_err(|errno| wrong(errno.into()))?;
        let directory = Directory {
            is_in_memory: is_in_memory(&root),
            root,
            next: AtomicU64::new(0),
            spares: Arc::new(Spares::within(memory.clone())),
            memory,
            created_parent: (!existed).then_some(dir),
        };
        Ok(Store { directory: Arc::new(directory) })
    }

    /// The store's own directory.
    pub fn root(&self) -> &Path {
        &self.directory.root
    }

    /// The directory that it was made in, where others may put files for it.
    pub fn outer(&self) -> &Path {
        self.directory.root.parent().unwrap_or(&self.directory.root)
    }

    /// A path in the store that nothing else uses.
    pub fn new_file_path(&self) -> PathBuf {
        self.directory.root.join(self.directory.next.fetch_add(1, Ordering::Relaxed).to_string())
    }

    /// Turns an error for lack of space into one that says where and what to do; others stay as they are.
    pub fn explain(&self, error: io::Error) -> io::Error {
        explain_lack(self.root(), error)
    }

    /// A new file of the store to write an object's content to.
    pub fn new_file(&self) -> io::Result<NewFile<'_>> {
        let path = self.new_file_path();
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            // Programs may open their standard output again.
            .mode(0o600)
            .open(&path)
            .map_err(|error| self.explain(error))?;
        Ok(NewFile { store: self, file, path })
    }

    /// A file that is not needed any more, open for writing, with memory for content of at least this length, if there is one. It
    /// is to be written over, and its rest cut off.
    pub fn spare_file(&self, length: u64) -> Option<(File, PathBuf)> {
        self.directory.spares.take(length)
    }

    /// A file of the store with this content, which may be executed or not.
    pub fn create_blob_from(&self, bytes: &[u8], executable: bool) -> io::Result<BlobFile> {
        let mut file = self.new_file()?;
        file.write_all(bytes)?;
        file.into_blob(executable)
    }

    /// A blob with this content: in memory if it is small, else in a file.
    pub fn blob<'a>(&self, bytes: impl Into<Cow<'a, [u8]>>, content_type: Option<&str>) -> io::Result<Object> {
        Ok(self.blob_with(bytes, false)?.with_content_type(content_type))
    }

    /// A blob with this content, which may be executed or not: in memory if it is small and there is room, else in a file.
    ///
    /// # Errors
    /// When there is no room anywhere.
    pub fn blob_with<'a>(&self, bytes: impl Into<Cow<'a, [u8]>>, executable: bool) -> io::Result<Object> {
        let (bytes, memory) = (bytes.into(), self.memory());
        if bytes.len() > INLINE_BYTES_MAX {
            return self.file_object(self.create_blob_from(&bytes, executable)?, executable);
        }
        let length = bytes.len() as u64;
        if !self.has_room(length) {
            memory.make_room(length)?;
            if !memory.has_room(length)
                && let Some(path) = memory.place_on_disk()?
            {
                let blob = write_new(&path, &bytes, executable).map_err(|error| memory.explain(error))?;
                return Ok(Object::file(blob.beyond_memory(memory), executable));
            }
        }
        Ok(self.inline(bytes.into_owned(), executable))
    }

    /// A small blob in memory, whether there is room or not.
    pub fn inline(&self, bytes: Vec<u8>, executable: bool) -> Object {
        Object::inline_in(self.memory(), bytes).with_executable(executable)
    }

    /// Whether content of so many bytes can be kept in memory.
    pub fn has_room(&self, bytes: u64) -> bool {
        bytes < COUNTED_BYTES_MIN as u64 || self.memory().has_room(bytes)
    }

    /// The memory of which its objects are a part.
    pub fn memory(&self) -> &Arc<Memory> {
        &self.directory.memory
    }

    /// Counts a file of this store that is in memory.
    pub(crate) fn counted(&self, blob: BlobFile, metadata: &Metadata) -> BlobFile {
        if self.directory.is_in_memory { blob.in_memory(self.memory(), metadata) } else { blob }
    }

    /// An object of a file of this store that nobody else uses; others go to the disk if there is no room for it.
    pub(crate) fn file_object(&self, blob: BlobFile, executable: bool) -> io::Result<Object> {
        let object = Object::file(blob, executable);
        if let (true, Data::File(file)) = (self.directory.is_in_memory, &object.data) {
            self.memory().add(&(file.clone() as Arc<dyn Movable>));
            self.memory().make_room(0)?;
        }
        Ok(object)
    }

    /// An object of a directory of this store that nobody else uses. Files go to the disk if there is no room for it, and if that is not
    /// enough it goes there itself.
    pub(crate) fn tree_object(&self, tree: DirTree) -> io::Result<Object> {
        if !self.directory.is_in_memory {
            return Ok(Object::tree(tree));
        }
        let (mut tree, memory) = (tree.in_memory(self.memory()), self.memory());
        memory.make_room(0)?;
        if !memory.has_room(0)
            && let Some(path) = memory.place_on_disk()?
        {
            tree = tree.moved_to(path, memory).map_err(|error| memory.explain(error))?;
        }
        Ok(Object::tree(tree))
    }

    /// An object with the content of the regular file at `path`, which may be executed if the file's owner may; links are
    /// followed.
    pub fn copy_file_in(&self, path: &Path) -> io::Result<Object> {
        // Without O_NONBLOCK, opening a named pipe would wait for its writer.
        let mut source = OpenOptions::new().read(true).custom_flags(nix::libc::O_NONBLOCK).open(path)?;
        let metadata = source.metadata()?;
        if metadata.is_dir() {
            return Err(io::Error::new(io::ErrorKind::IsADirectory, "is a directory"));
        }
        if !metadata.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "is not a regular file"));
        }
        let executable = is_executable(&metadata);
        if metadata.len() <= INLINE_BYTES_MAX as u64 {
            // Files of pseudo file systems say that they are empty, so the size is only a hint.
            let mut bytes = Vec::with_capacity(metadata.len() as usize + 1);
            (&mut source).take(INLINE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
            if bytes.len() <= INLINE_BYTES_MAX {
                return self.blob_with(bytes, executable);
            }
        }
        self.copy_of(&source, executable)
    }

    /// An object with the whole content of an open file.
    pub(crate) fn copy_of(&self, source: &File, executable: bool) -> io::Result<Object> {
        let mut target = self.new_file()?;
        copy::append(source, target.file(), 0).map_err(|error| self.explain(error))?;
        self.file_object(target.into_blob(executable)?, executable)
    }

    /// An object with the content of the directory at `path`.
    pub fn copy_dir_in(&self, path: &Path, files: FileCopy) -> io::Result<Object> {
        self.build_dir(|target| {
            fs::remove_dir(target)?;
            copy_tree(path, target, files, Rights::PRIVATE)
        })
    }

    /// A directory object of what `fill` puts into the empty directory it is given; nothing stays if it fails.
    pub fn build_dir(&self, fill: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<Object> {
        let scratch = self.scratch_dir()?;
        fill(scratch.path()).map_err(|error| self.explain(error))?;
        let tree = DirTree::protect(scratch.into_path(), &Origin::Own).map_err(|error| self.explain(error))?;
        self.tree_object(tree)
    }

    /// A directory object with the content of a tar archive. An archive with an entry that is not a file, directory or
    /// link inside, or that leaves the directory, is refused with an error that names the entry.
    pub fn import_tar(&self, reader: impl Read) -> io::Result<Object> {
        self.build_dir(|target| archive::unpack(reader, target))
    }

    /// A directory for temporary files, on the file system of the store.
    pub fn scratch_dir(&self) -> io::Result<ScratchDir> {
        let path = self.new_file_path();
        DirBuilder::new().mode(0o700).create(&path).map_err(|error| self.explain(error))?;
        Ok(ScratchDir { path })
    }

    /// Puts the content of a directory of the store at `to`, as files of their own that may be written, or as further names of the
    /// same read-only files.
    pub(crate) fn copy_tree_out(&self, from: &Path, to: &Path, files: FileCopy) -> io::Result<()> {
        copy_tree(from, to, files, Rights::PRIVATE).map_err(|error| self.explain(error))
    }

    pub(crate) fn spares(&self) -> &Arc<Spares> {
        &self.directory.spares
    }
}

/// Whether the file system of `path` is in memory.
pub fn is_in_memory(path: &Path) -> bool {
    statfs(path).is_ok_and(|system| [TMPFS_MAGIC, RAMFS_MAGIC].contains(&system.filesystem_type()))
}

/// Makes the file at `path`, where nothing is.
fn write_new(path: &Path, bytes: &[u8], executable: bool) -> io::Result<BlobFile> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    let written = file.write_all(bytes).and_then(|()| {
        file.set_permissions(Permissions::from_mode(read_only_mode(executable)))?;
        file.metadata()
    });
    match written {
        Ok(metadata) => Ok(BlobFile::new(path.to_owned(), &metadata)),
        Err(error) => {
            let _ = fs::remove_file(path);
            Err(error)
        }
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if let Err(error) = remove_tree(&self.root) {
            tracing::warn!("cannot remove {}: {error}", self.root.display());
        }
        if let Some(parent) = &self.created_parent {
            // Others may have put something there.
            let _ = fs::remove_dir(parent);
        }
    }
}

/// A file of the store that is being written; removed if it does not become an object.
#[derive(Debug)]
pub struct NewFile<'a> {
    store: &'a Store,
    file: File,
    path: PathBuf,
}

impl NewFile<'_> {
    /// The open file.
    pub fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// Appends `bytes`.
    pub fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes).map_err(|error| self.store.explain(error))
    }

    /// Appends the whole content of a file, with its holes.
    pub fn append_file(&mut self, source: &File) -> io::Result<()> {
        let end = self.file.stream_position()?;
        copy::append(source, &self.file, end).map_err(|error| self.store.explain(error))?;
        Ok(())
    }

    /// Makes an object of what was written, which may not be executed, by this process or by others through the same file. Who may
    /// still write to it does not change the object.
    pub fn finish(mut self) -> io::Result<Object> {
        let size = self.file.metadata()?.size();
        if size > INLINE_BYTES_MAX as u64 {
            let Self { store, file, path } = &mut self;
            // Others may have given it rights through its path in /dev/fd.
            file.set_permissions(Permissions::from_mode(0o600))?;
            // Of its own descriptor nobody could tell whether it is the only one that writes.
            *file = File::open(&*path)?;
            let object = store.adopt_file(path)?;
            path.clear();
            return Ok(object);
        }
        let mut bytes = Vec::with_capacity(size as usize + 1);
        if size > 0 {
            self.file.rewind()?;
            self.file.read_to_end(&mut bytes)?;
        }
        self.store.blob(bytes, None)
    }

    /// Makes a blob of what only this process has written.
    pub(crate) fn into_blob(mut self, executable: bool) -> io::Result<BlobFile> {
        self.file.set_permissions(Permissions::from_mode(read_only_mode(executable)))?;
        let metadata = self.file.metadata()?;
        Ok(self.store.counted(BlobFile::new(std::mem::take(&mut self.path), &metadata), &metadata))
    }
}

impl Drop for NewFile<'_> {
    fn drop(&mut self) {
        if !self.path.as_os_str().is_empty() {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// A directory for temporary files; removed when dropped.
#[derive(Debug)]
pub struct ScratchDir {
    path: PathBuf,
}

impl ScratchDir {
    /// Where the directory is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn into_path(mut self) -> PathBuf {
        std::mem::take(&mut self.path)
    }
}

impl Drop for ScratchDir {
    fn drop(&mut self) {
        if self.path.as_os_str().is_empty() {
            return;
        }
        if let Err(error) = remove_tree(&self.path) {
            tracing::warn!("cannot remove {}: {error}", self.path.display());
        }
    }
}
