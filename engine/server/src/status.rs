//! What `rain status` shows.

use super::Server;
use serde::{Deserialize, Serialize};

/// Sessions that are listed at most.
const SESSIONS_MAX: usize = 1000;

/// The server's part of a status reply; the driver adds process facts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    pub governors: Vec<GovernorStatus>,
    pub clients: u64,
    /// All sessions; `sessions` has the first of them.
    pub sessions_open: u64,
    pub sessions: Vec<SessionStatus>,
}

/// One governor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GovernorStatus {
    pub id: u32,
    pub cpus: u32,
    /// Tasks it has and has not finished.
    pub tasks_unfinished: u64,
    pub tasks_finished: u64,
}

/// One session.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SessionStatus {
    pub id: u32,
    pub name: String,
    pub client: u64,
    pub tasks: u64,
    pub finished: u64,
    /// `open` or `failed`.
    pub state: String,
}

impl<D: Clone> Server<D> {
    /// What the server is doing.
    pub fn status(&self) -> Status {
        let governors =
            self.governors.iter().filter(|(_, governor)| governor.alive).map(|(id, governor)| GovernorStatus {
                id: id.0,
                cpus: governor.cpus,
                tasks_unfinished: governor.outstanding,
                tasks_finished: governor.finished,
            });
        let sessions = self.sessions.values().take(SESSIONS_MAX).map(|session| SessionStatus {
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
