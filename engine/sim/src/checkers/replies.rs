//! What a client is told is true.

use crate::content::Data;
use crate::truth::{Asked, Question, Truth};
use crate::violation::Violation;
use rain_model::id::{NONE, SessionId};
use rain_protocol::client::{ErrorKind, RequestError};
use rain_server::Reply;

const NAME: &str = "replies";
/// Tasks that one answer explains.
const EXPLAINED_MAX: usize = 16;

fn wrong(asked: &Asked, why: &str) -> Result<(), Violation> {
    Err(Violation::wrong(NAME, format!("{why}: the answer to {:?} in {:?}", asked.what, asked.session)))
}

/// Compares an answer with the truth, which it may become a part of. `shared`: whether one of the governors that were named has the
/// object.
pub fn check(
    truth: &mut Truth,
    asked: &Asked,
    reply: &Reply<Data>,
    has_holder: impl Fn(SessionId, u32, &[rain_model::id::GovernorId]) -> bool,
) -> Result<(), Violation> {
    if let Reply::Error(error) = reply {
        return check_error(truth, asked, error);
    }
    let Some(id) = asked.session else {
        return match (&asked.what, reply) {
            (Question::NewSession, Reply::Session(_)) | (Question::Status, Reply::Status(_)) => Ok(()),
            _ => wrong(asked, "not of its kind"),
        };
    };
    match (&asked.what, reply) {
        (Question::Submit { tasks, objects, .. }, Reply::Done) => {
            if let Some(facts) = truth.sessions.get_mut(&id) {
                facts.tasks.extend(tasks.iter().cloned());
                facts.objects.extend(objects.iter().copied());
            }
            Ok(())
        }
        (Question::Wait { tasks, objects }, Reply::Done) => check_over(truth, asked, id, tasks, objects, false),
        (Question::WaitSome { tasks, objects }, Reply::Some { tasks: some_tasks, objects: some_objects }) => {
            let foreign = some_tasks.iter().any(|task| !tasks.contains(task))
                || some_objects.iter().any(|object| !objects.contains(object));
            let none = some_tasks.is_empty() && some_objects.is_empty();
            if foreign || (none && !(tasks.is_empty() && objects.is_empty())) {
                return wrong(asked, "not what was asked for");
            }
            check_over(truth, asked, id, some_tasks, some_objects, true)
        }
        (Question::WaitAll, Reply::Done) => {
            let all: Vec<u32> = truth.sessions.get(&id).map_or(0..0, |facts| 0..facts.tasks.len() as u32).collect();
            check_over(truth, asked, id, &all, &[], true)
        }
        (Question::Fetch { object }, Reply::Object { content, .. }) => match truth.expected(id.0, *object) {
            Some(expected) if expected == **content => Ok(()),
            expected => wrong(asked, &format!("{content:?} instead of {expected:?}")),
        },
        (Question::Fetch { object }, Reply::Holders { governors, .. }) => {
            let is_lost = |governor: &rain_model::id::GovernorId| truth.known_cpus.get(&governor.0) == Some(&None);
            if governors.iter().any(is_lost) && governors.len() == 1 {
                return wrong(asked, "a governor that is lost");
            }
            match has_holder(id, *object, governors) {
                true => Ok(()),
                false => wrong(asked, "nobody named has the object"),
            }
        }
        (Question::Unkeep { .. } | Question::Close, Reply::Done) => Ok(()),
        (Question::Cancel { waiting }, Reply::Some { tasks, .. }) => {
            let losses = truth.losses;
            let Some(facts) = truth.sessions.get_mut(&id) else { return Ok(()) };
            for task in tasks {
                let Some(facts) = facts.tasks.get_mut(*task as usize) else { return wrong(asked, "no such task") };
                // One that has ended on a governor that was lost before it could say so is begun anew.
                if *waiting && facts.ended > 0 && losses == 0 {
                    return wrong(asked, &format!("task {task} had begun and is said not to have"));
                }
                facts.cancelled = true;
            }
            Ok(())
        }
        (Question::Forget { .. }, Reply::Forgotten { objects, .. }) => {
            if let Some(facts) = truth.sessions.get_mut(&id) {
                objects.iter().for_each(|object| facts.objects[*object as usize].gone = true);
            }
            Ok(())
        }
        (Question::Info { tasks }, Reply::Infos { tasks: infos, .. }) => {
            let states = infos.iter().map(|info| (info.id, info.state.as_str())).collect();
            check_states(truth, asked, id, tasks.len(), states)
        }
        (Question::Explain { tasks }, Reply::Explanations(told)) => {
            let states = told.iter().map(|told| (told.id, told.state.as_str())).collect();
            check_states(truth, asked, id, tasks.len().min(EXPLAINED_MAX), states)
        }
        _ => wrong(asked, "not of its kind"),
    }
}

