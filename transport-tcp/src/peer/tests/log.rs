//! What was logged by any test of this program so far.

use std::io::{self, Write};
use std::sync::{Mutex, Once};
use std::time::{Duration, Instant};

static LINES: Mutex<Vec<u8>> = Mutex::new(Vec::new());
static START: Once = Once::new();

struct Lines;

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LINES.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Keeps what is logged from now on.
pub(super) fn keep() {
    START.call_once(|| {
        let subscriber = tracing_subscriber::fmt().with_writer(|| Lines).with_ansi(false);
        subscriber.init();
    });
}

/// Waits for a line with all of these in it.
pub(super) fn expect(parts: &[&str]) {
    let deadline = Instant::now() + super::PATIENCE;
    loop {
        let text = String::from_utf8_lossy(&LINES.lock().unwrap()).into_owned();
        if text.lines().any(|line| parts.iter().all(|part| line.contains(part))) {
            return;
        }
        assert!(Instant::now() < deadline, "no line with {parts:?} was logged:\n{text}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
