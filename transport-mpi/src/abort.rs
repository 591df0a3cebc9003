//! Ending all ranks at once.

use crate::calls::abort_all;
use crate::signal::{Signal, end_process};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// How long the thread for MPI may take to come to `MPI_Abort`; it may be in a call that does not return.
const ABORT_TIME_MAX: Duration = Duration::from_secs(2);

/// Ends all ranks of the job, from any thread.
#[derive(Clone)]
pub struct Abort(pub(crate) Arc<Signal>);

impl Abort {
    /// Ends all ranks at once (`MPI_Abort`) with this exit code; nothing is flushed or removed. Where MPI does not react,
    /// only this process ends, which the launcher notices.
    pub fn abort(&self, code: i32) -> ! {
        if self.0.ask_to_abort(code) {
            abort_all(code);
        }
        thread::sleep(ABORT_TIME_MAX);
        end_process(code)
    }
}
