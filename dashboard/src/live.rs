//! Changes as they happen: one stream of server-sent events a page, each event a whole state.
//!
//! The state of the run is made once for all pages, and not at all while there is none. A page that reads slowly is sent
//! the newest state when it reads again, and told that it has missed some; nothing is queued for it.

use crate::asking::Asking;
use crate::refusal::Refusal;
use crate::views::Question;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::stream::{self, Stream};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, watch};
use tokio::time::Instant;

/// The least time between two states.
const PERIOD: Duration = Duration::from_millis(250);
/// When rates and times are told again though nothing has happened.
const REST_MAX: Duration = Duration::from_secs(2);
/// How long the next state is put off for each second that making one has taken: it takes 4 % of a cpu at most.
const REST_FACTOR: u32 = 25;
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// What all pages are told.
struct State {
    /// Counts the states that were made.
    number: u64,
    sequence: u64,
    status: String,
    governors: String,
}

/// Where states go.
struct Source {
    sender: watch::Sender<Option<Arc<State>>>,
    /// Somebody makes states.
    is_watched: bool,
}

/// Tells pages what changes.
#[derive(Clone)]
pub(crate) struct Live {
    asking: Asking,
    source: Arc<Mutex<Source>>,
}

/// What one page has been told.
struct Reader {
    asking: Asking,
    states: watch::Receiver<Option<Arc<State>>>,
    session: Option<u32>,
    told: Option<u64>,
    /// Not before this is the session asked for again.
    rest_until: Instant,
}

impl Live {
    pub(crate) fn new(asking: Asking) -> Self {
        Self { asking, source: Arc::new(Mutex::new(Source { sender: watch::Sender::new(None), is_watched: false })) }
    }

    /// A stream of states, and of those of a session.
    pub(crate) async fn open(
        &self,
        session: Option<u32>,
    ) -> Sse<impl Stream<Item = Result<Event, Infallible>> + use<>> {
        let mut source = self.source.lock().await;
        let states = source.sender.subscribe();
        if !source.is_watched {
            source.is_watched = true;
            // What was left from earlier pages is old.
            source.sender.send_replace(None);
            tokio::spawn(watch_changes(self.asking.clone(), self.source.clone()));
        }
        drop(source);
        let reader = Reader { asking: self.asking.clone(), states, session, told: None, rest_until: Instant::now() };
        let events = stream::unfold(reader, |mut reader| async { Some((Ok(reader.next().await?), reader)) });
        Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
    }
}

/// Makes states until no page is left.
async fn watch_changes(asking: Asking, source: Arc<Mutex<Source>>) {
    let mut made: Option<(u64, Instant)> = None;
    for number in 0.. {
        let begun = Instant::now();
        if let Ok(sequence) = asking.sequence().await {
            let is_due = made.is_none_or(|(before, at)| before != sequence || at.elapsed() >= REST_MAX);
            if is_due && let Ok((status, governors)) = state(&asking).await {
                made = Some((sequence, begun));
                let state = Arc::new(State { number, sequence, status, governors });
                source.lock().await.sender.send_replace(Some(state));
            }
        }
        tokio::time::sleep(PERIOD.max(begun.elapsed() * REST_FACTOR)).await;
        // Under the lock, so that a page which comes now either is seen here, or finds that nobody makes states.
        let mut source = source.lock().await;
        if source.sender.receiver_count() == 0 {
            source.is_watched = false;
            return;
        }
    }
}

/// The status and the governors, JSON texts.
async fn state(asking: &Asking) -> Result<(String, String), Refusal> {
    let status = with_actions(&asking.answer(Question::Status, String::new()).await?, asking);
    let governors = asking.answer(Question::Governors, String::new()).await?;
    let mut governors: Value = serde_json::from_str(&governors).unwrap_or_default();
    Ok((status, governors["governors"].take().to_string()))
}

/// The status together with what this server lets its owner do.
pub(crate) fn with_actions(status: &str, asking: &Asking) -> String {
    let mut status: Value = serde_json::from_str(status).unwrap_or_default();
    status["actions"] = json!(asking.actions());
    status.to_string()
}

impl Reader {
    /// The next event, when there is a state that the page does not know; nothing when there will be none.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if self.told.is_some() || self.states.borrow().is_none() {
                self.states.changed().await.ok()?;
            }
            tokio::time::sleep_until(self.rest_until).await;
            let newest = self.states.borrow_and_update().clone();
            if let Some(state) = newest {
                let event = self.event(&state).await;
                self.told = Some(state.number);
                return Some(event);
            }
        }
    }

    async fn event(&mut self, state: &State) -> Event {
        let begun = Instant::now();
        let session = match self.session {
            Some(id) => self.asking.answer(Question::Session(id), String::new()).await.ok(),
            None => None,
        };
        self.rest_until = Instant::now() + begun.elapsed() * REST_FACTOR;
        let missed = self.told.is_some_and(|told| state.number > told + 1);
        let raw = |text: &str| RawValue::from_string(text.to_owned()).ok();
        let data = serde_json::to_string(&Data {
            status: raw(&state.status),
            governors: raw(&state.governors),
            session: session.as_deref().and_then(raw),
            resync: missed,
        });
        Event::default().event("state").id(state.sequence.to_string()).data(data.unwrap_or_default())
    }
}

#[derive(serde::Serialize)]
struct Data {
    status: Option<Box<RawValue>>,
    governors: Option<Box<RawValue>>,
    session: Option<Box<RawValue>>,
    resync: bool,
}
