//! Which governor runs which task.
//!
//! One governor gets every task at once, before it is ready. Several are given ready tasks, each followed by the chain
//! that hangs on it alone; how many depends on how long tasks take, so that short ones come in large batches and long ones
//! stay here until a cpu is free. A session whose first submits found one governor is spread from the next submit on.

use super::edges::Edges;
use super::effects::Effects;
use super::session::{ObjectRecord, Session, TaskState};
use super::table::Table;
use super::{Governor, Server};
use rain_model::graph::Batch;
use rain_model::id::{GovernorId, NONE, ObjectIndex, SessionId, TaskIndex};
use rain_protocol::peer::{OpenSession, RemoteInput, Run, TaskSet, ToGovernor};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// Mark in `SpreadTask::assigned` of a task that has no governor.
const UNASSIGNED: u16 = u16::MAX;
/// Mark there of a task that was cancelled before it was placed.
const CANCELLED: u16 = u16::MAX - 1;

/// Objects of at least so many bytes are passed on by those who have got them.
const SPREAD_BYTES_MIN: u32 = 64 << 10;
/// Holders of an input that a governor is told of.
const SOURCES_MAX: usize = 4;

/// What the server keeps of a task of a session that runs on several governors: 8 bytes.
#[derive(Clone, Copy)]
pub(super) struct SpreadTask {
    /// Inputs that are not finished.
    unmet: u32,
    /// Its governor, `UNASSIGNED` or `CANCELLED`.
    assigned: u16,
}

const FRESH_TASK: SpreadTask = SpreadTask { unmet: 0, assigned: UNASSIGNED };

/// What the server keeps of an object of such a session: 12 bytes.
#[derive(Clone, Copy)]
pub(super) struct SpreadObject {
    /// Newest consumer that waits for it: an edge.
    pub(super) first_edge: u32,
    /// Consumers that are not over.
    pub(super) consumers_left: u32,
    /// It goes with its last consumer.
    pub(super) forgotten: bool,
}

const FRESH_OBJECT: SpreadObject = SpreadObject { first_edge: NONE, consumers_left: 0, forgotten: false };

/// What the server keeps of a session that runs on several governors.
pub(super) struct Spread<D> {
    pub(super) tasks: Table<SpreadTask>,
    pub(super) objects: Table<SpreadObject>,
    pub(super) edges: Edges,
    /// Governors that hold the object or will when their tasks have run.
    pub(super) holders: BTreeMap<ObjectIndex, Vec<GovernorId>>,
    constants: BTreeMap<ObjectIndex, D>,
    /// Kept constants that no task reads; they have to be somewhere to be fetched.
    unread_constants: Vec<ObjectIndex>,
    ready: VecDeque<TaskIndex>,
    /// Ready tasks for which no governor has enough cpus.
    too_wide: Vec<TaskIndex>,
    /// Mean duration of recent tasks, seconds.
    mean_duration: Option<f64>,
}

impl<D: Clone> Spread<D> {
    fn new(tasks: Table<SpreadTask>, objects: Table<SpreadObject>) -> Self {
        Self {
            tasks,
            objects,
            edges: Edges::default(),
            holders: BTreeMap::new(),
            constants: BTreeMap::new(),
            unread_constants: Vec::new(),
            ready: VecDeque::new(),
            too_wide: Vec::new(),
            mean_duration: None,
        }
    }

    pub(super) fn holders(&self, object: ObjectIndex) -> &[GovernorId] {
        self.holders.get(&object).map(Vec::as_slice).unwrap_or_default()
    }

    pub(super) fn constant(&self, object: ObjectIndex) -> Option<&D> {
        self.constants.get(&object)
    }

    /// Tasks a cpu may have in hand: about 10 ms of work, but at least one beside the running one.
    fn window(&self, cpus: u32) -> u64 {
        let per_cpu = match self.mean_duration {
            None => 4,
            Some(mean) => (0.010 / mean.max(1e-5)).clamp(2.0, 512.0) as u64,
        };
        per_cpu * u64::from(cpus)
    }

