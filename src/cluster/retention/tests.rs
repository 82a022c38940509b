#![expect(clippy::wildcard_enum_match_arm, reason = "a test looks at what it is about, and at nothing else")]

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::cluster::ids::{Incarnation, LedgerId};
use crate::cluster::ledger::Ledger;
use crate::cluster::message::{Counted, Released};
use crate::cluster::params::Retention;
use crate::cluster::resource::{Class, Kind, Licenses, ResourceId};
use crate::cluster::rules::Rule;

const DAY_MS: u64 = 86_400_000;

fn name(text: &str) -> NodeName {
    text.parse().unwrap()
}

fn sessions() -> ResourceId {
    ResourceId { name: "session".into(), kind: Kind::Session, class: Class::License }
}

fn homes() -> BTreeMap<ResourceId, Licenses> {
    let cps = ResourceId { name: "cps".into(), kind: Kind::Rate, class: Class::License };
    let hard = ResourceId { name: "export".into(), kind: Kind::Session, class: Class::Hard };
    [(sessions(), Licenses(100)), (cps, Licenses(50)), (hard, Licenses(60))].into()
}

/// A node with a disk, as far as retention goes.
struct Node {
    ledger: Ledger,
    voter: Voter,
    retained: Retained,
    withheld: Withheld,
    told: Vec<Event>,
    /// What it holds of others, as it answers a census.
    holds: Licenses,
}

/// A few nodes; x is the one that is lost.
struct Group {
    now: Tick,
    wall: UnixMillis,
    nodes: BTreeMap<NodeName, Node>,
    /// Who can't reach whom.
    cut: BTreeSet<(NodeName, NodeName)>,
    dead: BTreeSet<NodeName>,
    params: Parameters,
    rules: Rules,
    in_use: Licenses,
}

macro_rules! view {
    ($group:expr, $node:expr, $view:ident) => {
        let reachable: BTreeSet<NodeName> =
            $group.nodes.keys().filter(|other| $group.reaches($node, other)).cloned().collect();
        let configured: BTreeSet<NodeName> = $group.nodes.keys().filter(|other| *other != $node).cloned().collect();
        let (params, rules, wall) = ($group.params.clone(), $group.rules.clone(), $group.wall);
        let $view = View {
            now: $group.now,
            wall: Some(wall),
            node: $node,
            inc: Incarnation(1),
            configured: &configured,
            reachable: &reachable,
            params: &params,
            rules: &rules,
        };
    };
}

impl Group {
    fn new(names: &[&str], mode: Retention) -> Self {
        let now = Tick::from_secs(1000);
        let params = Parameters { retention: mode, max_lend_percent: 50, ..Parameters::default() };
        let ledger = || Ledger { id: LedgerId(1), inc: Incarnation(1), records: BTreeMap::new() };
        let nodes = names.iter().map(|text| {
            let node = Node {
                ledger: ledger(),
                voter: Voter::default(),
                retained: Retained::recover(&ledger(), now),
                withheld: Withheld::default(),
                told: Vec::new(),
                holds: Licenses::ZERO,
            };
            (name(text), node)
        });
        Self {
            now,
            wall: UnixMillis(1_800_000_000_000),
            nodes: nodes.collect(),
            cut: BTreeSet::new(),
            dead: BTreeSet::new(),
            params,
            rules: Rules::default(),
            in_use: Licenses::ZERO,
        }
    }

    fn reaches(&self, one: &NodeName, other: &NodeName) -> bool {
        let cut = self.cut.contains(&(one.clone(), other.clone())) || self.cut.contains(&(other.clone(), one.clone()));
        one != other && !cut && !self.dead.contains(one) && !self.dead.contains(other)
    }

    fn isolate(&mut self, side: &[&str]) {
        for one in side {
            for other in self.nodes.keys().filter(|other| !side.contains(&other.as_str())) {
                self.cut.insert((name(one), other.clone()));
            }
        }
    }

