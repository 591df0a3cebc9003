//! Resources: what governors have beside cpus, what tasks ask for, and what they are given of it.

mod amount;
mod check;
mod stock;

pub use amount::Amount;
pub use check::{
    ALTERNATIVES_MAX, CPUS, MEMORY, NAMES_MAX, ResourceError, check_alternatives, check_name, check_supplies,
};
pub use stock::{Shortage, Stock};

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What a task asks for, all at once.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Request {
    /// At least 1.
    pub cpus: u32,
    /// By name; none is zero.
    pub amounts: BTreeMap<String, Amount>,
}

/// What a governor has of one resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Supply {
    /// So much, of which a part is as good as any other.
    Amount(Amount),
    /// Things that are told apart, as GPUs; their labels.
    Indexed(Vec<String>),
}

/// What a governor has, by name.
pub type Supplies = BTreeMap<String, Supply>;

/// What a task was given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    pub cpus: u32,
    /// By name.
    pub parts: BTreeMap<String, Part>,
}

/// What a task was given of one resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Part {
    Amount(Amount),
    /// Places in [`Supply::Indexed`], in ascending order, and how much of each.
    Indexed(Vec<(u32, Amount)>),
}

impl Supply {
    /// All of it.
    pub fn total(&self) -> Amount {
        match self {
            Supply::Amount(amount) => *amount,
            Supply::Indexed(labels) => Amount::whole(labels.len() as u64),
        }
    }
}

impl Part {
    /// How much it is.
    pub fn total(&self) -> Amount {
        match self {
            Part::Amount(amount) => *amount,
            Part::Indexed(places) => places.iter().fold(Amount::ZERO, |sum, (_, amount)| sum.plus(*amount)),
        }
    }
}
