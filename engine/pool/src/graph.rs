//! One session's tasks and objects on a governor: who waits for what, and who still needs what.

use crate::chunked::{Chunked, ZeroInit};
use crate::sync::{AtomicBool, AtomicU32, Ordering, UnsafeCell, fence};

/// End of a list of edges.
const END: u32 = 0;
/// The object is there: nobody can wait for it any more.
const CLOSED: u32 = u32::MAX;

/// One waiting consumer in the list of an object.
#[derive(Default)]
struct Edge {
    consumer: AtomicU32,
    next: AtomicU32,
}

/// An object: who waits for it, how many still need it, and its value.
struct Slot<T> {
    /// `END`, `CLOSED`, or the newest edge plus one.
    waiting: AtomicU32,
    /// Claims: one of the producer, one a consumer that has not finished, one a pin.
    claims: AtomicU32,
    value: UnsafeCell<Option<T>>,
}

#[derive(Default)]
struct Task {
    /// Objects that are not there yet, plus one while the task is being linked.
    unmet: AtomicU32,
}

#[cfg(loom)]
impl<T> Default for Slot<T> {
    fn default() -> Self {
        Self { waiting: AtomicU32::default(), claims: AtomicU32::default(), value: UnsafeCell::new(None) }
    }
}

// SAFETY: atomics of zero are valid.
unsafe impl ZeroInit for Edge {}
// SAFETY: atomics of zero are valid.
unsafe impl ZeroInit for Task {}
// SAFETY: atomics of zero are valid, and `None` of a handle is all-zero because `Handle` promises a null niche.
unsafe impl<T: Handle> ZeroInit for Slot<T> {}

/// Pointer-like handles to object values.
///
/// # Safety
/// `Option<Self>::None` must be the all-zero bit pattern.
pub unsafe trait Handle: Send + Sync {}

// SAFETY: std guarantees the null-pointer optimisation for `Option<Arc<T>>` of sized `T`.
unsafe impl<T: Send + Sync> Handle for std::sync::Arc<T> {}

/// Whether giving up a claim was the last one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Released {
    StillNeeded,
    Dropped,
}

/// Tasks and objects of one session. The governor links tasks in; workers finish them.
///
/// Tasks and objects are numbered as in the session; what this governor has no part in stays untouched memory.
pub struct SessionGraph<T> {
    tasks: Chunked<Task>,
    slots: Chunked<Slot<T>>,
    edges: Chunked<Edge>,
    /// Edges used so far; only the linking thread adds.
    edge_count: AtomicU32,
    cancelled: AtomicBool,
}

// SAFETY: values are handed between threads only through the claim and waiting protocols (README.md), which give
// the writer exclusive access before the object is there and the last claimant exclusive access at the end.
unsafe impl<T: Handle> Sync for SessionGraph<T> {}
// SAFETY: as above; nothing is tied to a thread.
unsafe impl<T: Handle> Send for SessionGraph<T> {}

impl<T: Handle> Default for SessionGraph<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Handle> SessionGraph<T> {
    /// An empty graph.
    pub fn new() -> Self {
        Self {
            tasks: Chunked::new(),
            slots: Chunked::new(),
            edges: Chunked::new(),
            edge_count: AtomicU32::new(0),
            cancelled: AtomicBool::new(false),
        }
    }

