//! The content of objects on its way: small content travels in the head of its message, large content follows in pieces.

use crate::filling::Filling;
use crate::loan::Loan;
use rain_core::graph::DataType;
use rain_data::{INLINE_BYTES_MAX, MappedFile, Object, Store};
use serde::{Deserialize, Serialize};
use std::io::{self, Seek};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// How a driver's content of objects is sent and received.
pub trait Payload: Send + Sized + 'static {
    /// Where received content goes.
    type Place: Clone + Send + Sync + 'static;

    /// Whether `into_outgoing` may take long, so that it has a thread of its own.
    fn is_slow_to_send(&self) -> bool;

    /// Bytes of memory that it holds; files cost none.
    fn held_bytes(&self) -> usize;

    /// The content, ready to be sent. `neighbour`: the directory that the receiver's store was made in, where that is on this machine;
    /// content that can be put there need not be sent.
    ///
    /// # Errors
    /// When it cannot be read.
    fn into_outgoing(self, neighbour: Option<&Path>) -> io::Result<Outgoing>;

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

    /// Memory for all of the content, if there is some into which it can be received; then that is all that may be done.
    fn room(&mut self) -> Option<Arc<dyn Room>> {
        None
    }

    /// Takes the next piece with its memory, which may be used until it is dropped, by any thread.
    ///
    /// # Errors
    /// When it, or one before, cannot be stored.
    fn push_loan(&mut self, piece: Loan) -> io::Result<()> {
        self.push(&piece)
    }

    /// Whether `finish` may take long, so that it has a thread of its own.
    fn is_slow(&self) -> bool;

    /// The content, once all pieces have come.
    ///
    /// # Errors
    /// When it cannot be stored or is not what it was said to be.
    fn finish(self: Box<Self>) -> io::Result<D>;
}

/// Memory that content is received into.
///
/// # Safety
/// From `start` on there are `length` bytes that may be written, for as long as this lives, and that nobody else uses before
/// the content is finished.
pub unsafe trait Room: Send + Sync {
    /// Where it begins.
    fn start(&self) -> *mut u8;
    /// Bytes.
    fn length(&self) -> usize;
}

/// What travels ahead of an object's content.
#[derive(Serialize, Deserialize)]
struct About {
    directory: bool,
    content_type: Option<String>,
    user: Option<String>,
    /// A blob that may be executed.
    executable: bool,
    /// The name that the content has in the receiver's store already.
    handed_over: Option<String>,
}

/// Gives a large file another name in the store of a neighbour, whose file it is, too, from then on: nothing is copied. None
/// when that cannot be done, as across file systems.
fn hand_over(object: &Object, store: &Path) -> Option<String> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let from = object.file_path().filter(|_| object.size() > INLINE_BYTES_MAX as u64)?;
    let name = format!("from-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    std::fs::hard_link(from, store.join(&name)).ok().map(|()| name)
}

