//! Everything that isn't admission: health, status, metrics, calls, alarms, license, events, administration.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Query, State};
use axum::http::Method;
use axum::http::header::CONTENT_TYPE;
use axum::response::{Html, IntoResponse, Response as Answer};
use axum::routing::{get, post};
use http_body_util::Either;
use hyper::body::Incoming;
use hyper::{Request, Response, StatusCode};
use serde::Deserialize;
use serde_json::json;
use tower::ServiceExt;

use super::super::peers::{Peer, Wait};
use super::super::shared::Shared;
use super::super::status;
use super::{Body, Origin, admin, calls, cluster, events, license, openapi};
use crate::codec::http::reply::PROBLEM_CONTENT_TYPE;
use crate::codec::http::reply::Problem;
use crate::shell::Phase;
use crate::shell::telemetry::{Command, METRICS_CONTENT_TYPE, render_metrics};

/// The routes.
pub(super) fn build(shared: &Arc<Shared>) -> Router {
    Router::new()
        .route("/", get(home))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/openapi.json", get(document))
        .route("/v1/status", get(status_document))
        .route("/v1/alarms", get(alarms))
        .route("/v1/calls", get(calls::list))
        .route("/v1/calls/{key}", get(calls::one))
        .route("/v1/events", get(events::stream))
        .route("/v1/admin/alarms/test", post(admin::test_alarms))
        .route("/v1/admin/reload", post(admin::reload))
        .route("/v1/admin/drain", post(admin::drain))
        .route("/v1/admin/undrain", post(admin::undrain))
        .merge(license::routes())
        .merge(cluster::routes())
        .fallback(not_found)
        .method_not_allowed_fallback(wrong_method)
        .with_state(Arc::clone(shared))
}

/// Answers through the routes.
pub(super) async fn answer(
    router: Router,
    request: Request<Incoming>,
    shared: &Arc<Shared>,
    peer: &Arc<Peer>,
    origin: Origin,
) -> Response<Body> {
    let counted = match request.uri().path() {
        "/v1/events" => Command::Events,
        "/metrics" | "/healthz" | "/readyz" => Command::Metrics,
        "/v1/status" => Command::Status,
        path if path.starts_with("/v1/admin/") => Command::Admin,
        _ => Command::Other,
    };
    shared.context.counters.front(origin.front()).commands(counted, 1);
    peer.waits(Wait::Us, origin.peers(shared).coarse());
    let mut request = request.map(axum::body::Body::new);
    request.extensions_mut().insert(Arc::clone(peer));
    match router.oneshot(request).await {
        Ok(answer) => answer.map(Either::Right),
        Err(never) => match never {},
    }
}

/// JSON text as an answer.
pub(super) fn json_text(text: String) -> Answer {
    ([(CONTENT_TYPE, "application/json")], text).into_response()
}

/// A problem as an answer.
pub(super) fn problem_answer(status: StatusCode, title: &str, detail: String) -> Answer {
    let body = Problem::new(status.as_u16(), title, detail).json();
    (status, [(CONTENT_TYPE, PROBLEM_CONTENT_TYPE)], body).into_response()
}

/// Runs what walks whole tables on a thread of its own.
pub(super) async fn off_the_reactor<T: Send + 'static>(
    shared: &Arc<Shared>,
    work: impl FnOnce(&Shared) -> T + Send + 'static,
) -> Result<T, Answer> {
    let shared = Arc::clone(shared);
    tokio::task::spawn_blocking(move || work(&shared)).await.map_err(|_| {
        problem_answer(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the sidecar failed",
            "the request failed inside the sidecar".to_owned(),
        )
    })
}

async fn not_found(request: axum::extract::Request) -> Answer {
    let detail = format!("nothing is at {}; /openapi.json says what there is", request.uri().path());
    problem_answer(StatusCode::NOT_FOUND, "no such path", detail)
}

async fn wrong_method(method: Method) -> Answer {
    let detail = format!("found {method}; the Allow header says what is accepted");
    problem_answer(StatusCode::METHOD_NOT_ALLOWED, "wrong method", detail)
}

async fn home() -> Html<&'static str> {
    Html(include_str!("home.html"))
}

async fn healthz() -> Answer {
    json_text(r#"{"status":"ok"}"#.to_owned())
}

async fn readyz(State(shared): State<Arc<Shared>>) -> Answer {
    let phase = shared.context.phase();
    let (status, name) = match phase {
        Phase::Ready => return json_text(r#"{"status":"ready"}"#.to_owned()),
        Phase::Starting => (StatusCode::SERVICE_UNAVAILABLE, "the sidecar is starting"),
        Phase::Draining => (StatusCode::SERVICE_UNAVAILABLE, "the sidecar is draining"),
    };
    problem_answer(status, "not ready", name.to_owned())
}

async fn metrics(State(shared): State<Arc<Shared>>) -> Result<Answer, Answer> {
    let text = off_the_reactor(&shared, |shared| render_metrics(&shared.context)).await?;
    Ok(([(CONTENT_TYPE, METRICS_CONTENT_TYPE)], text).into_response())
}

async fn document() -> Answer {
    json_text(openapi::text().to_owned())
}

async fn status_document(State(shared): State<Arc<Shared>>) -> Result<Answer, Answer> {
    off_the_reactor(&shared, status::json).await.map(json_text)
}

/// `?history=true`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AlarmsQuery {
    #[serde(default)]
    history: bool,
}

/// What a query that can't be understood is answered with.
pub(super) fn bad_query(rejection: &axum::extract::rejection::QueryRejection) -> Answer {
    problem_answer(StatusCode::BAD_REQUEST, "the query can't be understood", rejection.body_text())
}

async fn alarms(
    State(shared): State<Arc<Shared>>,
    query: Result<Query<AlarmsQuery>, axum::extract::rejection::QueryRejection>,
) -> Result<Answer, Answer> {
    let Query(query) = query.map_err(|rejection| bad_query(&rejection))?;
    let mut answer = json!({ "active": shared.context.alarms.active() });
    if query.history {
        answer["history"] = json!(shared.context.alarms.history());
    }
    Ok(json_text(answer.to_string()))
}
