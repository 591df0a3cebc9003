//! The governors: who is there, how much each has to do, and which sessions it knows.

use rain_model::id::{GovernorId, SessionId};
use rain_model::resources::{Supplies, check_supplies};
use rain_model::time::Time;
use std::collections::{BTreeMap, BTreeSet};

/// Numbers of governors are below this, so that two bytes are enough for one.
const NUMBERS_MAX: u32 = u16::MAX as u32;

/// What is known of the connection to a governor. One that joins is alive at once, and one that is lost is forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Alive,
    /// Nothing has been heard of it since then: it gets nothing new, and what it has stays with it.
    Suspect {
        since: Time,
    },
}

/// A governor as the server sees it.
#[derive(Debug)]
pub(super) struct Governor {
    pub(super) cpus: u32,
    pub(super) state: State,
    /// How many governors had joined before: two with the same number differ in it.
    pub(super) incarnation: u64,
    /// Tasks sent there that have not come back.
    pub(super) outstanding: u64,
    /// How many of them wait for other tasks and need no cpu.
    pub(super) lending: u64,
    pub(super) finished: u64,
    /// Sessions that it knows.
    pub(super) sessions: BTreeSet<SessionId>,
}

impl Governor {
    /// Tasks that need its cpus, now or later.
    pub(super) fn load(&self) -> u64 {
        self.outstanding.saturating_sub(self.lending)
    }

    pub(super) fn is_alive(&self) -> bool {
        self.state == State::Alive
    }

    fn free(&self) -> u64 {
        if self.is_alive() { u64::from(self.cpus).saturating_sub(self.load()) } else { 0 }
    }
}

/// Governors by number, and by load. Nothing here takes longer the more governors there are, but for a logarithm.
#[derive(Debug, Default)]
pub(super) struct Governors {
    all: BTreeMap<GovernorId, Governor>,
    /// The alive ones, by their cpus.
    by_cpus: BTreeMap<u32, Loads>,
    /// Cpus of alive governors for which there is no task.
    free: u64,
    alive: usize,
    cpus: u64,
    incarnations: u64,
}

impl Governors {
    /// Adds a governor, which nobody has by this number; false when its number is too large.
    pub(super) fn join(&mut self, id: GovernorId, cpus: u32) -> bool {
        debug_assert!(!self.all.contains_key(&id));
        if id.0 >= NUMBERS_MAX {
            return false;
        }
        let governor = Governor {
            cpus,
            state: State::Alive,
            incarnation: self.incarnations,
            outstanding: 0,
            lending: 0,
            finished: 0,
            sessions: BTreeSet::new(),
        };
        self.incarnations += 1;
        self.count_in(id, &governor);
        self.all.insert(id, governor);
        true
    }

    /// Removes a governor that was lost.
    pub(super) fn remove(&mut self, id: GovernorId) -> Option<Governor> {
        let governor = self.all.remove(&id)?;
        self.count_out(id, &governor);
        Some(governor)
    }

    fn count_in(&mut self, id: GovernorId, governor: &Governor) {
        if governor.is_alive() {
            self.by_cpus.entry(governor.cpus).or_default().set(id, governor.load());
            self.free += governor.free();
            self.cpus += u64::from(governor.cpus);
            self.alive += 1;
        }
    }

    fn count_out(&mut self, id: GovernorId, governor: &Governor) {
        if governor.is_alive() {
            self.free -= governor.free();
            self.cpus -= u64::from(governor.cpus);
            self.alive -= 1;
            if let Some(loads) = self.by_cpus.get_mut(&governor.cpus) {
                loads.remove(id);
                if loads.places.is_empty() {
                    self.by_cpus.remove(&governor.cpus);
                }
            }
        }
    }

    /// Notes whether a governor is heard of.
    pub(super) fn set_state(&mut self, id: GovernorId, state: State) {
        if let Some(mut governor) = self.remove(id) {
            governor.state = state;
            self.count_in(id, &governor);
            self.all.insert(id, governor);
        }
    }

