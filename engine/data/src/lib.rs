//! Data objects and the store of a governor.
//!
//! An [`Object`] is immutable: a few bytes in memory, a read-only file, or a read-only directory tree. Files and
//! directories live in a [`Store`], a private directory that is removed with it; each is removed with the last object
//! that needs it. A directory travels as a tar archive.

mod archive;
mod blob;
mod content_type;
mod copy;
mod export;
mod object;
mod paths;
mod spare;
mod store;
mod tree;

pub use blob::BlobFile;
pub use content_type::is_subtype;
pub use export::{WaitToWrite, export};
pub use object::{Contents, Object};
pub use paths::{PathError, relative_path};
pub use spare::MappedFile;
pub use store::{INLINE_BYTES_MAX, NewFile, ScratchDir, Store, StoreError};
pub use tree::{DirTree, FileCopy, Rights, copy_tree, remove_tree};
