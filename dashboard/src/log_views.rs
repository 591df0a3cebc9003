//! The answers of an event log: one that is being written, was finished, or broke off.

use crate::views::{Question, ViewError, Views};
use rain_events::{Log, LogError};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

/// Readers of one log, one for each thread that asks at the same time.
pub struct LogViews {
    path: PathBuf,
    idle: Mutex<Vec<Log>>,
}

impl LogViews {
    /// Reads the log at `path`, a directory of logs or a file; it is opened when something is asked.
    pub fn new(path: PathBuf) -> Self {
        Self { path, idle: Mutex::default() }
    }

    /// Looks whether there is a log that can be read.
    ///
    /// # Errors
    /// When there is none, it is no log, or one of another version.
    pub fn check(&self) -> Result<(), LogError> {
        let log = Log::open(&self.path)?;
        log.status()?;
        self.give_back(log);
        Ok(())
    }

    fn give_back(&self, log: Log) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(log);
    }

    fn read<T>(&self, question: impl FnOnce(&Log) -> Result<T, LogError>) -> Result<T, ViewError> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let log = match idle {
            Some(log) => log,
            None => Log::open(&self.path).map_err(refused)?,
        };
        let answer = question(&log);
        // After an error of the file another reader is opened, which says what is there now.
        if matches!(&answer, Ok(_) | Err(LogError::Request(_) | LogError::Locked)) {
            self.give_back(log);
        }
        answer.map_err(refused)
    }

    fn known<T: Serialize>(
        &self,
        question: impl FnOnce(&Log) -> Result<Option<T>, LogError>,
    ) -> Result<Option<String>, ViewError> {
        self.read(question)?.map(|answer| text(&answer)).transpose()
    }

    fn all<T: Serialize>(
        &self,
        question: impl FnOnce(&Log) -> Result<T, LogError>,
    ) -> Result<Option<String>, ViewError> {
        self.known(|log| question(log).map(Some))
    }
}

fn refused(error: LogError) -> ViewError {
    match error {
        LogError::Request(why) => ViewError::Request(why),
        other => ViewError::Unavailable(other.to_string()),
    }
}

fn text<T: Serialize>(answer: &T) -> Result<String, ViewError> {
    serde_json::to_string(answer)
        .map_err(|error| ViewError::Unavailable(format!("the answer cannot be written: {error}")))
}

/// The parameters of an address; unknown ones are refused.
fn parsed<T: DeserializeOwned>(parameters: &str) -> Result<T, ViewError> {
    serde_urlencoded::from_str(parameters).map_err(|error| ViewError::Request(format!("a parameter is wrong: {error}")))
}

impl Views for LogViews {
    fn answer(&self, question: Question, parameters: &str) -> Result<Option<String>, ViewError> {
        match question {
            Question::Status => self.all(Log::status),
            Question::Sessions => {
                let page = parsed(parameters)?;
                self.all(|log| log.sessions(&page))
            }
            Question::Session(session) => self.known(|log| log.session(session)),
            Question::Tasks(session) => {
                let query = parsed(parameters)?;
                self.known(|log| log.tasks(session, &query))
            }
            Question::Task(session, task) => self.known(|log| log.task(session, task)),
            Question::Graph(session) => {
                let query = parsed(parameters)?;
                self.known(|log| log.graph(session, &query))
            }
            Question::Objects(session) => {
                let query = parsed(parameters)?;
                self.known(|log| log.objects(session, &query))
            }
            Question::Governors => self.all(Log::governors),
            Question::Samples(governor) => {
                let range = parsed(parameters)?;
                self.known(|log| log.samples(governor, &range))
            }
            Question::Stream => {
                let query = parsed(parameters)?;
                self.known(|log| log.stream(&query))
            }
            Question::Throughput => {
                let query = parsed(parameters)?;
                self.known(|log| log.throughput(&query))
            }
            Question::Events => {
                let query = parsed(parameters)?;
                self.all(|log| log.events(&query))
            }
        }
    }

    fn filtered(&self, filter: &[u8]) -> Result<String, ViewError> {
        let filter = serde_json::from_slice(filter)
            .map_err(|error| ViewError::Request(format!("the filter cannot be read: {error}")))?;
        text(&self.read(|log| log.filtered(&filter))?)
    }

    fn sequence(&self) -> Result<u64, ViewError> {
        self.read(Log::sequence)
    }
}

#[cfg(test)]
mod tests;
