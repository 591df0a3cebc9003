//! Whose turn it is: sessions that have something to be handed out share the governors' time.

use rain_model::id::SessionId;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

/// Sessions with work, in the order of the time that they have had: who has had the least is next. Time is cpu time of the
/// tasks that were handed out, as expected, in nanoseconds.
#[derive(Debug, Default)]
pub(super) struct Fair {
    order: BTreeSet<(u64, SessionId)>,
    /// The cpu time of each session that `order` has.
    had: BTreeMap<SessionId, u64>,
    /// What the latest one that got something had had before: who comes begins there, so that nobody can save up time.
    served: u64,
}

impl Fair {
    pub(super) fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// Adds a session that has got work, and has had so much time before.
    pub(super) fn add(&mut self, session: SessionId, had: u64) {
        self.put_back(session, had.max(self.served));
    }

    /// Puts a session back that was taken out and has more work.
    pub(super) fn put_back(&mut self, session: SessionId, had: u64) {
        if let Entry::Vacant(place) = self.had.entry(session) {
            place.insert(had);
            self.order.insert((had, session));
        }
    }

    /// Notes that a session that had had so much was given something.
    pub(super) fn served(&mut self, had: u64) {
        self.served = self.served.max(had);
    }

    /// Takes the next session out, with the time that it has had.
    pub(super) fn pop(&mut self) -> Option<(SessionId, u64)> {
        let (had, session) = self.order.pop_first()?;
        self.had.remove(&session);
        Some((session, had))
    }

    /// Removes a session.
    pub(super) fn remove(&mut self, session: SessionId) {
        if let Some(had) = self.had.remove(&session) {
            self.order.remove(&(had, session));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_had_the_least_is_next_and_nobody_saves_up() {
        let mut fair = Fair::default();
        let [a, b, c] = [1, 2, 3].map(SessionId);
        fair.add(a, 0);
        fair.add(b, 0);
        let mut turns = Vec::new();
        for _ in 0..6 {
            let (session, had) = fair.pop().unwrap();
            turns.push(session.0);
            fair.served(had);
            fair.put_back(session, had + if session == a { 30 } else { 10 });
        }
        assert_eq!(turns, [1, 2, 2, 2, 1, 2]);
        // One that comes late does not get all that it could have had.
        fair.add(c, 0);
        let next = fair.pop();
        assert_eq!(next, Some((c, 30)));
        // Who could not be given anything keeps its place.
        fair.put_back(c, 30);
        assert_eq!(fair.pop(), next);
        fair.remove(a);
        assert_eq!(fair.pop().map(|(session, _)| session), Some(b));
        assert!(fair.is_empty());
    }
}
