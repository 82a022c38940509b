//! Who is there, who they say they are, and what they say they have: membership, [`Hello`] and hints together. PURE.
//!
//! Where it stops: it moves no unit. The engine asks it whether a peer may be lent to ([`Presence::shares`]), is handed
//! hints that are new, and is told who came, went and began anew.
//!
//! What must stay true: nothing that counts here came from another sender than the one that its certificate names; and
//! whatever floods in, what is kept and what is told stays bounded.

mod greetings;
mod hints;

use std::collections::{BTreeMap, VecDeque};

pub(in crate::cluster) use self::greetings::Greeting;
use self::greetings::Greetings;
pub use self::greetings::Refused;
pub use self::hints::HintSum;
use self::hints::{HintError, Hints};
use super::action::{Action, Event};
use super::ids::{Incarnation, LedgerId, NodeName};
use super::members::{Dice, FrameError, Members, Output, Setup as MembersSetup};
use super::message::{Hello, Hint, HintOf, Message};
use super::params::Parameters;
use super::resource::{Licenses, ResourceId};
use super::wire::{DATAGRAM_BYTES_MAX, Datagram, PROTOCOL_MAX, PROTOCOL_MIN, decode_datagram, encode_datagram};
use crate::units::Tick;

/// Hints older than this many gossip rounds count no more.
const HINT_ROUNDS: u64 = 30;
/// A connected peer that hasn't said who it is is asked so often, in milliseconds.
const HELLO_AGAIN_MS: u64 = 1000;
/// What was ignored for one reason is told at most so often, in milliseconds; it is counted always.
const IGNORED_TOLD_EVERY_MS: u64 = 1000;

/// How presence is set up.
#[derive(Debug, Clone)]
pub(in crate::cluster) struct Setup {
    pub(in crate::cluster) node: NodeName,
    pub(in crate::cluster) ledger: LedgerId,
    pub(in crate::cluster) inc: Incarnation,
    pub(in crate::cluster) peers: Vec<NodeName>,
    pub(in crate::cluster) resources: Vec<ResourceId>,
    pub(in crate::cluster) params: Parameters,
    pub(in crate::cluster) seed: u64,
}

/// What the engine is to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cluster) enum News {
    /// Something that the driver is to do, or people to know.
    Do(Action),
    /// A peer's new word about what it has.
    Hint(Hint),
    /// A peer said who it is.
    Greeted(NodeName, Greeting),
    /// A peer answers.
    Reachable(NodeName),
    /// A peer answers no more.
    Unreachable(NodeName),
}

/// Who is there.
#[derive(Debug)]
pub(in crate::cluster) struct Presence {
    setup: Setup,
    members: Members,
    greetings: Greetings,
    hints: Hints,
    dice: Dice,
    stamp: u64,
    gossip_at: Tick,
    /// Since when a peer hasn't answered: configured ones from the start, others since they went.
    silent_since: BTreeMap<NodeName, Tick>,
    ignored: BTreeMap<&'static str, (u64, Option<Tick>)>,
    /// Connected peers that haven't said who they are, and when they are asked again.
    unknown: BTreeMap<NodeName, Tick>,
    news: VecDeque<News>,
}

impl Presence {
    pub(in crate::cluster) fn new(setup: Setup, now: Tick) -> Self {
        let mut dice = Dice::new(setup.seed ^ 0x6A09_E667_F3BC_C908);
        let members = Members::new(
            MembersSetup {
                node: setup.node.clone(),
                ledger: setup.ledger,
                inc: setup.inc,
                peers: setup.peers.clone(),
                members_max: usize::try_from(setup.params.members_max).unwrap_or(usize::MAX),
                seed: dice.throw(),
            },
            now,
        );
        let silent_since = setup.peers.iter().map(|peer| (peer.clone(), now)).collect();
        Self {
            members,
            greetings: Greetings::default(),
            hints: Hints::default(),
            dice,
            stamp: 0,
            gossip_at: now,
            silent_since,
            ignored: BTreeMap::new(),
            unknown: BTreeMap::new(),
            news: VecDeque::new(),
            setup,
        }
    }

    /// The next thing to do or to know.
    pub(in crate::cluster) fn poll(&mut self) -> Option<News> {
        self.news.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) or [`gossip`](Self::gossip) is due.
    pub(in crate::cluster) fn poll_timeout(&self) -> Option<Tick> {
        let gossip = (self.members.active_count() > 0).then_some(self.gossip_at);
        let unknown = self.unknown.values().min().copied();
        [self.members.poll_timeout(), self.greetings.next_claim(), gossip, unknown].into_iter().flatten().min()
    }

