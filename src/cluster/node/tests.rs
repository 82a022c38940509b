#![expect(clippy::wildcard_enum_match_arm, reason = "a test looks at what it is about, and at nothing else")]
mod lives;
mod storm;

use super::*;
use crate::cluster::action::Event;
use crate::cluster::ids::{Epoch, LedgerId};
use crate::cluster::message::Hello;
use crate::cluster::params::Parameters;
use crate::cluster::presence::Refused;
use crate::cluster::resource::{Class, Kind, Licenses, Resource};
use crate::cluster::rules::Rules;
use crate::limits::{InUse, Lease, Offered, Used};

fn name(text: &str) -> NodeName {
    text.parse().unwrap()
}

const SESSIONS: ResourceIndex = ResourceIndex(0);
const HARD: ResourceIndex = ResourceIndex(1);

fn resources() -> Vec<Resource> {
    [("session", Class::License), ("export", Class::Hard)]
        .map(|(text, class)| Resource {
            id: ResourceId { name: text.into(), kind: Kind::Session, class },
            limit_max: None,
            headroom: 0,
        })
        .into()
}

/// Sessions that start and end as a test says.
#[derive(Debug, Clone)]
struct Calls {
    lease: [Lease; 2],
    used: [u32; 2],
    refused: [u32; 2],
    attempts: [u32; 2],
}

impl Calls {
    const fn new() -> Self {
        Self { lease: [Lease::fixed(0); 2], used: [0; 2], refused: [0; 2], attempts: [0; 2] }
    }

    fn limit(&self, of: usize, now: Tick) -> u32 {
        let lease = self.lease[of];
        if lease.valid_until.is_some_and(|until| now >= until) { lease.floor } else { lease.limit }
    }

    /// As many as wanted, as far as the limit goes.
    fn want(&mut self, of: usize, wanted: u32, now: Tick) {
        self.used[of] = self.used[of].min(wanted);
        let more = wanted - self.used[of];
        let admitted = more.min(self.limit(of, now).saturating_sub(self.used[of]));
        self.used[of] += admitted;
        self.attempts[of] += more;
        self.refused[of] += more - admitted;
    }
}

impl Pools for Calls {
    fn used(&self, resource: ResourceIndex, _now: Tick) -> Used {
        Used { used: self.used[resource.0], forced: 0 }
    }

    fn take_offered(&mut self, resource: ResourceIndex) -> Offered {
        let (attempts, refused) = (&mut self.attempts[resource.0], &mut self.refused[resource.0]);
        Offered { attempts: std::mem::take(attempts), refused: std::mem::take(refused) }
    }

    fn set(&mut self, resource: ResourceIndex, limit: Lease, _now: Tick) {
        self.lease[resource.0] = limit;
    }

    fn try_lower(&mut self, resource: ResourceIndex, limit: Lease, _now: Tick) -> Result<(), InUse> {
        let in_use = self.used[resource.0];
        if in_use > limit.limit {
            return Err(InUse { used: in_use });
        }
        self.lease[resource.0] = limit;
        Ok(())
    }
}

struct Node {
    cluster: Cluster,
    calls: Calls,
    disk: Ledger,
    wanted: [u32; 2],
    told: Vec<Event>,
    acks: Vec<(ResourceId, Epoch, Licenses)>,
}

/// Nodes on a network that delivers at once, what isn't cut; a disk that writes at once.
struct Net {
    now: Tick,
    nodes: BTreeMap<NodeName, Node>,
    all: Vec<NodeName>,
    cut: BTreeSet<NodeName>,
    links: BTreeSet<(NodeName, NodeName)>,
    params: Parameters,
    disk_stops: bool,
}

impl Net {
    fn new(names: &[&str], params: Parameters) -> Self {
        let mut net = Self {
            now: Tick::from_secs(1000),
            nodes: BTreeMap::new(),
            all: names.iter().map(|text| name(text)).collect(),
            cut: BTreeSet::new(),
            links: BTreeSet::new(),
            params,
            disk_stops: false,
        };
        for (place, text) in names.iter().enumerate() {
            let id = LedgerId(u128::try_from(place).unwrap() + 1);
            net.start(text, Ledger { id, inc: Incarnation(1), records: BTreeMap::new() });
        }
        net
    }

