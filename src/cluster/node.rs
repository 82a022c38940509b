//! One node of the cluster: lending, membership, retention and the census, driven together. PURE.
//!
//! Where it stops: the rules of lending are in `engine` and `share`, who is there in `presence`, what becomes of a lost peer
//! in `retention`. This file hands each what concerns it, in an order that doesn't matter to safety; `census`, `leaving`,
//! `lost` and `shown` beside it hold what belongs to one of them alone.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::action::Action;
use super::engine::{BatchNo, Engine, HomeGrant, PairView, Setup, SumsView};
use super::export::ExportLatch;
use super::fence::Fence;
use super::ids::{Incarnation, NodeName};
use super::ledger::{Key, Ledger, Record};
use super::message::{Anchor, Leave, Message};
use super::params::Retention;
use super::pools::Pools;
use super::presence::{Greeting, News, Presence, Setup as PresenceSetup};
use super::resource::{Class, ResourceId, ResourceIndex};
use super::retention::{Out, Retained, SelfLease, Ticket, View, Voter, Withheld};
use super::share::Beside;
use super::view::ClusterView;
use crate::units::{Tick, UnixMillis};

/// How often a drain is looked at, in milliseconds.
const DRAIN_STEP_MS: u64 = 200;

/// How far a node that leaves has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Drain {
    /// It takes part.
    Open,
    /// It gives back and wants back.
    Draining {
        /// When to look again.
        look_at: Tick,
    },
    /// Nothing is lent and nothing held.
    Drained,
}

/// How far a census has come.
#[derive(Debug, Clone)]
enum Fencing {
    /// Members are asked.
    Asking(Fence),
    /// All is known: the incarnation becomes durable.
    Raising(Fence, BatchNo, Incarnation),
    /// The loans become durable.
    Rebuilt(BatchNo),
}

/// One node of the cluster: a state machine without IO.
#[derive(Debug)]
pub struct Cluster {
    engine: Engine,
    presence: Presence,
    voter: Voter,
    retained: Retained,
    withheld: Withheld,
    own: SelfLease,
    fencing: Option<Fencing>,
    drain: Drain,
    node: NodeName,
    /// The configured members, itself left out.
    configured: BTreeSet<NodeName>,
    connected: BTreeSet<NodeName>,
    /// Who said that it leaves.
    leaving: BTreeSet<NodeName>,
    /// Whose census about itself was answered, by its anchor, and with which incarnation.
    censuses: BTreeMap<NodeName, (Anchor, Incarnation)>,
    reachable: BTreeSet<NodeName>,
    wall: Option<UnixMillis>,
    boots: Incarnation,
    tickets: VecDeque<(BatchNo, Ticket)>,
    latches: BTreeMap<ResourceIndex, ExportLatch>,
}

macro_rules! view {
    ($self:ident, $now:ident) => {
        View {
            now: $now,
            wall: $self.wall,
            node: &$self.node,
            inc: $self.engine.inc(),
            configured: &$self.configured,
            reachable: &$self.reachable,
            params: $self.engine.params(),
            rules: $self.engine.rules(),
        }
    };
}

mod census;
mod leaving;
mod lost;
mod shown;

