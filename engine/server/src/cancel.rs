//! Cancelling tasks of a session that goes on.

use super::Server;
use super::effects::{Effects, Reply, ReplyTo};
use super::session::{Session, TaskState};
use rain_model::id::{GovernorId, SessionId, TaskIndex};
use rain_protocol::peer::ToGovernor;
use std::collections::{BTreeMap, BTreeSet};

/// A request to cancel what has not begun, while governors are asked what that is.
#[derive(Debug)]
pub(super) struct Cancelling {
    pub(super) to: ReplyTo,
    /// Governors that have not answered.
    questions: usize,
    cancelled: Vec<TaskIndex>,
}

impl<D: Clone> Server<D> {
    /// Cancels those of the tasks that have not begun, and everything that needs them. The request is answered when all
    /// governors have said which these are.
    pub(super) fn cancel_waiting(
        &mut self,
        to: ReplyTo,
        id: SessionId,
        tasks: Vec<TaskIndex>,
        effects: &mut Effects<D>,
    ) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        session.waits.cancelling.insert(ticket, Cancelling { to, questions: 0, cancelled: Vec::new() });
        self.cancel_or_ask(id, ticket, tasks, None, effects);
    }

    /// A governor has said which of the tasks that it was asked for have not begun.
    pub(super) fn cancelled_waiting(
        &mut self,
        governor: GovernorId,
        id: SessionId,
        ticket: u64,
        tasks: Vec<TaskIndex>,
        effects: &mut Effects<D>,
    ) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let Some(cancelling) = session.waits.cancelling.get_mut(&ticket) else { return };
        cancelling.questions -= 1;
        self.cancel_or_ask(id, ticket, tasks, Some(governor), effects);
    }

    /// Cancels tasks that no governor has, or that `answered` will not begin, and asks the governors of the others. Those
    /// that `answered` gave back before it was asked may be with another one now.
    fn cancel_or_ask(
        &mut self,
        id: SessionId,
        ticket: u64,
        tasks: Vec<TaskIndex>,
        answered: Option<GovernorId>,
        effects: &mut Effects<D>,
    ) {
        let Some(session) = self.sessions.get(&id) else { return };
        let mut unbegun = Vec::new();
        let mut by_governor: BTreeMap<GovernorId, Vec<TaskIndex>> = BTreeMap::new();
        for task in tasks.into_iter().filter(|task| session.is_open(*task)) {
            match session.governor_of(task) {
                Some(governor) if answered != Some(governor) => by_governor.entry(governor).or_default().push(task),
                _ => unbegun.push(task),
            }
        }
        let questions = by_governor.len();
        for (governor, tasks) in by_governor {
            effects.send(governor, ToGovernor::CancelWaiting { session: id, ticket, tasks });
        }
        let cancelled = self.cancel(id, &unbegun, effects);
        self.fetch_finished(id, effects);
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let Some(cancelling) = session.waits.cancelling.get_mut(&ticket) else { return };
        cancelling.questions += questions;
        cancelling.cancelled.extend(cancelled);
        if cancelling.questions == 0
            && let Some(Cancelling { to, cancelled: tasks, .. }) = session.waits.cancelling.remove(&ticket)
        {
            effects.reply(to, Reply::Some { tasks, objects: Vec::new() });
        }
    }

    /// Cancels tasks that are not over and everything that needs them; returns what was cancelled.
    pub(super) fn cancel(&mut self, id: SessionId, tasks: &[TaskIndex], effects: &mut Effects<D>) -> Vec<TaskIndex> {
        let Some(session) = self.sessions.get_mut(&id) else { return Vec::new() };
        let cancelled = session.followers(tasks);
        let mut by_governor: BTreeMap<Option<GovernorId>, Vec<TaskIndex>> = BTreeMap::new();
        for task in &cancelled {
            session.tasks[*task].state = TaskState::Cancelled;
            by_governor.entry(session.governor_of(*task)).or_default().push(*task);
        }
        for (governor, tasks) in by_governor {
            match governor.and_then(|governor| Some((governor, self.governors.get_mut(&governor)?))) {
                Some((governor, load)) => {
                    session.take_off(governor, load, tasks.len() as u64);
                    effects.send(governor, ToGovernor::CancelTasks { session: id, tasks });
                }
                None => session.unfinished -= tasks.len() as u64,
            }
        }
        if let Some(spread) = &mut session.spread {
            spread.forget_tasks(&cancelled);
        }
        let cancelled: Vec<TaskIndex> = cancelled.into_iter().collect();
        session.spread_over(&cancelled, effects);
        session.advance_waits(&cancelled, effects);
        session.drop_configs(&cancelled, effects);
        cancelled
    }
}

impl<D: Clone> Session<D> {
    fn is_open(&self, task: TaskIndex) -> bool {
        self.state_of(task).is_some_and(|state| !state.is_over())
    }

    /// The governor that has a task, if one has.
    fn governor_of(&self, task: TaskIndex) -> Option<GovernorId> {
        match &self.spread {
            Some(spread) => spread.governor_of(task),
            None => self.governors.keys().next().copied(),
        }
    }

    /// Those of `tasks` that are not over, and every task that reads, directly or not, what they would make.
    fn followers(&self, tasks: &[TaskIndex]) -> BTreeSet<TaskIndex> {
        let mut found: BTreeSet<TaskIndex> = tasks.iter().copied().filter(|task| self.is_open(*task)).collect();
        let Some(first) = found.first().copied() else { return found };
        // Tasks are in topological order, so one pass finds all.
        for (batch, _) in self.batches.iter().filter(|(batch, _)| batch.tasks().end > first) {
            for task in batch.tasks().filter(|task| *task > first && self.is_open(*task)) {
                let mut producers = batch.inputs(task).iter().filter_map(|object| self.producer_of(*object));
                if producers.any(|producer| found.contains(&producer)) {
                    found.insert(task);
                }
            }
        }
        found
    }
}
