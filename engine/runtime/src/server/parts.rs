//! What the server's driver is made of, and what comes from its other threads.

use super::replies::Answer;
use super::requests::Prepared;
use crate::facts::ProcessFacts;
use crate::stop::Stop;
use rain_data::Store;
use rain_events::EventLog;
use rain_model::id::ClientId;
use rain_protocol::client::{Fetch, RequestError};
use std::io;
use std::sync::Arc;

/// What a driver is made of.
pub(crate) struct ServerParts<C, T> {
    pub(crate) clients: C,
    pub(crate) transport: T,
    /// Where content of submits goes.
    pub(crate) store: Arc<Store>,
    pub(crate) facts: ProcessFacts,
    pub(crate) stop: Stop,
    /// What happens is noted there.
    pub(crate) log: Option<EventLog>,
}

/// What was done on another thread.
pub(super) enum Done {
    /// The request of a client that is held until this is dealt with; an error when it is none of the protocol.
    Request { client: ClientId, prepared: Result<(u64, Prepared), RequestError> },
    /// The answer to what a client, which is held until this is dealt with, wants to see.
    View { client: ClientId, id: u64, answer: Result<String, RequestError> },
    /// The answer to a fetch.
    Object { client: ClientId, fetch: Fetch, answer: Answer },
    /// Content that was read for the group with this number.
    Result { client: ClientId, group: u64, object: u32, content: io::Result<Vec<u8>> },
}
