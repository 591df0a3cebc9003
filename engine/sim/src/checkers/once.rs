//! Each task runs to its end exactly once, and again only when a governor was lost: then at most once for the loss, and once for each
//! request that wants something of what was lost. It makes what a sequential run makes.

use crate::content::Content;
use crate::node::Node;
use crate::truth::Truth;
use crate::violation::Violation;
use rain_model::id::SessionId;
use std::collections::BTreeMap;

const NAME: &str = "once";

/// A task has come to its end.
pub fn ended(truth: &mut Truth, session: u32, task: u32) -> Result<(), Violation> {
    let Some(facts) = truth.task_mut(session, task) else {
        return Err(Violation::wrong(NAME, format!("task {session}:{task}, which nobody has submitted, ran")));
    };
    facts.ended += 1;
    let ended = facts.ended;
    if ended == 1 {
        return Ok(());
    }
    let asked = truth.asked.values().filter(|asked| asked.session == Some(SessionId(session))).count();
    if ended as usize > 1 + truth.losses as usize * (1 + asked) {
        let message =
            format!("task {session}:{task} ran to its end {ended} times, and {} governors were lost", truth.losses);
        return Err(Violation::wrong(NAME, message));
    }
    Ok(())
}

/// A task has made an object.
pub fn made(truth: &Truth, session: u32, object: u32, content: Content) -> Result<(), Violation> {
    let expected = truth.expected(session, object);
    if expected == Some(content) {
        return Ok(());
    }
    let message = format!("object {session}:{object} is {content:?} instead of {expected:?}");
    Err(Violation::wrong(NAME, message))
}

/// At rest: each task of sessions that go on has run, or was cancelled.
pub fn at_rest(truth: &Truth, nodes: &BTreeMap<u32, Node>) -> Result<(), Violation> {
    for (id, facts) in truth.sessions.iter().filter(|(_, facts)| facts.is_open()) {
        let lost = facts.tasks.iter().position(|task| task.ended == 0 && !task.cancelled);
        if let Some(task) = lost {
            let here = |node: &&Node| node.session(id.0).is_some_and(|s| s.batch_of(task as u32).is_some());
            let known: Vec<u32> = nodes.values().filter(here).map(|node| node.number).collect();
            let message = format!("task {}:{task} neither ran nor was cancelled; governors {known:?} know it", id.0);
            return Err(Violation::stuck(NAME, message));
        }
    }
    Ok(())
}
