//! What to ask for, of whom, and what to give back.
//!
//! Runs at each tick, and at once when a pool runs low. Safety rests on nothing here: a wrong wish costs service, never a
//! unit too many.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use super::super::engine::{Cx, PeerIndex};
use super::super::message::HintOf;
use super::super::resource::{Kind, Licenses};
use super::Share;
use crate::units::Tick;

/// The peers that are asked without knowing of anything to spare.
const BLIND: u64 = 3;
/// The same in large clusters.
const BLIND_LARGE: u64 = 6;

/// What a peer said of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Offer {
    surplus: Licenses,
    /// What it doesn't need, whosever it is.
    slack: Licenses,
    demand: u32,
    free: u32,
    starving: bool,
    /// Told apart from peers with as much, differently at each node: not everyone asks the same one first.
    shuffle: u64,
}

/// What peers have to spare, by their hints.
#[derive(Debug, Clone, Default)]
pub(super) struct Offers {
    of: Vec<Offer>,
    most: BTreeSet<(Reverse<Licenses>, u64, PeerIndex)>,
    /// Asked of all peers, and free there, in units.
    demand: u64,
    free: u64,
    starving: usize,
    /// Peers whose answer is awaited.
    awaiting: BTreeSet<PeerIndex>,
    /// Where asking without knowledge goes on.
    next_blind: u64,
    blind_at: Tick,
}

impl Offers {
    pub(super) fn add_peers(&mut self, peers: usize) {
        self.of.resize_with(peers.max(self.of.len()), Offer::default);
    }

    fn set(&mut self, peer: PeerIndex, offer: Offer) {
        let Some(known) = self.of.get_mut(peer.0) else { return };
        self.starving = self.starving - usize::from(known.starving) + usize::from(offer.starving);
        self.demand = self.demand - u64::from(known.demand) + u64::from(offer.demand);
        self.free = self.free - u64::from(known.free) + u64::from(offer.free);
        self.most.remove(&(Reverse(known.surplus), known.shuffle, peer));
        *known = offer;
        if offer.surplus != Licenses::ZERO {
            self.most.insert((Reverse(offer.surplus), offer.shuffle, peer));
        }
    }

    /// A peer answered that it has no more.
    pub(super) fn exhausted(&mut self, peer: PeerIndex) {
        if let Some(known) = self.of.get(peer.0).copied() {
            self.set(peer, Offer { surplus: Licenses::ZERO, slack: Licenses::ZERO, ..known });
        }
    }

    /// So much of it was just asked for.
    fn take(&mut self, peer: PeerIndex, taken: Licenses) {
        if let Some(known) = self.of.get(peer.0).copied() {
            self.set(peer, Offer { surplus: known.surplus.less(taken), slack: known.slack.less(taken), ..known });
        }
    }
}

impl Share {
    /// A peer's hint.
    pub(in crate::cluster) fn on_hint(&mut self, peer: PeerIndex, hint: &HintOf, shuffle: u64) {
        let surplus = hint.surplus.min(super::LICENSES_MAX);
        let needed = hint.demand.saturating_sub(hint.used);
        let slack = Licenses::within(hint.free.saturating_sub(needed), self.kind());
        let (demand, free) = (hint.demand, hint.free);
        self.offers.set(peer, Offer { surplus, slack, demand, free, starving: hint.starving, shuffle });
    }

    /// What this node says of itself.
    pub(in crate::cluster) fn hint(&self, cx: &Cx<'_>) -> HintOf {
        let used = cx.pools.used(self.index, cx.now).used;
        HintOf {
            resource: self.of.id.clone(),
            epoch: self.home.epoch,
            home: self.home_now(),
            used,
            free: self.limit().saturating_sub(used),
            surplus: self.spare(cx),
            demand: used.saturating_add(self.reserve(cx)),
            starving: self.demand.is_starving(),
        }
    }

    /// What is in use, or soon will be by the calls that are offered, in units.
    fn demand_in(&self, used: u32) -> u32 {
        match self.kind() {
            Kind::Rate => self.demand.per_second().max(used),
            Kind::Session => used,
        }
    }

    /// What demand takes until more can be here, in units.
    fn ahead(&self, used: u32, cx: &Cx<'_>) -> u32 {
        if self.demand.is_idle() {
            // I10: nothing stays borrowed where nothing is used.
            return 0;
        }
        let params = &cx.env.params;
        match self.kind() {
            Kind::Rate => {
                let soon = self.demand.ahead(params.borrow_ahead_ms, 0).saturating_add(1);
                soon.max(self.demand.per_second().saturating_sub(used))
            }
            Kind::Session => self.demand.ahead(params.borrow_ahead_ms, params.session_deviations).saturating_add(1),
        }
    }

