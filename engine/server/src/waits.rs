//! Clients that wait for tasks and objects.

use super::cancel::Cancelling;
use super::effects::{Effects, Reply, ReplyTo};
use super::session::{Session, TaskState};
use rain_protocol::client::{ErrorKind, RequestError};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Said of tasks that no governor begins any more.
const OUT_OF_TIME: &str = "could not be finished before the end of this server's time, and did not run";

/// A task or an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Item {
    Task(u32),
    Object(u32),
}

/// A client that wants the content of an object.
#[derive(Clone, Copy, Debug)]
pub(super) struct ClientFetch {
    pub(super) to: ReplyTo,
    pub(super) object: u32,
    /// It would rather hear who has it.
    pub(super) direct: bool,
}

/// Somebody who waits.
#[derive(Debug)]
pub(super) enum Wait {
    /// For all of these; everything before `next` is finished.
    Every { to: ReplyTo, items: Vec<Item>, next: usize },
    /// For any of these.
    Any { to: ReplyTo, tasks: Vec<u32>, objects: Vec<u32> },
    /// To fetch an object.
    Fetch(ClientFetch),
}

/// Waits of a session. Each wait is registered only with items that are not finished: a wait for every item with the
/// first such, so that a wait costs in all one step an item.
#[derive(Debug, Default)]
pub(super) struct Waits {
    next_id: u64,
    waits: BTreeMap<u64, Wait>,
    watched: BTreeMap<Item, Vec<u64>>,
    all: Vec<ReplyTo>,
    due_fetches: Vec<ClientFetch>,
    /// By ticket.
    pub(super) cancelling: BTreeMap<u64, Cancelling>,
}

impl Waits {
    fn add(&mut self, wait: Wait, items: impl IntoIterator<Item = Item>) {
        let id = self.next_id;
        self.next_id += 1;
        self.waits.insert(id, wait);
        for item in items {
            self.watched.entry(item).or_default().push(id);
        }
    }
}

impl<D: Clone> Session<D> {
    fn is_finished(&self, item: Item) -> bool {
        match item {
            Item::Task(task) => self.task_is_finished(task),
            Item::Object(object) => self.object_is_finished(object),
        }
    }

    /// The task that was cancelled, if that is why `item` will never be finished.
    fn cancelled_by(&self, item: Item) -> Option<u32> {
        let task = match item {
            Item::Task(task) => task,
            Item::Object(object) => self.producer_of(object)?,
        };
        self.task_is_cancelled(task).then_some(task)
    }

    /// Refuses what asks for the output of a cancelled task.
    pub(super) fn check_not_cancelled(&self, item: Item) -> Result<(), RequestError> {
        let Some(task) = self.cancelled_by(item) else { return Ok(()) };
        let what = self.describe_task(task);
        let why = if self.out_of_time { OUT_OF_TIME } else { "was cancelled" };
        Err(RequestError {
            kind: ErrorKind::Cancelled,
            session: Some(self.id.0),
            task: Some(task),
            ..RequestError::request(format!("{what} {why}"))
        })
    }

    /// What a wait for everything is answered when nothing is left to be waited for.
    fn all_over(&self) -> Result<(), RequestError> {
        if !self.out_of_time {
            return Ok(());
        }
        let count = self.tasks.iter().filter(|(_, record)| record.state == TaskState::Cancelled).count();
        Err(RequestError {
            kind: ErrorKind::Cancelled,
            session: Some(self.id.0),
            ..RequestError::request(format!("of {} tasks {count} {OUT_OF_TIME}", self.tasks.len()))
        })
    }

    pub(super) fn wait(
        &mut self,
        to: ReplyTo,
        tasks: Vec<u32>,
        objects: Vec<u32>,
        effects: &mut Effects<D>,
    ) -> Result<(), RequestError> {
        self.check_items(&tasks, &objects)?;
        let items = tasks.into_iter().map(Item::Task).chain(objects.into_iter().map(Item::Object)).collect();
        self.wait_for_rest(to, items, 0, effects);
        Ok(())
    }

    fn wait_for_rest(&mut self, to: ReplyTo, items: Vec<Item>, mut next: usize, effects: &mut Effects<D>) {
        while next < items.len() && self.is_finished(items[next]) {
            next += 1;
        }
        match items.get(next).copied() {
            None => effects.reply(to, Reply::Done),
            Some(item) => match self.check_not_cancelled(item) {
                Ok(()) => self.waits.add(Wait::Every { to, items, next }, [item]),
                Err(error) => effects.error(to, error),
            },
        }
    }

