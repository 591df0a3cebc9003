//! Sessions as workers see them.

use rain_core::graph::Batch;
use rain_core::peer::OpenSession;
use rain_data::Object;
use rain_pool::SessionGraph;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

/// A session on this governor.
pub(crate) struct Session {
    pub(crate) number: u32,
    pub(crate) graph: SessionGraph<Arc<Object>>,
    /// Interpreter for its Python tasks, if the client asked for one.
    pub(crate) python: Option<PathBuf>,
    batches: RwLock<Vec<Arc<Batch>>>,
}

impl Session {
    pub(crate) fn new(open: &OpenSession) -> Self {
        Self {
            number: open.session.0,
            graph: SessionGraph::new(),
            python: open.python.as_ref().map(PathBuf::from),
            batches: RwLock::new(Vec::new()),
        }
    }

    /// Makes a batch known before any of its tasks is queued.
    pub(crate) fn add_batch(&self, batch: &Arc<Batch>) {
        let mut batches = self.batches.write().unwrap_or_else(PoisonError::into_inner);
        if batch.count > 0 && batches.last().is_none_or(|last| last.first < batch.first) {
            batches.push(batch.clone());
        }
    }

    /// The batch of a task that was queued.
    pub(crate) fn batch_of(&self, task: u32) -> Option<Arc<Batch>> {
        let batches = self.batches.read().unwrap_or_else(PoisonError::into_inner);
        let position = batches.partition_point(|batch| batch.first <= task);
        batches.get(position.checked_sub(1)?).cloned()
    }
}

/// Sessions by number. Numbers are never used twice, so a number in a queue can outlive its session harmlessly.
#[derive(Default)]
pub(crate) struct SessionTable(RwLock<HashMap<u32, Arc<Session>>>);

impl SessionTable {
    pub(crate) fn insert(&self, session: Arc<Session>) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(session.number, session);
    }

    pub(crate) fn get(&self, number: u32) -> Option<Arc<Session>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(&number).cloned()
    }

    pub(crate) fn remove(&self, number: u32) -> Option<Arc<Session>> {
        self.0.write().unwrap_or_else(PoisonError::into_inner).remove(&number)
    }

    pub(crate) fn drain(&self) -> Vec<Arc<Session>> {
        self.0.write().unwrap_or_else(PoisonError::into_inner).drain().map(|(_, session)| session).collect()
    }
}
