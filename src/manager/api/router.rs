//! From the table of operations to a router.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{RawPathParams, Request};
use axum::http::header::CONTENT_TYPE;
use axum::http::{Response, StatusCode};
use axum::routing::{MethodFilter, on};
use http_body_util::{BodyExt, LengthLimitError, Limited};

use super::operation::{Ask, BODY_BYTES_MAX, Content, Needs, Operation, Reply, Verb};
use super::problem::{Problem, with_body};
use super::{Api, Peer, agent, auth, operations};
use crate::manager::domain::{Actor, OperatorRefused, Role};
use crate::protocol::{ENVELOPE_BYTES_MAX, Endpoint};

/// The router of both APIs.
pub(crate) fn router(api: &Arc<Api>) -> Router {
    let mut router = Router::new();
    for operation in operations::all() {
        let filter = match operation.verb {
            Verb::Get => MethodFilter::GET,
            Verb::Post => MethodFilter::POST,
            Verb::Patch => MethodFilter::PATCH,
            Verb::Delete => MethodFilter::DELETE,
        };
        let api = Arc::clone(api);
        let handler = move |parts: RawPathParams, request: Request| {
            let api = Arc::clone(&api);
            async move {
                let response = dispatch(&api, operation, &parts, request).await;
                api.requests.count(operation.id, response.status());
                response
            }
        };
        router = router.route(operation.path, on(filter, handler));
    }
    for endpoint in Endpoint::ALL {
        let api = Arc::clone(api);
        let handler = move |request: Request| {
            let api = Arc::clone(&api);
            async move {
                let peer = peer_of(&request);
                let body = whole(request, ENVELOPE_BYTES_MAX).await;
                let response = agent::answer(&api, endpoint, &peer, body).await;
                api.requests.count(endpoint.path(), response.status());
                response
            }
        };
        router = router.route(endpoint.path(), on(MethodFilter::POST, handler));
    }
    router
        .fallback(|| async {
            Problem::new(StatusCode::NOT_FOUND, "no such path", "GET /openapi.json names them all").response()
        })
        .method_not_allowed_fallback(|| async {
            let detail = "the Allow header names the methods of this path";
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "the path has no such method", detail).response()
        })
}

fn peer_of(request: &Request) -> Peer {
    // Every connection puts it in; without it, nobody is trusted.
    request.extensions().get::<Peer>().cloned().unwrap_or_else(|| Peer {
        address: None,
        identity: crate::manager::pki::PeerIdentity::default(),
        local: false,
        known: Arc::default(),
    })
}

/// The whole body, if it is within the bound.
async fn whole(request: Request, bytes_max: usize) -> Result<Bytes, Problem> {
    let body = Limited::new(request.into_body(), bytes_max).collect().await;
    body.map(http_body_util::Collected::to_bytes).map_err(|error| {
        if error.downcast_ref::<LengthLimitError>().is_some() {
            let detail = format!("at most {bytes_max} bytes are read");
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "the body is too large", detail)
        } else {
            Problem::bad("the body ended early")
        }
    })
}

async fn dispatch(api: &Arc<Api>, operation: Operation, parts: &RawPathParams, request: Request) -> Response<Body> {
    match run(api, operation, parts, request).await {
        Ok(reply) => {
            let status = StatusCode::from_u16(operation.status).unwrap_or(StatusCode::OK);
            match (reply, operation.content) {
                (Reply::Json(value), Content::Json(_) | Content::Empty | Content::Text(_)) => {
                    with_body(status, "application/json", value.to_string())
                }
                (Reply::Text(text), Content::Text(content_type)) => with_body(status, content_type, text),
                (Reply::Text(text), Content::Json(_) | Content::Empty) => with_body(status, "text/plain", text),
                (Reply::Empty, Content::Json(_) | Content::Empty | Content::Text(_)) => {
                    let mut response = with_body(StatusCode::NO_CONTENT, "text/plain", Body::empty());
                    response.headers_mut().remove(CONTENT_TYPE);
                    response
                }
            }
        }
        Err(problem) => {
            if problem.status().is_server_error() {
                tracing::warn!(operation = operation.id, ?problem, "an operation failed");
            }
            problem.response()
        }
    }
}

async fn run(api: &Arc<Api>, operation: Operation, parts: &RawPathParams, request: Request) -> Result<Reply, Problem> {
    let peer = peer_of(&request);
    let bearer = auth::bearer(request.headers()).map(|secret| zeroize::Zeroizing::new(secret.to_owned()));
    let actor = match operation.needs {
        Needs::Nothing => Actor { name: "anybody".to_owned(), role: Role::Viewer, address: peer.address },
        Needs::Role(needs) => {
            let actor = auth::actor(api, &peer, request.headers()).await?;
            if actor.role < needs {
                return Err(OperatorRefused::Forbidden { found: actor.role, needs }.into());
            }
            actor
        }
    };
    let query = query_of(operation, request.uri().query().unwrap_or_default())?;
    let path: BTreeMap<String, String> =
        parts.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    for (name, value) in path.iter().chain(&query) {
        if value.contains('\0') {
            return Err(Problem::field(name, "a NUL character", "text without NUL characters"));
        }
    }
    let is_json = request.headers().get(CONTENT_TYPE).is_some_and(|value| {
        value.to_str().is_ok_and(|value| {
            value.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
        })
    });
    let body = whole(request, BODY_BYTES_MAX).await?;
    if operation.body.is_some() && !is_json {
        let detail = "send Content-Type: application/json";
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "the body's type can't be read", detail));
    }
    if operation.body.is_none() && !body.is_empty() && body.as_ref() != b"{}" {
        return Err(Problem::bad("this operation takes no body"));
    }
    let ask = Ask { api: Arc::clone(api), peer, actor, bearer, path, query, body };
    (operation.handler)(ask).await
}

fn query_of(operation: Operation, text: &str) -> Result<BTreeMap<String, String>, Problem> {
    let mut found = BTreeMap::new();
    for (name, value) in url::form_urlencoded::parse(text.as_bytes()) {
        if !operation.query.iter().any(|(known, ..)| *known == name) {
            let known: Vec<&str> = operation.query.iter().map(|(name, ..)| *name).collect();
            let known = if known.is_empty() { "no query parameters".to_owned() } else { known.join(", ") };
            return Err(Problem::field("query", &name, &known));
        }
        if found.insert(name.to_string(), value.to_string()).is_some() {
            return Err(Problem::field(&name, "it twice", "it once"));
        }
    }
    Ok(found)
}
