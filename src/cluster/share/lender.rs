//! The lender's side: what a peer may hold of this node's home units.
//!
//! `out` is an upper bound of what the borrower may believe that it holds. It rises before the word that allows it is sent,
//! and falls only when the borrower said, knowing the newest word, that it holds less (L2), when it started anew (L1), or
//! when its lease is over by any clock (L7).
//!
//! Three places differ from the design's text, all only in how often something is said. A recall is repeated each 100 ms
//! until the borrower has *seen* it, and each second from there on: a session may last for hours, and its borrower reports
//! each return itself (B4, B7). A loan of sessions is said again each second until the borrower has seen it: were the word
//! lost and nothing more asked for, it would be out for ever. And a loan of a rate never waits for the disk: what the durable budget covers is lent at
//! once, the rest as soon as the raised budget is durable; so `out <= budget` holds in memory and on disk alike.

use super::super::engine::{BatchNo, Cx, PeerIndex, Rule};
use super::super::ids::{Incarnation, Seq};
use super::super::ledger::Record;
use super::super::message::{Adopt, Anchor, Lend, Message, Req};
use super::super::resource::{Kind, Licenses};
use super::{LICENSES_MAX, Share};
use crate::units::Tick;

/// Budgets are lowered to what is out at most so often, in milliseconds; never before loans under them have ended.
const BUDGET_LOWERED_EVERY_MS: u64 = 60_000;
/// Budgets are raised by this part of home at least, so that few loans wait for the disk.
const BUDGET_CHUNKS: u32 = 16;

/// What a lender knows of the borrower's knowledge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::cluster) enum Stance {
    /// Nothing special.
    Settled,
    /// The borrower restarted and was told what it holds; until it echoes that, nothing else is said to it.
    Adopting,
    /// This node restarted with sessions out; the borrower hasn't said yet what it holds.
    Unconfirmed,
}

/// Units that a peer asked for and that weren't there (L8).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::cluster) struct Wanting {
    want: Licenses,
    anchor: Anchor,
    until: Tick,
    order: u64,
}

/// A loan to a peer.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(in crate::cluster) struct Lent {
    pub(in crate::cluster) out: Licenses,
    /// The newest word's value and number.
    pub(in crate::cluster) k: Licenses,
    pub(in crate::cluster) seq: Seq,
    /// The newest incarnation seen of the borrower.
    pub(in crate::cluster) binc: Incarnation,
    /// When no borrower's clock can count the loan as held any more.
    pub(in crate::cluster) ends: Option<Tick>,
    /// Rates: durable, and at least `out`.
    pub(super) budget: Licenses,
    budget_raise: Option<(BatchNo, Licenses)>,
    pub(super) budget_lowered: Tick,
    /// Sessions: the batch that makes the newest state durable.
    pub(super) unsaved: BatchNo,
    /// An answer that waits for that, with its anchor.
    owed: Option<Option<Anchor>>,
    pub(super) wanting: Option<Wanting>,
    pub(in crate::cluster) stance: Stance,
    /// The borrower has seen the newest word.
    pub(super) seen_newest: bool,
    /// When to say again what wasn't acknowledged.
    pub(super) say_at: Option<Tick>,
    /// Since when something is out.
    pub(super) since: Option<Tick>,
    /// When the borrower was last heard.
    pub(in crate::cluster) heard: Tick,
    /// Reclaimed from it while it was silent, and not settled yet.
    pub(in crate::cluster) reclaimed: Licenses,
    /// The declaration of a reclaim that is to become durable first.
    pub(super) reclaim: Option<BatchNo>,
}

impl Lent {
    pub(super) const fn new(now: Tick) -> Self {
        Self {
            out: Licenses::ZERO,
            k: Licenses::ZERO,
            seq: Seq(0),
            binc: Incarnation(0),
            ends: None,
            budget: Licenses::ZERO,
            budget_raise: None,
            budget_lowered: now,
            unsaved: 0,
            owed: None,
            wanting: None,
            stance: Stance::Settled,
            seen_newest: false,
            say_at: None,
            since: None,
            heard: now,
            reclaimed: Licenses::ZERO,
            reclaim: None,
        }
    }

