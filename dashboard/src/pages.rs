//! The pages.

use crate::guard::{self, Guard};
use axum::Router;
use axum::body::Body;
use axum::extract::{Query, Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, LOCATION, REFERRER_POLICY, SET_COOKIE, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Deserialize;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::oneshot;

const PAGE: &str = include_str!("../static/index.html");
const SCRIPT: &str = include_str!("../static/page.js");
const STYLE: &str = include_str!("../static/page.css");
const STRANGER: &str = "This page shows a Rain server to its owner: open the address that `rain start` has printed, or \
                        that `rain status` prints.\n";
/// How long the server may take to answer.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(5);

/// Asks the server for its status, JSON text, which the callback is given from any thread.
pub type AskStatus = Arc<dyn Fn(Box<dyn FnOnce(String) + Send>) + Send + Sync>;

#[derive(Clone)]
struct Pages {
    guard: Guard,
    ask: AskStatus,
}

#[derive(Deserialize)]
struct Shown {
    token: Option<String>,
}

pub(crate) fn router(guard: Guard, ask: AskStatus) -> Router {
    Router::new()
        .route("/", get(page))
        .route("/api/status", get(status))
        .route("/page.js", get(|| async { ([(CONTENT_TYPE, "text/javascript")], SCRIPT) }))
        .route("/page.css", get(|| async { ([(CONTENT_TYPE, "text/css")], STYLE) }))
        .layer(middleware::from_fn(protect))
        .with_state(Pages { guard, ask })
}

/// Refuses what is not meant for this server, and keeps browsers from doing more with the pages than showing them.
async fn protect(request: Request, next: Next) -> Response {
    if !guard::is_for_us(request.headers()) {
        return (StatusCode::FORBIDDEN, "Open this page by an address of this machine, or as localhost.\n")
            .into_response();
    }
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in [
        (CONTENT_SECURITY_POLICY, "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        (CACHE_CONTROL, "no-store"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

async fn page(State(pages): State<Pages>, Query(shown): Query<Shown>, headers: HeaderMap) -> Response {
    if shown.token.is_some_and(|token| pages.guard.is_token(&token)) {
        // Out of the address line, so that it is not copied along with it.
        let cookie = pages.guard.set_cookie();
        return (StatusCode::SEE_OTHER, [(LOCATION, "/".to_owned()), (SET_COOKIE, cookie)]).into_response();
    }
    if pages.guard.knows(&headers) {
        ([(CONTENT_TYPE, "text/html; charset=utf-8")], PAGE).into_response()
    } else {
        (StatusCode::UNAUTHORIZED, STRANGER).into_response()
    }
}

async fn status(State(pages): State<Pages>, headers: HeaderMap) -> Response {
    if !pages.guard.knows(&headers) {
        return (StatusCode::UNAUTHORIZED, STRANGER).into_response();
    }
    let (answer, answered) = oneshot::channel();
    let answer = Mutex::new(Some(answer));
    (pages.ask)(Box::new(move |status| {
        if let Ok(mut answer) = answer.lock()
            && let Some(answer) = answer.take()
        {
            // Whoever asked may be gone.
            let _ = answer.send(status);
        }
    }));
    match tokio::time::timeout(ANSWER_TIME_MAX, answered).await {
        Ok(Ok(status)) => ([(CONTENT_TYPE, "application/json")], Body::from(status)).into_response(),
        _ => (StatusCode::SERVICE_UNAVAILABLE, "The server does not answer.\n").into_response(),
    }
}
