//! Who may ask what over HTTP.

use std::time::Duration;

use hyper::header::{AUTHORIZATION, HOST, HeaderValue, ORIGIN, WWW_AUTHENTICATE};
use hyper::{Request, Response, StatusCode};

use super::super::shared::Shared;
use super::{Body, Origin, problem};
use crate::shell::config::Role;

/// How long a wrong token waits for its answer.
pub(super) const PENALTY: Duration = Duration::from_millis(250);

/// What a path asks of a token; `None`: nothing.
fn needed(path: &str) -> Option<Role> {
    if path.starts_with("/v1/admin/") || path == "/v1/admin" {
        return Some(Role::Admin);
    }
    // Whoever balances load knows no secrets, and learns none here.
    if matches!(path, "/healthz" | "/readyz") { None } else { Some(Role::Admission) }
}

/// Why a request isn't let through; `None`: it is.
pub(super) fn check<B>(request: &Request<B>, shared: &Shared, origin: Origin) -> Option<Response<Body>> {
    match origin {
        Origin::AdminSocket => return None,
        Origin::Tcp => {}
    }
    if from_another_site(request) {
        return Some(problem::plain(
            StatusCode::FORBIDDEN,
            "the request comes from a page of another site",
            "its Origin header names another host than its Host header; leave Origin out, or ask from a page served here",
        ));
    }
    let needed = needed(request.uri().path())?;
    let access = shared.access.load();
    if access.http_tokens.is_empty() {
        return match needed {
            Role::Admission => None,
            Role::Admin => Some(problem::plain(
                StatusCode::FORBIDDEN,
                "administration is closed here",
                "use the admin socket, or set listen.tokens_file and send an admin token",
            )),
        };
    }
    let sent = request.headers().get(AUTHORIZATION).and_then(bearer);
    match sent.and_then(|token| access.role_of(token)) {
        Some(role) if role >= needed => None,
        Some(_) => Some(problem::plain(
            StatusCode::FORBIDDEN,
            "this token is for admission only",
            "use an admin token, or the admin socket",
        )),
        None => {
            shared.context.counters.front(origin.front()).auth_failures.inc();
            let mut refused = problem::plain(
                StatusCode::UNAUTHORIZED,
                "a token is needed",
                if sent.is_some() {
                    "the token sent isn't one of the configured ones"
                } else {
                    "send Authorization: Bearer <token>"
                },
            );
            refused.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"callgate\""));
            Some(refused)
        }
    }
}

/// Whether a browser says that a page of another host sent it: such a page must not ask on behalf of who looks at it, for
/// whom loopback is open without a token.
fn from_another_site<B>(request: &Request<B>) -> bool {
    let Some(origin) = request.headers().get(ORIGIN) else { return false };
    // `null`, which hides where it comes from, is no host of ours either.
    let origin = origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, host)| host);
    let host = request.headers().get(HOST).and_then(|host| host.to_str().ok());
    !matches!((origin, host), (Some(origin), Some(host)) if origin.eq_ignore_ascii_case(host))
}

fn bearer(header: &HeaderValue) -> Option<&[u8]> {
    let (scheme, token) = header.as_bytes().split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}
