//! Words for the user.

use std::fmt::Display;
use std::io::{self, Write};
use std::sync::OnceLock;

static PROGRAM: OnceLock<&str> = OnceLock::new();

/// Who complains: `rain`, unless something else is said here.
#[cfg(feature = "mpi")]
pub fn set_program(name: &'static str) {
    let _ = PROGRAM.set(name);
}

/// Prints to standard output; a reader that has gone away is not our problem.
///
/// # Errors
/// When it cannot be written for another reason.
pub fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// The same of what need not be read.
pub fn say(text: &str) {
    let _ = print(text);
}

/// Prints an error to standard error, at once as a whole: several processes may share it.
pub fn complain(error: &dyn Display) {
    let _ = io::stderr().write_all(complaint(error).as_bytes());
}

/// Prints a line to standard error, as it is.
pub fn complain_plainly(line: &str) {
    let _ = io::stderr().write_all(format!("{line}\n").as_bytes());
}

/// A line about an error.
pub fn complaint(error: &dyn Display) -> String {
    format!("{}: {error}\n", PROGRAM.get().unwrap_or(&"rain"))
}
