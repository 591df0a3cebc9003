//! What a server alone, and a governor of a server elsewhere, were asked for.

use super::access::{AccessFiles, Pair};
pub use crate::role::Role;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// A server alone.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ServerRole {
    pub access_files: AccessFiles,
    pub ready_file: Option<PathBuf>,
    /// Large content from governors, and between them, goes without TLS.
    pub data_plain: bool,
    /// How long a governor may be unreachable before it is lost, if that was said.
    pub governor_timeout: Option<Duration>,
}

/// A governor.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct GovernorRole {
    /// Where the server listens: one of these.
    pub server: Vec<SocketAddr>,
    pub authority: String,
    pub credentials: Pair,
    pub cpus: CpuCount,
    pub ready_file: Option<PathBuf>,
    /// How long to wait for a server that is not there yet.
    pub wait: Duration,
}

/// How many cpus a governor has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum CpuCount {
    /// All but so many.
    AllBut(usize),
    Exactly(usize),
}

/// More cpus than this in one machine are a slip of the pen.
const CPUS_MAX: usize = 4096;

impl CpuCount {
    /// Reads N, -N or `detect`.
    pub fn parse(text: &str) -> Option<Self> {
        if text == "detect" {
            return Some(CpuCount::AllBut(0));
        }
        let number: i64 = text.parse().ok()?;
        let size = usize::try_from(number.unsigned_abs()).ok().filter(|size| (1..=CPUS_MAX).contains(size))?;
        Some(if number > 0 { CpuCount::Exactly(size) } else { CpuCount::AllBut(size) })
    }

    /// The number, where `there` are there; at least one.
    pub fn of(self, there: usize) -> usize {
        match self {
            CpuCount::AllBut(size) => there.saturating_sub(size).max(1),
            CpuCount::Exactly(size) => size,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guides_forms_are_read() {
        assert_eq!(CpuCount::parse("detect").map(|count| count.of(8)), Some(8));
        assert_eq!(CpuCount::parse("3").map(|count| count.of(8)), Some(3));
        assert_eq!(CpuCount::parse("-1").map(|count| count.of(8)), Some(7));
        assert_eq!(CpuCount::parse("-9").map(|count| count.of(8)), Some(1));
        for text in ["", "0", "-0", "x", "1.5", "99999"] {
            assert_eq!(CpuCount::parse(text), None, "{text}");
        }
    }
}
