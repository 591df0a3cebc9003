//! What a graph or a cluster is refused for.

use thiserror::Error;

/// Why something cannot be planned.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum PlanError {
    #[error("task {task}: its duration is {duration}; it must be a number of seconds, zero or more")]
    Duration { task: usize, duration: f64 },
    #[error("task {task}: it asks for 0 cpus; it needs at least 1")]
    NoCpus { task: usize },
    #[error("task {task} reads object {object}, but there are only {objects} objects")]
    UnknownObject { task: usize, object: usize, objects: usize },
    #[error("object {object}: its size is {size}; it must be a number of bytes, zero or more")]
    Size { object: usize, size: f64 },
    #[error("tasks wait for each other in a circle; task {task} is one of them")]
    Circle { task: usize },
    #[error("there are more than {max} {what}")]
    TooMany { what: &'static str, max: usize },
    #[error("a cluster needs at least one governor, each with at least one cpu")]
    EmptyCluster,
    #[error("the bandwidth is {0}; it must be a number of bytes a second above zero")]
    Bandwidth(f64),
    #[error("task {task} asks for {cpus} cpus, and the largest governor has {largest}")]
    TooWide { task: usize, cpus: u32, largest: u32 },
}
