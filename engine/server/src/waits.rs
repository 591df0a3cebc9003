//! Who waits for what in a session.

use super::effects::ReplyTo;
use rain_model::id::GovernorId;
use std::collections::{BTreeMap, BTreeSet};

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
    /// The client would rather hear which governors have the object.
    pub(super) direct: bool,
}

/// Somebody who waits.
#[derive(Debug)]
pub(super) enum Wait {
    /// For all of these; everything before `next` is finished.
    Every { to: ReplyTo, items: Vec<Item>, next: usize },
    /// To fetch an object.
    Fetch(ClientFetch),
    /// For each item of a watch.
    Watch(u32),
}

/// A client that waits for any of these, which are in ascending order.
#[derive(Debug)]
pub(super) struct Any {
    pub(super) to: ReplyTo,
    pub(super) items: Vec<Item>,
}

/// Items of which a client is told as they are over, each once.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// Over, and not told.
    pub(super) tasks: Vec<u32>,
    pub(super) objects: Vec<u32>,
    /// Items that are not over.
    pub(super) open: usize,
    /// The client waits for more.
    pub(super) asked: Option<ReplyTo>,
    /// The wait that is registered with what is not over.
    pub(super) wait: u64,
}

impl Watch {
    /// Notes that an item is over.
    pub(super) fn add(&mut self, item: Item) {
        match item {
            Item::Task(task) => self.tasks.push(task),
            Item::Object(object) => self.objects.push(object),
        }
    }

    /// Whether the client can be told something: what is over, or that nothing is left.
    pub(super) fn has_news(&self) -> bool {
        self.open == 0 || !self.tasks.is_empty() || !self.objects.is_empty()
    }
}

/// A request to cancel what has not begun, while governors are asked what that is.
#[derive(Debug)]
pub(super) struct Cancelling {
    pub(super) to: ReplyTo,
    /// Governors that have not answered, as often as they have to.
    pub(super) asked: Vec<GovernorId>,
    pub(super) cancelled: Vec<u32>,
}

/// Waits of a session. A wait for every item is registered with the first that is not finished only, so that it costs in all
/// one step an item; a watch is registered with each of its items once.
#[derive(Debug, Default)]
pub(super) struct Waits {
    next_id: u64,
    waits: BTreeMap<u64, Wait>,
    /// Which waits are registered with which items.
    registered: BTreeSet<(Item, u64)>,
    pub(super) any: Vec<Any>,
    pub(super) all: Vec<ReplyTo>,
    pub(super) due_fetches: Vec<ClientFetch>,
    pub(super) watches: BTreeMap<u32, Watch>,
    /// Watches there have been.
    pub(super) watch_count: u32,
    /// By ticket.
    pub(super) cancelling: BTreeMap<u64, Cancelling>,
}

impl Waits {
    /// Registers a wait with these items.
    pub(super) fn add(&mut self, wait: Wait, items: impl IntoIterator<Item = Item>) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        self.waits.insert(id, wait);
        self.registered.extend(items.into_iter().map(|item| (item, id)));
        id
    }

    /// Whether the end of a task can matter to anybody who waits for single items.
    pub(super) fn is_empty(&self) -> bool {
        self.registered.is_empty() && self.any.is_empty()
    }

    /// The waits that are registered with an item which is over. They are not any more.
    pub(super) fn take_registered(&mut self, item: Item) -> Vec<u64> {
        let ids: Vec<u64> = self.registered.range((item, 0)..=(item, u64::MAX)).map(|(_, id)| *id).collect();
        for id in &ids {
            self.registered.remove(&(item, *id));
        }
        ids
    }

    /// The wait with this number.
    pub(super) fn wait(&self, id: u64) -> Option<&Wait> {
        self.waits.get(&id)
    }

    /// Removes a wait with all that it is registered with.
    pub(super) fn withdraw(&mut self, id: u64) {
        self.waits.remove(&id);
        self.registered.retain(|(_, other)| *other != id);
    }

    /// Removes a wait that is registered with nothing.
    pub(super) fn remove(&mut self, id: u64) -> Option<Wait> {
        self.waits.remove(&id)
    }

    /// Everybody who waits for an answer.
    pub(super) fn into_askers(self) -> impl Iterator<Item = ReplyTo> {
        let waiting = self.waits.into_values().filter_map(|wait| match wait {
            Wait::Every { to, .. } | Wait::Fetch(ClientFetch { to, .. }) => Some(to),
            Wait::Watch(_) => None,
        });
        let any = self.any.into_iter().map(|any| any.to);
        let fetching = self.due_fetches.into_iter().map(|fetch| fetch.to);
        let watching = self.watches.into_values().filter_map(|watch| watch.asked);
        let cancelling = self.cancelling.into_values().map(|cancelling| cancelling.to);
        waiting.chain(any).chain(self.all).chain(fetching).chain(watching).chain(cancelling)
    }
}
