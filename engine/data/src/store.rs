//! The directory where a governor keeps files and directories of objects.

use crate::archive;
use crate::blob::BlobFile;
use crate::copy;
use crate::entries::{is_executable, read_only_mode};
use crate::lack::explain_lack;
use crate::object::Object;
use crate::protect::Origin;
use crate::spare::Spares;
use crate::tree::{DirTree, FileCopy, Rights, copy_tree, remove_tree};
use std::borrow::Cow;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

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
    /// Makes a store in a new directory inside `dir`, which is made if it does not exist.
    pub fn create(dir: &Path) -> Result<Store, StoreError> {
        let wrong = |source| StoreError::Create { path: dir.to_owned(), source };
        let existed = dir.exists();
        if existed && !dir.is_dir() {
            return Err(StoreError::NotADirectory(dir.to_owned()));
        }
        DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(wrong)?;
        let dir = dir.canonicalize().map_err(wrong)?;
        let root = nix::unistd::mkdtemp(&dir.join("rain-XXXXXX")).map_err(|errno| wrong(errno.into()))?;
        let directory = Directory {
            root,
            next: AtomicU64::new(0),
            spares: Arc::default(),
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
        let bytes = bytes.into();
        if bytes.len() <= INLINE_BYTES_MAX {
            return Ok(Object::inline(bytes.into_owned(), content_type));
        }
        Ok(Object::file(self.create_blob_from(&bytes, false)?, false).with_content_type(content_type))
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
                return Ok(self.blob(bytes, None)?.with_executable(executable));
            }
        }
        self.copy_of(&source, executable)
    }

    /// An object with the whole content of an open file.
    pub(crate) fn copy_of(&self, source: &File, executable: bool) -> io::Result<Object> {
        let mut target = self.new_file()?;
        copy::append(source, target.file(), 0).map_err(|error| self.explain(error))?;
        Ok(Object::file(target.into_blob(executable)?, executable))
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
        DirTree::protect(scratch.into_path(), &Origin::Own).map(Object::tree).map_err(|error| self.explain(error))
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
        Ok(BlobFile::new(std::mem::take(&mut self.path), &metadata))
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
