//! Time limits of tasks: one thread a governor, started when the first limit is set.

use rain_exec::Interrupt;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A limit that a running task has.
pub(crate) struct Deadline {
    passed: Arc<AtomicBool>,
}

impl Deadline {
    /// Whether the time is over.
    pub(crate) fn has_passed(&self) -> bool {
        self.passed.load(Ordering::Acquire)
    }
}

impl Drop for Deadline {
    /// The task is over: nobody is to be interrupted for it.
    fn drop(&mut self) {
        self.passed.store(true, Ordering::Release);
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
    pending: BinaryHeap<Reverse<Entry>>,
    running: bool,
    shut_down: bool,
}

struct Entry {
    at: Instant,
    passed: Arc<AtomicBool>,
    interrupt: Arc<Interrupt>,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.at.cmp(&other.at)
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn watch(&self) {
        let mut state = self.lock();
        while !state.shut_down {
            let now = Instant::now();
            match state.pending.peek() {
                None => state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(Reverse(entry)) if entry.at > now => {
                    let left = entry.at - now;
                    state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
                }
                Some(_) => {
                    if let Some(Reverse(entry)) = state.pending.pop()
                        && !entry.passed.swap(true, Ordering::AcqRel)
                    {
                        entry.interrupt.raise();
                    }
                }
            }
        }
    }
}

impl Deadlines {
    /// Raises `interrupt` after `limit`, unless the returned value has been dropped by then.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(crate) fn set(&self, limit: Duration, interrupt: &Arc<Interrupt>) -> std::io::Result<Deadline> {
        let passed = Arc::new(AtomicBool::new(false));
        let Some(at) = Instant::now().checked_add(limit) else { return Ok(Deadline { passed }) };
        let mut state = self.0.lock();
        if !state.running {
            let shared = self.0.clone();
            std::thread::Builder::new().name("deadlines".to_owned()).spawn(move || shared.watch())?;
            state.running = true;
        }
        state.pending.push(Reverse(Entry { at, passed: passed.clone(), interrupt: interrupt.clone() }));
        self.0.changed.notify_one();
        Ok(Deadline { passed })
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
        drop(deadlines.set(Duration::ZERO, &interrupts[0]).unwrap());
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
}
