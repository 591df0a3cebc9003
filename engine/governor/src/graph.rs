//! A session's tasks and objects on a governor, as its machines see them.

use rain_model::id::{ObjectIndex, TaskIndex};
use rain_pool::{Cancelled, Handle, SessionGraph};
use std::ops::Range;

/// Who waits for what, and who still needs what, in one session. Tasks and objects are numbered as in the session.
///
/// An object has claims: one of its producer, one of each consumer that has not finished, one of the server while it pins it. With the
/// last one its content goes.
pub trait Graph: Default {
    /// How the content of an object is held.
    type Content: Clone;

    /// Adds a claim on an object. Only before its producer is linked, or while another claim is certainly held.
    fn claim(&self, object: ObjectIndex);

    /// Links a task to its inputs, on each of which it must have a claim; true: it is ready now, and the caller must queue it. The edges
    /// from `first_edge` on, as many as inputs, are this task's alone.
    #[must_use]
    fn link(&self, task: TaskIndex, inputs: &[ObjectIndex], first_edge: u32) -> bool;

    /// Puts the content of an object in place and gives up its producer's claim. Calls `ready` with each task that waited for
    /// nothing else.
    fn supply(&self, object: ObjectIndex, content: Self::Content, ready: impl FnMut(TaskIndex));

    /// Gives up one claim.
    fn release(&self, object: ObjectIndex);

    /// Gives up one of the server's claims; returns the content if it was the last one. Does nothing for an object that nobody claims.
    fn unpin(&self, object: ObjectIndex) -> Option<Self::Content>;

    /// The content of an object, for a caller without a claim.
    fn share(&self, object: ObjectIndex) -> Option<Self::Content>;

    /// Says that nothing more of this session is to be run.
    fn cancel(&self);

    /// Whether `cancel` was called.
    fn is_cancelled(&self) -> bool;

    /// Cancels a task, with `unbegun` only if it has not begun.
    fn cancel_task(&self, task: TaskIndex, unbegun: bool) -> Cancelled;

    /// Whether a task that is not over was cancelled.
    fn task_is_cancelled(&self, task: TaskIndex) -> bool;

    /// Says that a ready task begins; false when it was cancelled before.
    fn begin(&self, task: TaskIndex) -> bool;

    /// Says that a task which was said to begin has not begun after all.
    fn put_back(&self, task: TaskIndex);

    /// Says that a task which was ready is over: the caller has given up its claims, and does not come back to it.
    fn set_over(&self, task: TaskIndex);

    /// Whether a task that is linked here has begun.
    fn has_begun(&self, task: TaskIndex) -> bool;

    /// Whether a task is ready and has not begun.
    fn is_ready(&self, task: TaskIndex) -> bool;

    /// Whether nobody here runs a task or will: it is over, or was never linked, or is not any more.
    fn is_done_with(&self, task: TaskIndex) -> bool;

    /// Takes out a ready task that nobody has begun, with its edges; its claims stay.
    fn unlink(&self, task: TaskIndex, edges: Range<u32>);

    /// Gives the memory of tasks, with their edges, and of objects back, at once or when nobody needs them any more.
    fn forget(
        &self,
        tasks: impl IntoIterator<Item = (TaskIndex, Range<u32>)>,
        objects: impl IntoIterator<Item = ObjectIndex>,
    );
}

/// The lock-free one.
impl<T: Handle + Clone> Graph for SessionGraph<T> {
    type Content = T;

    #[inline]
    fn claim(&self, object: ObjectIndex) {
        self.claim(object);
    }

    #[inline]
    fn link(&self, task: TaskIndex, inputs: &[ObjectIndex], first_edge: u32) -> bool {
        self.link(task, inputs, first_edge)
    }

    #[inline]
    fn supply(&self, object: ObjectIndex, content: T, ready: impl FnMut(TaskIndex)) {
        self.supply(object, content, ready);
    }

    #[inline]
    fn release(&self, object: ObjectIndex) {
        self.release(object);
    }

    fn unpin(&self, object: ObjectIndex) -> Option<T> {
        self.unpin(object)
    }

    fn share(&self, object: ObjectIndex) -> Option<T> {
        self.share(object)
    }

    fn cancel(&self) {
        self.cancel();
    }

    #[inline]
    fn is_cancelled(&self) -> bool {
        self.is_cancelled()
    }

    fn cancel_task(&self, task: TaskIndex, unbegun: bool) -> Cancelled {
        self.cancel_task(task, unbegun)
    }

    #[inline]
    fn task_is_cancelled(&self, task: TaskIndex) -> bool {
        self.task_is_cancelled(task)
    }

    #[inline]
    fn begin(&self, task: TaskIndex) -> bool {
        self.begin(task)
    }

    fn put_back(&self, task: TaskIndex) {
        self.put_back(task);
    }

    #[inline]
    fn set_over(&self, task: TaskIndex) {
        self.set_over(task);
    }

    fn has_begun(&self, task: TaskIndex) -> bool {
        self.has_begun(task)
    }

    fn is_ready(&self, task: TaskIndex) -> bool {
        self.is_ready(task)
    }

    fn is_done_with(&self, task: TaskIndex) -> bool {
        self.is_done_with(task)
    }

    fn unlink(&self, task: TaskIndex, edges: Range<u32>) {
        self.unlink(task, edges);
    }

    fn forget(
        &self,
        tasks: impl IntoIterator<Item = (TaskIndex, Range<u32>)>,
        objects: impl IntoIterator<Item = ObjectIndex>,
    ) {
        self.forget(tasks, objects);
    }
}
