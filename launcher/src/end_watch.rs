//! A server ends when its time is over: governors that ssh has started are not always ended with their job, and end with their server.

use crate::end_time::EndPlan;
use crate::local::Stop;
use std::io;
use std::time::Duration;

/// How long after the end of its time a server that nobody has ended goes by itself.
const AFTER_THE_END: Duration = Duration::from_secs(10);
/// Clocks are set and machines sleep, so the time left is looked at this often.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// Has `stop` stop the server some seconds after the end of its time, if it has one.
///
/// # Errors
/// When the system gives no thread.
pub fn start(end: &EndPlan, stop: Stop) -> io::Result<()> {
    if end.left().is_none() {
        return Ok(());
    }
    let mut end = end.clone();
    let watch = move || {
        loop {
            while let Some(left) = end.left().filter(|left| !left.is_zero()) {
                std::thread::sleep(left.min(LOOK_AGAIN));
            }
            std::thread::sleep(AFTER_THE_END);
            if !end.is_extended() {
                break;
            }
        }
        tracing::warn!("the time of this server is over, so it ends");
        stop.request();
    };
    std::thread::Builder::new().name("end of time".to_owned()).spawn(watch).map(|_| ())
}
