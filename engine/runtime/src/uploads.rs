//! Content that comes from clients.

use rain_data::{Object, Store};
use rain_model::graph::DataType;
use rain_model::id::ClientId;
use rain_protocol::client::{RequestError, Upload};
use std::collections::HashMap;

/// Content that a client sends in pieces before the submit that uses it.
#[derive(Default)]
pub(crate) struct Uploads(HashMap<(ClientId, u32, u32), Vec<u8>>);

impl Uploads {
    /// Takes the content of an object that has come whole.
    pub(crate) fn take(&mut self, client: ClientId, session: u32, object: u32) -> Option<Vec<u8>> {
        self.0.remove(&(client, session, object))
    }

    /// Forgets what was not used: of a session, or (`None`) of all sessions of a client.
    pub(crate) fn forget(&mut self, client: ClientId, session: Option<u32>) {
        self.0.retain(|(other, number, _), _| *other != client || session.is_some_and(|session| session != *number));
    }

    /// Adds a piece; pieces come in order and exactly fill what was announced.
    pub(crate) fn add(&mut self, client: ClientId, upload: Upload) -> Result<(), RequestError> {
        let key = (client, upload.session, upload.object);
        let content = self.0.entry(key).or_default();
        if upload.offset == 0 {
            content.clear();
        }
        let end = upload.offset.saturating_add(upload.data.len() as u64);
        if upload.offset != content.len() as u64 || end > upload.total {
            let have = content.len();
            self.0.remove(&key);
            return Err(RequestError::request(format!(
                "upload of object {}: bytes {} to {end} of {} do not follow the {have} that came before",
                upload.object, upload.offset, upload.total
            )));
        }
        if content.capacity() == 0 && upload.total == end {
            *content = upload.data.into_vec();
        } else {
            content.extend_from_slice(&upload.data);
        }
        Ok(())
    }
}

/// An object of a submit.
///
/// # Errors
/// When it cannot be stored, or is no archive.
pub(crate) fn make_constant(
    store: &Store,
    data_type: DataType,
    content_type: Option<&str>,
    data: Vec<u8>,
) -> Result<Object, String> {
    match data_type {
        DataType::Blob => store.blob(data, content_type).map_err(|e| e.to_string()),
        DataType::Directory => {
            store.import_tar(&data[..]).map(|tree| tree.with_content_type(content_type)).map_err(|e| e.to_string())
        }
    }
}
