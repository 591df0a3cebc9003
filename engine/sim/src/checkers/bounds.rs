//! Queues are never longer than what was asked for explains.

use crate::node::Node;
use crate::truth::Truth;
use crate::violation::Violation;

const NAME: &str = "bounds";
/// Messages that are under way without a task or a request that explains them.
const MESSAGES_MIN: usize = 64;
/// Messages that one task or request may have under way on one link: its run, its inputs, its cancelling, forgetting and fetching.
const MESSAGES_EACH: usize = 8;

/// After every step: messages on a link.
pub fn link(truth: &Truth, messages: usize) -> Result<(), Violation> {
    let tasks: usize = truth.sessions.values().map(|facts| facts.tasks.len()).sum();
    let most = MESSAGES_MIN + MESSAGES_EACH * (tasks + truth.asked.len());
    if messages > most {
        return Err(Violation::wrong(NAME, format!("{messages} messages are on one link; {most} would be explained")));
    }
    Ok(())
}

/// After every step: what waits on a governor.
pub fn node(truth: &Truth, node: &Node) -> Result<(), Violation> {
    let tasks: usize = truth.sessions.values().map(|facts| facts.tasks.len()).sum();
    let queued = node.queues.with(|queues| queues.queued());
    if queued > tasks {
        let message = format!("{queued} tasks are ready on governor {}, of {tasks} that there are", node.number);
        return Err(Violation::wrong(NAME, message));
    }
    let reports = node.reports.len();
    // Of each attempt its beginning and its end.
    if reports > MESSAGES_MIN + MESSAGES_EACH * tasks {
        return Err(Violation::wrong(
            NAME,
            format!("{reports} reports of {tasks} tasks wait on governor {}", node.number),
        ));
    }
    Ok(())
}
