//! A few nodes on clocks, disks and a wire that the test commands.
//!
//! Nothing happens by itself: packets lie on the wire until they are delivered, lost or doubled; batches lie before the disk
//! until they are written, or the node dies. [`World::run`] is the kind wire: everything arrives after a fixed delay.

use std::collections::{BTreeMap, VecDeque};

use crate::cluster::*;
use crate::limits::InUse;
use crate::units::Tick;

/// One pool: what a gate would keep.
#[derive(Debug, Clone, Default)]
pub(super) struct Desk {
    pub(super) rate: bool,
    pub(super) lease: Option<Lease>,
    /// When each call of the last window was admitted, by the node's clock.
    pub(super) stamps: VecDeque<Tick>,
    pub(super) live: u32,
    pub(super) window: u64,
    attempts: u32,
    refused: u32,
    pub(super) reconciled: bool,
}

impl Desk {
    fn used(&self, now: Tick) -> u32 {
        let cooled = |stamp: &&Tick| stamp.plus_nanos(self.window) > now;
        if self.rate { self.stamps.iter().filter(cooled).count().try_into().unwrap() } else { self.live }
    }

    pub(super) fn limit(&self, now: Tick) -> u32 {
        let Some(lease) = self.lease else { return 0 };
        if lease.valid_until.is_some_and(|until| until <= now) { lease.floor } else { lease.limit }
    }

    pub(super) fn admit(&mut self, now: Tick) -> bool {
        self.attempts += 1;
        if self.used(now) >= self.limit(now) {
            self.refused += 1;
            return false;
        }
        if self.rate {
            self.stamps.push_back(now);
            while self.stamps.front().is_some_and(|stamp| stamp.plus_nanos(2 * self.window) < now) {
                self.stamps.pop_front();
            }
        } else {
            self.live += 1;
        }
        true
    }
}

/// The pools of a node.
#[derive(Debug, Clone, Default)]
pub(super) struct Desks(pub(super) Vec<Desk>);

impl Pools for Desks {
    fn used(&self, resource: ResourceIndex, now: Tick) -> Used {
        Used { used: self.0[resource.0].used(now), forced: 0 }
    }

    fn take_offered(&mut self, resource: ResourceIndex) -> Offered {
        let desk = &mut self.0[resource.0];
        Offered { attempts: std::mem::take(&mut desk.attempts), refused: std::mem::take(&mut desk.refused) }
    }

    fn set(&mut self, resource: ResourceIndex, limit: Lease, _now: Tick) {
        self.0[resource.0].lease = Some(limit);
    }

    fn try_lower(&mut self, resource: ResourceIndex, limit: Lease, now: Tick) -> Result<(), InUse> {
        let desk = &mut self.0[resource.0];
        let used = desk.used(now);
        if used > limit.limit {
            return Err(InUse { used });
        }
        desk.lease = Some(limit);
        Ok(())
    }

    fn is_reconciled(&self, resource: ResourceIndex) -> bool {
        self.0[resource.0].reconciled
    }
}

/// What survives a crash.
#[derive(Debug, Clone, Default)]
pub(super) struct Disk {
    pub(super) inc: u64,
    pub(super) records: BTreeMap<Key, Record>,
}

/// A live node.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) cluster: Engine,
    pub(super) desks: Desks,
    /// The batch under way.
    pub(super) batch: Option<(u64, Vec<Record>)>,
    pub(super) events: Vec<Event>,
}

/// On the wire.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Body {
    Message(Message),
    Hint(Vec<u8>),
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Packet {
    pub(super) sent: u64,
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) body: Body,
}

#[derive(Debug, Clone)]
pub(super) struct World {
    /// Real time, in nanoseconds.
    pub(super) now: u64,
    /// How much faster than real time a node's clock runs, in parts per million.
    pub(super) drift: Vec<i64>,
    pub(super) nodes: Vec<Option<Node>>,
    pub(super) disks: Vec<Disk>,
    pub(super) wire: Vec<Packet>,
    pub(super) resources: Vec<Resource>,
    pub(super) params: Parameters,
    pub(super) rules: Rules,
    /// Real admissions: when, at which node, of which resource.
    pub(super) admitted: Vec<(u64, usize, usize)>,
    /// Real live sessions of dead nodes go on: by node and resource.
    pub(super) calls: Vec<Vec<u32>>,
}

pub(super) fn rate(class: Class) -> Resource {
    let id = ResourceId { name: "cps".into(), kind: Kind::Rate, class };
    Resource { id, limit_max: None, headroom: 0 }
}