    fn start(&mut self, text: &str, ledger: Ledger) {
        let node = name(text);
        let peers = self.all.iter().filter(|other| **other != node).cloned().collect();
        let setup = Setup {
            node: node.clone(),
            peers,
            resources: resources(),
            params: self.params.clone(),
            seed: u64::try_from(ledger.id.0).unwrap() + ledger.inc.0,
            rules: Rules::default(),
        };
        let mut calls = Calls::new();
        let cluster = Cluster::new(setup, ledger.clone(), self.now, &mut calls);
        let fresh = Node { cluster, calls, disk: ledger, wanted: [0; 2], told: Vec::new(), acks: Vec::new() };
        self.nodes.insert(node.clone(), fresh);
        self.links.retain(|(one, other)| *one != node && *other != node);
    }

    fn grant(&mut self, text: &str, of: ResourceIndex, epoch: u64, home: u32) {
        let now = self.now;
        let grant = HomeGrant { epoch: Epoch(epoch), home: Licenses(home), fixed_share: Licenses(2), not_after: None };
        self.with(text, |node| node.cluster.handle_grant(of, grant, now, &mut node.calls));
    }

    fn with<R>(&mut self, text: &str, act: impl FnOnce(&mut Node) -> R) -> R {
        let result = act(self.nodes.get_mut(&name(text)).unwrap());
        self.deliver();
        result
    }

    fn deliver(&mut self) {
        let now = self.now;
        for _ in 0..200 {
            let mut sent = Vec::new();
            for (from, node) in &mut self.nodes {
                while let Some(action) = node.cluster.poll_action() {
                    match action {
                        Action::Persist { batch, records } => {
                            if self.disk_stops {
                                continue;
                            }
                            for record in records {
                                node.disk.records.insert(record.key(), record);
                            }
                            node.cluster.handle_persisted(batch, now, &mut node.calls);
                        }
                        Action::Send { .. } | Action::Gossip { .. } => sent.push((from.clone(), action)),
                        Action::Tell(event) => node.told.push(event),
                        Action::GrantAck { resource, epoch, effective } => node.acks.push((resource, epoch, effective)),
                    }
                }
            }
            if sent.is_empty() {
                return;
            }
            for (from, action) in sent {
                let (Action::Send { to, .. } | Action::Gossip { to, .. }) = &action else { continue };
                let to = to.clone();
                if self.cut.contains(&from) || self.cut.contains(&to) {
                    continue;
                }
                let linked = self.links.contains(&(from.clone(), to.clone()));
                let Some(node) = self.nodes.get_mut(&to) else { continue };
                match action {
                    Action::Send { message, .. } if linked => {
                        node.cluster.handle_message(&from, message, now, &mut node.calls);
                    }
                    Action::Gossip { bytes, .. } => node.cluster.handle_datagram(&from, &bytes, now),
                    _ => {}
                }
            }
        }
    }

    /// Connections come up and go with the network.
    fn link(&mut self) {
        let names: Vec<NodeName> = self.nodes.keys().cloned().collect();
        for one in &names {
            for other in names.iter().filter(|other| *other != one) {
                let link = (one.clone(), other.clone());
                let up = !self.cut.contains(one) && !self.cut.contains(other);
                if up && self.links.insert(link.clone()) {
                    self.links.insert((other.clone(), one.clone()));
                    let now = self.now;
                    for (node, peer) in [(one, other), (other, one)] {
                        self.nodes.get_mut(node).unwrap().cluster.handle_connected(peer, now);
                    }
                    self.deliver();
                } else if !up && self.links.remove(&link) {
                    let now = self.now;
                    self.nodes.get_mut(one).unwrap().cluster.handle_disconnected(other, now);
                }
            }
        }
    }

