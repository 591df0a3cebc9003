//! Messages between the server and governors. `D` is how a driver holds the content of an object: in process a shared
//! handle, on a wire its bytes.

use rain_model::graph::Batch;
use rain_model::id::{GovernorId, ObjectIndex, SessionId, TaskIndex};
use rain_model::resources::{Grant, Supplies};
use serde::{Deserialize, Serialize};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

/// From the server to a governor.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum ToGovernor<D> {
    OpenSession(OpenSession),
    Run(Run<D>),
    /// Stop what runs of this session and drop its objects.
    CloseSession(SessionId),
    /// Stop these tasks, or do not begin them; nothing waits for them any more.
    CancelTasks {
        session: SessionId,
        tasks: Vec<TaskIndex>,
    },
    /// Do not begin these tasks; those that have begun go on. Answered with `FromGovernor::CancelledWaiting`.
    CancelWaiting {
        session: SessionId,
        ticket: u64,
        tasks: Vec<TaskIndex>,
    },
    /// Give back up to `count` tasks that have not begun, for governors that have nothing to do.
    GiveBack {
        session: SessionId,
        count: u32,
    },
    /// One claim on each of these objects is to be given up: the server's own (since `Run::pins` or `Run::remote`), or one of
    /// a task that was given back. An object may be named more than once.
    Unpin {
        session: SessionId,
        objects: Vec<ObjectIndex>,
    },
    /// Tasks that are run again make these objects here: they need not be brought from elsewhere, if they still are to be.
    StopAwaiting {
        session: SessionId,
        objects: Vec<ObjectIndex>,
    },
    /// These tasks, which are not over, have these priorities whatever those of their kinds: tasks that need them have them.
    Raise {
        session: SessionId,
        tasks: Vec<(TaskIndex, i32)>,
    },
    /// All tasks of these batches, named by their first task, are over: nobody needs their configurations any more.
    DropConfigs {
        session: SessionId,
        batches: Vec<TaskIndex>,
    },
    Forget(Forget),
    /// Send the content of an object back under this ticket.
    Fetch {
        session: SessionId,
        object: ObjectIndex,
        ticket: u64,
    },
    /// Begin no task that cannot be expected to be finished within this time. Not a time of day: clocks of machines differ.
    EndOfWork {
        left: Duration,
    },
    /// The answer to `FromGovernor::CatchUp`.
    CaughtUp {
        ticket: u64,
    },
    /// What the governor has said of itself cannot be; it ends.
    Refused {
        why: String,
    },
    /// End.
    Stop,
}

/// What a governor has to know of a session before its first task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenSession {
    pub session: SessionId,
    /// The interpreter for Python tasks that the client asked for.
    pub python: Option<String>,
}

/// What no message will name again: all that is remembered of it can go. Some of it may never have been known to the receiver.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forget {
    pub session: u32,
    /// Tasks that are over; those that were cancelled may still be about to end.
    pub tasks: Vec<TaskIndex>,
    /// What they made, and constants. Tasks that are not over may still read them, and the server may have a claim.
    pub objects: Vec<ObjectIndex>,
    /// Batches of which all tasks are forgotten, named by their first task.
    pub batches: Vec<TaskIndex>,
    /// Numbers of kinds that no further batch will have.
    pub kinds: Vec<u32>,
}

/// Tasks to be run, as soon as their inputs are there.
///
/// Within a process `batch` is that of a whole submit, of which a governor may get some tasks only. To a governor elsewhere goes
/// what it needs: for each range of `TaskSet::ranges` a run of `Batch::slice` and `TaskSet::All`, so that its batches are slices.
/// `ToGovernor::DropConfigs` and `ToGovernor::Forget` name batches of submits: who has sent slices instead knows which these are.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Run<D> {
    pub session: SessionId,
    pub batch: Arc<Batch>,
    pub tasks: TaskSet,
    /// Objects whose content is known from the start.
    pub constants: Vec<(ObjectIndex, D)>,
    /// Inputs that other governors hold; to be fetched, and held until unpinned.
    pub remote: Vec<RemoteInput>,
    /// Outputs and constants to be held until unpinned; others are dropped after their last consumer here.
    pub pins: Vec<ObjectIndex>,
    /// What tasks are given that ask for more than cpus.
    pub grants: Vec<(TaskIndex, Grant)>,
}

/// An input that other governors hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoteInput {
    pub object: ObjectIndex,
    /// Who has it, or was told before to get it, in the order in which they are to be asked; not empty.
    pub holders: Vec<GovernorId>,
    /// Number for what the receiver says of it; 0: the server need not hear when it has come.
    pub transfer: u32,
}

/// Which tasks of a batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TaskSet {
    All,
    Some(Vec<TaskIndex>),
}

