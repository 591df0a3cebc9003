//! What an executor answered, made into objects.

use crate::call::{TaskFailure, TaskNotes, TaskOutcome, checked_content_type, pass_on};
use crate::inputs::check_after;
use crate::process::rights_hint;
use rain_data::{Object, Store};
use rain_model::graph::{DataType, Kind, OutputSpec};
use rain_protocol::executor::{CallOutput, OutputSource};
use std::fs;
use std::path::Path;
use std::sync::Arc;

/// What an executor says of its calls.
#[derive(Debug)]
pub enum ExecutorEvent {
    /// A call has ended.
    Answered { call: u64, outcome: TaskOutcome },
    /// Calls have not begun and are for another process, or for this one later. With a reason this process is not to be
    /// used again.
    Returned { calls: Vec<u64>, reason: Option<String> },
    /// A running call waits for other tasks, and its cpus are free until it is resumed or answered. The executor waits for
    /// [`super::ExecutorProcess::lent`].
    Lent { call: u64 },
    /// A call that has lent its cpus goes on.
    Resumed { call: u64 },
}

/// A call that was sent and is not answered.
#[derive(Debug)]
pub(super) struct InFlight {
    pub(super) call: u64,
    pub(super) kind: Arc<Kind>,
    /// Kept while the executor may read them.
    pub(super) inputs: Vec<Arc<Object>>,
}

/// Where an executor's outputs come from and go to.
pub(super) struct Places<'a> {
    pub(super) store: &'a Store,
    /// The executor's directory, without links in its path.
    pub(super) directory: &'a Path,
}

impl InFlight {
    /// The outcome of a call that was answered with `outputs`. Wrong outputs are the task's failure, not the executor's.
    pub(super) fn finish(self, outputs: Vec<CallOutput>, notes: TaskNotes, places: &Places<'_>) -> TaskOutcome {
        let wrong_info = check_user(notes.user.as_deref(), "info.user of the task");
        let checked = wrong_info.and_then(|()| check_after(&self.inputs));
        match checked.and_then(|()| self.objects(outputs, places)) {
            Ok(outputs) => TaskOutcome::Finished { outputs, notes },
            Err(message) => {
                let TaskNotes { debug, user, output } = notes;
                self.fail(TaskFailure { message, debug, user, output })
            }
        }
    }

    /// The outcome of a call that has failed.
    pub(super) fn fail(self, failure: TaskFailure) -> TaskOutcome {
        let TaskFailure { mut message, debug, mut user, output } = failure;
        if let Err(wrong) = check_user(user.as_deref(), "info.user of the task") {
            user = None;
            if wrong != message {
                message = format!("{message}\n{wrong}");
            }
        }
        match check_after(&self.inputs) {
            Err(changed) if changed != message => message = format!("{message}\n({changed})"),
            _ => {
                if let Some(hint) = rights_hint(&message) {
                    message = format!("{message}\n({hint})");
                }
            }
        }
        TaskOutcome::Failed(TaskFailure { message, debug, user, output })
    }

    fn objects(&self, outputs: Vec<CallOutput>, places: &Places<'_>) -> Result<Vec<Arc<Object>>, String> {
        let specs = &self.kind.outputs;
        if outputs.len() != specs.len() {
            let (made, declared) = (outputs.len(), specs.len());
            return Err(format!("the task made {made} outputs, but {declared} are declared"));
        }
        outputs.into_iter().zip(specs).map(|(output, spec)| self.object(output, spec, places)).collect()
    }

    fn object(&self, output: CallOutput, spec: &OutputSpec, places: &Places<'_>) -> Result<Arc<Object>, String> {
        let CallOutput(source, content_type, user) = output;
        let (content_type, user) = (content_type.as_deref(), user.as_deref());
        let wrong = |why: &dyn std::fmt::Display| format!("output {:?}: {why}", spec.label);
        check_user(user, &format!("info.user of output {:?}", spec.label))?;
        let object = match source {
            OutputSource::Input(number) => {
                return match self.inputs.get(number as usize) {
                    Some(input) => pass_on(input, spec, content_type, user),
                    None => Err(wrong(&format_args!("there is no input {number} to pass on"))),
                };
            }
            OutputSource::Inline(_) if spec.data_type == DataType::Directory => {
                return Err(wrong(&"is content, but was declared as a directory"));
            }
            OutputSource::Inline(bytes) => places.store.blob(bytes, None).map_err(|error| wrong(&error))?,
            OutputSource::Path(path) => {
                let real = places.directory.join(&path).canonicalize().map_err(|error| {
                    wrong(&format_args!("{path:?} is not a file or directory of the executor: {error}"))
                })?;
                if let Some(input) = self.inputs.iter().find(|input| input.is_at(&real)) {
                    return pass_on(input, spec, content_type, user);
                }
                self.adopt(&real, spec, places).map_err(|why| wrong(&format_args!("{path:?} {why}")))?
            }
        };
        let content_type = checked_content_type(content_type, spec)?;
        Ok(Arc::new(object.with_content_type(content_type).with_user(user)))
    }

    fn adopt(&self, real: &Path, spec: &OutputSpec, places: &Places<'_>) -> Result<Object, String> {
        if !real.starts_with(places.directory) || real == places.directory {
            return Err(format!("is not inside of the executor's directory {}", places.directory.display()));
        }
        let is_dir = fs::symlink_metadata(real).map_err(|error| error.to_string())?.is_dir();
        let object = match (is_dir, spec.data_type) {
            (true, DataType::Blob) => return Err("is a directory, but was declared as a blob".into()),
            (false, DataType::Directory) => return Err("is a file, but was declared as a directory".into()),
            (true, DataType::Directory) => places.store.adopt_dir(real, &[]),
            (false, DataType::Blob) => places.store.adopt_file(real),
        };
        object.map_err(|error| error.to_string())
    }
}

/// Refuses attributes that clients could not show.
fn check_user(user: Option<&str>, what: &str) -> Result<(), String> {
    let Some(user) = user else { return Ok(()) };
    let read: Result<serde_json::Map<String, serde_json::Value>, _> = serde_json::from_str(user);
    read.map(drop).map_err(|error| format!("{what} is not a JSON object: {error}"))
}
