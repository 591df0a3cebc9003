//! One session's tasks and objects on a governor: who waits for what, and who still needs what.

use crate::chunked::{Chunked, ZeroInit};
use crate::sync::{AtomicBool, AtomicU32, Mutex, Ordering, UnsafeCell, fence, lock, pause};
use std::ops::Range;

/// The object was not claimed here.
const UNUSED: u32 = 0;
/// The object is there: nobody can wait for it any more.
const CLOSED: u32 = u32::MAX;
/// Nobody needs the object any more; it was dropped, or will never be made.
const GONE: u32 = u32::MAX - 1;
/// End of a list of edges; edges plus one are below it.
const END: u32 = u32::MAX - 2;

/// The task was linked here.
const LINKED: u32 = 1 << 31;
/// The task is not to be begun, or is to be stopped.
const CANCELLED: u32 = 1 << 30;
/// Nobody runs the task, nor will; what it had claims on was given up.
const OVER: u32 = 1 << 29;
/// The task, which was ready, has begun.
const BEGUN: u32 = 1 << 28;
/// The other bits count.
const COUNT: u32 = BEGUN - 1;

/// One waiting consumer in the list of an object.
#[derive(Default)]
struct Edge {
    /// Its number plus one; 0: the edge has not been used.
    consumer: AtomicU32,
    next: AtomicU32,
}

/// An object: who waits for it, how many still need it, and its value.
struct Slot<T> {
    /// `UNUSED`, `CLOSED`, `GONE`, `END`, or the newest edge plus one.
    waiting: AtomicU32,
    /// Claims: one of the producer, one a consumer that has not finished, one a pin.
    claims: AtomicU32,
    value: UnsafeCell<Option<T>>,
}

#[derive(Default)]
struct Task {
    /// `LINKED`, `CANCELLED`, `OVER`, `BEGUN`; and how many objects are not there yet, plus one while the task is being linked.
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

/// What became of a task that was to be cancelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cancelled {
    /// It waited and will never be ready: the caller gives up its claims.
    Waiting,
    /// It is ready: whoever takes it out of the queues gives up its claims, and says that it is over.
    Ready,
    /// Somebody runs it: whoever does gives up its claims, and says that it is over.
    Begun,
    /// It is over.
    Over,
    /// It was never linked here, or is not any more.
    Unknown,
}

/// Tasks and objects of one session. The governor links tasks in; workers finish them.
///
/// Tasks and objects are numbered as in the session; what this governor has no part in takes no memory. The governor is one
/// thread: it alone calls what says so.
pub struct SessionGraph<T> {
    tasks: Chunked<Task>,
    slots: Chunked<Slot<T>>,
    edges: Chunked<Edge>,
    cancelled: AtomicBool,
    put_off: Mutex<PutOff>,
}

/// What was forgotten before it could be given back.
#[derive(Default)]
struct PutOff {
    /// Tasks and their edges.
    tasks: Vec<(u32, Range<u32>)>,
    objects: Vec<u32>,
    /// How many were forgotten since these were looked at.
    since: usize,
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
            cancelled: AtomicBool::new(false),
            put_off: Mutex::new(PutOff::default()),
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

    /// Adds a claim on `object`. Only before its producer is linked, or while another claim is certainly held; the governor only.
    #[inline]
    pub fn claim(&self, object: u32) {
        let slot = self.slots.make(object);
        if slot.claims.fetch_add(1, Ordering::Relaxed) == 0 {
            self.claim_first(object, slot);
        }
    }

    fn claim_first(&self, object: u32, slot: &Slot<T>) {
        loop {
            match slot.waiting.load(Ordering::Acquire) {
                UNUSED => break self.slots.start_using(object),
                // It was not needed here for a time; now its content is to come from elsewhere.
                GONE => break,
                // Who has given up the last claim is just about to say that it is gone.
                _ => pause(),
            }
        }
        slot.waiting.store(END, Ordering::Relaxed);
    }

