//! Questions that other threads of its process ask the server.

use rain_data::Object;
use rain_protocol::client::{Fetch, RequestError};
use rain_transport::Wake;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Asks a running server, from any thread.
pub struct Questions<Q>(Arc<Mutex<State<Q>>>);

/// For its status; called with it, JSON text.
pub type StatusRequests = Questions<Box<dyn FnOnce(String) + Send>>;

/// Answers a question of the HTTP API (the path after `/api/v1/`, with parameters) with JSON text, on a thread that may block.
pub type View = Arc<dyn Fn(&str) -> Result<String, RequestError> + Send + Sync>;

/// For things to be done to sessions of any client.
pub type OrderRequests = Questions<OrderRequest>;

/// What the owner of a server does to a session, whoever its client is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    Close { session: u32 },
    Cancel { session: u32, tasks: Vec<u32> },
}

impl Order {
    /// The session that it is about.
    pub(crate) fn session(&self) -> u32 {
        let (Self::Close { session } | Self::Cancel { session, .. }) = self;
        *session
    }
}

/// An order, and who is to be told the tasks that were cancelled.
pub struct OrderRequest {
    pub order: Order,
    pub answer: Box<dyn FnOnce(Result<Vec<u32>, RequestError>) + Send>,
}

/// For content, which it brings to its process.
pub type ContentRequests = Questions<ContentRequest>;

/// A client that is not one of the front's asks for the content of an object.
pub struct ContentRequest {
    pub(crate) fetch: Fetch,
    pub(crate) answer: ContentAnswer,
}

pub(crate) type ContentAnswer = Box<dyn FnOnce(Result<Arc<Object>, RequestError>) + Send>;

struct State<Q> {
    waiting: Vec<Q>,
    wake: Option<Wake>,
    /// The server has ended.
    over: bool,
}

impl<Q> Default for Questions<Q> {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(State { waiting: Vec::new(), wake: None, over: false })))
    }
}

impl<Q> Clone for Questions<Q> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<Q> Questions<Q> {
    /// Has the question taken on the server's thread. It is dropped unanswered when the server ends.
    pub fn ask(&self, question: Q) {
        let wake = {
            let mut state = self.lock();
            if state.over {
                return;
            }
            state.waiting.push(question);
            state.wake.clone()
        };
        if let Some(wake) = wake {
            wake();
        }
    }

    pub(crate) fn set_wake(&self, wake: Wake) {
        self.lock().wake = Some(wake);
    }

    pub(crate) fn take(&self) -> Vec<Q> {
        std::mem::take(&mut self.lock().waiting)
    }

    /// Drops what waits, and all that will come.
    pub(crate) fn end(&self) {
        let mut state = self.lock();
        state.over = true;
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        drop(waiting);
    }

    fn lock(&self) -> MutexGuard<'_, State<Q>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
