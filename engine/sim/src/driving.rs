//! How a simulated worker drives its executor: what becomes of the calls says the real `Dialogue`.

use crate::context::Context;
use crate::mutation::Mutation;
use crate::node::{Doing, Drive, Node, since_beginning};
use crate::schedule::{Happening, MILLI, SECOND, Said, Time};
use crate::settling::{fail, plan_of, succeed};
use crate::taking::{abandon, leave_next, locate, next_task};
use rain_governor::{Dialogue, DialogueAction, DialogueEvent, Event, Graph, Next};
use rain_model::graph::Batch;
use rain_model::id::SessionId;
use rain_pool::ReadyTask;
use std::sync::Arc;

/// A call that takes less is quick: others are sent ahead behind it.
const QUICK_MICROS: u32 = 300;
/// How many quick calls an executor has at most.
const AHEAD_MAX: usize = 4;

/// A worker runs a task on an executor; `alone`: no other may follow.
pub fn begin(node: &mut Node, worker: usize, task: ReadyTask, batch: Arc<Batch>, alone: bool, context: &mut Context) {
    let (number, task) = (task.session(), task.task());
    if !node.session(number).is_some_and(|session| session.graph.begin(task)) {
        abandon(node, &batch, number, task);
        return leave(node, worker, context);
    }
    let dialogue = Dialogue::new(context.executors.chance(700));
    let drive = Drive { session: number, dialogue, calls: Default::default(), is_at_it: false, goes_on: !alone };
    node.workers[worker].doing = Doing::Drives(drive);
    go_on(node, worker, Some((task, batch)), context);
}

fn drive_of(node: &mut Node, worker: usize) -> Option<&mut Drive> {
    match &mut node.workers[worker].doing {
        Doing::Drives(drive) => Some(drive),
        _ => None,
    }
}

/// Sends what is to be sent, and leaves the executor when there is nothing for it.
fn go_on(node: &mut Node, worker: usize, mut first: Option<(u32, Arc<Batch>)>, context: &mut Context) {
    let mut unsent = false;
    while drive_of(node, worker).is_some_and(|drive| drive.dialogue.wants_more()) {
        let event = match first.take().or_else(|| next_call(node, worker, context)) {
            Some((task, batch)) => send_call(node, worker, task, &batch, context),
            None => DialogueEvent::NothingToSend,
        };
        unsent |= event == DialogueEvent::NotSent;
        tell(node, worker, event, context);
    }
    let Some(next) = drive_of(node, worker).map(|drive| drive.dialogue.next()) else { return };
    let until = match next {
        Next::Free if unsent && context.has(Mutation::EmptyWait) => None,
        Next::Free | Next::UsedUp => return leave(node, worker, context),
        Next::Wait { until } => until,
    };
    start_first(node, worker, context);
    if let Some(until) = until {
        let (governor, serial) = (node.number, node.workers[worker].serial);
        let happening = Happening::LimitReached { governor, worker, serial };
        context.schedule.add((until.as_micros() as Time).max(context.now), happening);
    }
    node.flush(worker, context);
    leave_next(node, worker, context);
}

/// The next task for the executor, if it may be given another one.
fn next_call(node: &mut Node, worker: usize, context: &mut Context) -> Option<(u32, Arc<Batch>)> {
    let drive = drive_of(node, worker)?;
    let (session, goes_on, alone) = (drive.session, drive.goes_on, drive.dialogue.is_idle());
    if !goes_on || node.queues.with(|queues| queues.gang.is_wanted()) {
        return None;
    }
    let task = next_task(node, worker, context)?;
    if task.session() == session {
        let batch = locate(node, task, context)?;
        let kind = batch.kind(task.task());
        let is_plain = kind.cpus == 1 && kind.resources.is_empty() && !kind.is_built_in();
        if is_plain && (kind.timeout.is_none() || alone) {
            if node.session(session).is_some_and(|session| session.graph.begin(task.task())) {
                return Some((task.task(), batch));
            }
            abandon(node, &batch, session, task.task());
            return None;
        }
    }
    node.workers[worker].next = Some(task);
    None
}

/// Sends a call; a task whose call cannot be sent fails.
fn send_call(
    node: &mut Node,
    worker: usize,
    task: u32,
    batch: &Arc<Batch>,
    context: &mut Context,
) -> DialogueEvent<bool> {
    let Some(number) = drive_of(node, worker).map(|drive| drive.session) else { return DialogueEvent::NotSent };
    let is_sent = node.full_until <= context.now || batch.inputs(task).is_empty();
    context.note(format_args!("governor {} worker {worker} calls {number}:{task}, sent: {is_sent}", node.number));
    if !is_sent {
        fail(node, worker, number, batch, task, "nothing can be written", context);
        return DialogueEvent::NotSent;
    }
    let plan = plan_of(batch, number, task, context);
    let depth = if plan.micros < QUICK_MICROS { AHEAD_MAX } else { 1 };
    if let Some(drive) = drive_of(node, worker) {
        drive.calls.push_back(task);
    }
    if depth == 1 {
        let start = context.now as f64 / 1e6;
        node.report(Event::Started { session: SessionId(number), task, worker: worker as u32, start }, context);
    }
    DialogueEvent::Sent { task, limit: batch.kind(task).timeout, depth }
}

