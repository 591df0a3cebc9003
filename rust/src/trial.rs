//! Running a task without a governor.

use crate::error::ExecutorError;
use crate::executor::Executor;
use crate::messages::{
    Call, CallExtra, CallInfo, CallInput, CallOutput, DataType, Failure, FrameError, FromGovernor, Kind, OutputSource,
    OutputSpec, Source, append_frame,
};
use crate::workspace::Workspace;
use serde::Serialize;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

const KIND: u64 = u64::MAX;

/// A call of a task in a test; see [`Executor::trial`].
#[derive(Debug)]
#[must_use = "a trial does nothing before `run`"]
pub struct Trial<'a> {
    executor: &'a mut Executor,
    kind: Kind,
    inputs: Vec<TrialInput>,
    session: u32,
    task: u32,
    governor: u32,
    first_output: Option<u32>,
    user: Option<String>,
}

/// An input of a trial with all that is known of a data object; see [`Trial::with_input`].
///
/// ```
/// # use rain_task::{Executor, TrialInput, register_task};
/// # let mut executor = Executor::new("x");
/// register_task!(executor, "show", [I O], |_ctx, input, shown| {
///     shown.set_bytes(format!("{:?} {:?} {}", input.label(), input.content_type(), input.object_id()));
///     shown.set_user(&input.user::<serde_json::Value>()?)?;
///     Ok(())
/// });
/// let input = TrialInput::blob("a,b").label("table").content_type("mime/text/csv").user(r#"{"rows": 1}"#).object_id(7);
/// let answer = executor.trial("show").with_input(input).output("shown").run()?;
/// assert_eq!(answer.outputs[0].text(), r#"Some("table") Some("mime/text/csv") 7"#);
/// assert_eq!(answer.outputs[0].user.as_deref(), Some(r#"{"rows":1}"#));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct TrialInput {
    content: Result<Vec<u8>, PathBuf>,
    label: String,
    content_type: Option<String>,
    user: Option<String>,
    object: Option<u32>,
}

impl TrialInput {
    fn new(content: Result<Vec<u8>, PathBuf>) -> Self {
        Self { content, label: String::new(), content_type: None, user: None, object: None }
    }

    /// A blob with this content.
    pub fn blob(content: impl AsRef<[u8]>) -> Self {
        Self::new(Ok(content.as_ref().to_vec()))
    }

    /// The file or directory at this path.
    pub fn path(path: impl AsRef<Path>) -> Self {
        Self::new(Err(path.as_ref().to_owned()))
    }

    /// Sets its label.
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    /// Sets its content type.
    pub fn content_type(mut self, content_type: impl Into<String>) -> Self {
        self.content_type = Some(content_type.into());
        self
    }

    /// Sets its `info.user` to this text of a JSON object.
    pub fn user(mut self, json: impl Into<String>) -> Self {
        self.user = Some(json.into());
        self
    }

    /// Sets the number of the data object in its session, which is otherwise its place among the inputs.
    pub fn object_id(mut self, object: u32) -> Self {
        self.object = Some(object);
        self
    }
}

/// What a task did in a trial.
#[derive(Debug)]
#[non_exhaustive]
pub struct TrialAnswer {
    /// The outputs, as many as were declared.
    pub outputs: Vec<TrialOutput>,
    /// The debug messages, one a line.
    pub debug: Option<String>,
    /// `info.user`, a JSON object as text.
    pub user: Option<String>,
}

/// An output that a task made in a trial.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TrialOutput {
    /// The content of a blob; of a directory, nothing.
    pub bytes: Vec<u8>,
    /// The files of a directory with their contents, by their paths in it.
    pub files: Vec<(String, Vec<u8>)>,
    /// What the task set, else that of the input that was passed on, else what was declared. Whether it is a sub-type of what
    /// was declared is checked by governors alone.
    pub content_type: Option<String>,
    /// `info.user`, a JSON object as text: what the task set, else that of the input that was passed on.
    pub user: Option<String>,
}

impl TrialOutput {
    /// The content as text.
    ///
    /// # Panics
    /// If it is not UTF-8.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.bytes).expect("the output is not UTF-8")
    }
}

