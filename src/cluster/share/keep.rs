//! What raises or lowers the home count beside the grant: what is kept of lost peers, what others keep of this node, a census
//! that isn't over; and what ends all lending: a drain.

use super::super::engine::{Cx, PeerIndex};
use super::super::ids::Incarnation;
use super::super::resource::{Kind, Licenses, ResourceId};
use super::lender::Stance;
use super::{LICENSES_MAX, Share};
use crate::units::Tick;

/// What changes the home count beside the grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(in crate::cluster) struct Beside {
    /// The census of a new ledger isn't over: there are no home units.
    pub(in crate::cluster) fenced: bool,
    /// Kept of lost peers (10-L).
    pub(in crate::cluster) kept: Licenses,
    /// Until when; `None`: no end.
    pub(in crate::cluster) kept_until: Option<Tick>,
    /// What others keep of this node, not given up yet.
    pub(in crate::cluster) withheld: Licenses,
    /// What others may keep of this node, should it be cut off (10-H); `None`: nothing ever.
    pub(in crate::cluster) spare: Option<Licenses>,
    /// Of that, what calls of its own may use while a majority hears it (rates: their calls are over with the lease).
    pub(in crate::cluster) leased: Licenses,
    /// Until when.
    pub(in crate::cluster) leased_until: Option<Tick>,
}

/// A resource of this node, as its self-lease looks at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cluster) struct OwnUse {
    pub(in crate::cluster) id: ResourceId,
    /// By the grant, a smaller one under way counted already.
    pub(in crate::cluster) count: Licenses,
    pub(in crate::cluster) fixed_share: Licenses,
    /// Lent, or resting.
    pub(in crate::cluster) given: Licenses,
    /// In calls of its own that last: sessions beyond what is borrowed.
    pub(in crate::cluster) own: Licenses,
    /// When the grant lapses.
    pub(in crate::cluster) lasts: Option<Tick>,
    /// Whether what is in use is known in full.
    pub(in crate::cluster) known: bool,
}

impl Share {
    /// The home count now: what the grant says, and what is beside it.
    pub(in crate::cluster) const fn home_now(&self) -> Licenses {
        self.with_beside(self.granted(), true, self.beside.leased)
    }

    /// Of that, what may be lent: nothing that ends with the self-lease.
    pub(super) const fn home_lendable(&self) -> Licenses {
        self.with_beside(self.granted(), true, Licenses::ZERO)
    }

    /// The home count that stays when everything that may lapse has.
    pub(super) const fn home_floor(&self) -> Licenses {
        let granted = if self.home.not_after.is_some() { self.home.fixed_share } else { self.granted() };
        self.with_beside(granted, self.beside.kept_until.is_none(), Licenses::ZERO)
    }

    const fn with_beside(&self, granted: Licenses, kept: bool, leased: Licenses) -> Licenses {
        if self.beside.fenced {
            return Licenses::ZERO;
        }
        let own = match self.beside.spare {
            Some(spare) => {
                let floor = self.count_now().less(spare).plus(leased);
                if floor.0 < granted.0 { floor } else { granted }
            }
            None => granted,
        };
        let sum = if kept { own.plus(self.beside.kept) } else { own };
        sum.less(self.beside.withheld)
    }

    /// The floor is lowered: others may keep more, should this node be cut off. `false` if what is in use or lent is in the
    /// way; nothing changed then.
    pub(in crate::cluster) fn hold_back(&mut self, spare: Licenses, cx: &mut Cx<'_>) -> bool {
        let (before, was) = (self.home_now(), self.beside);
        self.beside.spare = Some(spare);
        let (after, lendable) = (self.home_now(), self.home_lendable());
        self.beside = was;
        let lowered = before.less(after);
        let fits = match self.kind() {
            // Its calls are over before anybody may keep anything.
            Kind::Rate => true,
            Kind::Session => lowered == Licenses::ZERO || self.try_lower(lowered, cx),
        };
        if !fits || self.sums.out + self.sums.limbo > u64::from(lendable.0) {
            self.apply(cx);
            return false;
        }
        self.beside.spare = Some(spare);
        self.apply(cx);
        true
    }

