//! Ending all ranks at once, and waking the thread for MPI.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{self, Thread};
use std::time::Duration;

/// How long the thread for MPI may take to come to `MPI_Abort`; it may be in a call that does not return.
const ABORT_TIME_MAX: Duration = Duration::from_secs(2);
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

    /// The code with which all ranks shall end, if somebody asked for it.
    pub(crate) fn abort_asked(&self) -> Option<i32> {
        let asked = self.abort.load(Ordering::Acquire);
        (asked != NOT_ASKED).then_some(asked as i32)
    }
}

/// Ends all ranks of the job, from any thread.
#[derive(Clone)]
pub struct Abort(pub(crate) Arc<Signal>);

impl Abort {
    /// Ends all ranks at once (`MPI_Abort`) with this exit code; nothing is flushed or removed. Where MPI does not react,
    /// only this process ends, which the launcher notices.
    pub fn abort(&self, code: i32) -> ! {
        self.0.abort.store(i64::from(code), Ordering::Release);
        self.0.wake();
        if self.0.thread.get().is_some_and(|thread| thread.id() == thread::current().id()) {
            crate::calls::abort_all(code);
        }
        thread::sleep(ABORT_TIME_MAX);
        end_process(code)
    }
}

/// Ends this process without anything that could hang.
pub(crate) fn end_process(code: i32) -> ! {
    // SAFETY: `_exit` takes any code and does not return; it runs nothing of this process any more.
    unsafe { libc::_exit(code) }
}
