//! Lending at one node.
//!
//! Each call looks up the peer and the resource, lets the [`Share`] of that resource do its work, and gathers what is to be
//! persisted. The rules themselves are in `share`.

mod inspect;
mod journal;
mod outbox;
mod peers;
mod seam;

use std::collections::BTreeMap;

use super::action::{Action, Event};
use super::ids::{Epoch, Incarnation, LedgerId, NodeName};
use super::ledger::{Key, Ledger};
use super::message::{Hello, Hint, Message};
use super::params::Parameters;
use super::pools::Pools;
use super::resource::{Licenses, Resource, ResourceId, ResourceIndex};
use super::rules::Rules;
use super::share::Share;
use super::view::ClusterView;
use super::wire::{Datagram, PROTOCOL_MAX, PROTOCOL_MIN, encode_datagram};
use crate::units::Tick;

pub use self::inspect::{PairView, SumsView};
pub(super) use self::journal::{BatchNo, Journal};
pub(super) use self::outbox::{Cx, Dice, Env, Outbox};
pub(super) use self::peers::{PeerIndex, Peers};
pub(super) use super::rules::Rule;

/// The most resources that a node shares.
const RESOURCES_MAX: usize = 64;
/// How often what is rarely due is done, in milliseconds.
const HOUSEKEEPING_MS: u64 = 1000;

/// How a node is set up.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Its own name.
    pub node: NodeName,
    /// The configured members, itself left out.
    pub peers: Vec<NodeName>,
    /// What it shares, in the order of its pools.
    pub resources: Vec<Resource>,
    /// Parameters.
    pub params: Parameters,
    /// For whom to ask first, and jitter.
    pub seed: u64,
    /// All rules, outside of tests that prove that each is needed.
    #[doc(hidden)]
    pub rules: Rules,
}

/// A home count by the licensing agent's grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HomeGrant {
    /// Its epoch: older ones are ignored.
    pub epoch: Epoch,
    /// The count.
    pub home: Licenses,
    /// What remains when it has lapsed (hard resources).
    pub fixed_share: Licenses,
    /// When it lapses by this node's clock; `None`: never.
    pub not_after: Option<Tick>,
}

/// Lending at one node: a state machine without IO.
#[derive(Debug, Clone)]
pub struct Engine {
    env: Env,
    ledger: Ledger,
    peers: Peers,
    shares: Vec<Share>,
    by_resource: BTreeMap<ResourceId, ResourceIndex>,
    journal: Journal,
    outbox: Outbox,
    dice: Dice,
    tick_at: Tick,
    gossip_at: Tick,
    housekeeping_at: Tick,
    stamp: u64,
    /// The newest hint of each peer, by its place.
    hints: Vec<(u64, u64)>,
}

/// What a rule has at hand, beside the shares themselves.
macro_rules! cx {
    ($self:ident, $now:ident, $pools:ident) => {
        &mut Cx {
            now: $now,
            env: &$self.env,
            peers: &$self.peers,
            journal: &mut $self.journal,
            outbox: &mut $self.outbox,
            pools: $pools,
        }
    };
}

impl Engine {
    /// A node that starts. Its pools are set at once.
    #[must_use]
    pub fn new(setup: Setup, ledger: Ledger, now: Tick, pools: &mut dyn Pools) -> Self {
        let Setup { node, peers: configured, resources, params, seed, rules } = setup;
        let mut peers = Peers::default();
        let lent_to = ledger.records.keys().filter_map(|key| match key {
            Key::Home(_) => None,
            Key::Budget(_, peer) | Key::Loan(_, peer) | Key::OvershootPossible(_, peer) => Some(peer),
            Key::Lost(_)
            | Key::Kept(_)
            | Key::Vote(_)
            | Key::Fenced
            | Key::IncarnationBase
            | Key::Spare(_)
            | Key::OwnSpare => None,
        });
        // Who is lent something counts, configured or not.
        for peer in configured.iter().chain(lent_to).filter(|peer| **peer != node) {
            peers.add(peer);
        }
        let shares: Vec<Share> = resources
            .into_iter()
            .take(RESOURCES_MAX)
            .enumerate()
            .map(|(place, of)| Share::new(ResourceIndex(place), of, peers.len(), now))
            .collect();
        let by_resource = shares.iter().map(|share| (share.of.id.clone(), share.index)).collect();
        let mut dice = Dice::new(seed);
        // Nodes that start together don't tick together.
        let period = u64::from(params.gossip_period_ms.max(1));
        let gossip_at = now.plus_millis(dice.next() % period);
        let mut engine = Self {
            env: Env { node, inc: ledger.inc, params, rules },
            hints: vec![(0, 0); peers.len()],
            ledger,
            peers,
            shares,
            by_resource,
            journal: Journal::default(),
            outbox: Outbox::default(),
            dice,
            tick_at: now,
            gossip_at,
            housekeeping_at: now.plus_millis(HOUSEKEEPING_MS),
            stamp: 0,
        };
        let ledger = &engine.ledger;
        for share in &mut engine.shares {
            share.recover(ledger, cx!(engine, now, pools));
        }
        engine.journal.flush(&mut engine.outbox, now);
        engine
    }

