//! What is known of a server at a moment.

use crate::seen::Seen;
use crate::status::LookupError;
use serde_json::Value;
use std::time::Duration;

/// An answer that is older is said to be late.
pub const LATE: Duration = Duration::from_secs(5);
/// Sessions that can be chosen.
const SESSIONS_MAX: u32 = 100;
/// Deepest groups of names that are shown.
const DEPTH_MAX: u32 = 9;

/// What of the server is looked at more closely.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Chosen {
    /// The newest one that is open if `None`, or else the newest.
    pub session: Option<u64>,
    /// How many levels of groups are unfolded.
    pub depth: u32,
}

impl Chosen {
    /// Unfolds, or folds, so many levels of groups.
    pub fn further(self, levels: i32) -> Self {
        Self { depth: self.depth.saturating_add_signed(levels).min(DEPTH_MAX), ..self }
    }
}

/// What a server has answered.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    pub status: Value,
    pub governors: Vec<Value>,
    /// The newest first.
    pub sessions: Vec<Value>,
    /// The session that is looked at, with its groups.
    pub session: Option<Value>,
    pub depth: u32,
}

impl Snapshot {
    /// Asks the server.
    ///
    /// # Errors
    /// When there is no good answer.
    pub fn take(seen: &mut Seen, chosen: Chosen) -> Result<Self, LookupError> {
        let status = seen.view("status", &[])?;
        let governors = list(seen.view("governors", &[])?, "governors");
        let sessions = list(seen.view("sessions", &[("limit", Some(SESSIONS_MAX.to_string()))])?, "sessions");
        let id = chosen_of(&sessions, chosen.session);
        // It may be removed from the log in between.
        let session = id.and_then(|id| seen.view(&format!("sessions/{id}"), &[]).ok());
        Ok(Self { status, governors, sessions, session, depth: chosen.depth })
    }

    /// The number of the session that is looked at.
    pub fn session_id(&self) -> Option<u64> {
        self.session.as_ref()?["id"].as_u64()
    }

    /// What is chosen when the session so many lines further down is.
    pub fn neighbour(&self, lines: isize) -> Chosen {
        let place = self.sessions.iter().position(|session| session["id"].as_u64() == self.session_id());
        let next = place.unwrap_or(0).saturating_add_signed(lines).min(self.sessions.len().saturating_sub(1));
        let session = self.sessions.get(next).and_then(|session| session["id"].as_u64());
        Chosen { session, depth: self.depth }
    }
}

fn list(mut answer: Value, key: &str) -> Vec<Value> {
    match answer[key].take() {
        Value::Array(items) => items,
        _ => Vec::new(),
    }
}

fn chosen_of(sessions: &[Value], chosen: Option<u64>) -> Option<u64> {
    let id = |session: &Value| session["id"].as_u64();
    let is_there = |wanted: &u64| sessions.iter().any(|session| id(session) == Some(*wanted));
    let open = || sessions.iter().find(|session| session["state"] == "open").and_then(id);
    chosen.filter(is_there).or_else(open).or_else(|| sessions.first().and_then(id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_newest_open_session_is_looked_at_unless_another_one_is_chosen() {
        let sessions =
            [json!({"id": 5, "state": "failed"}), json!({"id": 4, "state": "open"}), json!({"id": 2, "state": "open"})];
        assert_eq!(chosen_of(&sessions, None), Some(4));
        assert_eq!(chosen_of(&sessions, Some(2)), Some(2));
        assert_eq!(chosen_of(&sessions, Some(3)), Some(4));
        assert_eq!(chosen_of(&sessions[..1], None), Some(5));
        assert_eq!(chosen_of(&[], Some(1)), None);
    }

    #[test]
    fn neighbours_are_chosen_and_ends_are_kept() {
        let sessions = vec![json!({"id": 5}), json!({"id": 4}), json!({"id": 2})];
        let shown = Snapshot { session: Some(sessions[1].clone()), sessions, ..Snapshot::default() };
        assert_eq!(shown.neighbour(1).session, Some(2));
        assert_eq!(shown.neighbour(5).session, Some(2));
        assert_eq!(shown.neighbour(-1).session, Some(5));
        assert_eq!(Snapshot::default().neighbour(1), Chosen::default());
    }
}