/// The executor begins with its first call, if it is not at it: what it will say, and when.
fn start_first(node: &mut Node, worker: usize, context: &mut Context) {
    let Some(drive) = drive_of(node, worker) else { return };
    let Some(task) = drive.calls.front().copied().filter(|_| !drive.is_at_it) else { return };
    drive.is_at_it = true;
    let (number, has_answered) = (drive.session, drive.dialogue.has_answered());
    let Some(batch) = node.session(number).and_then(|session| session.batch_of(task)) else { return };
    node.workers[worker].serial += 1;
    let (governor, serial) = (node.number, node.workers[worker].serial);
    let plan = plan_of(&batch, number, task, context);
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
            if batch.kind(task).timeout.is_some() {
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
    let Some(drive) = drive_of(node, worker) else { return };
    drive.is_at_it = false;
    let event = match said {
        Said::Finished | Said::Failed => {
            let Some(task) = drive.calls.pop_front() else { return };
            DialogueEvent::Answered { task, outcome: said == Said::Finished }
        }
        Said::Died => DialogueEvent::Died { why: "an executor died".to_owned() },
        Said::Returned { used_up } => {
            let reason = used_up.then(|| "it is used up".to_owned());
            DialogueEvent::Returned { tasks: drive.calls.drain(..).collect(), reason }
        }
    };
    tell(node, worker, event, context);
    hear(node, worker, context);
}

/// The time of the first call is over, or something was cancelled.
pub fn hear(node: &mut Node, worker: usize, context: &mut Context) {
    let Some(drive) = drive_of(node, worker) else { return };
    let (session, first) = (drive.session, drive.dialogue.first());
    let is_cancelled = first.is_some_and(|task| node.is_unwanted(session, task));
    tell(node, worker, DialogueEvent::Heard { is_cancelled }, context);
    go_on(node, worker, None, context);
}

/// Tells the dialogue what has happened, and does what follows.
fn tell(node: &mut Node, worker: usize, event: DialogueEvent<bool>, context: &mut Context) {
    let mut actions = Vec::new();
    let Some(drive) = drive_of(node, worker) else { return };
    let number = drive.session;
    drive.dialogue.handle(since_beginning(context.now), event, &mut actions);
    for action in actions {
        let (task, why) = match action {
            DialogueAction::Settle { task, outcome: true } => (task, None),
            DialogueAction::Settle { task, outcome: false } => (task, Some("a task fails")),
            DialogueAction::Fail { task, .. } => (task, Some("an executor died")),
            DialogueAction::Refuse { task, .. } => (task, Some("an executor gave back its first call")),
            DialogueAction::TimedOut { task } => (task, Some("a time limit was reached")),
            DialogueAction::Abandon { task } => {
                let batch = node.session(number).and_then(|session| session.batch_of(task));
                batch.into_iter().for_each(|batch| abandon(node, &batch, number, task));
                continue;
            }
            DialogueAction::GiveBack { tasks } => {
                give_back(node, worker, number, &tasks, context);
                continue;
            }
            DialogueAction::Kill => {
                if let Some(drive) = drive_of(node, worker) {
                    drive.calls.clear();
                    drive.is_at_it = false;
                }
                continue;
            }
            DialogueAction::Lend { .. } | DialogueAction::GoOn { .. } => continue,
        };
        let Some(batch) = node.session(number).and_then(|session| session.batch_of(task)) else { continue };
        let is_full = node.full_until > context.now && !batch.outputs(task).is_empty();
        match why.or(is_full.then_some("nothing can be written")) {
            Some(why) => fail(node, worker, number, &batch, task, why, context),
            None => succeed(node, worker, number, &batch, task, context),
        }
    }
}

/// Calls that were not begun go to another executor.
fn give_back(node: &mut Node, worker: usize, number: u32, tasks: &[u32], context: &mut Context) {
    let Some(session) = node.session(number) else { return };
    for task in tasks.iter().copied() {
        session.graph.put_back(task);
        let (ready, priority) = (ReadyTask::new(number, task), session.priority(task));
        node.queues.with(|queues| match priority {
            0 => queues.add_own(worker, ready),
            priority => queues.add(ready, priority),
        });
        node.wake(1, context);
    }
}

/// The worker is free, and with it those that it leads.
pub fn leave(node: &mut Node, worker: usize, context: &mut Context) {
    node.let_go(worker, context);
    let members = std::mem::take(&mut node.workers[worker].members);
    node.busy -= members.len().max(1) as u32;
    for member in members.into_iter().filter(|member| *member != worker) {
        node.rouse(member, context);
    }
    node.rouse(worker, context);
}