pub(super) fn session(class: Class) -> Resource {
    let id = ResourceId { name: "session".into(), kind: Kind::Session, class };
    Resource { id, limit_max: None, headroom: 0 }
}

pub(super) fn name(index: usize) -> NodeName {
    format!("n{index}").parse().unwrap()
}

pub(super) const MS: u64 = 1_000_000;

impl World {
    /// Nodes that hold so many licenses of each resource.
    pub(super) fn new(homes: &[u32], resources: Vec<Resource>, rules: Rules) -> Self {
        let kinds = resources.len();
        let mut world = Self {
            now: 1_000_000 * MS,
            drift: vec![0; homes.len()],
            nodes: homes.iter().map(|_| None).collect(),
            disks: vec![Disk::default(); homes.len()],
            wire: Vec::new(),
            resources,
            params: Parameters::default(),
            rules,
            admitted: Vec::new(),
            calls: vec![vec![0; kinds]; homes.len()],
        };
        for (node, home) in homes.iter().enumerate() {
            for resource in &world.resources {
                let record = Record::Home {
                    resource: resource.id.clone(),
                    epoch: Epoch(1),
                    home: Licenses(*home),
                    fixed_share: Licenses(*home),
                };
                world.disks[node].records.insert(record.key(), record);
            }
        }
        world
    }

    pub(super) fn started(homes: &[u32], resources: Vec<Resource>) -> Self {
        let mut world = Self::new(homes, resources, Rules::default());
        world.start_all();
        world
    }

    pub(super) fn start_all(&mut self) {
        for node in 0..self.nodes.len() {
            self.start(node);
        }
        for node in 0..self.nodes.len() {
            for peer in 0..self.nodes.len() {
                if node != peer {
                    let now = self.local(node);
                    self.node(node).cluster.handle_connected(&name(peer), now);
                }
            }
            self.drain(node);
        }
    }

    pub(super) fn local(&self, node: usize) -> Tick {
        let real = i128::from(self.now);
        let local = real + real * i128::from(self.drift[node]) / 1_000_000;
        Tick(u64::try_from(local).unwrap())
    }

    pub(super) fn node(&mut self, node: usize) -> &mut Node {
        self.nodes[node].as_mut().unwrap()
    }

    pub(super) fn start(&mut self, node: usize) {
        let disk = &mut self.disks[node];
        disk.inc += 1;
        let ledger = Ledger {
            id: LedgerId(u128::try_from(node).unwrap() + 1),
            inc: Incarnation(disk.inc),
            records: disk.records.clone(),
        };
        let now = self.local(node);
        let window = if self.rules.has(Rule::FullWindow) { self.params.window_nanos() } else { 900 * MS };
        let mut desks = Desks::default();
        for (index, resource) in self.resources.iter().enumerate() {
            let rate = resource.id.kind == Kind::Rate;
            // The journal brings back the last second's calls, and the live ones.
            let recent =
                self.admitted.iter().filter(|(at, by, of)| *by == node && *of == index && *at + 2 * window > self.now);
            let age = |at: &u64| self.now - at;
            let stamps = recent.map(|(at, ..)| Tick(now.0.saturating_sub(age(at)))).collect();
            desks.0.push(Desk {
                rate,
                stamps,
                window,
                live: if rate { 0 } else { self.calls[node][index] },
                reconciled: true,
                ..Desk::default()
            });
        }
        let setup = Setup {
            node: name(node),
            peers: (0..self.disks.len()).filter(|peer| *peer != node).map(name).collect(),
            resources: self.resources.clone(),
            params: self.params.clone(),
            seed: u64::try_from(node).unwrap(),
            rules: self.rules.clone(),
        };
        let cluster = Engine::new(setup, ledger, now, &mut desks);
        self.nodes[node] = Some(Node { cluster, desks, batch: None, events: Vec::new() });
        for index in 0..self.resources.len() {
            if self.resources[index].id.class == Class::Hard {
                // Its licensing agent confirms the grant.
                let Some(Record::Home { epoch, home, fixed_share, .. }) =
                    self.disks[node].records.get(&Key::Home(self.resources[index].id.clone())).cloned()
                else {
                    continue;
                };
                let grant = HomeGrant { epoch, home, fixed_share, not_after: None };
                let Node { cluster, desks, .. } = self.node(node);
                cluster.handle_grant(ResourceIndex(index), grant, now, desks);
            }
        }
        self.drain(node);
    }

    /// What is not durable is gone.
    pub(super) fn crash(&mut self, node: usize) {
        self.nodes[node] = None;
    }

