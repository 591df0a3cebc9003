//! What waits for the writer: how much that is, and what becomes of entries when it is too much.

use rain_protocol::log::LogEntry;
use rain_protocol::peer::Finished;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError, TryLockError};

/// An entry, and when it was made, seconds since 1970.
pub type Timed = (f64, LogEntry);

/// What may wait, weighed: a finished task counts one.
const WEIGHT_MAX: u64 = 1 << 20;
/// Past this nothing is admitted but what happens seldom.
const HARD_MAX: u64 = 4 * WEIGHT_MAX;
/// Of an entry that is none of finished tasks.
const ENTRY_WEIGHT: u64 = 8;

/// Finished tasks of a session: their numbers, in ranges, and how long they ran together, seconds.
#[derive(Debug, Default)]
struct Folded {
    ranges: Vec<(u32, u32)>,
    seconds: f64,
}

/// Counts what waits.
#[derive(Debug, Default)]
pub struct Queue {
    weight: AtomicU64,
    dropped_samples: AtomicU64,
    folded_tasks: AtomicU64,
    /// By session; held for moments only, by the server's thread and by the writer's.
    folded: Mutex<BTreeMap<u32, Folded>>,
}

impl Queue {
    pub fn dropped_samples(&self) -> u64 {
        self.dropped_samples.load(Ordering::Relaxed)
    }

    pub fn folded_tasks(&self) -> u64 {
        self.folded_tasks.load(Ordering::Relaxed)
    }

    /// Counts an entry in; `None` when there is no room for it: then it is left out, or kept as ranges of numbers.
    #[inline]
    pub fn admit(&self, entry: LogEntry) -> Option<LogEntry> {
        let weight = self.weight.load(Ordering::Relaxed);
        if weight < WEIGHT_MAX {
            self.weight.fetch_add(weight_of(&entry), Ordering::Relaxed);
            return Some(entry);
        }
        self.squeeze(weight, entry)
    }

    #[cold]
    fn squeeze(&self, weight: u64, entry: LogEntry) -> Option<LogEntry> {
        match &entry {
            LogEntry::Sampled { .. } => {
                self.dropped_samples.fetch_add(1, Ordering::Relaxed);
                None
            }
            LogEntry::Finished { finished, .. } if self.fold(finished) => None,
            LogEntry::Started { .. } | LogEntry::Assigned { .. } | LogEntry::Moved { .. } => None,
            LogEntry::Submitted { .. } if weight > HARD_MAX => None,
            _ => {
                self.weight.fetch_add(weight_of(&entry), Ordering::Relaxed);
                Some(entry)
            }
        }
    }

    /// Keeps the numbers of finished tasks, unless the writer is just about to take those: it is not waited for.
    fn fold(&self, finished: &Finished) -> bool {
        let mut all = match self.folded.try_lock() {
            Ok(all) => all,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return false,
        };
        let folded = all.entry(finished.session).or_default();
        for report in &finished.tasks {
            folded.seconds += f64::from(report.duration);
            match folded.ranges.last_mut() {
                Some((first, count)) if first.wrapping_add(*count) == report.task => *count += 1,
                _ => folded.ranges.push((report.task, 1)),
            }
        }
        self.folded_tasks.fetch_add(finished.tasks.len() as u64, Ordering::Relaxed);
        true
    }

    /// Entries of what was folded, once there is room for them.
    #[inline]
    pub fn take_folded(&self) -> Vec<LogEntry> {
        if self.weight.load(Ordering::Relaxed) > WEIGHT_MAX / 2 { Vec::new() } else { self.take_all_folded() }
    }

    /// The same, whether there is room or not.
    pub fn take_all_folded(&self) -> Vec<LogEntry> {
        if self.folded_tasks() == 0 {
            return Vec::new();
        }
        let all = std::mem::take(&mut *self.folded.lock().unwrap_or_else(PoisonError::into_inner));
        let entries: Vec<LogEntry> = all
            .into_iter()
            .map(|(session, Folded { ranges, seconds })| LogEntry::Folded {
                session: rain_model::id::SessionId(session),
                ranges,
                seconds,
            })
            .collect();
        entries.iter().for_each(|entry| _ = self.weight.fetch_add(weight_of(entry), Ordering::Relaxed));
        entries
    }

    /// Entries do not wait any more; what they weighed.
    pub fn done(&self, entries: &[Timed]) -> u64 {
        let weight = entries.iter().map(|(_, entry)| weight_of(entry)).sum();
        self.weight.fetch_sub(weight, Ordering::Relaxed);
        weight
    }
}

#[inline]
fn weight_of(entry: &LogEntry) -> u64 {
    match entry {
        LogEntry::Finished { finished, .. } => finished.tasks.len() as u64 + ENTRY_WEIGHT,
        LogEntry::Folded { ranges, .. } => ranges.len() as u64 + ENTRY_WEIGHT,
        LogEntry::Submitted { batch, .. } => u64::from(batch.count / 8) + ENTRY_WEIGHT,
        _ => ENTRY_WEIGHT,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rain_model::id::{GovernorId, SessionId};
    use rain_protocol::log::MachineSample;
    use rain_protocol::peer::TaskReport;

    fn finished(tasks: std::ops::Range<u32>) -> LogEntry {
        let tasks = tasks.map(|task| TaskReport { task, duration: 0.5, start: 1.0 }).collect();
        LogEntry::Finished { governor: GovernorId(0), finished: Finished { session: 1, tasks, ..Finished::default() } }
    }

    #[test]
    fn when_too_much_waits_samples_go_and_finished_tasks_become_ranges() {
        let queue = Queue::default();
        let mut waiting = Vec::new();
        while queue.weight.load(Ordering::Relaxed) < WEIGHT_MAX {
            waiting.push((0.0, queue.admit(finished(0..100_000)).expect("there is room")));
        }
        let sample = LogEntry::Sampled { governor: GovernorId(0), sample: MachineSample::default() };
        assert!(queue.admit(sample).is_none() && queue.admit(finished(5..8)).is_none());
        assert!(queue.admit(finished(8..10)).is_none() && queue.admit(finished(20..21)).is_none());
        assert_eq!((queue.dropped_samples(), queue.folded_tasks()), (1, 6));
        assert!(queue.admit(LogEntry::SessionClosed { session: SessionId(1) }).is_some());
        assert!(queue.take_folded().is_empty(), "there is no room yet");
        queue.done(&waiting);
        let folded = queue.take_folded();
        assert!(
            matches!(&folded[..], [LogEntry::Folded { ranges, seconds, .. }]
                if *ranges == [(5, 5), (20, 1)] && *seconds == 3.0),
            "{folded:?}"
        );
        assert!(queue.take_folded().is_empty());
    }
}
