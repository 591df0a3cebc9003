//! The answers of a server that keeps an event log: the log's, and the server's own where the log cannot be read.

use crate::log_views::LogViews;
use crate::server_views::ServerViews;
use crate::views::{Question, ViewError, Views};

/// What a running server shows.
pub struct LiveViews {
    log: LogViews,
    server: ServerViews,
}

impl LiveViews {
    pub fn new(log: LogViews, server: ServerViews) -> Self {
        Self { log, server }
    }
}

impl Views for LiveViews {
    fn answer(&self, question: Question, parameters: &str) -> Result<Option<String>, ViewError> {
        match self.log.answer(question, parameters) {
            Err(ViewError::Unavailable(why)) => {
                // The server's "keeps no log" would hide why its log cannot be read.
                self.server.answer(question, parameters).map_err(|_| ViewError::Unavailable(why))
            }
            other => other,
        }
    }

    fn filtered(&self, filter: &[u8]) -> Result<String, ViewError> {
        self.log.filtered(filter)
    }

    fn sequence(&self) -> Result<u64, ViewError> {
        self.log.sequence().or_else(|_| self.server.sequence())
    }
}
