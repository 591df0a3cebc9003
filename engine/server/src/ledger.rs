//! What governors have beside cpus, and which task has what of it.
//!
//! A task that asks for more than cpus gets all of it before it is handed out, or stays with the server. The first one of a
//! session for which there is not enough has what it needs kept on one governor: no task that comes after it is given there what it
//! waits for, so that it is its turn when enough was given back, however much it asks for.

use rain_model::id::{GovernorId, SessionId, TaskIndex};
use rain_model::resources::{Amount, Grant, Request, Shortage, Stock, Supplies};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

/// A task that has something of a governor.
type Holder = (SessionId, TaskIndex);

/// A governor's resources.
#[derive(Debug)]
struct Account {
    supplies: Supplies,
    stock: Stock,
    holders: BTreeSet<Holder>,
    reservation: Option<Reservation>,
}

/// What is kept for a task that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Reservation {
    holder: Holder,
    request: Request,
}

/// What a task was given, and where.
#[derive(Debug)]
struct Given {
    governor: GovernorId,
    grant: Grant,
    /// Another task had it: the governor sees to it that they have it one after the other.
    is_beyond: bool,
}

/// The resources of all governors, and who has what of them.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    accounts: BTreeMap<GovernorId, Account>,
    /// Governors by how much of a resource one task could be given there now.
    by_free: BTreeMap<String, BTreeSet<(Amount, GovernorId)>>,
    given: BTreeMap<Holder, Given>,
    /// Which governor keeps something for a session.
    reserved: BTreeMap<SessionId, GovernorId>,
    /// Something was given back, or came, since tasks that wait were looked at.
    has_changed: bool,
    /// Some of them wait for a governor that has less to do.
    awaits_room: bool,
}

impl Ledger {
    /// Notes that tasks which wait are to be looked at.
    pub(super) fn change(&mut self) {
        self.has_changed = true;
    }

    /// Whether tasks which wait are to be looked at, whatever has happened.
    pub(super) fn has_changed(&self) -> bool {
        self.has_changed
    }

    /// Whether they are to be looked at when something has happened.
    pub(super) fn may_find_more(&self) -> bool {
        self.has_changed || self.awaits_room
    }

    /// Notes that some of them wait for a governor that has less to do.
    pub(super) fn await_room(&mut self) {
        self.awaits_room = true;
    }

    /// Notes that they are looked at now.
    pub(super) fn looked_at(&mut self) {
        (self.has_changed, self.awaits_room) = (false, false);
    }

    /// A governor has joined that has this.
    pub(super) fn join(&mut self, id: GovernorId, supplies: Supplies) {
        let stock = Stock::new(&supplies);
        self.accounts.insert(id, Account { supplies, stock, holders: BTreeSet::new(), reservation: None });
        self.index(id, true);
        self.has_changed = true;
    }

    /// A governor is gone, with all that tasks had of it.
    pub(super) fn lose(&mut self, id: GovernorId) {
        self.index(id, false);
        let Some(account) = self.accounts.remove(&id) else { return };
        for holder in account.holders {
            self.given.remove(&holder);
        }
        if let Some(reservation) = account.reservation {
            self.reserved.remove(&reservation.holder.0);
        }
        self.has_changed = true;
    }

    /// Puts a governor into `by_free`, or takes it out.
    fn index(&mut self, id: GovernorId, is_in: bool) {
        let Some(account) = self.accounts.get(&id) else { return };
        for (name, free) in account.stock.free() {
            if is_in {
                self.by_free.entry(name.to_owned()).or_default().insert((free, id));
            } else if let Some(governors) = self.by_free.get_mut(name) {
                governors.remove(&(free, id));
                if governors.is_empty() {
                    self.by_free.remove(name);
                }
            }
        }
    }

