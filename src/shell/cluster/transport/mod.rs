//! The way to the peers: QUIC, one connection for each pair of nodes, both sides known by certificate.
//!
//! | module | what it does |
//! |---|---|
//! | `tls` | judges a peer's certificate, and remembers why one was refused |
//! | `outbox` | what waits to be sent to a peer: bounded, the newest word on each matter alone |
//! | `link` | one connection: a stream in each direction, datagrams |
//! | `dial` | the lower name of a pair dials, again and again, ever more rarely |
//! | `accept` | the higher name waits |
//! | `counters` | figures |
//!
//! What must stay true: nothing reaches the driver but from a peer that is configured, under the name in its certificate;
//! whatever arrives, memory stays bounded; a peer that doesn't take what is sent costs nobody else anything.

mod accept;
mod counters;
mod dial;
mod link;
mod outbox;
mod tls;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use quinn::{Endpoint, EndpointConfig, IdleTimeout, TokioRuntime, TransportConfig, VarInt};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio_util::bytes::Bytes;

use self::link::Link;
use self::outbox::{Put, Slot};
use super::ca::dns_name;
use super::identity::Identity;
use crate::cluster::{Message, NodeName, WireError, encode_message};
use crate::shell::clock::Clock;
use crate::sync::{AtomicU64, Mutex, Ordering};
use crate::units::{Tick, UnixMillis};

pub use self::counters::{Counters, Figures};
pub use self::tls::Refusal;

/// A peer that says nothing for so long is not connected any more.
const IDLE: Duration = Duration::from_secs(5);
/// Something is said so often, if only that one is there.
const KEEP_ALIVE: Duration = Duration::from_secs(1);
/// A handshake may take so long.
pub(super) const HANDSHAKE: Duration = Duration::from_secs(5);
/// What may wait for the driver.
pub const EVENTS_MAX: usize = 4096;
/// The same refusal is told so often.
const TOLD_NANOS: u64 = 60_000_000_000;
/// So many different refusals are told.
const TOLD_MAX: usize = 256;

/// Why a connection is closed on purpose, as the other side sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Close {
    /// The node stops.
    Stop,
    /// A newer connection of the same pair takes its place.
    Replaced,
    /// The certificates were changed: dial again.
    Rotated,
    /// The peer isn't configured here any more.
    Removed,
    /// What came is no message of ours.
    Garbled,
    /// The other side should have waited to be dialed.
    NotYours,
    /// The peer's certificate has expired.
    Expired,
}

impl Close {
    const ALL: [(Self, u32, &'static str); 7] = [
        (Self::Stop, 0, "stop"),
        (Self::Replaced, 1, "replaced"),
        (Self::Rotated, 2, "rotated"),
        (Self::Removed, 3, "removed"),
        (Self::Garbled, 4, "garbled"),
        (Self::NotYours, 5, "not yours to dial"),
        (Self::Expired, 6, "expired"),
    ];

    pub(super) fn code(self) -> VarInt {
        let found = Self::ALL.iter().find(|(close, ..)| *close == self);
        VarInt::from_u32(found.map_or(0, |(_, code, _)| *code))
    }

    pub(super) fn text(self) -> &'static [u8] {
        let found = Self::ALL.iter().find(|(close, ..)| *close == self);
        found.map_or(&[], |(_, _, text)| text.as_bytes())
    }
}

/// What the driver hears of the peers.
#[derive(Debug)]
pub enum LinkEvent {
    /// A connection came up, perhaps in place of another.
    Up(NodeName),
    /// The connection is gone.
    Down(NodeName),
    /// A message came on the stream.
    Message(NodeName, Box<Message>),
    /// A datagram came.
    Datagram(NodeName, Bytes),
    /// Two processes seem to have this name, here is where they were seen.
    NameTwice(NodeName, String),
}

/// How a peer is connected, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerState {
    /// Who.
    pub name: NodeName,
    /// Where, as configured.
    pub address: String,
    /// The connection's other end, while there is one.
    pub connected_to: Option<SocketAddr>,
    /// Since when, by the boot clock.
    pub since: Option<Tick>,
    /// A round trip, smoothed.
    pub round_trip: Option<Duration>,
    /// When the peer's certificate ends.
    pub certificate_ends: Option<UnixMillis>,
    /// Why there is no connection, as far as is known.
    pub failure: Option<String>,
}

