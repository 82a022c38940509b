//! Who each peer said that it is, and whether it is believed: [`Hello`].
//!
//! A peer is refused, which means that nothing is lent to it and nothing borrowed of it, while
//!
//! - it speaks no version of the protocol that this node speaks;
//! - its name is in use by another ledger that is alive too;
//! - its ledger is in use under another name, or by another process;
//! - its ledger has gone back: an older copy was put in its place.
//!
//! What was lent before stays as it is: a refusal moves no unit.

use std::collections::{BTreeMap, BTreeSet};

use crate::cluster::action::Event;
use crate::cluster::ids::{Incarnation, LedgerId, NodeName};
use crate::cluster::message::Hello;
use crate::cluster::resource::ResourceId;
use crate::cluster::wire::{PROTOCOL_MAX, PROTOCOL_MIN};
use crate::units::Tick;

/// A new ledger takes over a name when the one before it hasn't been heard for so long, in milliseconds.
const CLAIM_WAIT_MS: u64 = 5000;

/// Why nothing is shared with a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Refused {
    /// It speaks none of this node's versions: what each holds stays split as it is.
    OtherVersion,
    /// Two ledgers are alive under its name.
    NameUsedTwice,
    /// Its ledger is in use elsewhere too.
    LedgerUsedTwice,
    /// Its ledger is older than it was.
    LedgerWentBack,
    /// It hasn't said who it is.
    Unknown,
}

impl Refused {
    /// In words, as a counter's label has it.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::OtherVersion => "speaks another version",
            Self::NameUsedTwice => "its name is used twice",
            Self::LedgerUsedTwice => "its ledger is used twice",
            Self::LedgerWentBack => "its ledger went back",
            Self::Unknown => "hasn't said who it is",
        }
    }
}

/// What a Hello changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cluster) enum Greeting {
    /// The life that was known, or the first that is.
    Known,
    /// A new life of the ledger.
    NewLife,
    /// A new ledger under the name, believed: an empty disk.
    NewLedger,
    /// Nothing is shared with it.
    Refused(Refused),
}

#[derive(Debug, Clone)]
struct Peer {
    ledger: LedgerId,
    inc: Incarnation,
    life: u64,
    resources: BTreeSet<ResourceId>,
    refused: Option<Refused>,
    /// When this ledger was last heard.
    heard: Tick,
    /// Another ledger that says that the name is its own, and since when.
    claimant: Option<(Hello, Tick)>,
}

/// What every peer said.
#[derive(Debug, Clone, Default)]
pub(in crate::cluster) struct Greetings {
    peers: BTreeMap<NodeName, Peer>,
    ledgers: BTreeMap<LedgerId, NodeName>,
}

impl Greetings {
    /// Why nothing is shared with a peer, if nothing is.
    pub(in crate::cluster) fn refusal(&self, peer: &NodeName) -> Option<Refused> {
        self.peers.get(peer).map_or(Some(Refused::Unknown), |known| known.refused)
    }

    /// Whether a resource is lent to and borrowed of a peer: both name it, kind and class included, and it is believed.
    pub(in crate::cluster) fn shares(&self, peer: &NodeName, resource: &ResourceId) -> bool {
        self.peers.get(peer).is_some_and(|known| known.refused.is_none() && known.resources.contains(resource))
    }

    /// A peer's ledger and incarnation, as it said last.
    pub(in crate::cluster) fn life_of(&self, peer: &NodeName) -> Option<(LedgerId, Incarnation)> {
        self.peers.get(peer).map(|known| (known.ledger, known.inc))
    }

    /// A sign of life of one ledger under a name. Two that live at the same time are a name used twice.
    pub(in crate::cluster) fn heard(
        &mut self,
        peer: &NodeName,
        is_it: impl Fn(LedgerId, Incarnation) -> bool,
        now: Tick,
        events: &mut Vec<Event>,
    ) {
        let Some(known) = self.peers.get_mut(peer) else { return };
        if !is_it(known.ledger, known.inc) {
            return;
        }
        known.heard = now;
        let Some((claim, since)) = &known.claimant else { return };
        // Something that was under way may still arrive.
        let both_live = now > since.plus_millis(CLAIM_WAIT_MS / 5);
        if both_live && known.refused != Some(Refused::NameUsedTwice) {
            known.refused = Some(Refused::NameUsedTwice);
            events.push(Event::NameUsedTwice { node: peer.clone(), ledgers: [known.ledger, claim.ledger] });
        }
    }

    /// A sign of life that names the incarnation alone. Where it is that of both ledgers it says nothing: a replaced node
    /// whose counter begins anew would keep the ledger alive that it replaces.
    pub(in crate::cluster) fn heard_in(
        &mut self,
        peer: &NodeName,
        inc: Incarnation,
        now: Tick,
        events: &mut Vec<Event>,
    ) {
        let claim = self.peers.get(peer).and_then(|known| known.claimant.as_ref());
        if claim.is_none_or(|(claim, _)| claim.inc != inc) {
            self.heard(peer, |_, known| known == inc, now, events);
        }
    }

