//! Waiting for nothing.

use crate::call::{Outputs, Stop, TaskCall, pass_on};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use std::time::{Duration, Instant};

/// Passes the input on after `duration`.
pub(super) fn sleep(call: &TaskCall<'_>, duration: Duration) -> Outputs {
    let output = pass_on(&call.inputs[0], &call.kind().outputs[0], None, None)?;
    // Nobody can wait for the end of a time that no clock can tell.
    let end = Instant::now().checked_add(duration);
    while !duration.is_zero() {
        let left = end.map(|end| end.saturating_duration_since(Instant::now()));
        if left == Some(Duration::ZERO) {
            break;
        }
        let mut fds = [PollFd::new(call.interrupt.fd(), PollFlags::POLLIN)];
        match ppoll(&mut fds, left.map(Into::into), None) {
            Ok(0) | Err(Errno::EINTR) => {}
            Ok(_) if call.interrupted() => return Err(Stop::Cancelled),
            Ok(_) => {}
            Err(errno) => return Err(format!("cannot wait: {errno}").into()),
        }
    }
    Ok(vec![output])
}
