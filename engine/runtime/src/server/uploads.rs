//! Content that a client sends in pieces before the submit that uses it.

use rain_data::{Object, Store};
use rain_model::graph::DataType;
use rain_protocol::client::{RequestError, Upload};
use std::collections::HashMap;
use std::io::{self, Read};

/// Contents of a client that wait for their submit, at most.
const UPLOADS_MAX: usize = 1 << 16;

/// Pieces are joined up to this size, bytes.
const JOINED_BYTES_MAX: usize = 1 << 20;

/// Content that has come, in the pieces in which it came.
#[derive(Default)]
pub(super) struct Pieces {
    pieces: Vec<Vec<u8>>,
    length: u64,
}

impl From<Vec<u8>> for Pieces {
    fn from(bytes: Vec<u8>) -> Self {
        Self { length: bytes.len() as u64, pieces: vec![bytes] }
    }
}

impl Pieces {
    /// An object with this content.
    ///
    /// # Errors
    /// When it cannot be stored, or is no archive.
    pub(super) fn store(
        self,
        store: &Store,
        data_type: DataType,
        content_type: Option<&str>,
    ) -> Result<Object, String> {
        self.object(store, data_type, content_type).map_err(|error| error.to_string())
    }

    fn object(mut self, store: &Store, data_type: DataType, content_type: Option<&str>) -> io::Result<Object> {
        match data_type {
            DataType::Blob if self.pieces.len() <= 1 => store.blob(self.pieces.pop().unwrap_or_default(), content_type),
            DataType::Blob => {
                let mut file = store.new_file()?;
                for piece in self.pieces {
                    file.write_all(&piece)?;
                }
                Ok(file.finish()?.with_content_type(content_type))
            }
            DataType::Directory => {
                let tree = store.import_tar(PiecesReader { pieces: &self.pieces, read: 0 })?;
                Ok(tree.with_content_type(content_type))
            }
        }
    }
}

/// Reads one piece after the other.
struct PiecesReader<'a> {
    pieces: &'a [Vec<u8>],
    /// Bytes of the first piece that were read.
    read: usize,
}

impl Read for PiecesReader<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while let Some((first, rest)) = self.pieces.split_first() {
            let count = (&first[self.read..]).read(into)?;
            if count > 0 || into.is_empty() {
                self.read += count;
                return Ok(count);
            }
            (self.pieces, self.read) = (rest, 0);
        }
        Ok(0)
    }
}

/// The contents of one client, by session and object.
pub(super) struct Uploads {
    contents: HashMap<(u32, u32), Pieces>,
    /// Bytes of memory, at most.
    bytes_max: u64,
}

impl Uploads {
    /// Nothing has come yet; no more than so many bytes may wait.
    pub(super) fn new(bytes_max: u64) -> Self {
        Self { contents: HashMap::new(), bytes_max }
    }

    /// Takes the content of an object that has come whole.
    pub(super) fn take(&mut self, session: u32, object: u32) -> Option<Pieces> {
        self.contents.remove(&(session, object))
    }

    /// Forgets what was not used of a session.
    pub(super) fn forget(&mut self, session: u32) {
        self.contents.retain(|(number, _), _| *number != session);
    }

