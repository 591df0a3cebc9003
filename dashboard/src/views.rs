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

impl Question {
    /// The question at a path of the API, without `/api/v1/` and parameters.
    pub fn parse(path: &str) -> Option<Self> {
        let number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten();
        let parts: Vec<&str> = path.split('/').collect();
        Some(match parts.as_slice() {
            ["status"] => Self::Status,
            ["sessions"] => Self::Sessions,
            ["sessions", session] => Self::Session(number(session)?),
            ["sessions", session, "tasks"] => Self::Tasks(number(session)?),
            ["sessions", session, "tasks", task] => Self::Task(number(session)?, number(task)?),
            ["sessions", session, "graph"] => Self::Graph(number(session)?),
            ["sessions", session, "objects"] => Self::Objects(number(session)?),
            ["governors"] => Self::Governors,
            ["governors", governor, "samples"] => Self::Samples(number(governor)?),
            ["stream"] => Self::Stream,
            ["throughput"] => Self::Throughput,
            ["events"] => Self::Events,
            _ => return None,
        })
    }

    /// What the question names and what may not be known.
    pub(crate) fn what(self) -> &'static str {
        match self {
            Self::Task(..) => "task",
            Self::Samples(_) => "governor",
            _ => "session",
        }
    }
}

/// Answers the question at a path of the API (what follows `/api/v1/`, with parameters), JSON text.
///
/// # Errors
/// Why there is no answer.
pub fn view(views: &dyn Views, path: &str) -> Result<String, String> {
    let (path, parameters) = path.split_once('?').unwrap_or((path, ""));
    let question = Question::parse(path).ok_or_else(|| format!("{path:?} is no question of the HTTP API"))?;
    let answer = views.answer(question, parameters).map_err(|error| error.to_string())?;
    answer.ok_or_else(|| format!("there is no such {}", question.what()))
}

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub enum ViewError {
    /// The question is wrong; the text says how.
    #[error("{0}")]
    Request(String),
    /// What is to be done cannot be, as things are.
    #[error("{0}")]
    Refused(String),
    /// Who should answer cannot, or not now.
    #[error("{0}")]
    Unavailable(String),
}

/// What can be done to a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    Close(u32),
    /// A task of it, with everything that needs what it would have made.
    Cancel(u32, u32),
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

    /// Whether there is a server that does what it is told.
    fn is_controlled(&self) -> bool {
        false
    }

    /// Does something to a session; JSON text: which tasks were cancelled.
    ///
    /// # Errors
    /// Why it was not done.
    fn control(&self, _control: Control) -> Result<String, ViewError> {
        Err(ViewError::Refused("this is a log, and no server that runs".to_owned()))
    }

    /// A number that is another one when something has changed.
    ///
    /// # Errors
    /// When there is no answer.
    fn sequence(&self) -> Result<u64, ViewError>;
}
