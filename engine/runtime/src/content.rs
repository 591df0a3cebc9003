//! Objects as content that is read where it is.

use rain_data::{Object, Reader};
use rain_transport::content::Content;
use std::io;
use std::sync::Arc;

/// The content of an object; of a directory its archive.
pub(crate) struct ObjectContent(Reader);

impl ObjectContent {
    /// Opens the content, which takes long for a directory whose archive has to be made.
    ///
    /// # Errors
    /// When it cannot be read, or was changed since it was made.
    pub(crate) fn open(object: &Arc<Object>) -> io::Result<Self> {
        object.reader().map(Self)
    }
}

impl Content for ObjectContent {
    fn length(&self) -> u64 {
        self.0.length()
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.0.read_at(offset, into)
    }
}
