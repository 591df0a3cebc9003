//! What can be asked of a run, and who answers: the event log, or a server that keeps none.

/// A question of the API; its parameters are the text after `?` in the address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    Status,
    Sessions,
    Session(u32),
    Tasks(u32),
    Task(u32, u32),
    Graph(u32),
    Objects(u32),
    Governors,
    Samples(u32),
    Stream,
    Throughput,
    Events,
}

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub enum ViewError {
    /// The question is wrong; the text says how.
    #[error("{0}")]
    Request(String),
    /// Who should answer cannot, or not now.
    #[error("{0}")]
    Unavailable(String),
}

/// Answers questions. The calls may take long and are made from several threads, none of which does anything else.
pub trait Views: Send + Sync {
    /// JSON text; nothing when the session, task or governor that the question names is not known.
    ///
    /// # Errors
    /// When the parameters are wrong, or there is no answer.
    fn answer(&self, question: Question, parameters: &str) -> Result<Option<String>, ViewError>;

    /// The events that a filter of `POST /events` lets through, JSON text.
    ///
    /// # Errors
    /// When the filter is wrong, or there is no answer.
    fn filtered(&self, filter: &[u8]) -> Result<String, ViewError>;

    /// A number that is another one when something has changed.
    ///
    /// # Errors
    /// When there is no answer.
    fn sequence(&self) -> Result<u64, ViewError>;
}