    /// Changes what is free of these resources of a governor.
    fn change_stock(&mut self, id: GovernorId, grant: &Grant, change: impl FnOnce(&mut Stock)) {
        let Some(account) = self.accounts.get_mut(&id) else { return };
        let free =
            |stock: &Stock| -> Vec<Option<Amount>> { grant.parts.keys().map(|name| stock.free_of(name)).collect() };
        let before = free(&account.stock);
        change(&mut account.stock);
        let after = free(&account.stock);
        for (name, (before, after)) in grant.parts.keys().zip(before.into_iter().zip(after)) {
            if let (Some(before), Some(after), Some(governors)) = (before, after, self.by_free.get_mut(name)) {
                governors.remove(&(before, id));
                governors.insert((after, id));
            }
        }
    }

    /// Notes that a task was given this, which `find` has found.
    pub(super) fn give(&mut self, holder: Holder, governor: GovernorId, grant: Grant) {
        let mut is_beyond = false;
        self.change_stock(governor, &grant, |stock| is_beyond = !stock.take(&grant));
        if let Some(account) = self.accounts.get_mut(&governor) {
            account.holders.insert(holder);
        }
        self.unreserve(holder.0);
        self.given.insert(holder, Given { governor, grant, is_beyond });
    }

    /// Takes back what a task has, if it has something.
    pub(super) fn release(&mut self, holder: Holder) {
        if self.given.is_empty() {
            return;
        }
        let Some(Given { governor, grant, is_beyond }) = self.given.remove(&holder) else { return };
        if !is_beyond {
            self.change_stock(governor, &grant, |stock| stock.give_back(&grant));
        }
        if let Some(account) = self.accounts.get_mut(&governor) {
            account.holders.remove(&holder);
        }
        self.has_changed = true;
    }

    /// Takes back what tasks of a session have on a governor.
    pub(super) fn release_from(
        &mut self,
        governor: GovernorId,
        session: SessionId,
        tasks: impl IntoIterator<Item = TaskIndex>,
    ) {
        if self.given.is_empty() {
            return;
        }
        for task in tasks {
            if self.given.get(&(session, task)).is_some_and(|given| given.governor == governor) {
                self.release((session, task));
            }
        }
    }

    /// Takes back what a session has, and what is kept for it.
    pub(super) fn release_session(&mut self, session: SessionId) {
        self.unreserve(session);
        let of_session = self.given.range((session, 0)..=(session, TaskIndex::MAX));
        let holders: Vec<Holder> = of_session.map(|(holder, _)| *holder).collect();
        holders.into_iter().for_each(|holder| self.release(holder));
    }

    /// What a task has, and where.
    pub(super) fn given_to(&self, holder: Holder) -> Option<(GovernorId, &Grant)> {
        self.given.get(&holder).map(|given| (given.governor, &given.grant))
    }

    /// Governors that can give all that is asked for now, those first that have least to spare; reservations are not looked at.
    pub(super) fn fitting<'a>(&'a self, request: &'a Request) -> impl Iterator<Item = GovernorId> + 'a {
        let governors = |name: &String| self.by_free.get(name);
        let rarest = request.amounts.iter().min_by_key(|(name, _)| governors(name).map_or(0, BTreeSet::len));
        let enough = rarest.and_then(|(name, wanted)| Some(governors(name)?.range((*wanted, GovernorId(0))..)));
        enough.into_iter().flatten().map(|(_, id)| *id).filter(|id| self.find(*id, request).is_some())
    }

    /// What a governor can give of all that is asked for.
    pub(super) fn find(&self, id: GovernorId, request: &Request) -> Option<Grant> {
        match self.accounts.get(&id) {
            Some(account) => account.stock.find(request),
            None if request.amounts.is_empty() => Some(Grant { cpus: request.cpus, parts: BTreeMap::new() }),
            None => None,
        }
    }

    /// What a governor could give of all that is asked for if everything were free.
    pub(super) fn find_in_all(&self, id: GovernorId, request: &Request) -> Option<Grant> {
        Stock::new(&self.accounts.get(&id)?.supplies).find(request)
    }

