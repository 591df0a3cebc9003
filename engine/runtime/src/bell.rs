//! Waking a thread that has nothing to do.

use rain_transport::Wake;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// A flag that a thread sleeps on; ringing an unheard bell again costs no system call.
#[derive(Clone, Default)]
pub(crate) struct Bell(Arc<Inner>);

#[derive(Default)]
struct Inner {
    rung: AtomicBool,
    asleep: Mutex<()>,
    changed: Condvar,
}

impl Bell {
    /// What rings it, for a transport.
    pub(crate) fn wake(&self) -> Wake {
        let bell = self.clone();
        Arc::new(move || bell.ring())
    }

    /// Wakes the sleeper, or keeps it from falling asleep.
    pub(crate) fn ring(&self) {
        if !self.0.rung.swap(true, Ordering::SeqCst) {
            // The lock orders this with a sleeper between its check and its wait.
            drop(self.0.asleep.lock().unwrap_or_else(PoisonError::into_inner));
            self.0.changed.notify_one();
        }
    }

    /// Sleeps until the bell is rung or `limit` is over, or returns at once if it was rung since the last time.
    pub(crate) fn wait(&self, limit: Option<Duration>) {
        if self.0.rung.swap(false, Ordering::SeqCst) {
            return;
        }
        let asleep = self.0.asleep.lock().unwrap_or_else(PoisonError::into_inner);
        let is_unheard = |_: &mut ()| !self.0.rung.swap(false, Ordering::SeqCst);
        match limit {
            None => drop(self.0.changed.wait_while(asleep, is_unheard).unwrap_or_else(PoisonError::into_inner)),
            Some(limit) => {
                let waited = self.0.changed.wait_timeout_while(asleep, limit, is_unheard);
                drop(waited.unwrap_or_else(PoisonError::into_inner));
            }
        }
    }
}
