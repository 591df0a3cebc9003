//! Which governor runs which task.
//!
//! One governor gets every task at once, before it is ready. Several are given ready tasks, each followed by the chain
//! that hangs on it alone; how many depends on how long tasks take, so that short ones come in large batches and long ones
//! stay here until a cpu is free. A session whose first submits found one governor is spread from the next submit on.

use super::effects::Effects;
use super::governors::Governors;
use super::holders::HolderMark;
use super::progress::Wanted;
use super::ready::{Limits, Taken};
use super::records::Constant;
use super::session::{Fresh, Session};
use rain_model::graph::Batch;
use rain_model::id::{GovernorId, NONE, ObjectIndex, SessionId, TaskIndex};
use rain_model::resources::Grant;
use rain_protocol::peer::{OpenSession, RemoteInput, Run, TaskSet, ToGovernor};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Objects of at least so many bytes are passed on by those who have got them.
const SPREAD_BYTES_MIN: u32 = 64 << 10;
/// Holders of an input that a governor is told of.
const SOURCES_MAX: usize = 4;
/// Inputs, the largest ones, that matter for where a task runs.
const INPUTS_WEIGHED: usize = 4;
/// Holders of each of them that are looked at.
const HOLDERS_WEIGHED: usize = 4;
/// Readers of more inputs are not looked at to find out whether they can follow a task that makes one of them.
const FOLLOWER_INPUTS_MAX: usize = 16;
/// Tasks of a session that are handed out before others have their turn.
const TURN_TASKS_MAX: usize = 64;
/// How long tasks are expected to take before any has finished, seconds.
const DURATION_UNKNOWN: f64 = 0.001;

/// What governors are to be told at the end of a round of handing out.
pub(super) struct Round<D> {
    runs: BTreeMap<(SessionId, GovernorId, TaskIndex), Run<D>>,
    raises: BTreeMap<(SessionId, GovernorId), Vec<(TaskIndex, i32)>>,
    /// What is made again there.
    remade: BTreeMap<(SessionId, GovernorId), Vec<ObjectIndex>>,
    /// Tasks that were handed out one by one.
    count: usize,
}

impl<D> Default for Round<D> {
    fn default() -> Self {
        Self { runs: BTreeMap::new(), raises: BTreeMap::new(), remade: BTreeMap::new(), count: 0 }
    }
}

impl<D> Round<D> {
    /// How many tasks were handed out one by one.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Tells governors of their tasks; of priorities ahead of the tasks that have them.
    pub(super) fn send(self, effects: &mut Effects<D>) {
        for ((session, governor), tasks) in self.raises {
            effects.send(governor, ToGovernor::Raise { session, tasks });
        }
        for ((session, governor), objects) in self.remade {
            effects.send(governor, ToGovernor::StopAwaiting { session, objects });
        }
        for ((_, governor, _), run) in self.runs {
            effects.send(governor, ToGovernor::Run(run));
        }
    }
}

/// How the turn of a session has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Everything that could be handed out was.
    Empty,
    /// There is more, and room for it.
    More,
    /// There is more, but no governor has room for it.
    Blocked,
}

/// A session and the governors, while tasks of the session are handed out.
pub(super) struct Placer<'a, D> {
    pub(super) session: &'a mut Session<D>,
    pub(super) governors: &'a mut Governors,
    pub(super) round: &'a mut Round<D>,
    pub(super) effects: &'a mut Effects<D>,
}

