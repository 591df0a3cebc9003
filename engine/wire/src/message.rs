//! The heads of messages: batches and kinds are said once, contents are replaced by their numbers.

use rain_model::graph::{Batch, BatchKind, Kind};
use rain_model::id::SessionId;
use rain_model::resources::Grant;
use rain_protocol::peer::{BetweenGovernors, Forget, FromGovernor, Message, RemoteInput, Run, TaskSet, ToGovernor};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Why what a peer sends is not a message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    #[error("a message that cannot be read: {0}")]
    Form(#[from] postcard::Error),
    #[error("{0}")]
    Rule(String),
    /// It may be sent again.
    #[error("content arrived with another checksum than it was sent with")]
    Checksum,
}

/// Content in a message's head: the content itself, or how much will follow.
#[derive(Serialize, Deserialize)]
pub struct ContentHead {
    pub about: ByteBuf,
    pub small: Option<ByteBuf>,
    /// Bytes.
    pub length: u64,
}

#[derive(Serialize, Deserialize)]
struct Head {
    message: Wire,
    contents: Vec<ContentHead>,
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
    remote: Vec<RemoteInput>,
    pins: Vec<u32>,
    grants: Vec<(u32, Grant)>,
}

#[derive(Serialize, Deserialize)]
enum WireBatch {
    /// The batch with this first task, which came before.
    Known(u32),
    /// A batch whose kinds are said by their numbers, and those of them that did not come before.
    New { batch: Box<Batch>, kinds: Vec<u32>, new_kinds: Vec<BatchKind> },
}

/// What the receiver knows, as the sender sees it.
#[derive(Default)]
pub struct Told(BTreeMap<SessionId, ToldSession>);

#[derive(Default)]
struct ToldSession {
    kinds: BTreeSet<u32>,
    batches: BTreeSet<u32>,
}

/// What came before.
#[derive(Default)]
pub struct Heard(BTreeMap<SessionId, HeardSession>);

#[derive(Default)]
struct HeardSession {
    kinds: BTreeMap<u32, Arc<Kind>>,
    batches: BTreeMap<u32, Arc<Batch>>,
}

