//! The routes for programs: `/api/v1`, `/events` as Rain has had it, and `/metrics`.

use crate::asking::Asking;
use crate::live::{Live, with_actions};
use crate::metrics;
use crate::refusal::Refusal;
use crate::views::{Control, Question};
use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, Path, Query, RawQuery, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::Deserialize;

const OPENAPI: &str = include_str!("../static/openapi.json");
/// Longest filter of `POST /events`, bytes.
const FILTER_BYTES_MAX: usize = 64 << 10;

#[derive(Clone)]
pub(crate) struct Api {
    asking: Asking,
    live: Live,
}

#[derive(Deserialize)]
struct LiveParameters {
    session: Option<u32>,
}

pub(crate) fn router(asking: Asking) -> Router {
    let api = Api { live: Live::new(asking.clone()), asking };
    let plain = |question: Question| {
        get(move |State(api): State<Api>, RawQuery(parameters): RawQuery| async move {
            json(api.asking.answer(question, parameters.unwrap_or_default()).await)
        })
    };
    // A question about the session, or the governor, that the path names.
    let of_one = |question: fn(u32) -> Question| {
        get(
            move |State(api): State<Api>, id: Result<Path<u32>, PathRejection>, RawQuery(parameters): RawQuery| async move {
                let Path(id) = id.map_err(wrong_number)?;
                json(api.asking.answer(question(id), parameters.unwrap_or_default()).await)
            },
        )
    };
    let v1 = Router::new()
        .route("/status", get(status))
        .route("/sessions", plain(Question::Sessions))
        .route("/sessions/{session}", of_one(Question::Session).delete(close))
        .route("/sessions/{session}/tasks", of_one(Question::Tasks))
        .route("/sessions/{session}/tasks/{task}", get(task))
        .route("/sessions/{session}/tasks/{task}/cancel", post(cancel))
        .route("/sessions/{session}/graph", of_one(Question::Graph))
        .route("/sessions/{session}/objects", of_one(Question::Objects))
        .route("/governors", plain(Question::Governors))
        .route("/governors/{governor}/samples", of_one(Question::Samples))
        .route("/stream", plain(Question::Stream))
        .route("/throughput", plain(Question::Throughput))
        .route("/events", plain(Question::Events))
        .route("/live", get(live))
        .route("/openapi.json", get(|| async { ([(CONTENT_TYPE, "application/json")], OPENAPI) }));
    Router::new()
        .nest("/api/v1", v1)
        .route("/events", post(filtered).layer(DefaultBodyLimit::max(FILTER_BYTES_MAX)))
        .route("/metrics", get(metrics_page))
        .fallback(|| async { Refusal::NotFound("path") })
        .method_not_allowed_fallback(|| async { Refusal::Method })
        .with_state(api)
}

fn json(answer: Result<String, Refusal>) -> Result<Response, Refusal> {
    Ok(([(CONTENT_TYPE, "application/json")], answer?).into_response())
}

fn wrong_number(error: PathRejection) -> Refusal {
    Refusal::Request(format!("the path names no number of a session, task or governor: {error}"))
}

async fn status(State(api): State<Api>) -> Result<Response, Refusal> {
    json(api.asking.answer(Question::Status, String::new()).await.map(|status| with_actions(&status, &api.asking)))
}

async fn task(State(api): State<Api>, path: Result<Path<(u32, u32)>, PathRejection>) -> Result<Response, Refusal> {
    let Path((session, task)) = path.map_err(wrong_number)?;
    json(api.asking.answer(Question::Task(session, task), String::new()).await)
}

async fn close(State(api): State<Api>, path: Result<Path<u32>, PathRejection>) -> Result<Response, Refusal> {
    let Path(session) = path.map_err(wrong_number)?;
    json(api.asking.control(Control::Close(session)).await)
}

async fn cancel(State(api): State<Api>, path: Result<Path<(u32, u32)>, PathRejection>) -> Result<Response, Refusal> {
    let Path((session, task)) = path.map_err(wrong_number)?;
    json(api.asking.control(Control::Cancel(session, task)).await)
}

async fn live(
    State(api): State<Api>,
    parameters: Result<Query<LiveParameters>, QueryRejection>,
) -> Result<Response, Refusal> {
    let Query(parameters) = parameters.map_err(|error| Refusal::Request(error.to_string()))?;
    Ok(api.live.open(parameters.session).await.into_response())
}

async fn filtered(State(api): State<Api>, filter: Bytes) -> Result<Response, Refusal> {
    json(api.asking.filtered(filter.to_vec()).await)
}

async fn metrics_page(State(api): State<Api>) -> Result<Response, Refusal> {
    let value = |text: String| serde_json::from_str(&text).unwrap_or_default();
    let status = value(api.asking.answer(Question::Status, String::new()).await?);
    let governors = value(api.asking.answer(Question::Governors, String::new()).await?);
    Ok(([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], metrics::page(&status, &governors))
        .into_response())
}