    fn run(&mut self, millis: u64) {
        let end = self.now.plus_millis(millis);
        while self.now < end {
            self.link();
            let now = self.now;
            for node in self.nodes.values_mut() {
                for of in 0..2 {
                    node.calls.want(of, node.wanted[of], now);
                }
                if node.cluster.poll_timeout().is_some_and(|due| due <= now) {
                    node.cluster.handle_timeout(now, &mut node.calls);
                }
            }
            self.deliver();
            self.check();
            self.now = self.now.plus_millis(20);
        }
    }

    /// The hard resource is never used beyond what the disks say is held.
    fn check(&self) {
        let used: u32 = self.nodes.values().map(|node| node.calls.used[1]).sum();
        assert!(used <= self.hard_cap(), "{used} hard sessions at {:?}", self.now);
    }

    fn hard_cap(&self) -> u32 {
        u32::try_from(self.all.len()).unwrap() * 20
    }

    fn limit(&self, text: &str, of: ResourceIndex) -> u32 {
        self.nodes[&name(text)].calls.limit(of.0, self.now)
    }

    fn told(&self, text: &str, what: impl Fn(&Event) -> bool) -> bool {
        self.nodes[&name(text)].told.iter().any(what)
    }
}

fn net(mode: Retention) -> Net {
    let mut net =
        Net::new(&["a", "b", "c"], Parameters { retention: mode, max_lend_percent: 50, ..Parameters::default() });
    for node in ["a", "b", "c"] {
        net.grant(node, SESSIONS, 1, 20);
        net.grant(node, HARD, 1, 20);
    }
    net.run(3000);
    net
}

fn want(net: &mut Net, node: &str, sessions: u32, hard: u32) {
    net.nodes.get_mut(&name(node)).unwrap().wanted = [sessions, hard];
}

#[test]
fn nodes_meet_and_lend_each_other_what_they_do_not_use() {
    let mut net = net(Retention::Off);
    assert_eq!(net.nodes[&name("a")].cluster.reachable().count(), 2);
    want(&mut net, "a", 30, 30);
    net.run(3000);
    assert_eq!(net.nodes[&name("a")].calls.used, [30, 30]);
    want(&mut net, "a", 0, 0);
    net.run(5000);
    for node in ["a", "b", "c"] {
        assert_eq!(net.limit(node, HARD), 20, "{node}: everything is home again");
    }
}

#[test]
fn nothing_is_lent_to_a_peer_of_another_version_and_each_keeps_its_own() {
    let mut net = net(Retention::Off);
    let (now, life) = (net.now, LedgerId(77));
    for node in ["b", "c"] {
        net.with(node, |node| {
            let hello = Hello {
                proto_min: 9,
                proto_max: 9,
                node: name("a"),
                ledger: LedgerId(1),
                inc: Incarnation(2),
                life: 1,
                asks: false,
                resources: resources().into_iter().map(|resource| resource.id).collect(),
            };
            node.cluster.handle_message(&name("a"), Message::Hello(hello), now, &mut node.calls);
        });
    }
    want(&mut net, "a", 30, 30);
    net.run(2000);
    assert_eq!(net.nodes[&name("a")].calls.used, [20, 20], "the static split");
    assert_eq!(net.nodes[&name("b")].cluster.refusal(&name("a")), Some(Refused::OtherVersion));
    assert!(net.told("b", |event| matches!(event, Event::OtherVersion { found: [9, 9], .. })));
    assert_ne!(life, LedgerId(1));
}

