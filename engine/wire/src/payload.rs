//! The content of objects on its way: small content travels in the head of its message, large content follows in pieces.

use rain_data::{INLINE_BYTES_MAX, Object, Reader, Store};
use rain_model::graph::DataType;
use rain_transport::content::Content;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// How a driver's content of objects is sent and received.
pub trait Payload: Send + Sized + 'static {
    /// Where received content goes.
    type Place: Clone + Send + Sync + 'static;

    /// Whether `outgoing` only looks at memory; else it may wait for a disk, and is called by an I/O thread.
    fn is_in_memory(&self) -> bool;

    /// Bytes of memory that it holds; files cost none.
    fn held_bytes(&self) -> usize;

    /// The content, ready to be sent. `neighbour`: the directory that the receiver's store was made in, where that is on this machine;
    /// content that can be put there need not be sent.
    ///
    /// # Errors
    /// When it cannot be read.
    fn outgoing(&self, neighbour: Option<&Path>) -> io::Result<Outgoing>;

    /// What is sent instead of content that cannot be read, and makes the receiver have content that is [`lost`](Self::lost).
    ///
    /// # Errors
    /// When nothing can be sent for it.
    fn outgoing_lost(&self, why: String) -> io::Result<Outgoing>;

    /// What stands for content that does not come: whoever wants it is told `why`.
    fn lost(why: String) -> Self;

    /// Begins to receive content. Nothing is done here that may wait for a disk.
    ///
    /// # Errors
    /// When `about` is not what `outgoing` makes, or there is no place for it.
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
    Large(Arc<dyn Content>),
}

/// Content that is being received.
pub trait Incoming<D>: Send {
    /// Takes the next piece.
    ///
    /// # Errors
    /// When it cannot be stored.
    fn push(&mut self, piece: &[u8]) -> io::Result<()>;

    /// Whether `push` and `finish` may wait for a disk, so that I/O threads call them.
    fn does_io(&self) -> bool;

    /// The content, once all pieces have come.
    ///
    /// # Errors
    /// When it cannot be stored or is not what it was said to be.
    fn finish(self: Box<Self>) -> io::Result<D>;
}

/// What travels ahead of an object's content.
#[derive(Default, Serialize, Deserialize)]
struct About {
    directory: bool,
    content_type: Option<String>,
    user: Option<String>,
    /// A blob that may be executed.
    executable: bool,
    /// Where the content is in the receiver's store already.
    handed_over: Option<HandedOver>,
    /// Why there is no content.
    lost: Option<String>,
}

impl About {
    /// What is known of an object without its content.
    fn of(object: &Object) -> Self {
        Self {
            directory: object.data_type() == DataType::Directory,
            content_type: object.content_type().map(str::to_owned),
            user: object.user().map(str::to_owned),
            ..Self::default()
        }
    }
}

/// A file that has a name in the receiver's store.
#[derive(Serialize, Deserialize)]
struct HandedOver {
    name: String,
    /// Bytes.
    size: u64,
    /// When it was written, nanoseconds since 1970.
    modified: i64,
}

/// Gives a large file another name in the store of a neighbour, whose file it is, too, from then on: nothing is copied. None
/// when that cannot be done, as across file systems.
fn hand_over(object: &Object, store: &Path) -> Option<HandedOver> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let size = Some(object.size()).filter(|size| *size > INLINE_BYTES_MAX as u64)?;
    let name = format!("from-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    object.add_name(&store.join(&name)).ok()?;
    Some(HandedOver { name, size, modified: object.modified()? })
}

/// The content of an object, whose file is open only while it is read.
struct ObjectSource {
    object: Arc<Object>,
    length: u64,
    reader: Mutex<Option<Reader>>,
}

impl ObjectSource {
    /// A source of what the object holds; of a directory that is its archive, which may take long to make.
    ///
    /// # Errors
    /// When it cannot be read, or was changed since it was made.
    fn new(object: Arc<Object>) -> io::Result<Self> {
        let length = object.reader()?.length();
        Ok(Self { object, length, reader: Mutex::new(None) })
    }
}

impl Content for ObjectSource {
    fn length(&self) -> u64 {
        self.length
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let mut reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        let opened = match reader.take() {
            Some(opened) => opened,
            None => self.object.reader()?,
        };
        opened.read_at(offset, into)?;
        if offset + (into.len() as u64) < self.length {
            *reader = Some(opened);
        }
        Ok(())
    }
}

impl Payload for Arc<Object> {
    type Place = Arc<Store>;