    /// Recalled, and not back yet.
    pub(super) const fn recalled(&self) -> Licenses {
        self.out.less(self.k)
    }

    pub(super) fn due(&self, rate: bool) -> Option<Tick> {
        let ends = if rate && self.out != Licenses::ZERO { self.ends } else { None };
        [ends, self.wanting.map(|wanting| wanting.until), self.say_at].into_iter().flatten().min()
    }
}

impl Share {
    /// A borrower's request, renewal, return or acknowledgement.
    pub(in crate::cluster) fn on_req(&mut self, from: PeerIndex, req: &Req, cx: &mut Cx<'_>) {
        // L1
        let known = self.lent[from.0].binc;
        if req.binc < known {
            return cx.ignore(from, "a request of an earlier life of its sender");
        }
        if req.linc > cx.env.inc {
            return cx.ignore(from, "a request that knows a later life of this node's ledger");
        }
        if req.binc > known {
            self.borrower_restarted(from, req.binc, cx);
        }
        self.edit_lent(from, |lent| lent.heard = cx.now);
        let knows_this_life = req.linc == cx.env.inc;
        let sees_newest = knows_this_life && req.seen == self.lent[from.0].seq;
        match self.lent[from.0].stance {
            // B8: nothing else is said until the adoption is echoed.
            Stance::Adopting if !sees_newest => return self.send_adopt(from, cx),
            Stance::Adopting => self.edit_lent(from, |lent| {
                lent.stance = Stance::Settled;
                lent.say_at = None;
            }),
            Stance::Unconfirmed if knows_this_life => self.edit_lent(from, |lent| {
                lent.stance = Stance::Settled;
                // A recall of the earlier life goes on.
                lent.say_at = (lent.k != lent.out).then_some(cx.now);
            }),
            Stance::Unconfirmed | Stance::Settled => {}
        }
        // L2. Mutant: a borrower that hasn't seen the newest word is believed.
        let believed = sees_newest || (knows_this_life && !cx.has(Rule::SeenNewest));
        self.edit_lent(from, |lent| {
            lent.seen_newest = sees_newest;
            if sees_newest && lent.k == lent.out {
                lent.say_at = None;
            }
        });
        let mut came_home = false;
        if believed {
            came_home = self.lower_out(from, req.hold, cx);
            self.settle_reclaimed(from, req.hold, cx);
        }
        // Its own first: what is held from who asks goes home before anything is lent to it.
        let returned = self.return_home(from, req.want.less(self.lent[from.0].out), cx);
        // L3, L4, L8
        self.want(from, req.want.less(returned), req.anchor, cx);
        self.grant(from, cx);
        self.send_lend(from, Some(req.anchor), cx);
        if came_home {
            self.serve_wanting(cx);
        }
    }

    /// L1: a borrower began a new life.
    pub(in crate::cluster) fn borrower_restarted(&mut self, from: PeerIndex, binc: Incarnation, cx: &mut Cx<'_>) {
        self.forget_want(from);
        match self.kind() {
            Kind::Rate => {
                self.rest_what_is_out(from, cx);
                self.edit_lent(from, |lent| lent.binc = binc);
            }
            Kind::Session => {
                self.edit_lent(from, |lent| {
                    lent.binc = binc;
                    // A recall under way is forgotten, and made again if it is still needed: what is adopted is all that is
                    // out, and one number must not mean two counts.
                    if lent.k != lent.out {
                        lent.k = lent.out;
                        lent.seq = lent.seq.next();
                    }
                    lent.owed = None;
                    lent.seen_newest = false;
                    lent.stance = if lent.out == Licenses::ZERO { Stance::Settled } else { Stance::Adopting };
                });
                if self.lent[from.0].stance == Stance::Adopting {
                    self.record_loan(from, cx);
                }
            }
        }
    }

