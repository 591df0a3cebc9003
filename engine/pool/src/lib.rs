//! The governor's lock-free pool: dependency counters, ready queues with work stealing, and the sleep protocol.
//!
//! The protocols and why they are right are in this crate's `README.md`; `tests/loom.rs` model-checks them.

mod chunked;
mod gang;
mod graph;
mod queue;
mod ranked;
mod sleep;
mod sync;

pub use gang::{Gang, GangCall};
pub use graph::{Cancelled, Handle, Released, SessionGraph};
pub use queue::{LocalQueue, Pool, Queueing};
pub use sleep::Sleep;

/// A task in a ready queue: its session in the high half, its number there in the low half.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReadyTask(u64);

impl ReadyTask {
    /// Packs a session and a task number.
    #[inline]
    pub fn new(session: u32, task: u32) -> Self {
        Self(u64::from(session) << 32 | u64::from(task))
    }

    /// The session's number.
    #[inline]
    pub fn session(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// The task's number in its session.
    #[inline]
    pub fn task(self) -> u32 {
        self.0 as u32
    }
}
