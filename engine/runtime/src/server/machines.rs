//! Where governors are, and which of them were lost: what the state machine has no use for.

use rain_events::seconds_since_1970;
use rain_model::id::GovernorId;
use serde::Serialize;
use std::collections::{BTreeMap, VecDeque};

/// Lost governors that are remembered.
const LOST_MAX: usize = 100;

/// A governor that was lost.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct LostGovernor {
    id: u32,
    host: String,
    reason: String,
    /// Seconds since 1970.
    lost: f64,
}

/// The machines of governors.
#[derive(Debug, Default)]
pub(super) struct Machines {
    hosts: BTreeMap<GovernorId, String>,
    /// The latest last.
    lost: VecDeque<LostGovernor>,
}

impl Machines {
    pub(super) fn joined(&mut self, governor: GovernorId, host: String) {
        self.hosts.insert(governor, host);
    }

    pub(super) fn lost(&mut self, governor: GovernorId, why: &str) {
        let host = self.hosts.remove(&governor).unwrap_or_default();
        if self.lost.len() == LOST_MAX {
            self.lost.pop_front();
        }
        self.lost.push_back(LostGovernor { id: governor.0, host, reason: why.to_owned(), lost: seconds_since_1970() });
    }

    /// The machine of a governor that is in.
    pub(super) fn host(&self, governor: GovernorId) -> &str {
        self.hosts.get(&governor).map_or("", String::as_str)
    }

    /// The governors that were lost, the latest last.
    pub(super) fn all_lost(&self) -> Vec<LostGovernor> {
        self.lost.iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lost_governors_keep_their_host_and_reason_and_are_bounded() {
        let mut machines = Machines::default();
        machines.joined(GovernorId(3), "node3".to_owned());
        assert_eq!((machines.host(GovernorId(3)), machines.host(GovernorId(4))), ("node3", ""));
        machines.lost(GovernorId(3), "it hung up");
        let lost = &machines.all_lost()[0];
        assert_eq!((lost.id, lost.host.as_str(), lost.reason.as_str()), (3, "node3", "it hung up"));
        assert_eq!(machines.host(GovernorId(3)), "");
        (0..200).for_each(|number| machines.lost(GovernorId(number), "gone"));
        let ids: Vec<u32> = machines.all_lost().iter().map(|lost| lost.id).collect();
        assert_eq!((ids.len(), ids[0], ids[99]), (100, 100, 199));
    }
}
