//! Drivers: the threads that turn I/O into events of the state machines and carry out their actions.

mod bell;
pub mod cluster;
mod config;
mod contents;
mod deadlines;
pub mod end_of_time;
mod executors;
mod fetched;
mod governor;
pub mod local;
pub mod questions;
mod reaper;
mod replies;
mod server;
mod session;
mod uploads;
mod worker;

pub use config::GovernorConfig;
pub use governor::{GovernorHandle, start_governor};