    fn carry_out(&mut self, node: &NodeName, out: Vec<Out>) {
        for out in out {
            match out {
                Out::Send(to, message) if to == *node || self.reaches(node, &to) => self.take(&to, node, message),
                Out::Send(..) => {}
                Out::ToSelf(message) => self.take(node, node, message),
                Out::Persist(record, ticket) => {
                    let at = self.nodes.get_mut(node).unwrap();
                    at.ledger.records.insert(record.key(), record);
                    view!(self, node, view);
                    let at = self.nodes.get_mut(node).unwrap();
                    let more = match ticket {
                        Some(Ticket::Vote(about, round)) => at.voter.durable(&about, round, &view),
                        Some(Ticket::Kept(peer, raise)) => at.retained.durable(&peer, raise),
                        Some(Ticket::Spare(..) | Ticket::OwnSpare(_)) => panic!("nobody beats here"),
                        None => Vec::new(),
                    };
                    self.carry_out(node, more);
                }
                Out::Tell(event) => self.nodes.get_mut(node).unwrap().told.push(event),
            }
        }
    }

    fn take(&mut self, node: &NodeName, from: &NodeName, message: Message) {
        view!(self, node, view);
        let at = self.nodes.get_mut(node).unwrap();
        let out = match message {
            Message::Ballot(ballot) => at.voter.on_ballot(from, &ballot, &view),
            Message::Vote(vote) => at.retained.on_vote(from, &vote, &view),
            Message::Census(census) => {
                let kept: BTreeMap<ResourceId, Licenses> = at.retained.kept_of(&census.about);
                let mut held = kept.clone();
                let sum = held.entry(sessions()).or_default();
                *sum = sum.plus(at.holds);
                let counted = Counted {
                    about: census.about,
                    anchor: census.anchor,
                    inc_seen: Incarnation(1),
                    held: held.into_iter().collect(),
                    kept: kept.into_iter().collect(),
                };
                let message = Message::Counted(counted);
                vec![if from == node { Out::ToSelf(message) } else { Out::Send(from.clone(), message) }]
            }
            Message::Counted(counted) => at.retained.on_counted(from, &counted, &view),
            Message::Release(release) => {
                let out = at.retained.release(from);
                let kept = at.retained.kept_of(from).into_iter().collect();
                let released = Released { anchor: release.anchor, kept };
                [out, vec![Out::Send(from.clone(), Message::Released(released))]].concat()
            }
            Message::Released(released) => {
                at.withheld.on_released(from, &released, &view);
                Vec::new()
            }
            other => panic!("{other:?}"),
        };
        self.carry_out(node, out);
    }

    fn step(&mut self) {
        let names: Vec<NodeName> = self.nodes.keys().filter(|node| !self.dead.contains(*node)).cloned().collect();
        for node in &names {
            view!(self, node, view);
            let silent = |peer: &NodeName| (!view.is_reachable(peer)).then_some(Tick::from_secs(1000));
            let at = self.nodes.get_mut(node).unwrap();
            let mut out = at.retained.step(&view, &silent, &|_| homes());
            let in_use = self.in_use;
            out.extend(at.retained.give_up(view.now, &|_| in_use));
            out.extend(at.withheld.step(Incarnation(1), &view));
            self.carry_out(node, out);
        }
    }

    fn run(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.step();
            self.pass(1000);
        }
    }

    fn pass(&mut self, millis: u64) {
        self.now = self.now.plus_millis(millis);
        self.wall = UnixMillis(self.wall.0 + millis);
    }

    fn usable(&self, node: &str) -> u32 {
        self.nodes[&name(node)].retained.usable(&sessions(), self.now).0.0
    }

    fn kept(&self, node: &str, peer: &str) -> u32 {
        let kept = self.nodes[&name(node)].retained.kept_of(&name(peer));
        kept.get(&sessions()).map_or(0, |count| count.0)
    }

    fn told(&self, node: &str, event: &Event) -> usize {
        self.nodes[&name(node)].told.iter().filter(|told| *told == event).count()
    }

    fn connect(&mut self, node: &str, peer: &str) {
        let node = name(node);
        view!(self, &node, view);
        let out = self.nodes.get_mut(&node).unwrap().withheld.connected(&name(peer), Incarnation(1), &view);
        self.carry_out(&node, out);
    }
}

