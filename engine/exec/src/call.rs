//! What a worker is asked to run, and what comes out.

use crate::Interrupt;
use rain_data::{Object, Store, is_subtype};
use rain_model::graph::{Batch, Kind, OutputSpec};
use rain_model::id::{GovernorId, TaskId};
use rain_protocol::peer::TaskOutput;
use std::io;
use std::sync::Arc;

/// One task to run.
#[derive(Clone, Copy)]
pub struct TaskCall<'a> {
    pub task: TaskId,
    pub governor: GovernorId,
    /// The batch that the task came with.
    pub batch: &'a Batch,
    /// The task's inputs, all finished, in order.
    pub inputs: &'a [Arc<Object>],
    pub store: &'a Store,
    /// Raised when `cancelled` may have changed.
    pub interrupt: &'a Interrupt,
    /// Whether the task is to be stopped.
    pub cancelled: &'a dyn Fn() -> bool,
    /// Variables that say what it was given of the governor's resources.
    pub environment: &'a [(String, String)],
}

impl<'a> TaskCall<'a> {
    /// The kind of the task.
    pub fn kind(&self) -> &'a Arc<Kind> {
        self.batch.kind(self.task.index)
    }

    /// The configuration in force.
    pub fn config(&self) -> &'a [u8] {
        self.batch.config(self.task.index)
    }

    /// To be called when the interrupt was seen: takes it down and says whether the task is to be stopped.
    pub(crate) fn interrupted(&self) -> bool {
        self.interrupt.clear();
        (self.cancelled)()
    }
}

/// Why a task failed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TaskFailure {
    pub message: String,
    /// Debug messages of the task.
    pub debug: Option<String>,
    /// `info.user`, JSON text.
    pub user: Option<String>,
    pub output: TaskOutput,
}

/// What a finished task has left beside its outputs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TaskNotes {
    /// Debug messages of the task.
    pub debug: Option<String>,
    /// `info.user`, JSON text.
    pub user: Option<String>,
    pub output: TaskOutput,
}

impl TaskNotes {
    /// It has left nothing.
    pub fn is_empty(&self) -> bool {
        self.debug.is_none() && self.user.is_none() && self.output.is_empty()
    }
}

/// How a task ended.
#[derive(Debug)]
pub enum TaskOutcome {
    Finished { outputs: Vec<Arc<Object>>, notes: TaskNotes },
    Failed(TaskFailure),
    Cancelled,
}

/// Why a task has no outputs.
#[derive(Debug)]
pub(crate) enum Stop {
    Failed(String),
    Cancelled,
}

pub(crate) type Outputs = Result<Vec<Arc<Object>>, Stop>;

impl From<String> for Stop {
    fn from(message: String) -> Self {
        Stop::Failed(message)
    }
}

/// For errors of the store, which name what they are about.
impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Stop::Failed(error.to_string())
    }
}

impl From<Outputs> for TaskOutcome {
    fn from(outputs: Outputs) -> Self {
        match outputs {
            Ok(outputs) => TaskOutcome::Finished { outputs, notes: TaskNotes::default() },
            Err(Stop::Failed(message)) => TaskOutcome::Failed(TaskFailure { message, ..TaskFailure::default() }),
            Err(Stop::Cancelled) => TaskOutcome::Cancelled,
        }
    }
}

/// The object as an output that was declared as `spec`, with other metadata if `content_type` and `user` are given.
pub(crate) fn pass_on(
    object: &Arc<Object>,
    spec: &OutputSpec,
    content_type: Option<&str>,
    user: Option<&str>,
) -> Result<Arc<Object>, String> {
    check_data_type(object, spec)?;
    let content_type = match content_type.or(object.content_type()) {
        None => spec.content_type.as_deref(),
        given => checked_content_type(given, spec)?,
    };
    Ok(object.with_metadata(content_type, user.or(object.user())))
}

/// The content type of an output for which `given` was given, if its declaration allows that.
pub(crate) fn checked_content_type<'a>(
    given: Option<&'a str>,
    spec: &'a OutputSpec,
) -> Result<Option<&'a str>, String> {
    let declared = spec.content_type.as_deref();
    match given {
        None | Some("") => Ok(declared),
        Some(_) if is_subtype(given, declared) => Ok(given),
        Some(given) => Err(format!(
            "output {:?} has content type {given:?}, which is not a sub-type of the declared {:?}",
            spec.label,
            declared.unwrap_or("")
        )),
    }
}

/// Refuses an object that is not of the declared data type.
pub(crate) fn check_data_type(object: &Object, spec: &OutputSpec) -> Result<(), String> {
    if object.data_type() == spec.data_type {
        return Ok(());
    }
    Err(format!(
        "output {:?} is a {}, but was declared as a {}",
        spec.label,
        data_type_name(object.data_type()),
        data_type_name(spec.data_type)
    ))
}

/// What messages call a data type.
pub(crate) fn data_type_name(data_type: rain_model::graph::DataType) -> &'static str {
    match data_type {
        rain_model::graph::DataType::Blob => "blob",
        rain_model::graph::DataType::Directory => "directory",
    }
}

/// The one output of a task, with its declared content type.
pub(crate) fn one_output(call: &TaskCall<'_>, object: Object) -> Outputs {
    let content_type = call.kind().outputs.first().and_then(|output| output.content_type.as_deref());
    Ok(vec![Arc::new(object.with_content_type(content_type))])
}
