//! What happens to the server, and what clients ask.

use super::submission::Submission;
use rain_model::id::{ClientId, GovernorId, SessionId};
use rain_protocol::peer::FromGovernor;

/// What a request is called in its answer: the number of 64 bits that a client gave it. Beyond those, a driver tells the parts of one apart.
pub type RequestId = u128;

/// What happens to the server.
#[derive(Debug)]
pub enum Event<D> {
    ClientConnected {
        client: ClientId,
        python: Option<String>,
    },
    Request {
        client: ClientId,
        request: RequestId,
        command: Command<D>,
    },
    ClientLost {
        client: ClientId,
    },
    Governor {
        governor: GovernorId,
        message: FromGovernor<D>,
    },
    /// Nothing has happened, but `Server::has_more`.
    Continue,
    /// Nothing has been heard of a governor for a while: it gets nothing new until it is heard of again, or lost.
    GovernorSilent {
        governor: GovernorId,
    },
    /// A silent governor is heard of again, and has lost nothing.
    GovernorHeard {
        governor: GovernorId,
    },
    /// A governor is gone. Its number may be given to another one then.
    GovernorLost {
        governor: GovernorId,
        why: String,
    },
    /// A client wants a finished, kept object over a connection of its own, which the driver has given this number.
    ContentWanted {
        number: u64,
        session: SessionId,
        object: u32,
    },
    /// The end is near: store results that are kept, and those that are still to come.
    StoreResults,
    /// The driver has carried out an `Action::StoreResult`, well or not.
    ResultStored,
    /// Stop what still runs: there is just time enough for clients to hear of it.
    TimeIsOver,
}

/// What a client asks, checked for form.
#[derive(Debug)]
pub enum Command<D> {
    NewSession {
        name: String,
    },
    CloseSession {
        session: SessionId,
    },
    Submit {
        session: SessionId,
        submission: Box<Submission<D>>,
    },
    Wait {
        session: SessionId,
        tasks: Vec<u32>,
        objects: Vec<u32>,
    },
    WaitSome {
        session: SessionId,
        tasks: Vec<u32>,
        objects: Vec<u32>,
    },
    WaitAll {
        session: SessionId,
    },
    /// Begin a watch: `WatchNext` tells of each of these items once, as they are over.
    Watch {
        session: SessionId,
        tasks: Vec<u32>,
        objects: Vec<u32>,
    },
    /// Tell what is over of a watch and was not told yet, as soon as there is something.
    WatchNext {
        session: SessionId,
        watch: u32,
    },
    /// End a watch.
    Unwatch {
        session: SessionId,
        watch: u32,
    },
    /// `direct`: of large content, the answer is who has it.
    Fetch {
        session: SessionId,
        object: u32,
        direct: bool,
    },
    Unkeep {
        session: SessionId,
        objects: Vec<u32>,
    },
    Cancel {
        session: SessionId,
        tasks: Vec<u32>,
    },
    /// Tasks that are over, constants and kinds, which the client will not name again.
    Forget {
        session: SessionId,
        tasks: Vec<u32>,
        constants: Vec<u32>,
        kinds: Vec<u32>,
    },
    /// Cancel those of the tasks that have not begun.
    CancelWaiting {
        session: SessionId,
        tasks: Vec<u32>,
    },
    Info {
        session: SessionId,
        tasks: Vec<u32>,
        objects: Vec<u32>,
    },
    /// What tasks have written; also in a session that has failed.
    Outputs {
        session: SessionId,
        tasks: Vec<u32>,
    },
    /// What becomes of tasks, of whichever client.
    Explain {
        session: SessionId,
        tasks: Vec<u32>,
    },
    Status,
}
