//! Why an executor cannot be used any more.

use rain_protocol::msgpack::{FrameError, PROTOCOL_VERSION};
use std::fmt;
use std::time::Duration;

/// An executor that did not start, broke the protocol or ended.
#[derive(Debug, Clone)]
pub struct ExecutorError {
    /// The name of the executor.
    pub name: String,
    pub fault: ExecutorFault,
    /// How its process ended, if it did so by itself.
    pub ending: Option<String>,
    /// The end of what the call that it was at wrote.
    pub log: String,
    /// Whether it had registered, so that it is an executor at all.
    pub registered: bool,
}

/// What an executor did wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExecutorFault {
    #[error("cannot be started: {0}")]
    Start(String),
    #[error("did not register within {0:?}")]
    NotRegistered(Duration),
    #[error("registered as {0:?}")]
    WrongName(String),
    #[error("speaks version {0} of the executor protocol, but this is version {PROTOCOL_VERSION}")]
    WrongVersion(u32),
    #[error("sent what is not a message of the protocol: {0}")]
    BadMessage(FrameError),
    #[error("sent a message before it registered")]
    NotRegisteredFirst,
    #[error("registered twice")]
    RegisteredTwice,
    #[error("answered call {0}, which it does not have")]
    UnknownCall(u64),
    #[error("ended")]
    Ended,
    #[error("closed its connection")]
    Closed,
    #[error("connection failed: {0}")]
    Connection(String),
}

impl fmt::Display for ExecutorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "executor {:?} ", self.name)?;
        match (&self.fault, &self.ending) {
            (ExecutorFault::Ended, Some(ending)) => {
                f.write_str(ending)?;
                if !self.registered {
                    f.write_str(" before it registered")?;
                }
            }
            (fault, None) => fault.fmt(f)?,
            (fault, Some(ending)) => write!(f, "{fault}, and {ending}")?,
        }
        match (self.registered, self.log.is_empty()) {
            (_, true) => Ok(()),
            (true, false) => write!(f, "; the end of its output:\n{}", self.log),
            // What starts no executor is often another program than was meant, which does not say where it writes.
            (false, false) => write!(f, "; the end of its stdout and stderr (one stream of both):\n{}", self.log),
        }
    }
}

impl std::error::Error for ExecutorError {}
