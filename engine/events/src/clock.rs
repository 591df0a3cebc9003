//! The time of day.

use std::time::SystemTime;

/// Seconds since 1970; 0 before that.
pub fn seconds_since_1970() -> f64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}