#[test]
fn a_peer_that_is_silent_for_thirty_seconds_is_lost_and_not_before() {
    let mut group = Group::new(&["a", "b", "x"], Retention::Off);
    group.isolate(&["x"]);
    group.run(30);
    assert_eq!(group.told("a", &Event::PeerLost { node: name("x") }), 0);
    group.run(2);
    assert_eq!(group.told("a", &Event::PeerLost { node: name("x") }), 1);
    group.run(100);
    assert_eq!((group.usable("a"), group.usable("b")), (0, 0), "off: nobody keeps anything");
}

#[test]
fn in_any_the_first_node_of_the_side_keeps_what_nobody_holds() {
    let mut group = Group::new(&["a", "b", "x"], Retention::Any);
    group.nodes.get_mut(&name("b")).unwrap().holds = Licenses(30);
    group.isolate(&["x"]);
    group.run(40);
    assert_eq!((group.usable("a"), group.usable("b")), (70, 0));
    let used = Event::RetainedUse { node: name("x"), resource: sessions(), licenses: Licenses(70) };
    assert_eq!(group.told("a", &used), 1, "audited");
    let other = |resource: &ResourceId| group.nodes[&name("a")].retained.usable(resource, group.now).0;
    for resource in homes().keys().filter(|resource| **resource != sessions()) {
        assert_eq!(other(resource), Licenses::ZERO, "no rate, nothing hard");
    }
}

#[test]
fn who_does_not_answer_the_census_counts_as_holding_the_most_that_one_peer_is_lent() {
    let mut group = Group::new(&["a", "b", "c", "x"], Retention::Any);
    group.isolate(&["x"]);
    group.isolate(&["c"]);
    group.run(40);
    assert_eq!(group.usable("a"), 100, "fifty of each of the two that are lost");
}

#[test]
fn in_quorum_a_node_keeps_only_what_a_majority_gave_it() {
    let mut group = Group::new(&["a", "b", "x"], Retention::Quorum);
    group.isolate(&["x"]);
    group.run(40);
    assert_eq!(group.usable("a"), 100);
    assert_eq!((group.usable("b"), group.usable("x")), (0, 0));
    assert_eq!(group.nodes[&name("x")].retained.lost().count(), 2, "the one that is cut off holds the others for lost");
}

#[test]
fn in_quorum_a_side_without_a_majority_keeps_nothing() {
    let mut group = Group::new(&["a", "b", "c", "d"], Retention::Quorum);
    group.isolate(&["a", "b"]);
    group.run(60);
    for node in ["a", "b", "c", "d"] {
        assert_eq!(group.usable(node), 0, "{node}: two of four are no majority");
    }
}

#[test]
fn a_trusteeship_ends_with_its_lease_when_the_majority_is_gone() {
    let mut group = Group::new(&["a", "b", "x"], Retention::Quorum);
    group.isolate(&["x"]);
    group.run(40);
    group.isolate(&["b"]);
    group.run(45);
    assert_eq!(group.usable("a"), 100, "the lease still runs");
    group.run(20);
    assert_eq!(group.usable("a"), 0);
}

#[test]
fn a_trusteeship_is_voted_for_anew_before_it_ends() {
    let mut group = Group::new(&["a", "b", "x"], Retention::Quorum);
    group.isolate(&["x"]);
    group.run(35);
    for _ in 0..300 {
        group.run(1);
        assert!(group.now < Tick::from_secs(1036) || group.usable("a") == 100, "at {:?}", group.now);
    }
}

/// The trustee a is cut off with its calls, and the rest votes for b.
fn handed_on(rules: Rules) -> (Group, u64) {
    let mut group = Group::new(&["a", "b", "c", "d", "x"], Retention::Quorum);
    group.rules = rules;
    group.in_use = Licenses(100);
    group.isolate(&["x"]);
    group.run(40);
    assert_eq!(group.usable("a"), 100);
    let cut_at = group.now;
    group.isolate(&["a"]);
    let mut both = 0;
    for _ in 0..200 {
        group.run(1);
        let trustee = |node: &str| {
            group.nodes[&name(node)]
                .told
                .iter()
                .any(|event| matches!(event, Event::Trustee { about, .. } if *about == name("x")))
        };
        if trustee("b") && group.usable("a") > 0 {
            both += 1;
        }
    }
    assert!(group.now > cut_at);
    (group, both)
}

