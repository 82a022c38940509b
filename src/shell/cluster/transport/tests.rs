use std::net::UdpSocket;
use std::path::Path;

use tempfile::TempDir;
use tokio::time::timeout;

use super::*;
use crate::cluster::{Anchor, Census, Incarnation};
use crate::shell::cluster::ca;
use crate::shell::cluster::identity::IdentityFiles;

const PATIENCE: Duration = Duration::from_secs(20);
const DAY_MS: u64 = 86_400_000;

/// An authority's directory, with certificates of these nodes from that time on.
fn authority(names: &[&str], now: UnixMillis) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    ca::init(dir.path(), now).unwrap();
    for name in names {
        ca::issue(dir.path(), &node(name), now).unwrap();
    }
    dir
}

fn node(name: &str) -> NodeName {
    name.parse().unwrap()
}

fn identity_by(ca: &Path, dir: &Path, name: &str) -> Identity {
    let files = IdentityFiles {
        ca: ca.join(ca::CA_CERTIFICATE),
        certificate: dir.join(format!("{name}.pem")),
        key: dir.join(format!("{name}.key")),
    };
    Identity::read(&files, &node(name), Clock.wall()).unwrap()
}

struct Node {
    transport: Transport,
    events: mpsc::Receiver<LinkEvent>,
}

impl Node {
    fn start(identity: Identity) -> Self {
        let (sender, events) = mpsc::channel(EVENTS_MAX);
        let socket = Transport::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        Self { transport: Transport::start(socket, identity, &[], sender).unwrap(), events }
    }

    fn of(dir: &TempDir, name: &str) -> Self {
        Self::start(identity_by(dir.path(), dir.path(), name))
    }

    fn entry(&self) -> (NodeName, String) {
        (self.transport.shared.node.clone(), self.transport.address().unwrap().to_string())
    }

    async fn next(&mut self) -> LinkEvent {
        timeout(PATIENCE, self.events.recv()).await.expect("nothing came").unwrap()
    }

    /// Drops what comes until `wanted` comes.
    async fn until(&mut self, wanted: impl Fn(&LinkEvent) -> bool) -> LinkEvent {
        loop {
            let event = self.next().await;
            if wanted(&event) {
                return event;
            }
        }
    }

    async fn up(&mut self) {
        self.until(|event| matches!(event, LinkEvent::Up(_))).await;
    }

