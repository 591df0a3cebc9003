//! A session on a governor, as its machines and its workers see it.

use crate::graph::Graph;
use rain_model::graph::{Batch, Batches};
use rain_model::resources::Grant;
use rain_pool::Cancelled;
use rain_protocol::peer::{Forget, OpenSession};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// How many inputs the tasks of a session may have here: an edge has a number, and a few numbers mean something else.
const EDGES_MAX: u32 = u32::MAX - 8;

/// What is left of a session that nobody works for any more.
pub type Rest<G> = (G, Batches<u32>);

/// Takes what is left of a session, which may take long to free.
pub type Leave<G> = Arc<dyn Fn(Rest<G>) + Send + Sync>;

/// A session on this governor.
pub struct Session<G: Graph> {
    pub number: u32,
    pub graph: G,
    /// Interpreter for its Python tasks, if the client asked for one.
    pub python: Option<PathBuf>,
    known: RwLock<Known>,
    /// Some kind has a priority other than 0.
    ranks: AtomicBool,
    /// Priorities that tasks have from those that need them.
    raised: RwLock<BTreeMap<u32, i32>>,
    /// Failed attempts of tasks that are run again.
    attempts: Mutex<BTreeMap<u32, u32>>,
    /// What tasks were given that ask for more than cpus.
    grants: RwLock<BTreeMap<u32, Arc<Grant>>>,
    leave: Leave<G>,
}

impl<G: Graph> Drop for Session<G> {
    fn drop(&mut self) {
        let known = self.known.get_mut().unwrap_or_else(PoisonError::into_inner);
        (self.leave)((std::mem::take(&mut self.graph), std::mem::take(&mut known.batches)));
    }
}

/// What came with batches. Only the governor's thread changes it.
#[derive(Default)]
struct Known {
    /// The batches, each with the number of the first edge of its tasks in the graph.
    batches: Batches<u32>,
    kinds: BTreeSet<u32>,
    /// How many edges batches have.
    edges: u32,
    /// Batches to be dropped when this task of theirs, which was cancelled, has ended.
    dropped_later: Vec<u32>,
    /// How many were to be dropped since those were looked at.
    dropped: usize,
}

impl Known {
    fn edges_of(&self, task: u32, near: &mut usize) -> Option<(u32, Range<u32>)> {
        *near = self.batches.place(task, *near)?;
        let (batch, first) = self.batches.at(*near)?;
        let inputs = batch.input_range(task);
        Some((task, first + inputs.start as u32..first + inputs.end as u32))
    }
}

impl<G: Graph> Session<G> {
    /// A session without tasks. Whoever drops it last leaves its graph and its batches to `leave`.
    pub fn new(open: &OpenSession, leave: Leave<G>) -> Self {
        Self {
            number: open.session.0,
            graph: G::default(),
            python: open.python.as_ref().map(PathBuf::from),
            known: RwLock::default(),
            ranks: AtomicBool::new(false),
            raised: RwLock::default(),
            attempts: Mutex::default(),
            grants: RwLock::default(),
            leave,
        }
    }