    /// What is out to a peer rests for a window, then is free (L1, L7).
    pub(super) fn rest_what_is_out(&mut self, from: PeerIndex, cx: &mut Cx<'_>) {
        self.rest_what_is_out_from(from, cx.now, cx);
    }

    /// The same, from the end of its lease on.
    pub(super) fn rest_until_over(&mut self, from: PeerIndex, cx: &mut Cx<'_>) {
        let over = self.lent[from.0].ends.map_or(cx.now, |ends| ends.max(cx.now));
        self.rest_what_is_out_from(from, over, cx);
    }

    fn rest_what_is_out_from(&mut self, from: PeerIndex, over: Tick, cx: &mut Cx<'_>) {
        let out = self.edit_lent(from, |lent| {
            let out = std::mem::take(&mut lent.out);
            if out != Licenses::ZERO || lent.k != Licenses::ZERO {
                lent.seq = lent.seq.next();
            }
            lent.k = Licenses::ZERO;
            lent.ends = None;
            lent.say_at = None;
            lent.seen_newest = false;
            out
        });
        // Mutant: it doesn't rest.
        if cx.has(Rule::Limbo) {
            self.rest(out, over.plus_nanos(cx.env.window_nanos()));
        }
        self.apply(cx);
    }

    /// L2: a borrower that has seen the newest word holds less. Units of a rate are back at once: what it admitted on them
    /// lies within what it still holds (N3, B3). Sessions are, once the ledger has it. Says whether anything is free now.
    fn lower_out(&mut self, from: PeerIndex, hold: Licenses, cx: &mut Cx<'_>) -> bool {
        let back = self.lent[from.0].out.less(hold);
        if back == Licenses::ZERO {
            return false;
        }
        self.edit_lent(from, |lent| {
            // Also what it was allowed: else B7 never ends. Under a recall that stays below.
            lent.out = hold;
            lent.k = lent.k.min(hold);
            if lent.k == lent.out {
                lent.say_at = None;
            }
        });
        // It may be what it was asked for: what it lends beside that answers the rest.
        self.edit_held(from, |held| {
            if held.awaited_until.is_some() {
                held.want = held.want.less(back).max(held.hold);
            }
        });
        match self.kind() {
            Kind::Rate => self.apply(cx),
            // Mutant: they are used before that.
            Kind::Session if !cx.has(Rule::HomeWhenDurable) => {
                self.record_loan(from, cx);
                self.apply(cx);
            }
            Kind::Session => {
                self.record_loan(from, cx);
                self.rest_until_durable(back, self.lent[from.0].unsaved);
                return false;
            }
        }
        true
    }

    /// Remembers what a peer wants in all (L8).
    fn want(&mut self, from: PeerIndex, want: Licenses, anchor: Anchor, cx: &Cx<'_>) {
        if want <= self.lent[from.0].out || self.closed {
            return self.forget_want(from);
        }
        let order = match self.lent[from.0].wanting {
            Some(wanting) => wanting.order,
            None => {
                self.wanting_next += 1;
                self.wanting_next
            }
        };
        let until = cx.now.plus_millis(u64::from(cx.env.params.pending_ms));
        self.wanting.insert(order, from);
        let want = want.min(LICENSES_MAX);
        self.edit_lent(from, |lent| lent.wanting = Some(Wanting { want, anchor, until, order }));
    }

    pub(super) fn forget_want(&mut self, from: PeerIndex) {
        if let Some(wanting) = self.edit_lent(from, |lent| lent.wanting.take()) {
            self.wanting.remove(&wanting.order);
        }
    }

