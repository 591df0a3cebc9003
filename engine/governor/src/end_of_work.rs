//! When work on a governor has to be over, and which tasks can still be finished by then.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Tasks that are shorter are not worth remembering, seconds.
const SHORT: f64 = 1e-3;

/// The end of work of a governor. A task is expected to take as long as the longest of its kind has taken here; one of a
/// kind that nothing is known about may begin as long as there is any time.
pub struct EndOfWork {
    /// When the times of the governor's machine begin, seconds since 1970 as the clock of its workers has it.
    begin: f64,
    /// Seconds since 1970, bits of an `f64`; infinite when there is no end.
    at: AtomicU64,
    /// The longest of all tasks, seconds, bits of an `f64`: most tasks need not be looked up.
    longest: AtomicU64,
    /// Seconds by kind; the session is in the upper half of a kind's number.
    by_kind: Mutex<BTreeMap<u64, f64>>,
}

impl Default for EndOfWork {
    fn default() -> Self {
        Self::new(0.0)
    }
}

impl EndOfWork {
    /// No end so far, of a governor whose machine's times begin then, seconds since 1970.
    pub fn new(begin: f64) -> Self {
        let at = AtomicU64::new(f64::INFINITY.to_bits());
        Self { begin, at, longest: AtomicU64::new(0), by_kind: Mutex::default() }
    }

    /// Work has to be over at this time of the machine.
    pub fn set(&self, at: Duration) {
        let at = self.begin + at.as_secs_f64();
        self.at.store(at.to_bits(), Ordering::Relaxed);
    }

    fn at(&self) -> f64 {
        f64::from_bits(self.at.load(Ordering::Relaxed))
    }

    #[inline]
    pub fn is_known(&self) -> bool {
        self.at() < f64::INFINITY
    }

    /// Whether any task that begins now, seconds since 1970, will be finished in time.
    #[inline]
    pub fn is_far(&self, now: f64) -> bool {
        now + f64::from_bits(self.longest.load(Ordering::Relaxed)) < self.at()
    }

    /// Whether a task of this kind that begins now will be.
    pub fn leaves_time(&self, now: f64, kind: u64) -> bool {
        now + self.lock().get(&kind).copied().unwrap_or_default() < self.at()
    }

    /// A task of this kind has taken so many seconds.
    pub fn learn(&self, kind: u64, seconds: f64) {
        if seconds >= SHORT {
            let mut by_kind = self.lock();
            let longest = by_kind.entry(kind).or_default();
            *longest = longest.max(seconds);
            // Bits of positive numbers have the order of the numbers.
            self.longest.fetch_max(seconds.to_bits(), Ordering::Relaxed);
        }
    }

    /// Forgets what is known of kinds of a session.
    pub fn forget_kinds(&self, session: u32, kinds: &[u32]) {
        let mut by_kind = self.lock();
        for kind in kinds {
            by_kind.remove(&(u64::from(session) << 32 | u64::from(*kind)));
        }
    }

    /// Forgets what is known of a session.
    pub fn forget(&self, session: u32) {
        let mut by_kind = self.lock();
        by_kind.retain(|kind, _| (kind >> 32) as u32 != session);
        let longest = by_kind.values().copied().fold(0.0, f64::max);
        self.longest.store(longest.to_bits(), Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, f64>> {
        self.by_kind.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_begins_when_the_longest_of_its_kind_would_be_finished() {
        let (slow, quick, unknown) = (1 << 32, 1 << 32 | 1, 2 << 32);
        let end = EndOfWork::new(50.0);
        assert!(!end.is_known() && end.is_far(1e12));
        end.set(Duration::from_secs(50));
        end.learn(slow, 30.0);
        end.learn(slow, 20.0);
        end.learn(quick, 1e-4);
        assert!(end.is_known() && end.is_far(69.0) && !end.is_far(71.0));
        assert_eq!([slow, quick, unknown].map(|kind| end.leaves_time(69.0, kind)), [true, true, true]);
        assert_eq!([slow, quick, unknown].map(|kind| end.leaves_time(71.0, kind)), [false, true, true]);
        assert_eq!([slow, quick, unknown].map(|kind| end.leaves_time(101.0, kind)), [false, false, false]);
        end.forget(1);
        assert!(end.leaves_time(71.0, slow));
    }
}
