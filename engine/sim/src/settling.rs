//! What follows from the end of a task on a simulated governor.

use crate::checkers::{inputs, once};
use crate::content::{Content, Plan};
use crate::context::Context;
use crate::node::Node;
use crate::violation::Violation;
use rain_governor::{Event, Graph};
use rain_model::graph::Batch;
use rain_model::id::SessionId;
use rain_pool::ReadyTask;
use rain_protocol::peer::{Failure, ObjectReport, TaskReport};
use std::sync::Arc;

/// Reports that a worker holds back at most.
const HELD_BACK_MAX: usize = 8;

/// What the configuration of a task says.
pub fn plan_of(batch: &Batch, session: u32, task: u32, context: &mut Context) -> Plan {
    Plan::decode(batch.config(task)).unwrap_or_else(|| {
        let message = format!("the configuration of task {session}:{task} was dropped before the task began");
        context.broken(Violation::wrong("inputs", message));
        Plan::default()
    })
}

/// A task has done its work.
pub fn succeed(node: &mut Node, worker: usize, number: u32, batch: &Arc<Batch>, task: u32, context: &mut Context) {
    let plan = plan_of(batch, number, task, context);
    let Some(session) = node.session(number) else { return };
    let read = match inputs::read(&context.truth, &session, batch, task) {
        Ok(read) => read,
        Err(violation) => return context.broken(violation),
    };
    for (index, object) in (0..).zip(batch.outputs(task)) {
        let content = plan.output(read.iter().copied(), index);
        context.check(once::made(&context.truth, number, object, content));
        node.workers[worker].finished.objects.push(ObjectReport { object, size: content.size });
        supply(node, worker, number, object, content, context);
    }
    finish(node, worker, number, batch, task, plan, context);
}

fn supply(node: &mut Node, worker: usize, number: u32, object: u32, content: Content, context: &mut Context) {
    let Some(session) = node.session(number) else { return };
    let mut ready = Vec::new();
    session.graph.supply(object, Arc::new(content), |task| ready.push(task));
    for task in ready {
        let priority = session.priority(task);
        let ready = ReadyTask::new(number, task);
        if priority == 0 && node.workers[worker].next.is_none() {
            node.workers[worker].next = Some(ready);
            continue;
        }
        node.queues.with(|queues| match priority {
            0 => queues.add_own(worker, ready),
            priority => queues.add(ready, priority),
        });
        node.wake(1, context);
    }
}

fn finish(node: &mut Node, worker: usize, number: u32, batch: &Batch, task: u32, plan: Plan, context: &mut Context) {
    let Some(session) = node.session(number) else { return };
    session.release_inputs(batch, task);
    session.graph.set_over(task);
    let ended = once::ended(&mut context.truth, number, task);
    context.check(ended);
    let finished = &mut node.workers[worker].finished;
    if finished.session != number && !finished.tasks.is_empty() {
        // Objects of this task were added already.
        let count = batch.outputs(task).len();
        let objects = finished.objects.split_off(finished.objects.len() - count);
        node.flush(worker, context);
        node.workers[worker].finished.objects = objects;
    }
    let start = context.now as f64 / 1e6;
    let finished = &mut node.workers[worker].finished;
    finished.session = number;
    finished.tasks.push(TaskReport { task, duration: plan.micros as f32 / 1e6, start });
    if finished.tasks.len() >= HELD_BACK_MAX {
        node.flush(worker, context);
    }
}

/// An attempt has failed for this reason: the task is run again, or its session fails.
pub fn fail(
    node: &mut Node,
    worker: usize,
    number: u32,
    batch: &Batch,
    task: u32,
    why: &'static str,
    context: &mut Context,
) {
    let retries = batch.kind(task).retries;
    let Some(session) = node.session(number) else { return };
    if retries > 0
        && let Some(failed) = session.may_retry(task, retries)
    {
        return node.report(Event::Retried { session: SessionId(number), task, failed }, context);
    }
    context.truth.excuse(number, why);
    node.flush(worker, context);
    let failure = Failure { message: why.to_owned(), ..Failure::default() };
    node.report(Event::Failed { session: SessionId(number), task, failure }, context);
}