/// For an object whose content has been found to be readable: it stays mapped.
impl Source for Object {
    fn bytes(&self) -> &[u8] {
        self.contents().map(|contents| contents.bytes()).unwrap_or_default()
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

    fn into_outgoing(self, neighbour: Option<&Path>) -> io::Result<Outgoing> {
        let handed_over = neighbour.and_then(|store| hand_over(&self, store));
        let is_there = handed_over.is_some();
        let about = About {
            directory: self.data_type() == DataType::Directory,
            content_type: self.content_type().map(str::to_owned),
            user: self.user().map(str::to_owned),
            executable: self.is_executable(),
            handed_over,
        };
        let about = postcard::to_allocvec(&about).map_err(io::Error::other)?;
        if is_there {
            return Ok(Outgoing { about, body: Body::Small(Vec::new()) });
        }
        let contents = self.contents()?;
        let small = contents.len() <= INLINE_BYTES_MAX;
        let body = if small { Body::Small(contents.to_vec()) } else { Body::Large(self) };
        Ok(Outgoing { about, body })
    }

    fn receive(place: &Arc<Store>, about: &[u8], length: u64) -> io::Result<Box<dyn Incoming<Self>>> {
        let about: About = postcard::from_bytes(about).map_err(io::Error::other)?;
        let into = if let Some(name) = &about.handed_over {
            let is_plain = Path::new(name).file_name().is_some_and(|plain| plain == name.as_str());
            if !is_plain || length != 0 {
                return Err(io::ErrorKind::InvalidData.into());
            }
            Target::HandedOver(Draft(place.outer().join(name)))
        } else if length <= INLINE_BYTES_MAX as u64 {
            Target::Memory(Vec::with_capacity(length as usize))
        } else {
            Target::Unknown
        };
        Ok(Box::new(ObjectIncoming { store: place.clone(), about, length, into }))
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
    /// It is all there.
    HandedOver(Draft),
    /// Nothing has come.
    Unknown,
    File {
        file: Filling,
        path: Draft,
    },
    Mapped {
        file: Arc<MappedFile>,
        path: Draft,
    },
}

// SAFETY: the file's memory is mapped for as long as it lives. Others use it only once it has become an object, or if a
// program opens files of the store that are not objects.
unsafe impl Room for MappedFile {
    fn start(&self) -> *mut u8 {
        self.start()
    }

    fn length(&self) -> usize {
        self.length()
    }
}

struct ObjectIncoming {
    store: Arc<Store>,
    about: About,
    length: u64,
    into: Target,
}

impl ObjectIncoming {
    /// The file, which is made for the first piece.
    fn file(&mut self) -> io::Result<&mut Filling> {
        if matches!(self.into, Target::Unknown) {
            let path = self.store.new_file_path();
            let mut options = std::fs::OpenOptions::new();
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
            let file =
                options.read(true).write(true).create_new(true).open(&path).map_err(|e| self.store.explain(e))?;
            self.into = Target::File { file: Filling::Here(file), path: Draft(path) };
        }
        match &mut self.into {
            Target::File { file, .. } => Ok(file),
            _ => Err(io::Error::other("it is received in another way")),
        }
    }
}

impl Incoming<Arc<Object>> for ObjectIncoming {
    fn push(&mut self, piece: &[u8]) -> io::Result<()> {
        if let Target::Memory(bytes) = &mut self.into {
            bytes.extend_from_slice(piece);
            return Ok(());
        }
        if let (Target::HandedOver(_), []) = (&self.into, piece) {
            return Ok(());
        }
        let pushed = self.file()?.write(piece);
        pushed.map_err(|error| self.store.explain(error))
    }

    fn room(&mut self) -> Option<Arc<dyn Room>> {
        // A file that is mapped for writing cannot be executed.
        if self.about.directory || self.about.executable || !matches!(self.into, Target::Unknown) {
            return None;
        }
        let (file, path) = self.store.spare_file(self.length)?;
        let file = Arc::new(file);
        self.into = Target::Mapped { file: file.clone(), path: Draft(path) };
        Some(file)
    }

    fn push_loan(&mut self, piece: Loan) -> io::Result<()> {
        if matches!(self.into, Target::Memory(_)) {
            return self.push(&piece);
        }
        let pushed = self.file()?.write_loan(piece);
        pushed.map_err(|error| self.store.explain(error))
    }

    fn is_slow(&self) -> bool {
        self.about.directory || matches!(self.into, Target::File { file: Filling::Elsewhere(_), .. })
    }

    fn finish(self: Box<Self>) -> io::Result<Arc<Object>> {
        let Self { store, about, length, into } = *self;
        let object = match into {
            Target::Memory(bytes) if about.directory => store.import_tar(&bytes[..])?,
            Target::Memory(bytes) => Object::inline(bytes, None).with_executable(about.executable),
            Target::HandedOver(path) => store.adopt_file(&path.0)?,
            Target::File { file, path: _path } if about.directory => {
                let mut file = file.finish().map_err(|error| store.explain(error))?;
                file.rewind()?;
                store.import_tar(io::BufReader::with_capacity(1 << 16, file))?
            }
            Target::File { file, path } => {
                drop(file.finish().map_err(|error| store.explain(error))?);
                // Moved within the store: a rename.
                store.adopt_filled(&path.0, length, about.executable, None)?
            }
            Target::Mapped { file, path } => store.adopt_filled(&path.0, length, about.executable, Some(file))?,
            Target::Unknown => return Err(io::Error::other("no content has come")),
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

    fn into_outgoing(self, _: Option<&Path>) -> io::Result<Outgoing> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loan::Lender;
    use std::os::unix::fs::MetadataExt;

    fn receive(store: &Arc<Store>, outgoing: Outgoing) -> io::Result<Arc<Object>> {
        let Body::Small(bytes) = outgoing.body else { panic!("it was to be handed over") };
        let mut incoming = Payload::receive(store, &outgoing.about, bytes.len() as u64)?;
        Incoming::<Arc<Object>>::push(&mut *incoming, &bytes)?;
        incoming.finish()
    }

    #[test]
    fn a_large_file_gets_another_name_in_a_neighbours_store() {
        let top = tempfile::tempdir().unwrap();
        let [here, there] = ["here", "there"].map(|name| Arc::new(Store::create(&top.path().join(name)).unwrap()));
        let large = vec![7u8; 3 * INLINE_BYTES_MAX];
        let made = Arc::new(here.blob(&large[..], Some("pickle")).unwrap().with_user(Some("{}")));
        let outgoing = made.clone().into_outgoing(Some(there.outer())).unwrap();
        let came = receive(&there, outgoing).unwrap();
        let inode = |object: &Object| std::fs::metadata(object.file_path().unwrap()).unwrap().ino();
        assert_eq!(inode(&made), inode(&came));
        assert_eq!((came.content_type(), came.user()), (Some("pickle"), Some("{}")));
        // Each is there for as long as its owner wants.
        drop(made);
        assert_eq!(came.contents().unwrap().bytes(), &large[..]);
        drop(came);
        assert!(
            std::fs::read_dir(there.root()).unwrap().next().is_none()
                && std::fs::read_dir(there.outer()).unwrap().count() == 1
        );
    }

    #[test]
    fn what_cannot_be_handed_over_is_sent() {
        let top = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::create(&top.path().join("store")).unwrap());
        let large = Arc::new(store.blob(vec![7u8; 3 * INLINE_BYTES_MAX], None).unwrap());
        let outgoing = large.into_outgoing(Some(&top.path().join("nobody's"))).unwrap();
        assert!(matches!(outgoing.body, Body::Large(_)));
        let small = Arc::new(Object::inline(b"small".to_vec(), None));
        let outgoing = small.into_outgoing(Some(store.outer())).unwrap();
        assert!(matches!(outgoing.body, Body::Small(bytes) if bytes == b"small"));
    }

    #[test]
    fn content_of_every_size_comes_whole_in_whatever_pieces() {
        let top = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::create(&top.path().join("store")).unwrap());
        let mut lender = Lender::new(None);
        for length in [0, 1, INLINE_BYTES_MAX, INLINE_BYTES_MAX + 1, 256 << 10, 1 << 20, (1 << 20) + 1] {
            let content: Vec<u8> = (0..length).map(|place| (place % 251) as u8).collect();
            for lent in [0, 1, usize::MAX] {
                let about =
                    About { directory: false, content_type: None, user: None, executable: false, handed_over: None };
                let about = postcard::to_allocvec(&about).unwrap();
                let mut incoming = <Arc<Object> as Payload>::receive(&store, &about, length as u64).unwrap();
                for (number, piece) in content.chunks(100_000).enumerate() {
                    if number < lent {
                        incoming.push_loan(lender.lend(piece.to_vec(), piece.len())).unwrap();
                    } else {
                        incoming.push(piece).unwrap();
                    }
                }
                assert!(incoming.finish().unwrap().contents().unwrap().bytes() == content, "{length} bytes");
            }
        }
    }

    #[test]
    fn only_names_within_the_store_are_taken() {
        let top = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::create(&top.path().join("store")).unwrap());
        std::fs::create_dir(top.path().join("store/a")).unwrap();
        std::fs::write(top.path().join("store/a/b"), [1u8; 100_000]).unwrap();
        std::fs::write(top.path().join("secret"), [1u8; 100_000]).unwrap();
        for name in ["../secret", "/etc/passwd", "..", "a/b", ""] {
            let about = About {
                directory: false,
                content_type: None,
                user: None,
                executable: false,
                handed_over: Some(name.to_owned()),
            };
            let about = postcard::to_allocvec(&about).unwrap();
            assert!(receive(&store, Outgoing { about, body: Body::Small(Vec::new()) }).is_err(), "{name}");
        }
        assert!(top.path().join("secret").exists());
    }

    #[test]
    fn a_program_stays_one_on_every_way() {
        let top = tempfile::tempdir().unwrap();
        let [here, there] = ["here", "there"].map(|name| Arc::new(Store::create(&top.path().join(name)).unwrap()));
        let mode = |object: &Object, store| std::fs::metadata(object.path(store).unwrap()).unwrap().mode() & 0o7777;
        for (executable, expected) in [(true, 0o500), (false, 0o400)] {
            for size in [10, 3 << 20] {
                let file = top.path().join("made");
                std::fs::write(&file, vec![7; size]).unwrap();
                let rights = std::os::unix::fs::PermissionsExt::from_mode(if executable { 0o700 } else { 0o600 });
                std::fs::set_permissions(&file, rights).unwrap();
                let made = Arc::new(here.adopt_file(&file).unwrap());
                for neighbour in [None, Some(there.outer())] {
                    let outgoing = made.clone().into_outgoing(neighbour).unwrap();
                    let bytes = match &outgoing.body {
                        Body::Small(bytes) => &bytes[..],
                        Body::Large(source) => source.bytes(),
                    };
                    let mut incoming = Payload::receive(&there, &outgoing.about, bytes.len() as u64).unwrap();
                    assert!(!executable || Incoming::<Arc<Object>>::room(&mut *incoming).is_none());
                    Incoming::<Arc<Object>>::push(&mut *incoming, bytes).unwrap();
                    let came: Arc<Object> = incoming.finish().unwrap();
                    assert_eq!((came.is_executable(), mode(&came, &there)), (executable, expected), "{size}");
                }
            }
        }
    }
}
