//! Beats of other nodes (10-H): each says what its sender can do without, should it be cut off. That is durable here before
//! it is acknowledged, so a vote for a trustee never names more; and who was acknowledged is voted against by nobody before
//! its self-lease has ended by any clock, plus a window.
//!
//! Where it stops: it gives no vote; `voter` asks it whether one may be given, and what may be kept.

use std::collections::BTreeMap;

use super::{Out, Ticket, View};
use crate::cluster::ids::{Incarnation, NodeName};
use crate::cluster::ledger::{Ledger, Record};
use crate::cluster::message::{Anchor, Beat, Spare};
use crate::cluster::resource::{Licenses, ResourceId};
use crate::cluster::rules::Rule;
use crate::units::Tick;

/// When what a node can do without is no longer there to be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ends {
    Never,
    At(Tick),
    /// It ends, and when isn't known: it counts for nothing.
    Unknown,
}

#[derive(Debug, Clone)]
struct Heard {
    /// The newest beat: older ones count for nothing.
    newest: (Incarnation, Anchor),
    spare: BTreeMap<ResourceId, (Licenses, Ends)>,
    /// How often what is durable changed.
    change: u64,
    durable: bool,
    /// The beat that waits for that.
    owed: Option<(Incarnation, Anchor)>,
    /// When it was heard or acknowledged last.
    last: Tick,
}

/// The beats of every node.
#[derive(Debug, Clone, Default)]
pub(super) struct Beats {
    of: BTreeMap<NodeName, Heard>,
    /// This node's own life, echoed in beats.
    life: Incarnation,
}

impl Beats {
    /// What was heard in earlier lives. How long ago is not known: the wait starts anew.
    pub(super) fn recover(ledger: &Ledger, now: Tick) -> Self {
        let mut of = BTreeMap::new();
        for record in ledger.records.values() {
            if let Record::Spare { node, inc, anchor, spare } = record {
                let ends = |ends: bool| if ends { Ends::Unknown } else { Ends::Never };
                let spare = spare.iter().map(|(id, count, end)| (id.clone(), (*count, ends(*end)))).collect();
                let newest = (*inc, *anchor);
                of.insert(node.clone(), Heard { newest, spare, change: 0, durable: true, owed: None, last: now });
            }
        }
        Self { of, life: ledger.inc }
    }

    /// A beat. Says whether it may be acknowledged now, or what is to be done first.
    pub(super) fn take(&mut self, from: &NodeName, beat: &Beat, view: &View<'_>) -> Taken {
        let newest = (beat.inc, beat.anchor);
        if self.of.get(from).is_some_and(|heard| heard.newest >= newest) {
            return Taken::Old;
        }
        let begun = beat.echo.filter(|(life, at)| *life == self.life && at.0 <= view.now.0).map(|(_, at)| Tick(at.0));
        let ends = |spare: &Spare| match (spare.lasts_ms, begun) {
            (None, _) => Ends::Never,
            (Some(lasts), Some(begun)) => Ends::At(begun.plus_millis(view.params.surely_ms(lasts))),
            (Some(_), None) => Ends::Unknown,
        };
        let spare: BTreeMap<ResourceId, (Licenses, Ends)> =
            beat.spare.iter().map(|spare| (spare.resource.clone(), (spare.licenses, ends(spare)))).collect();
        let before = self.of.remove(from);
        // A life is recorded too: after a restart here, no beat of an earlier one counts.
        let same = before
            .as_ref()
            .is_some_and(|before| before.newest.0 == beat.inc && stored(&before.spare) == stored(&spare));
        let change = before.as_ref().map_or(0, |before| before.change);
        let durable = before.is_some_and(|before| before.durable);
        if same {
            let owed = if durable { None } else { Some(newest) };
            self.of.insert(from.clone(), Heard { newest, spare, change, durable, owed, last: view.now });
            return if durable { Taken::Acknowledge } else { Taken::Waits(None) };
        }
        let record = Record::Spare { node: from.clone(), inc: beat.inc, anchor: beat.anchor, spare: stored(&spare) };
        let (change, owed) = (change + 1, Some(newest));
        self.of.insert(from.clone(), Heard { newest, spare, change, durable: false, owed, last: view.now });
        Taken::Waits(Some(Out::Persist(record, Some(Ticket::Spare(from.clone(), change)))))
    }

    /// What a node said is durable: which beat may be acknowledged.
    pub(super) fn durable(&mut self, node: &NodeName, change: u64, now: Tick) -> Option<(Incarnation, Anchor)> {
        let heard = self.of.get_mut(node).filter(|heard| heard.change == change)?;
        heard.durable = true;
        heard.last = now;
        heard.owed.take()
    }

    pub(super) const fn life(&self) -> Incarnation {
        self.life
    }

    /// Whether the self-lease of a node may still run, or calls on it.
    pub(super) fn may_be_leased(&self, node: &NodeName, view: &View<'_>) -> bool {
        // Mutant: nobody waits for it.
        view.rules.has(Rule::SelfLeaseWaits)
            && self.of.get(node).is_some_and(|heard| view.now < heard.last.plus_nanos(view.params.self_lease_nanos()))
    }

    /// What may be kept of a node, as it said last.
    pub(super) fn spare_of(&self, node: &NodeName, now: Tick) -> Vec<Spare> {
        let Some(heard) = self.of.get(node) else { return Vec::new() };
        let lasting = |(resource, (licenses, ends)): (&ResourceId, &(Licenses, Ends))| {
            let lasts_ms = match ends {
                Ends::Never => None,
                Ends::At(at) if *at > now => Some(at.nanos_since(now) / 1_000_000),
                Ends::At(_) | Ends::Unknown => return None,
            };
            Some(Spare { resource: resource.clone(), licenses: *licenses, lasts_ms })
        };
        heard.spare.iter().filter_map(lasting).collect()
    }

    /// A node's lives are counted anew.
    pub(super) fn begin_anew(&mut self, node: &NodeName) {
        if let Some(heard) = self.of.get_mut(node) {
            heard.newest = (Incarnation(0), Anchor(0));
        }
    }

    /// The operator forgot a node: what it said once counts no more.
    pub(super) fn forget(&mut self, node: &NodeName) -> Option<Out> {
        let heard = self.of.remove(node)?;
        let (inc, anchor) = heard.newest;
        Some(Out::Persist(Record::Spare { node: node.clone(), inc, anchor, spare: Vec::new() }, None))
    }
}

/// What becomes of a beat.
#[derive(Debug)]
pub(super) enum Taken {
    /// A newer one was heard.
    Old,
    /// What it says is durable.
    Acknowledge,
    /// It is to be made durable, if that isn't under way already.
    Waits(Option<Out>),
}

fn stored(spare: &BTreeMap<ResourceId, (Licenses, Ends)>) -> Vec<(ResourceId, Licenses, bool)> {
    spare.iter().map(|(id, (count, ends))| (id.clone(), *count, *ends != Ends::Never)).collect()
}
