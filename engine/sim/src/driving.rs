//! How a simulated worker drives its executor: the first call is what the executor is at, others are sent ahead.

use crate::context::Context;
use crate::mutation::Mutation;
use crate::node::{Call, Doing, Drive, Node};
use crate::schedule::{Happening, MILLI, SECOND, Said};
use crate::settling::{fail, plan_of, succeed};
use crate::taking::{abandon, leave_next, locate, next_task};
use rain_governor::Event;
use rain_model::graph::Batch;
use rain_model::id::SessionId;
use rain_pool::ReadyTask;
use std::sync::Arc;

/// A call that takes less is quick: others are sent ahead behind it.
const QUICK_MICROS: u32 = 300;
/// How many quick calls an executor has at most.
const AHEAD_MAX: usize = 4;

/// How a call ended whose executor is gone.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lost {
    Cancelled,
    Failed(&'static str),
}

/// A worker runs a task on an executor; `alone`: no other may follow.
pub fn begin(node: &mut Node, worker: usize, task: ReadyTask, batch: Arc<Batch>, alone: bool, context: &mut Context) {
    let (number, task) = (task.session(), task.task());
    let has_begun = node.sessions.get(&number).is_some_and(|session| session.graph.begin(task));
    if !has_begun {
        abandon(node, &batch, number, task, context);
        return leave(node, worker, context);
    }
    let drive = Drive {
        session: number,
        in_flight: Default::default(),
        goes_on: !alone,
        is_used_up: false,
        has_answered: context.executors.chance(700),
    };
    node.workers[worker].doing = Doing::Drives(drive);
    go_on(node, worker, Some((task, batch)), context);
}

fn drive_of(node: &mut Node, worker: usize) -> Option<&mut Drive> {
    match &mut node.workers[worker].doing {
        Doing::Drives(drive) => Some(drive),
        _ => None,
    }
}

fn in_flight(node: &mut Node, worker: usize) -> usize {
    drive_of(node, worker).map_or(0, |drive| drive.in_flight.len())
}

/// Sends what is to be sent, and leaves the executor when there is nothing for it.
fn go_on(node: &mut Node, worker: usize, mut waiting: Option<(u32, Arc<Batch>)>, context: &mut Context) {
    let mut unsent = false;
    while let Some((task, batch)) = waiting.take() {
        let (next, sent) = begin_call(node, worker, task, batch, context);
        waiting = next;
        unsent |= !sent;
    }
    if in_flight(node, worker) == 0 && !(unsent && context.has(Mutation::EmptyWait)) {
        return leave(node, worker, context);
    }
    node.flush(worker, context);
    leave_next(node, worker, context);
}

/// Sends a call; the next one if it may be sent, too, and whether this one was.
fn begin_call(
    node: &mut Node,
    worker: usize,
    task: u32,
    batch: Arc<Batch>,
    context: &mut Context,
) -> (Option<(u32, Arc<Batch>)>, bool) {
    let Some(number) = drive_of(node, worker).map(|drive| drive.session) else { return (None, true) };
    let plan = plan_of(&batch, number, task, context);
    let kind = batch.kind(task);
    let sent = node.full_until <= context.now || batch.inputs(task).is_empty();
    context.note(format_args!("governor {} worker {worker} calls {number}:{task} sent {sent}", node.number));
    if sent {
        let Some(drive) = drive_of(node, worker) else { return (None, true) };
        drive.in_flight.push_back(Call { task, batch: batch.clone() });
        let depth = if plan.micros < QUICK_MICROS { AHEAD_MAX } else { 1 };
        let calls = drive.in_flight.len();
        if calls == 1 {
            start_first(node, worker, context);
        }
        if depth == 1 {
            let start = context.now as f64 / 1e6;
            node.report(Event::Started { session: SessionId(number), task, start }, context);
        }
        if kind.timeout.is_some() || calls >= depth {
            return (None, true);
        }
    } else {
        fail(node, worker, number, &batch, task, "nothing can be written", context);
    }
    let is_alone = in_flight(node, worker) == 0;
    let next = if may_go_on(node, worker) { next_for(node, worker, is_alone, context) } else { None };
    (next, sent)
}

fn may_go_on(node: &mut Node, worker: usize) -> bool {
    let is_wanted = node.queues.gang.is_wanted();
    drive_of(node, worker).is_some_and(|drive| drive.goes_on && !drive.is_used_up && !is_wanted)
}

/// The next ready task if it is for the same executor and session; another one is left for later.
fn next_for(node: &mut Node, worker: usize, alone: bool, context: &mut Context) -> Option<(u32, Arc<Batch>)> {
    let session = drive_of(node, worker)?.session;
    let task = next_task(node, worker, context)?;
    if task.session() == session {
        let batch = locate(node, task, context)?;
        let kind = batch.kind(task.task());
        if kind.cpus == 1 && (kind.timeout.is_none() || alone) && !kind.is_built_in() {
            if node.sessions.get(&session).is_some_and(|session| session.graph.begin(task.task())) {
                return Some((task.task(), batch));
            }
            abandon(node, &batch, session, task.task(), context);
            return None;
        }
    }
    node.workers[worker].next = Some(task);
    None
}

