//! Kinds: everything that many tasks of a session have in common.

use crate::resources::Request;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What an object is: bytes, or a directory tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DataType {
    Blob,
    Directory,
}

impl DataType {
    /// The number that stands for it in the client and executor protocols.
    pub fn code(self) -> u8 {
        match self {
            DataType::Blob => 0,
            DataType::Directory => 1,
        }
    }

    /// The data type of a protocol number.
    pub fn from_code(code: u8) -> Option<DataType> {
        match code {
            0 => Some(DataType::Blob),
            1 => Some(DataType::Directory),
            _ => None,
        }
    }
}

/// One output that tasks of a kind make.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputSpec {
    pub label: String,
    pub data_type: DataType,
    /// Static content type; the actual one must be a sub-type of it.
    pub content_type: Option<String>,
}

/// What tasks of the same program or function share; sent once a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kind {
    /// `EXECUTOR/METHOD`, e.g. `buildin/concat`.
    pub task_type: String,
    /// Cpus that a task takes, at least 1; of several alternatives the least.
    pub cpus: u32,
    /// The user's name for these tasks, "" if none.
    pub name: String,
    /// Configuration for the task type; a task may have another one of its own beside it.
    #[serde(with = "serde_bytes")]
    pub config: Vec<u8>,
    /// Labels of the inputs; inputs past the end have none.
    pub inputs: Vec<String>,
    pub outputs: Vec<OutputSpec>,
    /// How often a failed task is run again.
    pub retries: u32,
    /// How long one attempt may take.
    pub timeout: Option<Duration>,
    /// Ready tasks of a higher priority go first.
    pub priority: i32,
    /// Tasks of kinds with different ones are not run by the same executor process; "" if that does not matter.
    pub process: String,
    /// What a task asks for beside cpus: the first of these that fits. Empty: only cpus.
    pub resources: Vec<Request>,
}

impl Kind {
    /// A kind of one cpu, without inputs, outputs, name and configuration, which is not run again.
    pub fn new(task_type: impl Into<String>) -> Self {
        Self {
            task_type: task_type.into(),
            cpus: 1,
            name: String::new(),
            config: Vec::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            retries: 0,
            timeout: None,
            priority: 0,
            process: String::new(),
            resources: Vec::new(),
        }
    }

    /// The part of the task type before the slash.
    pub fn executor(&self) -> &str {
        self.task_type.split_once('/').map_or("", |(executor, _)| executor)
    }

    /// The part of the task type after the slash.
    pub fn method(&self) -> &str {
        self.task_type.split_once('/').map_or(self.task_type.as_str(), |(_, method)| method)
    }

    /// Whether a governor runs these tasks itself.
    pub fn is_built_in(&self) -> bool {
        self.executor() == BUILT_IN
    }

    /// How messages for people call a task of this kind: its name, else its type.
    pub fn display_name(&self) -> &str {
        if self.name.is_empty() { &self.task_type } else { &self.name }
    }
}

/// The executor name of tasks that a governor runs itself.
pub const BUILT_IN: &str = "buildin";
