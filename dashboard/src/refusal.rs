//! Errors as the API's clients get them: a status of HTTP, and JSON that says what was wrong.

use crate::views::ViewError;
use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;

/// Why a request is not answered with what it asks for.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// The request shows no token, or a wrong one.
    Token,
    /// It names another host, or comes from a page of one.
    Host,
    NotFound(&'static str),
    Method,
    Request(String),
    Refused(String),
    Unavailable(String),
}

impl From<ViewError> for Refusal {
    fn from(error: ViewError) -> Self {
        match error {
            ViewError::Request(why) => Refusal::Request(why),
            ViewError::Refused(why) => Refusal::Refused(why),
            ViewError::Unavailable(why) => Refusal::Unavailable(why),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, code, message) = match self {
            Refusal::Token => {
                let message = "show the token that `rain status` prints: as `Authorization: Bearer TOKEN`, or open the \
                               address with it";
                (StatusCode::UNAUTHORIZED, "token", message.to_owned())
            }
            Refusal::Host => {
                let message = "ask by an address of this machine, or as localhost, and from no page of another server";
                (StatusCode::FORBIDDEN, "host", message.to_owned())
            }
            Refusal::NotFound(what) => (StatusCode::NOT_FOUND, "not_found", format!("there is no such {what}")),
            Refusal::Method => (
                StatusCode::METHOD_NOT_ALLOWED,
                "method",
                "this path takes other methods: /api/v1/openapi.json".to_owned(),
            ),
            Refusal::Request(why) => (StatusCode::BAD_REQUEST, "request", why),
            Refusal::Refused(why) => (StatusCode::CONFLICT, "refused", why),
            Refusal::Unavailable(why) => (StatusCode::SERVICE_UNAVAILABLE, "unavailable", why),
        };
        (status, Json(json!({"error": {"code": code, "message": message}}))).into_response()
    }
}
