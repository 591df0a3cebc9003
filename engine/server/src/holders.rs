//! Which governors hold which object: those to which the server will say when they need not any more.

use rain_model::id::GovernorId;

/// The object is kept: its client may fetch it, and later submits may read it.
const KEPT: u32 = 1 << 31;
/// Its client does not mention it any more; tasks that are not over may still read it.
const FORGOTTEN: u32 = 1 << 30;
/// It was finished and is to be made again.
const LOST: u32 = 1 << 29;
/// Its client has fetched it.
const FETCHED: u32 = 1 << 28;
/// How many hold it: nobody, one governor, whose number is in `VALUE`, or several, whose list has this number.
const COUNT: u32 = 3 << 26;
const ONE: u32 = 1 << 26;
const SEVERAL: u32 = 2 << 26;
const VALUE: u32 = (1 << 26) - 1;
const MARKS: u32 = KEPT | FORGOTTEN | LOST | FETCHED;

/// What an object's record says of its holders, and some marks beside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct HolderMark(u32);

impl HolderMark {
    pub(super) fn is_kept(self) -> bool {
        self.0 & KEPT != 0
    }

    pub(super) fn set_kept(&mut self, kept: bool) {
        self.0 = if kept { self.0 | KEPT } else { self.0 & !KEPT };
    }

    pub(super) fn is_forgotten(self) -> bool {
        self.0 & FORGOTTEN != 0
    }

    pub(super) fn set_forgotten(&mut self) {
        self.0 |= FORGOTTEN;
    }

    pub(super) fn is_lost(self) -> bool {
        self.0 & LOST != 0
    }

    pub(super) fn set_lost(&mut self, lost: bool) {
        self.0 = if lost { self.0 | LOST } else { self.0 & !LOST };
    }

    pub(super) fn is_fetched(self) -> bool {
        self.0 & FETCHED != 0
    }

    pub(super) fn set_fetched(&mut self) {
        self.0 |= FETCHED;
    }

    fn set(&mut self, count: u32, value: u32) {
        debug_assert!(value <= VALUE);
        self.0 = self.0 & MARKS | count | value & VALUE;
    }
}

/// The holders of one object, in the order in which they became that.
#[derive(Debug, Default)]
struct List {
    order: Vec<GovernorId>,
    /// One bit a governor.
    is_in: Vec<u64>,
    /// Those that are about to get it.
    awaiting: Vec<GovernorId>,
}

/// What is left of an object when a governor is lost.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Left {
    /// Others have it, or this one was none of its holders.
    Held,
    /// Nobody has it. These were about to get it.
    Nothing(Vec<GovernorId>),
}

impl List {
    fn contains(&self, governor: GovernorId) -> bool {
        self.is_in.get(governor.0 as usize / 64).is_some_and(|bits| bits & (1 << (governor.0 % 64)) != 0)
    }

    fn push(&mut self, governor: GovernorId) {
        let place = governor.0 as usize / 64;
        if self.is_in.len() <= place {
            self.is_in.resize(place + 1, 0);
        }
        self.is_in[place] |= 1 << (governor.0 % 64);
        self.order.push(governor);
    }

    fn remove(&mut self, governor: GovernorId) {
        if let Some(bits) = self.is_in.get_mut(governor.0 as usize / 64) {
            *bits &= !(1 << (governor.0 % 64));
        }
        self.order.retain(|other| *other != governor);
        self.awaiting.retain(|other| *other != governor);
    }
}

/// Lists of holders of those objects that have several.
#[derive(Debug, Default)]
pub(super) struct Holders {
    lists: Vec<List>,
    free: Vec<u32>,
}