    /// Time has come to where something is due.
    pub(in crate::cluster) fn handle_timeout(&mut self, now: Tick) {
        self.members.handle_timeout(now);
        self.drain_members(now);
        let due: Vec<NodeName> =
            self.unknown.iter().filter(|(_, at)| **at <= now).map(|(peer, _)| peer.clone()).collect();
        for peer in due {
            self.say_hello(&peer, now);
        }
        let mut events = Vec::new();
        for (peer, greeting) in self.greetings.settle_claims(now, &mut events) {
            self.news.push_back(News::Greeted(peer, greeting));
        }
        self.tell_all(events);
    }

    // --- who they are ------------------------------------------------------------------------------------------------

    /// A connection came up: the first word on it is who this node is.
    pub(in crate::cluster) fn handle_connected(&mut self, peer: &NodeName, now: Tick) {
        self.say_hello(peer, now);
        self.members.handle_connected(peer, now);
        self.drain_members(now);
    }

    /// The connection to a peer is gone.
    pub(in crate::cluster) fn handle_disconnected(&mut self, peer: &NodeName) {
        self.unknown.remove(peer);
    }

    /// Whether this life of a peer greeted, or a later one.
    pub(in crate::cluster) fn has_greeted(&self, peer: &NodeName, inc: Incarnation) -> bool {
        self.greetings.life_of(peer).is_some_and(|(_, life)| inc <= life)
    }

    /// A word came of a life that hasn't greeted: of which ledger it is, its greeting will say. It is on its way, or lost.
    pub(in crate::cluster) fn await_greeting(&mut self, peer: &NodeName, now: Tick) {
        self.ignore(peer, "a word of a life that hasn't greeted yet", now);
        self.unknown.entry(peer.clone()).or_insert_with(|| now.plus_millis(HELLO_AGAIN_MS / 10));
    }

    fn say_hello(&mut self, peer: &NodeName, now: Tick) {
        let asks = self.greetings.refusal(peer) == Some(Refused::Unknown) || self.unknown.contains_key(peer);
        if asks {
            self.unknown.insert(peer.clone(), now.plus_millis(HELLO_AGAIN_MS));
        }
        let message = Message::Hello(Hello { asks, ..self.hello() });
        self.news.push_back(News::Do(Action::Send { to: peer.clone(), message }));
    }

    fn hello(&self) -> Hello {
        Hello {
            proto_min: PROTOCOL_MIN,
            proto_max: PROTOCOL_MAX,
            node: self.setup.node.clone(),
            ledger: self.setup.ledger,
            inc: self.setup.inc,
            life: Dice::new(self.setup.seed).throw(),
            asks: false,
            resources: self.setup.resources.clone(),
        }
    }

    /// Who a peer says that it is.
    pub(in crate::cluster) fn handle_hello(&mut self, from: &NodeName, hello: Hello, now: Tick) {
        if hello.node != *from {
            return self.ignore(from, "a hello under another name than its certificate's", now);
        }
        let asks = hello.asks;
        self.unknown.remove(from);
        let mut events = Vec::new();
        let greeting = if hello.ledger == self.setup.ledger {
            events
                .push(Event::LedgerUsedTwice { ledger: hello.ledger, nodes: [self.setup.node.clone(), from.clone()] });
            Greeting::Refused(Refused::LedgerUsedTwice)
        } else {
            self.greetings.take(hello, now, &mut events)
        };
        self.tell_all(events);
        if asks {
            self.say_hello(from, now);
        }
        self.news.push_back(News::Greeted(from.clone(), greeting));
    }

    /// This life's incarnation is higher than the boot counter said.
    pub(in crate::cluster) fn raise_inc(&mut self, inc: Incarnation, now: Tick) {
        self.setup.inc = inc;
        self.members.raise_inc(inc, now);
        self.drain_members(now);
    }

    /// Why nothing is shared with a peer, if nothing is.
    pub(in crate::cluster) fn refusal(&self, peer: &NodeName) -> Option<Refused> {
        self.greetings.refusal(peer)
    }

    /// Whether a resource is lent to and borrowed of a peer.
    pub(in crate::cluster) fn shares(&self, peer: &NodeName, resource: &ResourceId) -> bool {
        self.greetings.shares(peer, resource)
    }

    /// A peer's ledger and incarnation, as it said last.
    pub(in crate::cluster) fn life_of(&self, peer: &NodeName) -> Option<(LedgerId, Incarnation)> {
        self.greetings.life_of(peer)
    }

    // --- datagrams ---------------------------------------------------------------------------------------------------

