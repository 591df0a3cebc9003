//! Graphs and queues for simulations: one thread at a time, everything in order, and every mistake of a caller a panic.
//!
//! What `rain-pool` does with atomics is done here in the plainest way, so that one says what the other should.

use crate::graph::Graph;
use crate::queues::{Queueing, Queues};
use rain_model::id::{ObjectIndex, TaskIndex};
use rain_pool::{Cancelled, ReadyTask};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A session's tasks and objects.
#[derive(Debug)]
pub struct PlainGraph<D>(Mutex<GraphState<D>>);

#[derive(Debug)]
struct GraphState<D> {
    tasks: BTreeMap<TaskIndex, Task>,
    objects: BTreeMap<ObjectIndex, Object<D>>,
    is_cancelled: bool,
    /// What is to be forgotten when nobody needs it any more.
    put_off: (BTreeSet<TaskIndex>, BTreeSet<ObjectIndex>),
}

#[derive(Debug, Default)]
struct Task {
    /// How many inputs are not there.
    unmet: usize,
    is_cancelled: bool,
    is_over: bool,
    has_begun: bool,
}

#[derive(Debug)]
struct Object<D> {
    claims: usize,
    content: Content<D>,
    /// Tasks that wait for it, once for each input.
    waiting: Vec<TaskIndex>,
}

#[derive(Debug)]
enum Content<D> {
    Awaited,
    There(D),
    /// Nobody needs it any more.
    Gone,
}

impl<D> Default for PlainGraph<D> {
    fn default() -> Self {
        Self(Mutex::new(GraphState {
            tasks: BTreeMap::new(),
            objects: BTreeMap::new(),
            is_cancelled: false,
            put_off: Default::default(),
        }))
    }
}

impl<D> PlainGraph<D> {
    /// The objects that somebody has claims on, and how many.
    pub fn claims(&self) -> BTreeMap<ObjectIndex, usize> {
        let state = lock(&self.0);
        state.objects.iter().map(|(object, o)| (*object, o.claims)).filter(|(_, claims)| *claims > 0).collect()
    }

    /// Tasks that wait or are ready or run.
    pub fn open_tasks(&self) -> BTreeSet<TaskIndex> {
        lock(&self.0).tasks.iter().filter(|(_, task)| !task.is_over).map(|(task, _)| *task).collect()
    }

    /// Tasks whose inputs are there, and which are not over.
    pub fn ready_tasks(&self) -> BTreeSet<TaskIndex> {
        let state = lock(&self.0);
        let is_ready = |task: &Task| task.unmet == 0 && !task.is_over;
        state.tasks.iter().filter(|(_, task)| is_ready(task)).map(|(task, _)| *task).collect()
    }

    /// How many tasks and objects are remembered.
    pub fn remembered(&self) -> (usize, usize) {
        let state = lock(&self.0);
        (state.tasks.len(), state.objects.len())
    }
}

impl<D> GraphState<D> {
    fn task(&mut self, task: TaskIndex) -> &mut Task {
        self.tasks.get_mut(&task).unwrap_or_else(|| panic!("task {task} is not linked here"))
    }

    /// One input less is to come for each of these tasks; returns those that are ready now, the one that was linked last first.
    fn count_down(&mut self, waiting: Vec<TaskIndex>) -> Vec<TaskIndex> {
        let mut ready = Vec::new();
        for number in waiting.into_iter().rev() {
            let task = self.task(number);
            assert!(task.unmet > 0, "task {number} waits for nothing");
            task.unmet -= 1;
            if task.unmet == 0 && !task.is_over {
                ready.push(number);
            }
        }
        ready
    }

    fn release(&mut self, object: ObjectIndex) -> Option<D> {
        let slot = self.objects.get_mut(&object).filter(|slot| slot.claims > 0);
        let slot = slot.unwrap_or_else(|| panic!("object {object} is released more often than it was claimed"));
        slot.claims -= 1;
        if slot.claims > 0 {
            return None;
        }
        match std::mem::replace(&mut slot.content, Content::Gone) {
            Content::There(content) => Some(content),
            Content::Awaited | Content::Gone => {
                let waiting = std::mem::take(&mut slot.waiting);
                let ready = self.count_down(waiting);
                assert!(ready.is_empty(), "{ready:?} wait for object {object}, which will not be made");
                None
            }
        }
    }

    fn forget_what_can_go(&mut self) {
        let (tasks, objects) = (&mut self.tasks, &mut self.objects);
        self.put_off.0.retain(|number| {
            let may_go = tasks.get(number).is_none_or(|task| task.is_over && task.unmet == 0);
            if may_go {
                tasks.remove(number);
            }
            !may_go
        });
        self.put_off.1.retain(|number| {
            let may_go = objects.get(number).is_none_or(|object| object.claims == 0);
            if may_go {
                objects.remove(number);
            }
            !may_go
        });
    }
}