    /// Makes room in the tables.
    fn grow(&mut self, tasks: u32, objects: u32) {
        self.tasks.grow(tasks, FRESH_TASK);
        self.objects.grow(objects, FRESH_OBJECT);
    }

    fn assigned(&self, task: TaskIndex) -> u16 {
        self.tasks.get(task).map_or(CANCELLED, |task| task.assigned)
    }

    fn consumers_left(&self, object: ObjectIndex) -> u32 {
        self.objects.get(object).map_or(0, |object| object.consumers_left)
    }

    /// A consumer of an object is over; whether it was the last one.
    fn consumed(&mut self, object: ObjectIndex) -> bool {
        let Some(record) = self.objects.get_mut(object) else { return false };
        record.consumers_left = record.consumers_left.saturating_sub(1);
        if record.consumers_left > 0 {
            return false;
        }
        if record.forgotten {
            self.objects.forget(object);
        }
        true
    }

    fn learn(&mut self, duration: f64) {
        let mean = self.mean_duration.unwrap_or(duration);
        self.mean_duration = Some(mean + (duration - mean) / 16.0);
    }

    /// Never places these tasks, which were cancelled.
    pub(super) fn forget_tasks(&mut self, cancelled: &BTreeSet<TaskIndex>) {
        self.ready.retain(|task| !cancelled.contains(task));
        self.too_wide.retain(|task| !cancelled.contains(task));
        for task in cancelled {
            if let Some(record) = self.tasks.get_mut(*task).filter(|record| record.assigned == UNASSIGNED) {
                record.assigned = CANCELLED;
            }
        }
    }

    /// Mean duration of recent tasks, seconds, if any has finished.
    pub(super) fn mean_duration(&self) -> Option<f64> {
        self.mean_duration
    }

    /// A task was given back, and is to be placed again.
    pub(super) fn unassign(&mut self, task: TaskIndex) {
        let Some(record) = self.tasks.get_mut(task) else { return };
        record.assigned = UNASSIGNED;
        if record.unmet == 0 {
            self.ready.push_back(task);
        }
    }

    /// The governor that a task was given to.
    pub(super) fn governor_of(&self, task: TaskIndex) -> Option<GovernorId> {
        let assigned = self.assigned(task);
        (assigned < CANCELLED).then_some(GovernorId(u32::from(assigned)))
    }

    /// Objects whose keep was taken back: those that no consumer needs can go.
    pub(super) fn unpin(&mut self, session: SessionId, objects: BTreeSet<ObjectIndex>, effects: &mut Effects<D>) {
        let unneeded = objects.into_iter().filter(|object| self.consumers_left(*object) == 0).collect();
        self.drop_objects(session, unneeded, effects);
    }

    fn drop_objects(&mut self, session: SessionId, objects: Vec<ObjectIndex>, effects: &mut Effects<D>) {
        let mut unpins: BTreeMap<GovernorId, Vec<ObjectIndex>> = BTreeMap::new();
        for object in objects {
            self.constants.remove(&object);
            for holder in self.holders.remove(&object).unwrap_or_default() {
                unpins.entry(holder).or_default().push(object);
            }
        }
        for (governor, objects) in unpins {
            effects.send(governor, ToGovernor::Unpin { session, objects });
        }
    }
}

