//! What the server's driver knows of a client.

use super::bringing::Bringing;
use super::fetched::Fetched;
use super::group::Group;
use super::uploads::Uploads;
use rain_data::Object;
use rain_protocol::client::{Fetch, SessionRef};
use rain_protocol::peer::Message;
use rain_server::RequestId;
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Requests of a client that are not answered yet, at most.
pub(super) const UNANSWERED_MAX: usize = 1 << 20;

pub(super) struct Client {
    /// Whether the client may be answered with paths of files.
    pub(super) local: bool,
    pub(super) sessions: BTreeSet<u32>,
    /// Fetches that are not answered.
    pub(super) fetches: HashMap<RequestId, Fetch>,
    /// How many of its requests the state machine has not answered.
    pub(super) unanswered: usize,
    /// Answers to fetches that are made on other threads,
    pub(super) in_background: usize,
    /// and the closing of a session that waits for them: nothing of a session is answered after its end.
    pub(super) closing: Option<(u64, SessionRef)>,
    /// Requests for many results that are not answered whole, by their numbers.
    pub(super) groups: HashMap<u64, Group>,
    /// Objects that come from governors elsewhere,
    pub(super) bringing: Bringing<Message<Arc<Object>>>,
    /// and those that have come.
    pub(super) fetched: Fetched,
    /// Used on other threads, while nothing else of the client is dealt with.
    uploads: Arc<Mutex<Uploads>>,
}

impl Client {
    /// A client that has just come; so many bytes may wait for its submits.
    pub(super) fn new(local: bool, upload_bytes_max: u64) -> Self {
        Self {
            local,
            sessions: BTreeSet::new(),
            fetches: HashMap::new(),
            unanswered: 0,
            in_background: 0,
            closing: None,
            groups: HashMap::new(),
            bringing: Bringing::default(),
            fetched: Fetched::default(),
            uploads: Arc::new(Mutex::new(Uploads::new(upload_bytes_max))),
        }
    }

    pub(super) fn uploads(&self) -> MutexGuard<'_, Uploads> {
        self.uploads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn share_uploads(&self) -> Arc<Mutex<Uploads>> {
        self.uploads.clone()
    }

    /// The client has closed a session.
    pub(super) fn forget_session(&mut self, session: u32) {
        self.sessions.remove(&session);
        self.uploads().forget(session);
        self.fetched.forget_session(session);
    }
}