    /// Whether a governor could give all that is asked for if everything were free.
    pub(super) fn has(&self, id: GovernorId, request: &Request) -> bool {
        self.accounts.get(&id).map_or(request.amounts.is_empty(), |account| account.stock.has(request))
    }

    /// Whether a task may be given this, and not what is kept for another one.
    pub(super) fn may_take(&self, holder: Holder, id: GovernorId, grant: &Grant) -> bool {
        let Some(account) = self.accounts.get(&id) else { return true };
        let Some(reservation) = account.reservation.as_ref().filter(|kept| kept.holder != holder) else { return true };
        grant.parts.iter().all(|(name, part)| match reservation.request.amounts.get(name) {
            Some(kept) => account.stock.leaves(name, part, *kept),
            None => true,
        })
    }

    /// Keeps what a task asks for on one governor of those that have it and of which `is_good` says so; what was kept for another
    /// task of the session is not kept any more: whether there was such a task. Nothing is kept if all of them keep something for other sessions.
    pub(super) fn reserve(&mut self, holder: Holder, request: &Request, is_good: impl Fn(GovernorId) -> bool) -> bool {
        if let Some(account) = self.reserved.get(&holder.0).and_then(|id| self.accounts.get(id))
            && account.reservation.as_ref().is_some_and(|kept| kept.holder == holder)
        {
            return false;
        }
        let has_moved = self.reserved.contains_key(&holder.0);
        self.unreserve(holder.0);
        let by_free = request.amounts.keys().filter_map(|name| self.by_free.get(name)).min_by_key(|all| all.len());
        let is_free = |id: GovernorId| self.accounts.get(&id).is_some_and(|account| account.reservation.is_none());
        let mut freest = by_free.into_iter().flatten().rev().map(|(_, id)| *id);
        let Some(id) = freest.find(|id| is_free(*id) && self.has(*id, request) && is_good(*id)) else {
            return has_moved;
        };
        if let Some(account) = self.accounts.get_mut(&id) {
            account.reservation = Some(Reservation { holder, request: request.clone() });
            self.reserved.insert(holder.0, id);
        }
        has_moved
    }

    /// Keeps nothing for a session any more.
    pub(super) fn unreserve(&mut self, session: SessionId) {
        if let Entry::Occupied(entry) = self.reserved.entry(session) {
            if let Some(account) = self.accounts.get_mut(&entry.remove()) {
                account.reservation = None;
            }
            self.has_changed = true;
        }
    }

    /// What a governor has.
    pub(super) fn supplies(&self, id: GovernorId) -> Option<&Supplies> {
        self.accounts.get(&id).map(|account| &account.supplies)
    }

    /// What of it is free: the names, and the most of each that one task could be given now.
    pub(super) fn free(&self, id: GovernorId) -> impl Iterator<Item = (&str, Amount)> {
        self.accounts.get(&id).into_iter().flat_map(|account| account.stock.free())
    }

    /// What is missing on a governor for all that is asked for.
    pub(super) fn shortages(&self, id: GovernorId, request: &Request) -> Vec<Shortage> {
        let nothing = Stock::default();
        self.accounts.get(&id).map_or(&nothing, |account| &account.stock).shortages(request)
    }

    /// Who has something of a governor.
    pub(super) fn holders(&self, id: GovernorId) -> impl Iterator<Item = (Holder, &Grant)> {
        let holders = self.accounts.get(&id).into_iter().flat_map(|account| &account.holders);
        holders.filter_map(|holder| Some((*holder, &self.given.get(holder)?.grant)))
    }

