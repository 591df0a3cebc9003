//! Which governor runs which task.
//!
//! One governor gets every task at once, before it is ready. Several are given ready tasks, each followed by the chain
//! that hangs on it alone; how many depends on how long tasks take, so that short ones come in large batches and long ones
//! stay here until a cpu is free. A session whose first submits found one governor is spread from the next submit on.

use super::session::{Session, TaskState};
use super::{Action, Governor, Server};
use crate::graph::Batch;
use crate::id::{GovernorId, NONE, ObjectIndex, SessionId, TaskIndex};
use crate::peer::{Message, OpenSession, RemoteInput, Run, TaskSet, ToGovernor};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// Mark in `Spread::assigned` of a task that was cancelled before it was placed.
const CANCELLED: u16 = u16::MAX - 1;

/// Objects of at least so many bytes are passed on by those who have got them.
const SPREAD_BYTES_MIN: u32 = 64 << 10;
/// Holders of an input that a governor is told of.
const SOURCES_MAX: usize = 4;

/// What the server keeps of a session that runs on several governors.
pub(super) struct Spread<D> {
    /// Inputs of each task that are not finished.
    unmet: Vec<u32>,
    /// Governor of each task, `u16::MAX` while it has none.
    assigned: Vec<u16>,
    /// Newest consumer edge of each object, and the edges: consumer and next edge.
    first_edge: Vec<u32>,
    edges: Vec<(TaskIndex, u32)>,
    /// Consumers of each object that have not finished.
    consumers_left: Vec<u32>,
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
    pub(super) fn new() -> Self {
        Self {
            unmet: Vec::new(),
            assigned: Vec::new(),
            first_edge: Vec::new(),
            edges: Vec::new(),
            consumers_left: Vec::new(),
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
    fn grow(&mut self, tasks: usize, objects: usize) {
        self.unmet.resize(tasks, 0);
        self.assigned.resize(tasks, u16::MAX);
        self.first_edge.resize(objects, NONE);
        self.consumers_left.resize(objects, 0);
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
            let assigned = &mut self.assigned[*task as usize];
            if *assigned == u16::MAX {
                *assigned = CANCELLED;
            }
        }
    }

    /// Mean duration of recent tasks, seconds, if any has finished.
    pub(super) fn mean_duration(&self) -> Option<f64> {
        self.mean_duration
    }

    /// A task was given back, and is to be placed again.
    pub(super) fn unassign(&mut self, task: TaskIndex) {
        self.assigned[task as usize] = u16::MAX;
        if self.unmet[task as usize] == 0 {
            self.ready.push_back(task);
        }
    }

    /// The governor that a task was given to.
    pub(super) fn governor_of(&self, task: TaskIndex) -> Option<GovernorId> {
        let assigned = self.assigned[task as usize];
        (assigned < CANCELLED).then_some(GovernorId(u32::from(assigned)))
    }

    /// Objects whose keep was taken back: those that no consumer needs can go.
    pub(super) fn unpin(&mut self, session: SessionId, objects: BTreeSet<ObjectIndex>, actions: &mut Vec<Action<D>>) {
        let unneeded = objects.into_iter().filter(|object| self.consumers_left[*object as usize] == 0).collect();
        self.drop_objects(session, unneeded, actions);
    }

    fn drop_objects(&mut self, session: SessionId, objects: Vec<ObjectIndex>, actions: &mut Vec<Action<D>>) {
        let mut unpins: BTreeMap<GovernorId, Vec<ObjectIndex>> = BTreeMap::new();
        for object in objects {
            self.constants.remove(&object);
            for holder in self.holders.remove(&object).unwrap_or_default() {
                unpins.entry(holder).or_default().push(object);
            }
        }
        for (governor, objects) in unpins {
            let message = Message::ToGovernor(ToGovernor::Unpin { session, objects });
            actions.push(Action::Send { governor, message });
        }
    }
}

impl<D: Clone> Session<D> {
    /// From now on tasks are handed out when they are ready. Those that a governor was given as a whole stay there.
    pub(super) fn start_to_spread(&mut self) {
        let mut spread = Spread::new();
        spread.grow(self.tasks.len(), self.objects.len());
        let unplaced = std::mem::take(&mut self.unplaced);
        let first_unplaced = unplaced.iter().map(|unplaced| unplaced.batch.first).min().unwrap_or(NONE);
        if let Some(id) = self.governors.keys().next().copied() {
            for batch in self.batches.iter().filter(|batch| batch.first < first_unplaced) {
                for task in batch.tasks() {
                    let state = self.tasks[task as usize].state;
                    spread.assigned[task as usize] =
                        if state == TaskState::Cancelled { CANCELLED } else { id.0 as u16 };
                    if !state.is_over() {
                        self.add_inputs(&mut spread, batch, task);
                    }
                }
            }
            // The governor was told to hold what is kept; it knows itself what its tasks need.
            let unheld: BTreeSet<ObjectIndex> = unplaced.iter().flat_map(|unplaced| &unplaced.keep).copied().collect();
            let kept = (0..).zip(&self.objects).filter(|(object, record)| record.kept && !unheld.contains(object));
            spread.holders.extend(kept.map(|(object, _)| (object, vec![id])));
        }
        self.spread = Some(Box::new(spread));
        for unplaced in unplaced {
            self.spread_submit(&unplaced.batch, unplaced.constants);
        }
    }

