//! What server and governors write to each other: records, and messages with their batches said once.

use rain_core::graph::{Batch, Kind};
use rain_core::id::{GovernorId, SessionId};
use rain_core::peer::{BetweenGovernors, FromGovernor, Message, Run, TaskSet, ToGovernor};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// Both ends must have the same.
pub(super) const PEER_VERSION: u32 = 1;
/// A record: its kind, and the length of what follows.
pub(super) const RECORD_HEADER_BYTES: usize = 5;
/// Longest record before the handshake.
pub(super) const GREETING_BYTES_MAX: usize = 4 << 10;
/// Longest record after it.
pub(super) const RECORD_BYTES_MAX: usize = 1 << 30;

/// Why a peer is not listened to any more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum WireError {
    #[error("a record of {length} bytes, more than {max}")]
    TooLong { length: usize, max: usize },
    #[error("a record of unknown kind {0}")]
    Kind(u8),
    #[error("a record that cannot be read: {0}")]
    Record(#[from] postcard::Error),
    #[error("{0}")]
    Rule(String),
}

/// Kinds of records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Record {
    Hello = 0,
    Welcome = 1,
    Refused = 2,
    /// The connection is alive.
    Ping = 3,
    /// How many messages of each lane have come.
    Ack = 4,
    /// The peer ends.
    Bye = 5,
    /// Where is this governor? (To the server.)
    Where = 6,
    Address = 7,
    /// The beginning of a message, and a piece of its content, in one lane or the other.
    Head0 = 8,
    Head1 = 9,
    Piece0 = 10,
    Piece1 = 11,
}

impl Record {
    pub(super) fn from_code(code: u8) -> Result<Self, WireError> {
        use Record::*;
        let all = [Hello, Welcome, Refused, Ping, Ack, Bye, Where, Address, Head0, Head1, Piece0, Piece1];
        all.get(usize::from(code)).copied().ok_or(WireError::Kind(code))
    }
}

/// Appends a record.
pub(super) fn append_record(kind: Record, body: &[u8], to: &mut Vec<u8>) {
    to.push(kind as u8);
    to.extend_from_slice(&(body.len() as u32).to_le_bytes());
    to.extend_from_slice(body);
}

/// A record with a value in it.
pub(super) fn record<T: Serialize>(kind: Record, value: &T) -> Vec<u8> {
    let mut made = Vec::new();
    // Writing to memory cannot fail.
    append_record(kind, &postcard::to_allocvec(value).unwrap_or_default(), &mut made);
    made
}

pub(super) fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, WireError> {
    Ok(postcard::from_bytes(body)?)
}

/// How many messages of each lane have come.
pub(super) type Received = [u64; 2];

/// The first record of who connects.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Hello {
    pub(super) version: u32,
    pub(super) purpose: Purpose,
    pub(super) received: Received,
}

/// What a connection between peers is for.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Purpose {
    /// A new governor, which listens for other governors.
    Join { listen: SocketAddr },
    /// A governor whose connection was cut.
    Return { governor: GovernorId, pass: u64 },
    /// Messages of one governor to another.
    Deliver { from: GovernorId, to: GovernorId },
}

/// The answer to it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Welcome {
    /// The governor's own.
    pub(super) governor: GovernorId,
    /// What it shows when it returns.
    pub(super) pass: u64,
    pub(super) received: Received,
}

/// Where a governor listens; `ip` is absent when it is the server's machine.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Place {
    pub(super) ip: Option<IpAddr>,
    pub(super) port: u16,
}

/// Content in a message's head: the content itself, or how much will follow.
#[derive(Serialize, Deserialize)]
pub(super) struct ContentHead {
    pub(super) about: ByteBuf,
    pub(super) small: Option<ByteBuf>,
    pub(super) length: u64,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Head {
    message: Wire,
    pub(super) contents: Vec<ContentHead>,
}

/// A message whose contents are replaced by their numbers.
#[derive(Serialize, Deserialize)]
enum Wire {
    Run(WireRun),
    Other(Message<u32>),
}

#[derive(Serialize, Deserialize)]
struct WireRun {
    session: SessionId,
    batch: WireBatch,
    tasks: TaskSet,
    constants: Vec<(u32, u32)>,
    remote: Vec<(u32, GovernorId)>,
    pins: Vec<u32>,
}

#[derive(Serialize, Deserialize)]
enum WireBatch {
    /// The batch with this first task, which came before.
    Known(u32),
    /// A batch without its kinds; these are to be put at `kinds_from` of the session's table.
    New { batch: Box<Batch>, kinds_from: u32, kinds: Vec<Arc<Kind>> },
}

/// What the receiver knows, as the sender sees it.
#[derive(Default)]
pub(super) struct Told(BTreeMap<SessionId, ToldSession>);

#[derive(Default)]
struct ToldSession {
    kinds: usize,
    batches: BTreeSet<u32>,
}

/// What came before.
#[derive(Default)]
pub(super) struct Heard(BTreeMap<SessionId, HeardSession>);

#[derive(Default)]
struct HeardSession {
    kinds: Vec<Arc<Kind>>,
    batches: BTreeMap<u32, Arc<Batch>>,
}

impl Told {
    /// Writes the head of a message.
    pub(super) fn write(&mut self, message: Message<u32>, contents: Vec<ContentHead>) -> Result<Vec<u8>, WireError> {
        let message = match message {
            Message::ToGovernor(ToGovernor::Run(run)) => Wire::Run(self.run(run)),
            other => {
                if let Message::ToGovernor(ToGovernor::CloseSession(session)) = &other {
                    self.0.remove(session);
                }
                Wire::Other(other)
            }
        };
        Ok(postcard::to_allocvec(&Head { message, contents })?)
    }

