//! What follows from an event: answers, messages and other things that a driver carries out.

use super::event::RequestId;
use super::status::Status;
use rain_model::id::{ClientId, GovernorId, SessionId, TaskIndex};
use rain_protocol::client::{ObjectInfo, RequestError, TaskInfo};
use rain_protocol::explain::Explanation;
use rain_protocol::log::LogEntry;
use rain_protocol::peer::{Message, TaskOutput, ToGovernor};
use std::sync::Arc;

/// What the driver is to do.
#[derive(Debug)]
pub enum Action<D> {
    Reply {
        client: ClientId,
        request: RequestId,
        reply: Reply<D>,
    },
    Send {
        governor: GovernorId,
        message: Message<D>,
    },
    StoreResult(Box<StoredResult<D>>),
    /// What came of an `Event::ContentWanted`.
    Content {
        number: u64,
        content: Result<D, RequestError>,
    },
}

/// An answer to a request.
#[derive(Debug)]
pub enum Reply<D> {
    Done,
    Session(SessionId),
    /// The number of a watch that has begun.
    Watch {
        number: u32,
    },
    /// Which of the waited-for items are finished.
    Some {
        tasks: Vec<u32>,
        objects: Vec<u32>,
    },
    Object {
        info: ObjectInfo,
        content: D,
    },
    /// The content can be had from these governors.
    Holders {
        info: ObjectInfo,
        governors: Vec<GovernorId>,
    },
    /// These objects are forgotten.
    Forgotten {
        session: SessionId,
        objects: Vec<u32>,
    },
    Infos {
        tasks: Vec<TaskInfo>,
        objects: Vec<ObjectInfo>,
    },
    /// What tasks have written, of so many of those that were asked for.
    Outputs {
        outputs: Vec<(TaskIndex, TaskOutput)>,
        count: u32,
    },
    Explanations(Vec<Explanation>),
    Status(Status),
    /// The same for all that fail for the same reason.
    Error(Arc<RequestError>),
}

/// A result to be stored.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredResult<D> {
    pub session: SessionId,
    pub session_name: String,
    pub object: ObjectInfo,
    /// The task that made it.
    pub task: TaskIndex,
    /// Its name, else its type.
    pub task_name: String,
    /// Label of the output, "" if it has none.
    pub label: String,
    /// Why it could not be brought here, if so.
    pub content: Result<D, String>,
}

/// Where to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ReplyTo {
    pub client: ClientId,
    pub request: RequestId,
}

/// The actions that follow from events, in the order in which they are to be carried out.
#[derive(Debug)]
pub struct Effects<D> {
    actions: Vec<Action<D>>,
    log: Vec<LogEntry>,
}

impl<D> Default for Effects<D> {
    fn default() -> Self {
        Self { actions: Vec::new(), log: Vec::new() }
    }
}

impl<D> Effects<D> {
    /// No actions.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes all actions out, first to last; what held them is used again.
    pub fn drain(&mut self) -> impl Iterator<Item = Action<D>> {
        self.actions.drain(..)
    }

    /// Takes out what the event log is to be told, first to last.
    pub fn drain_log(&mut self) -> impl Iterator<Item = LogEntry> {
        self.log.drain(..)
    }

    /// Whether there is nothing to be carried out.
    pub fn is_empty(&self) -> bool {
        self.actions.is_empty()
    }

    /// Tells the event log something; without one it is dropped with this.
    pub(crate) fn log(&mut self, entry: LogEntry) {
        self.log.push(entry);
    }

    /// Answers a request.
    pub(crate) fn reply(&mut self, to: ReplyTo, reply: Reply<D>) {
        self.actions.push(Action::Reply { client: to.client, request: to.request, reply });
    }

    /// Answers a request with the reason why it was not carried out.
    pub(crate) fn error(&mut self, to: ReplyTo, error: impl Into<Arc<RequestError>>) {
        self.reply(to, Reply::Error(error.into()));
    }

    /// Answers a request that has nothing to say but whether it was carried out.
    pub(crate) fn done(&mut self, to: ReplyTo, result: Result<(), RequestError>) {
        match result {
            Ok(()) => self.reply(to, Reply::Done),
            Err(error) => self.error(to, error),
        }
    }

    /// Sends a message to a governor.
    pub(crate) fn send(&mut self, governor: GovernorId, message: ToGovernor<D>) {
        self.actions.push(Action::Send { governor, message: Message::ToGovernor(message) });
    }

    /// Gives a content that the driver has asked for under this number, or says why there is none.
    pub(crate) fn content(&mut self, number: u64, content: Result<D, RequestError>) {
        self.actions.push(Action::Content { number, content });
    }

    /// Has a result stored.
    pub(crate) fn store(&mut self, result: StoredResult<D>) {
        self.actions.push(Action::StoreResult(Box::new(result)));
    }
}