    /// r: the units that are kept before anything is lent, and borrowed ahead while somebody else starves: what demand takes, but
    /// no more than a part of this node's fair share of what is free anywhere. Where all are short, units that wait here are
    /// missing there, and each move costs a round trip in which nobody uses them.
    fn reserve(&self, cx: &Cx<'_>) -> u32 {
        let used = cx.pools.used(self.index, cx.now).used;
        let free = self.offers.free + u64::from(self.limit().saturating_sub(used));
        let demand = self.demand_in(used);
        let of_all = (self.offers.demand + u64::from(demand)).max(1);
        let scarce = u64::from(cx.env.params.scarce_reserve_percent);
        let percent = if self.offers.starving > 0 { scarce } else { scarce * 2 };
        let fair = u128::from(free) * u128::from(demand) * u128::from(percent) / (u128::from(of_all) * 100);
        self.ahead(used, cx).min(u32::try_from(fair).unwrap_or(u32::MAX).max(1))
    }

    /// What a lender keeps for its own next calls.
    pub(in crate::cluster) fn lending_reserve(&self, cx: &Cx<'_>) -> u32 {
        self.reserve(cx)
    }

    /// Somebody answered with less than was wanted, and so did whoever is known to have anything to spare.
    pub(in crate::cluster) fn none_spare(&self) -> bool {
        let known = self.offers.most.iter().all(|(_, _, peer)| self.held[peer.0].short);
        known && self.held.iter().any(|held| held.short)
    }

    /// So much is to be wanted in all, whatever demand says, in units.
    pub(in crate::cluster) const fn set_wanted_min(&mut self, units: u32) {
        self.wanted_min = units;
    }

    /// Looks at what is used and offered; asks for what is missing, gives back what is not needed, serves who waits.
    pub(in crate::cluster) fn plan(&mut self, cx: &mut Cx<'_>) {
        let offered = cx.pools.take_offered(self.index);
        self.demand.observe(offered, cx.now, &cx.env.params);
        let used = cx.pools.used(self.index, cx.now).used;
        let limit = self.limit();
        let ordinary = limit.saturating_sub(self.of.headroom);
        let none_free = used >= ordinary;
        self.demand.set_starving(none_free && (offered.refused > 0 || self.demand.is_starving()), cx.now);
        let reserve = self.reserve(cx);
        let host_max = self.of.limit_max.unwrap_or(u32::MAX);
        // Where nobody else is short, all that demand takes may come here.
        let needed = if self.offers.starving > 0 { reserve } else { self.ahead(used, cx) };
        let wanted = used.saturating_add(needed).saturating_add(self.of.headroom).max(self.wanted_min).min(host_max);
        if wanted > limit && !self.closed && !self.home.lapsed {
            let missing = Licenses::covering(wanted - limit, self.kind());
            let left = self.ask(u64::from(missing.0), cx);
            if left > 0 && self.demand.starves_for(cx.env.params.recall_after_ms, cx.now) {
                // L6: home goes first, once nobody else has any; but for what it borrowed itself. Not at once: where all want more
                // than there is, each would recall what others hold, and a rate's units are out of use for a while each time.
                let net = self.sums.out.saturating_sub(self.sums.held);
                self.recall(left.min(net), cx);
            }
        } else {
            // Nobody is short of what demand may take here soon.
            self.give_back(used, needed, cx);
        }
        self.settle_shrink(cx);
        self.reclaim_silent(none_free, cx);
        self.serve_wanting(cx);
    }

    /// Asks peers for so many licenses more in all. Returns what nobody was asked for who is known to have it.
    fn ask(&mut self, missing: u64, cx: &mut Cx<'_>) -> u64 {
        let awaited = self.awaiting();
        let mut left = missing.saturating_sub(awaited);
        if left == 0 {
            return 0;
        }
        let params = &cx.env.params;
        let large = cx.peers.len() >= usize::try_from(params.mesh_nodes_max).unwrap_or(usize::MAX);
        let most_asked = if large { params.asked_max_large } else { params.asked_max };
        let mut asked = 0;
        let most = usize::try_from(most_asked).unwrap_or(usize::MAX).saturating_mul(2);
        let offered = self.offers.most.iter().map(|(surplus, _, peer)| (*peer, surplus.0));
        let candidates: Vec<(PeerIndex, Licenses)> = self.idle_loans().into_iter().chain(offered).take(most).collect();
        for (peer, surplus) in candidates {
            if left == 0 || asked >= most_asked {
                break;
            }
            if !self.may_ask(peer, cx) {
                continue;
            }
            let share = surplus.min(Licenses(u32::try_from(left).unwrap_or(u32::MAX)));
            self.ask_peer(peer, share, cx);
            self.offers.take(peer, share);
            left -= u64::from(share.0);
            asked += 1;
        }
        if left > 0 {
            self.ask_blindly(left, large, cx);
        }
        left
    }