    fn is_in_memory(&self) -> bool {
        self.inline_bytes().is_some() || self.file_path().is_none()
    }

    fn held_bytes(&self) -> usize {
        self.inline_bytes().map_or(0, <[u8]>::len)
    }

    fn outgoing(&self, neighbour: Option<&Path>) -> io::Result<Outgoing> {
        let handed_over = neighbour.and_then(|store| hand_over(self, store));
        let is_there = handed_over.is_some();
        let about = About { executable: self.is_executable(), handed_over, ..About::of(self) };
        let about = postcard::to_allocvec(&about).map_err(io::Error::other)?;
        if is_there {
            return Ok(Outgoing { about, body: Body::Small(Vec::new()) });
        }
        let source = ObjectSource::new(self.clone())?;
        if source.length() > INLINE_BYTES_MAX as u64 {
            return Ok(Outgoing { about, body: Body::Large(Arc::new(source)) });
        }
        let mut bytes = vec![0; source.length() as usize];
        source.read_at(0, &mut bytes)?;
        Ok(Outgoing { about, body: Body::Small(bytes) })
    }

    fn outgoing_lost(&self, why: String) -> io::Result<Outgoing> {
        let about = About { lost: Some(why), ..About::of(self) };
        Ok(Outgoing { about: postcard::to_allocvec(&about).map_err(io::Error::other)?, body: Body::Small(Vec::new()) })
    }

    fn lost(why: String) -> Self {
        Arc::new(Object::lost(DataType::Blob, why))
    }

