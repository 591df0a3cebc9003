//! Once everything is healed the system comes to rest, and every worker sleeps.

use crate::node::{Doing, Node};
use crate::schedule::{SECOND, Time};
use crate::violation::Violation;
use std::collections::BTreeMap;

const NAME: &str = "rest";
/// How long after the end of all faults it may take.
const REST_WITHIN: Time = 600 * SECOND;

/// After every step.
pub fn in_time(now: Time, heals: Time) -> Result<(), Violation> {
    if now > heals + REST_WITHIN {
        let message = format!("{} s after the end of all faults something still happens", REST_WITHIN / SECOND);
        return Err(Violation::stuck(NAME, message));
    }
    Ok(())
}

/// When nothing is to happen any more.
pub fn at_rest(nodes: &BTreeMap<u32, Node>) -> Result<(), Violation> {
    for node in nodes.values() {
        let stuck = node.workers.iter().position(|worker| !matches!(worker.doing, Doing::Sleeps));
        if let Some(worker) = stuck {
            let message =
                format!("worker {worker} of governor {} does not sleep: {:?}", node.number, node.workers[worker].doing);
            return Err(Violation::stuck(NAME, message));
        }
        if !node.arrived.is_empty() || !node.reports.is_empty() {
            let message = format!("events wait for governor {}, and nobody looks at them", node.number);
            return Err(Violation::stuck(NAME, message));
        }
    }
    Ok(())
}
