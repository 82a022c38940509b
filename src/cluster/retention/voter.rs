//! Votes for a trustee over what a lost node left (10-L): one in each round, durable before it is said, and none for
//! another trustee before the trusteeship of the one before has ended by any clock, plus a window. Under `self_lease` (10-H)
//! none against a node whose own lease may still run; and while a trusteeship over it may, no beat of it is acknowledged.

use std::collections::BTreeMap;

use super::heard::{Beats, Taken};
use super::{Out, Ticket, View};
use crate::cluster::ids::{Incarnation, NodeName};
use crate::cluster::ledger::{Ledger, Record};
use crate::cluster::message::{Anchor, Ballot, Beat, BeatAck, Message, TRUSTEES_MAX, Vote};
use crate::cluster::rules::Rule;
use crate::units::Tick;

#[derive(Debug, Clone)]
struct Given {
    round: u64,
    to: NodeName,
    /// Whoever had the vote before.
    before: Vec<NodeName>,
    /// Nobody else gets it before.
    until: Tick,
    durable: bool,
    /// The ballot that waits for that.
    owed: Option<Anchor>,
}

/// The votes of one node.
#[derive(Debug, Clone, Default)]
pub(in crate::cluster) struct Voter {
    given: BTreeMap<NodeName, Given>,
    beats: Beats,
}

impl Voter {
    /// Votes of earlier lives. How long ago they were given is not known: the wait starts anew.
    pub(in crate::cluster) fn recover(ledger: &Ledger, view: &View<'_>) -> Self {
        let given = ledger.records.values().filter_map(|record| match record {
            Record::Vote { about, round, to, before } => {
                let given = Given {
                    round: *round,
                    to: to.clone(),
                    before: before.clone(),
                    until: view.now.plus_nanos(view.trusteeship_nanos()),
                    durable: true,
                    owed: None,
                };
                Some((about.clone(), given))
            }
            Record::Home { .. }
            | Record::Budget { .. }
            | Record::Loan { .. }
            | Record::OvershootPossible { .. }
            | Record::Fenced { .. }
            | Record::IncarnationBase { .. }
            | Record::Lost { .. }
            | Record::Kept { .. }
            | Record::Spare { .. }
            | Record::OwnSpare { .. } => None,
        });
        Self { given: given.collect(), beats: Beats::recover(ledger, view.now) }
    }

    /// A node asks for the vote.
    pub(in crate::cluster) fn on_ballot(&mut self, from: &NodeName, ballot: &Ballot, view: &View<'_>) -> Vec<Out> {
        // Who sees the node alive gives no vote against it.
        let alive = view.is_reachable(&ballot.about) || ballot.about == *view.node || ballot.about == *from;
        let leased = self.beats.may_be_leased(&ballot.about, view);
        if alive || leased || !view.configured.contains(&ballot.about) {
            return vec![self.answer(from, ballot, false, view.now)];
        }
        let mut before = Vec::new();
        if let Some(given) = self.given.get_mut(&ballot.about) {
            let same = given.to == *from;
            // Mutant: the next trustee doesn't wait for the end of the one before.
            let free = same || view.now >= given.until || !view.rules.has(Rule::TrusteeWaits);
            if ballot.round < given.round || (ballot.round == given.round && !same) || !free {
                return vec![self.answer(from, ballot, false, view.now)];
            }
            if ballot.round == given.round {
                // Said again: the new anchor counts from now on, so the wait does too.
                given.until = view.now.plus_nanos(view.trusteeship_nanos());
                if given.durable {
                    return vec![self.answer(from, ballot, true, view.now)];
                }
                given.owed = Some(ballot.anchor);
                return Vec::new();
            }
            before.clone_from(&given.before);
            if !same && !before.contains(&given.to) {
                before.push(given.to.clone());
            }
            before.retain(|earlier| earlier != from);
            if before.len() > TRUSTEES_MAX {
                return vec![self.answer(from, ballot, false, view.now)];
            }
        }
        let (about, round, to) = (ballot.about.clone(), ballot.round, from.clone());
        let record = Record::Vote { about: about.clone(), round, to: to.clone(), before: before.clone() };
        let until = view.now.plus_nanos(view.trusteeship_nanos());
        let given = Given { round, to, before, until, durable: false, owed: Some(ballot.anchor) };
        self.given.insert(about.clone(), given);
        vec![Out::Persist(record, Some(Ticket::Vote(about, round)))]
    }