    /// Its own name.
    #[must_use]
    pub const fn node(&self) -> &NodeName {
        &self.env.node
    }

    /// Its ledger, as it was found at start.
    #[must_use]
    pub const fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// What people see of it.
    #[must_use]
    pub fn view(&mut self, now: Tick, pools: &mut dyn Pools) -> ClusterView {
        let mut resources = Vec::with_capacity(self.shares.len());
        for share in &self.shares {
            let cx = cx!(self, now, pools);
            resources.push(share.view(cx));
        }
        ClusterView {
            node: self.env.node.clone(),
            ledger: self.ledger.id,
            inc: self.env.inc,
            ledger_failing: self.journal.is_failing(),
            dropped: self.outbox.dropped(),
            resources,
        }
    }

    /// The next thing to do.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.outbox.pop()
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Tick> {
        let shares = self.shares.iter().filter_map(Share::next_due).min();
        [Some(self.tick_at), Some(self.gossip_at), shares, self.journal.retry_at()].into_iter().flatten().min()
    }

    /// Time has come to where something is due.
    pub fn handle_timeout(&mut self, now: Tick, pools: &mut dyn Pools) {
        for share in &mut self.shares {
            share.run_due(cx!(self, now, pools));
        }
        if self.tick_at <= now {
            self.tick_at = now.plus_millis(u64::from(self.env.params.tick_ms.max(1)));
            for share in &mut self.shares {
                share.plan(cx!(self, now, pools));
            }
        }
        if self.gossip_at <= now {
            self.gossip_at = now.plus_millis(u64::from(self.env.params.gossip_period_ms.max(1)));
            self.gossip(now, pools);
        }
        if self.housekeeping_at <= now {
            self.housekeeping_at = now.plus_millis(HOUSEKEEPING_MS);
            for share in &mut self.shares {
                share.lower_budgets(cx!(self, now, pools));
            }
        }
        self.journal.flush(&mut self.outbox, now);
    }

    /// A message came on the stream from a node, whose certificate said who it is.
    pub fn handle_message(&mut self, from: &NodeName, message: Message, now: Tick, pools: &mut dyn Pools) {
        let Some(peer) = self.peers.find(from) else {
            return self.ignore(from, "a sender that is no member");
        };
        self.peers.get_mut(peer).down = false;
        match message {
            Message::Hello(hello) => self.on_hello(peer, &hello, now, pools),
            Message::Req(req) => {
                let Some(index) = self.by_resource.get(&req.resource) else {
                    return self.ignore(from, "a request for a resource that isn't shared here");
                };
                self.shares[index.0].on_req(peer, &req, cx!(self, now, pools));
            }
            Message::Lend(lend) => {
                let Some(index) = self.by_resource.get(&lend.resource) else {
                    return self.ignore(from, "a loan of a resource that isn't shared here");
                };
                self.shares[index.0].on_lend(peer, &lend, cx!(self, now, pools));
            }
            Message::Adopt(adopt) => {
                let Some(index) = self.by_resource.get(&adopt.resource) else {
                    return self.ignore(from, "an adoption of a resource that isn't shared here");
                };
                self.shares[index.0].on_adopt(peer, &adopt, cx!(self, now, pools));
            }
            Message::Leave(_)
            | Message::Census(_)
            | Message::Counted(_)
            | Message::Ballot(_)
            | Message::Vote(_)
            | Message::Release(_)
            | Message::Released(_)
            | Message::Beat(_)
            | Message::BeatAck(_) => return self.ignore(from, "a message that isn't about lending"),
        }
        self.journal.flush(&mut self.outbox, now);
    }

    /// A hint came in a datagram.
    pub fn handle_hint(&mut self, from: &NodeName, hint: Hint, _now: Tick) {
        let Some(peer) = self.peers.find(&hint.node) else {
            return self.ignore(from, "a hint about no member");
        };
        let newest = (hint.inc.0, hint.stamp);
        if newest <= self.hints[peer.0] {
            return;
        }
        self.hints[peer.0] = newest;
        for of in hint.of.iter().take(RESOURCES_MAX) {
            if let Some(index) = self.by_resource.get(&of.resource) {
                let shuffle = self.dice.next();
                self.shares[index.0].on_hint(peer, of, shuffle);
            }
        }
    }