    /// L3: what could be lent now, in licenses.
    pub(in crate::cluster) fn spare(&self, cx: &Cx<'_>) -> Licenses {
        // Mutant: nothing is ever lent.
        if self.closed || self.home.lapsed || !cx.has(Rule::Lends) {
            return Licenses::ZERO;
        }
        // Loan depth 1: home units only.
        self.slack(cx).min(Licenses(u32::try_from(self.own()).unwrap_or(u32::MAX)))
    }

    /// What isn't needed here, whosever it is, in licenses.
    pub(super) fn slack(&self, cx: &Cx<'_>) -> Licenses {
        if self.demand.is_starving() {
            return Licenses::ZERO;
        }
        let used = cx.pools.used(self.index, cx.now).used;
        let kept = used.saturating_add(self.lending_reserve(cx)).saturating_add(self.of.headroom);
        Licenses::within(self.open().saturating_sub(kept), self.kind())
    }

    /// L3, L4: lends what a peer wants, as far as there is some. Says whether anything was.
    fn grant(&mut self, to: PeerIndex, cx: &mut Cx<'_>) -> bool {
        let Some(wanting) = self.lent[to.0].wanting else { return false };
        let home = self.home_now();
        let most = u64::from(home.0) * u64::from(cx.env.params.max_lend_percent) / 100;
        let goal = wanting.want.min(Licenses(u32::try_from(most).unwrap_or(u32::MAX)));
        let mut more = goal.less(self.lent[to.0].out).min(self.spare(cx));
        if more == Licenses::ZERO {
            return false;
        }
        match self.kind() {
            Kind::Rate => more = more.min(self.budget_room(to, more, cx)),
            // What can't become durable can't be lent.
            Kind::Session if cx.journal.is_failing() => return false,
            Kind::Session => {}
        }
        // A word that is lost is found out by a rate's end. Sessions have none that helps: said until it was seen.
        let repeated = self.kind() == Kind::Session;
        let again = cx.now.plus_millis(u64::from(cx.env.params.repeat_interval_ms.max(1)));
        // N3: the limit is lowered first, in one step with the check.
        if more == Licenses::ZERO || !self.try_lower(more, cx) {
            return false;
        }
        self.edit_lent(to, |lent| {
            lent.out = lent.out.plus(more);
            lent.k = lent.out;
            lent.seq = lent.seq.next();
            lent.seen_newest = false;
            lent.say_at = repeated.then_some(again);
        });
        self.record_loan(to, cx);
        self.apply(cx);
        if self.lent[to.0].out >= goal {
            self.forget_want(to);
        }
        true
    }

    /// What the durable budget still covers; asks for more of it if that is less than `more`.
    fn budget_room(&mut self, to: PeerIndex, more: Licenses, cx: &mut Cx<'_>) -> Licenses {
        let lent = &self.lent[to.0];
        let wanted = lent.out.plus(more);
        let asked = lent.budget_raise.map_or(lent.budget, |(_, budget)| budget);
        if wanted > asked {
            let chunk = (self.home_now().0 / BUDGET_CHUNKS).max(1);
            let budget = Licenses(wanted.0.div_ceil(chunk).saturating_mul(chunk));
            let batch =
                cx.record(Record::Budget { resource: self.of.id.clone(), borrower: Self::name(to, cx), budget });
            self.lent[to.0].budget_raise = Some((batch, budget));
            self.waiting.insert((batch, to));
        }
        self.lent[to.0].budget.less(self.lent[to.0].out)
    }

