//! How an executor is started.

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

/// A command that starts an executor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecutorSpec {
    /// The part of its task types before the slash.
    pub name: String,
    /// Program and arguments; a program without `/` is looked for in `PATH`.
    pub command: Vec<OsString>,
    /// Added to this process's environment.
    pub env: Vec<(OsString, OsString)>,
    /// How long it may take until it registers.
    pub start_timeout: Duration,
    /// How many processes a governor starts before they are needed.
    pub warm: usize,
}

/// The executor for Python tasks, run by `interpreter`.
pub fn python_spec(interpreter: &Path) -> ExecutorSpec {
    ExecutorSpec {
        name: "py".into(),
        command: vec![interpreter.into(), "-m".into(), "rain.executor".into()],
        env: Vec::new(),
        // A busy machine with cold disks may take long to import; what never starts mostly exits at once.
        start_timeout: Duration::from_secs(60),
        warm: 0,
    }
}
