//! The thread of a simulated governor: it drives the real state machine, and does what that says.

use crate::content::Data;
use crate::context::Context;
use crate::mutation::Mutation;
use crate::node::{Arrived, Doing, Node};
use crate::schedule::{End, Happening};
use crate::session::{Session, tasks_of};
use crate::violation::Violation;
use rain_governor::{Action, Asker, Event, To};
use rain_model::id::{GovernorId, SessionId};
use rain_pool::Cancelled;
use rain_protocol::peer::{BetweenGovernors, FromGovernor, Message, Run};

/// The governor's thread takes one event.
pub fn turn(node: &mut Node, context: &mut Context) {
    node.is_rung = false;
    let Some(event) = next_event(node) else { return };
    context.note(format_args!("governor {} takes {event:?}", node.number));
    let mut actions = Vec::new();
    node.machine.handle(event, &mut actions);
    for action in actions {
        carry_out(node, action, context);
    }
    if !(node.taken_back.is_empty() && node.reports.is_empty() && node.arrived.is_empty()) {
        node.ring(context);
    }
}

fn next_event(node: &mut Node) -> Option<Event<Data>> {
    if let Some(event) = node.taken_back.pop_front().or_else(|| node.reports.pop_front()) {
        return Some(event);
    }
    Some(match node.arrived.pop_front()? {
        Arrived::Server(message) => Event::Server(message),
        Arrived::Peer { from, message } => Event::Peer { from: GovernorId(from), message },
        Arrived::PeerLost { peer } => Event::PeerLost { governor: GovernorId(peer) },
    })
}

fn carry_out(node: &mut Node, action: Action<Data>, context: &mut Context) {
    let keeps_inputs = context.has(Mutation::KeptInputs);
    match action {
        Action::Send { to, message } => {
            let to = match to {
                To::Server => End::Server,
                To::Governor(id) => End::Governor(id.0),
            };
            context.outbox.push((End::Governor(node.number), to, message));
        }
        Action::OpenSession(open) => _ = node.sessions.insert(open.session.0, Session::new(open.session.0)),
        Action::Link(run) => link(node, run, context),
        Action::Supply { session, object, content } => {
            let Some(open) = node.sessions.get_mut(&session.0) else { return };
            match open.graph.supply(object, content) {
                Ok(ready) => ready.into_iter().for_each(|task| node.queue(session.0, task, context)),
                Err(why) => broken_claim(node, session, &why, context),
            }
        }
        Action::Release { session, objects } => {
            if let Some(open) = node.sessions.get_mut(&session.0) {
                objects.iter().for_each(|object| open.graph.unpin(*object));
            }
        }
        Action::CancelTasks { session, tasks } => {
            for task in tasks {
                let Some(open) = node.sessions.get_mut(&session.0) else { return };
                if let Err(why) = open.cancel_task(task, false, keeps_inputs) {
                    broken_claim(node, session, &why, context);
                }
            }
            stop_what_is_cancelled(node, context);
        }
        Action::CancelWaiting { session, ticket, tasks } => {
            let mut unbegun = Vec::new();
            for task in tasks {
                let Some(open) = node.sessions.get_mut(&session.0) else { break };
                match open.cancel_task(task, true, keeps_inputs) {
                    Ok(Cancelled::Begun | Cancelled::Over) => {}
                    Ok(_) => unbegun.push(task),
                    Err(why) => broken_claim(node, session, &why, context),
                }
            }
            node.taken_back.push_back(Event::CancelledWaiting { session, ticket, tasks: unbegun });
            stop_what_is_cancelled(node, context);
        }
        Action::Raise { session, tasks } => {
            if let Some(open) = node.sessions.get_mut(&session.0) {
                let ready = open.raise(&tasks);
                node.queues.raise(session.0, &ready);
                node.wake(ready.len(), context);
            }
        }
        Action::DropConfigs { session, batches } => {
            if let Some(open) = node.sessions.get_mut(&session.0) {
                open.drop_configs(&batches);
            }
        }
        Action::Forget(forget) => {
            if let Some(open) = node.sessions.get_mut(&forget.session) {
                open.forget(&forget);
            }
        }
        Action::TakeBack { session, count } => take_back(node, session, count as usize),
        Action::CloseSession(session) => {
            if let Some(closed) = node.sessions.remove(&session.0) {
                closed.graph.cancel();
            }
            stop_what_is_cancelled(node, context);
        }
        Action::SendObject { session, object, to } => send_object(node, session, object, to, context),
        Action::EndOfWork { .. } | Action::Stop => {}
    }
}