    /// Links `task` to its `inputs`, on each of which it must have a claim; true: it is ready now, and the caller must
    /// queue it. It may be linked before or after the producers of its inputs have run, and again when it is over. `first_edge` is
    /// the number of its first edge, of which it has as many as inputs; no other task has the same. The governor only.
    #[must_use]
    pub fn link(&self, task: u32, inputs: &[u32], first_edge: u32) -> bool {
        let node = self.tasks.take(task);
        if node.unmet.load(Ordering::Relaxed) & LINKED != 0 {
            // It has run here before, and was counted then.
            self.tasks.stop_using(task);
        }
        if inputs.is_empty() {
            // No list leads to it, and the queues carry the order on.
            node.unmet.store(LINKED, Ordering::Release);
            return true;
        }
        node.unmet.store(LINKED | (inputs.len() as u32 + 1), Ordering::Relaxed);
        let mut met = 1;
        for (edge, object) in (first_edge..).zip(inputs) {
            if !self.wait_for(*object, task, edge) {
                met += 1;
            }
        }
        node.unmet.fetch_sub(met, Ordering::AcqRel) == LINKED | met
    }

    /// Adds `task` to those waiting for `object`; false when it is there already.
    fn wait_for(&self, object: u32, task: u32, edge_index: u32) -> bool {
        let waiting = &self.slots.get(object).waiting;
        let mut head = waiting.load(Ordering::Acquire);
        if head == CLOSED {
            return false;
        }
        let edge = self.edges.make(edge_index);
        if edge.consumer.load(Ordering::Relaxed) == 0 {
            self.edges.start_using(edge_index);
        }
        edge.consumer.store(task + 1, Ordering::Relaxed);
        loop {
            edge.next.store(head, Ordering::Relaxed);
            match waiting.compare_exchange_weak(head, edge_index + 1, Ordering::Release, Ordering::Acquire) {
                Ok(_) => return true,
                Err(CLOSED) => return false,
                Err(now) => head = now,
            }
        }
    }

    /// Puts the value of `object` in place and gives up the producer's claim; `ready` is called with each task that
    /// waited for nothing else. At most once at a time, by the object's producer or by whoever brings it from elsewhere; the value of
    /// a producer that is run again is dropped when there still is one.
    pub fn supply(&self, object: u32, value: T, mut ready: impl FnMut(u32)) -> Released {
        let slot = self.slots.get(object);
        if slot.waiting.load(Ordering::Relaxed) == CLOSED {
            drop(value);
            return self.release(object);
        }
        slot.value.with_mut(|place| {
            // SAFETY: only the producer, which calls once, writes; readers come after the swap below.
            unsafe { *place = Some(value) }
        });
        let list = slot.waiting.swap(CLOSED, Ordering::AcqRel);
        self.count_down(list, &mut ready);
        self.release(object)
    }

    /// Counts down the consumers in a list that was taken out of its object.
    #[inline]
    fn count_down(&self, list: u32, ready: &mut impl FnMut(u32)) {
        let mut edge_index = list;
        while edge_index < END {
            let edge = self.edges.get(edge_index - 1);
            let consumer = edge.consumer.load(Ordering::Relaxed) - 1;
            let next = edge.next.load(Ordering::Relaxed);
            self.edges.assert_there(edge_index - 1);
            let unmet = self.tasks.get(consumer).unmet.fetch_sub(1, Ordering::AcqRel);
            self.tasks.assert_there(consumer);
            if unmet == LINKED | 1 {
                ready(consumer);
            }
            edge_index = next;
        }
    }

    /// Gives up one claim; the last one drops the value at once.
    #[inline]
    pub fn release(&self, object: u32) -> Released {
        let (released, value) = self.give_up(object);
        drop(value);
        released
    }

