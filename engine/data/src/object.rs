//! Data objects.

use crate::blob::BlobFile;
use crate::memory::{COUNTED_BYTES_MIN, Counted, Memory};
use crate::tree::DirTree;
use rain_model::graph::DataType;
use std::borrow::Cow;
use std::io;
use std::path::Path;
use std::sync::{Arc, OnceLock};

/// An immutable data object: content and what is known about it. Used as `Arc<Object>`.
#[derive(Debug)]
pub struct Object {
    pub(crate) data: Data,
    content_type: Option<Box<str>>,
    /// Few have some.
    user: Option<Box<Box<str>>>,
    /// Whether its file may be executed; always false for a directory.
    executable: bool,
}

/// Where the content is.
#[derive(Debug)]
pub(crate) enum Data {
    Inline {
        bytes: Box<[u8]>,
        /// A file with the same content, made when a program needs one.
        file: OnceLock<Box<BlobFile>>,
        /// Its memory, where it is worth counting.
        counted: Option<Box<Counted>>,
    },
    File(Arc<BlobFile>),
    Tree(Arc<DirTree>),
    Lost(Arc<Lost>),
}

/// What is known of content that cannot be had any more.
#[derive(Debug)]
pub(crate) struct Lost {
    data_type: DataType,
    why: String,
}

impl Lost {
    pub(crate) fn error(&self) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, self.why.clone())
    }
}

impl Object {
    fn new(data: Data) -> Self {
        Self { data, content_type: None, user: None, executable: false }
    }

    /// A blob in memory.
    pub fn inline(bytes: Vec<u8>, content_type: Option<&str>) -> Self {
        Self::new(Data::Inline { bytes: bytes.into_boxed_slice(), file: OnceLock::new(), counted: None })
            .with_content_type(content_type)
    }

    /// A blob in memory, which counts there.
    pub(crate) fn inline_in(memory: &Arc<Memory>, bytes: Vec<u8>) -> Self {
        let counted = (bytes.len() >= COUNTED_BYTES_MIN).then(|| Box::new(Counted::new(memory, bytes.len() as u64)));
        Self::new(Data::Inline { bytes: bytes.into_boxed_slice(), file: OnceLock::new(), counted })
    }

    /// A blob in a file of the store, which may be executed or not as its rights say.
    pub(crate) fn file(file: BlobFile, executable: bool) -> Self {
        Self::new(Data::File(Arc::new(file))).with_executable(executable)
    }

    /// A directory of the store.
    pub(crate) fn tree(tree: DirTree) -> Self {
        Self::new(Data::Tree(Arc::new(tree)))
    }

    /// An object whose content was lost: whoever wants it is told `why`.
    pub fn lost(data_type: DataType, why: String) -> Self {
        Self::new(Data::Lost(Arc::new(Lost { data_type, why })))
    }

    /// The same object with this content type.
    #[must_use]
    pub fn with_content_type(mut self, content_type: Option<&str>) -> Self {
        self.content_type = content_type.map(Box::from);
        self
    }

    /// The same blob as content that may be executed or not; to be said before a file is made of it.
    #[must_use]
    pub fn with_executable(mut self, executable: bool) -> Self {
        self.executable = executable;
        self
    }

    /// The same object with these attributes of the user, JSON text.
    #[must_use]
    pub fn with_user(mut self, user: Option<&str>) -> Self {
        self.user = user.map(|user| Box::new(user.into()));
        self
    }

    /// An object with the same content, which is shared, and other metadata; the object itself if nothing differs.
    pub fn with_metadata(self: &Arc<Self>, content_type: Option<&str>, user: Option<&str>) -> Arc<Self> {
        if self.content_type() == content_type && self.user() == user {
            return self.clone();
        }
        let data = match &self.data {
            // The materialised file is not shared: inline content is small.
            Data::Inline { bytes, counted, .. } => Data::Inline {
                bytes: bytes.clone(),
                file: OnceLock::new(),
                counted: counted.as_ref().map(|counted| Box::new(Counted::new(counted.memory(), bytes.len() as u64))),
            },
            Data::File(file) => Data::File(file.clone()),
            Data::Tree(tree) => Data::Tree(tree.clone()),
            Data::Lost(lost) => Data::Lost(lost.clone()),
        };
        let same = Self::new(data).with_executable(self.executable);
        Arc::new(same.with_content_type(content_type).with_user(user))
    }