/// What a node knows of one configured peer.
#[derive(Debug)]
struct Peer {
    address: String,
    link: Option<Arc<Link>>,
    dialer: Option<JoinHandle<()>>,
    failure: Option<String>,
    /// When its connection was taken over by another address while it lived.
    taken_over: Vec<Tick>,
}

/// What the tasks share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) node: NodeName,
    pub(super) endpoint: Endpoint,
    pub(super) transport: Arc<TransportConfig>,
    pub(super) identity: ArcSwap<Identity>,
    pub(super) events: mpsc::Sender<LinkEvent>,
    pub(super) counters: Counters,
    /// Told when the identity changed: who waits for the next try tries at once.
    pub(super) rotated: Notify,
    peers: Mutex<BTreeMap<NodeName, Peer>>,
    told: Mutex<HashMap<String, Tick>>,
    links: AtomicU64,
}

/// Why there is no way to the peers.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// The address is taken, or not this host's.
    #[error("cluster.listen: cannot listen on {address} (UDP): {source}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The identity can't be used for QUIC.
    #[error("the cluster's certificates cannot be used: {0}")]
    Tls(String),
}

/// The way to the peers.
#[derive(Debug)]
pub struct Transport {
    shared: Arc<Shared>,
    acceptor: JoinHandle<()>,
}

impl Transport {
    /// Takes the address, and says nothing yet.
    ///
    /// # Errors
    /// If it cannot be had.
    pub fn bind(listen: SocketAddr) -> Result<UdpSocket, TransportError> {
        UdpSocket::bind(listen).map_err(|source| TransportError::Bind { address: listen, source })
    }

    /// Listens, and dials whom it has to. Call it inside a runtime.
    ///
    /// # Errors
    /// If the socket or the identity isn't usable.
    pub fn start(
        socket: UdpSocket,
        identity: Identity,
        peers: &[(NodeName, String)],
        events: mpsc::Sender<LinkEvent>,
    ) -> Result<Self, TransportError> {
        let address = socket.local_addr().unwrap_or_else(|_| SocketAddr::from(([0, 0, 0, 0], 0)));
        let bound = |source| TransportError::Bind { address, source };
        let transport = Arc::new(transport_config());
        let identity = Arc::new(identity);
        let server = tls::server(&identity, &transport, Arc::default()).map_err(TransportError::Tls)?;
        let endpoint =
            Endpoint::new(EndpointConfig::default(), Some(server), socket, Arc::new(TokioRuntime)).map_err(bound)?;
        let shared = Arc::new(Shared {
            node: identity.node.clone(),
            endpoint,
            transport,
            identity: ArcSwap::new(identity),
            events,
            counters: Counters::default(),
            rotated: Notify::new(),
            peers: Mutex::new(BTreeMap::new()),
            told: Mutex::new(HashMap::new()),
            links: AtomicU64::new(0),
        });
        let acceptor = tokio::spawn(accept::run(Arc::clone(&shared)));
        let transport = Self { shared, acceptor };
        transport.set_peers(peers);
        Ok(transport)
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.shared.endpoint.local_addr().ok()
    }

    /// Puts a message in line for a peer, in place of an older one on the same matter. Without a connection it is dropped:
    /// it is said again.
    ///
    /// # Errors
    /// If the message is longer than any may be.
    pub fn send(&self, to: &NodeName, message: &Message) -> Result<(), WireError> {
        let counters = &self.shared.counters;
        let Some(link) = self.shared.link_of(to) else {
            counters.unconnected.count();
            return Ok(());
        };
        let bytes = encode_message(message)?;
        match link.outbox.put(Slot::of(message), bytes) {
            Put::Queued => {}
            Put::Replaced => counters.replaced.count(),
            Put::Overflowed => counters.overflowed.count(),
        }
        Ok(())
    }

    /// Sends a datagram, which may be lost.
    pub fn send_datagram(&self, to: &NodeName, bytes: Vec<u8>) {
        let counters = &self.shared.counters;
        let Some(link) = self.shared.link_of(to) else {
            counters.unconnected.count();
            return;
        };
        match link.connection.send_datagram(bytes.into()) {
            Ok(()) => counters.datagrams_sent.count(),
            // Too large for the path, or the connection ends: hints are said again.
            Err(_) => counters.datagrams_failed.count(),
        }
    }