    /// Adds a piece; pieces come in order and exactly fill what was announced.
    ///
    /// # Errors
    /// When they do not, or too many contents wait.
    pub(super) fn add(&mut self, upload: Upload) -> Result<(), RequestError> {
        let key = (upload.session, upload.object);
        if self.contents.len() >= UPLOADS_MAX && !self.contents.contains_key(&key) {
            return Err(RequestError::request(format!(
                "upload of object {}: {UPLOADS_MAX} objects wait for their submit already",
                upload.object
            )));
        }
        let waiting = self.contents.values().fold(upload.data.len() as u64, |sum, pieces| sum + pieces.length);
        if waiting > self.bytes_max {
            self.contents.remove(&key);
            return Err(RequestError::request(format!(
                "upload of object {}: {waiting} bytes wait for their submit, more than the {} that this server's memory allows: \
                 submit in parts",
                upload.object, self.bytes_max
            )));
        }
        let content = self.contents.entry(key).or_default();
        if upload.offset == 0 {
            *content = Pieces::default();
        }
        let end = upload.offset.saturating_add(upload.data.len() as u64);
        if upload.offset != content.length || end > upload.total {
            let have = content.length;
            self.contents.remove(&key);
            return Err(RequestError::request(format!(
                "upload of object {}: bytes {} to {end} of {} do not follow the {have} that came before",
                upload.object, upload.offset, upload.total
            )));
        }
        content.length = end;
        let data = upload.data.into_vec();
        match content.pieces.last_mut() {
            // Many small pieces would cost more than their bytes.
            Some(last) if last.len() + data.len() <= JOINED_BYTES_MAX => last.extend_from_slice(&data),
            _ => content.pieces.push(data),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rain_data::FileCopy;
    use serde_bytes::ByteBuf;
    use std::sync::Arc;

    fn piece(object: u32, offset: u64, data: &[u8]) -> Upload {
        Upload { session: 1, object, total: 100, offset, data: ByteBuf::from(data) }
    }

    #[test]
    fn pieces_become_one_content_and_wrong_ones_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::create(&directory.path().join("store")).unwrap();
        let mut uploads = Uploads::new(3 << 20);
        for offset in 0..100 {
            uploads.add(piece(7, offset, &[offset as u8])).unwrap();
        }
        let pieces = uploads.take(1, 7).unwrap();
        assert_eq!(pieces.pieces.len(), 1);
        let object = pieces.store(&store, DataType::Blob, Some("text")).unwrap();
        assert_eq!(
            (&*object.contents().unwrap(), object.content_type()),
            (&*(0..100).collect::<Vec<u8>>(), Some("text"))
        );
        assert!(uploads.take(1, 7).is_none());

        uploads.add(piece(7, 0, b"ab")).unwrap();
        for (offset, data) in [(1, &b"b"[..]), (2, &[0; 99])] {
            uploads.add(piece(7, 0, b"ab")).unwrap();
            assert!(uploads.add(piece(7, offset, data)).unwrap_err().message.contains("do not follow"));
            assert!(uploads.take(1, 7).is_none());
        }

        let large = Upload { total: 1 << 30, ..piece(8, 0, &vec![1; 2 << 20]) };
        uploads.add(large.clone()).unwrap();
        assert!(uploads.add(Upload { object: 9, ..large.clone() }).unwrap_err().message.contains("submit in parts"));
        uploads.add(Upload { offset: 2 << 20, data: ByteBuf::from([2]), ..large }).unwrap();
        let object = uploads.take(1, 8).unwrap().store(&store, DataType::Blob, None).unwrap();
        assert!(*object.contents().unwrap() == *[vec![1; 2 << 20], vec![2]].concat());

        uploads.add(piece(1, 0, b"a")).unwrap();
        uploads.forget(1);
        assert!(uploads.take(1, 1).is_none());
    }

    #[test]
    fn an_archive_may_come_in_pieces() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::create(&directory.path().join("store")).unwrap();
        let source = directory.path().join("source");
        std::fs::create_dir(&source).unwrap();
        std::fs::write(source.join("file"), vec![5; 3 << 20]).unwrap();
        let tar = Arc::new(store.copy_dir_in(&source, FileCopy::Copy).unwrap()).contents().unwrap().into_owned();
        let pieces = Pieces { length: tar.len() as u64, pieces: tar.chunks(70_001).map(<[u8]>::to_vec).collect() };
        let tree = pieces.store(&store, DataType::Directory, None).unwrap();
        assert_eq!(std::fs::read(tree.path(&store).unwrap().join("file")).unwrap(), vec![5; 3 << 20]);
    }
}
