//! Running a task without a governor.

use crate::error::ExecutorError;
use crate::executor::Executor;
use crate::messages::{
    Call, CallExtra, CallInfo, CallInput, CallOutput, DataType, Failure, FromGovernor, Kind, OutputSource, OutputSpec,
    Source, append_frame,
};
use crate::workspace::Workspace;
use serde::Serialize;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

const KIND: u64 = u64::MAX;

/// A call of a task in a test; see [`Executor::trial`].
#[derive(Debug)]
pub struct Trial<'a> {
    executor: &'a mut Executor,
    kind: Kind,
    inputs: Vec<TrialInput>,
    user: Option<String>,
}

#[derive(Debug)]
struct TrialInput {
    content: Result<Vec<u8>, PathBuf>,
    content_type: Option<String>,
}

/// What a task did in a trial.
#[derive(Debug)]
pub struct TrialAnswer {
    pub outputs: Vec<TrialOutput>,
    /// The debug messages, one a line.
    pub debug: Option<String>,
    /// `info.user`, JSON text.
    pub user: Option<String>,
}

/// An output that a task made in a trial.
#[derive(Debug, PartialEq, Eq)]
pub struct TrialOutput {
    /// The content of a blob; of a directory, nothing.
    pub bytes: Vec<u8>,
    /// The files of a directory with their contents, by their paths in it.
    pub files: Vec<(String, Vec<u8>)>,
    pub content_type: Option<String>,
    /// `info.user`, JSON text.
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
    Failed { message: String, debug: Option<String>, user: Option<String> },
    #[error(transparent)]
    Executor(#[from] ExecutorError),
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

impl<'a> Trial<'a> {
    pub(crate) fn new(executor: &'a mut Executor, method: &str) -> Self {
        let kind = Kind {
            task_type: format!("{}/{method}", executor.name()),
            cpus: 1,
            name: String::new(),
            config: Vec::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
        };
        Self { executor, kind, inputs: Vec::new(), user: None }
    }

    fn add(mut self, content: Result<Vec<u8>, PathBuf>, label: &str, content_type: Option<&str>) -> Self {
        self.inputs.push(TrialInput { content, content_type: content_type.map(str::to_owned) });
        self.kind.inputs.push(label.to_owned());
        self
    }

    /// Adds a blob as an input.
    pub fn input(self, content: impl AsRef<[u8]>) -> Self {
        self.add(Ok(content.as_ref().to_vec()), "", None)
    }

    /// Adds a blob with a label and a content type as an input.
    pub fn labelled_input(self, label: &str, content: impl AsRef<[u8]>, content_type: Option<&str>) -> Self {
        self.add(Ok(content.as_ref().to_vec()), label, content_type)
    }

    /// Adds a file or directory as an input.
    pub fn path_input(self, path: impl AsRef<Path>) -> Self {
        self.add(Err(path.as_ref().to_owned()), "", None)
    }

    /// Declares a blob as an output.
    pub fn output(mut self, label: &str) -> Self {
        self.kind.outputs.push(OutputSpec(label.to_owned(), DataType::Blob, None));
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

    /// Sets `spec.user` to this JSON text.
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
            task: (0, 0),
            config: None,
            inputs,
            extra: CallExtra { user: self.user.as_deref(), governor: 0, outputs: 0, submit: 0 },
        };
        let mut frame = Vec::new();
        append_frame(&mut frame, &FromGovernor::Define(KIND, self.kind));
        let mut answer = Vec::new();
        self.executor.handle(&frame[4..], &workspace, &mut answer)?;
        frame.clear();
        append_frame(&mut frame, &FromGovernor::Call(call));
        self.executor.handle(&frame[4..], &workspace, &mut answer)?;
        read_answer(&answer[4..], &self.inputs)
    }
}

impl TrialInput {
    fn message(&self, number: u32) -> std::io::Result<CallInput<'_>> {
        let (source, data_type, size) = match &self.content {
            Ok(bytes) => (Source::Inline(bytes), DataType::Blob, bytes.len() as u64),
            Err(path) => {
                let metadata = fs::metadata(path)?;
                let data_type = if metadata.is_dir() { DataType::Directory } else { DataType::Blob };
                let text = path.to_str().ok_or(std::io::ErrorKind::InvalidInput)?;
                (Source::Path(text), data_type, metadata.len())
            }
        };
        Ok(CallInput(source, self.content_type.as_deref(), data_type, size, number, None))
    }

    fn read(&self) -> std::io::Result<Content> {
        match &self.content {
            Ok(bytes) => Ok((bytes.clone(), Vec::new())),
            Err(path) => read_path(path),
        }
    }
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

fn read_answer(body: &[u8], inputs: &[TrialInput]) -> Result<TrialAnswer, TrialError> {
    if let Ok((_, _, failure)) = rmp_serde::from_slice::<(String, u64, Failure)>(body) {
        let Failure { message, debug, user } = failure;
        return Err(TrialError::Failed { message, debug, user });
    }
    let (_, _, outputs, info): (String, u64, Vec<CallOutput>, CallInfo) =
        rmp_serde::from_slice(body).map_err(|error| ExecutorError::Frame(error.into()))?;
    let outputs = outputs
        .into_iter()
        .map(|CallOutput(source, content_type, user)| {
            let (bytes, files) = match source {
                OutputSource::Inline(bytes) => (bytes, Vec::new()),
                OutputSource::Path(path) => read_path(Path::new(&path))?,
                OutputSource::Input(number) => inputs[number as usize].read()?,
            };
            Ok(TrialOutput { bytes, files, content_type, user })
        })
        .collect::<Result<_, std::io::Error>>()?;
    Ok(TrialAnswer { outputs, debug: info.debug, user: info.user })
}
