//! The objects of a governor, for clients that fetch them from it.

use crate::session::SessionTable;
use rain_core::client::{Fetch, FetchHeader, RequestError};
use rain_transport_tcp::contents::{Contents, Source};
use std::sync::Arc;

pub(crate) struct GovernorContents(pub(crate) Arc<SessionTable>);

impl Contents for GovernorContents {
    fn find(&self, fetch: &Fetch) -> Result<(FetchHeader, Arc<dyn Source>), RequestError> {
        let refuse = |why: &str| RequestError::request(format!("object {} {why}", fetch.object));
        let session = self.0.get(fetch.session).ok_or_else(|| refuse("is of a session that is not here"))?;
        let object = session.graph.share(fetch.object).ok_or_else(|| refuse("is not here"))?;
        let contents = object.contents().map_err(|error| refuse(&format!("cannot be read: {error}")))?;
        let header = FetchHeader {
            size: contents.len() as u64,
            length: 0,
            data_type: object.data_type().code(),
            content_type: object.content_type().map(str::to_owned),
        };
        Ok((header, object))
    }
}
