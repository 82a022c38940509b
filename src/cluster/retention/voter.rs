//! Votes for a trustee over what a lost node left (10-L): one in each round, durable before it is said, and none for
//! another trustee before the trusteeship of the one before has ended by any clock, plus a window.

use std::collections::BTreeMap;

use super::{Out, Ticket, View};
use crate::cluster::ids::NodeName;
use crate::cluster::ledger::{Ledger, Record};
use crate::cluster::message::{Anchor, Ballot, Message, TRUSTEES_MAX, Vote};
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
            | Record::Kept { .. } => None,
        });
        Self { given: given.collect() }
    }

    /// A node asks for the vote.
    pub(in crate::cluster) fn on_ballot(&mut self, from: &NodeName, ballot: &Ballot, view: &View<'_>) -> Vec<Out> {
        // Who sees the node alive gives no vote against it.
        let alive = view.is_reachable(&ballot.about) || ballot.about == *view.node || ballot.about == *from;
        if alive || !view.configured.contains(&ballot.about) {
            return vec![self.answer(from, ballot, false)];
        }
        let mut before = Vec::new();
        if let Some(given) = self.given.get_mut(&ballot.about) {
            let same = given.to == *from;
            // Mutant: the next trustee doesn't wait for the end of the one before.
            let free = same || view.now >= given.until || !view.rules.has(Rule::TrusteeWaits);
            if ballot.round < given.round || (ballot.round == given.round && !same) || !free {
                return vec![self.answer(from, ballot, false)];
            }
            if ballot.round == given.round {
                // Said again: the new anchor counts from now on, so the wait does too.
                given.until = view.now.plus_nanos(view.trusteeship_nanos());
                if given.durable {
                    return vec![self.answer(from, ballot, true)];
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
                return vec![self.answer(from, ballot, false)];
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
        vec![self.answer(&to, &Ballot { about: about.clone(), round, anchor }, true)]
    }

    fn answer(&self, to: &NodeName, ballot: &Ballot, given: bool) -> Out {
        let known = self.given.get(&ballot.about);
        let vote = Vote {
            about: ballot.about.clone(),
            round: ballot.round,
            anchor: ballot.anchor,
            given,
            newest: known.map_or(0, |known| known.round),
            before: if given { known.map(|known| known.before.clone()).unwrap_or_default() } else { Vec::new() },
        };
        Out::Send(to.clone(), Message::Vote(vote))
    }

    /// The operator forgot the node: nobody keeps anything of it any more. (That it is back ends no entry: an earlier trustee
    /// may still have calls on what it kept when the node is lost again.)
    pub(in crate::cluster) fn forget(&mut self, about: &NodeName) -> Vec<Out> {
        let Some(given) = self.given.get_mut(about).filter(|given| !given.before.is_empty()) else { return Vec::new() };
        given.before.clear();
        let (round, to) = (given.round, given.to.clone());
        vec![Out::Persist(Record::Vote { about: about.clone(), round, to, before: Vec::new() }, None)]
    }
}
