//! A node starts, with what its ledger kept.
//!
//! S1: of a rate, what the budgets cover rests until every loan of the earlier life has ended and cooled. S2: lent sessions
//! are still lent; each borrower is asked what it holds. S3, the incarnation, was made durable before this runs.
//!
//! A hard resource begins with what remains when its grant has lapsed, until the licensing agent confirms the grant: nobody
//! knows here whether it lapsed while the node was down.

use super::super::engine::{Cx, PeerIndex, Rule};
use super::super::ids::Incarnation;
use super::super::ledger::{Ledger, Record};
use super::super::resource::{Class, Kind, Licenses};
use super::lender::Stance;
use super::{Home, Share};

impl Share {
    /// Takes in what the ledger says of this resource.
    pub(in crate::cluster) fn recover(&mut self, ledger: &Ledger, cx: &mut Cx<'_>) {
        let mut budgets: u64 = 0;
        for record in ledger.records.values() {
            match record {
                Record::Home { resource, epoch, home, fixed_share } if *resource == self.of.id => {
                    let lapsed = resource.class == Class::Hard;
                    self.home =
                        Home { epoch: *epoch, count: *home, fixed_share: *fixed_share, not_after: None, lapsed };
                }
                Record::Budget { resource, borrower, budget } if *resource == self.of.id => {
                    let Some(peer) = cx.peers.find(borrower) else { continue };
                    budgets = budgets.saturating_add(u64::from(budget.0));
                    self.lent[peer.0].budget = *budget;
                }
                Record::Loan { resource, borrower, binc, out, seq, k } if *resource == self.of.id => {
                    let Some(peer) = cx.peers.find(borrower) else { continue };
                    let term = self.term_ms(cx);
                    let ends = term.map(|term| cx.now.plus_nanos(cx.env.params.lender_term_nanos(term)));
                    self.edit_lent(peer, |lent| {
                        lent.binc = *binc;
                        lent.out = *out;
                        lent.seq = *seq;
                        lent.k = (*k).min(*out);
                        lent.ends = ends;
                        if *out != Licenses::ZERO {
                            // S2: said at once, and again until it is answered.
                            lent.stance = Stance::Unconfirmed;
                            lent.say_at = Some(cx.now);
                        }
                    });
                }
                Record::OvershootPossible { resource, borrower, units } if *resource == self.of.id => {
                    let Some(peer) = cx.peers.find(borrower) else { continue };
                    self.lent[peer.0].reclaimed = *units;
                }
                Record::Home { .. }
                | Record::Budget { .. }
                | Record::Loan { .. }
                | Record::OvershootPossible { .. }
                | Record::Lost { .. }
                | Record::Kept { .. }
                | Record::Vote { .. }
                | Record::Fenced { .. }
                | Record::IncarnationBase { .. }
                | Record::Spare { .. }
                | Record::OwnSpare { .. } => {}
            }
        }
        // S1. Mutant: nothing rests.
        if self.kind() == Kind::Rate && cx.has(Rule::RestartQuarantine) {
            let rests = budgets.min(u64::from(self.home.count.0));
            let term = cx.env.params.lender_term_nanos(cx.env.params.rate_term_ms);
            let until = cx.now.plus_nanos(term).plus_nanos(cx.env.window_nanos());
            self.rest(Licenses(u32::try_from(rests).unwrap_or(u32::MAX)), until);
        }
        self.apply(cx);
    }

    /// A peer said its incarnation: a new life of it, as a lender (B1) and as a borrower (L1).
    pub(in crate::cluster) fn on_hello(&mut self, peer: PeerIndex, inc: Incarnation, cx: &mut Cx<'_>) {
        let sessions = self.kind() == Kind::Session;
        if inc > self.held[peer.0].linc && self.held[peer.0].linc != Incarnation(0) {
            self.lender_restarted(peer, inc, cx);
            if sessions && self.held[peer.0].hold != Licenses::ZERO {
                self.tell(peer, cx);
            }
        }
        if self.lent[peer.0].binc == Incarnation(0) {
            // Known from here on: a late request of an earlier life of it is lent nothing.
            self.edit_lent(peer, |lent| {
                lent.binc = inc;
                if lent.out != Licenses::ZERO {
                    // Counted as lent because it didn't answer a census: now it can be asked.
                    lent.say_at = Some(cx.now);
                }
            });
        }
        if inc > self.lent[peer.0].binc && self.lent[peer.0].binc != Incarnation(0) {
            self.borrower_restarted(peer, inc, cx);
            if self.lent[peer.0].stance == Stance::Adopting {
                self.send_adopt(peer, cx);
            }
        }
    }

    /// A peer's connection is up: what waited for it is said now.
    pub(in crate::cluster) fn connected(&mut self, peer: PeerIndex, now: crate::units::Tick) {
        self.edit_lent(peer, |lent| lent.say_at = lent.say_at.map(|_| now));
        self.edit_held(peer, |held| held.tell_at = held.tell_at.map(|_| now));
    }
}
