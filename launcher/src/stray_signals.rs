//! Signals that come to Rain and are for others.

use nix::sys::signal::Signal;

/// Signals that would end a process which does not handle them, and ask nothing of Rain: batch systems and `mpirun` send them to all
/// processes of a job, for its script or its programs.
pub const NOT_MEANT: [Signal; 4] = [Signal::SIGUSR1, Signal::SIGUSR2, Signal::SIGALRM, Signal::SIGXCPU];

/// Whether this process was started with a signal ignored, as `nohup` does it.
pub fn is_ignored(signal: Signal) -> bool {
    // SAFETY: the call fills in the action that it is given, for which all-zero is a valid value, and changes nothing.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        libc::sigaction(signal as libc::c_int, std::ptr::null(), &mut action) == 0
            && action.sa_sigaction == libc::SIG_IGN
    }
}
