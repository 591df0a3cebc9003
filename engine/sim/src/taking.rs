//! How a simulated worker takes a task, and finds out whether it is to be run.

use crate::context::Context;
use crate::node::Node;
use crate::violation::Violation;
use rain_model::graph::Batch;
use rain_pool::ReadyTask;
use std::sync::Arc;

/// The next task of a worker.
pub fn next_task(node: &mut Node, worker: usize, context: &mut Context) -> Option<ReadyTask> {
    match node.workers[worker].next.take() {
        None => node.queues.with(|queues| queues.find(worker)),
        Some(next) => match node.queues.with(|queues| queues.before(next)) {
            None => Some(next),
            Some(first) => {
                leave(node, worker, next, context);
                Some(first)
            }
        },
    }
}

/// Queues a task that a worker will not come to soon.
pub fn leave(node: &mut Node, worker: usize, task: ReadyTask, context: &mut Context) {
    node.queues.with(|queues| queues.add_own(worker, task));
    node.wake(1, context);
}

/// Queues what a worker would have run next, for others to take.
pub fn leave_next(node: &mut Node, worker: usize, context: &mut Context) {
    if let Some(next) = node.workers[worker].next.take() {
        leave(node, worker, next, context);
    }
}

/// The batch of a task that is to be run.
pub fn locate(node: &mut Node, task: ReadyTask, context: &mut Context) -> Option<Arc<Batch>> {
    let session = node.session(task.session())?;
    let batch = session.batch_of(task.task());
    let Some(batch) = batch else {
        let message = format!("{task:?} is ready on governor {}, which does not know its batch", node.number);
        context.broken(Violation::wrong("inputs", message));
        return None;
    };
    if session.is_cancelled(task.task()) {
        abandon(node, &batch, task.session(), task.task());
        return None;
    }
    Some(batch)
}

/// A task that was ready is not run, or was stopped.
pub fn abandon(node: &Node, batch: &Batch, session: u32, task: u32) {
    if let Some(session) = node.session(session) {
        session.abandon(batch, task);
    }
}
