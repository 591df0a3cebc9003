//! Tasks never use more cpus than a governor has.

use crate::node::{Doing, Node};
use crate::violation::Violation;

const NAME: &str = "cpus";

/// After every step.
pub fn check(node: &Node) -> Result<(), Violation> {
    if node.busy > node.cpus {
        let message = format!("tasks use {} of the {} cpus of governor {}", node.busy, node.cpus, node.number);
        return Err(Violation::wrong(NAME, message));
    }
    let at_work = |doing: &Doing| matches!(doing, Doing::Runs { .. } | Doing::Drives(_) | Doing::Lends);
    let workers = node.workers.iter().filter(|worker| at_work(&worker.doing)).count();
    if workers != node.busy as usize {
        let message =
            format!("tasks use {} cpus of governor {}, whose busy workers are {workers}", node.busy, node.number);
        return Err(Violation::wrong(NAME, message));
    }
    Ok(())
}
