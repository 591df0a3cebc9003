//! Requests to cancel tasks: at once, or those that have not begun, of which governors are asked first.

use super::effects::{Effects, Reply, ReplyTo};
use super::reactor::Server;
use super::waits::Cancelling;
use rain_model::id::{GovernorId, SessionId, TaskIndex};
use rain_protocol::log::LogEntry;
use rain_protocol::peer::ToGovernor;
use std::collections::BTreeMap;

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
        session.waits.cancelling.insert(ticket, Cancelling { to, asked: Vec::new(), cancelled: Vec::new() });
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
        let Some(place) = cancelling.asked.iter().position(|asked| *asked == governor) else { return };
        cancelling.asked.swap_remove(place);
        self.cancel_or_ask(id, ticket, tasks, Some(governor), effects);
    }

    /// A governor that was lost and had no tasks of a session answers no questions: it has begun nothing.
    pub(super) fn answer_for(&mut self, governor: GovernorId, id: SessionId, effects: &mut Effects<D>) {
        loop {
            let Some(session) = self.sessions.get_mut(&id) else { return };
            let open = session.waits.cancelling.iter_mut();
            let mut asked = open.filter(|(_, cancelling)| cancelling.asked.contains(&governor));
            let Some(ticket) = asked.next().map(|(ticket, _)| *ticket) else { return };
            self.cancelled_waiting(governor, id, ticket, Vec::new(), effects);
        }
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
        let is_open = |task: &TaskIndex| session.is_open(*task) && !session.tasks[*task].is_again();
        for task in tasks.into_iter().filter(is_open) {
            match session.tasks[task].governor() {
                Some(governor) if answered != Some(governor) => by_governor.entry(governor).or_default().push(task),
                _ => unbegun.push(task),
            }
        }
        let asked: Vec<GovernorId> = by_governor.keys().copied().collect();
        for (governor, tasks) in by_governor {
            effects.send(governor, ToGovernor::CancelWaiting { session: id, ticket, tasks });
        }
        let cancelled = self.cancel(id, &unbegun, effects);
        self.fetch_finished(id, effects);
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let Some(cancelling) = session.waits.cancelling.get_mut(&ticket) else { return };
        cancelling.asked.extend(asked);
        cancelling.cancelled.extend(cancelled);
        if cancelling.asked.is_empty()
            && let Some(Cancelling { to, cancelled: tasks, .. }) = session.waits.cancelling.remove(&ticket)
        {
            effects.reply(to, Reply::Some { tasks, objects: Vec::new() });
        }
    }

    /// Cancels tasks that are not over and everything that needs them; returns what was cancelled.
    pub(super) fn cancel(&mut self, id: SessionId, tasks: &[TaskIndex], effects: &mut Effects<D>) -> Vec<TaskIndex> {
        let Some(session) = self.sessions.get_mut(&id) else { return Vec::new() };
        let cancelled = session.cancel(tasks, effects);
        for (governor, count) in cancelled.by_governor {
            self.governors.take(governor, count);
        }
        for task in &cancelled.tasks {
            self.ledger.release((id, *task));
        }
        self.ledger.change();
        self.note(id);
        if !cancelled.tasks.is_empty() {
            self.log(effects, || LogEntry::Cancelled { session: id, tasks: cancelled.tasks.clone() });
        }
        cancelled.tasks
    }
}
