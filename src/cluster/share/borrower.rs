//! The borrower's side: what this node may hold of a peer's home units.
//!
//! Nothing here is durable: the lender is the authority. `hold` rises only by a word newer than all seen (B2) or an adoption
//! (B8), and falls freely, since less than what the lender counts is always safe.
//!
//! A recall is obeyed at once, also while everything is in use: the limit falls below what is in use, no new call gets a
//! freed slot, and what hasn't cooled yet is reported as held (B3) until it has. (Lowering only as far as calls have ended
//! already, as B4 could be read, never ends under load: each freed slot is taken again before the next look.)
//!
//! Returns of rates are repeated like those of sessions (B7): it costs nothing unless a message is lost, and spares the
//! lender the wait for the lease's end.

use super::super::engine::{Cx, PeerIndex, Rule};
use super::super::ids::{Incarnation, Seq};
use super::super::message::{Adopt, Anchor, Lend, Message, Req};
use super::super::resource::{Kind, Licenses};
use super::{LICENSES_MAX, Share};
use crate::units::Tick;

/// How often a node reports what cools after a recall, in milliseconds.
const COOLING_REPORT_MS: u64 = 40;
/// A renewal that isn't answered is repeated after this part of the term.
const RENEWALS_PER_TERM: u64 = 10;
/// The longest term that is believed, in milliseconds.
const TERM_MS_MAX: u32 = 86_400_000;

/// What is held from a peer.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(in crate::cluster) struct Held {
    /// The newest incarnation seen of the lender, and its newest word.
    pub(in crate::cluster) linc: Incarnation,
    pub(in crate::cluster) seen: Seq,
    pub(in crate::cluster) hold: Licenses,
    /// What the newest word allows.
    target: Licenses,
    /// What the lender said last, with whatever number.
    pub(super) k: Licenses,
    /// When the lease ends; `None`: there is none.
    pub(in crate::cluster) ends: Option<Tick>,
    /// New calls may use it.
    live: bool,
    /// The anchor of the newest request.
    anchor: Option<Anchor>,
    /// Since when something is held.
    pub(super) since: Option<Tick>,
    /// What was asked for last, in all, and until when an answer is awaited.
    pub(super) want: Licenses,
    pub(super) awaited_until: Option<Tick>,
    /// The newest answer was less than was wanted.
    pub(super) short: bool,
    /// What the newest request reported.
    pub(super) reported: Licenses,
    /// The lender's incarnation whose adoption was taken.
    adopted_in: Option<Incarnation>,
    /// What was adopted, until calls are reconciled.
    adopted: Licenses,
    /// When to say again what wasn't acknowledged.
    pub(super) tell_at: Option<Tick>,
    /// When the lease is to be renewed.
    renew_at: Option<Tick>,
    /// The lender was heard in this life: it has said what it believes.
    pub(super) heard: bool,
}

impl Held {
    /// Whether new calls may use it.
    pub(super) const fn is_live(&self) -> bool {
        self.live
    }

    /// New calls may use it, or not, without an end.
    pub(super) const fn set_live(&mut self, live: bool) {
        self.live = live;
        self.ends = None;
        self.renew_at = None;
    }

    /// Either side is in a new life: of a rate nothing is held any more.
    const fn begin_anew(&mut self, rate: bool) {
        self.seen = Seq(0);
        if rate {
            self.hold = Licenses::ZERO;
            self.k = Licenses::ZERO;
            self.set_live(false);
        }
        // What isn't said again is not a target: sessions stay until it is.
        self.target = self.hold;
        self.awaited_until = None;
    }

    pub(super) const fn usable(&self) -> Licenses {
        if self.live { self.hold } else { Licenses::ZERO }
    }

    /// When what is usable ends.
    pub(super) fn ends_at(&self, leased: bool) -> Option<Tick> {
        if leased && self.live && self.hold != Licenses::ZERO { self.ends } else { None }
    }

    pub(super) fn due(&self, leased: bool) -> Option<Tick> {
        let renew = if self.hold == Licenses::ZERO { None } else { self.renew_at };
        [self.ends_at(leased), renew, self.tell_at, self.awaited_until].into_iter().flatten().min()
    }

