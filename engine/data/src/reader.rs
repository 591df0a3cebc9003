//! Reading the content of objects, which may be files: with calls that fail where a mapping would end the process.

use crate::blob::read_exact_at;
use crate::object::Object;
use std::fs::File;
use std::io;
use std::sync::Arc;

/// The content of an object, to be read in pieces; of a directory it is its archive.
#[derive(Debug)]
pub struct Reader {
    object: Arc<Object>,
    file: Option<File>,
    length: u64,
}

impl Object {
    /// Opens the content to be read in pieces; of a directory its tar archive.
    ///
    /// # Errors
    /// When it cannot be read, or was changed since it was made.
    pub fn reader(self: &Arc<Self>) -> io::Result<Reader> {
        let (file, length) = match self.blob_file()? {
            Some(blob) => (Some(blob.open()?), blob.size()),
            None => (None, self.size()),
        };
        Ok(Reader { object: self.clone(), file, length })
    }
}

impl Reader {
    /// Bytes.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Fills `into` with content from `offset` on.
    ///
    /// # Errors
    /// When there is not so much, it cannot be read, or it was changed since it was made. What was read before the end can have been
    /// changed only if reading the end is such an error.
    pub fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let end = offset.checked_add(into.len() as u64).filter(|end| *end <= self.length);
        let end = end.ok_or(io::ErrorKind::UnexpectedEof)?;
        match (&self.file, self.object.blob_file()?) {
            (Some(file), Some(blob)) => {
                read_exact_at(file, into, offset)?;
                if end == self.length { blob.check_open(file) } else { Ok(()) }
            }
            _ => {
                let bytes = self.object.inline_bytes().and_then(|bytes| bytes.get(offset as usize..end as usize));
                into.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
                Ok(())
            }
        }
    }
}
