//! Feeding idle governors: tasks that others were given and have not begun are taken back.
//!
//! A governor that has nothing to do makes the server ask one that has more than it can run. It answers with tasks that were
//! ready and in its queues: what they read is there, and their claims become the server's. They are handed out again as any
//! ready task; tasks that wait for their outputs stay where they are, and get them when they have been made.

use super::effects::Effects;
use super::holders::HolderMark;
use super::session::Session;
use rain_model::id::{GovernorId, TaskIndex};
use rain_protocol::peer::ToGovernor;

/// Shorter tasks, seconds, are not worth the messages.
const DURATION_MIN: f64 = 0.001;
/// Nor is it when a governor is through with what it has in this time, seconds.
const BACKLOG_MIN: f64 = 0.005;

impl<D: Clone> Session<D> {
    /// Asks the governor that has most of this session to give some of it back, for cpus that are free elsewhere.
    pub(super) fn ask_back(&mut self, free: u64, effects: &mut Effects<D>) {
        let Some((excess, id, cpus)) = self.shares.largest_excess() else { return };
        let is_short = |mean: f64| mean < DURATION_MIN || mean * excess as f64 / f64::from(cpus) < BACKLOG_MIN;
        if self.asked.contains(&id) || self.answered.contains(&id) || self.mean_duration.is_some_and(is_short) {
            return;
        }
        self.spread = true;
        self.count_all();
        self.asked.insert(id);
        let count = u32::try_from(excess.div_ceil(2).min(free)).unwrap_or(u32::MAX);
        effects.send(id, ToGovernor::GiveBack { session: self.id, count });
    }

    /// Takes tasks that a governor has given back; returns how many of them are to be handed out again.
    pub(super) fn take_back(&mut self, id: GovernorId, tasks: &[TaskIndex], effects: &mut Effects<D>) -> u64 {
        self.asked.remove(&id);
        self.answered.insert(id);
        let mut unpins = Vec::new();
        let mut count = 0;
        for task in tasks.iter().copied() {
            let lingering = || self.lingering.iter().find(|batch| batch.tasks().contains(&task));
            let Some(batch) = self.batch_of(task).or_else(lingering).cloned() else { continue };
            let record = self.tasks.get(task);
            let is_open = record.is_some_and(|record| !record.state.is_over() && record.governor() == Some(id));
            for object in batch.inputs(task) {
                // The task's claim becomes the server's, which has one at most.
                let holders = &mut self.holders;
                let is_new = |mark: &mut HolderMark| {
                    let is_new = holders.add(mark, id);
                    holders.arrived(*mark, id);
                    is_new
                };
                if !is_open || !self.objects.get_mut(*object).map(|record| &mut record.mark).is_some_and(is_new) {
                    unpins.push(*object);
                }
            }
            for object in batch.outputs(task) {
                // The claim of the task that would have made it, and the server's.
                unpins.push(object);
                if is_open
                    && !self.is_there(object)
                    && let Some(record) = self.objects.get_mut(object)
                    && self.holders.remove(&mut record.mark, id)
                {
                    unpins.push(object);
                }
            }
            if is_open {
                self.tasks[task].unassign();
                if self.tasks[task].is_ready() {
                    self.push_given_back(&batch, task);
                }
                count += 1;
            }
        }
        self.shares.take(id, count);
        if self.asked.is_empty() {
            self.lingering = Vec::new();
        }
        if !unpins.is_empty() {
            effects.send(id, ToGovernor::Unpin { session: self.id, objects: unpins });
        }
        count
    }
}