    /// A datagram from the node that the certificate names.
    pub(in crate::cluster) fn handle_datagram(&mut self, from: &NodeName, bytes: &[u8], now: Tick) {
        match decode_datagram(bytes) {
            Err(error) => self.ignore(from, error.label(), now),
            Ok(Datagram::Known(generation)) => {
                self.members.handle_known(generation, now);
                self.drain_members(now);
            }
            Ok(Datagram::Membership(frame)) => {
                let result = self.members.handle_datagram(from, frame, now);
                self.drain_members(now);
                match result {
                    Ok(()) => self.heard_member(from, now),
                    Err(FrameError::Forged) => self.ignore(from, "a forged membership frame", now),
                    Err(FrameError::Malformed) => self.ignore(from, "a malformed membership frame", now),
                    Err(FrameError::Full) => self.ignore(from, "no room in the list of members", now),
                    Err(FrameError::Stale) => self.ignore(from, "a membership frame of an earlier life", now),
                }
            }
            Ok(Datagram::Hint(hint)) => self.handle_hint(from, hint, now),
        }
    }

    fn handle_hint(&mut self, from: &NodeName, hint: Hint, now: Tick) {
        let inc = hint.inc;
        match self.hints.take(from, hint, now) {
            Ok(newer) => {
                let mut events = Vec::new();
                self.greetings.heard_in(from, inc, now, &mut events);
                self.tell_all(events);
                self.news.push_back(News::Hint(newer));
            }
            Err(HintError::Forged) => self.ignore(from, "a hint under another name than its certificate's", now),
            Err(HintError::Old) => self.ignore(from, "a hint older than one seen", now),
            Err(HintError::Full) => self.ignore(from, "no room for hints of more nodes", now),
        }
    }

    /// Whose life a membership frame was of.
    fn heard_member(&mut self, from: &NodeName, now: Tick) {
        let Some(life) = self.members.active().find(|id| id.name == *from).map(|id| (id.ledger, id.inc)) else {
            return;
        };
        let mut events = Vec::new();
        self.greetings.heard(from, |ledger, inc| (ledger, inc) == life, now, &mut events);
        self.tell_all(events);
    }

    fn drain_members(&mut self, now: Tick) {
        while let Some(output) = self.members.poll_output() {
            let news = match output {
                Output::Datagram { to, bytes } => News::Do(Action::Gossip { to, bytes }),
                Output::Up(peer) => {
                    self.silent_since.remove(&peer.name);
                    self.news.push_back(News::Do(Action::Tell(Event::PeerUp { node: peer.name.clone() })));
                    News::Reachable(peer.name)
                }
                Output::Rejoined { before: _, now } => News::Do(Action::Tell(Event::PeerRejoined { node: now.name })),
                Output::Suspect(node) => News::Do(Action::Tell(Event::PeerSuspect { node })),
                Output::Trusted(node) => News::Do(Action::Tell(Event::PeerUp { node })),
                Output::Down(node) => {
                    self.silent_since.entry(node.clone()).or_insert(now);
                    self.news.push_back(News::Do(Action::Tell(Event::PeerDown { node: node.clone() })));
                    News::Unreachable(node)
                }
                Output::Full { refused } => News::Do(Action::Tell(Event::MembersFull { refused })),
            };
            self.news.push_back(news);
        }
    }

    // --- hints -------------------------------------------------------------------------------------------------------

    /// Whether the own hint is due.
    pub(in crate::cluster) fn is_gossip_due(&self, now: Tick) -> bool {
        self.gossip_at <= now
    }

    /// Says what this node has and needs: to all, or to a few drawn at random where there are many.
    pub(in crate::cluster) fn gossip(&mut self, of: &[HintOf], now: Tick) {
        let period = u64::from(self.setup.params.gossip_period_ms.max(1));
        self.gossip_at = now.plus_millis(period);
        if of.is_empty() {
            return;
        }
        let targets = self.targets();
        if targets.is_empty() {
            return;
        }
        self.stamp += 1;
        for bytes in self.hint_datagrams(of) {
            for to in &targets {
                self.news.push_back(News::Do(Action::Gossip { to: to.clone(), bytes: bytes.clone() }));
            }
        }
    }

    fn targets(&mut self) -> Vec<NodeName> {
        let mut names: Vec<NodeName> = self.members.active().map(|id| id.name.clone()).collect();
        // The order of the list depends on foca's shuffles, which a seed repeats; sorted, it depends on nothing.
        names.sort_unstable();
        let mesh = usize::try_from(self.setup.params.mesh_nodes_max).unwrap_or(usize::MAX);
        if names.len() < mesh {
            return names;
        }
        let fanout = usize::try_from(self.setup.params.gossip_fanout).unwrap_or(usize::MAX).clamp(1, names.len());
        for place in 0..fanout {
            let drawn = place + self.dice.below(names.len() - place);
            names.swap(place, drawn);
        }
        names.truncate(fanout);
        names
    }