impl Cluster {
    /// A node that starts. Its pools are set at once.
    #[must_use]
    pub fn new(setup: Setup, ledger: Ledger, now: Tick, pools: &mut dyn Pools) -> Self {
        let boots = ledger.inc;
        let mut ledger = ledger;
        if let Some(Record::IncarnationBase { base }) = ledger.records.get(&Key::IncarnationBase) {
            ledger.inc = Incarnation(base.0.saturating_add(boots.0));
        }
        let fenced = matches!(ledger.records.get(&Key::Fenced), Some(Record::Fenced { open: true }));
        let (node, rules) = (setup.node.clone(), setup.rules.clone());
        let configured: BTreeSet<NodeName> = setup.peers.iter().filter(|peer| **peer != node).cloned().collect();
        let presence = Presence::new(
            PresenceSetup {
                node: node.clone(),
                ledger: ledger.id,
                inc: ledger.inc,
                peers: configured.iter().cloned().collect(),
                resources: setup.resources.iter().map(|resource| resource.id.clone()).collect(),
                params: setup.params.clone(),
                seed: setup.seed,
            },
            now,
        );
        let reachable = BTreeSet::new();
        let view = View {
            now,
            wall: None,
            node: &node,
            inc: ledger.inc,
            configured: &configured,
            reachable: &reachable,
            params: &setup.params,
            rules: &rules,
        };
        let voter = Voter::recover(&ledger, &view);
        let retained = Retained::recover(&ledger, now);
        let own = SelfLease::recover(&ledger, now);
        let mut engine = Engine::new(setup, ledger, now, pools);
        engine.leave_gossip_to_presence();
        for peer in &configured {
            engine.set_refused(peer, true);
        }
        let mut cluster = Self {
            engine,
            presence,
            voter,
            retained,
            withheld: Withheld::default(),
            own,
            fencing: fenced.then(|| Fencing::Asking(Fence::new(now))),
            drain: Drain::Open,
            node,
            configured,
            connected: BTreeSet::new(),
            leaving: BTreeSet::new(),
            censuses: BTreeMap::new(),
            reachable,
            wall: None,
            boots,
            tickets: VecDeque::new(),
            latches: BTreeMap::new(),
        };
        cluster.set_beside(now, pools);
        cluster
    }

    /// What it thinks of a peer, for the simulator.
    #[doc(hidden)]
    #[must_use]
    pub fn inspect_pair(&self, resource: ResourceIndex, peer: &NodeName) -> PairView {
        self.engine.inspect_pair(resource, peer)
    }

    /// What it thinks of all peers together, for the simulator.
    #[doc(hidden)]
    #[must_use]
    pub fn inspect_sums(&self, resource: ResourceIndex) -> SumsView {
        self.engine.inspect_sums(resource)
    }

    /// This life's incarnation: higher than the ledger's boot counter once a census said so.
    #[must_use]
    pub const fn inc(&self) -> Incarnation {
        self.engine.inc()
    }

    /// Its own name.
    #[must_use]
    pub const fn node(&self) -> &NodeName {
        &self.node
    }

    /// Its ledger, as it was found at start.
    #[must_use]
    pub const fn ledger(&self) -> &Ledger {
        self.engine.ledger()
    }

    /// What people see of it.
    #[must_use]
    pub fn view(&mut self, now: Tick, pools: &mut dyn Pools) -> ClusterView {
        self.engine.view(now, pools)
    }

    /// The next thing to do.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.engine.poll_action()
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Tick> {
        let fence = match &self.fencing {
            Some(Fencing::Asking(fence)) => Some(fence.due()),
            Some(Fencing::Raising(..) | Fencing::Rebuilt(_)) | None => None,
        };
        let drain = match self.drain {
            Drain::Draining { look_at } => Some(look_at),
            Drain::Open | Drain::Drained => None,
        };
        let retained = if self.configured.is_empty() { None } else { self.retained.due() };
        let own = self.beats().then(|| self.own.due());
        let others = [self.presence.poll_timeout(), retained, self.withheld.due(), own, fence, drain];
        others.into_iter().chain([self.engine.poll_timeout()]).flatten().min()
    }

    /// Time has come to where something is due.
    pub fn handle_timeout(&mut self, now: Tick, pools: &mut dyn Pools) {
        self.engine.handle_timeout(now, pools);
        self.presence.handle_timeout(now);
        self.take_news(now, pools);
        if self.presence.is_gossip_due(now) {
            let hints = self.engine.own_hints(now, pools);
            self.presence.gossip(&hints, now);
            self.take_news(now, pools);
        }
        self.step_retention(now, pools);
        self.step_self_lease(now, pools);
        self.step_fence(now, pools);
        self.step_drain(now, pools);
        self.engine.flush(now);
    }

