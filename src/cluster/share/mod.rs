//! One resource at one node: what is home, lent, borrowed and in limbo, and the limit that follows.
//!
//! ```text
//! limit = home - sum(out) - sum(limbo) + sum(hold)
//! ```
//!
//! This file keeps the sums, the limit and the timers; the rules are in [`lender`] (L1 to L8), [`borrower`] (B1 to B8),
//! [`restart`] (S1 to S3), [`reclaim`] (section on classes); what to ask for and what to give back is in [`plan`].
//! Each rule is marked with its name where it is carried out.
//!
//! What must stay true: every change of `out`, `hold` or limbo goes through [`Share::edit_lent`], [`Share::edit_held`] or
//! [`Share::rest`], so that the sums are those of the parts; and whoever raises what others may hold has lowered the limit
//! here first.

mod borrower;
mod demand;
mod grant;
mod keep;
mod lender;
mod plan;
mod reclaim;
mod restart;
mod show;

use std::collections::{BTreeMap, BTreeSet};

use super::engine::{BatchNo, Cx, PeerIndex, Rule};
use super::ids::{Epoch, NodeName};
use super::resource::{Class, Kind, Licenses, Resource, ResourceIndex};
use crate::limits::Lease;
use crate::units::Tick;

pub(in crate::cluster) use self::borrower::Held;
pub(in crate::cluster) use self::demand::Demand;
pub(in crate::cluster) use self::keep::{Beside, OwnUse};
pub(in crate::cluster) use self::lender::Lent;
use self::plan::Offers;

/// The most licenses that any count may hold; what names more is a lie or a fault.
pub(in crate::cluster) const LICENSES_MAX: Licenses = Licenses(100_000_000);

/// Whose timer it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::cluster) enum Due {
    /// A loan from this node.
    Lent(PeerIndex),
    /// A loan to this node.
    Held(PeerIndex),
}

/// The home count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(in crate::cluster) struct Home {
    /// The epoch of the count.
    pub(in crate::cluster) epoch: Epoch,
    /// By the newest grant, once it is durable.
    pub(in crate::cluster) count: Licenses,
    /// What remains when it has lapsed.
    pub(in crate::cluster) fixed_share: Licenses,
    /// When it lapses.
    pub(in crate::cluster) not_after: Option<Tick>,
    /// It has lapsed, or was never confirmed in this life (hard resources).
    pub(in crate::cluster) lapsed: bool,
}

impl Home {
    /// What counts now.
    pub(in crate::cluster) const fn effective(&self) -> Licenses {
        if self.lapsed { self.fixed_share } else { self.count }
    }
}

/// Sums over all peers, in licenses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(in crate::cluster) struct Sums {
    /// Lent.
    pub(in crate::cluster) out: u64,
    /// Of that, recalled: told to the borrower, not yet back.
    pub(in crate::cluster) recalled: u64,
    /// Resting until nobody uses it.
    pub(in crate::cluster) limbo: u64,
    /// Borrowed.
    pub(in crate::cluster) held: u64,
    /// Of that, what new calls may use: its lease runs, or it needs none.
    pub(in crate::cluster) live: u64,
}

/// A resource at a node.
#[derive(Debug, Clone)]
pub(in crate::cluster) struct Share {
    pub(in crate::cluster) index: ResourceIndex,
    pub(in crate::cluster) of: Resource,
    pub(in crate::cluster) home: Home,
    /// What changes the home count beside the grant.
    beside: Beside,
    /// A smaller count by a newer grant, which isn't acknowledged yet.
    shrink: Option<Home>,
    /// A raise of the home count that isn't durable yet.
    home_raise: Option<(BatchNo, Home)>,
    /// The epoch that was acknowledged last in this life.
    acknowledged: Option<Epoch>,
    /// Durable, and to be acknowledged once nothing beyond it is in use.
    unacknowledged: Option<Home>,
    /// So much is wanted in all, whatever demand says, in units.
    wanted_min: u32,
    pub(in crate::cluster) lent: Vec<Lent>,
    pub(in crate::cluster) held: Vec<Held>,
    pub(in crate::cluster) sums: Sums,
    /// Units that rest, by when they are free.
    pub(in crate::cluster) limbo: BTreeMap<Tick, Licenses>,
    /// Sessions that came home and rest until the ledger says so too, by the batch that makes it durable.
    homing: BTreeMap<BatchNo, Licenses>,
    /// Peers with something out.
    borrowers: BTreeSet<PeerIndex>,
    /// Peers from which something is held.
    lenders: BTreeSet<PeerIndex>,
    /// When what is held ends.
    ends: BTreeSet<(Tick, PeerIndex)>,
    timers: BTreeSet<(Tick, Due)>,
    /// Words and budgets that wait for a batch.
    waiting: BTreeSet<(BatchNo, PeerIndex)>,
    /// Who asked for more than was there, the earliest first (L8).
    wanting: BTreeMap<u64, PeerIndex>,
    wanting_next: u64,
    pub(in crate::cluster) demand: Demand,
    offers: Offers,
    /// Neither lends nor borrows: it leaves, or its grant lapsed.
    pub(in crate::cluster) closed: bool,
    applied: Option<Lease>,
    /// The instant of the newest work, for what is only shown.
    looked: Tick,
}

