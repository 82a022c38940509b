//! What peers last said of themselves in [`Hint`]s, and when the own one is said.
//!
//! The newest counts, an old one counts no more, and no value is believed beyond its bound: whoever lies is asked in vain, or
//! not at all. Nothing that moves a unit reads this.

use std::collections::BTreeMap;

use crate::cluster::ids::{Incarnation, NodeName};
use crate::cluster::message::{Hint, HintOf};
use crate::cluster::resource::{Licenses, ResourceId};
use crate::cluster::wire::RESOURCES_MAX;
use crate::units::Tick;

/// The highest count that a hint is believed.
const LICENSES_MAX: Licenses = Licenses(10_000_000);
/// The highest number of units that a hint is believed.
const UNITS_MAX: u32 = 50_000_000;
/// The most peers whose hints are kept.
const PEERS_MAX: usize = 4096;

/// A hint that counts for nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cluster) enum HintError {
    /// It is about another node than the one that the certificate names.
    Forged,
    /// A newer one is known.
    Old,
    /// More peers are heard than a cluster has.
    Full,
}

/// Sums over what peers said lately.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HintSum {
    /// How many said something.
    pub peers: u32,
    /// Their home counts.
    pub home: u64,
    /// What is in use there, in units.
    pub used: u64,
    /// What is free there, in units.
    pub free: u64,
    /// What they would lend.
    pub surplus: u64,
    /// How many refuse calls for want of units.
    pub starving: u32,
}

#[derive(Debug, Clone)]
struct Heard {
    stamp: (Incarnation, u64),
    at: Tick,
    of: HintOf,
}

/// The newest hint of each peer and resource.
#[derive(Debug, Clone, Default)]
pub(in crate::cluster) struct Hints {
    table: BTreeMap<NodeName, BTreeMap<ResourceId, Heard>>,
}

impl Hints {
    /// Takes what a hint says, the bounds put on. What comes back is what was newer than what was known.
    pub(in crate::cluster) fn take(&mut self, from: &NodeName, hint: Hint, now: Tick) -> Result<Hint, HintError> {
        if hint.node != *from {
            return Err(HintError::Forged);
        }
        if !self.table.contains_key(from) && self.table.len() >= PEERS_MAX {
            return Err(HintError::Full);
        }
        let stamp = (hint.inc, hint.stamp);
        let known = self.table.entry(from.clone()).or_default();
        let mut newer = Vec::new();
        for of in hint.of {
            let room = known.len() < RESOURCES_MAX || known.contains_key(&of.resource);
            if !room || known.get(&of.resource).is_some_and(|heard| heard.stamp >= stamp) {
                continue;
            }
            let of = bounded(of);
            known.insert(of.resource.clone(), Heard { stamp, at: now, of: of.clone() });
            newer.push(of);
        }
        if newer.is_empty() {
            return Err(HintError::Old);
        }
        Ok(Hint { of: newer, ..hint })
    }

    /// What a peer last said of a resource, whenever that was.
    pub(in crate::cluster) fn last(&self, peer: &NodeName, resource: &ResourceId) -> Option<&HintOf> {
        self.table.get(peer)?.get(resource).map(|heard| &heard.of)
    }

    /// Who has something to spare of a resource, by what was said since `since`: the most first.
    pub(in crate::cluster) fn with_surplus(&self, resource: &ResourceId, since: Tick) -> Vec<(NodeName, Licenses)> {
        let mut found: Vec<(NodeName, Licenses)> = self
            .lately(resource, since)
            .filter(|(_, of)| of.surplus > Licenses::ZERO)
            .map(|(name, of)| (name.clone(), of.surplus))
            .collect();
        found.sort_by(|one, other| other.1.cmp(&one.1).then_with(|| one.0.cmp(&other.0)));
        found
    }

    /// Sums over what was said since `since`.
    pub(in crate::cluster) fn sum(&self, resource: &ResourceId, since: Tick) -> HintSum {
        let mut sum = HintSum::default();
        for (_, of) in self.lately(resource, since) {
            sum.peers = sum.peers.saturating_add(1);
            sum.home = sum.home.saturating_add(u64::from(of.home.0));
            sum.used = sum.used.saturating_add(u64::from(of.used));
            sum.free = sum.free.saturating_add(u64::from(of.free));
            sum.surplus = sum.surplus.saturating_add(u64::from(of.surplus.0));
            sum.starving = sum.starving.saturating_add(u32::from(of.starving));
        }
        sum
    }

    fn lately(&self, resource: &ResourceId, since: Tick) -> impl Iterator<Item = (&NodeName, &HintOf)> {
        self.table
            .iter()
            .filter_map(move |(name, of)| of.get(resource).map(|heard| (name, heard)))
            .filter(move |(_, heard)| heard.at >= since)
            .map(|(name, heard)| (name, &heard.of))
    }

    /// A node is gone for good.
    pub(in crate::cluster) fn forget(&mut self, peer: &NodeName) {
        self.table.remove(peer);
    }
}

fn bounded(of: HintOf) -> HintOf {
    let home = of.home.min(LICENSES_MAX);
    HintOf {
        home,
        used: of.used.min(UNITS_MAX),
        free: of.free.min(UNITS_MAX),
        surplus: of.surplus.min(home),
        demand: of.demand.min(UNITS_MAX),
        ..of
    }
}
