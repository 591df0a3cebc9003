//! What a server tells of itself.

use super::reactor::Server;
use super::status::{GovernorStatus, ResourceStatus, SessionStatus, Status};
use rain_model::id::{GovernorId, ObjectIndex, SessionId};
use rain_model::resources::{Amount, Supply};
use std::collections::BTreeMap;

/// Sessions that a status lists at most.
const STATUS_SESSIONS_MAX: usize = 1000;

impl<D: Clone> Server<D> {
    /// How many governors had joined before the one that has this number now: whether it is the same as at another time.
    pub fn incarnation_of(&self, governor: GovernorId) -> Option<u64> {
        self.governors.get(governor).map(|governor| governor.incarnation)
    }

    /// Bytes of an object, up to 4 GiB; 0 if there is none.
    pub fn size_of(&self, session: SessionId, object: ObjectIndex) -> u64 {
        self.sessions.get(&session).map_or(0, |session| u64::from(session.size_of(object)))
    }

    fn resources_of(&self, governor: GovernorId) -> BTreeMap<String, ResourceStatus> {
        let Some(supplies) = self.ledger.supplies(governor) else { return BTreeMap::new() };
        let status = |(name, free): (&str, Amount)| {
            let supply = supplies.get(name)?;
            let labels = if let Supply::Indexed(labels) = supply { labels.clone() } else { Vec::new() };
            Some((name.to_owned(), ResourceStatus { total: supply.total().number(), free: free.number(), labels }))
        };
        self.ledger.free(governor).filter_map(status).collect()
    }

    /// What the server is doing.
    pub fn status(&self) -> Status {
        let alive = self.governors.iter().filter(|(_, governor)| governor.is_alive());
        let governors = alive.map(|(id, governor)| GovernorStatus {
            id: id.0,
            cpus: governor.cpus,
            tasks_unfinished: governor.outstanding,
            tasks_finished: governor.finished,
            resources: self.resources_of(id),
        });
        let sessions = self.sessions.values().take(STATUS_SESSIONS_MAX).map(|session| SessionStatus {
            id: session.id.0,
            name: session.name.clone(),
            client: session.client.0,
            tasks: u64::from(session.tasks.len()),
            finished: u64::from(session.tasks.len()).saturating_sub(session.unfinished),
            state: if session.failure.is_some() { "failed" } else { "open" }.to_owned(),
        });
        Status {
            governors: governors.collect(),
            clients: self.clients.len() as u64,
            sessions_open: self.sessions.len() as u64,
            sessions: sessions.collect(),
        }
    }
}
