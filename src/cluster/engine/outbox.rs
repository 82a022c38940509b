//! What a node wants done, and what every rule has at hand while it runs.

use std::collections::VecDeque;

use crate::cluster::action::{Action, Event};
use crate::cluster::ids::{Incarnation, NodeName};
use crate::cluster::ledger::Record;
use crate::cluster::message::Message;
use crate::cluster::params::Parameters;
use crate::cluster::pools::Pools;
use crate::cluster::resource::Kind;
use crate::cluster::rules::{Rule, Rules};
use crate::units::Tick;

use super::journal::{BatchNo, Journal};
use super::peers::{PeerIndex, Peers};

/// Actions that nobody fetched yet. A driver that stops fetching loses messages, which are said again, and events, but never
/// a batch of records: at most one is under way.
const ACTIONS_MAX: usize = 65_536;

/// Actions in the order in which they arose.
#[derive(Debug, Clone, Default)]
pub(in crate::cluster) struct Outbox {
    actions: VecDeque<Action>,
    dropped: u64,
}

impl Outbox {
    pub(in crate::cluster) fn push(&mut self, action: Action) {
        let may_drop = !matches!(action, Action::Persist { .. });
        if may_drop && self.actions.len() >= ACTIONS_MAX {
            self.dropped = self.dropped.saturating_add(1);
            return;
        }
        self.actions.push_back(action);
    }

    pub(in crate::cluster) fn tell(&mut self, event: Event) {
        self.push(Action::Tell(event));
    }

    pub(in crate::cluster) fn pop(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// How many were dropped because nobody fetched them.
    pub(in crate::cluster) const fn dropped(&self) -> u64 {
        self.dropped
    }
}

/// What doesn't change in a life of the process.
#[derive(Debug, Clone)]
pub(in crate::cluster) struct Env {
    pub(in crate::cluster) node: NodeName,
    pub(in crate::cluster) inc: Incarnation,
    pub(in crate::cluster) params: Parameters,
    pub(in crate::cluster) rules: Rules,
}

impl Env {
    /// W: how long a call that was admitted counts, by any clock within the error.
    pub(in crate::cluster) fn window_nanos(&self) -> u64 {
        // Mutant: a window that is too short.
        if self.rules.has(Rule::FullWindow) { self.params.window_nanos() } else { self.params.window_nanos() / 10 * 9 }
    }

    /// T of a resource, in milliseconds; `None`: a loan of it has no end.
    pub(in crate::cluster) const fn term_ms(&self, kind: Kind, leased: bool) -> Option<u32> {
        match (kind, leased) {
            (Kind::Rate, _) => Some(self.params.rate_term_ms),
            (Kind::Session, true) => Some(self.params.session_term_ms),
            (Kind::Session, false) => None,
        }
    }
}

/// Numbers that look random and are the same for the same seed (`SplitMix64`, Steele, Lea and Flood 2014).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(in crate::cluster) struct Dice(u64);

impl Dice {
    pub(in crate::cluster) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(in crate::cluster) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}

/// What every rule has at hand.
pub(in crate::cluster) struct Cx<'a> {
    pub(in crate::cluster) now: Tick,
    pub(in crate::cluster) env: &'a Env,
    pub(in crate::cluster) peers: &'a Peers,
    pub(in crate::cluster) journal: &'a mut Journal,
    pub(in crate::cluster) outbox: &'a mut Outbox,
    pub(in crate::cluster) pools: &'a mut dyn Pools,
}

impl Cx<'_> {
    pub(in crate::cluster) fn has(&self, rule: Rule) -> bool {
        self.env.rules.has(rule)
    }

    pub(in crate::cluster) fn send(&mut self, to: PeerIndex, message: Message) {
        self.outbox.push(Action::Send { to: self.peers.name(to).clone(), message });
    }

    pub(in crate::cluster) fn record(&mut self, record: Record) -> BatchNo {
        self.journal.push(record)
    }

    pub(in crate::cluster) fn ignore(&mut self, from: PeerIndex, reason: &'static str) {
        self.outbox.tell(Event::Ignored { from: self.peers.name(from).clone(), reason });
    }
}