impl<D: Clone> Session<D> {
    /// From now on tasks are handed out when they are ready. Those that a governor was given as a whole stay there.
    pub(super) fn start_to_spread(&mut self) {
        let (tasks, objects) = (Table::beside(&self.tasks, FRESH_TASK), Table::beside(&self.objects, FRESH_OBJECT));
        let mut spread = Spread::new(tasks, objects);
        let unplaced = std::mem::take(&mut self.unplaced);
        let first_unplaced = unplaced.iter().map(|unplaced| unplaced.batch.first).min().unwrap_or(NONE);
        if let Some(id) = self.governors.keys().next().copied() {
            for (batch, _) in self.batches.iter().filter(|(batch, _)| batch.first < first_unplaced) {
                for task in batch.tasks() {
                    let Some(state) = self.state_of(task) else { continue };
                    if let Some(record) = spread.tasks.get_mut(task) {
                        record.assigned = if state == TaskState::Cancelled { CANCELLED } else { id.0 as u16 };
                    }
                    if !state.is_over() {
                        self.add_inputs(&mut spread, batch, task);
                    }
                }
            }
            // The governor was told to hold what is kept; it knows itself what its tasks need.
            let unheld: BTreeSet<ObjectIndex> = unplaced.iter().flat_map(|unplaced| &unplaced.keep).copied().collect();
            let is_held = |(object, record): &(ObjectIndex, &ObjectRecord)| record.kept && !unheld.contains(object);
            let kept = self.objects.iter().filter(is_held);
            spread.holders.extend(kept.map(|(object, _)| (object, vec![id])));
        }
        self.spread = Some(Box::new(spread));
        for unplaced in unplaced {
            self.spread_submit(&unplaced.batch, unplaced.constants);
        }
    }

    fn add_inputs(&self, spread: &mut Spread<D>, batch: &Batch, task: TaskIndex) {
        for object in batch.inputs(task) {
            // Of an earlier submit, and forgotten since: it goes with this consumer.
            if spread.consumers_left(*object) == 0 && self.known_object(*object).is_none() {
                spread.objects.remember(*object, FRESH_OBJECT);
                spread.objects[*object].forgotten = true;
            }
            let record = &mut spread.objects[*object];
            record.consumers_left += 1;
            if !self.object_is_finished(*object) {
                spread.tasks[task].unmet += 1;
                spread.edges.push(&mut record.first_edge, task);
            }
        }
    }

    /// A governor has come: it may have enough cpus for what is waiting.
    pub(super) fn reconsider_wide_tasks(&mut self) {
        if let Some(spread) = &mut self.spread {
            let too_wide = std::mem::take(&mut spread.too_wide);
            spread.ready.extend(too_wide);
        }
    }

    /// Adds a new batch to the tables of a spread session.
    pub(super) fn spread_submit(&mut self, batch: &Arc<Batch>, constants: Vec<(ObjectIndex, D)>) {
        let Some(mut spread) = self.spread.take() else { return };
        spread.grow(self.tasks.len(), self.objects.len());
        for task in batch.tasks() {
            // It may have waited for a governor, and been cancelled meanwhile.
            if self.state_of(task).is_none_or(|state| state.is_over()) {
                if let Some(record) = spread.tasks.get_mut(task) {
                    record.assigned = CANCELLED;
                }
                continue;
            }
            self.add_inputs(&mut spread, batch, task);
            if spread.tasks[task].unmet == 0 {
                spread.ready.push_back(task);
            }
        }
        for (object, data) in constants {
            let is_read = spread.consumers_left(object) > 0;
            let kept = self.is_kept(object);
            if is_read || kept {
                spread.constants.insert(object, data);
            }
            if kept && !is_read {
                spread.unread_constants.push(object);
            }
        }
        self.spread = Some(spread);
    }

    /// Counts down what waited for tasks that are over, and drops inputs that were read for the last time.
    pub(super) fn spread_over(&mut self, over: &[TaskIndex], effects: &mut Effects<D>) {
        let Some(mut spread) = self.spread.take() else { return };
        let mut unneeded = Vec::new();
        let mut ready = Vec::new();
        let mut wanted = Vec::new();
        for task in over.iter().copied() {
            let record = &self.tasks[task];
            let finished = record.state == TaskState::Finished;
            let maker = record.governor;
            if finished {
                spread.learn(f64::from(record.duration));
            }
            let Some(batch) = self.batch_of(task) else { continue };
            for object in batch.inputs(task) {
                if spread.consumed(*object) && !self.is_kept(*object) {
                    unneeded.push(*object);
                }
            }
            if !finished {
                continue;
            }
            for object in batch.outputs(task) {
                let Some(record) = spread.objects.get_mut(object) else { continue };
                while let Some(consumer) = spread.edges.pop(&mut record.first_edge) {
                    // One that was cancelled may be forgotten.
                    let Some(waiting) = spread.tasks.get_mut(consumer) else { continue };
                    waiting.unmet = waiting.unmet.saturating_sub(1);
                    if waiting.unmet == 0 && waiting.assigned == UNASSIGNED {
                        ready.push(consumer);
                    }
                    // It was made elsewhere than planned, because its task was taken back.
                    let reader = waiting.assigned;
                    if reader < CANCELLED && reader != maker {
                        wanted.push((GovernorId(u32::from(reader)), object));
                    }
                }
                // The list has the newest consumer first; the oldest is to run first.
                spread.ready.extend(ready.drain(..).rev());
            }
        }
        spread.drop_objects(self.id, unneeded, effects);
        self.bring(&mut spread, wanted, effects);
        self.spread = Some(spread);
    }

