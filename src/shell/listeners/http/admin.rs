//! What changes the sidecar.

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response as Answer};
use hyper::StatusCode;
use serde::Deserialize;
use serde_json::json;

use super::super::shared::Shared;
use super::router::{bad_query, json_text, problem_answer};
use crate::codec::http::reply::PROBLEM_CONTENT_TYPE;
use crate::notice::Notice;
use crate::shell::telemetry::{EventKind, Severity};

/// `POST /v1/admin/reload`
pub(super) async fn reload(State(shared): State<Arc<Shared>>) -> Answer {
    match shared.context.reload().await {
        Ok(reloaded) => json_text(serde_json::to_string(&reloaded).unwrap_or_default()),
        Err(refused) => {
            let problem = json!({
                "status": 409,
                "title": "the new configuration was refused, the old one stays",
                "detail": refused.to_string(),
                "reasons": refused.reasons,
            });
            (StatusCode::CONFLICT, [(CONTENT_TYPE, PROBLEM_CONTENT_TYPE)], problem.to_string()).into_response()
        }
    }
}

/// `?destination=ops`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TestQuery {
    destination: Option<String>,
}

/// `POST /v1/admin/alarms/test`
pub(super) async fn test_alarms(
    State(shared): State<Arc<Shared>>,
    query: Result<Query<TestQuery>, QueryRejection>,
) -> Result<Answer, Answer> {
    let Query(TestQuery { destination }) = query.map_err(|rejection| bad_query(&rejection))?;
    let context = &shared.context;
    let notice = Notice::test(context.config.load().node.name.clone(), context.clock.wall());
    match context.notifier.test(destination.as_deref(), &notice).await {
        Ok(results) => Ok(json_text(json!({ "results": results }).to_string())),
        Err(unknown) => Err(problem_answer(StatusCode::NOT_FOUND, "no such destination", unknown.to_string())),
    }
}

/// `POST /v1/admin/drain`
pub(super) async fn drain(State(shared): State<Arc<Shared>>) -> Answer {
    set_draining(&shared, true)
}

/// `POST /v1/admin/undrain`
pub(super) async fn undrain(State(shared): State<Arc<Shared>>) -> Answer {
    set_draining(&shared, false)
}

fn set_draining(shared: &Shared, draining: bool) -> Answer {
    let context = &shared.context;
    context.set_draining(draining);
    let (command, text) = if draining {
        ("drain", "An operator drains this sidecar: new calls are refused.")
    } else {
        ("undrain", "An operator ended the drain: new calls are decided again.")
    };
    tracing::info!("{text}");
    context.events.publish(
        context.clock.wall(),
        EventKind::Operator,
        Severity::Info,
        text,
        json!({ "command": command }),
    );
    json_text(json!({ "draining": draining }).to_string())
}
