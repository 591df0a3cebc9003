//! What the server tells its event log, if it has one.

use super::effects::Effects;
use super::reactor::Server;
use rain_model::id::{GovernorId, ObjectIndex, SessionId};
use rain_protocol::log::LogEntry;
use rain_protocol::peer::Finished;

impl<D: Clone> Server<D> {
    /// Has the server tell `Effects::drain_log` what happens. To be called before the first event.
    pub fn set_logged(&mut self) {
        self.is_logged = true;
    }

    /// Tells the log what `entry` makes, if there is one.
    #[inline]
    pub(super) fn log(&self, effects: &mut Effects<D>, entry: impl FnOnce() -> LogEntry) {
        if self.is_logged {
            effects.log(entry());
        }
    }

    /// Tells the log of the latest submit of a session.
    pub(super) fn log_submit(&mut self, id: SessionId, effects: &mut Effects<D>) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.tell_repeated(effects);
        }
        if !self.is_logged {
            return;
        }
        let Some(session) = self.sessions.get(&id) else { return };
        let Some(fresh) = session.fresh.last() else { return };
        let size = |object: ObjectIndex| (object, u64::from(session.size_of(object)));
        let constants = fresh.constants.iter().map(|(object, _)| size(*object)).collect();
        effects.log(LogEntry::Submitted { session: id, batch: fresh.batch.clone(), constants });
    }

    /// Tells the log of tasks that a governor has reported, of which `count` were not over before.
    pub(super) fn log_finished(
        &self,
        governor: GovernorId,
        mut finished: Finished,
        count: u64,
        effects: &mut Effects<D>,
    ) {
        if count < finished.tasks.len() as u64 {
            let session = self.sessions.get(&SessionId(finished.session));
            finished.tasks.retain(|report| session.is_some_and(|session| session.was_finished_by(governor, report)));
        }
        effects.log(LogEntry::Finished { governor, finished });
    }
}