    fn receive(place: &Arc<Store>, about: &[u8], length: u64) -> io::Result<Box<dyn Incoming<Self>>> {
        let about: About = postcard::from_bytes(about).map_err(io::Error::other)?;
        let into = if about.lost.is_some() {
            Target::Nothing
        } else if let Some(HandedOver { name, .. }) = &about.handed_over {
            let is_plain = Path::new(name).file_name().is_some_and(|plain| plain == name.as_str());
            if !is_plain || length != 0 {
                return Err(io::ErrorKind::InvalidData.into());
            }
            Target::HandedOver(Draft(place.outer().join(name)))
        } else if length <= INLINE_BYTES_MAX as u64 && place.has_room(length) {
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
    /// Nothing will come.
    Nothing,
    /// Nothing has come.
    Unknown,
    File {
        file: File,
        path: Draft,
    },
}

struct ObjectIncoming {
    store: Arc<Store>,
    about: About,
    length: u64,
    into: Target,
}

impl ObjectIncoming {
    /// The file, which is made for the first piece.
    fn file(&mut self) -> io::Result<&mut File> {
        if matches!(self.into, Target::Unknown) {
            let spare = if self.about.directory { None } else { self.store.spare_file(self.length) };
            let (file, path) = match spare {
                Some(spare) => spare,
                None => self.new_file()?,
            };
            self.into = Target::File { file, path: Draft(path) };
        }
        match &mut self.into {
            Target::File { file, .. } => Ok(file),
            _ => Err(io::Error::other("it is received in another way")),
        }
    }

    fn new_file(&self) -> io::Result<(File, PathBuf)> {
        let path = self.store.new_file_path();
        let mut options = std::fs::OpenOptions::new();
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.read(true).write(true).create_new(true).open(&path).map_err(|e| self.store.explain(e))?;
        Ok((file, path))
    }
}

impl Incoming<Arc<Object>> for ObjectIncoming {
    fn push(&mut self, piece: &[u8]) -> io::Result<()> {
        if let Target::Memory(bytes) = &mut self.into {
            bytes.extend_from_slice(piece);
            return Ok(());
        }
        if let (Target::HandedOver(_) | Target::Nothing, []) = (&self.into, piece) {
            return Ok(());
        }
        let pushed = self.file()?.write_all(piece);
        pushed.map_err(|error| self.store.explain(error))
    }

    fn does_io(&self) -> bool {
        self.about.directory || !matches!(self.into, Target::Memory(_) | Target::Nothing)
    }

    fn finish(self: Box<Self>) -> io::Result<Arc<Object>> {
        let Self { store, about, length, into } = *self;
        let object = match (into, &about) {
            (Target::Nothing, About { directory, lost: Some(why), .. }) => {
                let data_type = if *directory { DataType::Directory } else { DataType::Blob };
                Object::lost(data_type, why.clone())
            }
            (Target::Memory(bytes), _) if about.directory => store.import_tar(&bytes[..])?,
            (Target::Memory(bytes), _) => store.inline(bytes, about.executable),
            (Target::HandedOver(path), About { handed_over: Some(HandedOver { size, modified, .. }), .. }) => {
                store.adopt_shared(&path.0, *size, *modified, about.executable)?
            }
            (Target::File { file, path: _path }, _) if about.directory => {
                let mut file = file;
                file.rewind()?;
                store.import_tar(io::BufReader::with_capacity(1 << 16, file))?
            }
            (Target::File { file, path }, _) => {
                drop(file);
                // Moved within the store: a rename.
                store.adopt_filled(&path.0, length, about.executable)?
            }
            _ => return Err(io::Error::other("no content has come")),
        };
        let object = object.with_content_type(about.content_type.as_deref()).with_user(about.user.as_deref());
        Ok(Arc::new(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    fn receive(store: &Arc<Store>, outgoing: Outgoing) -> io::Result<Arc<Object>> {
        let Body::Small(bytes) = outgoing.body else { panic!("it was to be handed over") };
        let mut incoming = Payload::receive(store, &outgoing.about, bytes.len() as u64)?;
        Incoming::<Arc<Object>>::push(&mut *incoming, &bytes)?;
        incoming.finish()
    }

    fn bytes_of(outgoing: &Outgoing) -> Vec<u8> {
        match &outgoing.body {
            Body::Small(bytes) => bytes.clone(),
            Body::Large(source) => {
                let mut bytes = Vec::new();
                source.read_piece(0..source.length(), &mut bytes).unwrap();
                bytes
            }
        }
    }

    #[test]
    fn a_large_file_gets_another_name_in_a_neighbours_store() {
        let top = tempfile::tempdir().unwrap();
        let [here, there] = ["here", "there"].map(|name| Arc::new(Store::create(&top.path().join(name)).unwrap()));
        let large = vec![7u8; 3 * INLINE_BYTES_MAX];
        let made = Arc::new(here.blob(&large[..], Some("pickle")).unwrap().with_user(Some("{}")));
        let outgoing = made.clone().outgoing(Some(there.outer())).unwrap();
        let came = receive(&there, outgoing).unwrap();
        let inode = |object: &Object| std::fs::metadata(object.file_path().unwrap()).unwrap().ino();
        assert_eq!(inode(&made), inode(&came));
        assert_eq!((came.content_type(), came.user()), (Some("pickle"), Some("{}")));
        // Each is there for as long as its owner wants.
        drop(made);
        assert_eq!(*came.contents().unwrap(), large[..]);
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
        let outgoing = large.outgoing(Some(&top.path().join("nobody's"))).unwrap();
        assert!(matches!(outgoing.body, Body::Large(_)));
        let small = Arc::new(Object::inline(b"small".to_vec(), None));
        let outgoing = small.outgoing(Some(store.outer())).unwrap();
        assert!(matches!(outgoing.body, Body::Small(bytes) if bytes == b"small"));
    }

    #[test]
    fn content_of_every_size_comes_whole_in_whatever_pieces() {
        let top = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::create(&top.path().join("store")).unwrap());
        for length in [0, 1, INLINE_BYTES_MAX, INLINE_BYTES_MAX + 1, 256 << 10, 1 << 20, (1 << 20) + 1] {
            let content: Vec<u8> = (0..length).map(|place| (place % 251) as u8).collect();
            let about = postcard::to_allocvec(&About::default()).unwrap();
            let mut incoming = <Arc<Object> as Payload>::receive(&store, &about, length as u64).unwrap();
            assert_eq!(incoming.does_io(), length > INLINE_BYTES_MAX);
            content.chunks(100_000).for_each(|piece| incoming.push(piece).unwrap());
            assert!(incoming.finish().unwrap().contents().unwrap() == content, "{length} bytes");
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
            let handed_over = Some(HandedOver { name: name.to_owned(), size: 100_000, modified: 0 });
            let about = About { handed_over, ..About::default() };
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
                    let outgoing = made.clone().outgoing(neighbour).unwrap();
                    let bytes = bytes_of(&outgoing);
                    let mut incoming = Payload::receive(&there, &outgoing.about, bytes.len() as u64).unwrap();
                    Incoming::<Arc<Object>>::push(&mut *incoming, &bytes).unwrap();
                    let came: Arc<Object> = incoming.finish().unwrap();
                    assert_eq!((came.is_executable(), mode(&came, &there)), (executable, expected), "{size}");
                }
            }
        }
    }
}
