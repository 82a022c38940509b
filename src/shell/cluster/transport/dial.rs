//! The side that dials: again and again, at once after a connection that was well, ever more rarely after failures.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use quinn::{Connection, ConnectionError};
use tokio::time::{sleep, timeout};

use super::accept::of_error;
use super::link::Link;
use super::tls::{self, Refusal, Verdict};
use super::{Close, HANDSHAKE, Shared, server_name};
use crate::cluster::NodeName;
use crate::shell::clock::Clock;

/// The first and the longest pause between two tries.
const PAUSE: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(5)];
/// A connection that lasted so long was well.
const WELL_NANOS: u64 = 10_000_000_000;
/// One that was closed to be made anew with other certificates lasted at least so long, or it is a failure like others.
const ROTATED_NANOS: u64 = 1_000_000_000;
/// So many addresses of one name are tried.
const ADDRESSES_MAX: usize = 4;

/// Whom to dial.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) name: NodeName,
    pub(super) address: String,
}

/// The pauses between tries.
#[derive(Debug)]
struct Pauses(Duration);

impl Pauses {
    const fn new() -> Self {
        let [first, _] = PAUSE;
        Self(first)
    }

    /// The next pause: half of it certain, half of it by chance, so that nodes that lost each other at once don't come back
    /// at once. `chance` is 0 to 255.
    fn next(&mut self, chance: u8) -> Duration {
        let [_, longest] = PAUSE;
        let pause = self.0;
        self.0 = (pause * 2).min(longest);
        pause / 2 + (pause / 2) * u32::from(chance) / 255
    }
}

/// Dials until it is aborted.
pub(super) async fn run(shared: Arc<Shared>, target: Target) {
    let mut pauses = Pauses::new();
    loop {
        let rotated = shared.rotated.notified();
        match connect(&shared, &target).await {
            Ok(link) => {
                let ended = link.run(&shared).await;
                let lasted = Clock.tick().nanos_since(link.since);
                if lasted >= WELL_NANOS {
                    pauses = Pauses::new();
                }
                let rotated = matches!(&ended, ConnectionError::LocallyClosed)
                    || matches!(&ended, ConnectionError::ApplicationClosed(close)
                        if close.error_code == Close::Rotated.code());
                if rotated && lasted >= ROTATED_NANOS {
                    continue;
                }
                if refused_late(&ended) {
                    refused(&shared, &target, Refusal::ByPeer, link.remote());
                }
            }
            Err(reason) => shared.failed(&target.name, &reason),
        }
        let mut chance = [0];
        // Without chance the pause is the shortest.
        let _ = getrandom::fill(&mut chance);
        let [chance] = chance;
        tokio::select! {
            () = sleep(pauses.next(chance)) => {}
            () = rotated => {}
        }
    }
}

/// The dialing side sees its connection stand before the other side has judged its certificate.
fn refused_late(ended: &ConnectionError) -> bool {
    match ended {
        ConnectionError::ConnectionClosed(_) => true,
        ConnectionError::ApplicationClosed(close) => close.error_code == Close::Removed.code(),
        ConnectionError::VersionMismatch
        | ConnectionError::TransportError(_)
        | ConnectionError::Reset
        | ConnectionError::TimedOut
        | ConnectionError::LocallyClosed
        | ConnectionError::CidsExhausted => false,
    }
}

fn refused(shared: &Shared, target: &Target, refusal: Refusal, address: SocketAddr) {
    shared.refused(refusal, target.name.as_str(), Some(address));
    shared.failed(&target.name, refusal.text());
}

async fn connect(shared: &Shared, target: &Target) -> Result<Arc<Link>, String> {
    let resolved = timeout(HANDSHAKE, tokio::net::lookup_host(target.address.as_str())).await;
    let addresses = match resolved {
        Ok(Ok(addresses)) => addresses,
        Ok(Err(error)) => return Err(format!("{} has no address: {error}", target.address)),
        Err(_) => return Err(format!("{} has no address within 5 s", target.address)),
    };
    let mut reason = format!("{} has no address", target.address);
    for address in addresses.take(ADDRESSES_MAX) {
        match dial(shared, target, address).await {
            Ok(connection) => match Link::new(shared, connection) {
                Some(link) if link.peer == target.name => return Ok(Arc::new(link)),
                Some(_) | None => {
                    refused(shared, target, Refusal::OtherName, address);
                    reason = Refusal::OtherName.text().to_owned();
                }
            },
            Err(error) => reason = error,
        }
    }
    Err(reason)
}

async fn dial(shared: &Shared, target: &Target, address: SocketAddr) -> Result<Connection, String> {
    let verdict = Arc::new(Verdict::default());
    let identity = shared.identity.load_full();
    let config = tls::client(&identity, &shared.transport, Arc::clone(&verdict))?;
    let name = server_name(&target.name).ok_or("its name is no DNS name")?;
    let connecting =
        shared.endpoint.connect_with(config, address, &name).map_err(|error| format!("{address}: {error}"))?;
    match timeout(HANDSHAKE, connecting).await {
        Ok(Ok(connection)) => Ok(connection),
        Ok(Err(error)) => {
            let by_certificate = verdict.take();
            if let Some((refusal, name)) = &by_certificate {
                shared.refused(*refusal, name, Some(address));
                return Err(format!("{address}: {} (it calls itself {name:?})", refusal.text()));
            }
            if of_error(&error) == Refusal::ByPeer {
                shared.refused(Refusal::ByPeer, target.name.as_str(), Some(address));
                return Err(format!("{address}: {}", Refusal::ByPeer.text()));
            }
            Err(format!("{address}: {error}"))
        }
        Err(_) => Err(format!("{address} doesn't answer")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_five_seconds_and_half_of_each_is_by_chance() {
        let mut pauses = Pauses::new();
        let pauses: Vec<u128> = (0..8).map(|_| pauses.next(255).as_millis()).collect();
        assert_eq!(pauses, [100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        assert_eq!(Pauses::new().next(0).as_millis(), 50);
    }
}
