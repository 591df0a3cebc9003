//! The page for browsers, and what stands before all routes: who may ask, and what browsers may do with answers.

use crate::api;
use crate::asking::Asking;
use crate::guard::{self, Guard};
use crate::refusal::Refusal;
use axum::Router;
use axum::extract::{Query, Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, LOCATION, REFERRER_POLICY, SET_COOKIE,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Deserialize;

const PAGE: &str = include_str!("../static/index.html");
const SCRIPT: &str = include_str!("../static/page.js");
const STYLE: &str = include_str!("../static/page.css");
const ICON: &str = include_str!("../static/icon.svg");
const STRANGER: &str = "This page shows a Rain server to its owner: open the address that `rain start` has printed, or \
                        that `rain status` prints.\n";
const POLICY: &str = "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

#[derive(Deserialize)]
struct Shown {
    token: Option<String>,
}

/// All routes. What the page is made of is no secret; everything else is shown to those who know the token.
pub(crate) fn router(guard: Guard, asking: Asking) -> Router {
    let asset = |kind: &'static str, text: &'static str| get(move || async move { ([(CONTENT_TYPE, kind)], text) });
    api::router(asking)
        .layer(middleware::from_fn_with_state(guard.clone(), only_with_token))
        .merge(
            Router::new()
                .route("/", get(page))
                .route("/page.js", asset("text/javascript", SCRIPT))
                .route("/page.css", asset("text/css", STYLE))
                .route("/icon.svg", asset("image/svg+xml", ICON))
                .route("/healthz", get(|| async { "ok\n" }))
                .with_state(guard),
        )
        .layer(middleware::from_fn(protect))
}

/// Refuses what is not meant for this server, and keeps browsers from doing more with the pages than showing them.
async fn protect(request: Request, next: Next) -> Response {
    let mut response =
        if guard::is_for_us(request.headers()) { next.run(request).await } else { Refusal::Host.into_response() };
    let headers = response.headers_mut();
    let all: [(HeaderName, &'static str); 4] = [
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        (CACHE_CONTROL, "no-store"),
    ];
    for (name, value) in all {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

async fn only_with_token(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    if guard.knows(request.headers()) { next.run(request).await } else { Refusal::Token.into_response() }
}

async fn page(State(guard): State<Guard>, Query(shown): Query<Shown>, headers: HeaderMap) -> Response {
    if shown.token.is_some_and(|token| guard.is_token(&token)) {
        // Out of the address line, so that it is not copied along with it.
        let cookie = guard.set_cookie();
        return (StatusCode::SEE_OTHER, [(LOCATION, "/".to_owned()), (SET_COOKIE, cookie)]).into_response();
    }
    if guard.knows(&headers) {
        ([(CONTENT_TYPE, "text/html; charset=utf-8")], PAGE).into_response()
    } else {
        (StatusCode::UNAUTHORIZED, STRANGER).into_response()
    }
}
