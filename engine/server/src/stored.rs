//! Results on their way to where they are stored, at the end of a job's time.

use rain_model::id::{ObjectIndex, SessionId};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Results on their way to where they are stored.
#[derive(Debug, Default)]
pub(super) struct Results {
    /// There is a place for them.
    pub(super) wanted: bool,
    pub(super) active: bool,
    pub(super) waiting: VecDeque<(SessionId, ObjectIndex)>,
    pub(super) under_way: usize,
    /// All of open sessions that were ever waiting.
    seen: BTreeSet<(SessionId, ObjectIndex)>,
    /// How many of each session have not been brought here.
    pub(super) missing: BTreeMap<SessionId, usize>,
    /// Sessions that their clients have left, and that stay for their results.
    pub(super) closing: BTreeSet<SessionId>,
}

impl Results {
    pub(super) fn add(&mut self, session: SessionId, objects: impl Iterator<Item = ObjectIndex>) {
        for object in objects {
            if self.seen.insert((session, object)) {
                self.waiting.push_back((session, object));
                *self.missing.entry(session).or_default() += 1;
            }
        }
    }

    /// One of a session was brought here, or cannot be.
    pub(super) fn no_longer_missing(&mut self, session: SessionId) {
        if let Some(count) = self.missing.get_mut(&session) {
            *count -= 1;
            if *count == 0 {
                self.missing.remove(&session);
            }
        }
    }

    /// Forgets a session that is gone.
    pub(super) fn forget(&mut self, session: SessionId) {
        self.closing.remove(&session);
        let of_session = (session, 0)..=(session, ObjectIndex::MAX);
        let seen: Vec<_> = self.seen.range(of_session).copied().collect();
        for result in &seen {
            self.seen.remove(result);
        }
    }
}
