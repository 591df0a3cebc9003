//! How long a worker waits for others before a task of several cpus, while there is other work.
//!
//! It waits for as long as it may, then does other work for as long as it has waited, and may wait for twice as long the next time. So it is
//! idle for half of the time at most, and however long the tasks of the others take, at some time it waits long enough.

use std::time::{Duration, Instant};

/// How long it waits the first time.
const PATIENCE_MIN: Duration = Duration::from_millis(500);
/// How often this is doubled.
const DOUBLED_MAX: u32 = 16;

/// The leave of one worker.
#[derive(Default)]
pub(super) struct GangLeave {
    /// The group that it has left, and how often.
    left: (u64, u32),
    until: Option<Instant>,
}

impl GangLeave {
    /// How long it waits in this group.
    pub(super) fn patience(&self, group: u64) -> Duration {
        let times = if self.left.0 == group { self.left.1 } else { 0 };
        PATIENCE_MIN * (1 << times.min(DOUBLED_MAX))
    }

    /// It leaves this group after having waited for as long as it may.
    pub(super) fn begin(&mut self, group: u64) {
        self.until = Instant::now().checked_add(self.patience(group));
        let times = if self.left.0 == group { self.left.1 } else { 0 };
        self.left = (group, times.saturating_add(1));
    }

    /// Whether it does other work.
    pub(super) fn lasts(&mut self) -> bool {
        if self.until.is_some_and(|until| until <= Instant::now()) {
            self.until = None;
        }
        self.until.is_some()
    }

    /// There is no other work: it ends; false if there was none.
    pub(super) fn give_up(&mut self) -> bool {
        self.until.take().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_waits_twice_as_long_each_time_until_another_group_gathers() {
        let mut leave = GangLeave::default();
        assert!(!leave.lasts() && !leave.give_up());
        let mut waited = Vec::new();
        for _ in 0..3 {
            waited.push(leave.patience(7).as_millis());
            leave.begin(7);
            assert!(leave.lasts());
        }
        assert_eq!(waited, [500, 1000, 2000]);
        assert_eq!(leave.patience(8).as_millis(), 500);
        assert!(leave.give_up() && !leave.lasts() && !leave.give_up());
        (0..100).for_each(|_| leave.begin(7));
        assert_eq!(leave.patience(7), PATIENCE_MIN * 65536);
    }
}
