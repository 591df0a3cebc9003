//! When nothing is needed, nothing is claimed, and no content is there.

use crate::node::Node;
use crate::truth::Truth;
use crate::violation::Violation;
use rain_model::id::SessionId;
use std::collections::BTreeMap;

const NAME: &str = "claims";

/// After every step: no claim was given up twice, nothing supplied twice.
pub fn check(node: &Node) -> Result<(), Violation> {
    match node.sessions().find_map(|session| Some((session.number, session.graph.take_wrong()?))) {
        None => Ok(()),
        Some((session, why)) => {
            Err(Violation::wrong(NAME, format!("governor {}, session {session}: {why}", node.number)))
        }
    }
}

/// At rest: what is claimed is kept for a client that may fetch it.
pub fn at_rest(truth: &Truth, nodes: &BTreeMap<u32, Node>) -> Result<(), Violation> {
    for node in nodes.values() {
        for session in node.sessions() {
            session.graph.bytes().map_err(|why| Violation::wrong(NAME, why))?;
            let facts = truth.sessions.get(&SessionId(session.number)).filter(|facts| facts.is_open());
            let Some(facts) = facts else {
                let message = format!("governor {} knows session {}, which is over", node.number, session.number);
                return Err(Violation::wrong(NAME, message));
            };
            for (object, claims) in session.graph.claims() {
                let kept = facts.objects.get(object as usize).is_some_and(|object| object.kept);
                if !kept || claims > 1 {
                    let message = format!(
                        "object {}:{object} has {claims} claims on governor {} (kept by its client: {kept})",
                        session.number, node.number
                    );
                    return Err(Violation::wrong(NAME, message));
                }
            }
        }
    }
    Ok(())
}
