//! What can go wrong.

use crate::messages::FrameError;
use std::io;
use std::path::PathBuf;

/// What a task returns. Anything that is an error can be returned with `?`, a text with `Err("why".into())`.
pub type TaskResult<T = ()> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// What cannot be done with inputs, outputs and the context. The text of each says all there is to say, causes included.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The input with this number is a directory, and was to be read as a blob.
    #[error("input {0} is a directory, which cannot be read as a blob")]
    IsDirectory(usize),
    /// An input is not UTF-8.
    #[error("input {number} is not UTF-8 text: {error}")]
    #[non_exhaustive]
    NotText {
        /// Its place among the inputs.
        number: usize,
        /// Where it is not UTF-8.
        error: std::str::Utf8Error,
    },
    /// An input does not hold a whole number of values.
    #[error("input {number} has {bytes} bytes, which are not whole values of {value_bytes} bytes")]
    #[non_exhaustive]
    NotValues {
        /// Its place among the inputs.
        number: usize,
        /// Its size in bytes.
        bytes: usize,
        /// The size of one value in bytes.
        value_bytes: usize,
    },
    /// Something cannot be done with a file or directory.
    #[error("{path}: {error}")]
    #[non_exhaustive]
    File {
        /// Where it is.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// An output is to be a file or directory outside of the executor's directory, which is nobody's to take.
    #[error(
        "output {path} is not inside of {directory}, and only what is in there is moved away: copy it to a new_path() and \
         make that the output"
    )]
    #[non_exhaustive]
    NotInside {
        /// Where it is, links resolved.
        path: PathBuf,
        /// The executor's directory.
        directory: PathBuf,
    },
    /// The file of a small input was written to, and is to be an output: the change would be lost.
    #[error("input {number} was written to at {path}: write to a copy and make that the output")]
    #[non_exhaustive]
    InputChanged {
        /// Its place among the inputs.
        number: usize,
        /// Its file.
        path: PathBuf,
    },
    /// An output was declared as something else.
    #[error("output {label:?} is declared as a {declared}")]
    #[non_exhaustive]
    WrongDataType {
        /// The label of the output.
        label: String,
        /// What it is declared as: `"blob"` or `"directory"`.
        declared: &'static str,
    },
    /// The directory with this label was not made.
    #[error("output {0:?} was not made")]
    NotMade(String),
    /// Attributes are not a JSON object, or not what was to be read from them; the text says which.
    #[error("user attributes {0}")]
    Attributes(String),
    /// The configuration is not what was to be read from it; the text says why.
    #[error("the configuration is not what the task expects: {0}")]
    Config(String),
    /// A task was called with other numbers of inputs or outputs than it takes.
    #[error("{task_type} {what} {wanted}, but {got}")]
    #[non_exhaustive]
    Numbers {
        /// EXECUTOR/METHOD.
        task_type: String,
        /// `"takes"` or `"makes"`.
        what: &'static str,
        /// How many of what, as "2 inputs".
        wanted: String,
        /// What came instead, as "was given 1".
        got: String,
    },
}

/// Why an executor ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExecutorError {
    /// The connection to the governor broke.
    #[error("connection to the governor: {0}")]
    Connection(io::Error),
    /// What came from the governor is not the executor protocol; the text says why.
    #[error("{0}")]
    Protocol(String),
    /// The executor's directory cannot be used.
    #[error("directory {path}: {error}")]
    #[non_exhaustive]
    Directory {
        /// Where it should be.
        path: PathBuf,
        /// Why it cannot be used.
        error: io::Error,
    },
}

impl From<io::Error> for ExecutorError {
    fn from(error: io::Error) -> Self {
        Self::Connection(error)
    }
}

impl From<FrameError> for ExecutorError {
    fn from(error: FrameError) -> Self {
        Self::Protocol(error.to_string())
    }
}
