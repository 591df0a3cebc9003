//! Objects for clients that fetch them over connections of their own: those of a governor, and those that a server brings.

use crate::content::ObjectContent;
use crate::questions::{ContentRequest, ContentRequests};
use crate::session::SessionTable;
use rain_data::Object;
use rain_protocol::client::{Fetch, RequestError};
use rain_transport::clients::{Contents, Found};
use std::sync::Arc;

/// What a governor has.
pub(crate) struct GovernorContents(pub(crate) Arc<SessionTable>);

impl Contents for GovernorContents {
    fn find(&self, fetch: &Fetch) -> Result<Found, RequestError> {
        let session = self.0.get(fetch.session);
        let session = session.ok_or_else(|| refuse(fetch, "is of a session that is not here"))?;
        readable(fetch, session.graph.share(fetch.object).ok_or_else(|| refuse(fetch, "is not here"))?)
    }
}

/// What the server gets from a governor: who asks waits for that.
impl Contents for ContentRequests {
    fn find(&self, fetch: &Fetch) -> Result<Found, RequestError> {
        let (tell, told) = crossbeam_channel::bounded(1);
        // An error means that nobody waits any more.
        let answer = Box::new(move |found| _ = tell.send(found));
        self.ask(ContentRequest { fetch: *fetch, answer });
        let found = told.recv().map_err(|_| refuse(fetch, "cannot be fetched: the server ends"))?;
        readable(fetch, found?)
    }
}

fn refuse(fetch: &Fetch, why: &str) -> RequestError {
    RequestError::request(format!("object {} {why}", fetch.object))
}

fn readable(fetch: &Fetch, object: Arc<Object>) -> Result<Found, RequestError> {
    let content_type = object.content_type().map(str::to_owned);
    let data_type = object.data_type();
    let content = ObjectContent::open(&object).map_err(|error| refuse(fetch, &format!("cannot be read: {error}")))?;
    Ok(Found { data_type, content_type, content: Arc::new(content) })
}
