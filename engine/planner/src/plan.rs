//! What a planner decides.

/// Where each task runs, and what goes first.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The governor of each task.
    pub places: Vec<u32>,
    /// Of two tasks that could start on a governor, the one with the larger number does; objects come in the order of the tasks that
    /// need them.
    pub priorities: Vec<f64>,
    /// A task that could start but for cpus keeps those of lower priority waiting.
    pub strict: bool,
}
