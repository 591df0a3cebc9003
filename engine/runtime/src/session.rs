//! Sessions as workers see them.

use crate::reaper::Reaper;
use rain_data::Object;
use rain_governor::Leave;
use rain_pool::SessionGraph;
use std::sync::Arc;

/// Tasks and objects of a session.
pub(crate) type Graph = SessionGraph<Arc<Object>>;

/// A session on this governor.
pub(crate) type Session = rain_governor::Session<Graph>;

/// Sessions by number.
pub(crate) type SessionTable = rain_governor::Sessions<Graph>;

/// Leaves what is left of a session to the reaper.
pub(crate) fn leave_to(reaper: &Arc<Reaper>) -> Leave<Graph> {
    let reaper = reaper.clone();
    Arc::new(move |rest| reaper.take(rest))
}
