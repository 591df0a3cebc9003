//! What happens to a governor, and what is to be done about it.

use rain_model::id::{GovernorId, ObjectIndex, SessionId};
use rain_protocol::peer::{BetweenGovernors, Failure, Finished, Forget, Message, OpenSession, Run, ToGovernor};
use std::time::Duration;

/// What happens to a governor.
#[derive(Debug)]
pub enum Event<D> {
    Server(ToGovernor<D>),
    Peer {
        from: GovernorId,
        message: BetweenGovernors<D>,
    },
    PeerLost {
        governor: GovernorId,
    },
    /// `Action::SendObject` has not found what this governor may be about to hear of.
    NotFound {
        session: SessionId,
        object: ObjectIndex,
        asker: GovernorId,
    },
    /// What `Action::Link` was to have brought from elsewhere is here.
    IsHere {
        session: SessionId,
        object: ObjectIndex,
    },
    /// A worker has begun a task that may take long.
    Started {
        session: SessionId,
        task: u32,
        worker: u32,
        start: f64,
    },
    /// Workers have finished tasks.
    Finished(Finished),
    /// Workers have not begun these tasks, because they would not be finished before the end of work.
    Withheld {
        session: SessionId,
        tasks: Vec<u32>,
    },
    /// What `Action::TakeBack` has found.
    TakenBack {
        session: SessionId,
        tasks: Vec<u32>,
    },
    /// So many running tasks wait for other tasks now.
    Lending {
        calls: u32,
    },
    /// What `Action::CancelWaiting` has found.
    CancelledWaiting {
        session: SessionId,
        ticket: u64,
        tasks: Vec<u32>,
    },
    /// A task has failed `failed` times and is to be run again.
    Retried {
        session: SessionId,
        task: u32,
        failed: u32,
    },
    /// A task has failed.
    Failed {
        session: SessionId,
        task: u32,
        failure: Failure,
    },
}

/// Who wants the content of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asker {
    Server {
        ticket: u64,
    },
    /// Told with `Event::NotFound` when it is not there.
    Governor(GovernorId),
    /// A governor that is refused when it is not there.
    LateGovernor(GovernorId),
}

/// Who is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    Server,
    Governor(GovernorId),
}

/// What the driver is to do.
#[derive(Debug)]
pub enum Action<D> {
    Send {
        to: To,
        message: Message<D>,
    },
    OpenSession(OpenSession),
    /// Link tasks into the session's graph and queue the ready ones.
    Link(Run<D>),
    /// An object has come from elsewhere.
    Supply {
        session: SessionId,
        object: ObjectIndex,
        content: D,
    },
    /// Give up the server's pins.
    Release {
        session: SessionId,
        objects: Vec<ObjectIndex>,
    },
    /// Stop these tasks, or do not begin them.
    CancelTasks {
        session: SessionId,
        tasks: Vec<u32>,
    },
    /// Do not begin those of these tasks that have not begun, and tell which they are with `Event::CancelledWaiting`.
    CancelWaiting {
        session: SessionId,
        ticket: u64,
        tasks: Vec<u32>,
    },
    /// Queue this task, which has failed so many times, again after a pause.
    Retry {
        session: SessionId,
        task: u32,
        failed: u32,
    },
    /// Give these tasks these priorities.
    Raise {
        session: SessionId,
        tasks: Vec<(u32, i32)>,
    },
    /// Drop the configurations of these batches, named by their first task.
    DropConfigs {
        session: SessionId,
        batches: Vec<u32>,
    },
    /// Give back the memory of what will not be named again.
    Forget(Forget),
    /// Take up to `count` tasks that have not begun out of the queues, and tell with `Event::TakenBack`, also of none.
    TakeBack {
        session: SessionId,
        count: u32,
    },
    /// Stop and forget a session.
    CloseSession(SessionId),
    /// Begin nothing that will not be finished within this time from now on.
    EndOfWork {
        left: Duration,
    },
    /// Look an object up and send it.
    SendObject {
        session: SessionId,
        object: ObjectIndex,
        to: Asker,
    },
    Stop,
}