    /// Takes another certificate, key and authorities. Every connection is made anew with them.
    pub fn set_identity(&self, identity: Identity) {
        if self.shared.identity.load().same(&identity) {
            return;
        }
        self.shared.identity.store(Arc::new(identity));
        for peer in self.shared.peers.lock().values_mut() {
            if let Some(link) = peer.link.take() {
                link.close(Close::Rotated);
            }
        }
        self.shared.rotated.notify_waiters();
    }

    /// Takes the configured peers: new ones are dialed, those that are gone are disconnected.
    pub fn set_peers(&self, peers: &[(NodeName, String)]) {
        let mut known = self.shared.peers.lock();
        known.retain(|name, peer| {
            let stays = peers.iter().any(|(other, address)| other == name && *address == peer.address);
            if !stays {
                if let Some(dialer) = peer.dialer.take() {
                    dialer.abort();
                }
                if let Some(link) = peer.link.take() {
                    link.close(Close::Removed);
                }
            }
            stays
        });
        for (name, address) in peers {
            if *name == self.shared.node || known.contains_key(name) {
                continue;
            }
            let dialer = (self.shared.node < *name).then(|| {
                let to = dial::Target { name: name.clone(), address: address.clone() };
                tokio::spawn(dial::run(Arc::clone(&self.shared), to))
            });
            let peer = Peer { address: address.clone(), link: None, dialer, failure: None, taken_over: Vec::new() };
            known.insert(name.clone(), peer);
        }
    }

    /// Ends connections whose certificate ended since they were made. Every minute or so.
    pub fn expire(&self, now: UnixMillis) {
        let links: Vec<_> = self.shared.peers.lock().values().filter_map(|peer| peer.link.clone()).collect();
        for link in links.iter().filter(|link| link.certificate_ends < now) {
            self.shared.refused(Refusal::Expired, link.peer.as_str(), Some(link.remote()));
            link.close(Close::Expired);
        }
    }

    /// How each peer is connected.
    #[must_use]
    pub fn peers(&self) -> Vec<PeerState> {
        let peers = self.shared.peers.lock();
        let state = |(name, peer): (&NodeName, &Peer)| {
            let link = peer.link.as_ref();
            PeerState {
                name: name.clone(),
                address: peer.address.clone(),
                connected_to: link.map(|link| link.remote()),
                since: link.map(|link| link.since),
                round_trip: link.map(|link| link.connection.rtt()),
                certificate_ends: link.map(|link| link.certificate_ends),
                failure: peer.failure.clone().filter(|_| link.is_none()),
            }
        };
        peers.iter().map(state).collect()
    }

    /// When this node's certificate ends.
    #[must_use]
    pub fn certificate_ends(&self) -> UnixMillis {
        self.shared.identity.load().not_after
    }

    /// Figures.
    #[must_use]
    pub fn figures(&self) -> Figures {
        self.shared.counters.read()
    }

    /// Says good-bye, and waits a moment until it is heard.
    pub async fn stop(self) {
        self.acceptor.abort();
        for (_, peer) in std::mem::take(&mut *self.shared.peers.lock()) {
            if let Some(dialer) = peer.dialer {
                dialer.abort();
            }
        }
        self.shared.endpoint.close(Close::Stop.code(), Close::Stop.text());
        // Who doesn't hear it notices the silence.
        let _ = tokio::time::timeout(Duration::from_secs(1), self.shared.endpoint.wait_idle()).await;
    }
}

impl Drop for Transport {
    fn drop(&mut self) {
        self.acceptor.abort();
        for peer in self.shared.peers.lock().values_mut() {
            if let Some(dialer) = peer.dialer.take() {
                dialer.abort();
            }
        }
        self.shared.endpoint.close(Close::Stop.code(), Close::Stop.text());
    }
}

impl Shared {
    fn link_of(&self, peer: &NodeName) -> Option<Arc<Link>> {
        self.peers.lock().get(peer)?.link.clone()
    }

    /// Whether a peer is configured.
    fn knows(&self, peer: &NodeName) -> bool {
        self.peers.lock().contains_key(peer)
    }

