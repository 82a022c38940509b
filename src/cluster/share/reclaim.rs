//! Sessions of the license class come back from a borrower that is long silent: its lease is over by any clock, and a grace
//! has passed. It may still have calls on them, so what that may exceed is declared, durably, before it happens; the record
//! is closed when the borrower says, knowing the newest word, that it holds no more than is lent to it.
//!
//! Done only when somebody needs the units: a home that refuses calls, or a peer that asked in vain. Without need there is
//! nothing to gain by an overshoot.

use super::super::action::Event;
use super::super::engine::{Cx, PeerIndex};
use super::super::ledger::Record;
use super::super::resource::{Class, Kind, Licenses};
use super::Share;

impl Share {
    /// Declares what silent borrowers may exceed; their units come back once that is durable.
    pub(super) fn reclaim_silent(&mut self, home_starves: bool, cx: &mut Cx<'_>) {
        let may = self.kind() == Kind::Session && self.of.id.class == Class::License && !cx.journal.is_failing();
        let needed = (home_starves && self.demand.is_starving()) || !self.wanting.is_empty();
        if !may || !needed || self.borrowers.is_empty() {
            return;
        }
        let silent: Vec<PeerIndex> = self.borrowers.iter().copied().filter(|peer| self.is_silent(*peer, cx)).collect();
        for peer in silent {
            let lent = &self.lent[peer.0];
            if lent.reclaim.is_some() {
                continue;
            }
            let units = lent.out.plus(lent.reclaimed);
            let batch = cx.record(Record::OvershootPossible {
                resource: self.of.id.clone(),
                borrower: Self::name(peer, cx),
                units,
            });
            self.lent[peer.0].reclaim = Some(batch);
            self.waiting.insert((batch, peer));
        }
    }

    /// Silent for its lease, by any clock, and the grace.
    fn is_silent(&self, peer: PeerIndex, cx: &Cx<'_>) -> bool {
        let grace = u64::from(cx.env.params.reclaim_grace_ms);
        self.lent[peer.0].ends.is_some_and(|ends| ends.plus_millis(grace) <= cx.now)
    }

    /// The declaration is durable: the units are home again, unless the borrower spoke meanwhile.
    pub(super) fn reclaim_durable(&mut self, peer: PeerIndex, cx: &mut Cx<'_>) {
        if !self.is_silent(peer, cx) {
            return self.declare(peer, cx);
        }
        let units = self.edit_lent(peer, |lent| {
            let out = std::mem::take(&mut lent.out);
            lent.reclaimed = lent.reclaimed.plus(out);
            lent.k = Licenses::ZERO;
            lent.seq = lent.seq.next();
            lent.seen_newest = false;
            lent.say_at = None;
            lent.reclaimed
        });
        self.record_loan(peer, cx);
        let (resource, borrower) = (self.of.id.clone(), Self::name(peer, cx));
        cx.outbox.tell(Event::OvershootPossible { resource, borrower, units });
        self.apply(cx);
        self.serve_wanting(cx);
    }

    /// The operator says that a borrower is gone for good: its units are home again, after a rest. What it may exceed should it
    /// live on is declared for the class license; for a hard resource the operator vouches that it doesn't.
    pub(super) fn write_off(&mut self, peer: PeerIndex, cx: &mut Cx<'_>) {
        let declared = self.of.id.class == Class::License;
        let out = self.edit_lent(peer, |lent| {
            let out = std::mem::take(&mut lent.out);
            if declared {
                lent.reclaimed = lent.reclaimed.plus(out);
            }
            lent.k = Licenses::ZERO;
            lent.seq = lent.seq.next();
            lent.seen_newest = false;
            lent.say_at = None;
            out
        });
        if out == Licenses::ZERO {
            return;
        }
        if declared {
            self.declare(peer, cx);
            let (resource, borrower) = (self.of.id.clone(), Self::name(peer, cx));
            cx.outbox.tell(Event::OvershootPossible { resource, borrower, units: self.lent[peer.0].reclaimed });
        }
        self.record_loan(peer, cx);
        self.rest(out, cx.now.plus_nanos(cx.env.window_nanos()));
    }

    /// The borrower is back and holds `hold`: what is beyond its loan still exceeds; when nothing is, the record is closed.
    pub(super) fn settle_reclaimed(&mut self, peer: PeerIndex, hold: Licenses, cx: &mut Cx<'_>) {
        let lent = &self.lent[peer.0];
        if lent.reclaimed == Licenses::ZERO || hold > lent.out {
            return;
        }
        let units = self.edit_lent(peer, |lent| std::mem::take(&mut lent.reclaimed));
        self.declare(peer, cx);
        let (resource, borrower) = (self.of.id.clone(), Self::name(peer, cx));
        cx.outbox.tell(Event::OvershootClosed { resource, borrower, units });
    }

    /// Records what may exceed now.
    fn declare(&mut self, peer: PeerIndex, cx: &mut Cx<'_>) {
        let (resource, borrower) = (self.of.id.clone(), Self::name(peer, cx));
        cx.record(Record::OvershootPossible { resource, borrower, units: self.lent[peer.0].reclaimed });
    }
}
