//! Questions to the views, on threads that may block.

use crate::refusal::Refusal;
use crate::views::{Control, Question, ViewError, Views};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// Questions that are being answered or wait for a thread; more are refused.
const QUESTIONS_MAX: usize = 32;
/// How long an answer may take.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(15);

/// Asks on behalf of the connections.
#[derive(Clone)]
pub(crate) struct Asking {
    views: Arc<dyn Views>,
    places: Arc<Semaphore>,
}

impl Asking {
    pub(crate) fn new(views: Arc<dyn Views>) -> Self {
        Self { views, places: Arc::new(Semaphore::new(QUESTIONS_MAX)) }
    }

    /// Has `ask` done on a thread of its own.
    async fn blocking<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&dyn Views) -> Result<T, ViewError> + Send + 'static,
    ) -> Result<T, Refusal> {
        let busy = |_| Refusal::Unavailable("too many questions at the same time: ask again later".to_owned());
        let place = self.places.clone().try_acquire_owned().map_err(busy)?;
        let views = self.views.clone();
        let asked = tokio::task::spawn_blocking(move || {
            let answer = ask(&*views);
            drop(place);
            answer
        });
        match tokio::time::timeout(ANSWER_TIME_MAX, asked).await {
            Ok(Ok(answer)) => Ok(answer?),
            Ok(Err(error)) => {
                tracing::error!("a question of a browser ended badly: {error}");
                Err(Refusal::Unavailable("the question cannot be answered".to_owned()))
            }
            Err(_) => Err(Refusal::Unavailable("the answer takes too long".to_owned())),
        }
    }

    /// JSON text.
    pub(crate) async fn answer(&self, question: Question, parameters: String) -> Result<String, Refusal> {
        let what = question.what();
        let answer = self.blocking(move |views| views.answer(question, &parameters)).await?;
        answer.ok_or(Refusal::NotFound(what))
    }

    pub(crate) async fn filtered(&self, filter: Vec<u8>) -> Result<String, Refusal> {
        self.blocking(move |views| views.filtered(&filter)).await
    }

    /// Does something to a session; JSON text.
    pub(crate) async fn control(&self, control: Control) -> Result<String, Refusal> {
        self.blocking(move |views| views.control(control)).await
    }

    /// The names of what can be done to sessions and tasks here.
    pub(crate) fn actions(&self) -> &'static [&'static str] {
        if self.views.is_controlled() { &["close", "cancel"] } else { &[] }
    }

    pub(crate) async fn sequence(&self) -> Result<u64, Refusal> {
        self.blocking(|views| views.sequence()).await
    }
}
