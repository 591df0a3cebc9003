//! Waiting without burning a core: MPI has no descriptor to sleep on, so its thread has to look.

use std::thread;
use std::time::{Duration, Instant};

/// For so long after something has happened the thread looks again and again, giving way to other threads.
const LOOK_TIME: Duration = Duration::from_micros(60);
/// A pause is never longer than this; a thread that looks so rarely costs well below a hundredth of a core.
const PAUSE_MAX: Duration = Duration::from_millis(4);
const PAUSE_MIN: Duration = Duration::from_micros(10);
/// A pause is at most this part of the time that nothing has happened, so that it adds little to what was waited anyway.
const PAUSE_PART: u32 = 8;

/// How long nothing has happened.
pub(crate) struct Idle {
    since: Instant,
}

impl Idle {
    pub(crate) fn new() -> Self {
        Self { since: Instant::now() }
    }

    /// Something has happened.
    pub(crate) fn end(&mut self) {
        self.since = Instant::now();
    }

    /// Waits a moment, or until the thread is unparked.
    pub(crate) fn wait(&self) {
        let time = self.since.elapsed();
        if time < LOOK_TIME {
            thread::yield_now();
        } else {
            thread::park_timeout((time / PAUSE_PART).clamp(PAUSE_MIN, PAUSE_MAX));
        }
    }
}
