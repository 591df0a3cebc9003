//! What a log answers, question by question.

mod counts;
mod events;
mod governors;
pub(crate) mod graph;
mod objects;
mod sessions;
mod status;
mod stream;
mod task;
mod task_rows;
mod tasks;
mod throughput;
