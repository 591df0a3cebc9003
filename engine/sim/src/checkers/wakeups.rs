//! No ready task waits beside an idle cpu that nobody has been woken for; nor do cpus stand idle for a task that is not wanted.

use crate::node::{Doing, Node};
use crate::violation::Violation;

const NAME: &str = "wakeups";

/// After every step, when the governor's thread is not in the middle of something.
pub fn check(node: &Node) -> Result<(), Violation> {
    let looks = node.workers.iter().any(|worker| matches!(worker.doing, Doing::Looks));
    let (queued, wide, idle, gathered) = node
        .queues
        .with(|queues| (queues.queued(), queues.gang.first(), queues.asleep(), queues.gang.gathered.clone()));
    if idle > 0 && !looks && (queued > 0 || wide.is_some()) {
        let message = format!(
            "on governor {} {queued} tasks are ready (of several cpus: {wide:?}), {idle} workers sleep, and nobody was woken",
            node.number
        );
        return Err(Violation::wrong(NAME, message));
    }
    if let Some(first) = wide
        && !gathered.is_empty()
        && node.is_unwanted(first.session(), first.task())
    {
        let message = format!(
            "workers {gathered:?} of governor {} gather for {first:?}, which is not wanted any more",
            node.number
        );
        return Err(Violation::wrong(NAME, message));
    }
    Ok(())
}
