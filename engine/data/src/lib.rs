//! Data objects and the store of a governor.
//!
//! An [`Object`] is immutable: a few bytes in memory, a read-only file, or a read-only directory tree. Files and
//! directories live in a [`Store`], a private directory that is removed with it; each is removed with the last object
//! that needs it. A directory travels as a tar archive.
//!
//! Tasks have the paths of files that are objects, and what they do to them cannot always be prevented (root; who changes rights). So
//! nothing here reads through a mapping, which would end the process when a file becomes shorter; a file that somebody may still
//! write to is copied before it becomes an object; and a file that was changed gives an error instead of its content.

mod adopt;
mod archive;
mod blob;
mod content_type;
mod copy;
mod entries;
mod export;
mod lack;
mod memory;
mod object;
mod paths;
mod placing;
mod protect;
mod reader;
mod removal;
mod spare;
mod stamp;
mod store;
mod tree;
mod writers;

pub use blob::BlobFile;
pub use content_type::is_subtype;
pub use export::{WaitToWrite, export};
pub use memory::{Memory, MemoryUse};
pub use object::Object;
pub use paths::{PathError, relative_path};
pub use reader::Reader;
pub use removal::remove_tree;
pub use store::{INLINE_BYTES_MAX, NewFile, ScratchDir, Store, StoreError, is_in_memory};
pub use tree::{DirTree, FileCopy, Rights, copy_tree};