    fn run(&mut self, run: Run<u32>) -> WireRun {
        let told = self.0.entry(run.session).or_default();
        let first = run.batch.first;
        // Empty batches have the number of the next batch, and are not worth remembering.
        let known = run.batch.count > 0 && !told.batches.insert(first);
        let batch = if known {
            WireBatch::Known(first)
        } else {
            let kinds_from = told.kinds.min(run.batch.kinds.len());
            let kinds = run.batch.kinds[kinds_from..].to_vec();
            told.kinds = told.kinds.max(run.batch.kinds.len());
            let batch = Box::new(Batch { kinds: Arc::default(), ..(*run.batch).clone() });
            WireBatch::New { batch, kinds_from: kinds_from as u32, kinds }
        };
        let Run { session, tasks, constants, remote, pins, .. } = run;
        WireRun { session, batch, tasks, constants, remote, pins }
    }
}

impl Heard {
    /// Reads the head of a message. Reading one twice, as after a cut, changes nothing.
    pub(super) fn read(&mut self, head: &[u8]) -> Result<(Message<u32>, Vec<ContentHead>), WireError> {
        let Head { message, contents } = read(head)?;
        let message = match message {
            Wire::Run(run) => Message::ToGovernor(ToGovernor::Run(self.run(run)?)),
            Wire::Other(message) => {
                if let Message::ToGovernor(ToGovernor::CloseSession(session)) = &message {
                    self.0.remove(session);
                }
                message
            }
        };
        Ok((message, contents))
    }

    fn run(&mut self, run: WireRun) -> Result<Run<u32>, WireError> {
        let heard = self.0.entry(run.session).or_default();
        let batch = match run.batch {
            WireBatch::Known(first) => heard
                .batches
                .get(&first)
                .cloned()
                .ok_or_else(|| WireError::Rule(format!("batch {first} of {} is not known", run.session)))?,
            WireBatch::New { mut batch, kinds_from, kinds } => {
                if !kinds.is_empty() {
                    heard.kinds.truncate(kinds_from as usize);
                    heard.kinds.extend(kinds);
                }
                batch.kinds = Arc::new(heard.kinds.clone());
                let batch = Arc::new(*batch);
                if batch.count > 0 {
                    heard.batches.insert(batch.first, batch.clone());
                }
                batch
            }
        };
        let WireRun { session, tasks, constants, remote, pins, .. } = run;
        Ok(Run { session, batch, tasks, constants, remote, pins })
    }
}

/// Replaces the contents of a message, one after the other.
pub(super) fn map_contents<A, B>(
    message: Message<A>,
    mut map: impl FnMut(A) -> Result<B, String>,
) -> Result<Message<B>, String> {
    Ok(match message {
        Message::ToGovernor(message) => Message::ToGovernor(match message {
            ToGovernor::Run(Run { session, batch, tasks, constants, remote, pins }) => {
                let constants: Result<Vec<_>, String> =
                    constants.into_iter().map(|(object, content)| Ok((object, map(content)?))).collect();
                ToGovernor::Run(Run { session, batch, tasks, constants: constants?, remote, pins })
            }
            ToGovernor::OpenSession(open) => ToGovernor::OpenSession(open),
            ToGovernor::CloseSession(session) => ToGovernor::CloseSession(session),
            ToGovernor::CancelTasks { session, tasks } => ToGovernor::CancelTasks { session, tasks },
            ToGovernor::Unpin { session, objects } => ToGovernor::Unpin { session, objects },
            ToGovernor::Fetch { session, object, ticket } => ToGovernor::Fetch { session, object, ticket },
            ToGovernor::Stop => ToGovernor::Stop,
        }),
        Message::FromGovernor(message) => Message::FromGovernor(match message {
            FromGovernor::Fetched { ticket, content } => {
                FromGovernor::Fetched { ticket, content: content.and_then(map) }
            }
            FromGovernor::Joined { cpus } => FromGovernor::Joined { cpus },
            FromGovernor::Started { session, task, start } => FromGovernor::Started { session, task, start },
            FromGovernor::Finished(finished) => FromGovernor::Finished(finished),
            FromGovernor::Failed { session, task, failure } => FromGovernor::Failed { session, task, failure },
        }),
        Message::BetweenGovernors(message) => Message::BetweenGovernors(match message {
            BetweenGovernors::Object { session, object, content } => {
                BetweenGovernors::Object { session, object, content: content.and_then(map) }
            }
            BetweenGovernors::Want { session, object } => BetweenGovernors::Want { session, object },
        }),
    })
}

/// Messages that only bring content go in lane 1, where they wait for each other but nothing else waits for them.
pub(super) fn lane_of<D>(message: &Message<D>) -> usize {
    let bulk = matches!(
        message,
        Message::FromGovernor(FromGovernor::Fetched { .. })
            | Message::BetweenGovernors(BetweenGovernors::Object { .. })
    );
    usize::from(bulk)
}
