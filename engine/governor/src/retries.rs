//! Tasks that have failed and are run again after a pause, which is longer each time.

use rain_model::id::TaskIndex;
use rain_pool::ReadyTask;
use std::collections::BTreeMap;
use std::time::Duration;

/// How much longer each pause is than the one before it, and how long the first one is. So a few attempts follow each other at once,
/// a hundred take a second, and what never works costs next to nothing in the end.
const PAUSE_STEP: Duration = Duration::from_micros(250);
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// How long a task rests that has failed so many times.
fn pause_after(failed: u32) -> Duration {
    PAUSE_STEP.saturating_mul(failed).min(PAUSE_MAX)
}

/// Tasks that rest. Times are since some beginning that does not matter.
#[derive(Debug, Default)]
pub(crate) struct Retries {
    /// By when they are to be queued, and in which order they came.
    resting: BTreeMap<(Duration, u64), ReadyTask>,
    arrivals: u64,
}

impl Retries {
    /// A task that has failed `failed` times now is to be queued again later.
    pub(crate) fn add(&mut self, now: Duration, session: u32, task: TaskIndex, failed: u32) {
        self.arrivals += 1;
        self.resting.insert((now + pause_after(failed), self.arrivals), ReadyTask::new(session, task));
    }

    /// When the next task is due.
    pub(crate) fn next_due(&self) -> Option<Duration> {
        self.resting.keys().next().map(|(at, _)| *at)
    }

    /// Takes out a task that has rested long enough.
    pub(crate) fn take_due(&mut self, now: Duration) -> Option<ReadyTask> {
        let first = self.resting.first_entry().filter(|entry| entry.key().0 <= now)?;
        Some(first.remove())
    }

    /// Takes out all tasks that `is_over` says yes of.
    pub(crate) fn withdraw(&mut self, mut is_over: impl FnMut(ReadyTask) -> bool) -> Vec<ReadyTask> {
        let mut withdrawn = Vec::new();
        self.resting.retain(|_, task| {
            let over = is_over(*task);
            if over {
                withdrawn.push(*task);
            }
            !over
        });
        withdrawn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_pause_is_longer_up_to_a_second() {
        let micros = [1, 2, 3, 4, 1000, 4000, 4001, u32::MAX].map(|failed| pause_after(failed).as_micros());
        assert_eq!(micros, [250, 500, 750, 1000, 250_000, 1_000_000, 1_000_000, 1_000_000]);
    }

    #[test]
    fn tasks_come_back_in_the_order_in_which_they_are_due() {
        let mut retries = Retries::default();
        let at = Duration::from_micros;
        retries.add(at(0), 1, 10, 4);
        retries.add(at(0), 1, 11, 1);
        retries.add(at(0), 2, 12, 1);
        retries.add(at(0), 2, 13, 2);
        assert_eq!(retries.next_due(), Some(at(250)));
        assert_eq!(retries.take_due(at(249)), None);
        let mut due = || retries.take_due(at(1000)).map(|task| task.task());
        assert_eq!([due(), due()], [Some(11), Some(12)]);
        assert_eq!(retries.withdraw(|task| task.session() == 2), [ReadyTask::new(2, 13)]);
        assert_eq!([retries.take_due(at(1000)), retries.take_due(at(9000))], [Some(ReadyTask::new(1, 10)), None]);
        assert_eq!(retries.next_due(), None);
    }
}
