//! A terminal is given back as it was also when this process is asked to end.

use nix::sys::signal::{SigSet, Signal};
use std::io;

/// What shells add to the number of the signal that has ended a command.
const BY_SIGNAL: i32 = 128;

/// Has SIGTERM and SIGHUP end this process with its terminal restored. To be called while there is one thread that matters: those that are
/// started later take the signals as little as this one.
///
/// # Errors
/// When the system gives no thread.
pub fn restore_at_signals() -> io::Result<()> {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGTERM);
    signals.add(Signal::SIGHUP);
    signals.thread_block()?;
    let wait = move || {
        if let Ok(signal) = signals.wait() {
            ratatui::restore();
            std::process::exit(BY_SIGNAL + signal as i32);
        }
    };
    std::thread::Builder::new().name("signals".to_owned()).spawn(wait).map(|_| ())
}
