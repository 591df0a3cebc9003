//! Whether the peer of a link lives, and when it is lost: decided from what was heard and written, with the time as an argument. Nothing
//! here reads a clock or owns a socket.

mod liveness;
mod patience;

pub use liveness::{HELD_BYTES_MAX, Liveness, Verdict};
pub use patience::Patience;
