//! What of a governor's resources is free.

use super::{Amount, Grant, Part, Request, Supplies, Supply};
use std::collections::BTreeMap;

/// A governor's resources, and how much of each is free.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stock(BTreeMap<String, Held>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Held {
    Amount {
        total: Amount,
        free: Amount,
    },
    /// How much of each is free.
    Indexed(Vec<Amount>),
}

/// What is missing of a resource for a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shortage {
    pub name: String,
    pub wanted: Amount,
    /// What one task could be given now.
    pub free: Amount,
    pub total: Amount,
}

impl Held {
    fn total(&self) -> Amount {
        match self {
            Held::Amount { total, .. } => *total,
            Held::Indexed(free) => Amount::whole(free.len() as u64),
        }
    }

    /// The most that one task could be given now: what it asks for can be given if and only if it is not more than this.
    fn free(&self) -> Amount {
        match self {
            Held::Amount { free, .. } => *free,
            Held::Indexed(free) => {
                let whole = free.iter().filter(|free| **free == Amount::ONE).count();
                let part = free.iter().filter(|free| **free < Amount::ONE).max().copied().unwrap_or_default();
                Amount::whole(whole as u64).plus(part)
            }
        }
    }

    /// The part for an amount: whole ones at the lowest places, and a fraction where it leaves least.
    fn find(&self, wanted: Amount) -> Option<Part> {
        let free = match self {
            Held::Amount { free, .. } => return (*free >= wanted).then_some(Part::Amount(wanted)),
            Held::Indexed(free) => free,
        };
        let count = usize::try_from(wanted.wholes()).ok()?;
        let is_whole = |place: &usize| free[*place] == Amount::ONE;
        let mut places: Vec<(u32, Amount)> =
            (0..free.len()).filter(is_whole).take(count).map(|place| (place as u32, Amount::ONE)).collect();
        if places.len() < count {
            return None;
        }
        let fraction = wanted.fraction();
        if fraction > Amount::ZERO {
            let is_taken = |place: usize| places.iter().any(|(taken, _)| *taken == place as u32);
            let fits = (0..free.len()).filter(|place| free[*place] >= fraction && !is_taken(*place));
            let tightest = fits.min_by_key(|place| (free[*place], *place))?;
            places.push((tightest as u32, fraction));
            places.sort_unstable();
        }
        Some(Part::Indexed(places))
    }

    /// Takes a part, or nothing if not all of it is free.
    fn take(&mut self, part: &Part) -> bool {
        match (self, part) {
            (Held::Amount { free, .. }, Part::Amount(amount)) => free.minus(*amount).map(|left| *free = left).is_some(),
            (Held::Indexed(free), Part::Indexed(places)) => {
                let left = |place: &u32, amount: &Amount| free.get(*place as usize)?.minus(*amount);
                let all: Option<Vec<Amount>> = places.iter().map(|(place, amount)| left(place, amount)).collect();
                let Some(all) = all else { return false };
                for ((place, _), left) in places.iter().zip(all) {
                    free[*place as usize] = left;
                }
                true
            }
            _ => false,
        }
    }

    fn give_back(&mut self, part: &Part) {
        match (self, part) {
            (Held::Amount { total, free }, Part::Amount(amount)) => *free = free.plus(*amount).min(*total),
            (Held::Indexed(free), Part::Indexed(places)) => {
                for (place, amount) in places {
                    if let Some(free) = free.get_mut(*place as usize) {
                        *free = free.plus(*amount).min(Amount::ONE);
                    }
                }
            }
            _ => {}
        }
    }
}

impl Stock {
    /// Everything is free.
    pub fn new(supplies: &Supplies) -> Self {
        let held = |supply: &Supply| match supply {
            Supply::Amount(amount) => Held::Amount { total: *amount, free: *amount },
            Supply::Indexed(labels) => Held::Indexed(vec![Amount::ONE; labels.len()]),
        };
        Self(supplies.iter().map(|(name, supply)| (name.clone(), held(supply))).collect())
    }

    /// The names of the resources, and the most of each that one task could be given now.
    pub fn free(&self) -> impl Iterator<Item = (&str, Amount)> {
        self.0.iter().map(|(name, held)| (name.as_str(), held.free()))
    }

    /// The most of a resource that one task could be given now.
    pub fn free_of(&self, name: &str) -> Option<Amount> {
        self.0.get(name).map(Held::free)
    }

    /// Whether all that is asked for could be given if everything were free; cpus are not looked at.
    pub fn has(&self, request: &Request) -> bool {
        request.amounts.iter().all(|(name, wanted)| self.0.get(name).is_some_and(|held| held.total() >= *wanted))
    }

    /// What a task can be given now of all that it asks for.
    pub fn find(&self, request: &Request) -> Option<Grant> {
        let part = |(name, wanted): (&String, &Amount)| Some((name.clone(), self.0.get(name)?.find(*wanted)?));
        let parts: Option<BTreeMap<String, Part>> = request.amounts.iter().map(part).collect();
        Some(Grant { cpus: request.cpus, parts: parts? })
    }

    /// Whether what a task asks for of one resource would still be free without a part of it.
    pub fn leaves(&self, name: &str, part: &Part, wanted: Amount) -> bool {
        let Some(mut held) = self.0.get(name).cloned() else { return true };
        held.take(part) && held.free() >= wanted
    }

