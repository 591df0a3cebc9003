//! Cancelling tasks of a session that goes on.

use super::session::{Session, TaskState};
use super::{Action, Server};
use crate::id::{GovernorId, SessionId, TaskIndex};
use crate::peer::{Message, ToGovernor};
use std::collections::{BTreeMap, BTreeSet};

impl<D: Clone> Server<D> {
    /// Cancels tasks that are not over and everything that needs them; returns what was cancelled.
    pub(super) fn cancel(
        &mut self,
        id: SessionId,
        tasks: &[TaskIndex],
        actions: &mut Vec<Action<D>>,
    ) -> Vec<TaskIndex> {
        let Some(session) = self.sessions.get_mut(&id) else { return Vec::new() };
        let cancelled = session.followers(tasks);
        let only_governor = session.governors.keys().next().copied();
        let mut by_governor: BTreeMap<Option<GovernorId>, Vec<TaskIndex>> = BTreeMap::new();
        for task in &cancelled {
            session.tasks[*task].state = TaskState::Cancelled;
            let governor = match &session.spread {
                Some(spread) => spread.governor_of(*task),
                None => only_governor,
            };
            by_governor.entry(governor).or_default().push(*task);
        }
        for (governor, tasks) in by_governor {
            match governor.and_then(|governor| Some((governor, self.governors.get_mut(&governor)?))) {
                Some((governor, load)) => {
                    session.take_off(governor, load, tasks.len() as u64);
                    let message = Message::ToGovernor(ToGovernor::CancelTasks { session: id, tasks });
                    actions.push(Action::Send { governor, message });
                }
                None => session.unfinished -= tasks.len() as u64,
            }
        }
        if let Some(spread) = &mut session.spread {
            spread.forget_tasks(&cancelled);
        }
        let cancelled: Vec<TaskIndex> = cancelled.into_iter().collect();
        session.spread_over(&cancelled, actions);
        session.advance_waits(&cancelled, actions);
        session.drop_configs(&cancelled, actions);
        cancelled
    }
}

impl<D: Clone> Session<D> {
    /// Those of `tasks` that are not over, and every task that reads, directly or not, what they would make.
    fn followers(&self, tasks: &[TaskIndex]) -> BTreeSet<TaskIndex> {
        let is_open = |task: TaskIndex| self.state_of(task).is_some_and(|state| !state.is_over());
        let mut found: BTreeSet<TaskIndex> = tasks.iter().copied().filter(|task| is_open(*task)).collect();
        let Some(first) = found.first().copied() else { return found };
        // Tasks are in topological order, so one pass finds all.
        for (batch, _) in self.batches.iter().filter(|(batch, _)| batch.tasks().end > first) {
            for task in batch.tasks().filter(|task| *task > first && is_open(*task)) {
                let mut producers = batch.inputs(task).iter().filter_map(|object| self.producer_of(*object));
                if producers.any(|producer| found.contains(&producer)) {
                    found.insert(task);
                }
            }
        }
        found
    }
}
