//! The event log: what a server tells of itself, written to a file by a thread that nobody waits for, and read from there.
//!
//! [`Log`] reads one that is being written, was finished, or broke off.

pub mod answers;
mod chunk;
mod clock;
mod columns;
mod commit;
mod edges;
mod error;
mod event_log;
mod graph_rows;
mod log;
mod machine;
pub mod made_up;
mod object_rows;
mod over;
mod process;
mod producers;
pub mod questions;
mod queue;
mod rates;
mod recorder;
mod report;
mod rows;
mod schema;
mod session_state;
mod trace;
mod views;

pub use clock::seconds_since_1970;
pub use error::LogError;
pub use event_log::{EventLog, LogHandle};
pub use log::Log;
pub use recorder::{Recorder, ServerFacts};
pub use schema::FILE_NAME;
