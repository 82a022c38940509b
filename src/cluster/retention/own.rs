//! A node's own part in 10-H: it beats, and says what it can do without, should it be cut off.
//!
//! Its home count has two parts. The floor f is its own whoever hears it; the rest, the *spare*, a majority may keep when it
//! is lost. The floor is kept ahead of what is in use and lent:
//!
//! - It rises (the spare falls) only when a majority has made the new spare durable and said so, and no trustee still uses
//!   what it kept.
//! - It falls (the spare rises) only when no call and no loan is in the way; the node does without first, durably, and says
//!   so then.
//! - Sessions stay within the floor: a call above it could outlive the lease. Calls against a rate last for one second, so a
//!   rate may use the spare too, while a majority answered a beat of the last T_self.
//!
//! Two majorities share a member: whoever votes for a trustee has heard of the lowest spare that this node ever relied on,
//! and waits for the end of the lease that it acknowledged (`heard`). The price: a node that is cut off has its floor.
//!
//! Switched off again, it goes on until a majority has heard that nothing is to spare any more.
//!
//! Where it stops: it changes no limit; [`SelfLease::spare`] and [`SelfLease::leased`] say what the engine is to do.

use std::collections::BTreeMap;

use super::{Out, Ticket, View};
use crate::cluster::ids::{Incarnation, NodeName};
use crate::cluster::ledger::{Key, Ledger, Record};
use crate::cluster::message::{Anchor, Beat, BeatAck, Message, Release, Released, Spare};
use crate::cluster::resource::{Kind, Licenses, ResourceId};
use crate::cluster::share::OwnUse;
use crate::units::Tick;

/// Beats in the term of a self-lease.
const BEATS_PER_TERM: u64 = 5;
/// Trustees that still use something are asked again so often, in milliseconds.
const ASK_AGAIN_MS: u64 = 1000;
/// A floor is lowered at most so often, in milliseconds.
const LOWERED_EVERY_MS: u64 = 10_000;

/// More than any home count: the floor is nothing.
const ALL: Licenses = Licenses(u32::MAX);

#[derive(Debug, Clone)]
struct Floor {
    /// The most that others may take for spare: in force here.
    spare: Licenses,
    /// What is said, or will be once it is durable here; at most `spare`.
    said: Licenses,
    /// The first beat that says so.
    since: Option<Anchor>,
    lowered: Tick,
    /// When the grant lapses.
    lasts: Option<Tick>,
    count: Licenses,
}

#[derive(Debug, Clone, Default)]
struct Trustee {
    /// The newest round that it may have been voted for in.
    round: u64,
    /// It gave everything up, in rounds up to that.
    settled: u64,
    /// It is asked since then.
    asked_since: Option<Anchor>,
    /// What it still uses, as it said since; `None`: that isn't known.
    kept: Option<BTreeMap<ResourceId, Licenses>>,
}

impl Trustee {
    const fn is_open(&self) -> bool {
        self.settled < self.round
    }
}

/// The beats of this node, and what rests on them.
#[derive(Debug, Clone)]
pub(in crate::cluster) struct SelfLease {
    of: BTreeMap<ResourceId, Floor>,
    /// Nothing is known of what an earlier ledger under this name said.
    anew: bool,
    /// What each member answered last.
    acked: BTreeMap<NodeName, Anchor>,
    echoes: BTreeMap<NodeName, (Incarnation, Anchor)>,
    trustees: BTreeMap<NodeName, Trustee>,
    changes: u64,
    /// What is to be durable before it is said.
    saving: Option<u64>,
    newest: Option<Tick>,
    beat_at: Tick,
    ask_at: Tick,
}

impl SelfLease {
    /// As the ledger has it. Nobody has answered in this life.
    pub(in crate::cluster) fn recover(ledger: &Ledger, now: Tick) -> Self {
        let mut of = BTreeMap::new();
        if let Some(Record::OwnSpare { spare }) = ledger.records.get(&Key::OwnSpare) {
            let lasting = spare.iter().filter(|(_, most, said)| *most.max(said) > Licenses::ZERO);
            for (id, most, said) in lasting {
                let (spare, said) = (*most.max(said), *said);
                let floor = Floor { spare, said, since: None, lowered: now, lasts: None, count: Licenses::ZERO };
                of.insert(id.clone(), floor);
            }
        }
        Self {
            of,
            anew: ledger.records.contains_key(&Key::Fenced),
            acked: BTreeMap::new(),
            echoes: BTreeMap::new(),
            trustees: BTreeMap::new(),
            changes: 0,
            saving: None,
            newest: None,
            beat_at: now,
            ask_at: now,
        }
    }

    /// The ledger was made just now.
    pub(in crate::cluster) const fn begin_anew(&mut self) {
        self.anew = true;
    }

    /// Whether others may take something of a resource for spare, or of any.
    pub(in crate::cluster) fn names(&self, resource: Option<&ResourceId>) -> bool {
        resource.map_or(!self.of.is_empty(), |resource| self.of.contains_key(resource))
    }