    fn add_inputs(&self, spread: &mut Spread<D>, batch: &Batch, task: TaskIndex) {
        for object in batch.inputs(task) {
            spread.consumers_left[*object as usize] += 1;
            if !self.object_is_finished(*object) {
                spread.unmet[task as usize] += 1;
                spread.edges.push((task, spread.first_edge[*object as usize]));
                spread.first_edge[*object as usize] = spread.edges.len() as u32 - 1;
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
            self.add_inputs(&mut spread, batch, task);
            if spread.unmet[task as usize] == 0 {
                spread.ready.push_back(task);
            }
        }
        for (object, data) in constants {
            let is_read = spread.consumers_left[object as usize] > 0;
            let kept = self.objects[object as usize].kept;
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
    pub(super) fn spread_over(&mut self, over: &[TaskIndex], actions: &mut Vec<Action<D>>) {
        let Some(mut spread) = self.spread.take() else { return };
        let mut unneeded = Vec::new();
        let mut ready = Vec::new();
        let mut wanted = Vec::new();
        for task in over.iter().copied() {
            let record = &self.tasks[task as usize];
            let finished = record.state == TaskState::Finished;
            let maker = record.governor;
            if finished {
                spread.learn(f64::from(record.duration));
            }
            let batch = self.batch_of(task);
            for object in batch.inputs(task) {
                let left = &mut spread.consumers_left[*object as usize];
                *left = left.saturating_sub(1);
                if *left == 0 && !self.objects[*object as usize].kept {
                    unneeded.push(*object);
                }
            }
            if !finished {
                continue;
            }
            for object in batch.outputs(task) {
                let mut edge = std::mem::replace(&mut spread.first_edge[object as usize], NONE);
                while edge != NONE {
                    let (consumer, next) = spread.edges[edge as usize];
                    edge = next;
                    let unmet = &mut spread.unmet[consumer as usize];
                    *unmet -= 1;
                    if *unmet == 0 && spread.assigned[consumer as usize] == u16::MAX {
                        ready.push(consumer);
                    }
                    // It was made elsewhere than planned, because its task was taken back.
                    let reader = spread.assigned[consumer as usize];
                    if reader < CANCELLED && reader != maker {
                        wanted.push((GovernorId(u32::from(reader)), object));
                    }
                }
                // The list has the newest consumer first; the oldest is to run first.
                spread.ready.extend(ready.drain(..).rev());
            }
        }
        spread.drop_objects(self.id, unneeded, actions);
        self.bring(&mut spread, wanted, actions);
        self.spread = Some(spread);
    }

    /// Has governors bring objects that tasks wait for which they have already.
    fn bring(&self, spread: &mut Spread<D>, wanted: Vec<(GovernorId, ObjectIndex)>, actions: &mut Vec<Action<D>>) {
        let mut runs: BTreeMap<GovernorId, Vec<RemoteInput>> = BTreeMap::new();
        for (governor, object) in wanted {
            let Some(holders) = spread.holders.get_mut(&object).filter(|h| !h.contains(&governor)) else { continue };
            let input = RemoteInput { object, holders: sources(holders, self.objects[object as usize].size) };
            holders.push(governor);
            runs.entry(governor).or_default().push(input);
        }
        for (governor, remote) in runs {
            let run = Run { remote, ..empty_run(self.id, empty_batch(self)) };
            actions.push(Action::Send { governor, message: Message::ToGovernor(ToGovernor::Run(run)) });
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

    fn open_on(&mut self, governor: GovernorId, actions: &mut Vec<Action<D>>) {
        if self.governors.contains_key(&governor) {
            return;
        }
        self.governors.insert(governor, 0);
        let open = OpenSession { session: self.id, python: self.python.clone() };
        actions.push(Action::Send { governor, message: Message::ToGovernor(ToGovernor::OpenSession(open)) });
    }

    /// Hands everything to the only governor.
    fn place_whole(&mut self, id: GovernorId, governor: &mut Governor, actions: &mut Vec<Action<D>>) {
        for unplaced in std::mem::take(&mut self.unplaced) {
            self.open_on(id, actions);
            let count = u64::from(unplaced.batch.count);
            governor.outstanding += count;
            *self.governors.entry(id).or_default() += count;
            let run = Run {
                session: self.id,
                batch: unplaced.batch,
                tasks: TaskSet::All,
                constants: unplaced.constants,
                remote: Vec::new(),
                pins: unplaced.keep,
            };
            actions.push(Action::Send { governor: id, message: Message::ToGovernor(ToGovernor::Run(run)) });
        }
    }

    fn place_spread(&mut self, governors: &mut BTreeMap<GovernorId, Governor>, actions: &mut Vec<Action<D>>) {
        let Some(mut spread) = self.spread.take() else { return };
        let mut runs: BTreeMap<(GovernorId, TaskIndex), Run<D>> = BTreeMap::new();
        if let (Some(id), false) = (first_alive(governors), spread.unread_constants.is_empty()) {
            self.open_on(id, actions);
            let pins = std::mem::take(&mut spread.unread_constants);
            let constants = pins.iter().filter_map(|object| Some((*object, spread.constants.get(object)?.clone())));
            let constants: Vec<(ObjectIndex, D)> = constants.collect();
            spread.holders.extend(pins.iter().map(|object| (*object, vec![id])));
            let run = Run { constants, pins, ..empty_run(self.id, empty_batch(self)) };
            actions.push(Action::Send { governor: id, message: Message::ToGovernor(ToGovernor::Run(run)) });
        }
        while let Some(task) = spread.ready.pop_front() {
            let batch = self.batch_of(task).clone();
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
            self.open_on(id, actions);
            let mut next = Some(task);
            while let Some(task) = next {
                let batch = self.batch_of(task).clone();
                self.assign(&mut spread, &batch, task, id, &mut runs);
                if let Some(governor) = governors.get_mut(&id) {
                    governor.outstanding += 1;
                }
                *self.governors.entry(id).or_default() += 1;
                next = self.only_follower(&spread, &batch, task, id);
            }
        }
        self.spread = Some(spread);
        for ((governor, _), run) in runs {
            actions.push(Action::Send { governor, message: Message::ToGovernor(ToGovernor::Run(run)) });
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
        spread.assigned[task as usize] = id.0 as u16;
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
                    let holders = sources(holders, self.objects[*object as usize].size);
                    run.remote.push(RemoteInput { object: *object, holders });
                }
                (None, None) => {}
            }
            holders.push(id);
        }
        for object in batch.outputs(task) {
            if spread.consumers_left[object as usize] > 0 || self.objects[object as usize].kept {
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
            let mut edge = spread.first_edge[object as usize];
            while edge != NONE {
                let (consumer, next) = spread.edges[edge as usize];
                if follower.is_some_and(|other| other != consumer) {
                    return None;
                }
                follower = Some(consumer);
                edge = next;
            }
        }
        let follower = follower.filter(|task| spread.assigned[*task as usize] == u16::MAX)?;
        let follower_batch = self.batch_of(follower);
        let fits = follower_batch.kind(follower).cpus <= batch.kind(task).cpus;
        let inputs_there = follower_batch.inputs(follower).iter().all(|object| {
            let producer = self.objects[*object as usize].producer;
            self.object_is_finished(*object) || spread.assigned[producer as usize] == id.0 as u16
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
    Arc::new(Batch {
        first: session.tasks.len() as u32,
        count: 0,
        kinds: session.kinds.clone(),
        kind: crate::graph::Column::Same(0),
        input_offsets: crate::graph::Offsets::Every(0),
        inputs: Vec::new(),
        first_output: crate::graph::Column::Same(NONE),
        configs: Vec::new(),
        config: crate::graph::Column::Same(NONE),
        user: BTreeMap::new(),
    })
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
    pub(super) fn place(&mut self, actions: &mut Vec<Action<D>>) {
        if !self.to_place.is_empty() {
            self.place_all(actions);
        }
        self.balance(actions);
    }

    fn place_all(&mut self, actions: &mut Vec<Action<D>>) {
        let (sessions, governors) = (&mut self.sessions, &mut self.governors);
        let is_one = governors.values().filter(|governor| governor.alive).count() == 1;
        self.to_place.retain(|id| {
            let Some(session) = sessions.get_mut(id).filter(|session| session.failure.is_none()) else { return false };
            if session.spread.is_none() && !is_one {
                session.start_to_spread();
            }
            if session.spread.is_some() {
                session.place_spread(governors, actions);
            } else if let Some(id) = first_alive(governors)
                && let Some(governor) = governors.get_mut(&id)
            {
                session.place_whole(id, governor, actions);
            }
            session.has_unplaced()
        });
    }
}
