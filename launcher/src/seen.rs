//! Asking a server what it does, as its HTTP API answers, over the connection that clients have.

use crate::client::{AskError, ServerConnection};
use crate::remote::reach::Server;
use crate::status::{self, ANSWER_TIME_MAX, LookupError};
use crate::which_args::WhichServer;
use crate::which_server::Meant;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// A server that is asked.
pub struct Seen {
    connection: ServerConnection,
    who: Who,
}

/// Whom errors are about.
enum Who {
    /// A server of this machine, with this pid.
    Here(u32),
    Elsewhere(Server),
}

impl Who {
    fn unanswered(&self, error: AskError) -> LookupError {
        match self {
            Who::Here(pid) => LookupError::Ask(error, *pid),
            Who::Elsewhere(server) => server.unanswered(error).into(),
        }
    }
}

impl Seen {
    /// Connects to a server.
    ///
    /// # Errors
    /// When there is none, or it does not answer.
    pub fn open(which: &WhichServer) -> Result<Self, LookupError> {
        match Meant::find(which)? {
            Meant::Elsewhere(server) => {
                Ok(Self { connection: server.open(ANSWER_TIME_MAX)?, who: Who::Elsewhere(server) })
            }
            Meant::Here(port) => {
                let access = status::find(port)?.access;
                let who = Who::Here(access.pid);
                let opened = ServerConnection::open(&access, ANSWER_TIME_MAX);
                Ok(Self { connection: opened.map_err(|error| who.unanswered(error))?, who })
            }
        }
    }

    /// The map of `rain status`.
    ///
    /// # Errors
    /// When there is no good answer.
    pub fn status(&mut self) -> Result<Value, LookupError> {
        self.connection.status().map_err(|error| self.who.unanswered(error))
    }

    /// What the server answers to a question of the protocol.
    ///
    /// # Errors
    /// When there is no good answer.
    pub fn ask<B: Serialize, R: DeserializeOwned>(&mut self, op: &str, body: &B) -> Result<R, LookupError> {
        self.connection.ask(op, body).map_err(|error| self.who.unanswered(error))
    }

    /// What the HTTP API answers at a path, with these parameters.
    ///
    /// # Errors
    /// When there is no good answer.
    pub fn view(&mut self, path: &str, parameters: &[(&str, Option<String>)]) -> Result<Value, LookupError> {
        let given = parameters.iter().filter_map(|(key, value)| Some((*key, value.as_deref()?)));
        let given = serde_urlencoded::to_string(given.collect::<Vec<_>>()).unwrap_or_default();
        let path = if given.is_empty() { path.to_owned() } else { format!("{path}?{given}") };
        self.connection.view(path).map_err(|error| self.who.unanswered(error))
    }
}
