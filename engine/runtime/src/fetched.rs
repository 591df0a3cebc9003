//! Objects that the server has brought from governors elsewhere for its clients.
//!
//! A client fetches a large object in pieces, or opens its file; without this each piece would bring the whole of it again,
//! and the file would be gone before it is opened.

use rain_data::Object;
use rain_model::id::ClientId;
use std::collections::VecDeque;
use std::sync::Arc;

/// Objects held at once; the oldest goes first.
const HELD_MAX: usize = 64;

struct Held {
    client: ClientId,
    session: u32,
    object: u32,
    info: rain_protocol::client::ObjectInfo,
    content: Arc<Object>,
}

/// Recently fetched objects.
#[derive(Default)]
pub(crate) struct Fetched {
    held: VecDeque<Held>,
}

impl Fetched {
    /// Holds an object for its client's next requests.
    pub(crate) fn hold(
        &mut self,
        client: ClientId,
        session: u32,
        info: rain_protocol::client::ObjectInfo,
        content: Arc<Object>,
    ) {
        let object = info.id;
        self.held.retain(|held| (held.client, held.session, held.object) != (client, session, object));
        self.held.push_back(Held { client, session, object, info, content });
        if self.held.len() > HELD_MAX {
            self.held.pop_front();
        }
    }

    /// The object, if this client has fetched a part of it.
    pub(crate) fn get(
        &self,
        client: ClientId,
        session: u32,
        object: u32,
    ) -> Option<(rain_protocol::client::ObjectInfo, Arc<Object>)> {
        let mut held = self.held.iter();
        let found = held.find(|held| (held.client, held.session, held.object) == (client, session, object))?;
        Some((found.info.clone(), found.content.clone()))
    }

    /// The client has the rest of it now.
    pub(crate) fn forget(&mut self, client: ClientId, session: u32, object: u32) {
        self.held.retain(|held| (held.client, held.session, held.object) != (client, session, object));
    }

    /// The client has closed the session, or (`None`) is gone.
    pub(crate) fn forget_session(&mut self, client: ClientId, session: Option<u32>) {
        self.held.retain(|held| held.client != client || session.is_some_and(|session| held.session != session));
    }
}
