//! What `rain status` shows.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

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
    /// What it has beside cpus, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub resources: BTreeMap<String, ResourceStatus>,
}

/// What a governor has of a resource.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ResourceStatus {
    pub total: f64,
    /// The most that one task could be given now.
    pub free: f64,
    /// How its parts are called, if they are told apart.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
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
