//! Drivers: the threads that turn I/O into events of the state machines and carry out their actions.

mod bell;
mod deadlines;
mod governor;
mod link;
pub mod local;
mod server;
mod session;
mod worker;

pub use governor::{GovernorConfig, GovernorHandle, start_governor};