    /// Takes all of a grant, or nothing if not all of it is free.
    #[must_use]
    pub fn take(&mut self, grant: &Grant) -> bool {
        let mut taken = Vec::with_capacity(grant.parts.len());
        for (name, part) in &grant.parts {
            if self.0.get_mut(name).is_none_or(|held| !held.take(part)) {
                for (name, part) in taken {
                    self.give_back_part(name, part);
                }
                return false;
            }
            taken.push((name, part));
        }
        true
    }

    /// Gives all of a grant back, which was taken.
    pub fn give_back(&mut self, grant: &Grant) {
        for (name, part) in &grant.parts {
            self.give_back_part(name, part);
        }
    }

    fn give_back_part(&mut self, name: &str, part: &Part) {
        if let Some(held) = self.0.get_mut(name) {
            held.give_back(part);
        }
    }

    /// What is missing for a task.
    pub fn shortages(&self, request: &Request) -> Vec<Shortage> {
        let shortage = |(name, wanted): (&String, &Amount)| {
            let held = self.0.get(name);
            let (free, total) = held.map_or_else(Default::default, |held| (held.free(), held.total()));
            (free < *wanted).then(|| Shortage { name: name.clone(), wanted: *wanted, free, total })
        };
        request.amounts.iter().filter_map(shortage).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(amounts: &[(&str, f64)]) -> Request {
        let amount = |(name, number): &(&str, f64)| ((*name).to_owned(), Amount::from_number(*number).unwrap());
        Request { cpus: 1, amounts: amounts.iter().map(amount).collect() }
    }

    fn stock(gpus: usize, memory: u64) -> Stock {
        let labels = (0..gpus).map(|number| number.to_string()).collect();
        Stock::new(&Supplies::from([
            ("gpus".to_owned(), Supply::Indexed(labels)),
            ("memory".to_owned(), Supply::Amount(Amount::whole(memory))),
        ]))
    }

    fn places(grant: &Grant) -> Vec<(u32, f64)> {
        let Some(Part::Indexed(places)) = grant.parts.get("gpus") else { return Vec::new() };
        places.iter().map(|(place, amount)| (*place, amount.number())).collect()
    }

    #[test]
    fn all_is_given_at_once_or_nothing() {
        let mut stock = stock(2, 100);
        let both = stock.find(&request(&[("gpus", 1.0), ("memory", 60.0)])).unwrap();
        assert!(stock.take(&both));
        assert_eq!(places(&both), [(0, 1.0)]);
        assert_eq!(stock.find(&request(&[("gpus", 1.0), ("memory", 41.0)])), None);
        // The same once more: a GPU of it is taken, so its memory stays free.
        assert!(!stock.take(&both));
        assert_eq!(stock.free_of("memory"), Some(Amount::whole(40)));
        let shortages = stock.shortages(&request(&[("gpus", 2.0), ("memory", 40.0), ("licence", 1.0)]));
        let said: Vec<_> = shortages.iter().map(|s| (s.name.as_str(), s.free.number(), s.total.number())).collect();
        assert_eq!(said, [("gpus", 1.0, 2.0), ("licence", 0.0, 0.0)]);
        stock.give_back(&both);
        assert_eq!(stock, super::tests::stock(2, 100));
        assert!(stock.has(&request(&[("gpus", 2.0)])) && !stock.has(&request(&[("gpus", 2.5)])));
    }

    #[test]
    fn fractions_go_where_they_leave_least() {
        let mut stock = stock(3, 1);
        let give = |stock: &mut Stock, wanted: f64| {
            let grant = stock.find(&request(&[("gpus", wanted)]))?;
            assert!(stock.take(&grant));
            Some(places(&grant))
        };
        assert_eq!(give(&mut stock, 0.5), Some(vec![(0, 0.5)]));
        assert_eq!(give(&mut stock, 0.7), Some(vec![(1, 0.7)]));
        assert_eq!(give(&mut stock, 0.3), Some(vec![(1, 0.3)]));
        assert_eq!(give(&mut stock, 1.25), Some(vec![(0, 0.25), (2, 1.0)]));
        assert_eq!(give(&mut stock, 0.5), None);
        assert_eq!(give(&mut stock, 0.25), Some(vec![(0, 0.25)]));
        assert_eq!(stock.free_of("gpus"), Some(Amount::ZERO));
    }

    #[test]
    fn what_is_free_says_exactly_what_can_be_given() {
        let mut seed = 11u64;
        let mut random = |below: u64| {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (seed >> 33) % below
        };
        let mut stock = stock(4, 1);
        let mut given: Vec<Grant> = Vec::new();
        for _ in 0..5_000 {
            if random(3) == 0 && !given.is_empty() {
                let grant = given.swap_remove(random(given.len() as u64) as usize);
                stock.give_back(&grant);
                continue;
            }
            let wanted = 0.1 * (1 + random(25)) as f64;
            let (wanted, asked) = (Amount::from_number(wanted).unwrap(), request(&[("gpus", wanted)]));
            let found = stock.find(&asked);
            assert_eq!(found.is_some(), stock.free_of("gpus") >= Some(wanted));
            if let Some(grant) = found {
                assert_eq!(grant.parts["gpus"].total(), wanted);
                assert!(stock.take(&grant));
                given.push(grant);
            }
        }
        given.iter().for_each(|grant| stock.give_back(grant));
        assert_eq!(stock, super::tests::stock(4, 1));
    }
}
