//! How other threads reach the one that makes the calls to MPI.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, Ordering};
use std::thread::{self, Thread};

/// By how much a pause may be too long, in nanoseconds.
const TIMER_SLACK: libc::c_ulong = 2_000;
const NOT_ASKED: i64 = i64::MAX;

/// How other threads reach the one that makes the calls.
pub(crate) struct Signal {
    thread: OnceLock<Thread>,
    abort: AtomicI64,
}

impl Signal {
    pub(crate) fn new() -> Self {
        Self { thread: OnceLock::new(), abort: AtomicI64::new(NOT_ASKED) }
    }

    /// Says that the calling thread makes the calls.
    pub(crate) fn settle(&self) {
        self.thread.get_or_init(thread::current);
        // Pauses are short; by default the system may add 50 µs to each.
        // SAFETY: takes a number of nanoseconds, and concerns this thread alone.
        unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, TIMER_SLACK) };
    }

    /// Ends a pause of the thread that makes the calls.
    pub(crate) fn wake(&self) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }

    /// Asks the thread to end all ranks with this code; whether it is the calling one.
    pub(crate) fn ask_to_abort(&self, code: i32) -> bool {
        self.abort.store(i64::from(code), Ordering::Release);
        self.wake();
        self.thread.get().is_some_and(|thread| thread.id() == thread::current().id())
    }

    /// The code with which all ranks shall end, if somebody asked for it.
    pub(crate) fn abort_asked(&self) -> Option<i32> {
        let asked = self.abort.load(Ordering::Acquire);
        (asked != NOT_ASKED).then_some(asked as i32)
    }
}

/// Ends this process without anything that could hang.
pub(crate) fn end_process(code: i32) -> ! {
    // SAFETY: `_exit` takes any code and does not return; it runs nothing of this process any more.
    unsafe { libc::_exit(code) }
}