    pub(super) fn get(&self, id: GovernorId) -> Option<&Governor> {
        self.all.get(&id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (GovernorId, &Governor)> {
        self.all.iter().map(|(id, governor)| (*id, governor))
    }

    /// How many are alive.
    pub(super) fn alive(&self) -> usize {
        self.alive
    }

    /// The alive one with the lowest number.
    pub(super) fn first_alive(&self) -> Option<GovernorId> {
        self.all.iter().find(|(_, governor)| governor.is_alive()).map(|(id, _)| *id)
    }

    /// Cpus for which there is no task.
    pub(super) fn free(&self) -> u64 {
        self.free
    }

    /// Cpus of all that are alive.
    pub(super) fn cpus(&self) -> u64 {
        self.cpus
    }

    /// Cpus of the largest one that is alive.
    pub(super) fn cpus_max(&self) -> Option<u32> {
        self.by_cpus.keys().next_back().copied()
    }

    /// Of the governors with so many cpus or more, for each number of cpus the one with the least load.
    pub(super) fn least_loaded(&self, cpus: u32) -> impl Iterator<Item = GovernorId> + '_ {
        self.by_cpus.range(cpus..).filter_map(|(_, loads)| loads.least())
    }

    fn change(&mut self, id: GovernorId, change: impl FnOnce(&mut Governor)) {
        let Some(governor) = self.all.get_mut(&id) else { return };
        let free = governor.free();
        change(governor);
        self.free = self.free + governor.free() - free;
        if governor.is_alive()
            && let Some(loads) = self.by_cpus.get_mut(&governor.cpus)
        {
            loads.set(id, governor.load());
        }
    }

    /// Counts tasks that a governor was given.
    pub(super) fn give(&mut self, id: GovernorId, count: u64) {
        self.change(id, |governor| governor.outstanding += count);
    }

    /// Counts tasks that a governor does not have any more.
    pub(super) fn take(&mut self, id: GovernorId, count: u64) {
        self.change(id, |governor| {
            debug_assert!(governor.outstanding >= count, "{id} has {} tasks, not {count}", governor.outstanding);
            governor.outstanding = governor.outstanding.saturating_sub(count);
        });
    }

    /// Counts tasks that a governor has finished.
    pub(super) fn finish(&mut self, id: GovernorId, count: u64) {
        self.take(id, count);
        if let Some(governor) = self.all.get_mut(&id) {
            governor.finished += count;
        }
    }

    /// Notes how many tasks of a governor need no cpu.
    pub(super) fn set_lending(&mut self, id: GovernorId, tasks: u64) {
        self.change(id, |governor| governor.lending = tasks);
    }

    /// Notes that a governor knows a session.
    pub(super) fn open(&mut self, id: GovernorId, session: SessionId) {
        if let Some(governor) = self.all.get_mut(&id) {
            governor.sessions.insert(session);
        }
    }

    /// Notes that a governor has forgotten a session.
    pub(super) fn close(&mut self, id: GovernorId, session: SessionId) {
        if let Some(governor) = self.all.get_mut(&id) {
            governor.sessions.remove(&session);
        }
    }
}

/// Mark of a place in `Loads` where no governor is.
const NOBODY: u64 = u64::MAX;

/// Loads of governors in a complete binary tree whose inner nodes have the least load below them: the least one is found, and
/// one is changed, in a logarithmic number of steps.
#[derive(Debug, Default)]
struct Loads {
    /// Which leaf is whose.
    places: BTreeMap<GovernorId, usize>,
    ids: Vec<GovernorId>,
    free: BTreeSet<usize>,
    /// The root is node 1, the children of node `n` are `2 n` and `2 n + 1`; the leaves are the upper half.
    tree: Vec<u64>,
}

impl Loads {
    fn leaves(&self) -> usize {
        self.tree.len() / 2
    }

    fn set(&mut self, id: GovernorId, load: u64) {
        let place = match self.places.get(&id) {
            Some(place) => *place,
            None => self.add(id),
        };
        self.set_leaf(place, load);
    }

