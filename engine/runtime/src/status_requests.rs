//! Questions about the server's status from other threads of its process.

use rain_transport::Wake;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What is called with the status, JSON text.
pub type Answer = Box<dyn FnOnce(String) + Send>;

/// Asks a running server for its status, from any thread.
#[derive(Clone, Default)]
pub struct StatusRequests(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    waiting: Vec<Answer>,
    wake: Option<Wake>,
}

impl StatusRequests {
    /// Has `answer` called on the server's thread. It is dropped uncalled when the server ends.
    pub fn ask(&self, answer: Answer) {
        let wake = {
            let mut state = self.lock();
            state.waiting.push(answer);
            state.wake.clone()
        };
        if let Some(wake) = wake {
            wake();
        }
    }

    pub(crate) fn set_wake(&self, wake: Wake) {
        self.lock().wake = Some(wake);
    }

    pub(crate) fn take(&self) -> Vec<Answer> {
        std::mem::take(&mut self.lock().waiting)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