/// The executor begins with its first call: what it will say, and when.
fn start_first(node: &mut Node, worker: usize, context: &mut Context) {
    let Some(drive) = drive_of(node, worker) else { return };
    let (number, has_answered) = (drive.session, drive.has_answered);
    let Some(Call { task, batch }) = drive.in_flight.front().cloned() else { return };
    node.workers[worker].serial += 1;
    let (governor, serial) = (node.number, node.workers[worker].serial);
    let plan = plan_of(&batch, number, task, context);
    let limit = batch.kind(task).timeout;
    if let Some(limit) = limit {
        context.after(limit.as_micros() as u64, Happening::LimitReached { governor, worker, serial });
    }
    let (dies, returns, late) = match context.healed {
        true => (0, 0, 0),
        false => (context.setup.dies, context.setup.returns, context.setup.late),
    };
    let mut takes = u64::from(plan.micros) * node.slowness.min(4) + 1;
    let mut said = Said::Finished;
    if context.executors.chance(dies) {
        takes = context.executors.below(takes + 1);
        said = Said::Died;
    } else if context.executors.chance(returns) {
        takes = context.executors.below(takes + 1);
        said = Said::Returned { used_up: !has_answered || context.executors.chance(500) };
    } else if context.executors.chance(late) {
        takes += context.executors.between(100 * MILLI, 5 * SECOND);
    }
    if said == Said::Finished
        && let Some(facts) = context.truth.task_mut(number, task)
    {
        if facts.hangs < plan.hangs {
            facts.hangs += 1;
            if limit.is_some() {
                return;
            }
            takes += 5 * SECOND;
        } else if facts.failures < plan.failures {
            facts.failures += 1;
            said = Said::Failed;
        }
    }
    context.after(takes, Happening::ExecutorSays { governor, worker, serial, said });
}

/// The executor says something of its first call.
pub fn executor_says(node: &mut Node, worker: usize, said: Said, context: &mut Context) {
    let is_full = node.full_until > context.now;
    let Some(drive) = drive_of(node, worker) else { return };
    let number = drive.session;
    match said {
        Said::Finished | Said::Failed => {
            drive.has_answered = true;
            let Some(Call { task, batch }) = drive.in_flight.pop_front() else { return };
            if !node.sessions.contains_key(&number) {
                return leave(node, worker, context);
            }
            if said == Said::Failed {
                fail(node, worker, number, &batch, task, "a task fails", context);
            } else if is_full && !batch.outputs(task).is_empty() {
                fail(node, worker, number, &batch, task, "nothing can be written", context);
            } else {
                succeed(node, worker, number, &batch, task, context);
            }
            if first_is_cancelled(node, worker) {
                return lose_calls(node, worker, Lost::Cancelled, context);
            }
            start_first(node, worker, context);
            let alone = in_flight(node, worker) == 0;
            let next = if may_go_on(node, worker) { next_for(node, worker, alone, context) } else { None };
            go_on(node, worker, next, context);
        }
        Said::Died => lose_calls(node, worker, Lost::Failed("an executor died"), context),
        Said::Returned { used_up } => {
            drive.is_used_up |= used_up;
            if used_up && !drive.has_answered {
                return lose_calls(node, worker, Lost::Failed("an executor gave back its first call"), context);
            }
            let calls: Vec<Call> = drive.in_flight.drain(..).collect();
            return_calls(node, worker, number, calls, context);
            go_on(node, worker, None, context);
        }
    }
}

/// The time of the first call is over.
pub fn limit_reached(node: &mut Node, worker: usize, context: &mut Context) {
    lose_calls(node, worker, Lost::Failed("a time limit was reached"), context);
}

/// Whether the call that the executor is at is not wanted any more.
fn first_is_cancelled(node: &Node, worker: usize) -> bool {
    node.current(worker).is_some_and(|(session, task, _)| {
        node.sessions.get(&session).is_none_or(|session| session.graph.is_cancelled(task))
    })
}

/// Something was cancelled.
pub fn interrupt(node: &mut Node, worker: usize, context: &mut Context) {
    if first_is_cancelled(node, worker) {
        lose_calls(node, worker, Lost::Cancelled, context);
    }
}

/// The executor is gone.
fn lose_calls(node: &mut Node, worker: usize, first: Lost, context: &mut Context) {
    let Some(drive) = drive_of(node, worker) else { return };
    let number = drive.session;
    drive.is_used_up = true;
    let mut calls: Vec<Call> = drive.in_flight.drain(..).collect();
    if !calls.is_empty() {
        let Call { task, batch } = calls.remove(0);
        match first {
            Lost::Cancelled => abandon(node, &batch, number, task, context),
            Lost::Failed(why) => fail(node, worker, number, &batch, task, why, context),
        }
    }
    return_calls(node, worker, number, calls, context);
    leave(node, worker, context);
}

/// Calls that were not begun go to another executor.
fn return_calls(node: &mut Node, worker: usize, number: u32, calls: Vec<Call>, context: &mut Context) {
    for Call { task, .. } in calls {
        let Some(session) = node.sessions.get(&number) else { return };
        session.graph.put_back(task);
        match session.priority(task) {
            0 => node.queues.add_own(worker, ReadyTask::new(number, task)),
            priority => node.queues.add(ReadyTask::new(number, task), priority),
        }
        node.wake(1, context);
    }
}

/// The worker is free, and with it those that it leads.
pub fn leave(node: &mut Node, worker: usize, context: &mut Context) {
    let members = std::mem::take(&mut node.workers[worker].members);
    node.busy -= members.len().max(1) as u32;
    for member in members.into_iter().filter(|member| *member != worker) {
        node.rouse(member, context);
    }
    node.rouse(worker, context);
}
