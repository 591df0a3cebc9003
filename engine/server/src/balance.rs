//! Feeding idle governors: tasks that others were given and have not begun are taken back.
//!
//! A governor that has nothing to do makes the server ask one that has more than it can run. It answers with tasks that were
//! ready and in its queues: what they read is there, and their claims become the server's. They are handed out again as any
//! ready task; tasks that wait for their outputs stay where they are, and get them when they have been made.

use super::effects::Effects;
use super::placement::Spread;
use super::session::{Session, TaskState};
use super::{Governor, Server};
use rain_model::id::{GovernorId, TaskIndex};
use rain_protocol::peer::ToGovernor;
use std::collections::BTreeMap;

/// Shorter tasks, seconds, are not worth the messages.
const DURATION_MIN: f64 = 0.001;
/// Nor is it when a governor is through with what it has in this time, seconds.
const BACKLOG_MIN: f64 = 0.005;

/// A question for tasks to be given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Pending,
    /// It has answered. What it gave may have come back to it, as it alone has cpus enough, so that asking at once would
    /// never end; something may be different when a task has finished or a governor has come.
    Answered,
}

impl<D: Clone> Server<D> {
    /// Asks for tasks back when a governor has nothing to do and another one has too much.
    pub(super) fn balance(&mut self, effects: &mut Effects<D>) {
        let alive = self.governors.values().filter(|governor| governor.alive);
        let (mut count, mut free) = (0, 0);
        for governor in alive {
            count += 1;
            free += u64::from(governor.cpus).saturating_sub(governor.load());
        }
        if count < 2 || free == 0 {
            return;
        }
        for session in self.sessions.values_mut().filter(|session| session.failure.is_none()) {
            session.ask_back(free, &self.governors, effects);
        }
    }
}

impl<D: Clone> Session<D> {
    fn ask_back(&mut self, free: u64, governors: &BTreeMap<GovernorId, Governor>, effects: &mut Effects<D>) {
        let excess = |(id, tasks): (&GovernorId, &u64)| {
            let governor = governors.get(id).filter(|governor| governor.alive)?;
            let excess = tasks.checked_sub(u64::from(governor.cpus)).filter(|excess| *excess > 0)?;
            Some((excess, *id, governor.cpus))
        };
        let Some((excess, id, cpus)) = self.governors.iter().filter_map(excess).max() else { return };
        let mean = self.spread.as_ref().and_then(|spread| spread.mean_duration());
        let is_short = |mean: f64| mean < DURATION_MIN || mean * excess as f64 / f64::from(cpus) < BACKLOG_MIN;
        if self.asked.contains_key(&id) || mean.is_some_and(is_short) {
            return;
        }
        if self.spread.is_none() {
            self.start_to_spread();
        }
        self.asked.insert(id, Asked::Pending);
        let count = u32::try_from(excess.div_ceil(2).min(free)).unwrap_or(u32::MAX);
        let message = ToGovernor::GiveBack { session: self.id, count };
        effects.send(id, message);
    }

    /// Takes tasks that a governor has given back.
    pub(super) fn take_back(
        &mut self,
        id: GovernorId,
        governor: &mut Governor,
        tasks: &[TaskIndex],
        effects: &mut Effects<D>,
    ) {
        self.asked.insert(id, Asked::Answered);
        let Some(mut spread) = self.spread.take() else { return };
        let mut unpins = Vec::new();
        for task in tasks.iter().copied() {
            let lingering = || self.lingering.iter().find(|batch| batch.tasks().contains(&task));
            let Some(batch) = self.batch_of(task).or_else(lingering).cloned() else { continue };
            let is_open =
                self.state_of(task).is_some_and(|state| !state.is_over()) && spread.governor_of(task) == Some(id);
            for object in batch.inputs(task) {
                // The task's claim becomes the server's, which has one at most.
                if !is_open || !spread.hold(*object, id) {
                    unpins.push(*object);
                }
            }
            for object in batch.outputs(task) {
                // The claim of the task that would have made it, and the server's.
                unpins.push(object);
                if is_open && spread.stop_holding(object, id) {
                    unpins.push(object);
                }
            }
            if is_open {
                self.tasks[task].state = TaskState::Waiting;
                spread.unassign(task);
                governor.outstanding = governor.outstanding.saturating_sub(1);
                if let Some(outstanding) = self.governors.get_mut(&id) {
                    *outstanding = outstanding.saturating_sub(1);
                }
            }
        }
        if !self.is_asking() {
            self.lingering = Vec::new();
        }
        if !unpins.is_empty() {
            let message = ToGovernor::Unpin { session: self.id, objects: unpins };
            effects.send(id, message);
        }
        self.spread = Some(spread);
    }

    /// Whether a governor was asked to give tasks back and has not answered.
    pub(super) fn is_asking(&self) -> bool {
        self.asked.values().any(|asked| *asked == Asked::Pending)
    }

    /// Governors that have answered may be asked again.
    pub(super) fn ask_again(&mut self) {
        self.asked.retain(|_, asked| *asked == Asked::Pending);
    }
}

impl<D: Clone> Spread<D> {
    /// Notes that a governor holds an object; false when that was known.
    fn hold(&mut self, object: u32, id: GovernorId) -> bool {
        let holders = self.holders.entry(object).or_default();
        let is_new = !holders.contains(&id);
        if is_new {
            holders.push(id);
        }
        is_new
    }

    /// Notes that a governor will not hold an object; whether it was to.
    fn stop_holding(&mut self, object: u32, id: GovernorId) -> bool {
        let Some(holders) = self.holders.get_mut(&object) else { return false };
        let before = holders.len();
        holders.retain(|holder| *holder != id);
        let was_to = holders.len() < before;
        if holders.is_empty() {
            self.holders.remove(&object);
        }
        was_to
    }
}