    /// What the self-lease looks at.
    pub(in crate::cluster) fn own_use(&self, cx: &Cx<'_>) -> OwnUse {
        let used = cx.pools.used(self.index, cx.now);
        let ordinary = used.used.saturating_sub(used.forced);
        let own = match self.kind() {
            Kind::Rate => 0,
            Kind::Session => ordinary.saturating_sub(self.units(self.sums.held)),
        };
        OwnUse {
            id: self.of.id.clone(),
            count: self.count_now(),
            fixed_share: self.home.fixed_share,
            given: Licenses(u32::try_from(self.sums.out + self.sums.limbo).unwrap_or(u32::MAX)),
            own: Licenses::covering(own, self.kind()),
            lasts: if self.home.lapsed { Some(cx.now) } else { self.home.not_after },
            known: cx.pools.is_reconciled(self.index),
        }
    }

    /// Sets what is beside the grant. A lowering is forced: running calls stay, and no new one comes before they fit.
    pub(in crate::cluster) fn set_beside(&mut self, beside: Beside, cx: &mut Cx<'_>) {
        if self.beside == beside {
            return;
        }
        let before = self.home_now();
        self.beside = beside;
        self.apply(cx);
        if self.home_now() < before {
            self.recall_beyond_home(cx);
        } else {
            self.serve_wanting(cx);
        }
    }

    /// L6: what is lent beyond home comes back.
    pub(super) fn recall_beyond_home(&mut self, cx: &mut Cx<'_>) {
        let beyond = (self.sums.out + self.sums.limbo).saturating_sub(u64::from(self.home_lendable().0));
        self.recall(beyond, cx);
    }

    /// What is in use or lent beyond the home count as it is now: what a forced lowering left.
    pub(in crate::cluster) fn beyond_home(&self, cx: &Cx<'_>) -> Licenses {
        let lent = (self.sums.out + self.sums.limbo).saturating_sub(u64::from(self.home_now().0));
        self.uncooled(cx).plus(Licenses(u32::try_from(lent).unwrap_or(u32::MAX)))
    }

    /// What is held of a peer, and what hasn't cooled of it.
    pub(in crate::cluster) fn held_of(&self, peer: PeerIndex, cx: &Cx<'_>) -> Licenses {
        let held = self.held.get(peer.0).map_or(Licenses::ZERO, |held| held.hold);
        // What cools may be of any lender: each hears of all of it.
        held.plus(if self.knows_lender(peer) { self.uncooled(cx) } else { Licenses::ZERO })
    }

    fn knows_lender(&self, peer: PeerIndex) -> bool {
        self.held.get(peer.0).is_some_and(|held| held.linc != Incarnation(0))
    }

    /// A peer's name has a new ledger, which knows nothing of its loans: whatever the one before said counts no more.
    pub(in crate::cluster) fn lender_replaced(&mut self, peer: PeerIndex, after: Incarnation, cx: &mut Cx<'_>) {
        if self.knows_lender(peer) && self.held[peer.0].linc < after {
            self.lender_restarted(peer, after, cx);
        }
    }

    /// A peer's name has a new ledger, which counts its lives anew: what was heard of these or higher ones was of the one before,
    /// which is silent. (A census makes the new one count on from there; the backend's word alone does not.)
    pub(in crate::cluster) fn ledger_replaced(&mut self, peer: PeerIndex, inc: Incarnation, cx: &mut Cx<'_>) {
        if self.knows_lender(peer) && self.held[peer.0].linc >= inc {
            self.lender_restarted(peer, inc, cx);
        }
        if self.lent[peer.0].binc >= inc {
            self.borrower_restarted(peer, inc, cx);
        }
    }

    /// The highest incarnation seen of a peer, on either side.
    pub(in crate::cluster) fn inc_seen(&self, peer: PeerIndex) -> Incarnation {
        let lent = self.lent.get(peer.0).map_or(Incarnation(0), |lent| lent.binc);
        lent.max(self.held.get(peer.0).map_or(Incarnation(0), |held| held.linc))
    }