#[test]
fn a_node_with_an_empty_disk_has_no_home_before_every_member_said_what_it_holds() {
    let mut net = net(Retention::Off);
    want(&mut net, "a", 0, 28);
    net.run(3000);
    assert_eq!(net.nodes[&name("a")].calls.used[1], 28);
    let lent = |net: &Net| net.nodes[&name("a")].calls.lease[1].limit - 20;
    let borrowed = lent(&net);
    assert!(borrowed >= 8);
    // c is gone, and b comes back with an empty disk while c is away.
    net.cut.insert(name("c"));
    net.nodes.remove(&name("b"));
    net.run(12_000);
    net.start("b", Ledger { id: LedgerId(99), inc: Incarnation(1), records: BTreeMap::new() });
    let now = net.now;
    net.with("b", |node| node.cluster.fence(now, &mut node.calls));
    net.grant("b", HARD, 2, 20);
    net.run(10_000);
    assert_eq!(net.limit("b", HARD), 0);
    assert_eq!(net.nodes[&name("b")].cluster.fenced_by(), Some([name("c")].into()));
    // A crash before the end: still fenced, by what the disk says.
    let disk = Ledger { inc: Incarnation(2), ..net.nodes[&name("b")].disk.clone() };
    net.start("b", disk);
    net.grant("b", HARD, 2, 20);
    net.run(5000);
    assert_eq!(net.limit("b", HARD), 0);
    net.cut.clear();
    net.run(20_000);
    assert_eq!(net.nodes[&name("b")].cluster.fenced_by(), None);
    assert!(net.told("b", |event| *event == Event::CensusOver));
    let (limit_b, limit_c) = (net.limit("b", HARD), net.limit("c", HARD));
    assert!(limit_b < 20 || limit_c < 20, "what a holds is still lent: {limit_b} {limit_c}");
    assert_eq!(net.limit("a", HARD) + limit_b + limit_c, 60);
    want(&mut net, "a", 0, 0);
    net.run(8000);
    for node in ["a", "b", "c"] {
        assert_eq!(net.limit(node, HARD), 20, "{node}: everything is home again");
    }
}

#[test]
fn the_backends_word_ends_the_fence_and_who_did_not_answer_counts_as_holding_the_most() {
    let mut net = net(Retention::Off);
    net.cut.insert(name("c"));
    net.nodes.remove(&name("b"));
    net.run(12_000);
    net.start("b", Ledger { id: LedgerId(99), inc: Incarnation(1), records: BTreeMap::new() });
    let now = net.now;
    net.with("b", |node| node.cluster.fence(now, &mut node.calls));
    net.grant("b", HARD, 2, 20);
    net.run(10_000);
    assert!(net.limit("b", HARD) <= 2, "what it borrowed ahead, and nothing of its own");
    let now = net.now;
    net.with("b", |node| node.cluster.release_fence(now, &mut node.calls));
    net.run(1000);
    assert_eq!(net.limit("b", HARD), 10, "c may hold half");
    net.cut.clear();
    net.run(10_000);
    assert_eq!(net.limit("b", HARD), 20, "c held nothing");
}

#[test]
fn a_drained_node_holds_nothing_and_has_lent_nothing() {
    let mut net = net(Retention::Off);
    want(&mut net, "a", 0, 30);
    want(&mut net, "b", 5, 0);
    net.run(3000);
    let now = net.now;
    net.with("b", |node| node.cluster.drain(now, &mut node.calls));
    net.run(1000);
    assert!(!net.nodes[&name("b")].cluster.is_drained() || net.limit("b", HARD) == 20);
    net.run(3000);
    // a has 30 in use of 20 + 20 of c; b's came back as calls could move, or when they end.
    want(&mut net, "a", 0, 0);
    net.run(3000);
    assert!(net.nodes[&name("b")].cluster.is_drained());
    assert!(net.told("b", |event| *event == Event::Drained));
    assert_eq!(net.limit("b", HARD), 20);
    want(&mut net, "a", 0, 60);
    net.run(3000);
    assert!(net.limit("a", HARD) <= 30, "nothing of b is lent");
    assert_eq!(net.limit("b", HARD), 20);
    let now = net.now;
    net.with("b", |node| node.cluster.undrain(now, &mut node.calls));
    net.run(3000);
    assert!(net.limit("a", HARD) > 30, "it takes part again");
}

#[test]
fn a_drained_borrower_gives_back_what_its_calls_no_longer_use() {
    let mut net = net(Retention::Off);
    want(&mut net, "a", 0, 30);
    net.run(3000);
    let now = net.now;
    net.with("a", |node| node.cluster.drain(now, &mut node.calls));
    net.run(2000);
    assert!(!net.nodes[&name("a")].cluster.is_drained(), "thirty calls on twenty units");
    assert_eq!(net.limit("a", HARD), 20, "no new call on what is borrowed");
    want(&mut net, "a", 0, 20);
    net.run(3000);
    assert!(net.nodes[&name("a")].cluster.is_drained());
}

