//! Live calls, for people.

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::response::Response as Answer;
use hyper::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::super::shared::Shared;
use super::router::{bad_query, json_text, off_the_reactor, problem_answer};
use crate::admission::{CallView, Phase};
use crate::codec::http::{call_key, encode};
use crate::units::{Now, Tick, UnixMillis};

/// Calls in one answer unless the query says otherwise.
const LIMIT_DEFAULT: usize = 100;
/// Calls in one answer at most.
const LIMIT_MAX: usize = 1_000;

/// `?cursor=&limit=`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    #[serde(default)]
    cursor: u64,
    limit: Option<usize>,
}

/// One call.
#[derive(Debug, Serialize)]
struct Call {
    key: String,
    id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id_hex: Option<String>,
    kind: &'static str,
    phase: Phase,
    suspect: bool,
    emergency: bool,
    forced: bool,
    webrtc: bool,
    seq: Option<u32>,
    trunk: Option<String>,
    tenant: Option<String>,
    proxy: Option<String>,
    #[serde(rename = "type")]
    license_type: Option<String>,
    license_tier: Option<String>,
    units: u16,
    admitted_at: UnixMillis,
    lease_left_s: u64,
}

fn wall_of(tick: Tick, now: Now) -> UnixMillis {
    UnixMillis(now.wall.0.saturating_sub(now.tick.nanos_since(tick) / 1_000_000))
}

impl Call {
    fn of(view: CallView, now: Now) -> Self {
        let (id, id_hex) = match view.id.map(String::from_utf8) {
            None => (None, None),
            Some(Ok(text)) => (Some(text), None),
            Some(Err(bytes)) => (None, Some(encode::hex(bytes.as_bytes()))),
        };
        Self {
            key: encode::call_key(view.key),
            id,
            id_hex,
            kind: if view.registration { "registration" } else { "call" },
            phase: view.phase,
            suspect: view.suspect,
            emergency: view.emergency,
            forced: view.forced,
            webrtc: view.webrtc,
            seq: view.seq,
            trunk: view.trunk,
            tenant: view.tenant,
            proxy: view.proxy,
            license_type: view.license_type,
            license_tier: view.license_tier,
            units: view.units,
            admitted_at: wall_of(view.admitted_at, now),
            lease_left_s: view.lease_ends_at.nanos_since(now.tick) / crate::units::NANOS_PER_SECOND,
        }
    }
}

/// `GET /v1/calls`
pub(super) async fn list(
    State(shared): State<Arc<Shared>>,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Answer, Answer> {
    let Query(query) = query.map_err(|rejection| bad_query(&rejection))?;
    let limit = query.limit.unwrap_or(LIMIT_DEFAULT);
    if !(1..=LIMIT_MAX).contains(&limit) {
        let detail = format!("limit: found {limit}; accepted is 1 to {LIMIT_MAX}");
        return Err(problem_answer(StatusCode::BAD_REQUEST, "the query can't be understood", detail));
    }
    off_the_reactor(&shared, move |shared| {
        let now = shared.context.clock.now();
        let (views, next) = shared.context.gate.calls(query.cursor, limit, now);
        let calls: Vec<Call> = views.into_iter().map(|view| Call::of(view, now)).collect();
        // A string: a cursor may be beyond what some JSON readers keep exactly.
        json_text(json!({ "calls": calls, "next_cursor": next.map(|next| next.to_string()) }).to_string())
    })
    .await
}

/// `GET /v1/calls/{key}`
pub(super) async fn one(State(shared): State<Arc<Shared>>, Path(key): Path<String>) -> Result<Answer, Answer> {
    let Some(parsed) = call_key(key.as_bytes()) else {
        let detail = format!("key: found {} characters; accepted are 32 hexadecimal digits", key.chars().count());
        return Err(problem_answer(StatusCode::BAD_REQUEST, "the key can't be understood", detail));
    };
    let now = shared.context.clock.now();
    match shared.context.gate.call_by_key(parsed, now) {
        Some(view) => Ok(json_text(serde_json::to_string(&Call::of(view, now)).unwrap_or_default())),
        None => Err(problem_answer(StatusCode::NOT_FOUND, "no such call", format!("no live call has the key {key}"))),
    }
}
