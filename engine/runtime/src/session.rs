//! Sessions as workers see them.

use rain_core::graph::Batch;
use rain_core::peer::OpenSession;
use rain_data::Object;
use rain_pool::SessionGraph;
use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

/// A session on this governor.
pub(crate) struct Session {
    pub(crate) number: u32,
    pub(crate) graph: SessionGraph<Arc<Object>>,
    /// Interpreter for its Python tasks, if the client asked for one.
    pub(crate) python: Option<PathBuf>,
    batches: RwLock<Vec<Arc<Batch>>>,
    /// Some kind has a priority other than 0.
    ranks: AtomicBool,
    has_cancelled: AtomicBool,
    cancelled: RwLock<HashSet<u32>>,
    /// A bit for each task, set when a worker begins it; not for no-ops.
    begun: Mutex<Vec<u64>>,
    /// Failed attempts of tasks that are run again.
    attempts: Mutex<HashMap<u32, u32>>,
}

impl Session {
    pub(crate) fn new(open: &OpenSession) -> Self {
        Self {
            number: open.session.0,
            graph: SessionGraph::new(),
            python: open.python.as_ref().map(PathBuf::from),
            batches: RwLock::new(Vec::new()),
            ranks: AtomicBool::new(false),
            has_cancelled: AtomicBool::new(false),
            cancelled: RwLock::default(),
            begun: Mutex::default(),
            attempts: Mutex::default(),
        }
    }

    /// Makes a batch known before any of its tasks is queued.
    pub(crate) fn add_batch(&self, batch: &Arc<Batch>) {
        let mut batches = self.batches.write().unwrap_or_else(PoisonError::into_inner);
        // With several governors, tasks of an older batch may come after those of a newer one.
        let place = batches.partition_point(|other| other.first < batch.first);
        let is_new = batches.get(place).is_none_or(|other| other.first != batch.first);
        if batch.count > 0 && is_new {
            if batch.kinds.iter().any(|kind| kind.priority != 0) {
                self.ranks.store(true, Ordering::Release);
            }
            batches.insert(place, batch.clone());
        }
    }

    /// Priority of a task whose batch is known.
    #[inline]
    pub(crate) fn priority(&self, task: u32) -> i32 {
        if self.ranks.load(Ordering::Acquire) { self.batch_of(task).map_or(0, |b| b.kind(task).priority) } else { 0 }
    }

    /// Marks tasks that are not to be begun, and to be stopped if they run.
    pub(crate) fn cancel_tasks(&self, tasks: &[u32]) {
        self.cancelled.write().unwrap_or_else(PoisonError::into_inner).extend(tasks);
        self.has_cancelled.store(true, Ordering::Release);
    }

    /// Marks those of the tasks that have not begun as cancelled, and returns them.
    pub(crate) fn cancel_waiting(&self, mut tasks: Vec<u32>) -> Vec<u32> {
        // Held until they are marked, so that no worker begins one meanwhile.
        let begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.retain(|task| !has_bit(&begun, *task));
        if !tasks.is_empty() {
            self.cancel_tasks(&tasks);
        }
        tasks
    }

    /// Marks a task as begun; false if it was cancelled before.
    #[inline]
    pub(crate) fn begin(&self, task: u32) -> bool {
        let mut begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_cancelled(task) {
            return false;
        }
        let (word, bit) = place(task);
        if begun.len() <= word {
            begun.resize(word + 1, 0);
        }
        begun[word] |= bit;
        true
    }

    /// A task that was marked as begun has not begun after all.
    pub(crate) fn put_back(&self, task: u32) {
        let mut begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        let (word, bit) = place(task);
        if let Some(word) = begun.get_mut(word) {
            *word &= !bit;
        }
    }

    /// Whether a worker has begun this task.
    pub(crate) fn has_begun(&self, task: u32) -> bool {
        has_bit(&self.begun.lock().unwrap_or_else(PoisonError::into_inner), task)
    }

    /// Whether this task, or the whole session, is to be stopped.
    #[inline]
    pub(crate) fn is_cancelled(&self, task: u32) -> bool {
        self.graph.is_cancelled()
            || (self.has_cancelled.load(Ordering::Acquire)
                && self.cancelled.read().unwrap_or_else(PoisonError::into_inner).contains(&task))
    }

    /// Counts a failed attempt; whether there is another one.
    pub(crate) fn may_retry(&self, task: u32, retries: u32) -> bool {
        let mut attempts = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        let failed = attempts.entry(task).or_default();
        *failed += 1;
        *failed <= retries
    }

    /// Whether a task has failed before and is run again.
    pub(crate) fn is_retried(&self, task: u32) -> bool {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&task)
    }

    /// The batch of a task that was queued.
    pub(crate) fn batch_of(&self, task: u32) -> Option<Arc<Batch>> {
        let batches = self.batches.read().unwrap_or_else(PoisonError::into_inner);
        let position = batches.partition_point(|batch| batch.first <= task);
        batches.get(position.checked_sub(1)?).filter(|batch| batch.tasks().contains(&task)).cloned()
    }
}

/// Where the bit of a task is: the index of its word, and the bit in it.
fn place(task: u32) -> (usize, u64) {
    (task as usize / 64, 1 << (task % 64))
}

fn has_bit(words: &[u64], task: u32) -> bool {
    let (word, bit) = place(task);
    words.get(word).is_some_and(|word| word & bit != 0)
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

#[cfg(test)]
mod tests {
    use super::*;
    use rain_core::graph::{Column, Offsets};
    use rain_core::id::SessionId;

    fn batch(first: u32, count: u32) -> Arc<Batch> {
        Arc::new(Batch {
            first,
            count,
            kinds: Arc::default(),
            kind: Column::Same(0),
            input_offsets: Offsets::Every(0),
            inputs: Vec::new(),
            first_output: Column::Same(0),
            configs: Vec::new(),
            config: Column::Same(0),
            user: Default::default(),
        })
    }

    #[test]
    fn a_task_has_begun_or_is_cancelled() {
        let session = Session::new(&OpenSession { session: SessionId(1), python: None });
        assert!(session.begin(64));
        assert_eq!(session.cancel_waiting(vec![0, 63, 64, 1000]), [0, 63, 1000]);
        assert!(session.has_begun(64) && !session.is_cancelled(64));
        for task in [0, 63, 1000] {
            assert!(session.is_cancelled(task) && !session.begin(task) && !session.has_begun(task));
        }
        // One that is run again has begun before.
        assert!(session.begin(64) && session.begin(65));
        session.cancel_tasks(&[65]);
        assert!(!session.begin(65));
        assert!(session.cancel_waiting(vec![65]).is_empty());
        session.put_back(64);
        session.put_back(100_000);
        assert!(!session.has_begun(64));
        assert_eq!(session.cancel_waiting(vec![64]), [64]);
    }

    #[test]
    fn batches_are_found_in_whatever_order_they_came() {
        let session = Session::new(&OpenSession { session: SessionId(1), python: None });
        for (first, count) in [(10, 5), (0, 10), (10, 5), (20, 1)] {
            session.add_batch(&batch(first, count));
        }
        let first_of = |task| session.batch_of(task).map(|batch| batch.first);
        assert_eq!([0, 9, 10, 14, 20].map(first_of), [Some(0), Some(0), Some(10), Some(10), Some(20)]);
        assert_eq!([15, 19, 21].map(first_of), [None, None, None]);
    }
}
