//! A session as the workers of a simulated governor see it.

use crate::graph::Graph;
use rain_model::graph::{Batch, Batches};
use rain_pool::Cancelled;
use rain_protocol::peer::{Forget, Run, TaskSet};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

/// See above.
pub struct Session {
    pub number: u32,
    pub graph: Graph,
    /// Each with the number of the first edge of its tasks.
    batches: Batches<u32>,
    edges: u32,
    /// Priorities that tasks have from those that need them.
    raised: BTreeMap<u32, i32>,
    /// Failed attempts of tasks that are run again.
    attempts: BTreeMap<u32, u32>,
    /// Batches to be dropped when this task of theirs has ended.
    dropped_later: Vec<u32>,
}

impl Session {
    /// One without tasks.
    pub fn new(number: u32) -> Self {
        Self {
            number,
            graph: Graph::default(),
            batches: Batches::default(),
            edges: 0,
            raised: BTreeMap::new(),
            attempts: BTreeMap::new(),
            dropped_later: Vec::new(),
        }
    }

    /// Makes a batch known; the number of the first edge of its tasks.
    pub fn add_batch(&mut self, batch: &Arc<Batch>) -> u32 {
        if batch.count == 0 {
            return 0;
        }
        if let Some((_, edges)) = self.batches.find(batch.first) {
            return *edges;
        }
        let edges = self.edges;
        self.edges += batch.inputs.len() as u32;
        self.batches.insert(batch, edges);
        edges
    }

    /// The batch of a task that was linked.
    pub fn batch_of(&self, task: u32) -> Option<Arc<Batch>> {
        self.batches.find(task).map(|(batch, _)| batch.clone())
    }

    fn edges_of(&self, task: u32) -> Option<(u32, Range<u32>)> {
        let (batch, first) = self.batches.find(task)?;
        let inputs = batch.input_range(task);
        Some((task, first + inputs.start as u32..first + inputs.end as u32))
    }

    /// Priority of a task.
    pub fn priority(&self, task: u32) -> i32 {
        let raised = self.raised.get(&task).copied();
        raised.unwrap_or_else(|| self.batches.find(task).map_or(0, |(batch, _)| batch.kind(task).priority))
    }

    /// Gives tasks priorities; returns those that are in a queue.
    pub fn raise(&mut self, tasks: &[(u32, i32)]) -> BTreeMap<u32, i32> {
        self.raised.extend(tasks.iter().copied());
        tasks.iter().copied().filter(|(task, _)| self.graph.is_ready(*task)).collect()
    }

    /// Claims what a run reads, makes and pins.
    pub fn claim(&mut self, run: &Run<crate::content::Data>) {
        for (object, _) in &run.constants {
            self.graph.claim(*object);
        }
        for input in &run.remote {
            self.graph.claim(input.object);
            self.graph.claim(input.object);
        }
        for object in &run.pins {
            self.graph.claim(*object);
        }
        for task in tasks_of(run) {
            for object in run.batch.outputs(task) {
                self.graph.claim(object);
            }
            for object in run.batch.inputs(task) {
                self.graph.claim(*object);
            }
        }
    }

    /// Cancels a task, with `unbegun` only one that has not begun; `keeps_inputs`: those that wait keep their claims.
    pub fn cancel_task(&mut self, task: u32, unbegun: bool, keeps_inputs: bool) -> Result<Cancelled, String> {
        let cancelled = self.graph.cancel_task(task, unbegun);
        if cancelled == Cancelled::Waiting
            && let Some(batch) = self.batch_of(task)
        {
            if !keeps_inputs {
                self.release_inputs(&batch, task)?;
            }
            for object in batch.outputs(task) {
                self.graph.release(object)?;
            }
        }
        Ok(cancelled)
    }

    /// A task that was ready is not run, or was stopped.
    pub fn abandon(&mut self, batch: &Batch, task: u32) -> Result<(), String> {
        self.release_inputs(batch, task)?;
        for object in batch.outputs(task) {
            self.graph.release(object)?;
        }
        self.graph.set_over(task);
        Ok(())
    }

    /// Gives up a task's claims on what it reads.
    pub fn release_inputs(&mut self, batch: &Batch, task: u32) -> Result<(), String> {
        for object in batch.inputs(task) {
            self.graph.release(*object)?;
        }
        Ok(())
    }

    /// A ready task that was taken out of the queues is not run here.
    pub fn unlink(&mut self, task: u32) {
        if let Some((_, edges)) = self.edges_of(task) {
            self.graph.unlink(task, edges);
        }
    }

    /// Drops the configurations of batches of which all tasks are over.
    pub fn drop_configs(&mut self, batches: &[u32]) {
        for first in batches {
            if let Some((batch, _)) = self.batches.find_mut(*first) {
                *batch = Arc::new(batch.without_configs());
            }
        }
    }

    /// Gives back what no message will name again.
    pub fn forget(&mut self, forget: &Forget) {
        let tasks: Vec<_> = forget.tasks.iter().filter_map(|task| self.edges_of(*task)).collect();
        self.graph.forget(tasks, forget.objects.iter().copied());
        for task in &forget.tasks {
            self.attempts.remove(task);
            self.raised.remove(task);
        }
        let mut dropped = std::mem::take(&mut self.dropped_later);
        dropped.extend(&forget.batches);
        for task in dropped {
            let Some((batch, _)) = self.batches.find(task) else { continue };
            match (task..batch.tasks().end).find(|task| !self.graph.is_done_with(*task)) {
                Some(task) => self.dropped_later.push(task),
                None => drop(self.batches.remove(task)),
            }
        }
    }

    /// Counts a failed attempt; whether there is another one.
    pub fn may_retry(&mut self, task: u32, retries: u32) -> bool {
        let failed = self.attempts.entry(task).or_default();
        *failed += 1;
        *failed <= retries
    }

    /// Whether a task has failed before and is run again.
    pub fn is_retried(&self, task: u32) -> bool {
        self.attempts.contains_key(&task)
    }
}

/// The tasks of a run.
pub fn tasks_of<D>(run: &Run<D>) -> Vec<u32> {
    match &run.tasks {
        TaskSet::All => run.batch.tasks().collect(),
        TaskSet::Some(tasks) => tasks.clone(),
    }
}
