//! Priorities that tasks get from those that need what they make: else a task of high priority would wait for one of low priority,
//! which waits for all in between.

use super::session::Session;
use rain_model::graph::Batch;
use rain_model::id::{ObjectIndex, TaskIndex};
use std::collections::BTreeMap;

impl<D: Clone> Session<D> {
    /// Raises tasks that are not over to the priorities of those in a new batch that need them, directly or not. Sessions
    /// without priorities have nothing to do with it.
    pub(super) fn inherit_priorities(&mut self, batch: &Batch) {
        self.has_priorities |= batch.kinds.iter().any(|kind| kind.kind.priority != 0);
        if !self.has_priorities {
            return;
        }
        let mut raised: BTreeMap<TaskIndex, i32> = BTreeMap::new();
        // Tasks come after those whose outputs they read.
        for task in batch.tasks().rev() {
            self.raise_producers(batch.inputs(task), self.priority_of(&raised, task), &mut raised);
        }
        let mut earlier: Vec<TaskIndex> = raised.range(..batch.first).map(|(task, _)| *task).collect();
        while let Some(task) = earlier.pop() {
            if let Some(batch) = self.batch_of(task) {
                let priority = self.priority_of(&raised, task);
                earlier.extend(self.raise_producers(batch.inputs(task), priority, &mut raised));
            }
        }
        self.raised.extend(&raised);
        self.to_raise.extend(raised);
    }

    /// The priority of a task, as far as it was raised.
    fn priority_of(&self, raised: &BTreeMap<TaskIndex, i32>, task: TaskIndex) -> i32 {
        let own = || self.batch_of(task).map_or(0, |batch| batch.kind(task).priority);
        raised.get(&task).or_else(|| self.raised.get(&task)).copied().unwrap_or_else(own)
    }

    /// Raises those who make these objects; returns who was raised.
    fn raise_producers(
        &self,
        objects: &[ObjectIndex],
        priority: i32,
        raised: &mut BTreeMap<TaskIndex, i32>,
    ) -> Vec<TaskIndex> {
        let mut lower: Vec<TaskIndex> = objects.iter().filter_map(|object| self.producer_of(*object)).collect();
        lower.retain(|task| self.is_open(*task) && self.priority_of(raised, *task) < priority);
        raised.extend(lower.iter().map(|task| (*task, priority)));
        lower
    }
}