    /// A number for a new link.
    fn next_link(&self) -> u64 {
        // Relaxed: numbers need only differ.
        self.links.fetch_add(1, Ordering::Relaxed)
    }

    /// Puts a link in place; the one that was there ends. `false` if the peer isn't configured any more.
    async fn install(&self, link: &Arc<Link>) -> bool {
        let twice = {
            let mut peers = self.peers.lock();
            let Some(peer) = peers.get_mut(&link.peer) else { return false };
            let before = peer.link.replace(Arc::clone(link));
            peer.failure = None;
            before.and_then(|before| {
                let seen = format!("{} and {}", before.remote(), link.remote());
                // A process that was killed and came back replaces its own connection; now and then, that is.
                let elsewhere = before.remote() != link.remote() && before.connection.close_reason().is_none();
                before.close(Close::Replaced);
                peer.taken_over.retain(|at| link.since.nanos_since(*at) < TOLD_NANOS);
                peer.taken_over.extend(elsewhere.then_some(link.since));
                (elsewhere && peer.taken_over.len() >= 3).then(|| {
                    peer.taken_over.clear();
                    seen
                })
            })
        };
        // The receiver is gone when the node stops.
        let _ = self.events.send(LinkEvent::Up(link.peer.clone())).await;
        if let Some(seen) = twice {
            let _ = self.events.send(LinkEvent::NameTwice(link.peer.clone(), seen)).await;
        }
        true
    }

    /// Takes a link away that ended, unless another one is in its place.
    async fn remove(&self, link: &Link, reason: &str) {
        let was_there = {
            let mut peers = self.peers.lock();
            let Some(peer) = peers.get_mut(&link.peer) else { return };
            peer.failure = Some(reason.to_owned());
            let replaced = peer.link.as_ref().is_some_and(|there| there.number != link.number);
            if !replaced {
                peer.link = None;
            }
            !replaced
        };
        if was_there {
            let _ = self.events.send(LinkEvent::Down(link.peer.clone())).await;
        }
    }

    /// Why a peer isn't connected, for people.
    fn failed(&self, peer: &NodeName, reason: &str) {
        if let Some(peer) = self.peers.lock().get_mut(peer) {
            peer.failure = Some(reason.to_owned());
        }
    }

    /// A peer was refused: counted, and told if it wasn't told a moment ago.
    pub(super) fn refused(&self, refusal: Refusal, name: &str, address: Option<SocketAddr>) {
        self.counters.refused(refusal);
        let address = address.map_or_else(|| "an unknown address".to_owned(), |address| address.to_string());
        let ip_only = address.rsplit_once(':').map_or(address.as_str(), |(ip, _)| ip);
        if self.tell(format!("{} {name} {ip_only}", refusal.label())) {
            tracing::warn!("a peer is refused: {} (it calls itself {name:?}, from {address})", refusal.text());
        }
    }

    /// Whether something is to be told now: the same at most once a minute.
    pub(super) fn tell(&self, what: String) -> bool {
        let now = Clock.tick();
        let mut told = self.told.lock();
        told.retain(|_, at| now.nanos_since(*at) < TOLD_NANOS);
        if told.len() >= TOLD_MAX || told.contains_key(&what) {
            return false;
        }
        told.insert(what, now);
        true
    }
}

fn transport_config() -> TransportConfig {
    let mut config = TransportConfig::default();
    config
        // One stream in each direction.
        .max_concurrent_uni_streams(VarInt::from_u32(1))
        .max_concurrent_bidi_streams(VarInt::from_u32(0))
        .stream_receive_window(VarInt::from_u32(64 * 1024))
        .receive_window(VarInt::from_u32(128 * 1024))
        .send_window(128 * 1024)
        .datagram_receive_buffer_size(Some(256 * 1024))
        .datagram_send_buffer_size(64 * 1024)
        .initial_rtt(Duration::from_millis(50))
        .keep_alive_interval(Some(KEEP_ALIVE));
    if let Ok(idle) = IdleTimeout::try_from(IDLE) {
        config.max_idle_timeout(Some(idle));
    }
    config
}

/// Whether a name can be dialed: TLS knows DNS names alone.
pub(super) fn server_name(node: &NodeName) -> Option<String> {
    dns_name(node).ok().map(|_| node.as_str().to_owned())
}
