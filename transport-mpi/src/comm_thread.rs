//! The thread that makes all calls to MPI, as others see it.

use crate::calls::Comm;
use crate::error::MpiError;
use crate::signal::{Signal, end_process};
use crossbeam_channel::{Receiver, Sender};
use std::sync::Arc;
use std::time::Duration;

/// Being an endpoint until the end; an error means that all ranks are to end.
pub(crate) type Lifetime = Box<dyn FnOnce(&Comm) -> Result<(), MpiError> + Send>;

/// What the thread is asked to do before it has become an endpoint.
pub(crate) enum Command {
    Gather(Vec<u8>, Sender<Result<Vec<Vec<u8>>, MpiError>>),
    /// Be an endpoint, then finalize.
    Become(Lifetime),
    Finish,
}

/// The thread, as its owner sees it.
pub(crate) struct CommThread {
    pub(crate) commands: Sender<Command>,
    pub(crate) signal: Arc<Signal>,
    /// Nothing is ever sent; it closes when the thread has ended.
    pub(crate) ended: Receiver<()>,
}

impl CommThread {
    pub(crate) fn command(&self, command: Command) {
        // An error means that the thread has ended.
        let _ = self.commands.send(command);
        self.signal.wake();
    }

    /// Waits until the thread has finalized MPI. If that takes longer than `time_max`, this process ends, as all ranks do
    /// when one of them is missing at the end.
    pub(crate) fn wait_for_end(&self, time_max: Duration) {
        if self.ended.recv_timeout(time_max) == Err(crossbeam_channel::RecvTimeoutError::Timeout) {
            tracing::error!("MPI does not end: other ranks are gone or do not answer; ending this process");
            end_process(1);
        }
    }
}

/// How long `MPI_Finalize` may take once all ranks are there.
pub(crate) const FINALIZE_TIME_MAX: Duration = Duration::from_secs(20);
