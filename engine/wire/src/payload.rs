//! The content of objects on its way: small content travels in the head of its message, large content follows in pieces.

use rain_core::graph::DataType;
use rain_data::{INLINE_BYTES_MAX, Object, Store};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, Seek, Write};
use std::path::PathBuf;
use std::sync::Arc;

/// How a driver's content of objects is sent and received.
pub trait Payload: Send + Sized + 'static {
    /// Where received content goes.
    type Place: Clone + Send + Sync + 'static;

    /// Whether `into_outgoing` may take long, so that it has a thread of its own.
    fn is_slow_to_send(&self) -> bool;

    /// Bytes of memory that it holds; files cost none.
    fn held_bytes(&self) -> usize;

    /// The content, ready to be sent.
    ///
    /// # Errors
    /// When it cannot be read.
    fn into_outgoing(self) -> io::Result<Outgoing>;

    /// Begins to receive content.
    ///
    /// # Errors
    /// When `about` is not what `into_outgoing` makes, or there is no place for it.
    fn receive(place: &Self::Place, about: &[u8], length: u64) -> io::Result<Box<dyn Incoming<Self>>>;
}

/// Content ready to be sent.
pub struct Outgoing {
    /// What the receiver has to know about it.
    pub about: Vec<u8>,
    pub body: Body,
}

/// The bytes of content.
pub enum Body {
    Small(Vec<u8>),
    Large(Arc<dyn Source>),
}

/// Large content that is there for as long as it is being sent.
pub trait Source: Send + Sync {
    /// All of it.
    fn bytes(&self) -> &[u8];
}

/// Content that is being received.
pub trait Incoming<D>: Send {
    /// Takes the next piece.
    ///
    /// # Errors
    /// When it cannot be stored.
    fn push(&mut self, piece: &[u8]) -> io::Result<()>;

    /// Whether `finish` may take long, so that it has a thread of its own.
    fn is_slow(&self) -> bool;

    /// The content, once all pieces have come.
    ///
    /// # Errors
    /// When it cannot be stored or is not what it was said to be.
    fn finish(self: Box<Self>) -> io::Result<D>;
}

/// What travels ahead of an object's content.
#[derive(Serialize, Deserialize)]
struct About {
    directory: bool,
    content_type: Option<String>,
    user: Option<String>,
}

struct Shared(Arc<Object>);

impl Source for Shared {
    fn bytes(&self) -> &[u8] {
        // It was readable when this was made, and stays mapped.
        self.0.contents().map(|contents| contents.bytes()).unwrap_or_default()
    }
}

impl Payload for Arc<Object> {
    type Place = Arc<Store>;

    fn is_slow_to_send(&self) -> bool {
        self.data_type() == DataType::Directory
    }

    fn held_bytes(&self) -> usize {
        self.inline_bytes().map_or(0, <[u8]>::len)
    }

    fn into_outgoing(self) -> io::Result<Outgoing> {
        let about = About {
            directory: self.data_type() == DataType::Directory,
            content_type: self.content_type().map(str::to_owned),
            user: self.user().map(str::to_owned),
        };
        let about = postcard::to_allocvec(&about).map_err(io::Error::other)?;
        let contents = self.contents()?;
        let small = contents.len() <= INLINE_BYTES_MAX;
        let body = if small { Body::Small(contents.to_vec()) } else { Body::Large(Arc::new(Shared(self))) };
        Ok(Outgoing { about, body })
    }

    fn receive(place: &Arc<Store>, about: &[u8], length: u64) -> io::Result<Box<dyn Incoming<Self>>> {
        let about: About = postcard::from_bytes(about).map_err(io::Error::other)?;
        let into = if length <= INLINE_BYTES_MAX as u64 {
            Target::Memory(Vec::with_capacity(length as usize))
        } else {
            let path = place.new_file_path();
            let mut options = std::fs::OpenOptions::new();
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
            let file = options.read(true).write(true).create_new(true).open(&path).map_err(|e| place.explain(e))?;
            Target::File { file, path: Draft(path) }
        };
        Ok(Box::new(ObjectIncoming { store: place.clone(), about, into }))
    }
}

/// A file that is removed unless it has been moved away.
struct Draft(PathBuf);

impl Drop for Draft {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

enum Target {
    Memory(Vec<u8>),
    File { file: File, path: Draft },
}

struct ObjectIncoming {
    store: Arc<Store>,
    about: About,
    into: Target,
}

impl Incoming<Arc<Object>> for ObjectIncoming {
    fn push(&mut self, piece: &[u8]) -> io::Result<()> {
        match &mut self.into {
            Target::Memory(bytes) => bytes.extend_from_slice(piece),
            Target::File { file, .. } => file.write_all(piece).map_err(|error| self.store.explain(error))?,
        }
        Ok(())
    }

    fn is_slow(&self) -> bool {
        self.about.directory
    }

    fn finish(self: Box<Self>) -> io::Result<Arc<Object>> {
        let Self { store, about, into } = *self;
        let object = match into {
            Target::Memory(bytes) if about.directory => store.import_tar(&bytes[..])?,
            Target::Memory(bytes) => Object::inline(bytes, None),
            Target::File { mut file, path: _path } if about.directory => {
                file.rewind()?;
                store.import_tar(io::BufReader::with_capacity(1 << 16, file))?
            }
            Target::File { file, path } => {
                drop(file);
                // Moved within the store: a rename.
                store.adopt_file(&path.0)?
            }
        };
        let object = object.with_content_type(about.content_type.as_deref()).with_user(about.user.as_deref());
        Ok(Arc::new(object))
    }
}

/// Plain bytes, for tests of transports.
impl Payload for Vec<u8> {
    type Place = ();

    fn is_slow_to_send(&self) -> bool {
        false
    }

    fn held_bytes(&self) -> usize {
        self.len()
    }

    fn into_outgoing(self) -> io::Result<Outgoing> {
        struct Owned(Vec<u8>);
        impl Source for Owned {
            fn bytes(&self) -> &[u8] {
                &self.0
            }
        }
        let small = self.len() <= INLINE_BYTES_MAX;
        let body = if small { Body::Small(self) } else { Body::Large(Arc::new(Owned(self))) };
        Ok(Outgoing { about: Vec::new(), body })
    }

    fn receive(_: &(), _: &[u8], _: u64) -> io::Result<Box<dyn Incoming<Self>>> {
        struct Bytes(Vec<u8>);
        impl Incoming<Vec<u8>> for Bytes {
            fn push(&mut self, piece: &[u8]) -> io::Result<()> {
                self.0.extend_from_slice(piece);
                Ok(())
            }
            fn is_slow(&self) -> bool {
                false
            }
            fn finish(self: Box<Self>) -> io::Result<Vec<u8>> {
                Ok(self.0)
            }
        }
        Ok(Box::new(Bytes(Vec::new())))
    }
}