    /// Whether it was told so much to this lender long enough ago to ask again.
    pub(super) fn may_ask(&self, now: Tick, interval_ms: u32) -> bool {
        self.anchor.is_none_or(|anchor| Tick(anchor.0).plus_millis(u64::from(interval_ms)) <= now)
    }

    /// Whether it may be given back: what was adopted isn't until calls are known.
    pub(super) fn returnable(&self, reconciled: bool) -> bool {
        reconciled || self.adopted == Licenses::ZERO
    }

    /// Asked for beyond what is held, and not answered yet.
    pub(super) fn awaited(&self) -> Licenses {
        if self.awaited_until.is_some() { self.want.less(self.hold) } else { Licenses::ZERO }
    }
}

impl Share {
    /// What a lender says.
    pub(in crate::cluster) fn on_lend(&mut self, from: PeerIndex, lend: &Lend, cx: &mut Cx<'_>) {
        let held = &self.held[from.0];
        if lend.binc != cx.env.inc {
            return cx.ignore(from, "an answer to an earlier life of this node");
        }
        if lend.k > LICENSES_MAX {
            return cx.ignore(from, "a loan beyond any count");
        }
        if lend.anchor.is_some_and(|anchor| held.anchor.is_none_or(|newest| anchor > newest)) {
            return cx.ignore(from, "an anchor from the future");
        }
        // B1. Mutant: numbers are compared across lives of the lender.
        let older = if cx.has(Rule::IncarnationFirst) {
            (lend.linc, lend.seq) < (held.linc, held.seen)
        } else {
            lend.seq < held.seen
        };
        if older {
            return cx.ignore(from, "a word older than one seen");
        }
        let newer_life = lend.linc > held.linc;
        if newer_life {
            self.lender_restarted(from, lend.linc, cx);
        }
        let (leased, rate) = (self.is_leased(), self.kind() == Kind::Rate);
        // B2. Mutant: the term is counted from the arrival.
        let start = if cx.has(Rule::AnchoredTerm) { lend.anchor.map(|anchor| Tick(anchor.0)) } else { Some(cx.now) };
        let term_ms = u64::from(lend.term_ms.min(TERM_MS_MAX));
        let ends = start.filter(|_| lend.anchor.is_some()).map(|start| start.plus_millis(term_ms));
        let runs = ends.is_some_and(|ends| ends > cx.now);
        let answers_newest = lend.anchor.is_some() && lend.anchor == held_anchor(&self.held[from.0]);
        let shed = self.edit_held(from, |held| {
            let before = held.hold;
            held.heard = true;
            if lend.seq > held.seen {
                held.seen = lend.seq;
                held.target = lend.k;
                if lend.k > held.hold && (!rate || runs) {
                    // A lender in a new life may count more as lent than it should; only what is wanted of that is taken.
                    let taken = if newer_life { lend.k.min(held.want) } else { lend.k };
                    held.hold = held.hold.max(taken);
                }
            }
            held.k = lend.k;
            if leased && runs {
                held.ends = held.ends.max(ends);
                held.live = true;
                held.renew_at = held.ends.map(|ends| renew_at(ends, lend.term_ms, cx.env.params.renew_below_percent));
            }
            if !leased {
                held.live = true;
            }
            if rate && !held.live {
                held.hold = Licenses::ZERO;
            }
            // B4, at once: see the head of this file.
            held.hold = held.hold.min(held.target);
            if answers_newest || held.hold >= held.want {
                held.awaited_until = None;
            }
            held.hold < before
        });
        self.apply(cx);
        if answers_newest {
            self.held[from.0].short = lend.k < self.held[from.0].want;
        }
        if answers_newest && lend.k < self.held[from.0].want {
            self.offers.exhausted(from);
        }
        if lend.anchor.is_none() || newer_life || shed {
            self.tell(from, cx);
        } else {
            self.settle(from, cx);
        }
    }

    /// B1: a lender began a new life. A rate is given up: its lender rests it in limbo meanwhile. Sessions stay.
    pub(in crate::cluster) fn lender_restarted(&mut self, from: PeerIndex, linc: Incarnation, cx: &mut Cx<'_>) {
        let rate = self.kind() == Kind::Rate;
        self.edit_held(from, |held| {
            held.linc = linc;
            held.begin_anew(rate);
        });
        self.apply(cx);
    }