    /// Who holds units of this node and, by its hints, doesn't need them; the most first. They are asked before anybody else:
    /// what comes home can be lent on, what is borrowed can't (loan depth 1), and loans both ways would bind what all hold.
    fn idle_loans(&self) -> Vec<(PeerIndex, Licenses)> {
        let slack = |peer: PeerIndex| self.offers.of.get(peer.0).map_or(Licenses::ZERO, |offer| offer.slack);
        let mut idle: Vec<(PeerIndex, Licenses)> = self
            .borrowers
            .iter()
            .map(|peer| (*peer, slack(*peer).min(self.lent[peer.0].k)))
            .filter(|(_, idle)| *idle != Licenses::ZERO)
            .collect();
        idle.sort_unstable_by_key(|(peer, idle)| (Reverse(*idle), *peer));
        idle
    }

    /// Nobody is known to have any: some are asked all the same, and remember it for a moment (L8).
    fn ask_blindly(&mut self, left: u64, large: bool, cx: &mut Cx<'_>) {
        let peers = u64::try_from(self.held.len()).unwrap_or(u64::MAX);
        if peers == 0 || cx.now < self.offers.blind_at {
            return;
        }
        self.offers.blind_at = cx.now.plus_millis(u64::from(cx.env.params.blind_interval_ms));
        let count = if large { BLIND_LARGE } else { BLIND }.min(peers);
        let share = Licenses(u32::try_from(left.div_ceil(count)).unwrap_or(u32::MAX)).min(super::LICENSES_MAX);
        let mut tried = 0;
        let mut asked = 0;
        while tried < peers && asked < count {
            let next = self.offers.next_blind % peers;
            self.offers.next_blind = next + 1;
            tried += 1;
            let peer = PeerIndex(usize::try_from(next).unwrap_or(0));
            if self.may_ask(peer, cx) {
                self.ask_peer(peer, share, cx);
                asked += 1;
            }
        }
    }

    fn may_ask(&self, peer: PeerIndex, cx: &Cx<'_>) -> bool {
        let held = &self.held[peer.0];
        !cx.peers.get(peer).down
            && !cx.peers.get(peer).refused
            && held.awaited_until.is_none()
            && held.may_ask(cx.now, cx.env.params.ask_interval_ms)
    }

    fn ask_peer(&mut self, peer: PeerIndex, more: Licenses, cx: &mut Cx<'_>) {
        let until = cx.now.plus_millis(u64::from(cx.env.params.pending_ms.max(1)));
        self.edit_held(peer, |held| {
            held.want = held.hold.plus(more).min(super::LICENSES_MAX);
            held.awaited_until = Some(until);
        });
        self.offers.awaiting.insert(peer);
        self.tell(peer, cx);
    }

    /// What was asked for and not answered yet, in licenses.
    fn awaiting(&mut self) -> u64 {
        let held = &self.held;
        self.offers.awaiting.retain(|peer| held[peer.0].awaited_until.is_some());
        self.offers.awaiting.iter().map(|peer| u64::from(held[peer.0].awaited().0)).sum()
    }

    /// Returns what is free above one and a half reserves: to lenders that starve first, then where the least is held, so
    /// that few loans are left to renew.
    fn give_back(&mut self, used: u32, reserve: u32, cx: &mut Cx<'_>) {
        if self.sums.held == 0 {
            return;
        }
        let kept = u64::from(reserve) * u64::from(cx.env.params.return_above_percent) / 100;
        let kept = u32::try_from(kept).unwrap_or(u32::MAX).saturating_add(self.of.headroom);
        let needed = used.saturating_add(kept).max(self.wanted_min);
        // What has lapsed covers running calls alone; it goes back without a change of the limit.
        let mut idle = Licenses::within(self.covered().saturating_sub(needed), self.kind());
        if idle == Licenses::ZERO {
            return;
        }
        let mut open = Licenses::within(self.open().saturating_sub(needed), self.kind());
        let mut lenders: Vec<(bool, Licenses, PeerIndex)> = self
            .lenders
            .iter()
            .filter(|peer| self.held[peer.0].returnable(cx.pools.is_reconciled(self.index)))
            .map(|peer| (!self.offers.of.get(peer.0).is_some_and(|o| o.starving), self.held[peer.0].hold, *peer))
            .collect();
        lenders.sort_unstable();
        for (_, hold, peer) in lenders {
            let usable = self.held[peer.0].usable() != Licenses::ZERO;
            let back = if usable { hold.min(idle).min(open) } else { hold.min(idle) };
            if back == Licenses::ZERO {
                continue;
            }
            // N3
            if usable && !self.try_lower(back, cx) {
                break;
            }
            idle = idle.less(back);
            open = if usable { open.less(back) } else { open };
            self.give_to(peer, back, cx);
        }
    }
}