    fn add(&mut self, id: GovernorId) -> usize {
        let place = self.free.pop_first().unwrap_or(self.ids.len());
        if place == self.ids.len() {
            self.ids.push(id);
        } else {
            self.ids[place] = id;
        }
        self.places.insert(id, place);
        if place >= self.leaves() {
            let loads: Vec<u64> = self.tree[self.leaves()..].to_vec();
            self.tree = vec![NOBODY; 4 * self.leaves().max(1)];
            for (place, load) in loads.into_iter().enumerate() {
                self.set_leaf(place, load);
            }
        }
        place
    }

    fn set_leaf(&mut self, place: usize, load: u64) {
        let mut node = self.leaves() + place;
        self.tree[node] = load;
        while node > 1 {
            node /= 2;
            let least = self.tree[2 * node].min(self.tree[2 * node + 1]);
            if self.tree[node] == least {
                break;
            }
            self.tree[node] = least;
        }
    }

    fn remove(&mut self, id: GovernorId) {
        if let Some(place) = self.places.remove(&id) {
            self.set_leaf(place, NOBODY);
            self.free.insert(place);
        }
    }

    /// Who has the least load; of several the one at the lowest place.
    fn least(&self) -> Option<GovernorId> {
        let least = *self.tree.get(1)?;
        if least == NOBODY {
            return None;
        }
        let mut node = 1;
        while node < self.leaves() {
            node *= 2;
            if self.tree[node] != least {
                node += 1;
            }
        }
        self.ids.get(node - self.leaves()).copied()
    }
}

/// Whether a governor that says that it has this is let in.
///
/// # Errors
/// Why it is not.
pub fn check_joining(cpus: u32, resources: &Supplies) -> Result<(), String> {
    check_supplies(resources).map_err(|error| error.to_string())?;
    if cpus == 0 { Err("a governor has at least one cpu".to_owned()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn check(governors: &Governors) {
        let alive = || governors.iter().filter(|(_, governor)| governor.is_alive());
        assert_eq!(governors.alive(), alive().count());
        assert_eq!(governors.cpus(), alive().map(|(_, governor)| u64::from(governor.cpus)).sum::<u64>());
        assert_eq!(governors.free(), alive().map(|(_, governor)| governor.free()).sum::<u64>());
        for cpus in 1..5 {
            let loads = |of: u32| alive().filter(move |(_, governor)| governor.cpus == of).map(|(_, g)| g.load());
            let least: Vec<u64> = (cpus..5).filter_map(|of| loads(of).min()).collect();
            let found = governors.least_loaded(cpus).map(|id| governors.get(id).map_or(0, Governor::load));
            assert_eq!(found.collect::<Vec<_>>(), least);
        }
    }

    #[test]
    fn the_least_loaded_ones_are_found_whatever_happens() {
        let mut governors = Governors::default();
        let mut seed = 7u64;
        let mut random = |below: u64| {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (seed >> 33) % below
        };
        for _ in 0..5_000 {
            let id = GovernorId(random(40) as u32);
            let outstanding = governors.get(id).map(|governor| governor.outstanding);
            match (random(6), outstanding) {
                (0, None) => assert!(governors.join(id, 1 + id.0 % 4)),
                (1, Some(_)) if random(4) == 0 => drop(governors.remove(id)),
                (2, Some(outstanding)) => governors.finish(id, random(outstanding + 1)),
                (3, Some(_)) => governors.set_lending(id, random(3)),
                (4, Some(_)) => {
                    let since = Time::new(Duration::ZERO);
                    governors.set_state(id, if random(2) == 0 { State::Alive } else { State::Suspect { since } });
                }
                (_, Some(_)) => governors.give(id, random(5)),
                (_, None) => {}
            }
            check(&governors);
        }
        assert!(governors.alive() > 5);
    }

    #[test]
    fn numbers_can_be_used_again_and_have_a_bound() {
        let mut governors = Governors::default();
        assert!(governors.join(GovernorId(3), 1));
        assert_eq!(governors.remove(GovernorId(3)).map(|governor| governor.incarnation), Some(0));
        assert!(governors.join(GovernorId(3), 1));
        assert_eq!(governors.get(GovernorId(3)).map(|governor| governor.incarnation), Some(1));
        assert!(!governors.join(GovernorId(NUMBERS_MAX), 1));
        assert_eq!(governors.by_cpus[&1].ids.len(), 1);
    }
}
