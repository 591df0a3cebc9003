//! Drivers: the threads that turn I/O into events of the state machines and carry out their actions.

mod bell;
pub mod cluster;
mod config;
mod content;
mod contents;
mod deadlines;
pub mod end_of_time;
mod error;
mod executors;
mod facts;
mod governor;
pub mod local;
mod memory;
pub mod questions;
mod reaper;
mod server;
mod session;
mod stop;
mod worker;

pub use config::GovernorConfig;
pub use governor::{GovernorEnd, GovernorHandle, start_governor};
