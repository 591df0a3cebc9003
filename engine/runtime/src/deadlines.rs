//! Time limits of tasks: one thread a governor, started when the first limit is set.

use rain_exec::Interrupt;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A limit that a running task has. It is given up when this is dropped.
pub(crate) struct Deadline {
    passed: Arc<AtomicBool>,
    shared: Arc<Shared>,
    /// Its place among the pending ones; `None` for a time that never comes.
    place: Option<(Instant, u64)>,
}

impl Deadline {
    /// Whether the time is over.
    pub(crate) fn has_passed(&self) -> bool {
        self.passed.load(Ordering::Acquire)
    }
}

impl Drop for Deadline {
    /// The task is over: nobody is to be interrupted for it, and nothing is kept of it.
    fn drop(&mut self) {
        if let Some(place) = &self.place {
            self.shared.lock().pending.remove(place);
        }
    }
}

/// Interrupts workers whose tasks take too long.
#[derive(Default)]
pub(crate) struct Deadlines(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Limits of tasks that run, by time and number.
    pending: BTreeMap<(Instant, u64), (Arc<AtomicBool>, Arc<Interrupt>)>,
    next: u64,
    /// When the thread looks at the limits next, if that is decided.
    looks_at: Option<Instant>,
    running: bool,
    shut_down: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn watch(&self) {
        let mut state = self.lock();
        while !state.shut_down {
            let now = Instant::now();
            while let Some(entry) = state.pending.first_entry().filter(|entry| entry.key().0 <= now) {
                let (passed, interrupt) = entry.remove();
                passed.store(true, Ordering::Release);
                interrupt.raise();
            }
            state.looks_at = state.pending.keys().next().map(|(at, _)| *at);
            state = match state.looks_at {
                None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(at) => self.changed.wait_timeout(state, at - now).unwrap_or_else(PoisonError::into_inner).0,
            };
        }
    }
}

impl Deadlines {
    /// Raises `interrupt` after `limit`, unless the returned value has been dropped by then.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(crate) fn set(&self, limit: Duration, interrupt: &Arc<Interrupt>) -> std::io::Result<Deadline> {
        let mut deadline = Deadline { passed: Arc::default(), shared: self.0.clone(), place: None };
        let Some(at) = Instant::now().checked_add(limit) else { return Ok(deadline) };
        let mut state = self.0.lock();
        if !state.running {
            let shared = self.0.clone();
            std::thread::Builder::new().name("deadlines".to_owned()).spawn(move || shared.watch())?;
            state.running = true;
        }
        let place = (at, state.next);
        state.next += 1;
        state.pending.insert(place, (deadline.passed.clone(), interrupt.clone()));
        deadline.place = Some(place);
        // A thread that looks sooner anyway need not be woken.
        if state.looks_at.is_none_or(|looks_at| at < looks_at) {
            state.looks_at = Some(at);
            self.0.changed.notify_one();
        }
        Ok(deadline)
    }

    /// Ends the thread.
    pub(crate) fn shut_down(&self) {
        self.0.lock().shut_down = true;
        self.0.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_earlier_of_two_limits_interrupts_first_and_a_dropped_one_never() {
        let deadlines = Deadlines::default();
        let interrupts: Vec<Arc<Interrupt>> = (0..2).map(|_| Arc::new(Interrupt::new().unwrap())).collect();
        let late = deadlines.set(Duration::from_secs(3600), &interrupts[0]).unwrap();
        drop(deadlines.set(Duration::from_secs(1800), &interrupts[0]).unwrap());
        let early = deadlines.set(Duration::from_millis(1), &interrupts[1]).unwrap();
        let patience = Instant::now() + Duration::from_secs(60);
        while !interrupts[1].clear() {
            assert!(Instant::now() < patience);
            std::thread::yield_now();
        }
        assert!(early.has_passed());
        assert!(!late.has_passed());
        deadlines.shut_down();
    }

    #[test]
    fn limits_that_are_not_reached_are_not_kept() {
        let deadlines = Deadlines::default();
        let interrupt = Arc::new(Interrupt::new().unwrap());
        let never = deadlines.set(Duration::MAX, &interrupt).unwrap();
        for _ in 0..10_000 {
            drop(deadlines.set(Duration::from_secs(86_400), &interrupt).unwrap());
        }
        assert_eq!(deadlines.0.lock().pending.len(), 0);
        assert_eq!(Arc::strong_count(&interrupt), 1);
        assert!(!never.has_passed() && !interrupt.clear());
        deadlines.shut_down();
    }
}
