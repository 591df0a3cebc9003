//! Plain bytes as content, for tests of transports.

use crate::payload::{Body, Incoming, Outgoing, Payload};
use rain_data::INLINE_BYTES_MAX;
use rain_transport::content::Content;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// Content with this end cannot be read: not at all if it is small, and else not beyond its middle.
pub const UNREADABLE: &[u8] = b"unreadable";

/// Large content.
struct Owned(Vec<u8>);

fn unreadable() -> io::Error {
    io::Error::other("this test cannot be read")
}

impl Content for Owned {
    fn length(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let bytes = self.0.get(offset as usize..).and_then(|bytes| bytes.get(..into.len()));
        let bytes = bytes.ok_or(io::ErrorKind::UnexpectedEof)?;
        if self.0.ends_with(UNREADABLE) && offset as usize + into.len() > self.0.len() / 2 {
            return Err(unreadable());
        }
        into.copy_from_slice(bytes);
        Ok(())
    }
}

impl Payload for Vec<u8> {
    type Place = ();

    fn is_in_memory(&self) -> bool {
        self.len() <= INLINE_BYTES_MAX
    }

    fn held_bytes(&self) -> usize {
        self.len()
    }

    fn outgoing(&self, _: Option<&Path>) -> io::Result<Outgoing> {
        let body = match self.len() {
            ..=INLINE_BYTES_MAX if self.ends_with(UNREADABLE) => return Err(unreadable()),
            ..=INLINE_BYTES_MAX => Body::Small(self.clone()),
            _ => Body::Large(Arc::new(Owned(self.clone()))),
        };
        Ok(Outgoing { about: Vec::new(), body })
    }

    fn outgoing_lost(&self, why: String) -> io::Result<Outgoing> {
        Ok(Outgoing { about: Vec::new(), body: Body::Small(why.into_bytes()) })
    }

    fn lost(why: String) -> Self {
        why.into_bytes()
    }

    fn receive(_: &(), _: &[u8], length: u64) -> io::Result<Box<dyn Incoming<Self>>> {
        Ok(Box::new(Bytes { bytes: Vec::new(), does_io: length > INLINE_BYTES_MAX as u64 }))
    }
}

/// Content that has come. What is large goes the way of content that is stored in files.
struct Bytes {
    bytes: Vec<u8>,
    does_io: bool,
}

impl Incoming<Vec<u8>> for Bytes {
    fn push(&mut self, piece: &[u8]) -> io::Result<()> {
        self.bytes.extend_from_slice(piece);
        Ok(())
    }

    fn does_io(&self) -> bool {
        self.does_io
    }

    fn finish(self: Box<Self>) -> io::Result<Vec<u8>> {
        Ok(self.bytes)
    }
}
