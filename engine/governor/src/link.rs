//! Linking tasks that the server sent into a session's graph.

use crate::graph::Graph;
use crate::queues::{Queueing, Queues};
use crate::session::Session;
use rain_model::graph::Batch;
use rain_pool::ReadyTask;
use rain_protocol::peer::{Run, TaskSet};

/// A session has too many inputs on a governor for any more tasks.
#[derive(Debug)]
pub(crate) struct TooManyInputs;

/// Claims, links and queues the tasks of `run`; objects that are there already are given to their consumers.
///
/// # Errors
/// When the session has had as many inputs as can be numbered; then nothing is done.
pub(crate) fn link<G: Graph>(
    session: &Session<G>,
    queues: &impl Queues,
    run: Run<G::Content>,
) -> Result<(), TooManyInputs> {
    let graph = &session.graph;
    let batch = &run.batch;
    let edges = session.add_batch(batch).ok_or(TooManyInputs)?;
    session.add_grants(run.grants);
    // Claims come first: nothing may be dropped between its producer's end and its consumer's linking.
    for (object, _) in &run.constants {
        graph.claim(*object);
    }
    for input in &run.remote {
        // One for the transfer that will supply it, one that the server holds.
        graph.claim(input.object);
        graph.claim(input.object);
    }
    for object in &run.pins {
        graph.claim(*object);
    }
    each_task(batch, &run.tasks, |task| {
        for object in batch.outputs(task) {
            graph.claim(object);
        }
        for object in batch.inputs(task) {
            graph.claim(*object);
        }
    });
    let mut queueing = queues.queueing();
    let mut queue = |task| queue_ready(session, &mut queueing, task);
    for (object, content) in run.constants {
        graph.supply(object, content, &mut queue);
    }
    each_task(batch, &run.tasks, |task| {
        let inputs = batch.input_range(task);
        if graph.link(task, &batch.inputs[inputs.clone()], edges + inputs.start as u32) {
            queue(task);
        }
    });
    Ok(())
}

/// Queues a ready task behind those that wait.
pub(crate) fn queue_ready<G: Graph>(session: &Session<G>, queueing: &mut impl Queueing, task: u32) {
    queueing.add(ReadyTask::new(session.number, task), session.priority(task));
}

fn each_task(batch: &Batch, tasks: &TaskSet, f: impl FnMut(u32)) {
    match tasks {
        TaskSet::All => batch.tasks().for_each(f),
        TaskSet::Some(tasks) => tasks.iter().copied().for_each(f),
    }
}
