//! Admission over HTTP, without a router: path, fields, gate, answer.

use std::sync::Arc;

use http_body_util::BodyExt;
use hyper::body::{Body as _, Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::{Method, Request, Response, StatusCode};

use super::super::decision_log;
use super::super::peers::{Peer, Wait};
use super::super::shared::Shared;
use super::{Body, Origin, problem};
use crate::admission::{Answer, Decision, ProxyEpoch, Request as Asked, ResyncError};
use crate::codec::http::{Body as FieldsBody, Decoded, Fields, Operation, Resync, Target, reply};
use crate::shell::Phase;
use crate::shell::telemetry::log::call_id;
use crate::shell::telemetry::{Command, EventKind, Severity};

const JSON: &str = "application/json";

/// Bytes above the limit of a body that are taken and thrown away before its request is answered.
const DISCARDED_BYTES_MAX: usize = 1024 * 1024;

/// What the path asks, if it is for this module.
pub(super) fn operation<B>(request: &Request<B>) -> Option<Operation> {
    Operation::from_path(request.uri().path())
}

/// Answers.
pub(super) async fn answer(
    operation: Operation,
    request: Request<Incoming>,
    shared: &Arc<Shared>,
    peer: &Peer,
    origin: Origin,
) -> Response<Body> {
    if request.method() != Method::POST {
        let mut refused = problem::plain(StatusCode::METHOD_NOT_ALLOWED, "wrong method", "use POST");
        refused.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
        return refused;
    }
    let kind = match BodyKind::of(request.headers().get(CONTENT_TYPE)) {
        Some(kind) => kind,
        None => {
            return problem::plain(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "the body's type isn't known here",
                "send application/json or application/x-www-form-urlencoded, or the fields as query parameters",
            );
        }
    };
    let (head, body) = request.into_parts();
    let bytes =
        match whole(body, shared.limits.http_body_bytes_max, |bytes| origin.peers(shared).hold(peer, bytes)).await {
            Ok(bytes) => bytes,
            Err(refused) => return refused,
        };
    peer.waits(Wait::Us, origin.peers(shared).coarse());
    let counters = shared.context.counters.front(origin.front());
    let fields = Fields::read(operation, head.uri.query().unwrap_or(""), kind.body(&bytes));
    let decoded = match fields.as_ref().map_err(Clone::clone).and_then(Fields::decode) {
        Ok(decoded) => decoded,
        Err(error) => {
            counters.protocol_errors.inc();
            return problem::field(&error);
        }
    };
    match shared.context.phase() {
        Phase::Starting => {
            return problem::plain(StatusCode::SERVICE_UNAVAILABLE, "not ready", "the sidecar is starting");
        }
        Phase::Ready | Phase::Draining => {}
    }
    match decoded {
        Decoded::Decide(asked) => decide(&asked, shared, origin),
        Decoded::Refresh(ids) => {
            let requests: Vec<Asked<'_>> = ids.iter().map(|id| Asked::Refresh { id: *id }).collect();
            counters.commands(Command::Refresh, 1);
            let mut known = 0;
            shared.context.gate.run(&requests, shared.context.clock.now(), |answer| match answer {
                Answer::Known(yes) => known += usize::from(yes),
                Answer::Decision(_) => {}
            });
            ok(reply::refreshed(known))
        }
        Decoded::Proxy(proxy, epoch) => {
            counters.commands(Command::Proxy, 1);
            match shared.context.gate.proxy_epoch(proxy, epoch, shared.context.clock.now()) {
                ProxyEpoch::New => {
                    shared.tell_epoch(proxy.bytes(), epoch);
                    ok(reply::accepted())
                }
                ProxyEpoch::Known => ok(reply::accepted()),
                ProxyEpoch::Full => {
                    problem::plain(StatusCode::SERVICE_UNAVAILABLE, "no room", "too many proxies are known")
                }
            }
        }
        Decoded::Resync(step) => {
            counters.commands(Command::Resync, 1);
            resync(step, shared).await
        }
        Decoded::ReleaseCall(target) => {
            counters.commands(Command::Admin, 1);
            release_call(target, shared)
        }
    }
}

/// How the body carries the fields.
#[derive(Clone, Copy, PartialEq, Eq)]
enum BodyKind {
    Json,
    Form,
}

impl BodyKind {
    /// No type at all is taken for JSON; `None`: it is a type that can't be read.
    fn of(content_type: Option<&HeaderValue>) -> Option<Self> {
        let Some(value) = content_type else { return Some(Self::Json) };
        let essence = value.as_bytes().split(|byte| *byte == b';').next().unwrap_or(&[]).trim_ascii();
        let ends_with_json =
            essence.len() > 5 && essence.iter().rev().zip(b"nosj+").all(|(a, b)| a.eq_ignore_ascii_case(b));
        if essence.eq_ignore_ascii_case(JSON.as_bytes()) || ends_with_json {
            Some(Self::Json)
        } else if essence.eq_ignore_ascii_case(b"application/x-www-form-urlencoded") {
            Some(Self::Form)
        } else {
            None
        }
    }

    fn body(self, bytes: &[u8]) -> FieldsBody<'_> {
        if bytes.is_empty() {
            return FieldsBody::None;
        }
        match self {
            Self::Json => FieldsBody::Json(bytes),
            // What curl's -d sends by default: an object is an object, whatever it is called.
            Self::Form if bytes.starts_with(b"{") => FieldsBody::Json(bytes),
            Self::Form => FieldsBody::Form(bytes),
        }
    }
}