    /// This node's incarnation rose within its life (a census said so): its lenders take that for a new life. A rate is given up,
    /// since they rest it from now on; of sessions each says once more what is held (B8).
    pub(in crate::cluster) fn life_raised(&mut self, cx: &mut Cx<'_>) {
        let rate = self.kind() == Kind::Rate;
        for peer in 0..self.held.len() {
            self.edit_held(PeerIndex(peer), |held| {
                held.adopted_in = None;
                held.begin_anew(rate);
            });
        }
        self.apply(cx);
    }

    /// B8: what a lender says that this node held in its earlier life.
    pub(in crate::cluster) fn on_adopt(&mut self, from: PeerIndex, adopt: &Adopt, cx: &mut Cx<'_>) {
        let held = &self.held[from.0];
        if adopt.binc != cx.env.inc {
            return cx.ignore(from, "an adoption by another life of this node");
        }
        if self.kind() == Kind::Rate || adopt.out > LICENSES_MAX {
            return cx.ignore(from, "an adoption of what can't be adopted");
        }
        if adopt.linc < held.linc {
            return cx.ignore(from, "an adoption from an earlier life of its sender");
        }
        let known = adopt.linc == held.linc;
        // Once for each life of either side, and before any other word. Mutant: as often as it comes.
        let taken = known && (held.adopted_in == Some(adopt.linc) || held.seen > Seq(0));
        if taken && cx.has(Rule::AdoptOnce) {
            // The echo may have been lost. Or the lender took this life for a new one once more: it waits until its newest number
            // is known here; what is held stays, which is no more than that allows.
            self.edit_held(from, |held| {
                if adopt.seq > held.seen {
                    held.seen = adopt.seq;
                    held.target = held.hold;
                    held.k = adopt.out;
                }
            });
            return self.tell(from, cx);
        }
        let leased = self.is_leased();
        self.edit_held(from, |held| {
            held.linc = adopt.linc;
            held.seen = adopt.seq;
            held.hold = adopt.out;
            held.target = adopt.out;
            held.k = adopt.out;
            held.adopted = adopt.out;
            held.adopted_in = Some(adopt.linc);
            held.heard = true;
            // The class license has a lease only once it is renewed.
            held.live = !leased;
            held.ends = None;
            held.renew_at = None;
        });
        self.apply(cx);
        self.tell(from, cx);
    }

    /// Gives back to a peer what it asks for, as far as that is its own and not needed here. Returns how much that was.
    pub(super) fn return_home(&mut self, to: PeerIndex, asked: Licenses, cx: &mut Cx<'_>) -> Licenses {
        let held = &self.held[to.0];
        if held.usable() == Licenses::ZERO || !held.returnable(cx.pools.is_reconciled(self.index)) {
            return Licenses::ZERO;
        }
        let kept = Licenses::covering(self.wanted_min, self.kind());
        let idle = Licenses::within(self.open(), self.kind()).less(kept);
        let back = asked.min(held.hold).min(self.slack(cx)).min(idle);
        // N3
        if back == Licenses::ZERO || !self.try_lower(back, cx) {
            return Licenses::ZERO;
        }
        self.give_to(to, back, cx);
        back
    }

    /// Holds so much less of a peer, of which nothing is in use, and says so.
    pub(super) fn give_to(&mut self, to: PeerIndex, back: Licenses, cx: &mut Cx<'_>) {
        self.edit_held(to, |held| {
            held.hold = held.hold.less(back);
            held.want = held.hold;
            held.awaited_until = None;
        });
        self.apply(cx);
        self.tell(to, cx);
    }

    /// Says what is held of a peer, and what is wanted (the word that borrows, renews, returns and acknowledges).
    pub(super) fn tell(&mut self, to: PeerIndex, cx: &mut Cx<'_>) {
        let reported = self.report(to, cx);
        let anchor = Anchor(cx.now.0);
        let held = &self.held[to.0];
        let want = if held.awaited_until.is_some() { held.want.max(held.hold) } else { held.hold };
        let req = Req {
            resource: self.of.id.clone(),
            binc: cx.env.inc,
            linc: held.linc,
            anchor,
            hold: reported,
            seen: held.seen,
            want,
        };
        cx.send(to, Message::Req(req));
        self.edit_held(to, |held| {
            held.anchor = Some(anchor);
            held.reported = reported;
            held.want = want;
        });
        self.settle(to, cx);
    }

