//! What it means for peers that this process did not run for a while: batch systems suspend jobs, and laptops sleep.

use super::endpoint::Endpoint;
use rain_wire::payload::Payload;
use std::time::{Duration, Instant};

/// Who runs again so much later than it had asked for was suspended.
const PAUSE_MIN: Duration = Duration::from_secs(1);

impl<D: Payload> Endpoint<D> {
    /// Looks whether this thread runs again much later than `expected`. Then no peer could be heard meanwhile, and all are given as long as
    /// if they had just been. The time now.
    pub(super) fn look_for_pause(&mut self, expected: Instant) -> Instant {
        let now = Instant::now();
        let pause = now.saturating_duration_since(expected);
        if pause >= PAUSE_MIN {
            tracing::info!("this process did not run for {:.1} s", pause.as_secs_f32());
            for (key, link) in &mut self.links {
                link.slept(now, pause);
                self.active.insert(*key);
            }
        }
        now
    }
}
