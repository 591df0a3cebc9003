//! Turns: while one source of events has much to say, the others are listened to all the same.

use std::time::{Duration, Instant};

/// How long one source of events is listened to at a time.
const TURN_TIME_MAX: Duration = Duration::from_millis(2);

/// The time in which one source of events is listened to.
#[derive(Default)]
pub(super) struct Turn {
    began: Option<Instant>,
}

impl Turn {
    /// The time, if one more event may be taken now.
    pub(super) fn next_moment(&mut self) -> Option<Instant> {
        let now = Instant::now();
        (now.saturating_duration_since(*self.began.get_or_insert(now)) < TURN_TIME_MAX).then_some(now)
    }
}
