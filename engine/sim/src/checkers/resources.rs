//! Tasks never use more of a resource than a governor has, and what nobody uses is free.

use crate::node::Node;
use crate::violation::Violation;
use rain_model::graph::Kind;
use rain_model::resources::{Amount, Grant, Part, Supply};
use rain_server::Status;
use std::collections::BTreeMap;

const NAME: &str = "resources";

/// When a task begins: it was given all that one of its alternatives asks for, and nothing else.
pub fn granted(node: &Node, kind: &Kind, grant: &Grant) -> Result<(), Violation> {
    let total = |name: &String| grant.parts.get(name).map(Part::total);
    let is_given = kind.resources.iter().any(|request| {
        request.cpus == grant.cpus
            && request.amounts.len() == grant.parts.len()
            && request.amounts.iter().all(|(name, amount)| total(name) == Some(*amount))
    });
    if is_given {
        return Ok(());
    }
    let message = format!("a task on governor {} asks for {:?} and is given {grant:?}", node.number, kind.resources);
    Err(Violation::wrong(NAME, message))
}

/// After every step.
pub fn check(node: &Node) -> Result<(), Violation> {
    let mut used: BTreeMap<(&str, Option<u32>), Amount> = BTreeMap::new();
    let mut add = |key, amount| {
        let sum = used.entry(key).or_default();
        *sum = sum.plus(amount);
    };
    for grant in node.workers.iter().filter_map(|worker| worker.grant.as_ref()) {
        for (name, part) in &grant.parts {
            match part {
                Part::Amount(amount) => add((name.as_str(), None), *amount),
                Part::Indexed(places) => {
                    places.iter().for_each(|(place, amount)| add((name.as_str(), Some(*place)), *amount));
                }
            }
        }
    }
    for ((name, place), amount) in used {
        let there = match (node.supplies.get(name), place) {
            (Some(Supply::Amount(there)), None) => *there,
            (Some(Supply::Indexed(labels)), Some(place)) if (place as usize) < labels.len() => Amount::ONE,
            _ => Amount::ZERO,
        };
        if amount > there {
            let message =
                format!("tasks use {amount} of {name} {place:?} of governor {}, which has {there}", node.number);
            return Err(Violation::wrong(NAME, message));
        }
    }
    Ok(())
}

/// At rest: everything is free, on the governors and as the server sees it.
pub fn at_rest(nodes: &BTreeMap<u32, Node>, status: &Status) -> Result<(), Violation> {
    if let Some(node) = nodes.values().find(|node| !node.holdings.is_idle(&node.supplies)) {
        return Err(Violation::stuck(
            NAME,
            format!("something is taken on governor {}: {:?}", node.number, node.holdings),
        ));
    }
    for governor in &status.governors {
        for (name, resource) in &governor.resources {
            if resource.free != resource.total {
                let message =
                    format!("the server takes {} of {name} of governor {} for free", resource.free, governor.id);
                return Err(Violation::stuck(NAME, message));
            }
        }
    }
    Ok(())
}
