//! `--event-log` and `--log-limit`: whether a server writes an event log, and how large it may get.

use crate::sizes::split_size;
use clap::{Args, ValueEnum};
use rain_events::{EventLog, FILE_NAME, ServerFacts};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::Path;

/// Bytes of a log when nothing else is said, and at least.
const LIMIT_DEFAULT: u64 = 2 << 30;
const LIMIT_MIN: u64 = 4 << 20;

/// What can be typed.
#[derive(Debug, Default, Args)]
pub struct LogArgs {
    /// Whether what happens is kept, in events.sqlite of the log directory, for `rain log` and the dashboard [default: on]
    #[arg(long, value_name = "on|off", value_enum)]
    pub event_log: Option<Switch>,
    /// Bytes that the event log may take, e.g. 500M or 10G; then its oldest sessions go [default: 2G]
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes)]
    pub log_limit: Option<u64>,
}

/// On or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    On,
    Off,
}

/// How a server's event log is to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogPlan {
    /// `None`: there is to be none.
    bytes_max: Option<u64>,
}

impl Default for LogPlan {
    fn default() -> Self {
        Self { bytes_max: Some(LIMIT_DEFAULT) }
    }
}

impl LogPlan {
    pub fn new(args: &LogArgs) -> Self {
        let is_off = args.event_log == Some(Switch::Off);
        Self { bytes_max: (!is_off).then_some(args.log_limit.unwrap_or(LIMIT_DEFAULT)) }
    }

    /// No log, for servers that nobody looks at.
    pub fn off() -> Self {
        Self { bytes_max: None }
    }

    /// Begins the log of a server that listens at `listen`, in the directory of logs. `is_local`: its governors are on its machine.
    pub fn start(&self, directory: Option<&Path>, listen: SocketAddr, is_local: bool) -> Option<EventLog> {
        let (bytes_max, directory) = (self.bytes_max?, directory?);
        tracing::info!("what happens is kept in {}", directory.join(FILE_NAME).display());
        let server = ServerFacts {
            name: String::new(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            address: listen.to_string(),
            started: rain_events::seconds_since_1970(),
        };
        let started = EventLog::start(directory, bytes_max, server, is_local);
        started.inspect_err(|error| tracing::warn!("there is no event log: no thread could be started: {error}")).ok()
    }
}

/// Bytes as people write them, with a unit or without one.
fn parse_bytes(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is no number of bytes: give for example 500M or 10G");
    let (number, shift) = split_size(text).ok_or_else(wrong)?;
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let bytes =
        number.checked_mul(1 << shift.unwrap_or(0)).filter(|bytes| *bytes <= i64::MAX as u64).ok_or_else(wrong)?;
    if bytes < LIMIT_MIN {
        return Err(format!("{text} is too small: an event log takes 4M at least"));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_read_as_people_write_them() {
        assert_eq!(parse_bytes("500M"), Ok(500 << 20));
        assert_eq!(parse_bytes("10GiB"), Ok(10 << 30));
        assert_eq!(parse_bytes("8388608"), Ok(8 << 20));
        for wrong in ["", "x", "-1", "1K", "99999999T", "G"] {
            assert!(parse_bytes(wrong).is_err(), "{wrong}");
        }
    }
}