    /// When [`step`](Self::step) is due.
    pub(in crate::cluster) fn due(&self) -> Tick {
        if self.trustees.values().any(Trustee::is_open) { self.beat_at.min(self.ask_at) } else { self.beat_at }
    }

    /// What others may keep of a resource, should this node be cut off: it does without.
    pub(in crate::cluster) fn spare(&self, resource: &ResourceId) -> Licenses {
        self.of.get(resource).map_or(ALL, |floor| floor.spare)
    }

    /// What of that calls of this node may use now, under the lease that runs, and until when.
    pub(in crate::cluster) fn leased(
        &self,
        resource: &ResourceId,
        lease: Option<Tick>,
        now: Tick,
    ) -> (Licenses, Option<Tick>) {
        let none = (Licenses::ZERO, None);
        let (Kind::Rate, Some(floor)) = (resource.kind, self.of.get(resource)) else { return none };
        let (Some(until), Some(kept)) = (lease, self.still_kept(resource)) else { return none };
        if until <= now {
            return none;
        }
        (floor.spare.min(floor.count).less(kept), Some(until))
    }

    /// The lease that a majority gave: from the oldest of its beats. This node is one of it.
    pub(in crate::cluster) fn lease_until(&self, view: &View<'_>) -> Option<Tick> {
        let others = view.majority().saturating_sub(1);
        let mut anchors: Vec<Anchor> = self.acked.values().copied().collect();
        anchors.sort_unstable_by(|one, other| other.cmp(one));
        let anchor = anchors.get(others.checked_sub(1)?)?;
        Some(Tick(anchor.0).plus_millis(u64::from(view.params.self_lease_ms)))
    }

    /// What trustees still use; `None`: one of them hasn't said.
    fn still_kept(&self, resource: &ResourceId) -> Option<Licenses> {
        let open = self.trustees.values().filter(|trustee| trustee.is_open());
        open.map(|trustee| Some(trustee.kept.as_ref()?.get(resource).copied().unwrap_or_default()))
            .try_fold(Licenses::ZERO, |sum, kept| Some(sum.plus(kept?)))
    }

    /// Moves floors as use has it, beats, and asks trustees. `hold_back` lowers a floor here, or says that it can't.
    pub(in crate::cluster) fn step(
        &mut self,
        uses: &[OwnUse],
        inc: Incarnation,
        view: &View<'_>,
        hold_back: &mut dyn FnMut(&ResourceId, Licenses) -> bool,
    ) -> Vec<Out> {
        let mut out = Vec::new();
        let is_spare = |floor: &Floor| floor.spare > Licenses::ZERO || floor.said > Licenses::ZERO;
        if !view.params.self_lease && self.names(None) && self.saving.is_none() && !self.of.values().any(is_spare) {
            self.of.clear();
            return vec![Out::Persist(Record::OwnSpare { spare: Vec::new() }, None)];
        }
        if self.saving.is_none() && self.aim(uses, view, hold_back) {
            self.changes += 1;
            self.saving = Some(self.changes);
            let spare = self.of.iter().map(|(id, floor)| (id.clone(), floor.spare, floor.said)).collect();
            out.push(Out::Persist(Record::OwnSpare { spare }, Some(Ticket::OwnSpare(self.changes))));
        }
        if self.saving.is_none() && view.now >= self.beat_at && self.newest.is_none_or(|newest| newest < view.now) {
            out.extend(self.beat(inc, view));
        }
        if view.now >= self.ask_at {
            self.ask_at = view.now.plus_millis(ASK_AGAIN_MS);
            out.extend(self.ask(inc, view));
        }
        out
    }

    /// Where floors are to be. Says whether that is something new.
    fn aim(
        &mut self,
        uses: &[OwnUse],
        view: &View<'_>,
        hold_back: &mut dyn FnMut(&ResourceId, Licenses) -> bool,
    ) -> bool {
        let mut changed = false;
        let (on, ahead_percent) = (view.params.self_lease, u64::from(view.params.self_lease_ahead_percent));
        for own in uses.iter().filter(|own| on || self.of.contains_key(&own.id)).collect::<Vec<_>>() {
            let kept = self.still_kept(&own.id);
            let fixed_share = own.fixed_share.min(own.count);
            let floor = self.of.entry(own.id.clone()).or_insert_with(|| {
                changed = true;
                let said = own.count.less(fixed_share);
                let spare = if self.anew { ALL } else { said };
                Floor { spare, said, since: None, lowered: view.now, lasts: own.lasts, count: own.count }
            });
            (floor.lasts, floor.count) = (own.lasts, own.count);
            // Switched off: all of it is its own again.
            let ahead = u64::from(own.count.0) * if on { ahead_percent } else { 200 } / 100;
            let ahead = Licenses(u32::try_from(ahead).unwrap_or(u32::MAX).max(1));
            let need = own.given.plus(own.own);
            let goal = need.plus(ahead).max(fixed_share).min(own.count);
            let at = own.count.less(floor.said);
            let low = need.plus(Licenses(ahead.0.div_ceil(2))).max(fixed_share).min(own.count);
            if at < low {
                // No lower than what is kept of it; while that isn't known, not at all.
                let Some(kept) = kept else { continue };
                let said = own.count.less(goal).max(kept).min(floor.spare);
                if said < floor.said {
                    (floor.said, floor.since, changed) = (said, None, true);
                }
            } else if own.known && at > goal.plus(ahead) && view.now >= floor.lowered.plus_millis(LOWERED_EVERY_MS) {
                floor.lowered = view.now;
                let said = own.count.less(goal);
                if said > floor.spare {
                    if !hold_back(&own.id, said) {
                        continue;
                    }
                    floor.spare = said;
                }
                (floor.said, floor.since, changed) = (said, None, true);
            }
        }
        changed
    }

