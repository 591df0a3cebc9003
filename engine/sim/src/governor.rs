//! The thread of a simulated governor: it drives the real state machine, and does what that leaves to be done.

use crate::content::Data;
use crate::context::Context;
use crate::mutation::Mutation;
use crate::node::{Arrived, Doing, Node, since_beginning};
use crate::schedule::{End, Happening};
use rain_governor::{Effect, Event, To};
use rain_model::id::GovernorId;
use rain_pool::ReadyTask;
use rain_protocol::peer::{Run, TaskSet, ToGovernor};

/// The governor's thread takes one event.
pub fn turn(node: &mut Node, context: &mut Context) {
    node.is_rung = false;
    let now = since_beginning(context.now);
    let mut effects = Vec::new();
    match next_event(node) {
        Some(event) => {
            context.note(format_args!("governor {} takes {event:?}", node.number));
            let opened = match &event {
                Event::Server(ToGovernor::OpenSession(open)) => Some(open.session.0),
                _ => None,
            };
            if let Event::Server(ToGovernor::Run(run)) = &event
                && context.has(Mutation::LostWake)
            {
                node.queues.wake_only_for(Some(tasks_of(run).collect()));
            }
            node.machine.handle(now, event, &mut effects);
            node.queues.wake_only_for(None);
            if let Some(session) = opened {
                open(node, session, context);
            }
        }
        None => node.machine.queue_due(now),
    }
    for effect in effects {
        carry_out(node, effect, context);
    }
    let wakes = node.queues.take_wakes();
    node.wake(wakes, context);
    for worker in node.queues.take_dismissed() {
        node.rouse(worker, context);
    }
    if !(node.reports.is_empty() && node.arrived.is_empty()) {
        node.ring(context);
    }
    if let Some(due) = node.machine.next_due() {
        let at = (due.as_micros() as u64).max(context.now + 1);
        context.schedule.add(at, Happening::GovernorTurn { governor: node.number });
    }
}

/// A session was opened.
fn open(node: &mut Node, session: u32, context: &Context) {
    node.known.push(session);
    if let Some(open) = node.session(session).filter(|_| context.has(Mutation::KeptInputs)) {
        open.graph.keep_inputs();
    }
}

fn tasks_of(run: &Run<Data>) -> impl Iterator<Item = ReadyTask> {
    let tasks: Vec<u32> = match &run.tasks {
        TaskSet::All => run.batch.tasks().collect(),
        TaskSet::Some(tasks) => tasks.clone(),
    };
    tasks.into_iter().map(|task| ReadyTask::new(run.session.0, task))
}

fn next_event(node: &mut Node) -> Option<Event<Data>> {
    if let Some(event) = node.reports.pop_front() {
        return Some(event);
    }
    Some(match node.arrived.pop_front()? {
        Arrived::Server(message) => Event::Server(message),
        Arrived::Peer { from, message } => Event::Peer { from: GovernorId(from), message },
        Arrived::PeerLost { peer } => Event::PeerLost { governor: GovernorId(peer) },
    })
}

fn carry_out(node: &mut Node, effect: Effect<Data>, context: &mut Context) {
    match effect {
        Effect::Send { to, message } => {
            let to = match to {
                To::Server => End::Server,
                To::Governor(id) => End::Governor(id.0),
            };
            context.outbox.push((End::Governor(node.number), to, message));
        }
        Effect::Interrupt => {
            for worker in 0..node.workers.len() {
                if matches!(node.workers[worker].doing, Doing::Runs { .. } | Doing::Drives(_)) {
                    let delay = 1 + context.turns.below(50);
                    context.after(delay, Happening::Interrupt { governor: node.number, worker });
                }
            }
        }
        Effect::Free(_) | Effect::SessionClosed(_) | Effect::Stop => {}
    }
}
