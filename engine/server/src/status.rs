//! What `rain status` shows.

use serde::{Deserialize, Serialize};

/// The server's part of a status reply; the driver adds process facts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    pub governors: Vec<GovernorStatus>,
    pub clients: u64,
    /// All sessions; `sessions` has the first of them.
    pub sessions_open: u64,
    pub sessions: Vec<SessionStatus>,
}

/// One governor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GovernorStatus {
    pub id: u32,
    pub cpus: u32,
    /// Tasks it has and has not finished.
    pub tasks_unfinished: u64,
    pub tasks_finished: u64,
}

/// One session.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SessionStatus {
    pub id: u32,
    pub name: String,
    pub client: u64,
    pub tasks: u64,
    pub finished: u64,
    /// `open` or `failed`.
    pub state: String,
}
