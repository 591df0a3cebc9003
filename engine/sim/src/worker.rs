//! A simulated worker: what the threads of the runtime do, one step at a time.

use crate::checkers::resources;
use crate::context::Context;
use crate::driving;
use crate::node::{Doing, Node};
use crate::queues::Joined;
use crate::schedule::{Happening, SECOND};
use crate::settling::{fail, plan_of, succeed};
use crate::taking::{abandon, leave_next, locate, next_task};
use crate::violation::Violation;
use rain_governor::{Event, Graph};
use rain_model::graph::Batch;
use rain_model::id::SessionId;
use rain_pool::ReadyTask;
use std::sync::Arc;

/// A worker that is awake takes its next step.
pub fn turn(node: &mut Node, worker: usize, context: &mut Context) {
    if !matches!(node.workers[worker].doing, Doing::Looks) {
        return;
    }
    if node.queues.with(|queues| queues.gang.is_wanted()) {
        join(node, worker, context);
    } else if let Some(task) = next_task(node, worker, context) {
        run(node, worker, task, context);
    } else {
        rest(node, worker, context);
    }
}

fn rest(node: &mut Node, worker: usize, context: &mut Context) {
    node.flush(worker, context);
    node.queues.with(|queues| queues.sleep(worker));
    node.workers[worker].doing = Doing::Sleeps;
}

fn join(node: &mut Node, worker: usize, context: &mut Context) {
    leave_next(node, worker, context);
    node.flush(worker, context);
    match node.queues.with(|queues| queues.gang.join(worker)) {
        Joined::Dismissed => node.rouse(worker, context),
        Joined::Gathers => node.workers[worker].doing = Doing::Gathers,
        Joined::Leads { task, members } => {
            context.note(format_args!("governor {} {members:?} run {task:?}", node.number));
            for member in members.iter().filter(|member| **member != worker) {
                node.workers[*member].doing = Doing::Lends;
            }
            node.busy += members.len() as u32;
            node.workers[worker].members = members;
            match locate(node, task, context) {
                Some(batch) => run_it(node, worker, task, batch, true, context),
                None => driving::leave(node, worker, context),
            }
        }
    }
}

fn run(node: &mut Node, worker: usize, task: ReadyTask, context: &mut Context) {
    let Some(batch) = locate(node, task, context) else { return node.rouse(worker, context) };
    let kind = batch.kind(task.task());
    let grant = node.session(task.session()).and_then(|session| session.grant(task.task()));
    let cpus = grant.map_or(kind.cpus, |grant| grant.cpus);
    if cpus > 1 {
        node.queues.with(|queues| queues.add_wide(task, cpus as usize));
        node.wake(usize::MAX, context);
        return node.rouse(worker, context);
    }
    node.busy += 1;
    run_it(node, worker, task, batch, false, context);
}

/// Runs a task for which cpus are taken.
fn run_it(node: &mut Node, worker: usize, task: ReadyTask, batch: Arc<Batch>, alone: bool, context: &mut Context) {
    let (number, index) = (task.session(), task.task());
    context.note(format_args!("governor {} worker {worker} runs {number}:{index}", node.number));
    let kind = batch.kind(index);
    let mut alone = alone;
    if !kind.resources.is_empty() {
        let Some(grant) = node.session(number).and_then(|session| session.grant(index)) else {
            let message = format!("task {number}:{index} runs without what it asks for");
            return context.broken(Violation::wrong("resources", message));
        };
        context.check(resources::granted(node, kind, &grant));
        if !node.hold(worker, task, grant, context) {
            context.note(format_args!("{number}:{index} waits for what it was given"));
            return driving::leave(node, worker, context);
        }
        alone = true;
    }
    if !kind.is_built_in() {
        return driving::begin(node, worker, task, batch, alone, context);
    }
    if kind.method() == "noop" {
        succeed(node, worker, number, &batch, index, context);
        return driving::leave(node, worker, context);
    }
    if !node.session(number).is_some_and(|session| session.graph.begin(index)) {
        abandon(node, &batch, number, index);
        return driving::leave(node, worker, context);
    }
    node.flush(worker, context);
    leave_next(node, worker, context);
    let start = context.now as f64 / 1e6;
    node.report(Event::Started { session: SessionId(number), task: index, worker: worker as u32, start }, context);
    node.workers[worker].serial += 1;
    let serial = node.workers[worker].serial;
    let plan = plan_of(&batch, number, index, context);
    let limit = kind.timeout.map(|limit| limit.as_micros() as u64);
    let mut takes = u64::from(plan.micros) * node.slowness.min(4) + 1;
    if let Some(facts) = context.truth.task_mut(number, index)
        && facts.hangs < plan.hangs
    {
        facts.hangs += 1;
        takes = limit.unwrap_or(takes + 5 * SECOND);
    }
    let timed_out = limit.is_some_and(|limit| limit <= takes);
    node.workers[worker].doing = Doing::Runs { session: number, task: index, batch };
    let happening = Happening::WorkEnds { governor: node.number, worker, serial, timed_out };
    context.after(limit.map_or(takes, |limit| limit.min(takes)), happening);
}

/// A built-in task comes to its end.
pub fn work_ends(node: &mut Node, worker: usize, timed_out: bool, context: &mut Context) {
    let Doing::Runs { session: number, task, batch } = &node.workers[worker].doing else { return };
    let (number, task, batch) = (*number, *task, batch.clone());
    let is_cancelled = node.is_unwanted(number, task);
    let is_full = node.full_until > context.now && !batch.outputs(task).is_empty();
    let plan = plan_of(&batch, number, task, context);
    let fails = context.truth.task_mut(number, task).is_some_and(|facts| {
        let fails = facts.failures < plan.failures;
        facts.failures += u32::from(fails && !timed_out);
        fails
    });
    let why = match () {
        () if timed_out => Some("a time limit was reached"),
        () if fails => Some("a task fails"),
        () if is_full => Some("nothing can be written"),
        () => None,
    };
    match why {
        _ if is_cancelled => abandon(node, &batch, number, task),
        Some(why) => fail(node, worker, number, &batch, task, why, context),
        None => succeed(node, worker, number, &batch, task, context),
    }
    driving::leave(node, worker, context);
}

/// Something was cancelled: a worker that is at it stops.
pub fn interrupt(node: &mut Node, worker: usize, context: &mut Context) {
    match &node.workers[worker].doing {
        Doing::Runs { session, task, batch } => {
            let (number, task, batch) = (*session, *task, batch.clone());
            if node.is_unwanted(number, task) {
                abandon(node, &batch, number, task);
                driving::leave(node, worker, context);
            }
        }
        Doing::Drives(_) => driving::hear(node, worker, context),
        _ => {}
    }
}