    /// Gives up one claim; the last one gets the value, if there is one.
    #[inline]
    pub fn give_up(&self, object: u32) -> (Released, Option<T>) {
        let slot = self.slots.get(object);
        let claims = slot.claims.fetch_sub(1, Ordering::Release);
        self.slots.assert_there(object);
        if claims != 1 {
            return (Released::StillNeeded, None);
        }
        fence(Ordering::Acquire);
        let value = slot.value.with_mut(|place| {
            // SAFETY: this was the last claim, and claims are only added by holders of one: nobody else is here.
            unsafe { (*place).take() }
        });
        if slot.waiting.load(Ordering::Relaxed) == CLOSED {
            slot.waiting.store(GONE, Ordering::Release);
            self.slots.assert_there(object);
        } else {
            self.abandon(object, slot);
        }
        (Released::Dropped, value)
    }

    /// Gives up one of the server's claims; gets the value if it was the last one. Of an object that nobody claims here nothing is
    /// done. The governor only.
    pub fn unpin(&self, object: u32) -> Option<T> {
        self.slots.find(object).filter(|slot| slot.claims.load(Ordering::Relaxed) > 0)?;
        self.give_up(object).1
    }

    /// The last claim on an object was given up that will not be made: who waited for it was cancelled.
    #[cold]
    fn abandon(&self, object: u32, slot: &Slot<T>) {
        let list = slot.waiting.swap(GONE, Ordering::AcqRel);
        self.slots.assert_there(object);
        self.count_down(list, &mut |_| {});
    }