    /// A message came on the stream from a node, whose certificate said who it is.
    pub fn handle_message(&mut self, from: &NodeName, message: Message, now: Tick, pools: &mut dyn Pools) {
        if *from == self.node {
            return self.presence.ignore(from, "a message from itself", now);
        }
        if let Message::Hello(hello) = message {
            self.presence.handle_hello(from, hello, now);
            self.take_news(now, pools);
            return self.engine.flush(now);
        }
        if let Some(refused) = self.presence.refusal(from) {
            self.presence.ignore(from, refused.label(), now);
            return self.take_news(now, pools);
        }
        match message {
            Message::Hello(_) => {}
            Message::Req(_) | Message::Lend(_) | Message::Adopt(_) => {
                if message.life().is_some_and(|life| !self.presence.has_greeted(from, life)) {
                    self.presence.await_greeting(from, now);
                    return self.take_news(now, pools);
                }
                self.engine.handle_message(from, message, now, pools);
            }
            Message::Leave(leave) => self.on_leave(from, &leave),
            Message::Census(_)
            | Message::Counted(_)
            | Message::Ballot(_)
            | Message::Vote(_)
            | Message::Release(_)
            | Message::Released(_)
            | Message::Beat(_)
            | Message::BeatAck(_) => self.take(from, message, now, pools),
        }
        self.engine.flush(now);
    }

    /// A datagram came from a node, whose certificate said who it is: membership or a hint. Whatever it holds, it moves no
    /// right.
    pub fn handle_datagram(&mut self, from: &NodeName, bytes: &[u8], now: Tick) {
        if *from != self.node {
            self.presence.handle_datagram(from, bytes, now);
            self.take_simple_news(now);
        }
    }

    /// A pool ran low: calls are refused, or soon will be. What is missing is asked for at once.
    pub fn handle_low_water(&mut self, resource: ResourceIndex, now: Tick, pools: &mut dyn Pools) {
        self.engine.handle_low_water(resource, now, pools);
    }

    /// With so few units free, in units, a pool runs low: what is borrowed ahead.
    #[must_use]
    pub fn low_mark(&mut self, resource: ResourceIndex, now: Tick, pools: &mut dyn Pools) -> u32 {
        self.engine.reserve(resource, now, pools)
    }

    /// What this node holds by its grant.
    pub fn handle_grant(&mut self, resource: ResourceIndex, grant: HomeGrant, now: Tick, pools: &mut dyn Pools) {
        self.engine.handle_grant(resource, grant, now, pools);
        self.step_self_lease(now, pools);
        self.engine.flush(now);
    }

    /// A batch of records is durable.
    pub fn handle_persisted(&mut self, batch: u64, now: Tick, pools: &mut dyn Pools) {
        self.engine.handle_persisted(batch, now, pools);
        let mut done = Vec::new();
        self.tickets.retain(|(waits_for, ticket)| {
            let durable = self.engine.is_durable(*waits_for);
            if durable {
                done.push(ticket.clone());
            }
            !durable
        });
        for ticket in done {
            let view = view!(self, now);
            let out = match ticket {
                Ticket::Vote(about, round) => self.voter.durable(&about, round, &view),
                Ticket::Kept(peer, raise) => self.retained.durable(&peer, raise),
                Ticket::Spare(peer, change) => self.voter.beat_durable(&peer, change, &view),
                Ticket::OwnSpare(change) => {
                    self.own.durable(change, now);
                    Vec::new()
                }
            };
            self.carry_out(out, now, pools);
        }
        self.set_beside(now, pools);
        self.step_self_lease(now, pools);
        self.step_fence(now, pools);
        self.engine.flush(now);
    }

    /// A batch of records could not be made durable, or nobody knows whether it is. It is tried again, under another number
    /// and with what came since; nothing that needs it happens before that.
    pub fn handle_persist_failed(&mut self, batch: u64, now: Tick) {
        self.engine.handle_persist_failed(batch, now);
    }

    /// A connection to a peer came up.
    pub fn handle_connected(&mut self, peer: &NodeName, now: Tick) {
        self.connected.insert(peer.clone());
        // Who drains says so on each connection; that it no longer does may have been said while there was none.
        self.leaving.remove(peer);
        self.engine.set_refused(peer, self.presence.refusal(peer).is_some());
        self.presence.handle_connected(peer, now);
        self.take_simple_news(now);
        self.engine.resumed(peer, now);
        if self.drain != Drain::Open {
            self.say_leave(peer, true);
        }
        if self.engine.params().retention != Retention::Off {
            let view = view!(self, now);
            let out = self.withheld.connected(peer, self.engine.inc(), &view);
            for out in out {
                if let Out::Send(to, message) = out {
                    self.engine.act(Action::Send { to, message });
                }
            }
        }
    }