    /// As many resources in a datagram as fit.
    fn hint_datagrams(&self, of: &[HintOf]) -> Vec<Vec<u8>> {
        let whole = |of: &[HintOf]| {
            let (node, inc, stamp) = (self.setup.node.clone(), self.setup.inc, self.stamp);
            encode_datagram(&Datagram::Hint(Hint { node, inc, stamp, of: of.to_vec() })).ok()
        };
        let mut pieces = Vec::new();
        let mut rest = of;
        while !rest.is_empty() {
            let longest = (1..=rest.len()).rev().find_map(|count| {
                let (head, tail) = rest.split_at_checked(count)?;
                whole(head).filter(|bytes| bytes.len() <= DATAGRAM_BYTES_MAX).map(|bytes| (bytes, tail))
            });
            let Some((bytes, tail)) = longest else { break };
            pieces.push(bytes);
            rest = tail;
        }
        pieces
    }

    fn hints_since(&self, now: Tick) -> Tick {
        let params = &self.setup.params;
        let nodes = u64::try_from(self.members.active_count()).unwrap_or(u64::MAX);
        // Where hints go to a few at a time, each peer is heard less often.
        let rounds = if nodes < u64::from(params.mesh_nodes_max) {
            HINT_ROUNDS
        } else {
            HINT_ROUNDS.max(4 * nodes / u64::from(params.gossip_fanout.max(1)))
        };
        let age_ms = rounds.saturating_mul(u64::from(params.gossip_period_ms.max(1)));
        Tick(now.0.saturating_sub(age_ms.saturating_mul(1_000_000)))
    }

    /// Who has something to spare, by what was said lately: the most first.
    pub(in crate::cluster) fn with_surplus(&self, resource: &ResourceId, now: Tick) -> Vec<(NodeName, Licenses)> {
        let mut found = self.hints.with_surplus(resource, self.hints_since(now));
        found.retain(|(peer, _)| self.shares(peer, resource));
        found
    }

    /// Sums over what peers said lately.
    pub(in crate::cluster) fn hint_sum(&self, resource: &ResourceId, now: Tick) -> HintSum {
        self.hints.sum(resource, self.hints_since(now))
    }

    /// What a peer last said of a resource, whenever that was.
    pub(in crate::cluster) fn last_hint(&self, peer: &NodeName, resource: &ResourceId) -> Option<&HintOf> {
        self.hints.last(peer, resource)
    }

    // --- coming and going --------------------------------------------------------------------------------------------

    /// Those that answer.
    pub(in crate::cluster) fn reachable(&self) -> impl Iterator<Item = &NodeName> {
        self.members.active().map(|id| &id.name)
    }

    /// Since when a peer hasn't answered.
    pub(in crate::cluster) fn silent_since(&self, peer: &NodeName) -> Option<Tick> {
        self.silent_since.get(peer).copied()
    }

    /// This node leaves the cluster.
    pub(in crate::cluster) fn leave(&mut self, now: Tick) {
        self.members.leave(now);
        self.drain_members(now);
    }

    /// The operator forgot a node.
    pub(in crate::cluster) fn forget(&mut self, peer: &NodeName) {
        self.greetings.forget(peer);
        self.hints.forget(peer);
        self.silent_since.remove(peer);
    }

    // --- what was ignored --------------------------------------------------------------------------------------------

    /// Counts what counts for nothing, and tells it now and then.
    pub(in crate::cluster) fn ignore(&mut self, from: &NodeName, reason: &'static str, now: Tick) {
        let (count, told) = self.ignored.entry(reason).or_default();
        *count = count.saturating_add(1);
        if told.is_none_or(|told| now >= told.plus_millis(IGNORED_TOLD_EVERY_MS)) {
            *told = Some(now);
            self.news.push_back(News::Do(Action::Tell(Event::Ignored { from: from.clone(), reason })));
        }
    }

    /// What was ignored so far, by reason.
    pub(in crate::cluster) fn ignored(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.ignored.iter().map(|(reason, (count, _))| (*reason, *count))
    }

    fn tell_all(&mut self, events: Vec<Event>) {
        self.news.extend(events.into_iter().map(|event| News::Do(Action::Tell(event))));
    }
}

#[cfg(test)]
mod tests;
