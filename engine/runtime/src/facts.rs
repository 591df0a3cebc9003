//! Facts about this process that a status reply shows.

use rain_events::seconds_since_1970;
use serde::Serialize;

/// Facts about a server's process.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ProcessFacts {
    pub(crate) pid: u32,
    pub(crate) version: &'static str,
    pub(crate) listen: String,
    /// Seconds since 1970.
    pub(crate) started: f64,
}

impl ProcessFacts {
    /// Facts about this process, which starts now.
    pub(crate) fn of_this_process(version: &'static str, listen: String) -> Self {
        Self { pid: std::process::id(), version, listen, started: seconds_since_1970() }
    }
}
