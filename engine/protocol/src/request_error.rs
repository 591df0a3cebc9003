//! Why requests of clients are not carried out.

use serde::{Deserialize, Serialize};

/// Why a request was not carried out; what it names is in `message`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestError {
    pub kind: ErrorKind,
    pub message: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub debug: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ErrorKind {
    Protocol,
    Request,
    Task,
    Session,
    Cancelled,
}

impl RequestError {
    /// The request itself is wrong.
    pub fn request(message: impl Into<String>) -> Self {
        Self { kind: ErrorKind::Request, message: message.into(), session: None, task: None, debug: None }
    }

    /// The peer does not speak the protocol.
    pub fn protocol(message: impl Into<String>) -> Self {
        Self { kind: ErrorKind::Protocol, ..Self::request(message) }
    }
}