/// The whole body, or the answer that says why not. `hold` takes what it buffers from the front end's budget.
async fn whole(mut body: Incoming, max: usize, hold: impl Fn(usize) -> bool) -> Result<Bytes, Response<Body>> {
    let too_large = || {
        let detail = format!("a body has at most {max} bytes");
        problem::plain(StatusCode::PAYLOAD_TOO_LARGE, "the body is too large", &detail)
    };
    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    if body.size_hint().lower() > u64::try_from(max + DISCARDED_BYTES_MAX).unwrap_or(u64::MAX) {
        return Err(too_large());
    }
    let (mut bytes, mut seen) = (Bytes::new(), 0_usize);
    let mut parts = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            let detail = "its framing is wrong, or it ended early";
            return Err(problem::plain(StatusCode::BAD_REQUEST, "the body broke off", detail));
        };
        // Trailers say nothing here.
        let Ok(data) = frame.into_data() else { continue };
        seen = seen.saturating_add(data.len());
        if seen > max {
            // Thrown away, so that a client that writes first and reads then learns why.
            (bytes, parts) = (Bytes::new(), Vec::new());
            if seen > max + DISCARDED_BYTES_MAX {
                return Err(too_large());
            }
        } else if bytes.is_empty() {
            bytes = data;
        } else {
            parts.extend_from_slice(&data);
        }
        if !hold(bytes.len() + parts.capacity()) {
            return Err(problem::no_buffers());
        }
    }
    if seen > max {
        return Err(too_large());
    }
    // Nearly always it came in one piece, and nothing is copied.
    if parts.is_empty() { Ok(bytes) } else { Ok([&bytes[..], &parts].concat().into()) }
}

fn ok(body: String) -> Response<Body> {
    problem::with_body(StatusCode::OK, JSON, body)
}

fn decide(asked: &Asked<'_>, shared: &Shared, origin: Origin) -> Response<Body> {
    let counters = shared.context.counters.front(origin.front());
    let (command, release) = match asked {
        Asked::Admit(_) => (Command::Admit, false),
        Asked::Confirm { .. } => (Command::Confirm, false),
        Asked::Release { .. } => (Command::Release, true),
        Asked::Refresh { .. } => (Command::Refresh, false),
    };
    let now = shared.context.clock.now();
    let mut answer = Answer::Known(false);
    shared.context.gate.run(std::slice::from_ref(asked), now, |given| answer = given);
    if decision_log::on() {
        decision_log::tell(asked, &answer);
    }
    counters.commands(command, 1);
    counters.decided(1, shared.context.clock.tick().nanos_since(now.tick));
    match answer {
        Answer::Decision(decision) => decided(&decision),
        Answer::Known(known) if release => ok(reply::released(known)),
        Answer::Known(known) => ok(reply::known(known)),
    }
}

fn decided(decision: &Decision) -> Response<Body> {
    let mut body = String::with_capacity(112);
    reply::decision(&mut body, decision);
    let status = if decision.admitted { StatusCode::OK } else { StatusCode::TOO_MANY_REQUESTS };
    let mut response = problem::with_body(status, JSON, body);
    if !decision.admitted && decision.retry_after_s > 0 {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(decision.retry_after_s));
    }
    response
}

async fn resync(step: Resync<'_>, shared: &Arc<Shared>) -> Response<Body> {
    let context = &shared.context;
    let now = context.clock.now();
    let result = match step {
        Resync::Begin(proxy) => context.gate.resync_begin(proxy, now).map(reply::token),
        Resync::Add(token, ids) => {
            ids.iter().try_for_each(|id| context.gate.resync_add(token, *id, now)).map(|()| reply::added(ids.len()))
        }
        Resync::Abort(token) => context.gate.resync_abort(token, now).map(|()| {
            shared.tell_resync(None);
            r#"{"aborted":true}"#.to_owned()
        }),
        Resync::End(token) => {
            // It walks the whole table.
            let walker = Arc::clone(shared);
            let walk = move || walker.context.gate.resync_end(token, walker.context.clock.now());
            match tokio::task::spawn_blocking(walk).await {
                Ok(ended) => ended.map(|outcome| {
                    shared.tell_resync(Some(outcome));
                    reply::outcome(&outcome)
                }),
                Err(_) => {
                    return problem::plain(
                        StatusCode::INTERNAL_SERVER_ERROR,
                        "the resync failed",
                        "inside the sidecar",
                    );
                }
            }
        }
    };
    match result {
        Ok(body) => ok(body),
        Err(error @ ResyncError::UnknownToken) => {
            problem::plain(StatusCode::CONFLICT, "the resync isn't open", &error.to_string())
        }
        Err(error @ ResyncError::Full) => {
            problem::plain(StatusCode::SERVICE_UNAVAILABLE, "no room", &error.to_string())
        }
    }
}

/// An operator frees a call.
fn release_call(target: Target<'_>, shared: &Shared) -> Response<Body> {
    let gate = &shared.context.gate;
    let now = shared.context.clock.now();
    let call = match target {
        Target::Key(key) => gate.call_by_key(key, now),
        Target::Id(id) => gate.call(id, now),
    };
    let key = match target {
        Target::Key(key) => Some(key),
        Target::Id(_) => call.as_ref().map(|call| call.key),
    };
    let released = key.is_some_and(|key| gate.release_by_key(key, now));
    if let (true, Some(key)) = (released, key) {
        let key = crate::codec::http::encode::call_key(key);
        let id = match (&target, call.as_ref().and_then(|call| call.id.as_deref())) {
            (Target::Id(id), _) => id.bytes(),
            (Target::Key(_), id) => id.unwrap_or_default(),
        };
        tracing::info!(key, id = %call_id(id), "an operator released a call");
        shared.context.events.publish(
            now.wall,
            EventKind::Operator,
            Severity::Info,
            format!("An operator released call {key}."),
            serde_json::json!({ "command": "release", "key": key }),
        );
    }
    ok(reply::released(released))
}
