//! What the two threads of an end have in common.

use mio::Waker;
use rain_model::id::GovernorId;
use rain_transport::{Place, Wake};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// State of both threads of an end: its owner's, and the one for its connections.
pub(super) struct Shared {
    pub(super) waker: Waker,
    /// The waker was used and not heard yet.
    pub(super) awake: AtomicBool,
    /// Events that the owner has not taken.
    pub(super) untaken: AtomicUsize,
    /// Nothing is read until the owner has taken some.
    pub(super) wants_room: AtomicBool,
    pub(super) owner: Mutex<Option<Wake>>,
    /// Where governors listen, for the server.
    pub(super) places: Mutex<BTreeMap<GovernorId, Place>>,
}

impl Shared {
    pub(super) fn wake(&self) {
        if !self.awake.swap(true, Ordering::SeqCst)
            && let Err(error) = self.waker.wake()
        {
            tracing::error!("cannot wake the thread for connections: {error}");
        }
    }

    pub(super) fn places(&self) -> MutexGuard<'_, BTreeMap<GovernorId, Place>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn wake_owner(&self) {
        if let Some(wake) = &*self.owner.lock().unwrap_or_else(PoisonError::into_inner) {
            wake();
        }
    }
}