    /// Lowers budgets far above what is out: they are out of use after a crash.
    pub(in crate::cluster) fn lower_budgets(&mut self, cx: &mut Cx<'_>) {
        if self.kind() != Kind::Rate {
            return;
        }
        let params = &cx.env.params;
        let ended = params.lender_term_nanos(params.rate_term_ms) / 1_000_000 + 2000;
        let every = BUDGET_LOWERED_EVERY_MS.max(ended);
        for index in 0..self.lent.len() {
            let lent = &mut self.lent[index];
            let rests = cx.now < lent.budget_lowered.plus_millis(every);
            if rests || lent.budget <= lent.out || lent.budget_raise.is_some() {
                continue;
            }
            lent.budget_lowered = cx.now;
            lent.budget = lent.out;
            let (resource, budget) = (self.of.id.clone(), lent.out);
            let borrower = Self::name(PeerIndex(index), cx);
            cx.record(Record::Budget { resource, borrower, budget });
        }
    }

    /// Sessions: what is out is to become durable (L4). Lowered values too, in order, without anyone waiting for them.
    pub(super) fn record_loan(&mut self, to: PeerIndex, cx: &mut Cx<'_>) {
        if self.kind() == Kind::Rate {
            return;
        }
        let lent = &self.lent[to.0];
        let record = Record::Loan {
            resource: self.of.id.clone(),
            borrower: Self::name(to, cx),
            binc: lent.binc,
            out: lent.out,
            seq: lent.seq,
            k: lent.k,
        };
        self.lent[to.0].unsaved = cx.record(record);
    }

    /// Says what a peer may hold, renewed if it answers a request. Held back until it is durable.
    pub(super) fn send_lend(&mut self, to: PeerIndex, anchor: Option<Anchor>, cx: &mut Cx<'_>) {
        let unsaved = self.lent[to.0].unsaved;
        if !cx.journal.is_durable(unsaved) {
            // I6: a word never says what isn't durable. The newest anchor is answered then.
            let lent = &mut self.lent[to.0];
            lent.owed = Some(anchor.or(lent.owed.flatten()));
            self.waiting.insert((unsaved, to));
            return;
        }
        let term = self.term_ms(cx);
        if let (Some(_), Some(term)) = (anchor, term) {
            // L5, before it is sent.
            let ends = cx.now.plus_nanos(cx.env.params.lender_term_nanos(term));
            self.edit_lent(to, |lent| lent.ends = lent.ends.max(Some(ends)));
        }
        let lent = &self.lent[to.0];
        let lend = Lend {
            resource: self.of.id.clone(),
            epoch: self.home.epoch,
            linc: cx.env.inc,
            binc: lent.binc,
            seq: lent.seq,
            k: lent.k,
            anchor,
            term_ms: term.unwrap_or(0),
        };
        cx.send(to, Message::Lend(lend));
    }

    pub(super) fn send_adopt(&mut self, to: PeerIndex, cx: &mut Cx<'_>) {
        let lent = &mut self.lent[to.0];
        if !cx.journal.is_durable(lent.unsaved) {
            // I6: an adoption allows as much as a loan does.
            lent.owed = Some(None);
            self.waiting.insert((lent.unsaved, to));
            return;
        }
        let adopt =
            Adopt { resource: self.of.id.clone(), linc: cx.env.inc, binc: lent.binc, out: lent.out, seq: lent.seq };
        cx.send(to, Message::Adopt(adopt));
        let again = cx.now.plus_millis(u64::from(cx.env.params.repeat_interval_ms));
        self.edit_lent(to, |lent| lent.say_at = Some(again));
    }

    /// What a loan waited for is durable.
    pub(super) fn lent_durable(&mut self, peer: PeerIndex, cx: &mut Cx<'_>) {
        let lent = &mut self.lent[peer.0];
        if let Some((_, budget)) = lent.budget_raise.take_if(|(batch, _)| cx.journal.is_durable(*batch)) {
            lent.budget = budget;
            self.serve(peer, cx);
        }
        if self.lent[peer.0].reclaim.take_if(|batch| cx.journal.is_durable(*batch)).is_some() {
            self.reclaim_durable(peer, cx);
        }
        match (self.lent[peer.0].owed.take(), self.lent[peer.0].stance) {
            (None, _) => {}
            (Some(_), Stance::Adopting) => self.send_adopt(peer, cx),
            (Some(anchor), Stance::Settled | Stance::Unconfirmed) => self.send_lend(peer, anchor, cx),
        }
    }