fn broken_claim(node: &Node, session: SessionId, why: &str, context: &mut Context) {
    context.broken(Violation::wrong("claims", format!("governor {}: {session}: {why}", node.number)));
}

fn link(node: &mut Node, run: Run<Data>, context: &mut Context) {
    let number = run.session.0;
    let Some(session) = node.sessions.get_mut(&number) else { return };
    let edges = session.add_batch(&run.batch);
    session.claim(&run);
    let tasks = tasks_of(&run);
    let mut supplied = Vec::new();
    for (object, content) in run.constants {
        match session.graph.supply(object, content) {
            Ok(ready) => supplied.extend(ready),
            Err(why) => {
                broken_claim(node, run.session, &why, context);
                return;
            }
        }
    }
    let linked: Vec<u32> = tasks
        .into_iter()
        .filter(|task| {
            let inputs = run.batch.input_range(*task);
            session.graph.link(*task, &run.batch.inputs[inputs.clone()], edges + inputs.start as u32)
        })
        .collect();
    let is_silent = context.has(Mutation::LostWake);
    for task in supplied {
        match is_silent {
            true => node.queue_silently(number, task),
            false => node.queue(number, task, context),
        }
    }
    linked.into_iter().for_each(|task| node.queue(number, task, context));
}

/// Interrupts workers, and dismisses those who gather for what is not wanted.
fn stop_what_is_cancelled(node: &mut Node, context: &mut Context) {
    for worker in 0..node.workers.len() {
        if matches!(node.workers[worker].doing, Doing::Runs { .. } | Doing::Drives(_)) {
            let delay = 1 + context.turns.below(50);
            context.after(delay, Happening::Interrupt { governor: node.number, worker });
        }
    }
    if context.has(Mutation::LostGang) {
        return;
    }
    // A task of a closed session has nothing to give up; others give up their claims.
    let mut cancelled = Vec::new();
    let sessions = &node.sessions;
    let dismissed = node.queues.retain_wide(|task| {
        let session = sessions.get(&task.session());
        let is_wanted = session.is_some_and(|session| !session.graph.is_cancelled(task.task()));
        if !is_wanted {
            cancelled.push(task);
        }
        is_wanted
    });
    for task in cancelled {
        let batch = node.sessions.get(&task.session()).and_then(|session| session.batch_of(task.task()));
        if let Some(batch) = batch {
            crate::taking::abandon(node, &batch, task.session(), task.task(), context);
        }
    }
    dismissed.into_iter().for_each(|worker| node.rouse(worker, context));
}

/// Takes ready tasks of a session out of the queues; their claims stay.
fn take_back(node: &mut Node, session: SessionId, count: usize) {
    let mut tasks: Vec<u32> = Vec::new();
    if let Some(open) = node.sessions.get(&session.0) {
        let wanted = |task: rain_pool::ReadyTask| {
            let task = task.task();
            !open.graph.is_cancelled(task) && !open.graph.has_begun(task) && !open.is_retried(task)
        };
        let taken = node.queues.take_back(session.0, count, wanted);
        tasks.extend(taken.iter().map(|task| task.task()));
    }
    if let Some(open) = node.sessions.get_mut(&session.0) {
        tasks.iter().for_each(|task| open.unlink(*task));
    }
    node.taken_back.push_back(Event::TakenBack { session, tasks });
}

fn send_object(node: &mut Node, session: SessionId, object: u32, to: Asker, context: &mut Context) {
    let content = node.sessions.get(&session.0).and_then(|session| session.graph.share(object));
    let content = content.ok_or_else(|| "it is not there any more".to_owned());
    let me = End::Governor(node.number);
    context.outbox.push(match to {
        Asker::Server { ticket } => (me, End::Server, Message::FromGovernor(FromGovernor::Fetched { ticket, content })),
        Asker::Governor(id) => {
            let message = BetweenGovernors::Object { session, object, content };
            (me, End::Governor(id.0), Message::BetweenGovernors(message))
        }
    });
}