impl Share {
    /// A resource of which nothing is known yet, with room for `peers`.
    pub(in crate::cluster) fn new(index: ResourceIndex, of: Resource, peers: usize, now: Tick) -> Self {
        let mut share = Self {
            index,
            of,
            home: Home::default(),
            beside: Beside::default(),
            shrink: None,
            home_raise: None,
            acknowledged: None,
            unacknowledged: None,
            wanted_min: 0,
            lent: Vec::new(),
            held: Vec::new(),
            sums: Sums::default(),
            limbo: BTreeMap::new(),
            homing: BTreeMap::new(),
            borrowers: BTreeSet::new(),
            lenders: BTreeSet::new(),
            ends: BTreeSet::new(),
            timers: BTreeSet::new(),
            waiting: BTreeSet::new(),
            wanting: BTreeMap::new(),
            wanting_next: 0,
            demand: Demand::new(now),
            offers: Offers::default(),
            closed: false,
            applied: None,
            looked: now,
        };
        share.add_peers(peers, now);
        share
    }

    /// Makes room for peers that were added.
    pub(in crate::cluster) fn add_peers(&mut self, peers: usize, now: Tick) {
        let known = self.held.len();
        self.lent.resize_with(peers.max(known), || Lent::new(now));
        self.held.resize_with(peers.max(known), Held::default);
        self.offers.add_peers(peers);
        if self.kind() == Kind::Session {
            // A node that starts says so to all, until each has answered: one of them may have lent to its earlier life.
            for peer in known..self.held.len() {
                self.edit_held(PeerIndex(peer), |held| held.tell_at = Some(now));
            }
        }
    }

    pub(in crate::cluster) const fn kind(&self) -> Kind {
        self.of.id.kind
    }

    /// Whether what is borrowed of it ends unless it is renewed: rates, and sessions of the license class.
    pub(in crate::cluster) const fn is_leased(&self) -> bool {
        match (self.of.id.kind, self.of.id.class) {
            (Kind::Rate, Class::Hard | Class::License) | (Kind::Session, Class::License) => true,
            (Kind::Session, Class::Hard) => false,
        }
    }

    /// T, in milliseconds; `None`: no end.
    pub(in crate::cluster) const fn term_ms(&self, cx: &Cx<'_>) -> Option<u32> {
        cx.env.term_ms(self.of.id.kind, self.is_leased())
    }

    // --- the limit ---------------------------------------------------------------------------------------------------

    fn units(&self, licenses: u64) -> u32 {
        let units = licenses.saturating_mul(u64::from(self.kind().units_per_license()));
        u32::try_from(units).unwrap_or(u32::MAX)
    }

    /// Home units that are neither lent nor resting, in licenses.
    pub(in crate::cluster) fn own(&self) -> u64 {
        u64::from(self.home_lendable().0).saturating_sub(self.sums.out + self.sums.limbo)
    }

    /// What admissions and running calls are covered by, in units: what is lapsed of borrowed sessions counts, since its
    /// lender still counts it as lent.
    pub(in crate::cluster) fn covered(&self) -> u32 {
        let home = u64::from(self.home_now().0);
        self.units((home + self.sums.held).saturating_sub(self.sums.out + self.sums.limbo))
    }

