//! What a log answers, question by question.

mod counts;
mod events;
mod governors;
mod graph;
mod objects;
mod sessions;
mod status;
pub(crate) mod stream;
mod task;
mod task_rows;
mod tasks;
mod throughput;

pub(crate) use events::rfc3339;
