//! Why a task does not run: the answer to `explain` (`docs/protocol.md`).

use rain_model::id::{ObjectIndex, TaskIndex};
use serde::{Deserialize, Serialize};

/// What becomes of a task; absent fields are empty.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    pub id: TaskIndex,
    /// `waiting` for inputs, `ready`, `running`, `finished` or `cancelled`.
    pub state: String,
    /// A sentence for people.
    pub why: String,
    /// Who has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub governor: Option<u32>,
    /// Seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_time: Option<f64>,
    /// How long it has waited for resources, seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waited: Option<f64>,
    /// How many tasks of its session are before it, of those that wait for resources.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<u32>,
    /// Inputs that are not there; the first of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<MissingInput>,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub missing_count: u32,
    /// Resources of which there is not enough.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lacks: Vec<Lack>,
    /// What it was given beside cpus.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub has: Vec<(String, f64)>,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// An input that is not there.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct MissingInput {
    pub object: ObjectIndex,
    /// Who makes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<TaskIndex>,
    /// Of that task: `waiting`, `running` or `cancelled`.
    pub state: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub governor: Option<u32>,
}

/// A resource of which a governor has not enough now.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Lack {
    pub governor: u32,
    pub name: String,
    pub wanted: f64,
    pub free: f64,
    pub total: f64,
    /// Who has something of it; the first of them.
    pub holders: Vec<ResourceHolder>,
}

/// A task that has something of a resource.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ResourceHolder {
    pub session: u32,
    pub task: TaskIndex,
    pub amount: f64,
}