    /// The connection to a peer is gone.
    pub fn handle_disconnected(&mut self, peer: &NodeName, now: Tick) {
        self.connected.remove(peer);
        self.presence.handle_disconnected(peer);
        self.engine.handle_disconnected(peer, now);
    }

    /// The wall time: a driver says it every few seconds. Only the 14 days of a lost peer read it.
    pub const fn handle_wall(&mut self, wall: UnixMillis) {
        self.wall = Some(wall);
    }

    // --- who is there ------------------------------------------------------------------------------------------------

    /// What presence has to say, as far as it changes no pool.
    fn take_simple_news(&mut self, now: Tick) -> Vec<(NodeName, Greeting)> {
        let mut greeted = Vec::new();
        while let Some(news) = self.presence.poll() {
            match news {
                News::Do(action) => self.engine.act(action),
                News::Hint(hint) => {
                    if self.presence.refusal(&hint.node).is_none() {
                        let from = hint.node.clone();
                        self.engine.handle_hint(&from, hint, now);
                    }
                }
                News::Greeted(peer, greeting) => greeted.push((peer, greeting)),
                News::Reachable(peer) => {
                    self.reachable.insert(peer);
                }
                News::Unreachable(peer) => {
                    self.reachable.remove(&peer);
                }
            }
        }
        greeted
    }

    fn take_news(&mut self, now: Tick, pools: &mut dyn Pools) {
        for (peer, greeting) in self.take_simple_news(now) {
            match greeting {
                Greeting::Refused(_) => self.engine.set_refused(&peer, true),
                Greeting::Known | Greeting::NewLife | Greeting::NewLedger => {
                    self.engine.add_peer(&peer, now);
                    if greeting != Greeting::Known {
                        self.leaving.remove(&peer);
                    }
                    self.engine.set_refused(&peer, self.leaving.contains(&peer));
                    if let Some((ledger, inc)) = self.presence.life_of(&peer) {
                        if greeting == Greeting::NewLedger {
                            self.voter.ledger_replaced(&peer);
                            self.engine.ledger_replaced(&peer, inc, now, pools);
                        }
                        self.engine.greeted(&peer, ledger, inc, now, pools);
                    }
                }
            }
        }
    }

    fn on_leave(&mut self, from: &NodeName, leave: &Leave) {
        if leave.draining {
            self.leaving.insert(from.clone());
        } else {
            self.leaving.remove(from);
        }
        self.engine.set_refused(from, leave.draining);
    }

    /// What is beside the grants is put in force.
    fn set_beside(&mut self, now: Tick, pools: &mut dyn Pools) {
        let (retained, withheld, fenced) = (&self.retained, &self.withheld, self.fencing.is_some());
        let lease = self.own.lease_until(&view!(self, now));
        let (own, beats, on) = (&self.own, self.beats(), self.engine.params().self_lease);
        let beside = |id: &ResourceId| {
            let (kept, kept_until) = retained.usable(id, now);
            let beside = Beside { fenced, kept, kept_until, ..Beside::default() };
            if beats && id.class == Class::Hard && (on || own.names(Some(id))) {
                // What others keep of it lies within the spare.
                let (leased, leased_until) = own.leased(id, lease, now);
                Beside { spare: Some(own.spare(id)), leased, leased_until, ..beside }
            } else {
                Beside { withheld: withheld.of(id), ..beside }
            }
        };
        self.engine.set_beside(beside, now, pools);
    }

    fn carry_out(&mut self, out: Vec<Out>, now: Tick, pools: &mut dyn Pools) {
        for out in out {
            match out {
                Out::Send(to, message) if to == self.node => self.take(&to, message, now, pools),
                Out::Send(to, message) => self.engine.act(Action::Send { to, message }),
                Out::ToSelf(message) => {
                    let node = self.node.clone();
                    self.take(&node, message, now, pools);
                }
                Out::Persist(record, ticket) => {
                    let batch = self.engine.record(record);
                    if let Some(ticket) = ticket {
                        self.tickets.push_back((batch, ticket));
                    }
                }
                Out::Tell(event) => self.engine.act(Action::Tell(event)),
            }
        }
    }
}

#[cfg(test)]
mod tests;