impl<D: Clone> Graph for PlainGraph<D> {
    type Content = D;

    fn claim(&self, object: ObjectIndex) {
        let mut state = lock(&self.0);
        let new = || Object { claims: 0, content: Content::Awaited, waiting: Vec::new() };
        let slot = state.objects.entry(object).or_insert_with(new);
        if matches!(slot.content, Content::Gone) {
            *slot = new();
        }
        slot.claims += 1;
    }

    fn link(&self, task: TaskIndex, inputs: &[ObjectIndex], _: u32) -> bool {
        let mut state = lock(&self.0);
        let mut unmet = 0;
        for object in inputs {
            let slot = state.objects.get_mut(object).filter(|slot| slot.claims > 0);
            let slot = slot.unwrap_or_else(|| panic!("task {task} has no claim on object {object}"));
            if matches!(slot.content, Content::Awaited) {
                slot.waiting.push(task);
                unmet += 1;
            }
        }
        let before = state.tasks.insert(task, Task { unmet, ..Task::default() });
        assert!(before.is_none_or(|before| before.is_over), "task {task} is linked twice");
        unmet == 0
    }

    fn supply(&self, object: ObjectIndex, content: D, ready: impl FnMut(TaskIndex)) {
        let mut state = lock(&self.0);
        let slot = state.objects.get_mut(&object).filter(|slot| slot.claims > 0);
        let slot = slot.unwrap_or_else(|| panic!("nobody has a claim on object {object}"));
        if matches!(slot.content, Content::There(_)) {
            // Its producer was run again.
            state.release(object);
            return;
        }
        slot.content = Content::There(content);
        let waiting = std::mem::take(&mut slot.waiting);
        let made_ready = state.count_down(waiting);
        state.release(object);
        drop(state);
        made_ready.into_iter().for_each(ready);
    }

    fn release(&self, object: ObjectIndex) {
        lock(&self.0).release(object);
    }

    fn unpin(&self, object: ObjectIndex) -> Option<D> {
        let mut state = lock(&self.0);
        state.objects.get(&object).filter(|slot| slot.claims > 0)?;
        state.release(object)
    }

    fn share(&self, object: ObjectIndex) -> Option<D> {
        match &lock(&self.0).objects.get(&object)?.content {
            Content::There(content) => Some(content.clone()),
            Content::Awaited | Content::Gone => None,
        }
    }

    fn cancel(&self) {
        lock(&self.0).is_cancelled = true;
    }

    fn is_cancelled(&self) -> bool {
        lock(&self.0).is_cancelled
    }

    fn cancel_task(&self, task: TaskIndex, unbegun: bool) -> Cancelled {
        let mut state = lock(&self.0);
        let Some(task) = state.tasks.get_mut(&task) else { return Cancelled::Unknown };
        if task.is_over {
            return Cancelled::Over;
        }
        match (task.unmet, task.has_begun) {
            (0, true) => {
                task.is_cancelled |= !unbegun;
                Cancelled::Begun
            }
            (0, false) => {
                task.is_cancelled = true;
                Cancelled::Ready
            }
            _ => {
                (task.is_cancelled, task.is_over) = (true, true);
                Cancelled::Waiting
            }
        }
    }

    fn task_is_cancelled(&self, task: TaskIndex) -> bool {
        lock(&self.0).task(task).is_cancelled
    }

    fn begin(&self, task: TaskIndex) -> bool {
        let mut state = lock(&self.0);
        let task = state.task(task);
        task.has_begun = true;
        !task.is_cancelled
    }

    fn put_back(&self, task: TaskIndex) {
        lock(&self.0).task(task).has_begun = false;
    }

    fn set_over(&self, task: TaskIndex) {
        let mut state = lock(&self.0);
        let open = state.task(task);
        assert!(!open.is_over && open.unmet == 0, "task {task} was over, or not ready");
        (open.is_cancelled, open.has_begun, open.is_over) = (false, false, true);
    }

    fn has_begun(&self, task: TaskIndex) -> bool {
        lock(&self.0).tasks.get(&task).is_some_and(|task| task.has_begun)
    }

    fn is_ready(&self, task: TaskIndex) -> bool {
        let is_ready = |task: &Task| task.unmet == 0 && !task.is_over && !task.is_cancelled && !task.has_begun;
        lock(&self.0).tasks.get(&task).is_some_and(is_ready)
    }

