//! Asking a server or a governor to stop.

use rain_transport::Wake;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Asks a running server to stop, from any thread.
#[derive(Clone, Default)]
pub struct Stop(Arc<StopState>);

#[derive(Default)]
struct StopState {
    requested: AtomicBool,
    wake: Mutex<Option<Wake>>,
}

impl Stop {
    /// A stop that nobody has requested yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks the server to stop.
    pub fn request(&self) {
        self.0.requested.store(true, Ordering::SeqCst);
        if let Some(wake) = &*self.0.wake.lock().unwrap_or_else(PoisonError::into_inner) {
            wake();
        }
    }

    /// Whether the server was asked to stop.
    pub fn is_requested(&self) -> bool {
        self.0.requested.load(Ordering::SeqCst)
    }

    pub(crate) fn set_wake(&self, wake: Wake) {
        *self.0.wake.lock().unwrap_or_else(PoisonError::into_inner) = Some(wake);
    }
}