    /// What new calls may use, in units, before the host's own bound.
    fn open(&self) -> u32 {
        let home = u64::from(self.home_now().0);
        self.units((home + self.sums.live).saturating_sub(self.sums.out + self.sums.limbo))
    }

    /// The limit that is to be in force, in units.
    pub(in crate::cluster) fn limit(&self) -> u32 {
        self.open().min(self.of.limit_max.unwrap_or(u32::MAX))
    }

    fn lease(&self, cx: &Cx<'_>) -> Lease {
        let host_max = self.of.limit_max.unwrap_or(u32::MAX);
        // The floor is what surely stays: a home count that may lapse counts with what remains then.
        let home = self.home_floor();
        let endless = if self.is_leased() { 0 } else { self.sums.live };
        let floor = (u64::from(home.0) + endless).saturating_sub(self.sums.out + self.sums.limbo);
        let first_end = self.ends.first().map(|(at, _)| *at);
        let lapses = if self.home.lapsed { None } else { self.home.not_after };
        let kept_until = if self.beside.fenced { None } else { self.beside.kept_until };
        let valid_until = [first_end, lapses, kept_until, self.beside.leased_until].into_iter().flatten().min();
        let limit = self.limit();
        Lease {
            limit,
            floor: self.units(floor).min(host_max).min(limit),
            // N1: an admission itself checks this. Mutant: it doesn't.
            valid_until: if cx.has(Rule::ValidUntil) { valid_until } else { None },
        }
    }

    /// Puts the limit in force at once: a raise, or a forced lowering.
    pub(in crate::cluster) fn apply(&mut self, cx: &mut Cx<'_>) {
        self.looked = cx.now;
        let lease = self.lease(cx);
        if self.applied != Some(lease) {
            cx.pools.set(self.index, lease, cx.now);
            self.applied = Some(lease);
        }
    }

    /// N3: lowers the limit by `by` licenses of which nothing is in use. `false` if something is; nothing changed then.
    /// The caller changes the parts right after it succeeded.
    fn try_lower(&self, by: Licenses, cx: &mut Cx<'_>) -> bool {
        let mut lease = self.lease(cx);
        let less = by.units(self.kind());
        lease.limit = self.open().saturating_sub(less).min(self.of.limit_max.unwrap_or(u32::MAX));
        lease.floor = lease.floor.saturating_sub(less).min(lease.limit);
        cx.pools.try_lower(self.index, lease, cx.now).is_ok()
    }

    // --- the parts ---------------------------------------------------------------------------------------------------

    /// Changes what is lent to a peer, and the sums and timers with it.
    fn edit_lent<R>(&mut self, peer: PeerIndex, change: impl FnOnce(&mut Lent) -> R) -> R {
        let rate = self.kind() == Kind::Rate;
        let lent = &mut self.lent[peer.0];
        self.sums.out -= u64::from(lent.out.0);
        self.sums.recalled -= u64::from(lent.recalled().0);
        if let Some(due) = lent.due(rate) {
            self.timers.remove(&(due, Due::Lent(peer)));
        }
        let result = change(lent);
        self.sums.out += u64::from(lent.out.0);
        self.sums.recalled += u64::from(lent.recalled().0);
        if let Some(due) = lent.due(rate) {
            self.timers.insert((due, Due::Lent(peer)));
        }
        if lent.out == Licenses::ZERO {
            self.borrowers.remove(&peer);
            lent.since = None;
        } else {
            self.borrowers.insert(peer);
            lent.since = lent.since.or(Some(self.looked));
        }
        result
    }

    /// Changes what is held from a peer, and the sums and timers with it.
    fn edit_held<R>(&mut self, peer: PeerIndex, change: impl FnOnce(&mut Held) -> R) -> R {
        let leased = self.is_leased();
        let held = &mut self.held[peer.0];
        self.sums.held -= u64::from(held.hold.0);
        self.sums.live -= u64::from(held.usable().0);
        if let Some(ends) = held.ends_at(leased) {
            self.ends.remove(&(ends, peer));
        }
        if let Some(due) = held.due(leased) {
            self.timers.remove(&(due, Due::Held(peer)));
        }
        let result = change(held);
        self.sums.held += u64::from(held.hold.0);
        self.sums.live += u64::from(held.usable().0);
        if let Some(ends) = held.ends_at(leased) {
            self.ends.insert((ends, peer));
        }
        if let Some(due) = held.due(leased) {
            self.timers.insert((due, Due::Held(peer)));
        }
        if held.hold == Licenses::ZERO {
            self.lenders.remove(&peer);
            held.since = None;
        } else {
            self.lenders.insert(peer);
            held.since = held.since.or(Some(self.looked));
        }
        result
    }