    fn known(&self) -> RwLockReadGuard<'_, Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn known_mut(&self) -> RwLockWriteGuard<'_, Known> {
        self.known.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn attempts(&self) -> MutexGuard<'_, BTreeMap<u32, u32>> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a batch known before any of its tasks is queued; the number of the first edge of its tasks. `None`: the session has had
    /// as many inputs as there are numbers for edges.
    pub fn add_batch(&self, batch: &Arc<Batch>) -> Option<u32> {
        let mut known = self.known_mut();
        if batch.count == 0 {
            return Some(0);
        }
        if let Some((_, edges)) = known.batches.find(batch.first) {
            return Some(*edges);
        }
        let end = u32::try_from(batch.inputs.len()).ok().and_then(|inputs| known.edges.checked_add(inputs));
        let end = end.filter(|end| *end <= EDGES_MAX)?;
        if batch.kinds.iter().any(|kind| kind.kind.priority != 0) {
            self.ranks.store(true, Ordering::Release);
        }
        let edges = std::mem::replace(&mut known.edges, end);
        known.kinds.extend(batch.kinds.iter().map(|kind| kind.number));
        // With several governors, tasks of an older batch may come after those of a newer one.
        known.batches.insert(batch, edges);
        Some(edges)
    }

    /// Priority of a task whose batch is known.
    #[inline]
    pub fn priority(&self, task: u32) -> i32 {
        if self.ranks.load(Ordering::Acquire) { self.rank(task) } else { 0 }
    }

    #[cold]
    fn rank(&self, task: u32) -> i32 {
        let raised = self.raised.read().unwrap_or_else(PoisonError::into_inner).get(&task).copied();
        let priority = raised.unwrap_or_else(|| self.batch_of(task).map_or(0, |batch| batch.kind(task).priority));
        // What it was given is idle until it runs.
        if priority == 0 && self.grant(task).is_some() { 1 } else { priority }
    }

    /// Notes what tasks were given, before they are queued.
    pub(crate) fn add_grants(&self, grants: Vec<(u32, Grant)>) {
        if !grants.is_empty() {
            let mut known = self.grants.write().unwrap_or_else(PoisonError::into_inner);
            known.extend(grants.into_iter().map(|(task, grant)| (task, Arc::new(grant))));
            self.ranks.store(true, Ordering::Release);
        }
    }

    /// What a task was given, if it asks for more than cpus.
    pub fn grant(&self, task: u32) -> Option<Arc<Grant>> {
        self.grants.read().unwrap_or_else(PoisonError::into_inner).get(&task).cloned()
    }

    /// Forgets what a task was given, if it is over.
    pub fn drop_grant(&self, task: u32) {
        if self.graph.is_done_with(task) {
            self.grants.write().unwrap_or_else(PoisonError::into_inner).remove(&task);
        }
    }

    /// Gives tasks priorities of their own; returns those that are in a queue already.
    pub fn raise(&self, tasks: &[(u32, i32)]) -> BTreeMap<u32, i32> {
        self.raised.write().unwrap_or_else(PoisonError::into_inner).extend(tasks.iter().copied());
        self.ranks.store(true, Ordering::Release);
        tasks.iter().copied().filter(|(task, _)| self.graph.is_ready(*task)).collect()
    }

    /// Sees to it that tasks are not begun, and stopped if they run. Those that wait let go of what they read and would have made.
    pub fn cancel_tasks(&self, tasks: &[u32]) {
        for task in tasks.iter().copied() {
            self.cancel_task(task, false);
        }
    }

    /// Cancels those of the tasks that have not begun; returns these, and those that are not linked here.
    pub fn cancel_waiting(&self, mut tasks: Vec<u32>) -> Vec<u32> {
        tasks.retain(|task| !matches!(self.cancel_task(*task, true), Cancelled::Begun | Cancelled::Over));
        tasks
    }

    fn cancel_task(&self, task: u32, unbegun: bool) -> Cancelled {
        let cancelled = self.graph.cancel_task(task, unbegun);
        if cancelled == Cancelled::Waiting
            && let Some(batch) = self.batch_of(task)
        {
            self.release_claims(&batch, task);
        }
        cancelled
    }

    /// A task that was ready will not be run, or was stopped: it lets go of what it read and would have made.
    pub fn abandon(&self, batch: &Batch, task: u32) {
        self.release_claims(batch, task);
        self.graph.set_over(task);
    }

    fn release_claims(&self, batch: &Batch, task: u32) {
        self.release_inputs(batch, task);
        for object in batch.outputs(task) {
            self.graph.release(object);
        }
    }

    /// Gives up a task's claims on what it reads.
    pub fn release_inputs(&self, batch: &Batch, task: u32) {
        for object in batch.inputs(task) {
            self.graph.release(*object);
        }
    }

    /// A ready task that was taken out of the queues is not run here.
    pub fn unlink(&self, task: u32) {
        let mut near = usize::MAX;
        if let Some((_, edges)) = self.known().edges_of(task, &mut near) {
            self.graph.unlink(task, edges);
        }
    }

    /// Whether this task, or the whole session, is to be stopped.
    #[inline]
    pub fn is_cancelled(&self, task: u32) -> bool {
        self.graph.is_cancelled() || self.graph.task_is_cancelled(task)
    }

    /// Drops the configurations of batches of which all tasks are over.
    pub fn drop_configs(&self, batches: &[u32]) {
        let mut known = self.known_mut();
        for first in batches {
            if let Some((batch, _)) = known.batches.find_mut(*first) {
                *batch = Arc::new(batch.without_configs());
            }
        }
    }

    /// Gives the memory of what no message will name again back, or does so when tasks that were cancelled have ended and
    /// objects are not needed any more.
    pub fn forget(&self, forget: &Forget) {
        let mut near = usize::MAX;
        let known = self.known();
        let tasks = forget.tasks.iter().filter_map(|task| known.edges_of(*task, &mut near));
        self.graph.forget(tasks, forget.objects.iter().copied());
        drop(known);
        let mut attempts = self.attempts();
        if !attempts.is_empty() {
            for task in &forget.tasks {
                attempts.remove(task);
            }
        }
        drop(attempts);
        if self.ranks.load(Ordering::Acquire) {
            let mut grants = self.grants.write().unwrap_or_else(PoisonError::into_inner);
            if !grants.is_empty() {
                // Those that are over and were not run here, as they were cancelled.
                grants.retain(|task, _| !self.graph.is_done_with(*task));
            }
            drop(grants);
            let mut raised = self.raised.write().unwrap_or_else(PoisonError::into_inner);
            for task in &forget.tasks {
                raised.remove(task);
            }
        }
        let mut known = self.known_mut();
        for kind in &forget.kinds {
            known.kinds.remove(kind);
        }
        known.dropped += forget.batches.len();
        let mut dropped = forget.batches.clone();
        // So each batch is looked at, on the whole, a constant number of times.
        if known.dropped >= known.dropped_later.len() {
            known.dropped = 0;
            dropped.append(&mut known.dropped_later);
        }
        for task in dropped {
            let Some((batch, _)) = known.batches.find(task) else { continue };
            // The number is that of a task which had not ended, or of the first: the ones before it have.
            match (task..batch.tasks().end).find(|task| !self.graph.is_done_with(*task)) {
                Some(task) => known.dropped_later.push(task),
                None => drop(known.batches.remove(task)),
            }
        }
    }

    /// Whether batches with this kind may come, or have tasks that are not forgotten.
    pub fn has_kind(&self, kind: u32) -> bool {
        self.known().kinds.contains(&kind)
    }

    /// Counts a failed attempt; how many have failed, if there is another one.
    pub fn may_retry(&self, task: u32, retries: u32) -> Option<u32> {
        let mut attempts = self.attempts();
        let failed = attempts.entry(task).or_default();
        *failed = failed.saturating_add(1);
        (*failed <= retries).then_some(*failed)
    }

    /// Whether a task has failed before and is run again.
    pub fn is_retried(&self, task: u32) -> bool {
        self.attempts().contains_key(&task)
    }

    /// The batch of a task that was queued.
    pub fn batch_of(&self, task: u32) -> Option<Arc<Batch>> {
        self.known().batches.find(task).map(|(batch, _)| batch.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plain::PlainGraph;
    use rain_model::graph::Offsets;
    use rain_model::id::SessionId;

    #[test]
    fn a_session_has_no_more_inputs_than_there_are_numbers_for() {
        let open = OpenSession { session: SessionId(1), python: None };
        let session = Session::<PlainGraph<u64>>::new(&open, Arc::new(drop));
        let batch = |first| {
            let inputs = Arc::new([0, 0, 0]);
            Arc::new(Batch { count: 1, inputs, input_offsets: Offsets::Every(3), ..Batch::empty(first) })
        };
        assert_eq!(session.add_batch(&batch(0)), Some(0));
        session.known_mut().edges = EDGES_MAX - 5;
        assert_eq!(session.add_batch(&batch(1)), Some(EDGES_MAX - 5));
        assert_eq!(session.add_batch(&batch(2)), None);
        // What is known stays so.
        assert_eq!(session.add_batch(&batch(1)), Some(EDGES_MAX - 5));
        assert_eq!(session.add_batch(&Arc::new(Batch::empty(3))), Some(0));
    }
}