#[test]
fn what_a_lost_peer_left_is_used_by_the_trustee_and_given_back_when_it_returns() {
    let mut net = net(Retention::Any);
    net.cut.insert(name("c"));
    net.run(50_000);
    assert!(net.told("a", |event| *event == Event::PeerLost { node: name("c") }));
    assert_eq!((net.limit("a", SESSIONS), net.limit("b", SESSIONS)), (40, 20));
    assert_eq!((net.limit("a", HARD), net.limit("b", HARD)), (20, 20), "nothing hard");
    want(&mut net, "a", 35, 0);
    net.run(2000);
    assert_eq!(net.nodes[&name("a")].calls.used[0], 35);
    net.cut.clear();
    net.run(15_000);
    assert!(net.limit("a", SESSIONS) <= 40);
    let total: u32 = ["a", "b", "c"].map(|node| net.limit(node, SESSIONS)).iter().sum();
    assert!(total <= 60, "{total}: what a still uses of c, c does without");
    want(&mut net, "a", 0, 0);
    net.run(10_000);
    for node in ["a", "b", "c"] {
        assert_eq!(net.limit(node, SESSIONS), 20, "{node}");
    }
    assert!(net.told("a", |event| matches!(event, Event::RetainedUse { licenses: Licenses(20), .. })));
    assert!(net.told("a", |event| matches!(event, Event::RetainedUse { licenses: Licenses(0), .. })));
}

#[test]
fn in_a_quorum_the_side_with_the_majority_alone_keeps_what_the_other_left() {
    let mut net = net(Retention::Quorum);
    net.cut.insert(name("c"));
    net.run(50_000);
    assert_eq!((net.limit("a", SESSIONS), net.limit("b", SESSIONS), net.limit("c", SESSIONS)), (40, 20, 20));
    assert!(net.told("a", |event| matches!(event, Event::Trustee { .. })));
}

#[test]
fn what_a_lost_peer_lent_stays_with_its_borrower() {
    let mut net = net(Retention::Any);
    want(&mut net, "b", 30, 0);
    net.run(3000);
    assert_eq!(net.nodes[&name("b")].calls.used[0], 30);
    net.cut.insert(name("c"));
    net.cut.insert(name("a"));
    net.run(200_000);
    assert_eq!(net.nodes[&name("b")].calls.used[0], 30);
    let limit = net.limit("b", SESSIONS);
    assert!(limit >= 30, "{limit}: leases that nobody can renew hold on");
}

#[test]
fn a_forgotten_nodes_loans_are_home_again_and_declared() {
    let mut net = net(Retention::Off);
    want(&mut net, "a", 0, 30);
    net.run(3000);
    let before = net.limit("b", HARD) + net.limit("c", HARD);
    assert!(before < 40);
    want(&mut net, "a", 0, 0);
    net.nodes.remove(&name("a"));
    net.run(10_000);
    assert!(net.limit("b", HARD) + net.limit("c", HARD) < 40, "hard: nothing comes back by itself");
    let now = net.now;
    for node in ["b", "c"] {
        net.with(node, |node| node.cluster.forget(&name("a"), now, &mut node.calls));
    }
    net.run(1500);
    assert_eq!(net.limit("b", HARD) + net.limit("c", HARD), 40);
}

