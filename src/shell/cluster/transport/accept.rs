//! The side that waits to be dialed.

use std::sync::Arc;

use quinn::{ConnectionError, Incoming};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::link::Link;
use super::tls::{self, Refusal, Verdict};
use super::{Close, HANDSHAKE, Shared};

/// So many handshakes at once; the rest isn't answered.
const HANDSHAKES_MAX: usize = 64;
/// With so many under way, who dials must first show that its address is its own.
const HANDSHAKES_UNPROVEN_MAX: usize = 8;

/// Takes connections until the endpoint is closed.
pub(super) async fn run(shared: Arc<Shared>) {
    let handshakes = Arc::new(Semaphore::new(HANDSHAKES_MAX));
    while let Some(incoming) = shared.endpoint.accept().await {
        let under_way = HANDSHAKES_MAX - handshakes.available_permits();
        if under_way >= HANDSHAKES_UNPROVEN_MAX && !incoming.remote_address_validated() && incoming.may_retry() {
            // It may always be asked to retry: that was looked at.
            let _ = incoming.retry();
            continue;
        }
        let Ok(permit) = Arc::clone(&handshakes).try_acquire_owned() else {
            shared.counters.handshakes_dropped.count();
            incoming.ignore();
            continue;
        };
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            let link = greet(&shared, incoming).await;
            drop(permit);
            if let Some(link) = link {
                link.run(&shared).await;
            }
        });
    }
}

async fn greet(shared: &Shared, incoming: Incoming) -> Option<Arc<Link>> {
    let address = incoming.remote_address();
    let verdict = Arc::new(Verdict::default());
    let identity = shared.identity.load_full();
    let config = match tls::server(&identity, &shared.transport, Arc::clone(&verdict)) {
        Ok(config) => config,
        Err(error) => {
            tracing::error!("a peer at {address} is not answered: {error}");
            incoming.ignore();
            return None;
        }
    };
    let shaken = async { incoming.accept_with(Arc::new(config))?.await };
    let connection = match timeout(HANDSHAKE, shaken).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => {
            let (refusal, name) = verdict.take().unwrap_or((of_error(&error), String::new()));
            shared.refused(refusal, &name, Some(address));
            return None;
        }
        Err(_) => {
            shared.refused(Refusal::Handshake, "", Some(address));
            return None;
        }
    };
    let Some(link) = Link::new(shared, connection.clone()) else {
        shared.refused(Refusal::Malformed, "", Some(address));
        connection.close(Close::Removed.code(), Close::Removed.text());
        return None;
    };
    if !shared.knows(&link.peer) {
        shared.refused(Refusal::Unknown, link.peer.as_str(), Some(address));
        link.close(Close::Removed);
        return None;
    }
    if link.peer > shared.node {
        // One connection for a pair: the lower name dials.
        shared.refused(Refusal::Handshake, link.peer.as_str(), Some(address));
        link.close(Close::NotYours);
        return None;
    }
    Some(Arc::new(link))
}

/// Why a handshake failed that no certificate explains.
pub(super) fn of_error(error: &ConnectionError) -> Refusal {
    match error {
        // The other side's alert comes in its CONNECTION_CLOSE.
        ConnectionError::ConnectionClosed(_) => Refusal::ByPeer,
        ConnectionError::VersionMismatch
        | ConnectionError::TransportError(_)
        | ConnectionError::ApplicationClosed(_)
        | ConnectionError::Reset
        | ConnectionError::TimedOut
        | ConnectionError::LocallyClosed
        | ConnectionError::CidsExhausted => Refusal::Handshake,
    }
}
