//! Cancelling tasks of a session that goes on.

use super::effects::Effects;
use super::records::TaskState;
use super::session::Session;
use rain_model::id::{GovernorId, TaskIndex};
use rain_protocol::peer::ToGovernor;
use std::collections::BTreeMap;

/// What a cancel has done.
pub(super) struct Cancelled {
    /// Tasks that are cancelled now, in ascending order.
    pub(super) tasks: Vec<TaskIndex>,
    /// How many of them each governor had.
    pub(super) by_governor: Vec<(GovernorId, u64)>,
}

impl<D: Clone> Session<D> {
    /// Cancels tasks that are not over and everything that needs them, and tells those who have them.
    pub(super) fn cancel(&mut self, tasks: &[TaskIndex], effects: &mut Effects<D>) -> Cancelled {
        self.count_all();
        let tasks = self.mark_cancelled(tasks);
        let mut by_governor: BTreeMap<GovernorId, Vec<TaskIndex>> = BTreeMap::new();
        for task in &tasks {
            if let Some(governor) = self.tasks[*task].governor() {
                by_governor.entry(governor).or_default().push(*task);
            }
        }
        let mut counts = Vec::with_capacity(by_governor.len());
        for (governor, tasks) in by_governor {
            self.shares.take(governor, tasks.len() as u64);
            counts.push((governor, tasks.len() as u64));
            effects.send(governor, ToGovernor::CancelTasks { session: self.id, tasks });
        }
        let again = tasks.iter().filter(|task| self.tasks[**task].has_run_again()).count();
        self.unfinished -= (tasks.len() - again) as u64;
        let wanted = self.count_down(&tasks, effects);
        debug_assert!(wanted.is_empty(), "cancelled tasks make nothing");
        self.advance_waits(&tasks, effects);
        Cancelled { tasks, by_governor: counts }
    }

    /// Marks those of `tasks` that are not over, and every task that reads, directly or not, what they would make. Returns them
    /// in ascending order.
    fn mark_cancelled(&mut self, tasks: &[TaskIndex]) -> Vec<TaskIndex> {
        let mut found = Vec::new();
        let mut left: Vec<TaskIndex> = tasks.to_vec();
        while let Some(task) = left.pop() {
            let Some(record) = self.tasks.get_mut(task).filter(|record| !record.state.is_over()) else { continue };
            // It has finished. Only when there is no time left, what was lost is not made again.
            if record.is_again() && !self.out_of_time {
                continue;
            }
            let is_again = record.is_again();
            record.state = TaskState::Cancelled;
            found.push(task);
            for object in self.outputs(task) {
                if !is_again || self.objects[object].mark.is_lost() {
                    left.extend(self.edges.iter(self.objects[object].number));
                }
            }
        }
        found.sort_unstable();
        found
    }
}