impl<D: Clone> Placer<'_, D> {
    /// Hands out what there is room for, up to a bound.
    pub(super) fn turn(&mut self) -> Turn {
        for fresh in std::mem::take(&mut self.session.fresh) {
            let only = self.governors.first_alive().filter(|_| self.governors.alive() == 1);
            let asks_for_more = fresh.batch.kinds.iter().any(|kind| !kind.kind.resources.is_empty());
            let is_whole = !asks_for_more && !self.session.spread;
            match only.filter(|id| is_whole && self.session.shares.has_none_but(*id)) {
                Some(id) => self.place_whole(fresh, id),
                None => self.take_apart(fresh),
            }
        }
        self.raise_placed();
        self.place_unread_constants();
        self.place_ready(Limits::NONE)
    }

    fn open_on(&mut self, id: GovernorId) {
        let session = &mut *self.session;
        let cpus = self.governors.get(id).map_or(0, |governor| governor.cpus);
        if session.shares.open(id, cpus) {
            self.governors.open(id, session.id);
            let open = OpenSession { session: session.id, python: session.python.clone() };
            self.effects.send(id, ToGovernor::OpenSession(open));
        }
    }

    fn give(&mut self, id: GovernorId, count: u64) {
        self.governors.give(id, count);
        self.session.shares.give(id, count);
    }

    /// Hands a batch to the only governor. It knows itself what its tasks need, and is told to hold what is kept.
    fn place_whole(&mut self, fresh: Fresh<D>, id: GovernorId) {
        self.open_on(id);
        let Fresh { batch, constants, mut keep } = fresh;
        let session = &mut *self.session;
        session.whole_on = Some(id);
        // Some may have been let go while the batch waited for its turn.
        keep.retain(|object| session.is_kept(*object));
        for task in batch.tasks() {
            session.tasks[task].assign(id);
        }
        for object in &keep {
            session.holders.add(&mut session.objects[*object].mark, id);
        }
        self.give(id, u64::from(batch.count));
        let session = self.session.id;
        let first = batch.first;
        let (remote, grants) = (Vec::new(), Vec::new());
        let run = Run { session, batch, tasks: TaskSet::All, constants, remote, pins: keep, grants };
        if run.batch.count > 0 {
            self.round.runs.insert((session, id, first), run);
        } else {
            // Its number is that of the next batch.
            self.effects.send(id, ToGovernor::Run(run));
        }
    }

    /// From now on tasks are handed out when they are ready.
    fn take_apart(&mut self, fresh: Fresh<D>) {
        let session = &mut *self.session;
        session.spread = true;
        session.count_all();
        for task in fresh.batch.tasks() {
            if session.tasks.get(task).is_some_and(|record| record.is_ready()) {
                session.push_ready(&fresh.batch, task);
            }
        }
        for (object, data) in fresh.constants {
            let record = &session.objects[object];
            let (is_read, is_kept) = (record.readers() > 0, record.mark.is_kept());
            if (is_read || is_kept) && !session.recovers {
                session.constants.insert(object, Constant { data, batch: NONE, readers: 0 });
            }
            if !is_read && is_kept {
                session.unread_constants.push(object);
            }
        }
    }

    /// Tells governors of new priorities of tasks that they have; others are told with the task.
    fn raise_placed(&mut self) {
        for (task, priority) in std::mem::take(&mut self.session.to_raise) {
            let Some(record) = self.session.tasks.get(task) else { continue };
            if let Some(id) = record.governor().filter(|_| !record.state.is_over()) {
                self.round.raises.entry((self.session.id, id)).or_default().push((task, priority));
            } else if record.is_ready()
                && let Some(batch) = self.session.batch_of(task).cloned()
            {
                // It is also where it was before; there it is passed over.
                self.session.push_ready(&batch, task);
            }
        }
    }

    fn place_unread_constants(&mut self) {
        let Some(id) = self.governors.first_alive().filter(|_| !self.session.unread_constants.is_empty()) else {
            return;
        };
        self.open_on(id);
        let session = &mut *self.session;
        let mut pins = std::mem::take(&mut session.unread_constants);
        pins.retain(|object| session.is_kept(*object) && !session.is_held(*object));
        let constants =
            pins.iter().filter_map(|object| Some((*object, session.constants.get(object)?.data.clone()))).collect();
        for object in &pins {
            session.holders.add(&mut session.objects[*object].mark, id);
        }
        let run = Run { constants, pins, ..empty_run(session.id, session.empty_batch()) };
        self.effects.send(id, ToGovernor::Run(run));
    }

    /// Hands out tasks that were given back. Governors may be full of tasks that wait for them.
    pub(super) fn place_given_back(&mut self) -> Turn {
        self.place_ready(Limits::GIVEN_BACK)
    }

    fn place_ready(&mut self, mut limits: Limits) -> Turn {
        let mut left = TURN_TASKS_MAX;
        loop {
            if left == 0 {
                return if self.session.ready.is_empty() { Turn::Empty } else { Turn::More };
            }
            let Some(taken) = self.session.ready.pop(&limits) else {
                return if self.session.ready.is_empty() { Turn::Empty } else { Turn::Blocked };
            };
            let Some(batch) = self.batch_of_ready(taken.task) else { continue };
            let Some(id) = self.choose(&batch, &taken) else {
                limits.lower(&taken);
                self.session.ready.put_back(taken);
                continue;
            };
            self.open_on(id);
            let count = self.place_some(&batch, &taken, id, left);
            left -= count.min(left);
        }
    }

    /// The batch of a task that is ready; others in the queue were cancelled or given away meanwhile.
    fn batch_of_ready(&self, task: TaskIndex) -> Option<Arc<Batch>> {
        let record = self.session.tasks.get(task)?;
        if record.is_ready() { self.session.batch_of(task).cloned() } else { None }
    }

    /// Tasks that a cpu may have in hand: about 10 ms of work, but at least one beside the running one.
    pub(super) fn window(&self) -> u64 {
        match self.session.mean_duration {
            None => 4,
            Some(mean) => (0.010 / mean.max(1e-5)).clamp(2.0, 512.0) as u64,
        }
    }

    /// Among the governors with room: one with a free cpu, then the one that holds most bytes of the task's largest inputs, then
    /// the least loaded one.
    fn choose(&self, batch: &Batch, taken: &Taken) -> Option<GovernorId> {
        // Governors may be full of tasks that wait for one that was given back: so it finds room in any case.
        let window = if taken.was_given_back() { u64::from(u32::MAX) } else { self.window() };
        let largest = self.largest_inputs(batch.inputs(taken.task));
        let rank = |id: GovernorId| {
            let governor = self.governors.get(id)?;
            let (load, cpus) = (governor.load(), u64::from(governor.cpus));
            let fits = governor.is_alive() && governor.cpus >= taken.cpus && load < window * cpus;
            fits.then(|| {
                (load >= cpus, std::cmp::Reverse(self.bytes_held(&largest, id)), load as f64 / cpus as f64, id)
            })
        };
        let ranks = self.governors.least_loaded(taken.cpus).chain(self.holders_of(&largest)).filter_map(rank);
        ranks
            .min_by(|a, b| (a.0, a.1).cmp(&(b.0, b.1)).then(a.2.total_cmp(&b.2)).then(a.3.cmp(&b.3)))
            .map(|(_, _, _, id)| id)
    }

    /// Bytes of some objects that a governor holds.
    pub(super) fn bytes_held(&self, objects: &[(u64, HolderMark)], id: GovernorId) -> u64 {
        let of_id = objects.iter().filter(|(_, mark)| self.session.holders.has(*mark, id));
        of_id.map(|(bytes, _)| bytes).sum()
    }

    /// Some holders of some objects.
    pub(super) fn holders_of<'s>(&'s self, objects: &'s [(u64, HolderMark)]) -> impl Iterator<Item = GovernorId> + 's {
        objects.iter().flat_map(|(_, mark)| self.session.holders.of(*mark).take(HOLDERS_WEIGHED))
    }

    /// The largest of these objects that governors hold: how many bytes each has, and its holders.
    pub(super) fn largest_inputs(&self, inputs: &[ObjectIndex]) -> Vec<(u64, HolderMark)> {
        let mut largest: Vec<(u64, HolderMark)> = Vec::new();
        for object in inputs {
            let Some(record) = self.session.objects.get(*object) else { continue };
            if self.session.holders.count(record.mark) == 0 {
                continue;
            }
            // What has no bytes costs a message.
            let bytes = u64::from(self.session.size_of(*object)) + 1;
            let place = largest.partition_point(|(other, _)| *other >= bytes);
            if place < INPUTS_WEIGHED {
                largest.truncate(INPUTS_WEIGHED - 1);
                largest.insert(place, (bytes, record.mark));
            }
        }
        largest
    }

    /// Gives a task to a governor, with the chain that hangs on it alone, and further tasks that come after it and read the same:
    /// up to `at_most`, so many as there is room for, and a fair part of what is ready. Returns how many.
    fn place_some(&mut self, batch: &Arc<Batch>, taken: &Taken, id: GovernorId, at_most: usize) -> usize {
        let Some(governor) = self.governors.get(id) else { return 0 };
        let (load, cpus) = (governor.load(), u64::from(governor.cpus));
        let room = if load < cpus { cpus - load } else { (self.window() * cpus).saturating_sub(load) };
        // One task after the other, each to the least loaded, would leave no two of them together.
        let part = self.session.ready.len() as u64 / (2 * self.governors.cpus()).max(1);
        let more = room.min(part).min(at_most as u64) as usize;
        let mut last = taken.task;
        let mut count = self.place_chain(batch, last, id);
        let mut roots = 1;
        while roots < more
            && let Some(next) = self.session.ready.after(taken)
            && next == last + 1
            && batch.tasks().contains(&next)
            && self.session.tasks.get(next).is_some_and(|record| record.is_ready())
            && batch.inputs(next) == batch.inputs(last)
        {
            self.session.ready.pop_after(taken);
            count += self.place_chain(batch, next, id);
            roots += 1;
            last = next;
        }
        self.has_placed(id, count, taken.cpus);
        count
    }

    /// Counts tasks that were handed out.
    fn has_placed(&mut self, id: GovernorId, count: usize, cpus: u32) {
        self.give(id, count as u64);
        self.round.count += count;
        let mean = self.session.mean_duration.unwrap_or(DURATION_UNKNOWN);
        let each = (mean * 1e9).clamp(1.0, 1e18) as u64;
        self.session.had = self.session.had.saturating_add(each.saturating_mul(u64::from(cpus) * count as u64));
    }

    /// Gives a task that asks for more than cpus to a governor, with what it was granted and the chain that hangs on it alone.
    pub(super) fn place_granted(&mut self, batch: &Arc<Batch>, task: TaskIndex, id: GovernorId, grant: Grant) {
        self.open_on(id);
        let cpus = grant.cpus;
        let count = self.place_chain(batch, task, id);
        if let Some(run) = self.round.runs.get_mut(&(self.session.id, id, batch.first)) {
            run.grants.push((task, grant));
        }
        self.has_placed(id, count, cpus);
    }

    /// Assigns a task and those that hang on it alone; returns how many.
    fn place_chain(&mut self, batch: &Arc<Batch>, task: TaskIndex, id: GovernorId) -> usize {
        self.assign(batch, task, id);
        let mut count = 1;
        let mut latest = (batch.clone(), task);
        while let Some(follower) = self.only_follower(&latest.0, latest.1, id)
            && let Some(batch) = self.session.batch_of(follower).cloned()
        {
            self.assign(&batch, follower, id);
            count += 1;
            latest = (batch, follower);
        }
        count
    }

    fn assign(&mut self, batch: &Arc<Batch>, task: TaskIndex, id: GovernorId) {
        let session = &mut *self.session;
        session.tasks[task].assign(id);
        if session.has_priorities
            && let Some(priority) = session.raised.get(&task)
        {
            self.round.raises.entry((session.id, id)).or_default().push((task, *priority));
        }
        let key = (session.id, id, batch.first);
        let run = self.round.runs.entry(key).or_insert_with(|| empty_run(session.id, batch.clone()));
        if let TaskSet::Some(tasks) = &mut run.tasks {
            tasks.push(task);
        }
        for object in batch.inputs(task) {
            let Some(record) = session.objects.get(*object) else { continue };
            if session.holders.has(record.mark, id) {
                continue;
            }
            if let Some(constant) = session.constants.get(object) {
                run.constants.push((*object, constant.data.clone()));
                run.pins.push(*object);
                session.holders.add(&mut session.objects[*object].mark, id);
            } else if session.holders.count(record.mark) > 0 {
                let holders = session.sources(record.mark, session.size_of(*object));
                run.remote.push(session.transfer_to(id, *object, holders));
            } else {
                // It is made there: the task follows its producer.
                session.holders.add(&mut session.objects[*object].mark, id);
            }
        }
        let is_again = session.tasks[task].is_again();
        for object in batch.outputs(task) {
            let record = &mut session.objects[object];
            if is_again {
                // The others are there since it ran before.
                if !record.mark.is_lost() {
                    continue;
                }
                self.round.remade.entry((session.id, id)).or_default().push(object);
            }
            if record.readers() > 0 || record.mark.is_kept() {
                run.pins.push(object);
                debug_assert!(is_again || session.holders.count(record.mark) == 0, "object {object} is not made yet");
                session.holders.add(&mut record.mark, id);
            }
        }
    }

    /// The one task that reads what `task` makes, if it can already be sent along: everything else that it reads is
    /// finished or made on the same governor.
    fn only_follower(&self, batch: &Batch, task: TaskIndex, id: GovernorId) -> Option<TaskIndex> {
        let session = &*self.session;
        let mut follower = None;
        let mut edges = 0;
        for object in batch.outputs(task).filter(|object| !session.is_there(*object)) {
            for consumer in session.edges.iter(session.objects[object].number) {
                if follower.is_some_and(|other| other != consumer) {
                    return None;
                }
                follower = Some(consumer);
                edges += 1;
            }
        }
        let follower = follower?;
        let record = session.tasks.get(follower)?;
        if record.state.is_over() || record.governor().is_some() {
            return None;
        }
        let follower_batch = session.batch_of(follower)?;
        let kind = follower_batch.kind(follower);
        let fits = kind.cpus <= batch.kind(task).cpus && kind.resources.is_empty();
        let inputs = follower_batch.inputs(follower);
        // What was lost after its producer had been given away to be run again stays only if that governor is to hold it.
        let is_held =
            |object: ObjectIndex| session.objects.get(object).is_some_and(|made| session.holders.has(made.mark, id));
        let made_there = |object: ObjectIndex| {
            let producer = session.producer_of(object).and_then(|producer| session.tasks.get(producer));
            producer.is_some_and(|made| made.governor() == Some(id)) && (!session.has_losses || is_held(object))
        };
        let inputs_there = record.unmet() == edges
            || inputs.len() <= FOLLOWER_INPUTS_MAX
                && inputs.iter().all(|object| session.is_there(*object) || made_there(*object));
        (fits && inputs_there).then_some(follower)
    }
}

