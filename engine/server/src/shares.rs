//! How many tasks of a session each governor has.

use rain_model::id::GovernorId;
use std::collections::{BTreeMap, BTreeSet};

/// What a governor has of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Share {
    tasks: u64,
    /// Cpus of the governor.
    cpus: u32,
}

impl Share {
    fn excess(self) -> u64 {
        self.tasks.saturating_sub(u64::from(self.cpus))
    }
}

/// The governors that know a session, with the number of tasks that each has.
#[derive(Debug, Default)]
pub(super) struct Shares {
    by_governor: BTreeMap<GovernorId, Share>,
    /// Governors that have more tasks than cpus, by how many more.
    excess: BTreeSet<(u64, GovernorId)>,
}

impl Shares {
    /// The governors that know the session.
    pub(super) fn governors(&self) -> impl Iterator<Item = GovernorId> + '_ {
        self.by_governor.keys().copied()
    }

    /// Whether a governor knows the session.
    pub(super) fn knows(&self, id: GovernorId) -> bool {
        self.by_governor.contains_key(&id)
    }

    /// Whether no governor but this one knows the session.
    pub(super) fn has_none_but(&self, id: GovernorId) -> bool {
        self.by_governor.keys().all(|other| *other == id)
    }

    /// Notes that a governor knows the session; false when that was known.
    pub(super) fn open(&mut self, id: GovernorId, cpus: u32) -> bool {
        let is_new = !self.by_governor.contains_key(&id);
        if is_new {
            self.by_governor.insert(id, Share { tasks: 0, cpus });
        }
        is_new
    }

    /// Notes that a governor has forgotten the session; returns how many tasks it had.
    pub(super) fn close(&mut self, id: GovernorId) -> Option<u64> {
        let share = self.by_governor.remove(&id)?;
        self.excess.remove(&(share.excess(), id));
        Some(share.tasks)
    }

    fn change(&mut self, id: GovernorId, change: impl FnOnce(&mut u64)) {
        let Some(share) = self.by_governor.get_mut(&id) else {
            debug_assert!(false, "{id} does not know the session");
            return;
        };
        let before = share.excess();
        change(&mut share.tasks);
        let after = share.excess();
        if before != after {
            self.excess.remove(&(before, id));
            if after > 0 {
                self.excess.insert((after, id));
            }
        }
    }

    /// Counts tasks that a governor was given.
    pub(super) fn give(&mut self, id: GovernorId, count: u64) {
        self.change(id, |tasks| *tasks += count);
    }

    /// Counts tasks that a governor does not have any more.
    pub(super) fn take(&mut self, id: GovernorId, count: u64) {
        self.change(id, |tasks| {
            debug_assert!(*tasks >= count, "{id} has {tasks} tasks, of which {count} are taken");
            *tasks = tasks.saturating_sub(count);
        });
    }

    /// The governor with the most tasks beyond its cpus: how many these are, the governor and its cpus.
    pub(super) fn largest_excess(&self) -> Option<(u64, GovernorId, u32)> {
        let (excess, id) = self.excess.last().copied()?;
        Some((excess, id, self.by_governor.get(&id)?.cpus))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_excess_follows_what_is_given_and_taken() {
        let mut shares = Shares::default();
        let [a, b] = [GovernorId(4), GovernorId(7)];
        assert!(shares.open(a, 2) && !shares.open(a, 2) && shares.open(b, 10));
        shares.give(a, 2);
        shares.give(b, 10);
        assert_eq!(shares.largest_excess(), None);
        shares.give(a, 3);
        shares.give(b, 1);
        assert_eq!(shares.largest_excess(), Some((3, a, 2)));
        shares.take(a, 4);
        assert_eq!(shares.largest_excess(), Some((1, b, 10)));
        assert_eq!((shares.close(b), shares.close(b), shares.largest_excess()), (Some(11), None, None));
        assert!(shares.has_none_but(a) && !shares.has_none_but(b));
        assert!(shares.governors().eq([a]));
    }
}
