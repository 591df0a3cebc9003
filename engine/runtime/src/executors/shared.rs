//! What workers and the thread that keeps executors share.

use super::idle::Idle;
use super::keeper::Keeper;
use super::running::Running;
use crate::session::SessionTable;
use rain_data::Store;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What workers and the keeper share.
pub(super) struct Shared {
    pub(super) store: Arc<Store>,
    pub(super) sessions: Arc<SessionTable>,
    pub(super) idle: Mutex<Idle<Running>>,
    /// Sessions that were closed so far.
    pub(super) closes: AtomicU64,
    pub(super) keeper: Keeper,
    /// Variables of those whose tasks were given cpus alone.
    pub(super) ungranted: Vec<(String, String)>,
}

impl Shared {
    pub(super) fn idle(&self) -> MutexGuard<'_, Idle<Running>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