#[test]
fn a_new_trustee_waits_for_the_trusteeship_before_it_to_have_ended() {
    let (group, both) = handed_on(Rules::default());
    assert_eq!(both, 0);
    assert_eq!(group.usable("a"), 0);
    let trustee = group.nodes[&name("b")].told.iter().any(|event| matches!(event, Event::Trustee { .. }));
    assert!(trustee, "but the rest has one in the end");
    assert_eq!(group.kept("b", "x"), 0, "what the one before still uses is unknown: all of it");
}

#[test]
fn without_the_wait_two_are_trustees_at_once() {
    let (_, both) = handed_on(Rules::without(Rule::TrusteeWaits));
    assert!(both > 0);
}

#[test]
fn a_new_trustee_keeps_only_what_the_one_before_no_longer_uses() {
    let mut group = Group::new(&["a", "b", "c", "d", "x"], Retention::Quorum);
    group.isolate(&["x"]);
    group.run(40);
    assert_eq!(group.usable("a"), 100);
    group.isolate(&["a"]);
    group.in_use = Licenses(40);
    group.run(150);
    assert_eq!(group.kept("b", "x"), 0);
    // Back in reach, the one before answers for what it still uses. It is the first again, and asks as well.
    group.cut.retain(|(one, other)| *one == name("x") || *other == name("x"));
    group.run(200);
    let total = group.kept("a", "x") + group.kept("b", "x");
    assert!(total > 0 && total <= 100, "{total}");
}

#[test]
fn a_restarted_voter_gives_no_other_trustee_its_vote_before_the_wait_is_over() {
    let group = Group::new(&["a", "b", "x"], Retention::Quorum);
    let node = name("b");
    let mut group = group;
    group.isolate(&["x"]);
    view!(group, &node, view);
    let ballot = |round, at: Tick| super::super::message::Ballot {
        about: name("x"),
        round,
        anchor: crate::cluster::message::Anchor(at.0),
    };
    let mut voter = Voter::default();
    let out = voter.on_ballot(&name("a"), &ballot(1, group.now), &view);
    let [Out::Persist(record, Some(Ticket::Vote(about, 1)))] = &out[..] else { panic!("durable first: {out:?}") };
    assert_eq!(*about, name("x"));
    let ledger = Ledger { id: LedgerId(1), inc: Incarnation(2), records: [(record.key(), record.clone())].into() };
    let mut voter = Voter::recover(&ledger, &view);
    let given = |out: &[Out]| {
        matches!(out, [Out::Persist(..)]) || matches!(out, [Out::Send(_, Message::Vote(vote))] if vote.given)
    };
    assert!(!given(&voter.on_ballot(&name("c"), &ballot(2, group.now), &view)));
    group.pass(59_000);
    view!(group, &node, view);
    assert!(!given(&voter.on_ballot(&name("c"), &ballot(2, group.now), &view)));
    group.pass(4000);
    view!(group, &node, view);
    assert!(!given(&voter.on_ballot(&name("c"), &ballot(1, group.now), &view)), "one vote in a round");
    assert!(given(&voter.on_ballot(&name("c"), &ballot(2, group.now), &view)));
    assert!(!given(&voter.on_ballot(&name("a"), &ballot(2, group.now), &view)), "one vote in a round");
}

#[test]
fn who_sees_the_node_alive_gives_no_vote_against_it() {
    let mut group = Group::new(&["a", "b", "c", "d", "x"], Retention::Quorum);
    for node in ["a", "b"] {
        group.cut.insert((name(node), name("x")));
    }
    group.run(60);
    assert_eq!(group.usable("a"), 0, "two of five see it lost");
}

