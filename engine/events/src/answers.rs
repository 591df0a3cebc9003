//! What a log answers. Times are seconds since 1970, durations seconds, sizes bytes.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// How many tasks there are of each state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    pub waiting: u64,
    /// They wait for nothing and do not run.
    pub ready: u64,
    pub running: u64,
    pub finished: u64,
    pub failed: u64,
    pub cancelled: u64,
    /// They ran when their server ended without a word.
    pub lost: u64,
}

impl Counts {
    /// All tasks.
    pub fn total(&self) -> u64 {
        self.waiting + self.ready + self.running + self.finished + self.failed + self.cancelled + self.lost
    }

    /// Tasks that are not over.
    pub fn open(&self) -> u64 {
        self.waiting + self.ready + self.running
    }

    /// Adds the tasks of another count.
    pub fn add(&mut self, other: &Counts) {
        self.waiting += other.waiting;
        self.ready += other.ready;
        self.running += other.running;
        self.finished += other.finished;
        self.failed += other.failed;
        self.cancelled += other.cancelled;
        self.lost += other.lost;
    }
}

/// Whether a log goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogState {
    Running,
    Finished,
    /// Its server has ended without saying so.
    Broken,
}

/// About the whole.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// When this was asked; of a log that does not go on, when something last happened.
    pub time: f64,
    /// Grows with everything that happens.
    pub sequence: u64,
    pub state: LogState,
    pub server: ServerStatus,
    /// Those that are in, and their cpus.
    pub governors: u64,
    pub cpus: u64,
    pub tasks: Counts,
    pub sessions: SessionCounts,
    /// Tasks a second that were finished in the last five seconds.
    pub rate: f64,
    /// Until all tasks are over, at this rate.
    pub time_left: Option<f64>,
    pub log: LogStatus,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionCounts {
    pub open: u64,
    pub failed: u64,
    pub closed: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ServerStatus {
    pub name: Option<String>,
    pub version: String,
    pub started: f64,
    pub ended: Option<f64>,
    pub address: String,
}

/// About the log itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LogStatus {
    pub path: String,
    pub bytes: u64,
    /// Samples of machines that were left out because too much happened.
    pub dropped_samples: u64,
    /// Finished tasks of which only the numbers were kept, for the same reason or because of the log's bound.
    pub folded_tasks: u64,
    /// Sessions that were removed because of the log's bound.
    pub removed_sessions: u64,
    /// Why nothing more is written.
    pub error: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Session {
    pub id: u32,
    pub name: String,
    /// `open`, `failed` or `closed`.
    pub state: String,
    pub created: f64,
    pub closed: Option<f64>,
    pub tasks: Counts,
    /// How long its finished tasks ran together.
    pub seconds: f64,
    /// Of all objects that its tasks made.
    pub bytes: u64,
    /// The first line of what ended it.
    pub error: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sessions {
    pub sessions: Vec<Session>,
    pub next: Option<String>,
}

/// The tasks with a name, or with one that begins so. Names are split at `/`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Group {
    pub name: String,
    /// Parts of the name.
    pub depth: u32,
    pub tasks: Counts,
    /// How long its finished tasks ran together.
    pub seconds: f64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SessionDetail {
    #[serde(flatten)]
    pub session: Session,
    /// All of what ended it.
    pub error_text: Option<String>,
    pub groups: Vec<Group>,
    pub groups_left_out: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TaskState {
    Waiting,
    Ready,
    Running,
    Finished,
    Failed,
    Cancelled,
    /// It ran when its server ended.
    Lost,
}

impl TaskState {
    /// The state of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        serde_json::from_value(Value::String(name.to_owned())).ok()
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            TaskState::Waiting => "waiting",
            TaskState::Ready => "ready",
            TaskState::Running => "running",
            TaskState::Finished => "finished",
            TaskState::Failed => "failed",
            TaskState::Cancelled => "cancelled",
            TaskState::Lost => "lost",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskRow {
    pub id: u32,
    pub name: String,
    /// The task type, `EXECUTOR/METHOD`.
    pub kind: String,
    pub state: TaskState,
    pub governor: Option<u32>,
    pub slot: Option<u32>,
    pub submitted: f64,
    /// When all that it reads was there.
    pub ready: Option<f64>,
    /// When a governor was given it.
    pub assigned: Option<f64>,
    pub started: Option<f64>,
    pub finished: Option<f64>,
    pub seconds: Option<f64>,
    /// How often it was begun, as far as that is known.
    pub attempts: u32,
    pub error_line: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tasks {
    pub tasks: Vec<TaskRow>,
    /// Tasks that match; `None`: it would take long to count them.
    pub total: Option<u64>,
    pub next: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskInput {
    /// The task that makes it; `None`: a constant.
    pub task: Option<u32>,
    pub object: u32,
    pub label: Option<String>,
    pub size: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskOutput {
    pub object: u32,
    pub label: Option<String>,
    pub size: Option<u64>,
    /// `none` (not made yet) or `made`.
    pub state: String,
    /// Where it was made and where it went.
    pub governors: Vec<u32>,
}

/// An attempt at a task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    pub attempt: u32,
    pub governor: Option<u32>,
    pub slot: Option<u32>,
    pub started: Option<f64>,
    pub finished: Option<f64>,
    pub state: TaskState,
    pub error: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Task {
    #[serde(flatten)]
    pub row: TaskRow,
    pub session: u32,
    /// What all tasks of its kind have in common.
    pub spec: Value,
    pub cpus: u32,
    /// What is known of how it ran.
    pub info: Option<Value>,
    pub inputs: Vec<TaskInput>,
    pub outputs: Vec<TaskOutput>,
    pub error: Option<String>,
    pub debug: Option<String>,
    pub stdout: Option<String>,
    pub stderr: Option<String>,
    /// The first of the tasks that it waits for.
    pub waits_for: Vec<u32>,
    pub waits_for_count: u64,
    /// The first of the tasks that read what it makes.
    pub consumers: Vec<u32>,
    pub history: Vec<Attempt>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GraphLevel {
    Groups,
    Tasks,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GraphNode {
    /// The number of a task, or of a group in this answer.
    pub id: u32,
    pub name: String,
    pub count: u64,
    pub states: Counts,
    pub seconds: f64,
    /// A group that has no groups in it.
    pub leaf: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GraphEdge {
    pub from: u32,
    pub to: u32,
    pub count: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Graph {
    pub level: GraphLevel,
    pub group: String,
    pub nodes: Vec<GraphNode>,
    pub edges: Vec<GraphEdge>,
    /// Nodes that are left out.
    pub left_out: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ObjectRow {
    pub id: u32,
    /// The task that made it; `None`: a constant.
    pub task: Option<u32>,
    pub label: Option<String>,
    pub size: u64,
    pub state: String,
    /// Where it was made and where it went.
    pub governors: Vec<u32>,
    pub made: Option<f64>,
    pub dropped: Option<f64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Objects {
    pub objects: Vec<ObjectRow>,
    /// All objects of the session.
    pub total: u64,
    pub next: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Governor {
    pub id: u32,
    pub host: String,
    /// `alive`, `suspect`, `lost` or `left`.
    pub state: String,
    pub cpus: u32,
    pub joined: f64,
    pub lost: Option<f64>,
    pub reason: Option<String>,
    /// Tasks that are known to run.
    pub running: u64,
    /// The part of its machine's cpus that is in use, 0 to 1.
    pub load: Option<f64>,
    pub memory: Option<u64>,
    pub memory_budget: Option<u64>,
    /// Bytes a second.
    pub net_in: Option<u64>,
    pub net_out: Option<u64>,
    pub disk: Option<u64>,
    /// Bytes that are on a disk for want of memory.
    pub spilled: u64,
    /// Tasks that it has finished, and how long they ran together.
    pub tasks: u64,
    pub seconds: f64,
    pub executors: u64,
    pub topology: Option<Value>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Governors {
    pub governors: Vec<Governor>,
}

/// A machine over time: equally long stretches, of which each has its mean; `None`: nothing is known of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Samples {
    pub times: Vec<f64>,
    pub load: Vec<Option<f64>>,
    pub memory: Vec<Option<f64>>,
    pub memory_budget: Vec<Option<f64>>,
    pub net_in: Vec<Option<f64>>,
    pub net_out: Vec<Option<f64>>,
    pub disk: Vec<Option<f64>>,
    pub running: Vec<Option<f64>>,
}

/// What a slot did in some columns: first and last column, place of the name in `Stream::names`, state (0 finished, 1 runs, 2 failed,
/// 3 cancelled or lost), tasks, session and number of the longest one, and how much of the columns was busy, percent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bar(pub u32, pub u32, pub u32, pub u8, pub u64, pub u32, pub u32, pub u8);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StreamSlot {
    pub governor: u32,
    pub slot: u32,
    pub bars: Vec<Bar>,
}

/// Objects that a governor was sent: first and last column, bytes, and how many.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Transfers {
    pub governor: u32,
    pub bars: Vec<(u32, u32, u64, u64)>,
}

/// What each slot did, in columns of equal time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stream {
    pub from: f64,
    pub to: f64,
    pub width: u32,
    pub names: Vec<String>,
    pub slots: Vec<StreamSlot>,
    pub transfers: Vec<Transfers>,
    /// Tasks of which nobody knows when they ran.
    pub folded: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Throughput {
    /// Where each span begins.
    pub times: Vec<f64>,
    /// Length of a span, seconds.
    pub step: f64,
    /// Tasks in each span.
    pub finished: Vec<u64>,
    pub failed: Vec<u64>,
    /// Tasks that ran at the same time.
    pub running: Vec<Option<f64>>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Event {
    pub id: u64,
    pub time: f64,
    #[serde(rename = "type")]
    pub kind: String,
    pub session: Option<u32>,
    pub task: Option<u32>,
    pub governor: Option<u32>,
    pub object: Option<u32>,
    /// A name, an error or a host.
    pub text: Option<String>,
    /// Tasks of a submit, or that were cancelled or lost; cpus of a governor.
    pub value: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Events {
    pub events: Vec<Event>,
    pub next: Option<String>,
}

/// An event as the first Rain's dashboard was told of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OldEvent {
    pub id: u64,
    /// As in RFC 3339, in UTC.
    pub time: String,
    pub event: Value,
}
