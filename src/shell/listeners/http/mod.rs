//! The HTTP front end: HTTP/1.1 with keep-alive, on a thread and runtime of its own; TCP, and the admin socket.
//!
//! What proxies ask all day (`/v1/admit` and its like) is answered by [`lean`] before any router looks at it; the rest goes
//! through axum. Timeouts are the sweeper's (see [`super::peers`]): a connection carries no timer.

mod admin;
mod auth;
mod calls;
mod cluster;
mod events;
mod io;
mod lean;
mod license;
mod openapi;
mod problem;
mod refused_head;
mod router;

use std::convert::Infallible;
use std::io::Result;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body as RouterBody;
use http_body_util::{Either, Full};
use hyper::body::{Body as _, Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;

use self::io::GuardedIo;
use super::accept;
use super::peers::{ALLOWANCE_BYTES, Entered, Peer, Peers, Wait};
use super::shared::Shared;
use super::socket::{Bound, Stream};
use crate::shell::telemetry::{ClosedConnection, FrontEnd};

/// The most headers of a request.
const HEADERS_MAX: usize = 64;

/// Bytes of a request's head.
/// No more than every connection's allowance: hyper's own buffer is not taken from the budget.
const HEAD_BYTES_MAX: usize = ALLOWANCE_BYTES;

/// Where a request came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// TCP: what is allowed depends on the token.
    Tcp,
    /// The admin socket: who can open it may do everything.
    AdminSocket,
}

impl Origin {
    const fn front(self) -> FrontEnd {
        match self {
            Self::Tcp => FrontEnd::Http,
            Self::AdminSocket => FrontEnd::Admin,
        }
    }

    fn peers(self, shared: &Shared) -> &Arc<Peers> {
        match self {
            Self::Tcp => &shared.http,
            Self::AdminSocket => &shared.admin,
        }
    }
}

/// An answer's body: whole, or as the router streams it.
type Body = Either<Full<Bytes>, RouterBody>;

/// Runs the front end until the front ends stop and its connections have ended.
pub(super) async fn run(shared: Arc<Shared>, tcp: Option<Bound>, admin: Option<Bound>) -> Result<()> {
    let router = router::build(&shared);
    for (origin, socket) in [(Origin::Tcp, tcp), (Origin::AdminSocket, admin)] {
        let Some(socket) = socket else { continue };
        let listener = socket.into_listener()?;
        tokio::spawn(Arc::clone(origin.peers(&shared)).sweep_forever());
        let (shared, router) = (Arc::clone(&shared), router.clone());
        tokio::spawn(async move {
            let stop = shared.stop.clone();
            let take_stream = |stream| take(&shared, &router, origin, stream);
            accept::forever(&listener, &stop, &take_stream).await;
        });
    }
    shared.stop.cancelled().await;
    while shared.http.open() + shared.admin.open() > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

fn take(shared: &Arc<Shared>, router: &axum::Router, origin: Origin, stream: Stream) {
    match origin.peers(shared).enter(stream) {
        Ok(entered) => {
            tokio::spawn(serve(entered, Arc::clone(shared), router.clone(), origin));
        }
        Err(stream) => {
            let body = r#"{"status":503,"title":"too many connections","detail":"close some, or raise listen.connections_max"}"#;
            let answer = format!(
                "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\ncontent-length: {}\r\n\
                 connection: close\r\n\r\n{body}",
                body.len()
            );
            let _ = stream.try_write(answer.as_bytes());
        }
    }
}

/// Serves a connection to its end.
async fn serve(mut entered: Entered, shared: Arc<Shared>, router: axum::Router, origin: Origin) {
    let peer = Arc::clone(&entered.peer);
    let io = GuardedIo::new(Arc::clone(&peer), Arc::clone(&shared), origin);
    let stop = shared.stop.clone();
    let service = service_fn(|request| {
        let (shared, router, peer) = (Arc::clone(&shared), router.clone(), Arc::clone(&peer));
        async move { Ok::<_, Infallible>(answer(request, shared, router, peer, origin).await) }
    });
    // Not `pipeline_flush`: a head that can't be understood then ends the connection with its own answer, and those to the
    // requests before it, unwritten.
    let connection = http1::Builder::new()
        .header_read_timeout(None)
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(io), service);
    tokio::pin!(connection);
    let mut stopping = false;
    let result = loop {
        tokio::select! {
            biased;
            result = connection.as_mut() => break result,
            () = stop.cancelled(), if !stopping => {
                stopping = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    };
    entered.ends_for(match result {
        Ok(()) if stopping => ClosedConnection::Drain,
        Ok(()) => ClosedConnection::Client,
        Err(error) if error.is_parse_too_large() => ClosedConnection::TooLarge,
        Err(error) if error.is_parse() => ClosedConnection::Protocol,
        Err(error) if error.is_incomplete_message() || error.is_closed() => ClosedConnection::Client,
        Err(_) => ClosedConnection::Io,
    });
}

async fn answer(
    request: Request<Incoming>,
    shared: Arc<Shared>,
    router: axum::Router,
    peer: Arc<Peer>,
    origin: Origin,
) -> Response<Body> {
    let response = match auth::check(&request, &shared, origin) {
        Some(refused) => {
            // Guessing tokens must be slow.
            peer.waits(Wait::Us, origin.peers(&shared).coarse());
            tokio::time::sleep(auth::PENALTY).await;
            refused
        }
        None => match lean::operation(&request) {
            Some(operation) => lean::answer(operation, request, &shared, &peer, origin).await,
            None => router::answer(router, request, &shared, &peer, origin).await,
        },
    };
    // Streams have no length; their number is limited, and they hold one event at a time.
    let length = response.body().size_hint().exact().and_then(|length| usize::try_from(length).ok());
    let held = origin.peers(&shared).hold(&peer, length.unwrap_or(0));
    // From now on it is for the client to read.
    peer.waits(Wait::Reader, origin.peers(&shared).coarse());
    if held { response } else { problem::no_buffers() }
}