impl<D: Clone> Session<D> {
    /// Has governors bring objects that tasks wait for which they have already.
    pub(super) fn bring(&mut self, wanted: Wanted, effects: &mut Effects<D>) {
        let mut runs: BTreeMap<GovernorId, Vec<RemoteInput>> = BTreeMap::new();
        for (governor, object) in wanted {
            let bytes = self.size_of(object);
            let Some(record) = self.objects.get(object) else { continue };
            if self.holders.count(record.mark) == 0 || self.holders.has(record.mark, governor) {
                continue;
            }
            let input = self.transfer_to(governor, object, self.sources(record.mark, bytes));
            runs.entry(governor).or_default().push(input);
        }
        for (governor, remote) in runs {
            let run = Run { remote, ..empty_run(self.id, self.empty_batch()) };
            effects.send(governor, ToGovernor::Run(run));
        }
    }

    /// Notes that a governor is to bring an object from one of these.
    fn transfer_to(&mut self, id: GovernorId, object: ObjectIndex, holders: Vec<GovernorId>) -> RemoteInput {
        let mark = &mut self.objects[object].mark;
        if !self.recovers {
            self.holders.add(mark, id);
            return RemoteInput { object, holders, transfer: 0 };
        }
        self.holders.add_awaiting(mark, id);
        if self.has_losses {
            self.transfer = self.transfer.wrapping_add(1).max(2);
            self.transfers.insert((object, id), self.transfer);
        }
        RemoteInput { object, holders, transfer: self.transfer }
    }

    /// Whom the next governor that needs an object is to ask, in this order.
    ///
    /// Small ones come from their maker. The copies of large ones form a binary tree, so that no governor sends one more than
    /// twice; who is to have it before is asked next. All come before the asker among the holders, so that none waits for itself. When
    /// governors were lost, some ask again: then only who has it is asked.
    fn sources(&self, mark: HolderMark, bytes: u32) -> Vec<GovernorId> {
        let holders = &self.holders;
        if self.has_losses {
            return holders.having(mark).take(SOURCES_MAX).collect();
        }
        let count = holders.count(mark);
        let first = if bytes < SPREAD_BYTES_MIN { 0 } else { (count - 1) / 2 };
        let others = (0..count).filter(|place| *place != first).take(SOURCES_MAX - 1);
        std::iter::once(first).chain(others).filter_map(|place| holders.at(mark, place)).collect()
    }
}

/// A run that says nothing.
pub(super) fn empty_run<D>(session: SessionId, batch: Arc<Batch>) -> Run<D> {
    Run {
        session,
        batch,
        tasks: TaskSet::Some(Vec::new()),
        constants: Vec::new(),
        remote: Vec::new(),
        pins: Vec::new(),
        grants: Vec::new(),
    }
}