    /// B3: what is held, and what a forced lowering left in use, in whole licenses. B8: never less than what was adopted
    /// until the calls are known.
    fn report(&self, to: PeerIndex, cx: &Cx<'_>) -> Licenses {
        let held = &self.held[to.0];
        let uncooled = if cx.has(Rule::ReportUncooled) { self.uncooled(cx) } else { Licenses::ZERO };
        let hold = held.hold.plus(uncooled);
        if cx.pools.is_reconciled(self.index) { hold } else { hold.max(held.adopted) }
    }

    /// In use beyond what covers it, after a forced lowering.
    pub(super) fn uncooled(&self, cx: &Cx<'_>) -> Licenses {
        let used = cx.pools.used(self.index, cx.now);
        let ordinary = used.used.saturating_sub(used.forced);
        Licenses::covering(ordinary.saturating_sub(self.covered()), self.kind())
    }

    /// Sets when to say again what the lender hasn't acknowledged (B7), or what still cools (B4).
    fn settle(&mut self, from: PeerIndex, cx: &Cx<'_>) {
        let held = &self.held[from.0];
        let lapsed = held.hold != Licenses::ZERO && !held.live;
        let pause_ms = if held.reported > held.hold {
            Some(COOLING_REPORT_MS)
        } else if held.k != held.hold || !held.heard || lapsed {
            Some(u64::from(cx.env.params.repeat_interval_ms))
        } else {
            None
        };
        let at = pause_ms.map(|pause| cx.now.plus_millis(pause.max(1)));
        self.edit_held(from, |held| held.tell_at = at);
    }

    pub(super) fn held_due(&mut self, peer: PeerIndex, cx: &mut Cx<'_>) {
        let (leased, rate) = (self.is_leased(), self.kind() == Kind::Rate);
        let ended = self.held[peer.0].ends_at(leased).is_some_and(|ends| ends <= cx.now);
        if ended {
            // B5. Rates: the hold is gone. Sessions of the license class: no new call on it; running calls keep theirs, and
            // their lender is asked for a new lease.
            self.edit_held(peer, |held| {
                held.live = false;
                held.ends = None;
                held.renew_at = None;
                if rate {
                    held.hold = Licenses::ZERO;
                } else {
                    held.tell_at = Some(cx.now);
                }
            });
            self.apply(cx);
        }
        let held = &self.held[peer.0];
        if held.awaited_until.is_some_and(|until| until <= cx.now) {
            self.edit_held(peer, |held| held.awaited_until = None);
        }
        let held = &self.held[peer.0];
        let renew = held.hold != Licenses::ZERO && held.renew_at.is_some_and(|at| at <= cx.now);
        let again = held.tell_at.is_some_and(|at| at <= cx.now);
        if renew {
            // B6, again soon if it isn't answered.
            let term = u64::from(self.term_ms(cx).unwrap_or(0));
            let next = cx.now.plus_millis((term / RENEWALS_PER_TERM).max(1));
            self.edit_held(peer, |held| held.renew_at = Some(next));
        }
        if !renew && !again {
            return;
        }
        if cx.peers.get(peer).down && !ended {
            let next = cx.now.plus_millis(u64::from(cx.env.params.repeat_interval_ms.max(1)));
            return self.edit_held(peer, |held| held.tell_at = again.then_some(next));
        }
        // What cools is told when it is less than it was; what was told and not acknowledged, always.
        let held = &self.held[peer.0];
        if !renew && held.reported > held.hold && held.k <= held.hold && self.report(peer, cx) == held.reported {
            let next = cx.now.plus_millis(COOLING_REPORT_MS);
            return self.edit_held(peer, |held| held.tell_at = Some(next));
        }
        self.tell(peer, cx);
    }
}

fn held_anchor(held: &Held) -> Option<Anchor> {
    held.anchor
}

/// B6: when less than so many percent of the term are left.
fn renew_at(ends: Tick, term_ms: u32, below_percent: u32) -> Tick {
    let left = u64::from(term_ms) * u64::from(below_percent.min(90)) * 10_000;
    Tick(ends.0.saturating_sub(left))
}
