//! What simulated governors have beside cpus, and what tasks ask of it.

use crate::random::Random;
use rain_model::resources::{Amount, Request, Supplies, Supply};
use std::collections::BTreeMap;

/// Most GPUs and licences of a governor, and of a task.
const GPUS_MAX: u64 = 4;
const LICENCES_MAX: u64 = 3;

/// All that a task may ask for.
pub fn all() -> Supplies {
    some(GPUS_MAX, LICENCES_MAX)
}

fn some(gpus: u64, licences: u64) -> Supplies {
    let labels: Vec<String> = (0..gpus).map(|number| number.to_string()).collect();
    let mut supplies = Supplies::new();
    if gpus > 0 {
        supplies.insert("gpus".to_owned(), Supply::Indexed(labels));
    }
    if licences > 0 {
        supplies.insert("licence".to_owned(), Supply::Amount(Amount::whole(licences)));
    }
    supplies
}

/// What the governor of a number has.
pub fn draw_supplies(seed: u64, governor: u32) -> Supplies {
    let mut random = Random::child(seed, &format!("resources of {governor}"));
    if random.chance(400) { all() } else { some(random.below(GPUS_MAX + 1), random.below(LICENCES_MAX + 1)) }
}

/// What the tasks of a kind ask for.
pub fn draw_requests(random: &mut Random, cpus: u32) -> Vec<Request> {
    let alternatives = if random.chance(200) { 2 } else { 1 };
    (0..alternatives).map(|_| draw_request(random, cpus)).collect()
}

fn draw_request(random: &mut Random, cpus: u32) -> Request {
    let mut amounts = BTreeMap::new();
    let quarters = match random.below(4) {
        0 => random.between(1, 3),
        1 => 4 * random.between(1, GPUS_MAX),
        2 => random.between(5, 11),
        _ => 0,
    };
    amounts.extend(Amount::from_number(quarters as f64 / 4.0).map(|amount| ("gpus".to_owned(), amount)));
    if quarters == 0 || random.chance(300) {
        amounts.insert("licence".to_owned(), Amount::whole(random.between(1, LICENCES_MAX)));
    }
    Request { cpus, amounts }
}
