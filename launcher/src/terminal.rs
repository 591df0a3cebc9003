//! Words for the user.

use std::io::{self, Write};

/// Prints to standard output; a reader that has gone away is not our problem.
pub fn say(text: &str) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Prints an error to standard error.
pub fn complain(error: &dyn std::fmt::Display) {
    let _ = writeln!(io::stderr(), "rain: {error}");
}