#[test]
fn a_smaller_grant_holds_at_once_for_new_calls_and_is_acknowledged_when_nobody_uses_the_rest() {
    let mut net = net(Retention::Off);
    want(&mut net, "c", 0, 20);
    net.run(500);
    want(&mut net, "a", 0, 14);
    net.run(500);
    want(&mut net, "b", 0, 25);
    net.run(3000);
    assert_eq!(net.nodes[&name("b")].calls.used[1], 25);
    net.with("a", |node| node.acks.clear());
    net.grant("a", HARD, 2, 10);
    net.run(100);
    assert!(net.limit("a", HARD) <= 10, "no new call above it");
    assert_eq!(net.nodes[&name("a")].acks, [], "fourteen calls still run, and five elsewhere");
    let home = |net: &Net| {
        net.nodes[&name("a")].disk.records.values().find_map(|record| match record {
            Record::Home { resource, home, .. } if resource.class == Class::Hard => Some(home.0),
            _ => None,
        })
    };
    assert_eq!(home(&net), Some(20), "the old count is held until then");
    want(&mut net, "b", 0, 20);
    net.run(3000);
    assert_eq!(net.nodes[&name("a")].acks, [], "what is lent is back, and fourteen calls are more than ten");
    want(&mut net, "a", 0, 8);
    net.run(1000);
    assert_eq!(net.nodes[&name("a")].acks, [(resources()[1].id.clone(), Epoch(2), Licenses(10))]);
    assert_eq!(home(&net), Some(10));
    net.grant("a", HARD, 1, 20);
    net.run(500);
    assert!(net.limit("a", HARD) <= 10, "an old epoch is ignored");
    net.grant("a", HARD, 3, 20);
    net.run(500);
    assert!(net.limit("a", HARD) > 10);
    assert_eq!(net.nodes[&name("a")].acks.len(), 2, "each epoch is acknowledged");
}

#[test]
fn a_raise_is_used_only_once_it_is_durable() {
    let mut net = net(Retention::Off);
    net.disk_stops = true;
    net.grant("a", HARD, 2, 25);
    net.run(200);
    assert_eq!(net.limit("a", HARD), 20);
}

#[test]
fn a_returned_smaller_grant_is_acknowledged_after_a_restart_too() {
    let mut net = net(Retention::Off);
    want(&mut net, "a", 0, 15);
    net.run(1000);
    net.grant("a", HARD, 2, 10);
    net.run(500);
    let disk = Ledger { inc: Incarnation(2), ..net.nodes[&name("a")].disk.clone() };
    net.start("a", disk);
    net.run(3000);
    net.grant("a", HARD, 2, 10);
    net.run(1000);
    assert_eq!(net.nodes[&name("a")].acks.len(), 1);
}

#[test]
fn one_seed_gives_one_story() {
    let story = || {
        let mut net = net(Retention::Quorum);
        want(&mut net, "a", 30, 30);
        net.run(2000);
        net.cut.insert(name("c"));
        net.run(45_000);
        net.cut.clear();
        net.run(3000);
        let told: Vec<Vec<Event>> = net.nodes.values().map(|node| node.told.clone()).collect();
        let limits: Vec<[Lease; 2]> = net.nodes.values().map(|node| node.calls.lease).collect();
        (told, limits)
    };
    assert_eq!(story(), story());
}

#[test]
fn under_export_control_a_node_latches_when_nobody_has_anything_to_spare_and_opens_below_its_low_mark() {
    let mut net = net(Retention::Off);
    let look = |net: &mut Net, node: &str| {
        let now = net.now;
        net.with(node, |node| node.cluster.look_export(HARD, 60, now, &node.calls))
    };
    want(&mut net, "a", 0, 20);
    net.run(20);
    assert!(!look(&mut net, "a"), "its own are used up, but peers have spare");
    want(&mut net, "a", 0, 70);
    net.run(3000);
    assert!(look(&mut net, "a"), "nobody has any more");
    let used = net.nodes[&name("a")].calls.used[1];
    assert_eq!(used, 40, "nobody lends one peer more than half");
    want(&mut net, "a", 0, used - 1);
    net.run(100);
    assert!(look(&mut net, "a"), "at the low mark it is still latched");
    want(&mut net, "a", 0, used - 4);
    net.run(100);
    assert!(!look(&mut net, "a"));
}

#[test]
fn what_is_borrowed_is_reported_by_the_lender_where_the_profile_caps_at_installed() {
    let mut net = net(Retention::Off);
    want(&mut net, "a", 28, 0);
    net.run(3000);
    let usage = |net: &Net, node: &str| {
        let node = &net.nodes[&name(node)];
        node.cluster.usage(SESSIONS, 29, true, net.now, &node.calls).unwrap()
    };
    let mine = usage(&net, "a");
    assert_eq!((mine.used, mine.reported, mine.peak), (28, 20, 29));
    let lent = usage(&net, "b").lent_used + usage(&net, "c").lent_used;
    assert!(lent >= 8, "{lent}");
}