    fn is_done_with(&self, task: TaskIndex) -> bool {
        lock(&self.0).tasks.get(&task).is_none_or(|task| task.is_over)
    }

    fn unlink(&self, task: TaskIndex, _: Range<u32>) {
        lock(&self.0).tasks.remove(&task);
    }

    fn forget(
        &self,
        tasks: impl IntoIterator<Item = (TaskIndex, Range<u32>)>,
        objects: impl IntoIterator<Item = ObjectIndex>,
    ) {
        let mut state = lock(&self.0);
        state.put_off.0.extend(tasks.into_iter().map(|(task, _)| task));
        state.put_off.1.extend(objects);
        state.forget_what_can_go();
    }
}

/// Ready tasks of all sessions.
#[derive(Debug, Default)]
pub struct PlainQueues(Mutex<QueueState>);

#[derive(Debug, Default)]
struct QueueState {
    /// By priority, the highest first, then by arrival.
    ready: BTreeMap<(Reverse<i32>, u64), ReadyTask>,
    arrivals: u64,
    wide: Vec<(ReadyTask, u32)>,
    wakes: usize,
}

impl PlainQueues {
    /// The tasks that may be taken, in the order in which one worker alone would take them.
    pub fn ready(&self) -> Vec<ReadyTask> {
        lock(&self.0).ready.values().copied().collect()
    }

    /// Takes a task out; false if it is not there.
    pub fn take(&self, task: ReadyTask) -> bool {
        let mut state = lock(&self.0);
        let place = state.ready.iter().find(|(_, other)| **other == task).map(|(place, _)| *place);
        place.is_some_and(|place| state.ready.remove(&place).is_some())
    }

    /// Adds a ready task that takes this many workers. All workers are to be woken for it.
    pub fn inject_wide(&self, task: ReadyTask, cpus: u32) {
        let mut state = lock(&self.0);
        state.wide.push((task, cpus));
        state.wakes = usize::MAX;
    }

    /// The tasks of several cpus in the order in which they are to be run, and how many workers each takes.
    pub fn wide(&self) -> Vec<(ReadyTask, u32)> {
        lock(&self.0).wide.clone()
    }

    /// Takes the first of the tasks of several cpus out.
    pub fn take_wide(&self) -> Option<(ReadyTask, u32)> {
        let mut state = lock(&self.0);
        if state.wide.is_empty() { None } else { Some(state.wide.remove(0)) }
    }

    /// For how many tasks workers are to be woken since this was asked last.
    pub fn take_wakes(&self) -> usize {
        std::mem::take(&mut lock(&self.0).wakes)
    }
}

impl Queues for PlainQueues {
    fn queueing(&self) -> impl Queueing {
        PlainQueueing { queues: self, queued: 0 }
    }

    fn take_back(&self, session: u32, count: usize, mut is_wanted: impl FnMut(TaskIndex) -> bool) -> Vec<TaskIndex> {
        let mut state = lock(&self.0);
        let mut taken = Vec::new();
        state.ready.retain(|(priority, _), task| {
            let takes =
                *priority == Reverse(0) && taken.len() < count && task.session() == session && is_wanted(task.task());
            if takes {
                taken.push(task.task());
            }
            !takes
        });
        taken
    }

    fn raise(&self, session: u32, priorities: &BTreeMap<TaskIndex, i32>) {
        let mut state = lock(&self.0);
        let priority = |task: ReadyTask| (task.session() == session).then(|| priorities.get(&task.task()))?.copied();
        let ready = std::mem::take(&mut state.ready).into_iter();
        state.ready =
            ready.map(|((old, arrival), task)| ((priority(task).map_or(old, Reverse), arrival), task)).collect();
    }

    fn withdraw_wide(&self, mut is_over: impl FnMut(ReadyTask) -> bool) -> Vec<ReadyTask> {
        lock(&self.0).wide.extract_if(.., |(task, _)| is_over(*task)).map(|(task, _)| task).collect()
    }
}

struct PlainQueueing<'a> {
    queues: &'a PlainQueues,
    queued: usize,
}

impl Queueing for PlainQueueing<'_> {
    fn add(&mut self, task: ReadyTask, priority: i32) {
        let mut state = lock(&self.queues.0);
        state.arrivals += 1;
        let place = (Reverse(priority), state.arrivals);
        state.ready.insert(place, task);
        self.queued += 1;
    }
}

impl Drop for PlainQueueing<'_> {
    fn drop(&mut self) {
        let mut state = lock(&self.queues.0);
        state.wakes = state.wakes.saturating_add(self.queued);
    }
}
