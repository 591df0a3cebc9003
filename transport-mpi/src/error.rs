//! What can go wrong with MPI.

use std::io;
use std::time::Duration;

/// Why MPI does not do what it should.
#[derive(Debug, thiserror::Error)]
pub enum MpiError {
    #[error("cannot start the thread for MPI: {0}")]
    Thread(#[from] io::Error),
    #[error("MPI was initialised before in this process")]
    Initialised,
    #[error("this MPI library ({library}) gives no thread support; Rain needs MPI_THREAD_FUNNELED")]
    Threads { library: String },
    #[error("{call}: {why}")]
    Call { call: &'static str, why: String },
    #[error("{0} bytes are more than MPI takes at once")]
    TooLong(usize),
    #[error("other ranks did not end within {} s", .0.as_secs())]
    Late(Duration),
    #[error("the thread for MPI has ended")]
    Ended,
}