impl Holders {
    /// The holders of an object, in the order in which they became that: the first has it, others may be about to get it.
    pub(super) fn of(&self, mark: HolderMark) -> impl Iterator<Item = GovernorId> + Clone + '_ {
        let one = (mark.0 & COUNT == ONE).then_some(GovernorId(mark.0 & VALUE));
        let several = self.list(mark).map_or(&[][..], |list| &list.order);
        one.into_iter().chain(several.iter().copied())
    }

    fn list(&self, mark: HolderMark) -> Option<&List> {
        if mark.0 & COUNT == SEVERAL { self.lists.get((mark.0 & VALUE) as usize) } else { None }
    }

    /// How many hold an object.
    pub(super) fn count(&self, mark: HolderMark) -> usize {
        match mark.0 & COUNT {
            ONE => 1,
            _ => self.list(mark).map_or(0, |list| list.order.len()),
        }
    }

    /// The holder at a place of the order.
    pub(super) fn at(&self, mark: HolderMark, place: usize) -> Option<GovernorId> {
        match mark.0 & COUNT {
            ONE if place == 0 => Some(GovernorId(mark.0 & VALUE)),
            _ => self.list(mark)?.order.get(place).copied(),
        }
    }

    /// Whether a governor holds an object.
    #[inline]
    pub(super) fn has(&self, mark: HolderMark, governor: GovernorId) -> bool {
        match mark.0 & COUNT {
            ONE => mark.0 & VALUE == governor.0,
            _ => self.list(mark).is_some_and(|list| list.contains(governor)),
        }
    }

    /// Adds a holder at the end of the order; false when it was one.
    pub(super) fn add(&mut self, mark: &mut HolderMark, governor: GovernorId) -> bool {
        if self.has(*mark, governor) {
            return false;
        }
        match mark.0 & COUNT {
            0 => mark.set(ONE, governor.0),
            ONE => {
                let mut list = List::default();
                list.push(GovernorId(mark.0 & VALUE));
                list.push(governor);
                let number = self.free.pop().unwrap_or(self.lists.len() as u32);
                match self.lists.get_mut(number as usize) {
                    Some(place) => *place = list,
                    None => self.lists.push(list),
                }
                mark.set(SEVERAL, number);
            }
            _ => {
                if let Some(list) = self.lists.get_mut((mark.0 & VALUE) as usize) {
                    list.push(governor);
                }
            }
        }
        true
    }

    /// Adds a holder that is about to get an object which others have; false when it was one.
    pub(super) fn add_awaiting(&mut self, mark: &mut HolderMark, governor: GovernorId) -> bool {
        let is_new = self.add(mark, governor);
        if is_new
            && mark.0 & COUNT == SEVERAL
            && let Some(list) = self.lists.get_mut((mark.0 & VALUE) as usize)
        {
            list.awaiting.push(governor);
        }
        is_new
    }

    /// Notes that a holder has the object now.
    pub(super) fn arrived(&mut self, mark: HolderMark, governor: GovernorId) {
        if mark.0 & COUNT == SEVERAL
            && let Some(list) = self.lists.get_mut((mark.0 & VALUE) as usize)
        {
            list.awaiting.retain(|other| *other != governor);
        }
    }

    /// Whether a holder is about to get an object.
    pub(super) fn is_awaiting(&self, mark: HolderMark, governor: GovernorId) -> bool {
        self.list(mark).is_some_and(|list| list.awaiting.contains(&governor))
    }

    /// The holders that have an object, in the order in which they became that.
    pub(super) fn having(&self, mark: HolderMark) -> impl Iterator<Item = GovernorId> + '_ {
        let awaiting = self.list(mark).map_or(&[][..], |list| &list.awaiting);
        self.of(mark).filter(|governor| !awaiting.contains(governor))
    }

    /// Removes a governor that is lost. The first of the holders that are left has the object; when none has, none is left.
    pub(super) fn lose(&mut self, mark: &mut HolderMark, governor: GovernorId) -> Left {
        if !self.has(*mark, governor) {
            return Left::Held;
        }
        let Some(list) = self.list(*mark) else {
            self.remove(mark, governor);
            return Left::Nothing(Vec::new());
        };
        let having = list.order.iter().position(|id| *id != governor && !list.awaiting.contains(id));
        let Some(place) = having else {
            let mut awaiting = self.take(mark);
            awaiting.retain(|other| *other != governor);
            return Left::Nothing(awaiting);
        };
        let list = &mut self.lists[(mark.0 & VALUE) as usize];
        let first = list.order.remove(place);
        list.order.insert(0, first);
        self.remove(mark, governor);
        Left::Held
    }

    /// Removes a holder; whether it was one.
    pub(super) fn remove(&mut self, mark: &mut HolderMark, governor: GovernorId) -> bool {
        if !self.has(*mark, governor) {
            return false;
        }
        let number = mark.0 & VALUE;
        match mark.0 & COUNT {
            SEVERAL => {
                let list = &mut self.lists[number as usize];
                list.remove(governor);
                if let [last] = list.order[..] {
                    *list = List::default();
                    self.free.push(number);
                    mark.set(ONE, last.0);
                }
            }
            _ => mark.set(0, 0),
        }
        true
    }

    /// Removes all holders of an object and returns them.
    pub(super) fn take(&mut self, mark: &mut HolderMark) -> Vec<GovernorId> {
        let number = mark.0 & VALUE;
        let holders = match mark.0 & COUNT {
            0 => Vec::new(),
            ONE => vec![GovernorId(number)],
            _ => {
                self.free.push(number);
                std::mem::take(&mut self.lists[number as usize]).order
            }
        };
        mark.set(0, 0);
        holders
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_one_has_it_whoever_is_lost() {
        let mut holders = Holders::default();
        let mut mark = HolderMark::default();
        mark.set_fetched();
        let [a, b, c, d] = [0, 1, 2, 3].map(GovernorId);
        holders.add(&mut mark, a);
        assert!(holders.add_awaiting(&mut mark, b) && holders.add_awaiting(&mut mark, c) && holders.add(&mut mark, d));
        assert!(holders.having(mark).eq([a, d]) && holders.is_awaiting(mark, b) && !holders.is_awaiting(mark, d));
        assert_eq!(holders.lose(&mut mark, a), Left::Held);
        assert!(holders.of(mark).eq([d, b, c]));
        holders.arrived(mark, c);
        assert_eq!((holders.lose(&mut mark, a), holders.lose(&mut mark, d)), (Left::Held, Left::Held));
        assert!(holders.of(mark).eq([c, b]));
        assert_eq!(holders.lose(&mut mark, c), Left::Nothing(vec![b]));
        assert_eq!((holders.count(mark), mark.is_fetched(), holders.free.len()), (0, true, 1));
        holders.add(&mut mark, a);
        assert_eq!((holders.lose(&mut mark, a), holders.count(mark)), (Left::Nothing(vec![]), 0));
    }

    #[test]
    fn holders_are_in_the_order_in_which_they_came_and_marks_stay() {
        let mut holders = Holders::default();
        let (mut one, mut other) = (HolderMark::default(), HolderMark::default());
        one.set_kept(true);
        for number in [70, 3, 1000, 0] {
            assert!(holders.add(&mut one, GovernorId(number)));
            assert!(!holders.add(&mut one, GovernorId(number)));
            assert!(holders.add(&mut other, GovernorId(number + 1)));
        }
        assert!(holders.of(one).map(|id| id.0).eq([70, 3, 1000, 0]));
        assert_eq!((holders.count(one), holders.at(one, 2), holders.at(one, 4)), (4, Some(GovernorId(1000)), None));
        assert!(
            holders.has(one, GovernorId(3)) && !holders.has(one, GovernorId(4)) && holders.has(other, GovernorId(4))
        );
        assert!(holders.remove(&mut one, GovernorId(3)) && !holders.remove(&mut one, GovernorId(3)));
        assert!(holders.remove(&mut one, GovernorId(70)) && holders.remove(&mut one, GovernorId(0)));
        assert!(holders.of(one).eq([GovernorId(1000)]) && one.is_kept() && !one.is_forgotten());
        assert!(holders.remove(&mut one, GovernorId(1000)));
        assert_eq!((holders.count(one), holders.free.len()), (0, 1));
        assert_eq!(holders.take(&mut other), [71, 4, 1001, 1].map(GovernorId));
        assert_eq!((holders.count(other), holders.take(&mut other), holders.free.len()), (0, Vec::new(), 2));
        holders.add(&mut one, GovernorId(1));
        holders.add(&mut one, GovernorId(2));
        assert_eq!(holders.lists.len(), 2, "lists are used again");
    }
}