impl Told {
    /// Writes the head of a message.
    pub fn write(&mut self, message: Message<u32>, contents: Vec<ContentHead>) -> Result<Vec<u8>, MessageError> {
        let message = match message {
            Message::ToGovernor(ToGovernor::Run(run)) => Wire::Run(self.run(run)),
            other => {
                match &other {
                    Message::ToGovernor(ToGovernor::CloseSession(session)) => {
                        self.0.remove(session);
                    }
                    Message::ToGovernor(ToGovernor::DropConfigs { session, batches }) => {
                        self.forget(*session, batches, &[]);
                    }
                    Message::ToGovernor(ToGovernor::Forget(forget)) => {
                        self.forget(SessionId(forget.session), &forget.batches, &forget.kinds);
                    }
                    _ => {}
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
            let kinds = run.batch.kinds.iter().map(|kind| kind.number).collect();
            let is_new = |kind: &&BatchKind| told.kinds.insert(kind.number);
            let new_kinds = run.batch.kinds.iter().filter(is_new).cloned().collect();
            let batch = Box::new(Batch { kinds: Arc::default(), ..(*run.batch).clone() });
            WireBatch::New { batch, kinds, new_kinds }
        };
        let Run { session, tasks, constants, remote, pins, grants, .. } = run;
        WireRun { session, batch, tasks, constants, remote, pins, grants }
    }

    /// No message will refer to these batches and kinds.
    fn forget(&mut self, session: SessionId, batches: &[u32], kinds: &[u32]) {
        if let Some(told) = self.0.get_mut(&session) {
            for first in batches {
                told.batches.remove(first);
            }
            for kind in kinds {
                told.kinds.remove(kind);
            }
        }
    }
}

impl Heard {
    /// Reads the head of a message. Reading one twice, as after a cut, changes nothing.
    pub fn read(&mut self, head: &[u8]) -> Result<(Message<u32>, Vec<ContentHead>), MessageError> {
        let Head { message, contents } = postcard::from_bytes(head)?;
        let message = match message {
            Wire::Run(run) => Message::ToGovernor(ToGovernor::Run(self.run(run)?)),
            Wire::Other(message) => {
                match &message {
                    Message::ToGovernor(ToGovernor::CloseSession(session)) => {
                        self.0.remove(session);
                    }
                    Message::ToGovernor(ToGovernor::DropConfigs { session, batches }) => {
                        self.forget(*session, batches, &[]);
                    }
                    Message::ToGovernor(ToGovernor::Forget(forget)) => {
                        self.forget(SessionId(forget.session), &forget.batches, &forget.kinds);
                    }
                    _ => {}
                }
                message
            }
        };
        Ok((message, contents))
    }

    fn run(&mut self, run: WireRun) -> Result<Run<u32>, MessageError> {
        let heard = self.0.entry(run.session).or_default();
        let batch = match run.batch {
            WireBatch::Known(first) => heard
                .batches
                .get(&first)
                .cloned()
                .ok_or_else(|| MessageError::Rule(format!("batch {first} of {} is not known", run.session)))?,
            WireBatch::New { mut batch, kinds, new_kinds } => {
                heard.kinds.extend(new_kinds.into_iter().map(|kind| (kind.number, kind.kind)));
                let known = |number: u32| {
                    let kind = heard.kinds.get(&number).cloned();
                    let unknown = || MessageError::Rule(format!("kind {number} of {} is not known", run.session));
                    Ok(BatchKind { number, kind: kind.ok_or_else(unknown)? })
                };
                batch.kinds = kinds.into_iter().map(known).collect::<Result<_, MessageError>>()?;
                let batch = Arc::new(*batch);
                if batch.count > 0 {
                    heard.batches.insert(batch.first, batch.clone());
                }
                batch
            }
        };
        let WireRun { session, tasks, constants, remote, pins, grants, .. } = run;
        Ok(Run { session, batch, tasks, constants, remote, pins, grants })
    }

    /// No message will refer to these batches and kinds.
    fn forget(&mut self, session: SessionId, batches: &[u32], kinds: &[u32]) {
        if let Some(heard) = self.0.get_mut(&session) {
            for first in batches {
                heard.batches.remove(first);
            }
            for kind in kinds {
                heard.kinds.remove(kind);
            }
        }
    }
}

/// Replaces the contents of a message, one after the other.
pub fn map_contents<A, B>(
    message: Message<A>,
    mut map: impl FnMut(A) -> Result<B, String>,
) -> Result<Message<B>, String> {
    Ok(match message {
        Message::ToGovernor(message) => Message::ToGovernor(match message {
            ToGovernor::Run(Run { session, batch, tasks, constants, remote, pins, grants }) => {
                let constants: Result<Vec<_>, String> =
                    constants.into_iter().map(|(object, content)| Ok((object, map(content)?))).collect();
                ToGovernor::Run(Run { session, batch, tasks, constants: constants?, remote, pins, grants })
            }
            ToGovernor::OpenSession(open) => ToGovernor::OpenSession(open),
            ToGovernor::CloseSession(session) => ToGovernor::CloseSession(session),
            ToGovernor::CancelTasks { session, tasks } => ToGovernor::CancelTasks { session, tasks },
            ToGovernor::CancelWaiting { session, ticket, tasks } => {
                ToGovernor::CancelWaiting { session, ticket, tasks }
            }
            ToGovernor::GiveBack { session, count } => ToGovernor::GiveBack { session, count },
            ToGovernor::Unpin { session, objects } => ToGovernor::Unpin { session, objects },
            ToGovernor::Raise { session, tasks } => ToGovernor::Raise { session, tasks },
            ToGovernor::DropConfigs { session, batches } => ToGovernor::DropConfigs { session, batches },
            ToGovernor::Forget(forget) => ToGovernor::Forget(forget),
            ToGovernor::Fetch { session, object, ticket } => ToGovernor::Fetch { session, object, ticket },
            ToGovernor::StopAwaiting { session, objects } => ToGovernor::StopAwaiting { session, objects },
            ToGovernor::EndOfWork { left } => ToGovernor::EndOfWork { left },
            ToGovernor::CaughtUp { ticket } => ToGovernor::CaughtUp { ticket },
            ToGovernor::Refused { why } => ToGovernor::Refused { why },
            ToGovernor::Stop => ToGovernor::Stop,
        }),
        Message::FromGovernor(message) => Message::FromGovernor(match message {
            FromGovernor::Fetched { ticket, content } => {
                FromGovernor::Fetched { ticket, content: content.and_then(map) }
            }
            FromGovernor::Joined { cpus, resources } => FromGovernor::Joined { cpus, resources },
            FromGovernor::Started { session, task, worker, start } => {
                FromGovernor::Started { session, task, worker, start }
            }
            FromGovernor::Withheld { session, tasks } => FromGovernor::Withheld { session, tasks },
            FromGovernor::Finished(finished) => FromGovernor::Finished(finished),
            FromGovernor::Failed { session, task, failure } => FromGovernor::Failed { session, task, failure },
            FromGovernor::GaveBack { session, tasks } => FromGovernor::GaveBack { session, tasks },
            FromGovernor::CatchUp { ticket } => FromGovernor::CatchUp { ticket },
            FromGovernor::Lending { tasks } => FromGovernor::Lending { tasks },
            FromGovernor::CancelledWaiting { session, ticket, tasks } => {
                FromGovernor::CancelledWaiting { session, ticket, tasks }
            }
            FromGovernor::InputLost { session, object, transfer, why } => {
                FromGovernor::InputLost { session, object, transfer, why }
            }
            FromGovernor::Arrived { session, object, transfer } => FromGovernor::Arrived { session, object, transfer },
        }),
        Message::BetweenGovernors(message) => Message::BetweenGovernors(match message {
            BetweenGovernors::Object { session, object, content } => {
                BetweenGovernors::Object { session, object, content: content.and_then(map) }
            }
            BetweenGovernors::Want { session, object } => BetweenGovernors::Want { session, object },
        }),
    })
}

/// Bytes that a message holds in memory, of those kinds that may hold many; without batches and contents, which are shared.
pub(crate) fn held_bytes(message: &Message<u32>) -> usize {
    match message {
        Message::ToGovernor(ToGovernor::Run(Run { tasks, constants, remote, pins, .. })) => {
            let tasks = if let TaskSet::Some(tasks) = tasks { tasks.len() } else { 0 };
            size_of::<u32>() * (tasks + pins.len() + 2 * (constants.len() + remote.len()))
        }
        Message::ToGovernor(
            ToGovernor::CancelTasks { tasks: list, .. }
            | ToGovernor::CancelWaiting { tasks: list, .. }
            | ToGovernor::Unpin { objects: list, .. },
        )
        | Message::FromGovernor(FromGovernor::CancelledWaiting { tasks: list, .. }) => size_of_val(list.as_slice()),
        Message::ToGovernor(ToGovernor::Raise { tasks, .. }) => size_of_val(tasks.as_slice()),
        Message::ToGovernor(ToGovernor::Forget(Forget { tasks, objects, batches, kinds, .. })) => {
            size_of::<u32>() * (tasks.len() + objects.len() + batches.len() + kinds.len())
        }
        Message::FromGovernor(FromGovernor::Finished(finished)) => {
            size_of_val(finished.tasks.as_slice()) + size_of_val(finished.objects.as_slice())
        }
        _ => 0,
    }
}

/// Messages that only bring content go in lane 1, where they wait for each other but nothing else waits for them.
pub fn lane_of<D>(message: &Message<D>) -> usize {
    let bulk = matches!(
        message,
        Message::FromGovernor(FromGovernor::Fetched { .. })
            | Message::BetweenGovernors(BetweenGovernors::Object { .. })
    );
    usize::from(bulk)
}