    fn beat(&mut self, inc: Incarnation, view: &View<'_>) -> Vec<Out> {
        let every = (u64::from(view.params.self_lease_ms) / BEATS_PER_TERM).max(1);
        (self.newest, self.beat_at) = (Some(view.now), view.now.plus_millis(every));
        let anchor = Anchor(view.now.0);
        for floor in self.of.values_mut() {
            floor.since = floor.since.or(Some(anchor));
        }
        let spare: Vec<Spare> = self
            .of
            .iter()
            .map(|(id, floor)| {
                let lasts_ms = floor.lasts.map(|at| at.nanos_since(view.now) / 1_000_000);
                Spare { resource: id.clone(), licenses: floor.said, lasts_ms }
            })
            .collect();
        let beat_to = |node: &NodeName| {
            let echo = self.echoes.get(node).copied();
            Out::Send(node.clone(), Message::Beat(Beat { inc, anchor, echo, spare: spare.clone() }))
        };
        view.configured.iter().map(beat_to).collect()
    }

    fn ask(&mut self, inc: Incarnation, view: &View<'_>) -> Vec<Out> {
        let open = self.trustees.iter_mut().filter(|(_, trustee)| trustee.is_open());
        open.map(|(node, trustee)| {
            trustee.asked_since = trustee.asked_since.or(Some(Anchor(view.now.0)));
            Out::Send(node.clone(), Message::Release(Release { inc, anchor: Anchor(view.now.0) }))
        })
        .collect()
    }

    /// A change is durable here: it is said at once.
    pub(in crate::cluster) fn durable(&mut self, change: u64, now: Tick) {
        if self.saving == Some(change) {
            self.saving = None;
            self.beat_at = now;
        }
    }

    /// A member answered a beat.
    pub(in crate::cluster) fn on_ack(&mut self, from: &NodeName, ack: &BeatAck, inc: Incarnation, view: &View<'_>) {
        let unsent = ack.inc != inc || self.newest.is_none_or(|newest| ack.anchor.0 > newest.0);
        if unsent || !view.configured.contains(from) || self.acked.get(from).is_some_and(|acked| *acked > ack.anchor) {
            return;
        }
        self.acked.insert(from.clone(), ack.anchor);
        self.echoes.insert(from.clone(), ack.at);
        for node in ack.trustees.iter().filter(|node| *node != view.node) {
            let trustee = self.trustees.entry(node.clone()).or_default();
            if ack.round > trustee.round {
                // An answer to an earlier question says nothing about this round.
                *trustee = Trustee { round: ack.round, settled: trustee.settled, asked_since: None, kept: None };
                self.ask_at = view.now;
            }
        }
        self.settle(view);
    }

    /// A trustee says what it still uses.
    pub(in crate::cluster) fn on_released(&mut self, from: &NodeName, released: &Released, view: &View<'_>) {
        let Some(trustee) = self.trustees.get_mut(from) else { return };
        let answers = trustee.asked_since.is_some_and(|since| released.anchor >= since);
        if !trustee.is_open() || !answers || released.anchor.0 > view.now.0 {
            return;
        }
        let kept: BTreeMap<ResourceId, Licenses> = released
            .kept
            .iter()
            .filter(|(id, count)| self.of.contains_key(id) && *count > Licenses::ZERO)
            .cloned()
            .collect();
        if kept.is_empty() {
            trustee.settled = trustee.round;
        }
        trustee.kept = Some(kept);
        self.settle(view);
    }

    /// What a majority has made durable counts from here on.
    fn settle(&mut self, view: &View<'_>) {
        let others = view.majority().saturating_sub(1);
        let ids: Vec<ResourceId> = self.of.keys().cloned().collect();
        for id in ids {
            let Some(kept) = self.still_kept(&id) else { return };
            let Some(floor) = self.of.get_mut(&id) else { continue };
            let Some(since) = floor.since else { continue };
            let heard = self.acked.values().filter(|acked| **acked >= since).count();
            if heard >= others && floor.said >= kept {
                floor.spare = floor.spare.min(floor.said);
            }
        }
    }

    /// The operator says that a node is gone for good: it uses nothing.
    pub(in crate::cluster) fn forget(&mut self, node: &NodeName) {
        self.acked.remove(node);
        self.echoes.remove(node);
        if let Some(trustee) = self.trustees.get_mut(node) {
            trustee.settled = trustee.round;
        }
    }
}
