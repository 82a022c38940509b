//! The cluster over HTTP: members and loans, and the operator's commands.

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::response::Response as Answer;
use axum::routing::{get, post};
use hyper::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::shared::Shared;
use super::license::{Body, Nothing, fields};
use super::router::{json_text, problem_answer};
use crate::cluster::NodeName;
use crate::shell::cluster::handle::ClusterRefused;
use crate::shell::telemetry::{EventKind, Severity};

/// The largest body of a command, in bytes.
const COMMAND_BYTES_MAX: usize = 4 * 1024;

type Shell = State<Arc<Shared>>;

/// The routes.
pub(super) fn routes() -> Router<Arc<Shared>> {
    let commands = Router::new()
        .route("/v1/admin/cluster/drain", post(async |shell: Shell, body: Body| drain(shell, body, true).await))
        .route("/v1/admin/cluster/undrain", post(async |shell: Shell, body: Body| drain(shell, body, false).await))
        .route("/v1/admin/cluster/forget", post(forget))
        .layer(DefaultBodyLimit::max(COMMAND_BYTES_MAX));
    Router::new().route("/v1/cluster", get(document)).merge(commands)
}

/// `GET /v1/cluster`
async fn document(State(shared): Shell) -> Answer {
    let status = shared.context.cluster.status();
    let mut document = status.as_deref().map_or_else(|| json!({}), |status| json!(status));
    if let Value::Object(fields) = &mut document {
        fields.insert("enabled".to_owned(), status.is_some().into());
    }
    json_text(document.to_string())
}

async fn drain(State(shared): Shell, body: Body, draining: bool) -> Result<Answer, Answer> {
    fields::<Nothing>(body)?;
    let command = if draining { "drain" } else { "undrain" };
    let outcome = shared.context.cluster.drain(draining).await;
    Ok(told(&shared, command, outcome))
}

/// Whom to forget.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Forget {
    node: NodeName,
}

async fn forget(State(shared): Shell, body: Body) -> Result<Answer, Answer> {
    let Forget { node } = fields(body)?;
    let command = format!("forget {node}");
    let outcome = shared.context.cluster.forget(node).await;
    Ok(told(&shared, &command, outcome))
}

fn told(shared: &Shared, command: &str, outcome: Result<String, ClusterRefused>) -> Answer {
    let context = &shared.context;
    match outcome {
        Ok(text) => {
            tracing::info!("an operator asked for cluster {command}: {text}");
            let data = json!({ "command": format!("cluster {command}") });
            context.events.publish(context.clock.wall(), EventKind::Operator, Severity::Info, text.clone(), data);
            json_text(json!({ "text": text }).to_string())
        }
        Err(refused) => {
            let status = match refused {
                ClusterRefused::NotRunning => StatusCode::SERVICE_UNAVAILABLE,
                ClusterRefused::Off | ClusterRefused::Refused(_) => StatusCode::CONFLICT,
            };
            problem_answer(status, "the cluster refuses this", refused.to_string())
        }
    }
}
