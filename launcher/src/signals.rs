//! Signals that ask an engine to stop.

use crate::engine_error::EngineError;
use crate::launch::Launch;
use crate::local::Stop;
use crate::orphan::Guardian;
use crate::stray_signals::NOT_MEANT;
use nix::fcntl::OFlag;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{IntoRawFd, OwnedFd};
use std::sync::atomic::{AtomicI32, Ordering};

/// Where the signal handler says which signal came.
static SIGNAL_PIPE: AtomicI32 = AtomicI32::new(-1);

extern "C" fn on_signal(signal: libc::c_int) {
    let fd = SIGNAL_PIPE.load(Ordering::Relaxed);
    // SAFETY: `write` may be called in a signal handler, the byte lives long enough, and a bad descriptor is an error.
    unsafe { libc::write(fd, [signal as u8].as_ptr().cast(), 1) };
}

/// A handler rather than blocked signals: blocked they would stay in all programs that tasks run. What comes before
/// somebody reads is kept in the pipe.
pub fn catch_signals() -> Result<OwnedFd, EngineError> {
    let (read_end, write_end) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
    SIGNAL_PIPE.store(write_end.into_raw_fd(), Ordering::Relaxed);
    let action = SigAction::new(SigHandler::Handler(on_signal), SaFlags::SA_RESTART, SigSet::empty());
    for signal in [Signal::SIGTERM, Signal::SIGINT].into_iter().chain(NOT_MEANT) {
        // SAFETY: the handler makes one async-signal-safe call and touches nothing but an atomic.
        unsafe { sigaction(signal, &action) }?;
    }
    Ok(read_end)
}

fn ignored(signal: Signal) -> String {
    match signal {
        Signal::SIGXCPU => {
            "SIGXCPU: this process has used the cpu time that it may use (ulimit -t); it goes on until it is killed"
                .to_owned()
        }
        signal => format!("{signal} is ignored: SIGTERM or `rain stop` ends Rain"),
    }
}

/// Asks `stop` to stop at each signal that was caught and is meant for Rain.
///
/// # Errors
/// When the system gives no thread.
pub fn stop_on_signals(pipe: OwnedFd, stop: Stop, guardian: Guardian, launch: &Launch) -> io::Result<()> {
    let launch = launch.clone();
    let watch = move || {
        let (mut pipe, mut signal) = (File::from(pipe), [0]);
        let mut seen = BTreeSet::new();
        while pipe.read_exact(&mut signal).is_ok() {
            let which = Signal::try_from(i32::from(signal[0])).ok();
            if let Some(not_meant) = which.filter(|signal| NOT_MEANT.contains(signal)) {
                if seen.insert(not_meant) {
                    tracing::warn!("{}", ignored(not_meant));
                }
                continue;
            }
            let is_orphaned = guardian.is_gone();
            tracing::info!("asked to stop by {}", if is_orphaned { "the supervisor's end" } else { "a signal" });
            stop.request();
            if is_orphaned {
                guardian.end_in_time(&launch);
            }
        }
    };
    std::thread::Builder::new().name("signals".to_owned()).spawn(watch).map(|_| ())
}