    /// A pool ran low: calls are refused, or soon will be. What is missing is asked for at once.
    pub fn handle_low_water(&mut self, resource: ResourceIndex, now: Tick, pools: &mut dyn Pools) {
        if let Some(share) = self.shares.get_mut(resource.0) {
            share.plan(cx!(self, now, pools));
        }
        self.journal.flush(&mut self.outbox, now);
    }

    /// What this node holds by its grant.
    pub fn handle_grant(&mut self, resource: ResourceIndex, grant: HomeGrant, now: Tick, pools: &mut dyn Pools) {
        if let Some(share) = self.shares.get_mut(resource.0) {
            share.on_grant(grant, cx!(self, now, pools));
        }
        self.journal.flush(&mut self.outbox, now);
    }

    /// A batch of records is durable.
    pub fn handle_persisted(&mut self, batch: u64, now: Tick, pools: &mut dyn Pools) {
        if !self.journal.persisted(batch, &mut self.outbox) {
            return;
        }
        for share in &mut self.shares {
            share.durable(cx!(self, now, pools));
        }
        self.journal.flush(&mut self.outbox, now);
    }

    /// A batch of records could not be made durable, or nobody knows whether it is. It is tried again, under another number
    /// and with what came since; nothing that needs it happens before that.
    pub fn handle_persist_failed(&mut self, batch: u64, now: Tick) {
        self.journal.failed(batch, now, &mut self.outbox);
    }

    /// A connection to a peer came up.
    pub fn handle_connected(&mut self, peer: &NodeName, now: Tick) {
        let resources = self.shares.iter().map(|share| share.of.id.clone()).collect();
        let hello = Hello {
            proto_min: PROTOCOL_MIN,
            proto_max: PROTOCOL_MAX,
            node: self.env.node.clone(),
            ledger: self.ledger.id,
            inc: self.env.inc,
            life: 0,
            asks: false,
            resources,
        };
        self.outbox.push(Action::Send { to: peer.clone(), message: Message::Hello(hello) });
        self.resumed(peer, now);
    }

    /// A connection to a peer came up, and who this node is was said already.
    pub(in crate::cluster) fn resumed(&mut self, peer: &NodeName, now: Tick) {
        let Some(index) = self.peers.find(peer) else { return };
        self.peers.get_mut(index).down = false;
        for share in &mut self.shares {
            share.connected(index, now);
        }
    }

    /// The connection to a peer is gone.
    pub fn handle_disconnected(&mut self, peer: &NodeName, _now: Tick) {
        if let Some(index) = self.peers.find(peer) {
            self.peers.get_mut(index).down = true;
        }
    }

    /// A peer says who it is: a new life of it is known before its first request.
    fn on_hello(&mut self, peer: PeerIndex, hello: &Hello, now: Tick, pools: &mut dyn Pools) {
        let known = self.peers.get(peer);
        if hello.node != known.name {
            let from = known.name.clone();
            return self.ignore(&from, "a greeting in another's name");
        }
        self.greeted_by(peer, hello.ledger, hello.inc, now, pools);
    }

    fn greeted_by(&mut self, peer: PeerIndex, ledger: LedgerId, inc: Incarnation, now: Tick, pools: &mut dyn Pools) {
        let known = self.peers.get_mut(peer);
        known.ledger = Some(ledger);
        known.inc = known.inc.max(inc);
        for share in &mut self.shares {
            share.on_hello(peer, inc, cx!(self, now, pools));
        }
    }

    fn gossip(&mut self, now: Tick, pools: &mut dyn Pools) {
        if self.peers.len() == 0 {
            return;
        }
        self.stamp += 1;
        let mut of = Vec::with_capacity(self.shares.len());
        for share in &self.shares {
            let cx = cx!(self, now, pools);
            of.push(share.hint(cx));
        }
        let hint = Hint { node: self.env.node.clone(), inc: self.env.inc, stamp: self.stamp, of };
        let Ok(bytes) = encode_datagram(&Datagram::Hint(hint)) else { return };
        let mesh = usize::try_from(self.env.params.mesh_nodes_max).unwrap_or(usize::MAX);
        if self.peers.len() < mesh {
            for peer in self.peers.all() {
                let to = self.peers.name(peer).clone();
                self.outbox.push(Action::Gossip { to, bytes: bytes.clone() });
            }
            return;
        }
        let peers = u64::try_from(self.peers.len()).unwrap_or(u64::MAX);
        for _ in 0..self.env.params.gossip_fanout {
            let place = usize::try_from(self.dice.next() % peers).unwrap_or(0);
            let to = self.peers.name(PeerIndex(place)).clone();
            self.outbox.push(Action::Gossip { to, bytes: bytes.clone() });
        }
    }

    fn ignore(&mut self, from: &NodeName, reason: &'static str) {
        self.outbox.tell(Event::Ignored { from: from.clone(), reason });
    }
}
