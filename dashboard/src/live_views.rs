//! The answers of a server that keeps an event log: the log's, and the server's own where the log cannot be read or is no
//! longer written.

use crate::log_views::LogViews;
use crate::server_views::ServerViews;
use crate::views::{Question, ViewError, Views};
use rain_events::LogHandle;
use serde_json::{Value, json};

/// What a running server shows.
pub struct LiveViews {
    pub(crate) log: LogViews,
    handle: LogHandle,
    server: ServerViews,
}

impl LiveViews {
    pub fn new(handle: LogHandle, server: ServerViews) -> Self {
        Self { log: LogViews::new(handle.path().to_owned()), handle, server }
    }

    /// Adds what the writer of the log says of it; a log that cannot be written cannot say so itself.
    fn with_writer(&self, status: &str) -> String {
        let mut status: Value = serde_json::from_str(status).unwrap_or_default();
        status["log"] = json!(self.handle.status());
        status.to_string()
    }
}

impl Views for LiveViews {
    fn answer(&self, question: Question, parameters: &str) -> Result<Option<String>, ViewError> {
        let is_of_now =
            matches!(question, Question::Status | Question::Sessions | Question::Session(_) | Question::Governors);
        let from_log = if is_of_now && self.handle.status().error.is_some() {
            Err(ViewError::Unavailable("the log is no longer written".to_owned()))
        } else {
            self.log.answer(question, parameters)
        };
        let answer = match from_log {
            // That the server keeps no log would hide why its log cannot be read.
            Err(ViewError::Unavailable(why)) => {
                self.server.answer(question, parameters).map_err(|_| ViewError::Unavailable(why))
            }
            other => other,
        };
        if question == Question::Status { Ok(answer?.map(|status| self.with_writer(&status))) } else { answer }
    }

    fn filtered(&self, filter: &[u8]) -> Result<String, ViewError> {
        self.log.filtered(filter)
    }

    fn sequence(&self) -> Result<u64, ViewError> {
        if self.handle.status().error.is_some() {
            return self.server.sequence();
        }
        self.log.sequence().or_else(|_| self.server.sequence())
    }
}
