//! Objects that the server has brought from governors elsewhere for a client.
//!
//! A client fetches a large object in pieces, or opens its file; without this each piece would bring the whole of it again,
//! and the file would be gone before it is opened.

use rain_data::Object;
use rain_protocol::client::ObjectInfo;
use std::collections::VecDeque;
use std::sync::Arc;

/// Objects held at once for a client; the oldest goes first.
const HELD_MAX: usize = 64;

struct Held {
    session: u32,
    object: u32,
    info: ObjectInfo,
    content: Arc<Object>,
}

/// Objects that a client has recently fetched a part of.
#[derive(Default)]
pub(super) struct Fetched(VecDeque<Held>);

impl Fetched {
    /// Holds an object for further requests.
    pub(super) fn hold(&mut self, session: u32, info: ObjectInfo, content: Arc<Object>) {
        let object = info.id;
        self.forget(session, object);
        self.0.push_back(Held { session, object, info, content });
        if self.0.len() > HELD_MAX {
            self.0.pop_front();
        }
    }

    /// The object, if a part of it was fetched.
    pub(super) fn get(&self, session: u32, object: u32) -> Option<(ObjectInfo, Arc<Object>)> {
        let found = self.0.iter().find(|held| (held.session, held.object) == (session, object))?;
        Some((found.info.clone(), found.content.clone()))
    }

    /// The client has the rest of it now, or does not need it.
    pub(super) fn forget(&mut self, session: u32, object: u32) {
        self.0.retain(|held| (held.session, held.object) != (session, object));
    }

    /// The client has closed the session.
    pub(super) fn forget_session(&mut self, session: u32) {
        self.0.retain(|held| held.session != session);
    }
}