    pub(super) fn wait_some(
        &mut self,
        to: ReplyTo,
        tasks: Vec<u32>,
        objects: Vec<u32>,
        effects: &mut Effects<D>,
    ) -> Result<(), RequestError> {
        self.check_items(&tasks, &objects)?;
        if !self.answer_some(to, &tasks, &objects, effects) {
            let items: Vec<Item> =
                tasks.iter().copied().map(Item::Task).chain(objects.iter().copied().map(Item::Object)).collect();
            self.waits.add(Wait::Any { to, tasks, objects }, items);
        }
        Ok(())
    }

    fn answer_some(&self, to: ReplyTo, tasks: &[u32], objects: &[u32], effects: &mut Effects<D>) -> bool {
        let nothing_asked = tasks.is_empty() && objects.is_empty();
        let is_over = |item| self.is_finished(item) || self.cancelled_by(item).is_some();
        let tasks: Vec<u32> = tasks.iter().copied().filter(|task| is_over(Item::Task(*task))).collect();
        let objects: Vec<u32> = objects.iter().copied().filter(|object| is_over(Item::Object(*object))).collect();
        let any = nothing_asked || !tasks.is_empty() || !objects.is_empty();
        if any {
            effects.reply(to, Reply::Some { tasks, objects });
        }
        any
    }

    pub(super) fn wait_all(&mut self, to: ReplyTo, effects: &mut Effects<D>) {
        if self.unfinished == 0 {
            effects.done(to, self.all_over());
        } else {
            self.waits.all.push(to);
        }
    }

    /// Has a fetch wait until its object is finished.
    pub(super) fn add_fetch(&mut self, fetch: ClientFetch) {
        self.waits.add(Wait::Fetch(fetch), [Item::Object(fetch.object)]);
    }

    /// Fetches whose objects are finished now.
    pub(super) fn take_due_fetches(&mut self) -> Vec<ClientFetch> {
        std::mem::take(&mut self.waits.due_fetches)
    }

    /// Answers those who waited for tasks that are just over.
    pub(super) fn advance_waits(&mut self, over: &[u32], effects: &mut Effects<D>) {
        if !self.waits.watched.is_empty() {
            let mut due: Vec<u64> = Vec::new();
            for task in over.iter().copied() {
                let items = std::iter::once(Item::Task(task)).chain(self.outputs(task).map(Item::Object));
                for item in items {
                    due.extend(self.waits.watched.remove(&item).unwrap_or_default());
                }
            }
            due.sort_unstable();
            due.dedup();
            for id in due {
                match self.waits.waits.remove(&id) {
                    Some(Wait::Every { to, items, next }) => self.wait_for_rest(to, items, next, effects),
                    Some(Wait::Any { to, tasks, objects }) => {
                        self.answer_some(to, &tasks, &objects, effects);
                        self.forget_watch(id, &tasks, &objects);
                    }
                    Some(Wait::Fetch(fetch)) => match self.check_not_cancelled(Item::Object(fetch.object)) {
                        Ok(()) => self.waits.due_fetches.push(fetch),
                        Err(error) => effects.error(fetch.to, error),
                    },
                    None => {}
                }
            }
        }
        if self.unfinished == 0 {
            let all = std::mem::take(&mut self.waits.all);
            if !all.is_empty() {
                let over = self.all_over();
                all.into_iter().for_each(|to| effects.done(to, over.clone()));
            }
        }
    }

    fn forget_watch(&mut self, id: u64, tasks: &[u32], objects: &[u32]) {
        let items = tasks.iter().copied().map(Item::Task).chain(objects.iter().copied().map(Item::Object));
        for item in items {
            if let Some(ids) = self.waits.watched.get_mut(&item) {
                ids.retain(|other| *other != id);
                if ids.is_empty() {
                    self.waits.watched.remove(&item);
                }
            }
        }
    }

    /// Ends every wait with an error.
    pub(super) fn answer_waits_with(&mut self, error: &Arc<RequestError>, effects: &mut Effects<D>) {
        let waits = std::mem::take(&mut self.waits);
        let waiting = waits.waits.into_values().map(|wait| match wait {
            Wait::Every { to, .. } | Wait::Any { to, .. } | Wait::Fetch(ClientFetch { to, .. }) => to,
        });
        let fetching = waits.due_fetches.into_iter().map(|fetch| fetch.to);
        let cancelling = waits.cancelling.into_values().map(|cancelling| cancelling.to);
        for to in waiting.chain(waits.all).chain(fetching).chain(cancelling) {
            effects.error(to, error.clone());
        }
    }
}
