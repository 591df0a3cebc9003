//! The log of an engine, which is its standard error. A log that cannot be written, as on a full disk or beyond a quota, costs lines
//! and nothing else.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// Lines that could not be written since one could.
static LOST_LINES: AtomicU64 = AtomicU64::new(0);

/// Sends what is logged to standard error, which the supervisor has made the log file, so that panics get there, too.
pub fn start() {
    let filter = EnvFilter::try_from_env("RAIN_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    // What the subscriber says of errors would end the process when standard error cannot be written.
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).log_internal_errors(false);
    log.with_writer(Lines).init();
}

/// Whether the last line could not be written.
pub fn is_in_trouble() -> bool {
    LOST_LINES.load(Ordering::Relaxed) > 0
}

/// Writes lines to standard error; those that cannot be written are counted.
#[derive(Clone, Copy)]
struct Lines;

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        *self
    }
}

impl Write for Lines {
    /// Takes a whole line, as the subscriber hands each over in one piece.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        write_line(&mut io::stderr().lock(), line, &LOST_LINES);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes a line, and before it how many could not be written.
fn write_line(log: &mut impl Write, line: &[u8], lost_lines: &AtomicU64) {
    let lost = lost_lines.load(Ordering::Relaxed);
    let note = if lost > 0 { format!("({lost} lines before this one could not be written)\n") } else { String::new() };
    match log.write_all(&[note.as_bytes(), line].concat()) {
        Ok(()) => _ = lost_lines.fetch_sub(lost, Ordering::Relaxed),
        Err(_) => _ = lost_lines.fetch_add(1, Ordering::Relaxed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Full(bool, Vec<u8>);

    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.1.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_that_cannot_be_written_are_counted_and_told_of() {
        let (mut log, lost) = (Full(true, Vec::new()), AtomicU64::new(0));
        write_line(&mut log, b"one\n", &lost);
        write_line(&mut log, b"two\n", &lost);
        log.0 = false;
        write_line(&mut log, b"three\n", &lost);
        write_line(&mut log, b"four\n", &lost);
        assert_eq!(log.1, b"(2 lines before this one could not be written)\nthree\nfour\n");
    }
}