    /// A handle to the value of `object`, for a caller without a claim, from any thread: only while somebody else has one.
    pub fn share(&self, object: u32) -> Option<T>
    where
        T: Clone,
    {
        let one_more = |claims: u32| claims.checked_add(1).filter(|claims| *claims > 1);
        let claimed = self
            .slots
            .visit(object, |slot| slot?.claims.fetch_update(Ordering::Acquire, Ordering::Relaxed, one_more).ok());
        claimed?;
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

    /// Says that a task which was ready is over: the caller has given up its claims, and does not come back to it.
    #[inline]
    pub fn set_over(&self, task: u32) {
        let unmet = &self.tasks.get(task).unmet;
        if cfg!(loom) {
            // loom does not know that a compare-and-swap comes right after what it has read, and would let a later load miss
            // the store below for one of `cancel_task`.
            unmet.fetch_or(OVER, Ordering::AcqRel);
        } else {
            // Who cancels it meanwhile changes a word that counts nothing; that it was cancelled does not matter any more.
            unmet.store(LINKED | OVER, Ordering::Release);
        }
    }

    /// Whether `cancel_task` was called for a task that is not over.
    #[inline]
    pub fn task_is_cancelled(&self, task: u32) -> bool {
        self.tasks.get(task).unmet.load(Ordering::Acquire) & CANCELLED != 0
    }

    /// Says that a ready task begins; false when it was cancelled before.
    #[inline]
    pub fn begin(&self, task: u32) -> bool {
        self.tasks.get(task).unmet.fetch_or(BEGUN, Ordering::AcqRel) & CANCELLED == 0
    }

    /// A task that was said to begin has not begun after all.
    pub fn put_back(&self, task: u32) {
        self.tasks.get(task).unmet.fetch_and(!BEGUN, Ordering::AcqRel);
    }

    /// Whether a task that is linked here has begun.
    pub fn has_begun(&self, task: u32) -> bool {
        self.tasks.find(task).is_some_and(|node| node.unmet.load(Ordering::Acquire) & BEGUN != 0)
    }

    /// Whether a task is ready and has not begun. The governor only.
    pub fn is_ready(&self, task: u32) -> bool {
        self.tasks.find(task).is_some_and(|node| node.unmet.load(Ordering::Acquire) == LINKED)
    }

    /// Cancels a task, with `unbegun` only if it has not begun. The governor only.
    pub fn cancel_task(&self, task: u32, unbegun: bool) -> Cancelled {
        let Some(node) = self.tasks.find(task) else { return Cancelled::Unknown };
        let state = |unmet: u32| match unmet & COUNT {
            _ if unmet & LINKED == 0 => Cancelled::Unknown,
            _ if unmet & OVER != 0 => Cancelled::Over,
            0 if unmet & BEGUN != 0 => Cancelled::Begun,
            0 => Cancelled::Ready,
            _ => Cancelled::Waiting,
        };
        let mark = |unmet: u32| match state(unmet) {
            Cancelled::Waiting => Some(unmet | CANCELLED | OVER),
            Cancelled::Ready => Some(unmet | CANCELLED),
            Cancelled::Begun if !unbegun => Some(unmet | CANCELLED),
            Cancelled::Begun | Cancelled::Over | Cancelled::Unknown => None,
        };
        let (Ok(before) | Err(before)) = node.unmet.fetch_update(Ordering::AcqRel, Ordering::Acquire, mark);
        state(before)
    }

    /// Whether nobody here runs a task or will: it is over, or was never linked, or is not any more. The governor only.
    pub fn is_done_with(&self, task: u32) -> bool {
        self.tasks.find(task).is_none_or(|node| {
            let unmet = node.unmet.load(Ordering::Acquire);
            unmet & LINKED == 0 || unmet & OVER != 0
        })
    }

    /// A ready task that nobody has begun is not to be run here; its claims stay. The governor only, which has it out of the queues.
    pub fn unlink(&self, task: u32, edges: Range<u32>) {
        if self.tasks.find(task).is_some_and(|node| node.unmet.load(Ordering::Acquire) & LINKED != 0) {
            self.give_back_task(task, edges);
        }
    }

    /// Gives the memory of tasks, with their edges, and of objects back, or puts it off: until tasks that were cancelled are
    /// over and nobody comes to them through a list, and until the last claim on an object is given up. What was never here is
    /// passed over. The governor only.
    pub fn forget(&self, tasks: impl IntoIterator<Item = (u32, Range<u32>)>, objects: impl IntoIterator<Item = u32>) {
        let mut put_off = lock(&self.put_off);
        for (task, edges) in tasks {
            put_off.since += 1;
            if !self.forget_task(task, edges.clone()) {
                put_off.tasks.push((task, edges));
            }
        }
        for object in objects {
            put_off.since += 1;
            if !self.forget_object(object) {
                put_off.objects.push(object);
            }
        }
        // So each item is looked at, on the whole, a constant number of times.
        if put_off.since >= put_off.tasks.len() + put_off.objects.len() {
            put_off.since = 0;
            put_off.tasks.retain(|(task, edges)| !self.forget_task(*task, edges.clone()));
            put_off.objects.retain(|object| !self.forget_object(*object));
        }
    }

    /// Whether nothing of a task is left.
    fn forget_task(&self, task: u32, edges: Range<u32>) -> bool {
        let Some(node) = self.tasks.find(task) else { return true };
        let unmet = node.unmet.load(Ordering::Acquire);
        if unmet & LINKED == 0 {
            return true;
        }
        let may_go = unmet & OVER != 0 && unmet & COUNT == 0;
        if may_go {
            self.give_back_task(task, edges);
        }
        may_go
    }

    fn give_back_task(&self, task: u32, edges: Range<u32>) {
        for edge_index in edges {
            if let Some(edge) = self.edges.find(edge_index).filter(|edge| edge.consumer.load(Ordering::Relaxed) != 0) {
                edge.consumer.store(0, Ordering::Relaxed);
                self.edges.stop_using(edge_index);
            }
        }
        self.tasks.get(task).unmet.store(0, Ordering::Relaxed);
        self.tasks.stop_using(task);
    }

    /// Whether nothing of an object is left.
    fn forget_object(&self, object: u32) -> bool {
        let Some(slot) = self.slots.find(object) else { return true };
        match slot.waiting.load(Ordering::Acquire) {
            GONE => {
                slot.waiting.store(UNUSED, Ordering::Relaxed);
                self.slots.stop_using(object);
                true
            }
            UNUSED => true,
            _ => false,
        }
    }

    /// How many chunks of tasks, objects and edges there are, for tests.
    #[doc(hidden)]
    #[cfg(not(loom))]
    pub fn chunks(&self) -> [usize; 3] {
        [self.tasks.chunks(), self.slots.chunks(), self.edges.chunks()]
    }
}

impl<T> Drop for SessionGraph<T> {
    fn drop(&mut self) {
        fence(Ordering::Acquire);
    }
}
