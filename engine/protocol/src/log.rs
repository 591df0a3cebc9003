//! What a server tells its event log.

use crate::client::RequestError;
use crate::peer::{Failure, Finished, TaskSet};
use rain_model::graph::Batch;
use rain_model::id::{ClientId, GovernorId, ObjectIndex, SessionId, TaskIndex};
use std::sync::Arc;

/// Something that happened. Entries come in the order in which the server learnt of them.
#[derive(Clone, Debug)]
pub enum LogEntry {
    SessionOpened {
        session: SessionId,
        name: String,
        client: ClientId,
    },
    /// Its tasks that are not over will never be.
    SessionFailed {
        session: SessionId,
        error: Arc<RequestError>,
    },
    SessionClosed {
        session: SessionId,
    },
    Submitted {
        session: SessionId,
        batch: Arc<Batch>,
        /// Objects whose content came with the submit, and its bytes.
        constants: Vec<(ObjectIndex, u64)>,
    },
    /// A governor was given tasks of a batch.
    Assigned {
        session: SessionId,
        governor: GovernorId,
        batch: Arc<Batch>,
        tasks: TaskSet,
    },
    /// A task that may take long has begun; `start` in seconds since 1970.
    Started {
        session: SessionId,
        task: TaskIndex,
        governor: GovernorId,
        worker: u32,
        start: f64,
    },
    /// Tasks that one worker of a governor has finished.
    Finished {
        governor: GovernorId,
        finished: Finished,
    },
    /// Tasks that were finished, of which there were too many for the log: only their numbers are kept.
    Folded {
        session: SessionId,
        ranges: Vec<(TaskIndex, u32)>,
        /// How long all of them took together.
        seconds: f64,
    },
    /// An attempt at a task has failed and there will be another one.
    Retried {
        session: SessionId,
        task: TaskIndex,
        governor: GovernorId,
        failure: Failure,
    },
    /// A task has failed for good.
    TaskFailed {
        session: SessionId,
        task: TaskIndex,
        governor: GovernorId,
        failure: Failure,
    },
    Cancelled {
        session: SessionId,
        tasks: Vec<TaskIndex>,
    },
    /// Tasks that were under way are to be run again, because their governor was lost.
    Lost {
        session: SessionId,
        governor: GovernorId,
        tasks: Vec<TaskIndex>,
    },
    /// Tasks that were finished are to be run again, because what they made was lost.
    Repeated {
        session: SessionId,
        tasks: Vec<TaskIndex>,
    },
    /// A governor was told to bring objects from others.
    Moved {
        session: SessionId,
        to: GovernorId,
        /// Object, who has it, and its bytes.
        objects: Vec<(ObjectIndex, GovernorId, u64)>,
    },
    GovernorJoined {
        governor: GovernorId,
        cpus: u32,
        /// Its machine, "" if that is not known.
        host: String,
    },
    /// Nothing is heard of a governor.
    GovernorSilent {
        governor: GovernorId,
    },
    GovernorHeard {
        governor: GovernorId,
    },
    GovernorLost {
        governor: GovernorId,
        why: String,
    },
    /// How a governor's machine fares.
    Sampled {
        governor: GovernorId,
        sample: MachineSample,
    },
}

/// How a machine fares: levels at a moment, and sums since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct MachineSample {
    /// The part of the machine's cpus that was in use since the sample before, 0 to 1.
    pub load: f64,
    /// Bytes of memory that are in use.
    pub memory: u64,
    /// Bytes of memory there are for it.
    pub memory_budget: u64,
    /// Bytes a second that came and went through network interfaces, but for loopback, since the sample before.
    pub net_in: f64,
    pub net_out: f64,
    /// Bytes a second that disks read and wrote since the sample before.
    pub disk_read: f64,
    pub disk_write: f64,
}