/// Why a trial has no outputs.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrialError {
    /// The task failed.
    #[error("{message}")]
    #[non_exhaustive]
    Failed {
        /// What its error says.
        message: String,
        /// The debug messages until then, one a line.
        debug: Option<String>,
        /// `info.user`, a JSON object as text.
        user: Option<String>,
    },
    /// The executor would have ended.
    #[error(transparent)]
    Executor(#[from] ExecutorError),
    /// A file of the trial cannot be read or written.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// The content of a blob, and the files of a directory by their paths in it.
type Content = (Vec<u8>, Vec<(String, Vec<u8>)>);

/// A directory for the trial, removed after it.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> std::io::Result<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("rain-trial-{}-{number}", std::process::id()));
        fs::create_dir(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // A test that failed says more than this.
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Executor {
    /// Runs a task here and now, for tests.
    pub fn trial<'a>(&'a mut self, method: &str) -> Trial<'a> {
        Trial::new(self, method)
    }
}

impl<'a> Trial<'a> {
    fn new(executor: &'a mut Executor, method: &str) -> Self {
        let kind = Kind {
            task_type: format!("{}/{method}", executor.name()),
            cpus: 1,
            name: String::new(),
            config: Vec::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
        };
        Self { executor, kind, inputs: Vec::new(), session: 0, task: 0, governor: 0, first_output: None, user: None }
    }

    /// Adds an input with all that is known of it.
    pub fn with_input(mut self, input: TrialInput) -> Self {
        self.kind.inputs.push(input.label.clone());
        self.inputs.push(input);
        self
    }

    /// Adds a blob as an input.
    pub fn input(self, content: impl AsRef<[u8]>) -> Self {
        self.with_input(TrialInput::blob(content))
    }

    /// Adds a file or directory as an input.
    pub fn path_input(self, path: impl AsRef<Path>) -> Self {
        self.with_input(TrialInput::path(path))
    }

    /// Declares a blob as an output.
    pub fn output(mut self, label: &str) -> Self {
        self.kind.outputs.push(OutputSpec(label.to_owned(), DataType::Blob, None));
        self
    }

    /// Declares a blob with a content type as an output.
    pub fn typed_output(mut self, label: &str, content_type: &str) -> Self {
        self.kind.outputs.push(OutputSpec(label.to_owned(), DataType::Blob, Some(content_type.to_owned())));
        self
    }

    /// Declares a directory as an output.
    pub fn output_directory(mut self, label: &str) -> Self {
        self.kind.outputs.push(OutputSpec(label.to_owned(), DataType::Directory, None));
        self
    }

    /// Sets the configuration.
    ///
    /// # Panics
    /// If it cannot be serialised.
    pub fn config<T: Serialize + ?Sized>(mut self, config: &T) -> Self {
        self.kind.config = rmp_serde::to_vec_named(config).expect("a configuration that can be serialised");
        self
    }

    /// Sets the name that a client gives a task for people.
    pub fn name(mut self, name: &str) -> Self {
        self.kind.name = name.to_owned();
        self
    }

    /// Sets how many cpus the task has; one otherwise.
    pub fn cpus(mut self, cpus: u32) -> Self {
        self.kind.cpus = cpus;
        self
    }

    /// Sets the numbers of the session and of the task in it; zero otherwise.
    pub fn ids(mut self, session: u32, task: u32) -> Self {
        (self.session, self.task) = (session, task);
        self
    }

    /// Sets the number of the governor; zero otherwise.
    pub fn governor(mut self, governor: u32) -> Self {
        self.governor = governor;
        self
    }

    /// Sets the number of the first output object in its session; otherwise they follow the inputs.
    pub fn first_output_id(mut self, object: u32) -> Self {
        self.first_output = Some(object);
        self
    }

    /// Sets `spec.user` to this text of a JSON object.
    pub fn user(mut self, json: &str) -> Self {
        self.user = Some(json.to_owned());
        self
    }