/// What is said of tasks holds.
fn check_states(
    truth: &mut Truth,
    asked: &Asked,
    id: SessionId,
    count: usize,
    states: Vec<(u32, &str)>,
) -> Result<(), Violation> {
    if states.len() != count {
        return wrong(asked, "not what was asked for");
    }
    let is_cancelling = truth.is_cancelling(id);
    for (task, state) in states {
        let facts = truth.task_mut(id.0, task);
        let Some(facts) = facts else { return wrong(asked, "no such task") };
        let is_true = match state {
            "finished" => facts.ended > 0,
            "cancelled" => facts.cancelled || is_cancelling,
            _ => true,
        };
        if !is_true {
            return wrong(asked, &format!("task {task} is said to be {state}, and is not"));
        }
    }
    Ok(())
}

/// What is said to be over is over.
fn check_over(
    truth: &Truth,
    asked: &Asked,
    id: SessionId,
    tasks: &[u32],
    objects: &[u32],
    cancelled_too: bool,
) -> Result<(), Violation> {
    let Some(facts) = truth.sessions.get(&id) else { return Ok(()) };
    let is_cancelling = cancelled_too && truth.is_cancelling(id);
    let is_over = |task: u32| {
        let task = facts.tasks.get(task as usize);
        // What its client has asked to be forgotten, it does not wait for any more.
        task.is_some_and(|task| {
            task.ended > 0 || (task.cancelled && (cancelled_too || task.forgotten)) || is_cancelling
        })
    };
    if let Some(task) = tasks.iter().find(|task| !is_over(**task)) {
        return wrong(asked, &format!("task {task} is not over"));
    }
    let producer = |object: u32| facts.objects.get(object as usize).map_or(NONE, |object| object.producer);
    match objects.iter().find(|object| producer(**object) != NONE && !is_over(producer(**object))) {
        None => Ok(()),
        Some(object) => wrong(asked, &format!("object {object} is not made")),
    }
}

/// A refusal has a reason.
fn check_error(truth: &mut Truth, asked: &Asked, error: &RequestError) -> Result<(), Violation> {
    let is_cancelling = asked.session.is_some_and(|session| truth.is_cancelling(session));
    let may_fail = !truth.excuses.is_empty();
    let largest = truth.known_cpus.values().filter_map(|cpus| *cpus).max();
    let Some(facts) = asked.session.and_then(|session| truth.sessions.get_mut(&session)) else {
        return wrong(asked, &format!("refused: {}", error.message));
    };
    let is_cancelled = |task: u32| {
        is_cancelling || (task != NONE && facts.tasks.get(task as usize).is_some_and(|task| task.cancelled))
    };
    let is_gone = |object: &u32| facts.objects.get(*object as usize).is_some_and(|object| object.gone);
    let producer = |object: u32| facts.objects.get(object as usize).map_or(NONE, |object| object.producer);
    let has_reason = match (error.kind, &asked.what) {
        (ErrorKind::Session | ErrorKind::Task, _) if facts.closed || may_fail || !facts.excuses.is_empty() => {
            facts.failed = true;
            true
        }
        (ErrorKind::Cancelled, Question::Wait { tasks, objects }) => {
            tasks.iter().any(|task| is_cancelled(*task)) || objects.iter().any(|object| is_cancelled(producer(*object)))
        }
        (ErrorKind::Cancelled, Question::Fetch { object }) => is_cancelled(producer(*object)),
        (_, Question::Fetch { object }) => {
            !facts.objects.get(*object as usize).is_some_and(|object| object.kept) || facts.closed
        }
        (ErrorKind::Request, Question::Submit { tasks, cpus, .. }) => {
            let reads = tasks.iter().flat_map(|task| &task.inputs);
            let known = reads.filter(|object| (**object as usize) < facts.objects.len());
            largest.is_some_and(|largest| *cpus > largest)
                || known.clone().any(|object| is_cancelled(producer(*object)))
        }
        (ErrorKind::Request, Question::Wait { objects, .. } | Question::WaitSome { objects, .. }) => {
            objects.iter().any(is_gone)
        }
        (ErrorKind::Request, Question::Forget { constants, .. }) => {
            constants.iter().any(is_gone) || error.message.contains("neither finished nor cancelled")
        }
        _ => facts.closed,
    };
    match has_reason {
        true => Ok(()),
        false => wrong(asked, &format!("refused without a reason ({:?}): {}", error.kind, error.message)),
    }
}
