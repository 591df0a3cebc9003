//! What a server shows of itself, to browsers and to clients.

use crate::controlled::Controlled;
use crate::runtime_dir;
use rain_dashboard::{LiveViews, ServerViews, Views};
use rain_events::EventLog;
use rain_protocol::client::RequestError;
use rain_runtime::questions::{OrderRequests, StatusRequests, View};
use serde_json::json;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

/// What clients ask for the address of the page.
const PAGE: &str = "dashboard";
/// The same; a page is opened if there is none.
const OPEN_PAGE: &str = "dashboard?open=true";

/// A free port of this machine, for a page that nobody has planned.
const ANYWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// Answers of a server about itself, and its page.
#[derive(Clone)]
pub struct Shown {
    views: Arc<dyn Views>,
    requests: StatusRequests,
    orders: OrderRequests,
    /// The address of the page, with its token.
    page: Arc<Mutex<Option<String>>>,
}

impl Shown {
    /// Answers from the log that the server writes, or else from what it knows.
    pub fn new(log: Option<&EventLog>) -> Self {
        let requests = StatusRequests::default();
        let asked = requests.clone();
        let server = ServerViews::new(Arc::new(move |answer| asked.ask(answer)));
        let views: Arc<dyn Views> = match log {
            Some(log) => Arc::new(LiveViews::new(log.handle(), server)),
            None => Arc::new(server),
        };
        let orders = OrderRequests::default();
        let views = Arc::new(Controlled::new(views, orders.clone()));
        Self { views, requests, orders, page: Arc::default() }
    }

    /// Where the server is asked for its status.
    pub fn requests(&self) -> StatusRequests {
        self.requests.clone()
    }

    /// Where the server is told to close sessions and to cancel tasks.
    pub fn orders(&self) -> OrderRequests {
        self.orders.clone()
    }

    pub fn views(&self) -> Arc<dyn Views> {
        self.views.clone()
    }

    /// There is a page, at this address.
    pub fn set_page(&self, page: String) {
        *self.page.lock().unwrap_or_else(PoisonError::into_inner) = Some(page);
    }

    /// Answers what clients ask with `view`.
    pub fn view(&self) -> View {
        let own = self.clone();
        Arc::new(move |path| match path {
            PAGE => Ok(own.page(false)?),
            OPEN_PAGE => Ok(own.page(true)?),
            _ => rain_dashboard::view(&*own.views, path).map_err(RequestError::request),
        })
    }

    /// The address of the page, JSON text. `open`: if there is none, as private servers have none before somebody asks, it is opened.
    fn page(&self, open: bool) -> Result<String, RequestError> {
        let mut page = self.page.lock().unwrap_or_else(PoisonError::into_inner);
        if page.is_none() && open {
            let cannot =
                |error: &dyn std::fmt::Display| RequestError::request(format!("no page can be opened: {error}"));
            let listener = rain_dashboard::listen(ANYWHERE, false).map_err(|error| cannot(&error))?;
            let token = runtime_dir::new_token().map_err(|error| cannot(&error))?;
            let opened = rain_dashboard::serve(listener, &token, self.views()).map_err(|error| cannot(&error))?;
            *page = Some(opened);
        }
        Ok(json!({"link": *page}).to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_opened_when_somebody_asks_for_it_and_once() {
        let shown = Shown::new(None);
        let ask = |path| serde_json::from_str::<serde_json::Value>(&shown.view()(path).unwrap()).unwrap();
        assert!(ask(PAGE)["link"].is_null());
        let link = ask(OPEN_PAGE)["link"].clone();
        assert!(link.as_str().is_some_and(|link| link.starts_with("http://127.0.0.1:") && link.contains("?token=")));
        assert_eq!((ask(PAGE)["link"].clone(), ask(OPEN_PAGE)["link"].clone()), (link.clone(), link));
    }

    #[test]
    fn what_is_no_question_is_said() {
        let view = Shown::new(None).view();
        for path in ["", "nothing", "sessions/x", "sessions/1/2", "dashboard?open=maybe", "sessions//tasks"] {
            let error = view(path).unwrap_err();
            assert!(error.message.contains("no question"), "{path}: {}", error.message);
        }
        assert!(view("sessions/1/tasks").unwrap_err().message.contains("--event-log=off"));
    }
}