    /// Runs the task.
    ///
    /// # Errors
    /// If the task fails.
    pub fn run(self) -> Result<TrialAnswer, TrialError> {
        let scratch = Scratch::new()?;
        let workspace = Workspace::new(&scratch.0)?;
        let inputs = self
            .inputs
            .iter()
            .enumerate()
            .map(|(number, input)| input.message(number as u32))
            .collect::<Result<_, std::io::Error>>()?;
        let call = Call {
            id: 0,
            kind: KIND,
            task: (self.session, self.task),
            config: None,
            inputs,
            extra: CallExtra {
                user: self.user.as_deref(),
                governor: self.governor,
                outputs: self.first_output.unwrap_or(self.inputs.len() as u32),
                submit: 0,
            },
        };
        let declared = self.kind.outputs.clone();
        let mut frame = Vec::new();
        append_frame(&mut frame, &FromGovernor::Define(KIND, self.kind));
        let mut answer = Vec::new();
        self.executor.handle(&frame[4..], &workspace, &mut answer)?;
        frame.clear();
        append_frame(&mut frame, &FromGovernor::Call(call));
        self.executor.handle(&frame[4..], &workspace, &mut answer)?;
        read_answer(&answer[4..], &self.inputs, &declared)
    }
}

impl TrialInput {
    fn message(&self, number: u32) -> std::io::Result<CallInput<'_>> {
        let (source, data_type, size) = match &self.content {
            Ok(bytes) => (Source::Inline(bytes), DataType::Blob, bytes.len() as u64),
            Err(path) => {
                let is_dir = fs::metadata(path)?.is_dir();
                let data_type = if is_dir { DataType::Directory } else { DataType::Blob };
                let text = path.to_str().ok_or(std::io::ErrorKind::InvalidInput)?;
                (Source::Path(text), data_type, file_bytes(path)?)
            }
        };
        let object = self.object.unwrap_or(number);
        Ok(CallInput(source, self.content_type.as_deref(), data_type, size, object, self.user.as_deref()))
    }

    fn read(&self) -> std::io::Result<Content> {
        match &self.content {
            Ok(bytes) => Ok((bytes.clone(), Vec::new())),
            Err(path) => read_path(path),
        }
    }
}

/// The size of a file, or of all files in a directory.
fn file_bytes(path: &Path) -> std::io::Result<u64> {
    if !path.is_dir() {
        return Ok(fs::metadata(path)?.len());
    }
    let mut bytes = 0;
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let file_type = entry.file_type()?;
        if file_type.is_dir() {
            bytes += file_bytes(&entry.path())?;
        } else if file_type.is_file() {
            bytes += entry.metadata()?.len();
        }
    }
    Ok(bytes)
}

/// The content of a file, or the files of a directory.
fn read_path(path: &Path) -> std::io::Result<Content> {
    if !path.is_dir() {
        return Ok((fs::read(path)?, Vec::new()));
    }
    let mut files = Vec::new();
    let mut directories = vec![path.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory)? {
            let found = entry?.path();
            if found.is_dir() {
                directories.push(found);
            } else {
                let name = found.strip_prefix(path).unwrap_or(&found).to_string_lossy().into_owned();
                files.push((name, fs::read(found)?));
            }
        }
    }
    files.sort();
    Ok((Vec::new(), files))
}

fn read_answer(body: &[u8], inputs: &[TrialInput], declared: &[OutputSpec]) -> Result<TrialAnswer, TrialError> {
    if let Ok((_, _, failure)) = rmp_serde::from_slice::<(String, u64, Failure)>(body) {
        let Failure { message, debug, user } = failure;
        return Err(TrialError::Failed { message, debug, user });
    }
    let (_, _, outputs, info): (String, u64, Vec<CallOutput>, CallInfo) =
        rmp_serde::from_slice(body).map_err(|error| ExecutorError::from(FrameError::from(error)))?;
    let outputs = outputs
        .into_iter()
        .zip(declared)
        .map(|(CallOutput(source, content_type, user), OutputSpec(_, _, declared_type))| {
            let (content, passed_on) = match source {
                OutputSource::Inline(bytes) => ((bytes, Vec::new()), None),
                OutputSource::Path(path) => (read_path(Path::new(&path))?, None),
                OutputSource::Input(number) => {
                    let input = &inputs[number as usize];
                    (input.read()?, Some(input))
                }
            };
            let (bytes, files) = content;
            let content_type =
                content_type.or_else(|| passed_on?.content_type.clone()).or_else(|| declared_type.clone());
            let user = user.or_else(|| passed_on?.user.clone());
            Ok(TrialOutput { bytes, files, content_type, user })
        })
        .collect::<Result<_, std::io::Error>>()?;
    Ok(TrialAnswer { outputs, debug: info.debug, user: info.user })
}