    /// A vote is durable: it may be said. The trusteeship that it makes counts from the ballot, the wait from now.
    pub(in crate::cluster) fn durable(&mut self, about: &NodeName, round: u64, view: &View<'_>) -> Vec<Out> {
        let Some(given) = self.given.get_mut(about).filter(|given| given.round == round) else { return Vec::new() };
        given.durable = true;
        given.until = view.now.plus_nanos(view.trusteeship_nanos());
        let (to, owed) = (given.to.clone(), given.owed.take());
        let Some(anchor) = owed else { return Vec::new() };
        vec![self.answer(&to, &Ballot { about: about.clone(), round, anchor }, true, view.now)]
    }

    /// A node beats (10-H). It is answered once what it says is durable; also where `self_lease` is off, so that members can be
    /// switched one after the other.
    pub(in crate::cluster) fn on_beat(&mut self, from: &NodeName, beat: &Beat, view: &View<'_>) -> Vec<Out> {
        if !view.configured.contains(from) || self.is_promised(from, view.now) {
            return Vec::new();
        }
        match self.beats.take(from, beat, view) {
            Taken::Old => Vec::new(),
            Taken::Acknowledge => vec![self.acknowledge(from, beat.inc, beat.anchor, view.now)],
            Taken::Waits(record) => record.into_iter().collect(),
        }
    }

    /// What a node said in a beat is durable.
    pub(in crate::cluster) fn beat_durable(&mut self, node: &NodeName, change: u64, view: &View<'_>) -> Vec<Out> {
        let owed = self.beats.durable(node, change, view.now);
        let Some((inc, anchor)) = owed.filter(|_| !self.is_promised(node, view.now)) else { return Vec::new() };
        vec![self.acknowledge(node, inc, anchor, view.now)]
    }

    /// A node's name has a new ledger, which may count its lives anew. What may be kept of it stays as it was.
    pub(in crate::cluster) fn ledger_replaced(&mut self, node: &NodeName) {
        self.beats.begin_anew(node);
    }

    /// A trusteeship over a node's licenses may run.
    fn is_promised(&self, about: &NodeName, now: Tick) -> bool {
        self.given.get(about).is_some_and(|given| now < given.until)
    }

    fn acknowledge(&self, to: &NodeName, inc: Incarnation, anchor: Anchor, now: Tick) -> Out {
        let given = self.given.get(to);
        let trustees = given.map(|given| given.before.iter().chain([&given.to]).cloned().collect());
        let ack = BeatAck {
            inc,
            anchor,
            at: (self.beats.life(), Anchor(now.0)),
            round: given.map_or(0, |given| given.round),
            trustees: trustees.unwrap_or_default(),
        };
        Out::Send(to.clone(), Message::BeatAck(ack))
    }

    fn answer(&self, to: &NodeName, ballot: &Ballot, given: bool, now: Tick) -> Out {
        let known = self.given.get(&ballot.about);
        let vote = Vote {
            about: ballot.about.clone(),
            round: ballot.round,
            anchor: ballot.anchor,
            given,
            newest: known.map_or(0, |known| known.round),
            spare: if given { self.beats.spare_of(&ballot.about, now) } else { Vec::new() },
            before: if given { known.map(|known| known.before.clone()).unwrap_or_default() } else { Vec::new() },
        };
        Out::Send(to.clone(), Message::Vote(vote))
    }

    /// The operator forgot the node: nobody keeps anything of it any more. (That it is back ends no entry: an earlier trustee
    /// may still have calls on what it kept when the node is lost again.)
    pub(in crate::cluster) fn forget(&mut self, about: &NodeName) -> Vec<Out> {
        let mut out: Vec<Out> = self.beats.forget(about).into_iter().collect();
        let Some(given) = self.given.get_mut(about).filter(|given| !given.before.is_empty()) else { return out };
        given.before.clear();
        let (round, to) = (given.round, given.to.clone());
        out.push(Out::Persist(Record::Vote { about: about.clone(), round, to, before: Vec::new() }, None));
        out
    }
}