    /// A census said what a peer holds of this node; `None`: it didn't answer, so as much as a peer is lent at most.
    pub(in crate::cluster) fn rebuild(
        &mut self,
        peer: PeerIndex,
        held: Option<Licenses>,
        binc: Incarnation,
        cx: &mut Cx<'_>,
    ) {
        let most = u64::from(self.home.count.0) * u64::from(cx.env.params.max_lend_percent) / 100;
        let most = Licenses(u32::try_from(most).unwrap_or(u32::MAX));
        let out = held.unwrap_or(most).min(LICENSES_MAX);
        if out == Licenses::ZERO {
            return;
        }
        let term = self.term_ms(cx).map(|term| cx.now.plus_nanos(cx.env.params.lender_term_nanos(term)));
        match self.kind() {
            // Loans of a rate end by themselves: they rest until they surely have.
            Kind::Rate => {
                let until = term.unwrap_or(cx.now).plus_nanos(cx.env.window_nanos());
                self.rest(out, until);
            }
            Kind::Session => {
                self.edit_lent(peer, |lent| {
                    lent.binc = lent.binc.max(binc);
                    lent.out = out;
                    lent.k = out;
                    lent.ends = term;
                    lent.stance = Stance::Unconfirmed;
                    lent.say_at = Some(cx.now);
                });
                self.record_loan(peer, cx);
            }
        }
    }

    /// Leaves: lends and borrows no more, gives back what it holds, wants back what it lent. Running calls on what was
    /// borrowed are reported until they have ended.
    pub(in crate::cluster) fn close(&mut self, cx: &mut Cx<'_>) {
        self.closed = true;
        let lenders: Vec<PeerIndex> = self.lenders.iter().copied().collect();
        for peer in &lenders {
            self.edit_held(*peer, |held| {
                held.hold = Licenses::ZERO;
                held.want = Licenses::ZERO;
                held.awaited_until = None;
            });
        }
        self.apply(cx);
        for peer in lenders {
            self.tell(peer, cx);
        }
        self.recall(u64::MAX, cx);
    }

    /// Takes part again.
    pub(in crate::cluster) const fn open_again(&mut self) {
        self.closed = false;
    }

    /// Nothing is lent and nothing held, usage that must cool included.
    pub(in crate::cluster) fn is_returned(&self, cx: &Cx<'_>) -> bool {
        self.sums.out == 0 && self.sums.held == 0 && self.uncooled(cx) == Licenses::ZERO
    }

    /// A lender is lost: what it lent is kept in use, though nobody can renew its leases, or is no longer.
    pub(in crate::cluster) fn hold_on(&mut self, peer: PeerIndex, keep: bool, cx: &mut Cx<'_>) {
        let leased_sessions = self.kind() == Kind::Session && self.is_leased();
        let Some(held) = self.held.get(peer.0) else { return };
        let endless = held.ends.is_none() && held.is_live();
        let changes = held.hold != Licenses::ZERO && if keep { !held.is_live() } else { endless };
        if leased_sessions && changes && !self.closed {
            self.edit_held(peer, |held| held.set_live(keep));
            self.apply(cx);
        }
    }

    /// The operator says that a peer is gone for good: what was lent to it is home again. What that may exceed, should it
    /// live on, is declared for sessions; a rate rests until its loan is over by any clock, so that it is exact even if the
    /// operator is wrong.
    pub(in crate::cluster) fn forget(&mut self, peer: PeerIndex, cx: &mut Cx<'_>) {
        self.forget_want(peer);
        match self.kind() {
            Kind::Rate => self.rest_until_over(peer, cx),
            Kind::Session => self.write_off(peer, cx),
        }
        self.edit_held(peer, |held| {
            held.hold = Licenses::ZERO;
            held.want = Licenses::ZERO;
            held.awaited_until = None;
        });
        self.apply(cx);
    }
}