    /// What a peer says of itself. That the name is that of its certificate has been checked.
    pub(in crate::cluster) fn take(&mut self, hello: Hello, now: Tick, events: &mut Vec<Event>) -> Greeting {
        let name = hello.node.clone();
        if let Some(refused) = self.ledger_conflict(&hello, events) {
            return self.refuse(hello, refused, now);
        }
        let Some(known) = self.peers.get_mut(&name) else {
            return self.believe(hello, Greeting::Known, now, events);
        };
        if known.ledger != hello.ledger {
            if now > known.heard.plus_millis(CLAIM_WAIT_MS) {
                return self.replace(hello, now, events);
            }
            let since = known.claimant.as_ref().map_or(now, |(_, since)| *since);
            known.claimant = Some((hello, since));
            return Greeting::Refused(Refused::NameUsedTwice);
        }
        match (known.inc.cmp(&hello.inc), known.life == hello.life) {
            (std::cmp::Ordering::Greater, _) => {
                if known.refused != Some(Refused::LedgerWentBack) {
                    let (seen, found) = (known.inc, hello.inc);
                    events.push(Event::LedgerWentBack { node: name, ledger: hello.ledger, seen, found });
                }
                known.refused = Some(Refused::LedgerWentBack);
                Greeting::Refused(Refused::LedgerWentBack)
            }
            (std::cmp::Ordering::Equal, false) => {
                if known.refused != Some(Refused::LedgerUsedTwice) {
                    events.push(Event::LedgerUsedTwice { ledger: hello.ledger, nodes: [name.clone(), name] });
                }
                known.refused = Some(Refused::LedgerUsedTwice);
                Greeting::Refused(Refused::LedgerUsedTwice)
            }
            (std::cmp::Ordering::Equal, true) => self.believe(hello, Greeting::Known, now, events),
            (std::cmp::Ordering::Less, _) => self.believe(hello, Greeting::NewLife, now, events),
        }
    }

    /// A ledger that another name has.
    fn ledger_conflict(&self, hello: &Hello, events: &mut Vec<Event>) -> Option<Refused> {
        let owner = self.ledgers.get(&hello.ledger).filter(|owner| **owner != hello.node)?;
        let known = self.peers.get(&hello.node).is_some_and(|known| known.refused == Some(Refused::LedgerUsedTwice));
        if !known {
            events.push(Event::LedgerUsedTwice { ledger: hello.ledger, nodes: [owner.clone(), hello.node.clone()] });
        }
        Some(Refused::LedgerUsedTwice)
    }

    fn refuse(&mut self, hello: Hello, refused: Refused, now: Tick) -> Greeting {
        let peer = Peer {
            ledger: hello.ledger,
            inc: hello.inc,
            life: hello.life,
            resources: BTreeSet::new(),
            refused: Some(refused),
            heard: now,
            claimant: None,
        };
        self.peers.entry(hello.node).and_modify(|known| known.refused = Some(refused)).or_insert(peer);
        Greeting::Refused(refused)
    }

    fn believe(&mut self, hello: Hello, greeting: Greeting, now: Tick, events: &mut Vec<Event>) -> Greeting {
        let speaks = hello.proto_min <= PROTOCOL_MAX && hello.proto_max >= PROTOCOL_MIN;
        let known = self.peers.get(&hello.node);
        let was_told = known.is_some_and(|known| known.refused == Some(Refused::OtherVersion));
        let claimant = known.and_then(|known| known.claimant.clone()).filter(|(claim, _)| claim.ledger != hello.ledger);
        let is_disputed =
            claimant.is_some() && known.is_some_and(|known| known.refused == Some(Refused::NameUsedTwice));
        let refused = if !speaks {
            Some(Refused::OtherVersion)
        } else if is_disputed {
            Some(Refused::NameUsedTwice)
        } else {
            None
        };
        if !speaks && !was_told {
            events.push(Event::OtherVersion {
                node: hello.node.clone(),
                found: [hello.proto_min, hello.proto_max],
                accepted: [PROTOCOL_MIN, PROTOCOL_MAX],
            });
        }
        self.ledgers.insert(hello.ledger, hello.node.clone());
        let peer = Peer {
            ledger: hello.ledger,
            inc: hello.inc,
            life: hello.life,
            resources: hello.resources.into_iter().collect(),
            refused,
            heard: now,
            claimant,
        };
        self.peers.insert(hello.node, peer);
        refused.map_or(greeting, Greeting::Refused)
    }

    fn replace(&mut self, hello: Hello, now: Tick, events: &mut Vec<Event>) -> Greeting {
        if let Some(before) = self.peers.remove(&hello.node) {
            self.ledgers.remove(&before.ledger);
            events.push(Event::Replaced { node: hello.node.clone(), before: before.ledger, now: hello.ledger });
        }
        self.believe(hello, Greeting::NewLedger, now, events)
    }

    /// Of two ledgers under a name the one that fell silent is given up. Says whose name has a new ledger now.
    pub(in crate::cluster) fn settle_claims(
        &mut self,
        now: Tick,
        events: &mut Vec<Event>,
    ) -> Vec<(NodeName, Greeting)> {
        let mut settled = Vec::new();
        let due: Vec<NodeName> = self
            .peers
            .iter()
            .filter(|(_, peer)| peer.claimant.is_some() && now > peer.heard.plus_millis(CLAIM_WAIT_MS))
            .map(|(name, _)| name.clone())
            .collect();
        for name in due {
            let claim = self.peers.get_mut(&name).and_then(|peer| peer.claimant.take());
            if let Some((hello, _)) = claim {
                let greeting = self.replace(hello, now, events);
                settled.push((name, greeting));
            }
        }
        settled
    }

    /// When a claim may be settled.
    pub(in crate::cluster) fn next_claim(&self) -> Option<Tick> {
        let due = |peer: &Peer| peer.heard.plus_millis(CLAIM_WAIT_MS).plus_nanos(1);
        self.peers.values().filter(|peer| peer.claimant.is_some()).map(due).min()
    }

    /// The operator forgot a node: whoever comes under its name is new.
    pub(in crate::cluster) fn forget(&mut self, peer: &NodeName) {
        if let Some(known) = self.peers.remove(peer) {
            self.ledgers.remove(&known.ledger);
        }
    }
}
