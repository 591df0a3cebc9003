//! How long calls of a kind take, and how many of them an executor is given ahead.

use crate::session::SessionTable;
use std::collections::HashMap;

/// Work that may be sent ahead to an executor: it cannot be stolen back, so it is little.
const AHEAD_SECONDS: f64 = 200e-6;
const AHEAD_MAX: f64 = 16.0;
/// Kinds whose durations are known before forgotten ones and those of closed sessions go.
const KINDS_BEFORE_CLEANING: usize = 64;

/// Mean durations of calls by kind, seconds.
#[derive(Default)]
pub(super) struct Durations {
    means: HashMap<u64, f64>,
    clean_at: usize,
}

impl Durations {
    /// How many calls of this kind may be with an executor at once.
    pub(super) fn depth(&self, kind: u64) -> usize {
        match self.means.get(&kind) {
            None => 1,
            Some(mean) => (AHEAD_SECONDS / mean.max(1e-9)).clamp(1.0, AHEAD_MAX) as usize,
        }
    }

    /// A call of this kind has taken so many seconds.
    pub(super) fn learn(&mut self, kind: u64, seconds: f64, sessions: &SessionTable) {
        let mean = self.means.entry(kind).or_insert(seconds);
        *mean += (seconds - *mean) / 8.0;
        if self.means.len() > self.clean_at.max(KINDS_BEFORE_CLEANING) {
            self.means.retain(|kind, _| sessions.get((kind >> 32) as u32).is_some_and(|s| s.has_kind(*kind as u32)));
            self.clean_at = 2 * self.means.len();
        }
    }
}
