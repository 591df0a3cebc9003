//! What can go wrong.

use crate::messages::FrameError;
use std::io;
use std::path::PathBuf;

/// What a task returns. Anything that is an error can be returned with `?`, a text with `Err("why".into())`.
pub type TaskResult<T = ()> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// What cannot be done with inputs, outputs and the context.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error("input {0} is a directory, which cannot be read as a blob")]
    IsDirectory(usize),
    #[error("input {number} is not UTF-8 text: {source}")]
    NotText { number: usize, source: std::str::Utf8Error },
    #[error("input {number} has {bytes} bytes, which are not whole values of {value_bytes} bytes")]
    NotValues { number: usize, bytes: usize, value_bytes: usize },
    #[error("{path}: {source}")]
    File { path: PathBuf, source: io::Error },
    #[error(
        "output {path} is not inside of {directory}, and only what is in there is moved away: copy it to a new_path() and \
         make that the output"
    )]
    NotInside { path: PathBuf, directory: PathBuf },
    #[error("input {number} was written to at {path}: write to a copy and make that the output")]
    InputChanged { number: usize, path: PathBuf },
    #[error("output {label:?} is declared as a {declared}")]
    WrongDataType { label: String, declared: &'static str },
    #[error("output {0:?} was not made")]
    NotMade(String),
    #[error("user attributes {0}")]
    Attributes(String),
    #[error("the configuration is not what the task expects: {0}")]
    Config(#[from] rmp_serde::decode::Error),
    #[error("{task_type} {what} {wanted}, but {got}")]
    Numbers { task_type: String, what: &'static str, wanted: String, got: String },
}

/// Why an executor ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExecutorError {
    #[error("connection to the governor: {0}")]
    Connection(#[from] io::Error),
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("directory {path}: {source}")]
    Directory { path: PathBuf, source: io::Error },
}
