//! What the workers of a governor share, and what they tell it.

use super::lent_calls::LentCalls;
use crate::bell::Bell;
use crate::config::GovernorConfig;
use crate::deadlines::Deadlines;
use crate::executors::Executors;
use crate::reaper::Reaper;
use crate::session::{Session, SessionTable};
use crossbeam_channel::Sender;
use rain_data::Store;
use rain_exec::{Interrupt, TaskFailure};
use rain_governor::{Again, EndOfWork, Holdings};
use rain_model::graph::Batch;
use rain_model::id::GovernorId;
use rain_pool::Pool;
use rain_protocol::peer::{Failure, Finished};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What workers tell their governor.
#[derive(Debug)]
pub(crate) enum Report {
    /// A task that may take long has begun; `start` in seconds since 1970.
    Started {
        session: u32,
        task: u32,
        worker: u32,
        start: f64,
    },
    Finished(Finished),
    /// Not begun, for want of time.
    Withheld {
        session: u32,
        tasks: Vec<u32>,
    },
    /// Failed so many times, and to be run again.
    Retried {
        session: u32,
        task: u32,
        failed: u32,
    },
    Failed {
        session: u32,
        task: u32,
        failure: Failure,
    },
    /// Another number of calls waits for other tasks.
    Lending,
}

/// What the workers of a governor share.
pub(crate) struct WorkerShared {
    pub(crate) id: GovernorId,
    pub(crate) sessions: Arc<SessionTable>,
    pub(crate) store: Arc<Store>,
    pub(crate) config: GovernorConfig,
    pub(crate) pool: Arc<Pool>,
    pub(crate) interrupts: Vec<Arc<Interrupt>>,
    pub(crate) executors: Executors,
    pub(crate) lent: LentCalls,
    pub(crate) reports: Sender<Report>,
    pub(crate) bell: Bell,
    pub(crate) deadlines: Deadlines,
    pub(crate) reaper: Arc<Reaper>,
    /// What running tasks have of the governor's resources.
    pub(crate) holdings: Arc<Holdings>,
    /// Queues tasks that wait for some of it.
    pub(crate) again: Again,
    /// Variables of tasks that were given cpus alone.
    pub(crate) ungranted: Vec<(String, String)>,
    pub(crate) end: Arc<EndOfWork>,
    /// Times of machines are since then.
    pub(crate) began: Instant,
}

impl WorkerShared {
    /// The time, for machines.
    pub(crate) fn now(&self) -> Duration {
        self.began.elapsed()
    }
}

/// A failure that is only a sentence.
pub(super) fn plain_failure(message: String) -> TaskFailure {
    TaskFailure { message, ..TaskFailure::default() }
}

/// The number of a task's kind among those of all sessions.
pub(super) fn kind_id(session: &Session, batch: &Batch, task: u32) -> u64 {
    u64::from(session.number) << 32 | u64::from(batch.kind_index(task))
}
