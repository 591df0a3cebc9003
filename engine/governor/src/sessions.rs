//! The sessions of a governor.

use crate::graph::Graph;
use crate::session::Session;
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

/// Sessions by number, shared by everybody who works for them. Numbers are never used twice, so a number in a queue can outlive its
/// session harmlessly.
pub struct Sessions<G: Graph>(RwLock<BTreeMap<u32, Arc<Session<G>>>>);

impl<G: Graph> Default for Sessions<G> {
    fn default() -> Self {
        Self(RwLock::new(BTreeMap::new()))
    }
}

impl<G: Graph> Sessions<G> {
    /// Adds a session.
    pub fn insert(&self, session: Arc<Session<G>>) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(session.number, session);
    }

    /// The session with this number, if it is open.
    pub fn get(&self, number: u32) -> Option<Arc<Session<G>>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(&number).cloned()
    }

    /// Takes a session out.
    pub fn remove(&self, number: u32) -> Option<Arc<Session<G>>> {
        self.0.write().unwrap_or_else(PoisonError::into_inner).remove(&number)
    }

    /// Takes all out.
    pub fn drain(&self) -> Vec<Arc<Session<G>>> {
        std::mem::take(&mut *self.0.write().unwrap_or_else(PoisonError::into_inner)).into_values().collect()
    }
}
