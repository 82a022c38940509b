//! Connections: TLS over TCP, and the admin socket. Accepting, bounds, timeouts, an orderly end.
//!
//! What must stay true: whatever a client does or doesn't send, its connection ends within the timeouts and holds no more
//! than the bounds; at a stop, requests under way get their answers.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::limiter::group;
use super::patient::Patient;
use super::problem::Problem;
use super::{Peer, operations};
use crate::manager::pki::PeerIdentity;

/// How long a TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long a request's head may take, and how long a connection may be idle between requests.
const HEAD: Duration = Duration::from_secs(30);
/// How long a client may take no byte of its answer.
const STALLED: Duration = Duration::from_secs(30);
/// How long a connection lives over which nobody said who they are.
const UNKNOWN: Duration = Duration::from_secs(60);
/// How long a request may take that goes through the whole database.
const SLOW: Duration = Duration::from_secs(3_600);
const HEADERS_MAX: usize = 64;
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// The front door: what all connections share.
#[derive(Clone)]
pub(crate) struct Door {
    pub(crate) router: Router,
    pub(crate) stop: CancellationToken,
    /// One permit per connection.
    pub(crate) places: Arc<Semaphore>,
    pub(crate) request_time: Duration,
    pub(crate) per_address: PerAddress,
}

/// Open connections by address (a /64 of IPv6 is one), each at most so many.
#[derive(Debug, Clone)]
pub(crate) struct PerAddress {
    max: usize,
    open: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// A connection's place among those of its address.
#[derive(Debug)]
struct Among {
    all: PerAddress,
    address: IpAddr,
}

impl PerAddress {
    pub(crate) fn new(max: u32) -> Self {
        Self { max: usize::try_from(max).unwrap_or(usize::MAX), open: Arc::default() }
    }

    fn enter(&self, address: IpAddr) -> Option<Among> {
        let address = group(address);
        let mut open = self.open.lock();
        let count = open.entry(address).or_default();
        if *count >= self.max {
            return None;
        }
        *count += 1;
        Some(Among { all: self.clone(), address })
    }
}

impl Drop for Among {
    fn drop(&mut self) {
        let mut open = self.all.open.lock();
        if let Some(count) = open.get_mut(&self.address) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                open.remove(&self.address);
            }
        }
    }
}

impl Door {
    /// Accepts TLS connections until the stop.
    pub(crate) async fn tls(self, listener: TcpListener, acceptor: TlsAcceptor) {
        loop {
            let accepted = tokio::select! {
                () = self.stop.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            let (stream, address) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    pause(&error).await;
                    continue;
                }
            };
            // One connection too many is closed at once: an answer would need a handshake first.
            let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
                tracing::warn!(%address, "a connection was closed: limits.connections_max are open");
                continue;
            };
            let Some(among) = self.per_address.enter(address.ip()) else {
                tracing::debug!(%address, "a connection was closed: limits.connections_per_address are open");
                continue;
            };
            // Small answers must not wait for more.
            let _ = stream.set_nodelay(true);
            let (door, acceptor) = (self.clone(), acceptor.clone());
            tokio::spawn(async move {
                match timeout(HANDSHAKE, acceptor.accept(stream)).await {
                    Ok(Ok(stream)) => {
                        let identity = PeerIdentity::of(stream.get_ref().1.peer_certificates());
                        door.serve(stream, peer(address.ip(), identity), place).await;
                        drop(among);
                    }
                    Ok(Err(error)) => tracing::debug!(%address, %error, "no TLS connection came about"),
                    Err(_) => tracing::debug!(%address, "a TLS handshake took too long"),
                }
            });
        }
    }

    /// Accepts connections of the admin socket until the stop.
    pub(crate) async fn unix(self, listener: UnixListener) {
        loop {
            let accepted = tokio::select! {
                () = self.stop.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, _)) => {
                    let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else { continue };
                    let (identity, known) = (PeerIdentity::default(), Arc::new(AtomicBool::new(true)));
                    let peer = Peer { address: None, identity, local: true, known };
                    let door = self.clone();
                    tokio::spawn(async move { door.serve(stream, peer, place).await });
                }
                Err(error) => pause(&error).await,
            }
        }
    }

    async fn serve<S>(self, stream: S, peer: Peer, _place: OwnedSemaphorePermit)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (router, request_time) = (self.router, self.request_time);
        let known = Arc::clone(&peer.known);
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(peer.clone());
            let router = router.clone();
            let slow = operations::is_slow(request.method(), request.uri().path());
            let request_time = if slow { SLOW } else { request_time };
            async move {
                let answer = router.oneshot(request.map(Body::new));
                Ok::<_, Infallible>(match timeout(request_time, answer).await {
                    Ok(Ok(response)) => response,
                    Ok(Err(never)) => match never {},
                    Err(_) => {
                        let detail = format!("no answer within {} s", request_time.as_secs());
                        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "it took too long", detail).later(10).response()
                    }
                })
            }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD)
            .max_headers(HEADERS_MAX)
            .max_buf_size(HEAD_BYTES_MAX)
            .serve_connection(TokioIo::new(Patient::new(stream, STALLED)), service);
        tokio::pin!(connection);
        let unknown = tokio::time::sleep(UNKNOWN);
        tokio::pin!(unknown);
        let mut stopping = false;
        let mut young = true;
        let result = loop {
            tokio::select! {
                biased;
                result = connection.as_mut() => break result,
                () = self.stop.cancelled(), if !stopping => {
                    stopping = true;
                    connection.as_mut().graceful_shutdown();
                }
                () = unknown.as_mut(), if young => {
                    young = false;
                    // After the answer that is under way, if one is.
                    if !known.load(Ordering::Relaxed) {
                        connection.as_mut().graceful_shutdown();
                    }
                }
            }
        };
        if let Err(error) = result {
            tracing::debug!(%error, "a connection ended with an error");
        }
    }
}

fn peer(address: IpAddr, identity: PeerIdentity) -> Peer {
    Peer { address: Some(address.to_canonical()), identity, local: false, known: Arc::default() }
}

/// What the system can't give now (no file descriptor is left, for instance) is tried again after a pause.
async fn pause(error: &io::Error) {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    if [ConnectionAborted, ConnectionReset, ConnectionRefused, Interrupted].contains(&error.kind()) {
        return;
    }
    tracing::warn!(%error, "can't accept a connection");
    tokio::time::sleep(Duration::from_millis(50)).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_so_many_places_and_gets_them_back() {
        let all = PerAddress::new(2);
        let one: IpAddr = "2001:db8::1".parse().unwrap();
        let first = all.enter(one).unwrap();
        let _second = all.enter("2001:db8::2".parse().unwrap()).unwrap();
        assert!(all.enter(one).is_none());
        let other = all.enter("192.0.2.1".parse().unwrap());
        assert!(other.is_some());
        drop((first, other));
        assert!(all.enter(one).is_some());
        assert_eq!(all.open.lock().len(), 1, "nobody is remembered who has no connection");
    }
}
