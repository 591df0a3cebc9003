//! How an executor is started.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
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

/// The executor for Python tasks. The first line of `python` is the path of the interpreter; the other ones are directories
/// that it has to be told of, to find the package and what that needs.
pub fn python_spec(python: &Path) -> ExecutorSpec {
    let mut lines = python.as_os_str().as_bytes().split(|byte| *byte == b'\n');
    let interpreter = OsStr::from_bytes(lines.next().unwrap_or_default());
    let told: Vec<&[u8]> = lines.collect();
    let mut env = Vec::new();
    if !told.is_empty() {
        let own = std::env::var_os("PYTHONPATH").unwrap_or_default();
        let all: Vec<&[u8]> = told.into_iter().chain((!own.is_empty()).then_some(own.as_bytes())).collect();
        env.push(("PYTHONPATH".into(), OsString::from_vec(all.join(&b':'))));
    }
    ExecutorSpec {
        name: "py".into(),
        command: vec![interpreter.into(), "-m".into(), "rain.executor".into()],
        env,
        // A busy machine with cold disks may take long to import; what never starts mostly exits at once.
        start_timeout: Duration::from_secs(60),
        warm: 0,
    }
}