    /// Waits until a refusal was counted here.
    async fn refused(&self, refusal: Refusal) {
        let counted = || {
            let figures = self.transport.figures();
            figures.refused.iter().any(|(label, count)| *label == refusal.label() && *count > 0)
        };
        timeout(PATIENCE, async {
            while !counted() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await
        .unwrap_or_else(|_| panic!("{refusal:?} was not counted: {:?}", self.transport.figures()));
    }
}

fn know(a: &Node, b: &Node) {
    b.transport.set_peers(&[a.entry()]);
    a.transport.set_peers(&[b.entry()]);
}

fn beat(number: u64) -> Message {
    Message::Census(Census { about: "sip-c".parse().unwrap(), anchor: Anchor(number), inc: Incarnation(1) })
}

async fn pair() -> (TempDir, Node, Node) {
    let dir = authority(&["sip-a", "sip-b"], Clock.wall());
    let (mut a, mut b) = (Node::of(&dir, "sip-a"), Node::of(&dir, "sip-b"));
    know(&a, &b);
    a.up().await;
    b.up().await;
    (dir, a, b)
}

#[tokio::test]
async fn messages_and_datagrams_come_under_the_name_in_the_certificate() {
    let (_dir, mut a, mut b) = pair().await;
    a.transport.send(&node("sip-b"), &beat(7)).unwrap();
    let LinkEvent::Message(from, message) = b.next().await else { panic!("no message") };
    assert_eq!((from, *message), (node("sip-a"), beat(7)));
    b.transport.send_datagram(&node("sip-a"), b"hello".to_vec());
    let LinkEvent::Datagram(from, bytes) = a.next().await else { panic!("no datagram") };
    assert_eq!((from, bytes.as_ref()), (node("sip-b"), &b"hello"[..]));
    let states = a.transport.peers();
    assert!(states[0].round_trip.is_some() && states[0].certificate_ends.is_some(), "{states:?}");
}

#[tokio::test]
async fn a_peer_of_another_authority_is_refused_by_both_sides() {
    let (ours, theirs) = (authority(&["sip-a"], Clock.wall()), authority(&["sip-b"], Clock.wall()));
    let (a, b) = (Node::of(&ours, "sip-a"), Node::of(&theirs, "sip-b"));
    know(&a, &b);
    a.refused(Refusal::Foreign).await;
    let failure = a.transport.peers()[0].failure.clone().unwrap();
    assert!(failure.contains("another authority") && failure.contains("sip-b"), "{failure}");
    // The side that waits judges too: an attacker that dials accepts any server.
    let both = tempfile::tempdir().unwrap();
    let authorities = [ours.path(), theirs.path()].map(|dir| std::fs::read(dir.join(ca::CA_CERTIFICATE)).unwrap());
    std::fs::write(both.path().join(ca::CA_CERTIFICATE), authorities.concat()).unwrap();
    let gullible = identity_by(both.path(), ours.path(), "sip-a");
    let dialer = Node::start(gullible);
    b.transport.set_peers(&[dialer.entry()]);
    dialer.transport.set_peers(&[b.entry()]);
    b.refused(Refusal::Foreign).await;
}

#[tokio::test]
async fn an_expired_certificate_is_refused() {
    let long_ago = UnixMillis(Clock.wall().0 - 500 * DAY_MS);
    let dir = authority(&["sip-b"], long_ago);
    ca::issue(dir.path(), &node("sip-a"), Clock.wall()).unwrap();
    let (a, b) = (Node::of(&dir, "sip-a"), Node::of(&dir, "sip-b"));
    know(&a, &b);
    a.refused(Refusal::Expired).await;
    b.refused(Refusal::ByPeer).await;
}

#[tokio::test]
async fn a_member_that_is_not_configured_here_is_refused() {
    let dir = authority(&["sip-a", "sip-b"], Clock.wall());
    let (a, mut b) = (Node::of(&dir, "sip-a"), Node::of(&dir, "sip-b"));
    a.transport.set_peers(&[b.entry()]);
    b.refused(Refusal::Unknown).await;
    assert!(b.events.try_recv().is_err(), "nothing of it reached the driver");
    b.transport.set_peers(&[a.entry()]);
    b.up().await;
}

#[tokio::test]
async fn a_second_node_with_this_nodes_name_is_refused() {
    let dir = authority(&["sip-a", "sip-b"], Clock.wall());
    let b = Node::of(&dir, "sip-b");
    // Dials as a lower name would, with the certificate of the very node that it dials.
    let impostor = Node::of(&dir, "sip-b");
    let target = dial::Target { name: node("sip-b"), address: b.entry().1 };
    let dialing = tokio::spawn(dial::run(Arc::clone(&impostor.transport.shared), target));
    b.refused(Refusal::OwnName).await;
    dialing.abort();
}

#[tokio::test]
async fn certificates_change_under_way_on_either_side() {
    let (dir, mut a, mut b) = pair().await;
    let fresh = |name: &str| {
        for end in ["pem", "key"] {
            std::fs::remove_file(dir.path().join(format!("{name}.{end}"))).unwrap();
        }
        let later = UnixMillis(Clock.wall().0 + 600_000);
        ca::issue(dir.path(), &node(name), later).unwrap();
        identity_by(dir.path(), dir.path(), name)
    };
    let same = identity_by(dir.path(), dir.path(), "sip-a");
    a.transport.set_identity(same);
    assert!(a.transport.peers()[0].connected_to.is_some(), "the same certificate changes nothing");
    for dialing in [true, false] {
        let before = if dialing { b.transport.peers() } else { a.transport.peers() }[0].certificate_ends;
        if dialing {
            a.transport.set_identity(fresh("sip-a"))
        } else {
            b.transport.set_identity(fresh("sip-b"))
        }
        a.up().await;
        b.up().await;
        let after = if dialing { b.transport.peers() } else { a.transport.peers() }[0].certificate_ends;
        assert!(after > before, "the new certificate is seen: {before:?} {after:?}");
    }
}

#[tokio::test]
async fn a_peer_that_comes_back_is_connected_again() {
    let (dir, mut a, b) = pair().await;
    let address = b.transport.address().unwrap();
    b.transport.stop().await;
    a.until(|event| matches!(event, LinkEvent::Down(_))).await;
    a.transport.send(&node("sip-b"), &beat(1)).unwrap();
    assert_eq!(a.transport.figures().unconnected, 1);
    let (sender, events) = mpsc::channel(EVENTS_MAX);
    let identity = identity_by(dir.path(), dir.path(), "sip-b");
    // The tasks of the first one end a moment later.
    let socket = loop {
        match Transport::bind(address) {
            Ok(socket) => break socket,
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    };
    let transport = Transport::start(socket, identity, &[a.entry()], sender).unwrap();
    let mut b = Node { transport, events };
    a.up().await;
    b.up().await;
    a.transport.send(&node("sip-b"), &beat(2)).unwrap();
    b.until(|event| matches!(event, LinkEvent::Message(_, message) if **message == beat(2))).await;
}

#[tokio::test]
async fn garbage_at_the_port_is_harmless() {
    let (_dir, a, mut b) = pair().await;
    let noise = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = b.transport.address().unwrap();
    for at in 0..2000_u32 {
        let length = usize::try_from(at % 1400).unwrap();
        let bytes: Vec<u8> = (0..length).map(|place| u8::try_from((place * 31 + length) % 256).unwrap()).collect();
        noise.send_to(&bytes, address).unwrap();
    }
    a.transport.send(&node("sip-b"), &beat(3)).unwrap();
    b.until(|event| matches!(event, LinkEvent::Message(_, message) if **message == beat(3))).await;
}

#[tokio::test]
async fn a_peer_that_sends_frames_without_end_is_disconnected_and_counted() {
    let (_dir, mut a, mut b) = pair().await;
    let link = a.transport.shared.link_of(&node("sip-b")).unwrap();
    let slot = Slot::of(&beat(1));
    assert_eq!(link.outbox.put(slot, vec![0xff; 64]), Put::Queued);
    b.until(|event| matches!(event, LinkEvent::Down(_))).await;
    assert_eq!(b.transport.figures().garbled, [("too long", 1)]);
    a.until(|event| matches!(event, LinkEvent::Down(_))).await;
}

#[tokio::test]
async fn a_certificate_that_ends_while_it_is_connected_ends_the_connection() {
    let (_dir, mut a, b) = pair().await;
    b.transport.expire(Clock.wall());
    assert!(b.transport.peers()[0].connected_to.is_some());
    b.transport.expire(UnixMillis(Clock.wall().0 + 400 * DAY_MS));
    a.until(|event| matches!(event, LinkEvent::Down(_))).await;
    b.refused(Refusal::Expired).await;
}

#[tokio::test]
async fn a_name_that_two_processes_use_in_turn_is_told() {
    let (dir, a, mut b) = pair().await;
    let mut others = vec![a];
    for _ in 0..3 {
        let another = Node::of(&dir, "sip-a");
        another.transport.set_peers(&[b.entry()]);
        b.up().await;
        others.push(another);
    }
    let told = b.until(|event| matches!(event, LinkEvent::NameTwice(..))).await;
    let LinkEvent::NameTwice(name, seen) = told else { unreachable!() };
    assert_eq!(name, node("sip-a"));
    assert!(seen.contains(" and 127.0.0.1:"), "{seen}");
}