    /// L6: asks for so many licenses back.
    pub(super) fn recall(&mut self, needed: u64, cx: &mut Cx<'_>) {
        let mut needed = needed.saturating_sub(self.sums.recalled);
        if needed == 0 {
            return;
        }
        // The largest first: the fewest words, and the fewest borrowers disturbed.
        let mut most: Vec<(Licenses, PeerIndex)> = self
            .borrowers
            .iter()
            .map(|peer| (self.lent[peer.0].k, *peer))
            .filter(|(k, _)| *k != Licenses::ZERO)
            .collect();
        most.sort_unstable_by(|one, other| other.cmp(one));
        for (k, peer) in most {
            if needed == 0 {
                break;
            }
            if self.lent[peer.0].stance == Stance::Adopting {
                continue;
            }
            let back = Licenses(u32::try_from(needed).unwrap_or(u32::MAX)).min(k);
            needed -= u64::from(back.0);
            let again = cx.now.plus_millis(u64::from(cx.env.params.recall_interval_ms));
            self.forget_want(peer);
            self.edit_lent(peer, |lent| {
                lent.k = lent.k.less(back);
                lent.seq = lent.seq.next();
                lent.seen_newest = false;
                lent.say_at = Some(again);
            });
            self.send_lend(peer, None, cx);
        }
    }

    /// L8: what came home goes to those who asked for it, in the order in which they did.
    pub(super) fn serve_wanting(&mut self, cx: &mut Cx<'_>) {
        if self.wanting.is_empty() {
            return;
        }
        let waiting: Vec<PeerIndex> = self.wanting.values().copied().collect();
        for peer in waiting {
            if self.spare(cx) == Licenses::ZERO {
                return;
            }
            self.serve(peer, cx);
        }
    }

    fn serve(&mut self, peer: PeerIndex, cx: &mut Cx<'_>) {
        let Some(wanting) = self.lent[peer.0].wanting else { return };
        if self.lent[peer.0].stance != Stance::Adopting && self.grant(peer, cx) {
            self.send_lend(peer, Some(wanting.anchor), cx);
        }
    }

    pub(super) fn lent_due(&mut self, peer: PeerIndex, cx: &mut Cx<'_>) {
        let lent = &self.lent[peer.0];
        if lent.wanting.is_some_and(|wanting| wanting.until <= cx.now) {
            self.forget_want(peer);
        }
        let lent = &self.lent[peer.0];
        // L7
        if self.kind() == Kind::Rate && lent.out != Licenses::ZERO && lent.ends.is_some_and(|ends| ends <= cx.now) {
            self.rest_what_is_out(peer, cx);
        }
        let lent = &self.lent[peer.0];
        if lent.say_at.is_none_or(|at| at > cx.now) {
            return;
        }
        let params = &cx.env.params;
        let recalled = lent.recalled() != Licenses::ZERO;
        let unseen = self.kind() == Kind::Session && lent.out != Licenses::ZERO && !lent.seen_newest;
        let (again, pause_ms) = match lent.stance {
            Stance::Adopting | Stance::Unconfirmed => (true, params.repeat_interval_ms),
            Stance::Settled if recalled && !lent.seen_newest => (true, params.recall_interval_ms),
            Stance::Settled => (recalled || unseen, params.repeat_interval_ms),
        };
        let next = again.then(|| cx.now.plus_millis(u64::from(pause_ms.max(1))));
        self.edit_lent(peer, |lent| lent.say_at = next);
        if !again || cx.peers.get(peer).down {
            return;
        }
        match self.lent[peer.0].stance {
            Stance::Adopting => self.send_adopt(peer, cx),
            Stance::Unconfirmed | Stance::Settled => self.send_lend(peer, None, cx),
        }
    }
}