    pub(super) fn drain(&mut self, node: usize) {
        let sent = self.now;
        let Some(live) = self.nodes[node].as_mut() else { return };
        while let Some(action) = live.cluster.poll_action() {
            let (to, body) = match action {
                Action::Persist { batch, records } => {
                    assert!(live.batch.is_none(), "two batches under way");
                    live.batch = Some((batch, records));
                    continue;
                }
                Action::Tell(event) => {
                    live.events.push(event);
                    continue;
                }
                Action::Send { to, message } => (to, Body::Message(message)),
                Action::Gossip { to, bytes } => (to, Body::Hint(bytes)),
                Action::GrantAck { .. } => continue,
            };
            let to: usize = to.as_str()[1..].parse().unwrap();
            self.wire.push(Packet { sent, from: node, to, body });
        }
    }

    pub(super) fn persist(&mut self, node: usize) {
        let now = self.local(node);
        let Some(live) = self.nodes[node].as_mut() else { return };
        let Some((batch, records)) = live.batch.take() else { return };
        for record in records {
            self.disks[node].records.insert(record.key(), record);
        }
        let Node { cluster, desks, .. } = live;
        cluster.handle_persisted(batch, now, desks);
        self.drain(node);
    }

    pub(super) fn deliver(&mut self, packet: Packet) {
        let now = self.local(packet.to);
        let Some(Node { cluster, desks, .. }) = self.nodes[packet.to].as_mut() else { return };
        match packet.body {
            Body::Message(message) => cluster.handle_message(&name(packet.from), message, now, desks),
            Body::Hint(bytes) => {
                let Ok(Datagram::Hint(hint)) = decode_datagram(&bytes) else { panic!("no hint") };
                cluster.handle_hint(&name(packet.from), hint, now);
            }
        }
        self.drain(packet.to);
    }

    /// A message of a node that the test speaks for.
    pub(super) fn say(&mut self, from: usize, to: usize, message: Message) {
        let sent = self.now;
        self.deliver(Packet { sent, from, to, body: Body::Message(message) });
    }

    /// Takes the messages from the wire, gossip left out.
    pub(super) fn said(&mut self) -> Vec<Message> {
        let wire = std::mem::take(&mut self.wire);
        let messages = wire.into_iter().filter_map(|packet| match packet.body {
            Body::Message(message) => Some(message),
            Body::Hint(_) => None,
        });
        messages.collect()
    }

    /// Writes until nothing waits.
    pub(super) fn settle_disk(&mut self, node: usize) {
        while self.nodes[node].as_ref().is_some_and(|live| live.batch.is_some()) {
            self.persist(node);
        }
    }

    /// A node's task runs if something is due.
    pub(super) fn wake(&mut self, node: usize) {
        let now = self.local(node);
        let Some(Node { cluster, desks, .. }) = self.nodes[node].as_mut() else { return };
        if cluster.poll_timeout().is_some_and(|at| at <= now) {
            cluster.handle_timeout(now, desks);
        }
        self.drain(node);
    }

    /// A call is offered.
    pub(super) fn offer(&mut self, node: usize, resource: usize) -> bool {
        let now = self.local(node);
        let Some(live) = self.nodes[node].as_mut() else { return false };
        let admitted = live.desks.0[resource].admit(now);
        if admitted {
            self.admitted.push((self.now, node, resource));
            self.calls[node][resource] += 1;
        } else {
            let Node { cluster, desks, .. } = live;
            cluster.handle_low_water(ResourceIndex(resource), now, desks);
            self.drain(node);
        }
        admitted
    }

    /// A live call ends.
    pub(super) fn end(&mut self, node: usize, resource: usize) {
        let Some(live) = self.nodes[node].as_mut() else { return };
        if self.calls[node][resource] > 0 {
            self.calls[node][resource] -= 1;
            live.desks.0[resource].live = live.desks.0[resource].live.saturating_sub(1);
        }
    }

    /// Real time passes with a kind wire and disk, a millisecond at a time: packets take `delay` ms.
    pub(super) fn run(&mut self, ms: u64, delay: u64) {
        for _ in 0..ms {
            self.now += MS;
            self.step(delay);
        }
    }

    pub(super) fn step(&mut self, delay: u64) {
        for node in 0..self.nodes.len() {
            self.persist(node);
            self.wake(node);
        }
        while let Some(place) = self.wire.iter().position(|packet| packet.sent + delay * MS <= self.now) {
            let packet = self.wire.remove(place);
            self.deliver(packet);
        }
    }

    pub(super) fn limit(&mut self, node: usize, resource: usize) -> u32 {
        let now = self.local(node);
        self.node(node).desks.0[resource].limit(now)
    }
}