#[test]
fn fourteen_days_end_it_by_the_later_of_both_clocks() {
    let mut group = Group::new(&["a", "b", "x"], Retention::Any);
    group.isolate(&["x"]);
    group.run(40);
    // Thirteen and a half days, in steps of an hour.
    for _ in 0..(13 * 24 + 12) {
        group.pass(3_600_000);
        group.step();
    }
    assert_eq!(group.usable("a"), 100);
    // A wall that leaps ahead by itself ends nothing.
    group.wall = UnixMillis(group.wall.0 + 30 * DAY_MS);
    group.run(2);
    assert_eq!(group.usable("a"), 100);
    for _ in 0..13 {
        group.pass(3_600_000);
        group.step();
    }
    assert_eq!(group.usable("a"), 0);
    assert_eq!(group.told("a", &Event::RetentionEnded { node: name("x") }), 1);
}

#[test]
fn time_that_a_node_did_not_run_counts_by_neither_clock_alone() {
    let mut group = Group::new(&["a", "b", "x"], Retention::Any);
    group.isolate(&["x"]);
    group.run(200);
    // Off for twenty days: the wall says that it is over, the accumulated time doesn't.
    let a = group.nodes.get_mut(&name("a")).unwrap();
    let ledger = Ledger { inc: Incarnation(2), ..a.ledger.clone() };
    group.wall = UnixMillis(group.wall.0 + 20 * DAY_MS);
    group.now = Tick::from_secs(5000);
    let now = group.now;
    let a = group.nodes.get_mut(&name("a")).unwrap();
    a.retained = Retained::recover(&ledger, now);
    a.told.clear();
    assert_eq!(group.usable("a"), 0, "a trusteeship does not outlive the process");
    group.run(10);
    assert_eq!(group.usable("a"), 100, "but what was kept is kept again");
    assert_eq!(group.told("a", &Event::PeerLost { node: name("x") }), 0, "it was lost all along");
}

#[test]
fn accumulated_time_is_durable_each_minute() {
    let mut group = Group::new(&["a", "b", "x"], Retention::Any);
    group.isolate(&["x"]);
    group.run(31 + 180);
    let saved = group.nodes[&name("a")]
        .ledger
        .records
        .values()
        .find_map(|record| match record {
            Record::Lost { elapsed_ms, .. } => Some(*elapsed_ms),
            _ => None,
        })
        .unwrap();
    assert!((115_000..=181_000).contains(&saved), "{saved}");
}

#[test]
fn a_returning_node_does_without_what_is_still_in_use_of_it() {
    let mut group = Group::new(&["a", "b", "x"], Retention::Any);
    group.isolate(&["x"]);
    group.run(40);
    assert_eq!(group.usable("a"), 100);
    group.in_use = Licenses(25);
    group.cut.clear();
    group.connect("x", "a");
    group.run(2);
    assert_eq!(group.usable("a"), 0, "no new call at the trustee");
    assert_eq!(group.nodes[&name("x")].withheld.of(&sessions()), Licenses(25));
    group.in_use = Licenses(3);
    group.run(3);
    assert_eq!(group.nodes[&name("x")].withheld.of(&sessions()), Licenses(3));
    group.in_use = Licenses::ZERO;
    group.run(3);
    assert_eq!(group.nodes[&name("x")].withheld.of(&sessions()), Licenses::ZERO);
    assert_eq!(group.nodes[&name("x")].withheld.due(), None, "nothing more to ask");
    let used = Event::RetainedUse { node: name("x"), resource: sessions(), licenses: Licenses::ZERO };
    assert_eq!(group.told("a", &used), 1);
    assert_eq!(group.told("a", &Event::PeerBack { node: name("x") }), 1);
}

#[test]
fn a_forgotten_node_is_kept_nothing_of() {
    let mut group = Group::new(&["a", "b", "x"], Retention::Any);
    group.isolate(&["x"]);
    group.run(40);
    let a = group.nodes.get_mut(&name("a")).unwrap();
    let out = a.retained.forget(&name("x"));
    assert!(!out.is_empty());
    assert_eq!(group.usable("a"), 0);
}
