//! Data objects.

use crate::{BlobFile, DirTree, FileCopy, Rights, Store};
use rain_core::graph::DataType;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::ops::Deref;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Arc, OnceLock};

/// An immutable data object: content and what is known about it. Used as `Arc<Object>`.
#[derive(Debug)]
pub struct Object {
    data: Data,
    content_type: Option<Box<str>>,
    user: Option<Box<str>>,
    /// Whether its file may be executed; always false for a directory.
    executable: bool,
}

#[derive(Debug)]
enum Data {
    Inline {
        bytes: Box<[u8]>,
        /// A file with the same content, made when a program needs one.
        file: OnceLock<Box<BlobFile>>,
    },
    File(Arc<BlobFile>),
    Tree(Arc<DirTree>),
}

/// The bytes of an object, wherever they are.
#[derive(Debug, Clone, Copy)]
pub struct Contents<'a>(&'a [u8]);

impl<'a> Contents<'a> {
    /// The bytes, for as long as the object is borrowed.
    pub fn bytes(self) -> &'a [u8] {
        self.0
    }
}

impl Deref for Contents<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.0
    }
}

impl Object {
    fn new(data: Data) -> Self {
        Self { data, content_type: None, user: None, executable: false }
    }

    /// A blob in memory.
    pub fn inline(bytes: Vec<u8>, content_type: Option<&str>) -> Self {
        Self::new(Data::Inline { bytes: bytes.into_boxed_slice(), file: OnceLock::new() })
            .with_content_type(content_type)
    }

    /// A blob in a file of the store, which may be executed or not as its rights say.
    pub(crate) fn file(file: BlobFile, executable: bool) -> Self {
        Self::new(Data::File(Arc::new(file))).with_executable(executable)
    }

    /// A directory of the store.
    pub(crate) fn tree(tree: DirTree) -> Self {
        Self::new(Data::Tree(Arc::new(tree)))
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
        self.user = user.map(Box::from);
        self
    }

    /// An object with the same content, which is shared, and other metadata; the object itself if nothing differs.
    pub fn with_metadata(self: &Arc<Self>, content_type: Option<&str>, user: Option<&str>) -> Arc<Self> {
        if self.content_type() == content_type && self.user() == user {
            return self.clone();
        }
        let data = match &self.data {
            // The materialised file is not shared: inline content is small.
            Data::Inline { bytes, .. } => Data::Inline { bytes: bytes.clone(), file: OnceLock::new() },
            Data::File(file) => Data::File(file.clone()),
            Data::Tree(tree) => Data::Tree(tree.clone()),
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
        }
    }

    /// Whether this is a blob or a directory.
    pub fn data_type(&self) -> DataType {
        match &self.data {
            Data::Inline { .. } | Data::File(_) => DataType::Blob,
            Data::Tree(_) => DataType::Directory,
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
        self.user.as_deref()
    }

    /// The content, mapped if it is a file; a directory gives its tar archive, which is made at the first call.
    pub fn contents(&self) -> io::Result<Contents<'_>> {
        match &self.data {
            Data::Inline { bytes, .. } => Ok(Contents(bytes)),
            Data::File(file) => file.bytes().map(Contents),
            Data::Tree(tree) => tree.archive()?.bytes().map(Contents),
        }
    }

    /// The content if it is in memory.
    pub fn inline_bytes(&self) -> Option<&[u8]> {
        match &self.data {
            Data::Inline { bytes, .. } => Some(bytes),
            Data::File(_) | Data::Tree(_) => None,
        }
    }

    /// The read-only file or directory with the content, if there is one already.
    pub fn file_path(&self) -> Option<&Path> {
        match &self.data {
            Data::Inline { file, .. } => file.get().map(|file| file.path()),
            Data::File(file) => Some(file.path()),
            Data::Tree(tree) => Some(tree.path()),
        }
    }

    /// The read-only file or directory with the content; one is made in `store` for content in memory.
    pub fn path(&self, store: &Store) -> io::Result<&Path> {
        match &self.data {
            Data::Inline { bytes, file } => {
                if let Some(file) = file.get() {
                    return Ok(file.path());
                }
                let made = Box::new(store.create_blob_from(bytes, self.executable)?);
                // Another thread may have been faster; then ours is dropped, which unlinks it.
                Ok(file.get_or_init(|| made).path())
            }
            Data::File(file) => Ok(file.path()),
            Data::Tree(tree) => Ok(tree.path()),
        }
    }

    /// Puts the content at `to`, where nothing is: as files of their own that may be written, or, where it is in files,
    /// as further names of these.
    pub fn copy_out(&self, store: &Store, to: &Path, files: FileCopy) -> io::Result<()> {
        match self.inline_bytes() {
            Some(bytes) if files == FileCopy::Copy || self.file_path().is_none() => {
                let mode = Rights::PRIVATE.file_mode(self.executable);
                let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(to)?;
                file.write_all(bytes).map_err(|error| store.explain(error))
            }
            _ => store.copy_out(self.path(store)?, to, files),
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