    /// Lets units rest until an instant.
    fn rest(&mut self, licenses: Licenses, until: Tick) {
        if licenses == Licenses::ZERO {
            return;
        }
        let resting = self.limbo.entry(until).or_default();
        *resting = resting.plus(licenses);
        self.sums.limbo += u64::from(licenses.0);
    }

    /// Lets sessions that came home rest until the loan that is lower by them is durable.
    ///
    /// Used before that, they would be there twice after a crash: in calls here, and in the loan as the ledger still has it,
    /// which a borrower may be told again (S2, B8).
    fn rest_until_durable(&mut self, licenses: Licenses, batch: BatchNo) {
        let resting = self.homing.entry(batch).or_default();
        *resting = resting.plus(licenses);
        self.sums.limbo += u64::from(licenses.0);
    }

    /// What came home is durable: it is free.
    fn end_homing(&mut self, cx: &mut Cx<'_>) {
        let mut freed = false;
        while let Some(entry) = self.homing.first_entry().filter(|entry| cx.journal.is_durable(*entry.key())) {
            self.sums.limbo -= u64::from(entry.remove().0);
            freed = true;
        }
        if freed {
            self.apply(cx);
            self.serve_wanting(cx);
        }
    }

    /// Units whose rest is over are free.
    fn end_rest(&mut self, cx: &mut Cx<'_>) {
        let mut freed = false;
        while let Some(entry) = self.limbo.first_entry().filter(|entry| *entry.key() <= cx.now) {
            self.sums.limbo -= u64::from(entry.remove().0);
            freed = true;
        }
        if freed {
            self.apply(cx);
            self.serve_wanting(cx);
        }
    }

    // --- time --------------------------------------------------------------------------------------------------------

    /// When something is due that isn't done by the tick.
    pub(in crate::cluster) fn next_due(&self) -> Option<Tick> {
        let timers = self.timers.first().map(|(at, _)| *at);
        let limbo = self.limbo.keys().next().copied();
        let lapses = if self.home.lapsed { None } else { self.home.not_after };
        [timers, limbo, lapses].into_iter().flatten().min()
    }

    /// Does what is due. Each timer's work moves it on, past `now`, or ends it.
    pub(in crate::cluster) fn run_due(&mut self, cx: &mut Cx<'_>) {
        if !self.home.lapsed && self.home.not_after.is_some_and(|at| at <= cx.now) {
            self.home.lapsed = true;
            self.apply(cx);
        }
        self.end_rest(cx);
        while let Some((at, due)) = self.timers.first().copied() {
            if at > cx.now {
                break;
            }
            match due {
                Due::Lent(peer) => self.lent_due(peer, cx),
                Due::Held(peer) => self.held_due(peer, cx),
            }
            if self.timers.first() == Some(&(at, due)) {
                // Nothing moved it: a defect, which must not become an endless loop.
                debug_assert!(false, "a timer of {due:?} did not move on");
                self.timers.remove(&(at, due));
            }
        }
    }

    /// What waited for a batch goes on.
    pub(in crate::cluster) fn durable(&mut self, cx: &mut Cx<'_>) {
        self.end_homing(cx);
        if let Some((batch, home)) = self.home_raise
            && cx.journal.is_durable(batch)
        {
            self.home_raise = None;
            self.home_durable(home, cx);
        }
        while let Some((batch, peer)) = self.waiting.first().copied() {
            if !cx.journal.is_durable(batch) {
                break;
            }
            self.waiting.remove(&(batch, peer));
            self.lent_durable(peer, cx);
        }
    }

    /// The name of a peer.
    fn name(peer: PeerIndex, cx: &Cx<'_>) -> NodeName {
        cx.peers.name(peer).clone()
    }
}