impl TaskSet {
    /// The tasks as ranges of consecutive ones, in ascending order.
    pub fn ranges(&self, batch: &Batch) -> Vec<Range<TaskIndex>> {
        match self {
            TaskSet::All => vec![batch.tasks()],
            TaskSet::Some(tasks) => {
                let mut tasks = tasks.clone();
                tasks.sort_unstable();
                tasks
                    .chunk_by(|one, next| *next == one + 1)
                    .map(|range| range[0]..range[0] + range.len() as u32)
                    .collect()
            }
        }
    }
}

/// From a governor to the server.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum FromGovernor<D> {
    Joined {
        cpus: u32,
        /// What it has beside cpus.
        resources: Supplies,
    },
    /// A task that may take long has begun; `start` in seconds since 1970.
    Started {
        session: SessionId,
        task: TaskIndex,
        /// The worker's number on its governor.
        worker: u32,
        start: f64,
    },
    Finished(Finished),
    Failed {
        session: SessionId,
        task: TaskIndex,
        failure: Failure,
    },
    /// Tasks that were not begun because of `ToGovernor::EndOfWork`, and never will be.
    Withheld {
        session: SessionId,
        tasks: Vec<TaskIndex>,
    },
    /// The answer to `GiveBack`. Their inputs are there, and each task's claims on what it reads and makes are the server's now.
    GaveBack {
        session: SessionId,
        tasks: Vec<TaskIndex>,
    },
    /// The answer to `ToGovernor::CancelWaiting`: those of its tasks that have not begun, and never will.
    CancelledWaiting {
        session: SessionId,
        ticket: u64,
        tasks: Vec<TaskIndex>,
    },
    /// No holder of `Run::remote` could give this input; why.
    InputLost {
        session: SessionId,
        object: ObjectIndex,
        transfer: u32,
        why: String,
    },
    /// An input of `Run::remote` is there.
    Arrived {
        session: SessionId,
        object: ObjectIndex,
        transfer: u32,
    },
    Fetched {
        ticket: u64,
        content: Result<D, String>,
    },
    /// To be answered at once: with the answer, everything has come that the server had sent before it read this.
    CatchUp {
        ticket: u64,
    },
    /// So many of its tasks wait for other tasks now, and need no cpu meanwhile.
    Lending {
        tasks: u32,
    },
}

/// Tasks of one session that one worker has finished.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Finished {
    pub session: u32,
    /// The worker's number on its governor.
    pub worker: u32,
    pub tasks: Vec<TaskReport>,
    /// Objects the tasks made and their sizes in bytes.
    pub objects: Vec<ObjectReport>,
    /// What only few tasks have.
    pub details: Vec<TaskDetails>,
    pub object_details: Vec<ObjectDetails>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskReport {
    pub task: TaskIndex,
    /// Seconds.
    pub duration: f32,
    /// Seconds since 1970.
    pub start: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectReport {
    pub object: ObjectIndex,
    /// Bytes, at most `u32::MAX`; larger ones are in `ObjectDetails`.
    pub size: u32,
}

/// What a task keeps of each of standard output and error, bytes: the last ones.
pub const OUTPUT_BYTES_MAX: usize = 64 << 10;

/// What a task has written: the end of it, which begins with "..." when there was more.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskOutput {
    pub stdout: String,
    pub stderr: String,
}

impl TaskOutput {
    /// Nothing was written.
    pub fn is_empty(&self) -> bool {
        self.stdout.is_empty() && self.stderr.is_empty()
    }

    /// How much it is.
    pub fn bytes(&self) -> usize {
        self.stdout.len() + self.stderr.len()
    }
}

/// Debug messages, the user's attributes and the output of a finished task.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskDetails {
    pub task: TaskIndex,
    pub debug: Option<String>,
    pub user: Option<String>,
    pub output: TaskOutput,
}

/// Attributes that differ from what the object's producer declared.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectDetails {
    pub object: ObjectIndex,
    pub size: u64,
    pub content_type: Option<String>,
    pub user: Option<String>,
}

/// Why a task failed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    pub message: String,
    pub debug: Option<String>,
    pub user: Option<String>,
    /// What the last attempt has written.
    pub output: TaskOutput,
    /// When it ran; an attempt that never began has none.
    pub times: Option<TaskTimes>,
}

/// When a task ran.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskTimes {
    /// Seconds since 1970.
    pub start: f64,
    /// Seconds.
    pub duration: f32,
}

/// Between two governors.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum BetweenGovernors<D> {
    Want { session: SessionId, object: ObjectIndex },
    Object { session: SessionId, object: ObjectIndex, content: Result<D, String> },
}

/// Everything that a transport carries.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Message<D> {
    ToGovernor(ToGovernor<D>),
    FromGovernor(FromGovernor<D>),
    BetweenGovernors(BetweenGovernors<D>),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_are_ranges_of_consecutive_ones() {
        let batch = Batch { count: 5, ..Batch::empty(3) };
        assert_eq!(TaskSet::All.ranges(&batch), vec![3..8]);
        assert_eq!(TaskSet::Some(vec![7, 3, 4, 6]).ranges(&batch), [3..5, 6..8]);
        assert_eq!(TaskSet::Some(Vec::new()).ranges(&batch), []);
    }
}