    /// Has governors bring objects that tasks wait for which they have already.
    fn bring(&self, spread: &mut Spread<D>, wanted: Vec<(GovernorId, ObjectIndex)>, effects: &mut Effects<D>) {
        let mut runs: BTreeMap<GovernorId, Vec<RemoteInput>> = BTreeMap::new();
        for (governor, object) in wanted {
            let Some(holders) = spread.holders.get_mut(&object).filter(|h| !h.contains(&governor)) else { continue };
            let input = RemoteInput { object, holders: sources(holders, self.size_of(object)) };
            holders.push(governor);
            runs.entry(governor).or_default().push(input);
        }
        for (governor, remote) in runs {
            let run = Run { remote, ..empty_run(self.id, empty_batch(self)) };
            effects.send(governor, ToGovernor::Run(run));
        }
    }

    /// Whether governors are to hold an object of a spread session.
    pub(super) fn is_held(&self, object: ObjectIndex) -> bool {
        self.spread.as_ref().is_some_and(|spread| spread.holders.contains_key(&object))
    }

    /// Whether there is something that no governor has been given.
    pub(super) fn has_unplaced(&self) -> bool {
        !self.unplaced.is_empty()
            || self
                .spread
                .as_ref()
                .is_some_and(|s| !s.ready.is_empty() || !s.too_wide.is_empty() || !s.unread_constants.is_empty())
    }

    fn open_on(&mut self, governor: GovernorId, effects: &mut Effects<D>) {
        if self.governors.contains_key(&governor) {
            return;
        }
        self.governors.insert(governor, 0);
        let open = OpenSession { session: self.id, python: self.python.clone() };
        effects.send(governor, ToGovernor::OpenSession(open));
    }

    /// Hands everything to the only governor.
    fn place_whole(&mut self, id: GovernorId, governor: &mut Governor, effects: &mut Effects<D>) {
        if !self.to_raise.is_empty() {
            self.open_on(id, effects);
            let raises = BTreeMap::from([(id, std::mem::take(&mut self.to_raise))]);
            self.send_raises(raises, effects);
        }
        for unplaced in std::mem::take(&mut self.unplaced) {
            self.open_on(id, effects);
            let mut batch = unplaced.batch;
            // It may have waited for a governor, and tasks of it been cancelled meanwhile.
            let is_open = |task: &TaskIndex| self.state_of(*task).is_some_and(|state| !state.is_over());
            let tasks = match batch.tasks().all(|task| is_open(&task)) {
                true => TaskSet::All,
                false => TaskSet::Some(batch.tasks().filter(is_open).collect()),
            };
            let count = match &tasks {
                TaskSet::All => u64::from(batch.count),
                TaskSet::Some(tasks) => tasks.len() as u64,
            };
            if count == 0 {
                batch = empty_batch(self);
            }
            governor.outstanding += count;
            *self.governors.entry(id).or_default() += count;
            let run = Run {
                session: self.id,
                batch,
                tasks,
                constants: unplaced.constants,
                remote: Vec::new(),
                pins: unplaced.keep,
            };
            effects.send(id, ToGovernor::Run(run));
        }
    }