    /// Size in bytes; of a directory, the sum of its files.
    pub fn size(&self) -> u64 {
        match &self.data {
            Data::Inline { bytes, .. } => bytes.len() as u64,
            Data::File(file) => file.size(),
            Data::Tree(tree) => tree.size(),
            Data::Lost(_) => 0,
        }
    }

    /// Whether this is a blob or a directory.
    pub fn data_type(&self) -> DataType {
        match &self.data {
            Data::Inline { .. } | Data::File(_) => DataType::Blob,
            Data::Tree(_) => DataType::Directory,
            Data::Lost(lost) => lost.data_type,
        }
    }

    /// Whether this is a blob made from a file that its owner may execute.
    pub fn is_executable(&self) -> bool {
        self.executable
    }

    /// Format of the content, if known.
    pub fn content_type(&self) -> Option<&str> {
        self.content_type.as_deref()
    }

    /// Attributes of the user, JSON text.
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref().map(|user| &**user)
    }

    /// The whole content, in memory; of a directory its tar archive, which is made at the first call. What may be large is better
    /// read in pieces, see [`Reader`](crate::Reader).
    ///
    /// # Errors
    /// When it cannot be read, or was changed since it was made.
    pub fn contents(&self) -> io::Result<Cow<'_, [u8]>> {
        match self.blob_file()? {
            Some(blob) => blob.read_all().map(Cow::Owned),
            None => Ok(Cow::Borrowed(self.inline_bytes().unwrap_or_default())),
        }
    }

    /// The file whose content is that of the object, or of a directory's archive; none if the content is in memory.
    pub(crate) fn blob_file(&self) -> io::Result<Option<&BlobFile>> {
        match &self.data {
            Data::Inline { .. } => Ok(None),
            Data::File(file) => Ok(Some(file)),
            Data::Tree(tree) => tree.archive().map(Some),
            Data::Lost(lost) => Err(lost.error()),
        }
    }

    /// Whether what tasks are given of it, a file or a directory, is as it was when it was made. Of directories with many entries
    /// this is not looked at: see [`DirTree::check`].
    ///
    /// # Errors
    /// When it was changed or is gone.
    pub fn check(&self) -> io::Result<()> {
        match &self.data {
            Data::Inline { file, .. } => file.get().map_or(Ok(()), |file| file.check()),
            Data::File(file) => file.check(),
            Data::Tree(tree) => tree.check(),
            Data::Lost(lost) => Err(lost.error()),
        }
    }

    /// Gives the file of a blob another name, in a store of this machine that is on the same file system.
    ///
    /// # Errors
    /// When that cannot be done, or the content has no file.
    pub fn add_name(&self, name: &Path) -> io::Result<()> {
        match &self.data {
            Data::File(file) => file.add_name(name),
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// When the content of a file was written, nanoseconds since 1970.
    pub fn modified(&self) -> Option<i64> {
        match &self.data {
            Data::File(file) => Some(file.modified()),
            _ => None,
        }
    }

    /// The content if it is in memory.
    pub fn inline_bytes(&self) -> Option<&[u8]> {
        match &self.data {
            Data::Inline { bytes, .. } => Some(bytes),
            Data::File(_) | Data::Tree(_) | Data::Lost(_) => None,
        }
    }

    /// The read-only file or directory with the content, if there is one already.
    pub fn file_path(&self) -> Option<&Path> {
        match &self.data {
            Data::Inline { file, .. } => file.get().map(|file| file.path()),
            Data::File(file) => Some(file.path()),
            Data::Tree(tree) => Some(tree.path()),
            Data::Lost(_) => None,
        }
    }

    /// Whether `real`, a path without symbolic links, is that of its file or directory.
    pub fn is_at(&self, real: &Path) -> bool {
        match &self.data {
            Data::Inline { file, .. } => file.get().is_some_and(|file| file.is_at(real)),
            Data::File(file) => file.is_at(real),
            Data::Tree(tree) => tree.path() == real,
            Data::Lost(_) => false,
        }
    }

    /// The directory tree, if this is one.
    pub fn as_tree(&self) -> Option<&DirTree> {
        match &self.data {
            Data::Tree(tree) => Some(tree),
            _ => None,
        }
    }
}
