//! What a running server answers, and what it does for whoever has its token: close sessions, cancel tasks.

use rain_dashboard::{Control, Question, ViewError, Views};
use rain_runtime::questions::{Order, OrderRequest, OrderRequests};
use serde_json::json;
use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

/// How long the server may take.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(10);

/// Views of a server that obeys.
pub struct Controlled {
    views: Arc<dyn Views>,
    orders: OrderRequests,
}

impl Controlled {
    pub fn new(views: Arc<dyn Views>, orders: OrderRequests) -> Self {
        Self { views, orders }
    }
}

impl Views for Controlled {
    fn answer(&self, question: Question, parameters: &str) -> Result<Option<String>, ViewError> {
        self.views.answer(question, parameters)
    }

    fn filtered(&self, filter: &[u8]) -> Result<String, ViewError> {
        self.views.filtered(filter)
    }

    fn sequence(&self) -> Result<u64, ViewError> {
        self.views.sequence()
    }

    fn is_controlled(&self) -> bool {
        true
    }

    fn control(&self, control: Control) -> Result<String, ViewError> {
        let order = match control {
            Control::Close(session) => Order::Close { session },
            Control::Cancel(session, task) => Order::Cancel { session, tasks: vec![task] },
        };
        let (sender, receiver) = mpsc::channel();
        let sender = Mutex::new(sender);
        let answer = Box::new(move |done| {
            // Whoever has asked may be gone.
            let _ = sender.lock().map(|sender| sender.send(done));
        });
        self.orders.ask(OrderRequest { order, answer });
        match receiver.recv_timeout(ANSWER_TIME_MAX) {
            Ok(Ok(tasks)) => Ok(json!({"tasks": tasks}).to_string()),
            Ok(Err(error)) => Err(ViewError::Refused(error.message)),
            Err(RecvTimeoutError::Timeout) => Err(ViewError::Unavailable("the server does not answer".to_owned())),
            Err(RecvTimeoutError::Disconnected) => {
                Err(ViewError::Refused("its client is gone, and so is it".to_owned()))
            }
        }
    }
}