    fn place_spread(&mut self, governors: &mut BTreeMap<GovernorId, Governor>, effects: &mut Effects<D>) {
        let Some(mut spread) = self.spread.take() else { return };
        let mut runs: BTreeMap<(GovernorId, TaskIndex), Run<D>> = BTreeMap::new();
        let mut raises: BTreeMap<GovernorId, Vec<(TaskIndex, i32)>> = BTreeMap::new();
        // Those that no governor has are told when one gets them.
        for (task, priority) in std::mem::take(&mut self.to_raise) {
            if let Some(governor) = spread.governor_of(task) {
                raises.entry(governor).or_default().push((task, priority));
            }
        }
        if let (Some(id), false) = (first_alive(governors), spread.unread_constants.is_empty()) {
            self.open_on(id, effects);
            let pins = std::mem::take(&mut spread.unread_constants);
            let constants = pins.iter().filter_map(|object| Some((*object, spread.constants.get(object)?.clone())));
            let constants: Vec<(ObjectIndex, D)> = constants.collect();
            spread.holders.extend(pins.iter().map(|object| (*object, vec![id])));
            let run = Run { constants, pins, ..empty_run(self.id, empty_batch(self)) };
            effects.send(id, ToGovernor::Run(run));
        }
        while let Some(task) = spread.ready.pop_front() {
            let Some(batch) = self.batch_of(task).cloned() else { continue };
            let Some(id) = choose(&spread, &batch, task, governors) else {
                let cpus = batch.kind(task).cpus;
                if governors.values().any(|governor| governor.alive && governor.cpus >= cpus) {
                    spread.ready.push_front(task);
                    break;
                }
                // One may come that has enough; others need not wait behind this one.
                spread.too_wide.push(task);
                continue;
            };
            self.open_on(id, effects);
            let mut next = Some(task);
            while let Some(task) = next {
                let Some(batch) = self.batch_of(task).cloned() else { break };
                self.assign(&mut spread, &batch, task, id, &mut runs);
                if let Some(priority) = self.raised.get(&task) {
                    raises.entry(id).or_default().push((task, *priority));
                }
                if let Some(governor) = governors.get_mut(&id) {
                    governor.outstanding += 1;
                }
                *self.governors.entry(id).or_default() += 1;
                next = self.only_follower(&spread, &batch, task, id);
            }
        }
        self.spread = Some(spread);
        self.send_raises(raises, effects);
        for ((governor, _), run) in runs {
            effects.send(governor, ToGovernor::Run(run));
        }
    }

    fn assign(
        &self,
        spread: &mut Spread<D>,
        batch: &Arc<Batch>,
        task: TaskIndex,
        id: GovernorId,
        runs: &mut BTreeMap<(GovernorId, TaskIndex), Run<D>>,
    ) {
        spread.tasks[task].assigned = id.0 as u16;
        let run = runs.entry((id, batch.first)).or_insert_with(|| empty_run(self.id, batch.clone()));
        if let TaskSet::Some(tasks) = &mut run.tasks {
            tasks.push(task);
        }
        for object in batch.inputs(task) {
            let holders = spread.holders.entry(*object).or_default();
            if holders.contains(&id) {
                continue;
            }
            match (spread.constants.get(object), holders.first()) {
                (Some(data), _) => {
                    run.constants.push((*object, data.clone()));
                    run.pins.push(*object);
                }
                (None, Some(_)) => {
                    let holders = sources(holders, self.size_of(*object));
                    run.remote.push(RemoteInput { object: *object, holders });
                }
                (None, None) => {}
            }
            holders.push(id);
        }
        for object in batch.outputs(task) {
            if spread.consumers_left(object) > 0 || self.is_kept(object) {
                run.pins.push(object);
                spread.holders.insert(object, vec![id]);
            }
        }
    }

    /// The one task that reads what `task` makes, if it can already be sent along: everything else that it reads is
    /// finished or made on the same governor.
    fn only_follower(&self, spread: &Spread<D>, batch: &Batch, task: TaskIndex, id: GovernorId) -> Option<TaskIndex> {
        let mut follower = None;
        for object in batch.outputs(task) {
            for consumer in spread.edges.iter(spread.objects[object].first_edge) {
                if follower.is_some_and(|other| other != consumer) {
                    return None;
                }
                follower = Some(consumer);
            }
        }
        let follower = follower.filter(|task| spread.assigned(*task) == UNASSIGNED)?;
        let follower_batch = self.batch_of(follower)?;
        let fits = follower_batch.kind(follower).cpus <= batch.kind(task).cpus;
        let inputs_there = follower_batch.inputs(follower).iter().all(|object| {
            let made_there = |producer| spread.assigned(producer) == id.0 as u16;
            self.object_is_finished(*object) || self.producer_of(*object).is_some_and(made_there)
        });
        (fits && inputs_there).then_some(follower)
    }
}