    /// For whom a governor keeps something.
    pub(super) fn kept_for(&self, id: GovernorId) -> Option<Holder> {
        self.accounts.get(&id)?.reservation.as_ref().map(|reservation| reservation.holder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rain_model::resources::Supply;

    const A: SessionId = SessionId(1);
    const B: SessionId = SessionId(2);

    fn gpus(count: u64) -> Request {
        Request { cpus: 1, amounts: BTreeMap::from([("gpus".to_owned(), Amount::whole(count))]) }
    }

    fn ledger(counts: &[usize]) -> Ledger {
        let mut ledger = Ledger::default();
        for (number, count) in counts.iter().enumerate() {
            let labels = (0..*count).map(|label| label.to_string()).collect();
            ledger.join(GovernorId(number as u32), Supplies::from([("gpus".to_owned(), Supply::Indexed(labels))]));
        }
        ledger
    }

    fn give(ledger: &mut Ledger, holder: Holder, id: GovernorId, request: &Request) -> bool {
        let Some(grant) = ledger.find(id, request).filter(|grant| ledger.may_take(holder, id, grant)) else {
            return false;
        };
        ledger.give(holder, id, grant);
        true
    }

    #[test]
    fn what_is_kept_for_a_wide_task_goes_to_nobody_else() {
        let (mut ledger, one) = (ledger(&[4]), GovernorId(0));
        assert!((0..3).all(|task| give(&mut ledger, (A, task), one, &gpus(1))));
        assert!(!give(&mut ledger, (B, 0), one, &gpus(4)));
        assert!(!ledger.reserve((B, 0), &gpus(4), |_| true));
        assert_eq!(ledger.kept_for(one), Some((B, 0)));
        // One is free, and kept.
        assert!(!give(&mut ledger, (A, 3), one, &gpus(1)) && !give(&mut ledger, (B, 1), one, &gpus(1)));
        ledger.release_from(one, A, [0, 1, 2]);
        assert!(ledger.has_changed());
        assert!(!give(&mut ledger, (A, 3), one, &gpus(1)));
        assert!(give(&mut ledger, (B, 0), one, &gpus(4)));
        assert_eq!(ledger.kept_for(one), None);
        ledger.release_session(B);
        assert!(give(&mut ledger, (A, 3), one, &gpus(1)));
    }

    #[test]
    fn who_leaves_enough_may_pass_one_that_waits() {
        let (mut ledger, one) = (ledger(&[4]), GovernorId(0));
        assert!(!ledger.reserve((B, 9), &gpus(2), |_| true));
        assert!(ledger.reserve((B, 0), &gpus(2), |_| true) && !ledger.reserve((B, 0), &gpus(2), |_| true));
        assert!(give(&mut ledger, (A, 0), one, &gpus(2)));
        assert!(!give(&mut ledger, (A, 1), one, &gpus(1)));
        ledger.unreserve(B);
        assert!(give(&mut ledger, (A, 1), one, &gpus(1)));
    }

    #[test]
    fn governors_are_found_by_what_is_free_and_forgotten_with_all_that_they_had() {
        let mut ledger = ledger(&[1, 4, 2]);
        let (two, four) = (gpus(2), gpus(4));
        let fitting = |ledger: &Ledger, request| ledger.fitting(request).map(|id| id.0).collect::<Vec<_>>();
        assert_eq!((fitting(&ledger, &two), fitting(&ledger, &four)), (vec![2, 1], vec![1]));
        assert!(give(&mut ledger, (A, 0), GovernorId(1), &two));
        assert_eq!((fitting(&ledger, &two), fitting(&ledger, &four)), (vec![1, 2], vec![]));
        assert!(!ledger.reserve((B, 7), &four, |_| true));
        assert_eq!(ledger.kept_for(GovernorId(1)), Some((B, 7)));
        ledger.lose(GovernorId(1));
        assert_eq!((ledger.given_to((A, 0)), fitting(&ledger, &two)), (None, vec![2]));
        assert!(!ledger.has(GovernorId(1), &two) && ledger.reserved.is_empty());
        let unknown = Request { cpus: 1, amounts: BTreeMap::from([("licence".to_owned(), Amount::ONE)]) };
        assert_eq!(fitting(&ledger, &unknown), []);
        assert_eq!(ledger.shortages(GovernorId(2), &unknown)[0].name, "licence");
    }
}