    /// Says that nothing more of this session is to be run.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Release);
    }

    /// Whether `cancel` was called.
    #[inline]
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Acquire)
    }

    /// Adds a claim on `object`. Only before its producer is linked, or while another claim is certainly held.
    #[inline]
    pub fn claim(&self, object: u32) {
        self.slots.get(object).claims.fetch_add(1, Ordering::Relaxed);
    }

    /// Links `task` to its `inputs`, on each of which it must have a claim; true: it is ready now, and the caller must
    /// queue it. One thread links at a time; it may link a task before or after the producers of its inputs have run.
    #[must_use]
    pub fn link(&self, task: u32, inputs: &[u32]) -> bool {
        let node = self.tasks.get(task);
        node.unmet.store(inputs.len() as u32 + 1, Ordering::Relaxed);
        let mut met = 1;
        for object in inputs {
            if !self.wait_for(*object, task) {
                met += 1;
            }
        }
        node.unmet.fetch_sub(met, Ordering::AcqRel) == met
    }

    /// Adds `task` to those waiting for `object`; false when it is there already.
    fn wait_for(&self, object: u32, task: u32) -> bool {
        let waiting = &self.slots.get(object).waiting;
        let mut head = waiting.load(Ordering::Acquire);
        if head == CLOSED {
            return false;
        }
        let edge_index = self.edge_count.load(Ordering::Relaxed);
        let edge = self.edges.get(edge_index);
        edge.consumer.store(task, Ordering::Relaxed);
        loop {
            edge.next.store(head, Ordering::Relaxed);
            match waiting.compare_exchange_weak(head, edge_index + 1, Ordering::Release, Ordering::Acquire) {
                Ok(_) => {
                    self.edge_count.store(edge_index + 1, Ordering::Relaxed);
                    return true;
                }
                Err(CLOSED) => return false,
                Err(now) => head = now,
            }
        }
    }

    /// Puts the value of `object` in place and gives up the producer's claim; `ready` is called with each task that
    /// waited for nothing else. At most once an object, by its producer or by whoever brings it from elsewhere.
    pub fn supply(&self, object: u32, value: T, mut ready: impl FnMut(u32)) -> Released {
        let slot = self.slots.get(object);
        slot.value.with_mut(|place| {
            // SAFETY: only the producer, which calls once, writes; readers come after the swap below.
            unsafe { *place = Some(value) }
        });
        let mut edge_index = slot.waiting.swap(CLOSED, Ordering::AcqRel);
        while edge_index != END && edge_index != CLOSED {
            let edge = self.edges.get(edge_index - 1);
            let consumer = edge.consumer.load(Ordering::Relaxed);
            edge_index = edge.next.load(Ordering::Relaxed);
            if self.tasks.get(consumer).unmet.fetch_sub(1, Ordering::AcqRel) == 1 {
                ready(consumer);
            }
        }
        self.release(object)
    }

    /// Gives up one claim; the last one drops the value at once.
    pub fn release(&self, object: u32) -> Released {
        let slot = self.slots.get(object);
        if slot.claims.fetch_sub(1, Ordering::Release) != 1 {
            return Released::StillNeeded;
        }
        fence(Ordering::Acquire);
        let value = slot.value.with_mut(|place| {
            // SAFETY: this was the last claim, and claims are only added by holders of one: nobody else is here.
            unsafe { (*place).take() }
        });
        drop(value);
        Released::Dropped
    }

    /// A handle to the value of `object`, for a caller without a claim: only while somebody else has one.
    pub fn share(&self, object: u32) -> Option<T>
    where
        T: Clone,
    {
        let one_more = |claims: u32| claims.checked_add(1).filter(|claims| *claims > 1);
        self.slots.get(object).claims.fetch_update(Ordering::Acquire, Ordering::Relaxed, one_more).ok()?;
        let value = self.value(object).cloned();
        self.release(object);
        value
    }

    /// The value of `object`, if it is there. The caller must hold a claim on it until it is done with the result.
    #[inline]
    pub fn value(&self, object: u32) -> Option<&T> {
        let slot = self.slots.get(object);
        if slot.waiting.load(Ordering::Acquire) != CLOSED {
            return None;
        }
        slot.value.with(|place| {
            // SAFETY: the object is closed, so its one write happened before; it is taken out only after the
            // caller's claim has been given up.
            unsafe { (*place).as_ref() }
        })
    }
}

impl<T> Drop for SessionGraph<T> {
    fn drop(&mut self) {
        fence(Ordering::Acquire);
    }
}