/// Whom the next governor that needs an object is to ask, in this order.
///
/// Small ones come from their maker. The copies of large ones form a binary tree, so that no governor sends one more than
/// twice; who is to have it before is asked next. All come before the asker in `holders`, so that none waits for itself.
fn sources(holders: &[GovernorId], bytes: u32) -> Vec<GovernorId> {
    let first = if bytes < SPREAD_BYTES_MIN { 0 } else { (holders.len() - 1) / 2 };
    let others = holders.iter().enumerate().filter(|(place, _)| *place != first).map(|(_, holder)| holder);
    std::iter::once(&holders[first]).chain(others.take(SOURCES_MAX - 1)).copied().collect()
}

fn first_alive(governors: &BTreeMap<GovernorId, Governor>) -> Option<GovernorId> {
    governors.iter().find(|(_, governor)| governor.alive).map(|(id, _)| *id)
}

fn empty_run<D>(session: SessionId, batch: Arc<Batch>) -> Run<D> {
    Run {
        session,
        batch,
        tasks: TaskSet::Some(Vec::new()),
        constants: Vec::new(),
        remote: Vec::new(),
        pins: Vec::new(),
    }
}

fn empty_batch<D>(session: &Session<D>) -> Arc<Batch> {
    Arc::new(Batch::empty(session.tasks.len()))
}

/// Among the governors with room: one with a free cpu, then the one that holds most of the task's inputs, then the least
/// loaded one.
fn choose<D: Clone>(
    spread: &Spread<D>,
    batch: &Batch,
    task: TaskIndex,
    governors: &BTreeMap<GovernorId, Governor>,
) -> Option<GovernorId> {
    let cpus = batch.kind(task).cpus;
    let held = |id: &GovernorId| {
        let inputs = batch.inputs(task);
        inputs.iter().filter(|object| spread.holders.get(object).is_some_and(|holders| holders.contains(id))).count()
    };
    governors
        .iter()
        .filter(|(_, governor)| governor.alive && governor.cpus >= cpus)
        .filter(|(_, governor)| governor.load() < spread.window(governor.cpus))
        .min_by(|(a_id, a), (b_id, b)| {
            let load = |governor: &Governor| governor.load() as f64 / f64::from(governor.cpus);
            let busy = |governor: &Governor| governor.load() >= u64::from(governor.cpus);
            let by_locality = held(b_id).cmp(&held(a_id));
            busy(a).cmp(&busy(b)).then(by_locality).then(load(a).total_cmp(&load(b))).then(a_id.cmp(b_id))
        })
        .map(|(id, _)| *id)
}

impl<D: Clone> Server<D> {
    /// Hands out what can be handed out.
    pub(super) fn place(&mut self, effects: &mut Effects<D>) {
        if !self.to_place.is_empty() {
            self.place_all(effects);
        }
        self.balance(effects);
    }

    fn place_all(&mut self, effects: &mut Effects<D>) {
        let (sessions, governors) = (&mut self.sessions, &mut self.governors);
        let is_one = governors.values().filter(|governor| governor.alive).count() == 1;
        self.to_place.retain(|id| {
            let Some(session) = sessions.get_mut(id).filter(|session| session.failure.is_none()) else { return false };
            if session.spread.is_none() && !is_one {
                session.start_to_spread();
            }
            if session.spread.is_some() {
                session.place_spread(governors, effects);
            } else if let Some(id) = first_alive(governors)
                && let Some(governor) = governors.get_mut(&id)
            {
                session.place_whole(id, governor, effects);
            }
            session.has_unplaced()
        });
    }
}
