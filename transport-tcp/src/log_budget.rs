//! Keeps strangers from filling the log.

use std::time::{Duration, Instant};

const LINES_PER_WINDOW_MAX: u32 = 50;
const WINDOW: Duration = Duration::from_secs(10);

/// Lets so many lines through in a while, and says how many were left out when it lets lines through again.
#[derive(Default)]
pub(crate) struct LogBudget {
    window_start: Option<Instant>,
    used: u32,
}

impl LogBudget {
    /// Whether a line may be written now.
    pub(crate) fn allows(&mut self, now: Instant) -> bool {
        if self.window_start.is_none_or(|start| now.saturating_duration_since(start) >= WINDOW) {
            if let Some(left_out) = self.used.checked_sub(LINES_PER_WINDOW_MAX + 1) {
                tracing::warn!("{} more lines about refused connections were left out", left_out + 1);
            }
            self.window_start = Some(now);
            self.used = 0;
        }
        self.used = self.used.saturating_add(1);
        self.used <= LINES_PER_WINDOW_MAX
    }
}
