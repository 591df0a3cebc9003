//! How long a peer may be unreachable before it is lost.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Pings are never rarer than this.
const PING_AFTER_MAX: Duration = Duration::from_secs(1);
/// A limit below this would take every pause of a machine for a loss.
const LOST_AFTER_MIN: Duration = Duration::from_secs(1);

/// How long a peer may be unreachable before it is lost, and what follows from that. The server decides it and tells governors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Patience {
    lost_after: Duration,
}

impl Default for Patience {
    /// A minute: a machine that swaps or a file system that does not answer for half a minute is not lost.
    fn default() -> Self {
        Self::new(Duration::from_secs(60))
    }
}

impl Patience {
    /// A peer is lost when nothing was heard from it for `lost_after`, at least a second.
    pub fn new(lost_after: Duration) -> Self {
        Self { lost_after: lost_after.max(LOST_AFTER_MIN) }
    }

    /// A connection on which nothing was written for so long carries a ping.
    pub(crate) fn ping(self) -> Duration {
        PING_AFTER_MAX.min(self.silence() / 6)
    }

    /// A connection on which nothing comes for so long is given up.
    pub(crate) fn silence(self) -> Duration {
        self.lost_after / 4
    }

    /// A peer whose connection was given up after silence has so long to come back.
    pub(crate) fn return_after_silence(self) -> Duration {
        self.lost_after - self.silence()
    }

    /// A peer that has closed its connection itself has so long to come back: its machine is alive, so that it comes at once or never.
    pub(crate) fn return_after_closing(self) -> Duration {
        self.lost_after / 6
    }

    /// A peer that takes none of what waits for it for so long is given up.
    pub(crate) fn stuck(self) -> Duration {
        self.lost_after
    }

    /// A connection that was begun has so long to be greeted.
    pub(crate) fn greeting(self) -> Duration {
        self.lost_after / 12
    }
}
