//! Answering clients that wait for tasks and objects.

use super::effects::{Effects, Reply, ReplyTo};
use super::records::TaskState;
use super::session::Session;
use super::waits::{Any, ClientFetch, Item, Wait, Watch};
use rain_protocol::client::{ErrorKind, RequestError};
use std::sync::Arc;

/// Said of tasks that no governor begins any more.
const OUT_OF_TIME: &str = "could not be finished before the end of this server's time, and did not run";

/// Watches of a session at a time.
const WATCHES_MAX: usize = 1024;

fn all_items(tasks: Vec<u32>, objects: Vec<u32>) -> Vec<Item> {
    tasks.into_iter().map(Item::Task).chain(objects.into_iter().map(Item::Object)).collect()
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

    fn is_over(&self, item: Item) -> bool {
        self.is_finished(item) || self.cancelled_by(item).is_some()
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
        self.wait_for_rest(to, all_items(tasks, objects), 0, effects);
        Ok(())
    }

    fn wait_for_rest(&mut self, to: ReplyTo, items: Vec<Item>, mut next: usize, effects: &mut Effects<D>) {
        while next < items.len() && self.is_finished(items[next]) {
            next += 1;
        }
        match items.get(next).copied() {
            None => effects.reply(to, Reply::Done),
            Some(item) => match self.check_not_cancelled(item) {
                Ok(()) => drop(self.waits.add(Wait::Every { to, items, next }, [item])),
                Err(error) => effects.error(to, error),
            },
        }
    }

    /// Answers at once with what is over of these, or when something is.
    pub(super) fn wait_some(
        &mut self,
        to: ReplyTo,
        tasks: Vec<u32>,
        objects: Vec<u32>,
        effects: &mut Effects<D>,
    ) -> Result<(), RequestError> {
        self.check_items(&tasks, &objects)?;
        let over_tasks: Vec<u32> = tasks.iter().copied().filter(|task| self.is_over(Item::Task(*task))).collect();
        let is_over = |object: &u32| self.is_over(Item::Object(*object));
        let over_objects: Vec<u32> = objects.iter().copied().filter(is_over).collect();
        let nothing_asked = tasks.is_empty() && objects.is_empty();
        if nothing_asked || !over_tasks.is_empty() || !over_objects.is_empty() {
            effects.reply(to, Reply::Some { tasks: over_tasks, objects: over_objects });
        } else {
            let mut items = all_items(tasks, objects);
            items.sort_unstable();
            self.waits.any.push(Any { to, items });
        }
        Ok(())
    }

    pub(super) fn wait_all(&mut self, to: ReplyTo, effects: &mut Effects<D>) {
        if self.unfinished == 0 {
            effects.done(to, self.all_over());
        } else {
            self.waits.all.push(to);
        }
    }

    /// Begins a watch: its client will be told of each of these items once, as they are over. Answers with its number.
    pub(super) fn watch(
        &mut self,
        to: ReplyTo,
        tasks: Vec<u32>,
        objects: Vec<u32>,
        effects: &mut Effects<D>,
    ) -> Result<(), RequestError> {
        self.check_items(&tasks, &objects)?;
        if self.waits.watches.len() >= WATCHES_MAX {
            return Err(RequestError::request(format!("{} has {WATCHES_MAX} watches already", self.id)));
        }
        let mut items = all_items(tasks, objects);
        items.sort_unstable();
        items.dedup();
        let mut watch = Watch::default();
        items.retain(|item| {
            let over = self.is_over(*item);
            if over {
                watch.add(*item);
            }
            !over
        });
        watch.open = items.len();
        let number = self.waits.watch_count;
        self.waits.watch_count += 1;
        watch.wait = self.waits.add(Wait::Watch(number), items);
        self.waits.watches.insert(number, watch);
        effects.reply(to, Reply::Watch { number });
        Ok(())
    }

    /// Tells a client what is over of its watch and was not told, at once or when something is. After the last item the watch
    /// is gone.
    pub(super) fn watch_next(
        &mut self,
        to: ReplyTo,
        number: u32,
        effects: &mut Effects<D>,
    ) -> Result<(), RequestError> {
        let watch = self.waits.watches.get_mut(&number);
        let Some(watch) = watch.filter(|watch| watch.asked.is_none()) else {
            let why = if number < self.waits.watch_count { "is over, or is asked already" } else { "does not exist" };
            return Err(RequestError::request(format!("watch {number} of {} {why}", self.id)));
        };
        watch.asked = Some(to);
        self.tell_watch(number, effects);
        Ok(())
    }

    /// Ends a watch.
    pub(super) fn unwatch(&mut self, number: u32, effects: &mut Effects<D>) {
        let Some(watch) = self.waits.watches.remove(&number) else { return };
        self.waits.withdraw(watch.wait);
        if let Some(to) = watch.asked {
            effects.error(to, RequestError::request(format!("watch {number} was ended")));
        }
    }

    fn tell_watch(&mut self, number: u32, effects: &mut Effects<D>) {
        let Some(watch) = self.waits.watches.get_mut(&number).filter(|watch| watch.has_news()) else { return };
        let Some(to) = watch.asked.take() else { return };
        let (tasks, objects) = (std::mem::take(&mut watch.tasks), std::mem::take(&mut watch.objects));
        if watch.open == 0 {
            self.waits.watches.remove(&number);
        }
        effects.reply(to, Reply::Some { tasks, objects });
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
        if !self.waits.is_empty() {
            let mut items: Vec<Item> = over.iter().copied().map(Item::Task).collect();
            items.extend(over.iter().flat_map(|task| self.outputs(*task)).map(Item::Object));
            self.answer_any(&items, effects);
            self.answer_registered(&items, effects);
        }
        if self.unfinished == 0 {
            let all = std::mem::take(&mut self.waits.all);
            if !all.is_empty() {
                let over = self.all_over();
                all.into_iter().for_each(|to| effects.done(to, over.clone()));
            }
        }
    }

    fn answer_any(&mut self, over: &[Item], effects: &mut Effects<D>) {
        self.waits.any.retain(|any| {
            let mut found: Vec<Item> =
                over.iter().copied().filter(|item| any.items.binary_search(item).is_ok()).collect();
            if found.is_empty() {
                return true;
            }
            found.sort_unstable();
            let mut told = Watch::default();
            found.into_iter().for_each(|item| told.add(item));
            effects.reply(any.to, Reply::Some { tasks: told.tasks, objects: told.objects });
            false
        });
    }

    fn answer_registered(&mut self, over: &[Item], effects: &mut Effects<D>) {
        let mut due: Vec<u64> = Vec::new();
        let mut told: Vec<u32> = Vec::new();
        for item in over.iter().copied() {
            for id in self.waits.take_registered(item) {
                match self.waits.wait(id) {
                    Some(Wait::Watch(number)) => {
                        let number = *number;
                        let Some(watch) = self.waits.watches.get_mut(&number) else { continue };
                        watch.add(item);
                        watch.open -= 1;
                        if watch.open == 0 {
                            self.waits.remove(id);
                        }
                        told.push(number);
                    }
                    _ => due.push(id),
                }
            }
        }
        due.sort_unstable();
        due.dedup();
        for id in due {
            match self.waits.remove(id) {
                Some(Wait::Every { to, items, next }) => self.wait_for_rest(to, items, next, effects),
                Some(Wait::Fetch(fetch)) => match self.check_not_cancelled(Item::Object(fetch.object)) {
                    Ok(()) => self.waits.due_fetches.push(fetch),
                    Err(error) => effects.error(fetch.to, error),
                },
                Some(Wait::Watch(_)) | None => {}
            }
        }
        told.sort_unstable();
        told.dedup();
        told.into_iter().for_each(|number| self.tell_watch(number, effects));
    }

    /// Ends every wait with an error.
    pub(super) fn answer_waits_with(&mut self, error: &Arc<RequestError>, effects: &mut Effects<D>) {
        for to in std::mem::take(&mut self.waits).into_askers() {
            effects.error(to, error.clone());
        }
    }
}
