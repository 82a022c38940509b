//! Who is lost, since when, and what this node keeps of it.

use std::collections::{BTreeMap, BTreeSet};

use super::{Out, Ticket, View};
use crate::cluster::action::Event;
use crate::cluster::ids::NodeName;
use crate::cluster::ledger::{Ledger, Record};
use crate::cluster::message::{Anchor, Ballot, Census, Counted, Message, Spare, Vote};
use crate::cluster::params::Retention;
use crate::cluster::resource::{Class, Kind, Licenses, ResourceId};
use crate::units::{Tick, UnixMillis};

/// How often something is looked at, in milliseconds.
const STEP_MS: u64 = 1000;
/// How often the time of a lost peer is made durable, in milliseconds.
const SAVED_EVERY_MS: u64 = 60_000;
/// Who hasn't answered a census for so long counts as holding the most that one peer is lent, in milliseconds.
const CENSUS_WAIT_MS: u64 = 3000;
/// What could be kept is counted again so often, in milliseconds: loans end, and members come back.
const RECOUNT_EVERY_MS: u64 = 60_000;
/// The most peers that are held for lost at once.
const LOST_MAX: usize = 1024;

/// A census under way, or its result.
#[derive(Debug, Clone)]
struct Count {
    begun: Tick,
    anchor: Anchor,
    answers: BTreeMap<NodeName, Answer>,
}

#[derive(Debug, Clone, Default)]
struct Answer {
    /// Loans and what is kept, together.
    held: BTreeMap<ResourceId, Licenses>,
    kept: BTreeMap<ResourceId, Licenses>,
}

#[derive(Debug, Clone, Default)]
struct Lost {
    /// What it held at home, as it said last.
    homes: BTreeMap<ResourceId, Licenses>,
    since_wall: Option<UnixMillis>,
    /// Accumulated while this node ran.
    elapsed_ms: u64,
    /// The 14 days are over.
    over: bool,
    /// It is back, and waits for what is kept of it.
    back: bool,
    round: u64,
    votes: BTreeMap<NodeName, (Anchor, Vec<Spare>)>,
    /// A majority made this node the trustee until then.
    voted: Option<Tick>,
    /// Hard resources: what the lost node can do without, as a majority heard it, and until when.
    spare: BTreeMap<ResourceId, (Licenses, Option<Tick>)>,
    /// Trustees before this one.
    before: BTreeSet<NodeName>,
    asked_votes: Option<Tick>,
    /// Sessions of the license class: this node keeps them until then; `None` in `any`: as long as it is the first.
    lease: Option<Option<Tick>>,
    count: Option<Count>,
    /// The newest census is settled; the next may begin then.
    recount_at: Option<Tick>,
    /// Durable, and used unless the trusteeship is over.
    kept: BTreeMap<ResourceId, Licenses>,
    /// A raise that isn't durable yet.
    raise: Option<(u64, BTreeMap<ResourceId, Licenses>)>,
    raises: u64,
}

/// The lost peers of a node.
#[derive(Debug, Clone, Default)]
pub(in crate::cluster) struct Retained {
    lost: BTreeMap<NodeName, Lost>,
    stepped: Option<Tick>,
    saved: Tick,
}

const fn is_kept(resource: &ResourceId) -> bool {
    matches!((resource.kind, resource.class), (Kind::Session, Class::License))
}

impl Lost {
    /// Until when what is kept of a resource may be used, if it may be.
    fn runs(&self, resource: &ResourceId, now: Tick) -> Option<Option<Tick>> {
        let until = match resource.class {
            Class::License => self.lease?,
            Class::Hard => {
                let (_, ends) = self.spare.get(resource)?;
                [self.voted?].into_iter().chain(*ends).min()
            }
        };
        Some(until).filter(|until| until.is_none_or(|until| until > now))
    }

    /// It is no trustee any more.
    fn resign(&mut self) {
        (self.lease, self.voted, self.count) = (None, None, None);
        self.spare.clear();
        self.votes.clear();
    }
}

impl Retained {
    /// As the ledger has it. A trusteeship doesn't outlive the process; what was kept counts as in use until it isn't.
    pub(in crate::cluster) fn recover(ledger: &Ledger, now: Tick) -> Self {
        let mut lost: BTreeMap<NodeName, Lost> = BTreeMap::new();
        for record in ledger.records.values() {
            match record {
                Record::Lost { peer, homes, since_wall, elapsed_ms, over } => {
                    let entry = lost.entry(peer.clone()).or_default();
                    entry.homes = homes.iter().cloned().collect();
                    (entry.since_wall, entry.elapsed_ms, entry.over) = (*since_wall, *elapsed_ms, *over);
                }
                Record::Kept { peer, kept } if !kept.is_empty() => {
                    lost.entry(peer.clone()).or_default().kept = kept.iter().cloned().collect();
                }
                Record::Kept { .. }
                | Record::Home { .. }
                | Record::Budget { .. }
                | Record::Loan { .. }
                | Record::OvershootPossible { .. }
                | Record::Fenced { .. }
                | Record::IncarnationBase { .. }
                | Record::Spare { .. }
                | Record::OwnSpare { .. }
                | Record::Vote { .. } => {}
            }
        }
        // A peer that came back was recorded without homes, and is lost no more.
        lost.retain(|_, entry| !entry.homes.is_empty() || !entry.kept.is_empty() || entry.since_wall.is_some());
        Self { lost, stepped: None, saved: now }
    }

    /// When [`step`](Self::step) is due.
    pub(in crate::cluster) fn due(&self) -> Option<Tick> {
        self.stepped.map(|stepped| stepped.plus_millis(STEP_MS)).or(Some(Tick(0)))
    }

    /// Whether anything is kept of anybody.
    pub(in crate::cluster) fn keeps_something(&self) -> bool {
        self.lost.values().any(|lost| !lost.kept.is_empty())
    }

    /// Who is lost.
    pub(in crate::cluster) fn lost(&self) -> impl Iterator<Item = &NodeName> {
        self.lost.iter().filter(|(_, lost)| !lost.back).map(|(peer, _)| peer)
    }

    /// Whether what a peer lent stays in use though its leases can't be renewed.
    pub(in crate::cluster) fn keeps_loans_of(&self, peer: &NodeName, view: &View<'_>) -> bool {
        let mode = view.params.retention != Retention::Off;
        mode && self.lost.get(peer).is_some_and(|lost| !lost.over && !lost.back)
    }

    /// Looks who is lost, who is back and whose time is over. `silent_since` says since when a peer hasn't answered, `home`
    /// what it last said to have.
    pub(in crate::cluster) fn step(
        &mut self,
        view: &View<'_>,
        silent_since: &dyn Fn(&NodeName) -> Option<Tick>,
        homes: &dyn Fn(&NodeName) -> BTreeMap<ResourceId, Licenses>,
    ) -> Vec<Out> {
        let mut out = Vec::new();
        let passed = self.stepped.map_or(0, |stepped| view.now.nanos_since(stepped) / 1_000_000);
        if self.stepped.is_some() && passed < STEP_MS {
            return out;
        }
        self.stepped = Some(view.now);
        let save = view.now >= self.saved.plus_millis(SAVED_EVERY_MS);
        if save {
            self.saved = view.now;
        }
        for peer in view.configured {
            let silent = silent_since(peer)
                .is_some_and(|since| view.now >= since.plus_millis(u64::from(view.params.lost_after_ms)));
            if silent && !self.lost.contains_key(peer) && self.lost.len() < LOST_MAX {
                let entry = Lost { homes: homes(peer), since_wall: view.wall, ..Lost::default() };
                out.push(Self::record(peer, &entry));
                out.push(Out::Tell(Event::PeerLost { node: peer.clone() }));
                self.lost.insert(peer.clone(), entry);
            }
        }
        let peers: Vec<NodeName> = self.lost.keys().cloned().collect();
        for peer in peers {
            let Some(entry) = self.lost.get_mut(&peer) else { continue };
            if view.is_reachable(&peer) {
                out.extend(Self::came_back(&peer, entry));
            } else if !entry.back {
                entry.elapsed_ms = entry.elapsed_ms.saturating_add(passed);
                entry.since_wall = entry.since_wall.or(view.wall);
                if !entry.over && Self::is_over(entry, view) {
                    entry.over = true;
                    entry.resign();
                    out.push(Self::record(&peer, entry));
                    out.push(Out::Tell(Event::RetentionEnded { node: peer.clone() }));
                } else if save {
                    out.push(Self::record(&peer, entry));
                }
                if !entry.over {
                    out.extend(Self::seek(&peer, entry, view));
                }
            }
            let done =
                self.lost.get(&peer).is_some_and(|entry| entry.back && entry.kept.is_empty() && entry.raise.is_none());
            if done {
                self.lost.remove(&peer);
            }
        }
        out
    }

    fn came_back(peer: &NodeName, entry: &mut Lost) -> Vec<Out> {
        if entry.back {
            return Vec::new();
        }
        entry.back = true;
        entry.resign();
        entry.raise = None;
        entry.homes.clear();
        (entry.since_wall, entry.elapsed_ms, entry.over) = (None, 0, false);
        vec![Self::record(peer, entry), Out::Tell(Event::PeerBack { node: peer.clone() })]
    }

    /// The later of both clocks ends it: time that this node didn't run counts by the wall alone, a wall that leapt by the
    /// accumulated time alone.
    fn is_over(entry: &Lost, view: &View<'_>) -> bool {
        let long = view.params.retention_ms;
        let wall = match (view.wall, entry.since_wall) {
            (Some(wall), Some(since)) => wall.0.saturating_sub(since.0) >= long,
            (None, _) | (_, None) => true,
        };
        wall && entry.elapsed_ms >= long
    }

    fn record(peer: &NodeName, entry: &Lost) -> Out {
        let record = Record::Lost {
            peer: peer.clone(),
            homes: entry.homes.iter().map(|(id, count)| (id.clone(), *count)).collect(),
            since_wall: entry.since_wall,
            elapsed_ms: entry.elapsed_ms,
            over: entry.over,
        };
        Out::Persist(record, None)
    }

    /// Becomes the trustee, or stays so.
    fn seek(peer: &NodeName, entry: &mut Lost, view: &View<'_>) -> Vec<Out> {
        let mut out = Vec::new();
        let first = view.reachable.iter().filter(|node| view.configured.contains(*node)).all(|node| view.node < node);
        entry.voted = entry.voted.filter(|until| *until > view.now);
        let mode = view.params.retention;
        if first && (mode == Retention::Quorum || view.params.self_lease) {
            out.extend(Self::ask_votes(peer, entry, view));
        }
        entry.lease = match mode {
            Retention::Off => None,
            Retention::Any => first.then_some(None),
            Retention::Quorum => entry.voted.map(Some),
        };
        if entry.voted.is_none() {
            entry.spare.clear();
        }
        if entry.lease.is_none() && entry.voted.is_none() {
            (entry.count, entry.recount_at) = (None, None);
            return out;
        }
        if (entry.lease.is_some() && entry.homes.keys().any(is_kept)) || !entry.spare.is_empty() {
            out.extend(Self::take_census(peer, entry, view));
        }
        out
    }

    fn ask_votes(peer: &NodeName, entry: &mut Lost, view: &View<'_>) -> Vec<Out> {
        let every = u64::from(view.params.trustee_term_ms / 3).max(STEP_MS);
        let pause = if entry.voted.is_some() { every } else { STEP_MS * 2 };
        if entry.asked_votes.is_some_and(|asked| view.now < asked.plus_millis(pause)) {
            return Vec::new();
        }
        entry.asked_votes = Some(view.now);
        // A renewal is a round of its own. So is a try after one that failed: votes that were given stay with this node.
        entry.round = entry.round.saturating_add(1);
        entry.votes.clear();
        let ballot = Ballot { about: peer.clone(), round: entry.round, anchor: Anchor(view.now.0) };
        let mut out = vec![Out::ToSelf(Message::Ballot(ballot.clone()))];
        for node in view.configured.iter().filter(|node| view.is_reachable(node)) {
            out.push(Out::Send(node.clone(), Message::Ballot(ballot.clone())));
        }
        out
    }

    /// A vote came, this node's own included.
    pub(in crate::cluster) fn on_vote(&mut self, from: &NodeName, vote: &Vote, view: &View<'_>) -> Vec<Out> {
        let Some(entry) = self.lost.get_mut(&vote.about) else { return Vec::new() };
        if from != view.node && !view.configured.contains(from) {
            return Vec::new();
        }
        if !vote.given {
            entry.round = entry.round.max(vote.newest);
            return Vec::new();
        }
        if vote.round != entry.round || entry.over || entry.back || vote.anchor.0 > view.now.0 {
            return Vec::new();
        }
        entry.votes.insert(from.clone(), (vote.anchor, vote.spare.clone()));
        entry.before.extend(vote.before.iter().filter(|node| *node != view.node).cloned());
        let mut anchors: Vec<Anchor> = entry.votes.values().map(|(anchor, _)| *anchor).collect();
        anchors.sort_unstable_by(|one, other| other.cmp(one));
        // The lease of a majority: from the oldest of its ballots.
        if let Some(anchor) = anchors.get(view.majority().saturating_sub(1)) {
            let until = Tick(anchor.0).plus_millis(u64::from(view.params.trustee_term_ms));
            let is_new = entry.voted.is_none();
            entry.voted = Some(until);
            entry.spare = Self::common_spare(&entry.votes, view);
            if view.params.retention == Retention::Quorum {
                entry.lease = Some(Some(until));
            }
            if is_new {
                return vec![Out::Tell(Event::Trustee { about: vote.about.clone(), round: vote.round })];
            }
        }
        Vec::new()
    }

    /// What every one of the votes names, the least of it and the shortest: one of them heard the lost node's newest word that
    /// counts.
    fn common_spare(
        votes: &BTreeMap<NodeName, (Anchor, Vec<Spare>)>,
        view: &View<'_>,
    ) -> BTreeMap<ResourceId, (Licenses, Option<Tick>)> {
        if !view.params.self_lease {
            return BTreeMap::new();
        }
        let mut common: Option<BTreeMap<ResourceId, (Licenses, Option<Tick>)>> = None;
        for (anchor, spare) in votes.values() {
            let end = |ms| Tick(anchor.0).plus_millis(view.params.surely_ms(ms));
            let named = |id: &ResourceId| spare.iter().find(|spare| spare.resource == *id);
            common = Some(match common {
                None => spare.iter().map(|of| (of.resource.clone(), (of.licenses, of.lasts_ms.map(end)))).collect(),
                Some(before) => before
                    .into_iter()
                    .filter_map(|(id, (licenses, ends))| {
                        let of = named(&id)?;
                        let ends = ends.into_iter().chain(of.lasts_ms.map(end)).min();
                        Some((id, (licenses.min(of.licenses), ends)))
                    })
                    .collect(),
            });
        }
        let mut common = common.unwrap_or_default();
        common.retain(|id, (licenses, _)| id.class == Class::Hard && *licenses > Licenses::ZERO);
        common
    }

    fn take_census(peer: &NodeName, entry: &mut Lost, view: &View<'_>) -> Vec<Out> {
        let mut out = Vec::new();
        if entry.count.is_none() {
            if entry.raise.is_some() || entry.recount_at.is_some_and(|at| view.now < at) {
                return out;
            }
            let anchor = Anchor(view.now.0);
            entry.count = Some(Count { begun: view.now, anchor, answers: BTreeMap::new() });
        }
        let asked = Self::asked(peer, entry, view);
        let Some(count) = &mut entry.count else { return out };
        let census = Message::Census(Census { about: peer.clone(), anchor: count.anchor, inc: view.inc });
        if !count.answers.contains_key(view.node) {
            out.push(Out::ToSelf(census.clone()));
        }
        for node in asked.iter().filter(|node| !count.answers.contains_key(*node) && view.is_reachable(node)) {
            out.push(Out::Send(node.clone(), census.clone()));
        }
        out.extend(Self::settle_census(peer, entry, view));
        out
    }

    /// Whose answers count: the configured members, and whoever was a trustee before.
    fn asked(peer: &NodeName, entry: &Lost, view: &View<'_>) -> BTreeSet<NodeName> {
        view.configured
            .iter()
            .chain(&entry.before)
            .filter(|node| *node != peer && *node != view.node)
            .cloned()
            .collect()
    }

    /// An answer to a census, this node's own included.
    pub(in crate::cluster) fn on_counted(&mut self, from: &NodeName, counted: &Counted, view: &View<'_>) -> Vec<Out> {
        let Some(entry) = self.lost.get_mut(&counted.about) else { return Vec::new() };
        let Some(count) = entry.count.as_mut().filter(|count| count.anchor == counted.anchor) else {
            return Vec::new();
        };
        let (held, kept) = (counted.held.iter().cloned().collect(), counted.kept.iter().cloned().collect());
        count.answers.insert(from.clone(), Answer { held, kept });
        Self::settle_census(&counted.about, entry, view)
    }

    /// R(x): what nobody holds. Who didn't answer in time counts as holding the most that one peer is lent; a trustee from
    /// before that didn't, as holding all.
    fn settle_census(peer: &NodeName, entry: &mut Lost, view: &View<'_>) -> Vec<Out> {
        let asked = Self::asked(peer, entry, view);
        let Some(count) = &entry.count else { return Vec::new() };
        let silent: Vec<&NodeName> = asked.iter().filter(|node| !count.answers.contains_key(*node)).collect();
        let waited = view.now >= count.begun.plus_millis(CENSUS_WAIT_MS);
        if !count.answers.contains_key(view.node) || (!silent.is_empty() && !waited) || entry.raise.is_some() {
            return Vec::new();
        }
        let mut kept = entry.kept.clone();
        let license = entry.homes.iter().filter(|(resource, _)| is_kept(resource) && entry.lease.is_some());
        for (resource, home) in license {
            let held = |of: &Answer| of.held.get(resource).copied().unwrap_or_default();
            let known = count.answers.values().map(held).fold(Licenses::ZERO, Licenses::plus);
            let most = u64::from(home.0) * u64::from(view.params.max_lend_percent) / 100;
            let most = Licenses(u32::try_from(most).unwrap_or(u32::MAX));
            let unknown = silent
                .iter()
                .fold(Licenses::ZERO, |sum, node| sum.plus(if entry.before.contains(*node) { *home } else { most }));
            // What this node kept already is in its own answer.
            let mine = entry.kept.get(resource).copied().unwrap_or_default();
            let left = home.less(known).less(unknown).plus(mine).min(*home);
            if left > mine {
                kept.insert(resource.clone(), left);
            }
        }
        // Hard: what is lent lies within the floor. What an earlier trustee still uses doesn't; if that isn't known, all of it.
        let unknown = silent.iter().any(|node| entry.before.contains(*node));
        for (resource, (most, _)) in entry.spare.iter().filter(|_| entry.voted.is_some() && !unknown) {
            let others = count.answers.iter().filter(|(node, _)| *node != view.node);
            let used = others.filter_map(|(_, of)| of.kept.get(resource).copied()).fold(Licenses::ZERO, Licenses::plus);
            let left = most.less(used);
            if left > entry.kept.get(resource).copied().unwrap_or_default() {
                kept.insert(resource.clone(), left);
            }
        }
        // Its answers are as old as what they were about: the next raise needs a new one.
        entry.count = None;
        entry.recount_at = Some(view.now.plus_millis(RECOUNT_EVERY_MS));
        if kept == entry.kept {
            return Vec::new();
        }
        entry.raises += 1;
        entry.raise = Some((entry.raises, kept.clone()));
        let record = Record::Kept { peer: peer.clone(), kept: kept.into_iter().collect() };
        vec![Out::Persist(record, Some(Ticket::Kept(peer.clone(), entry.raises)))]
    }

    /// A raise is durable: it may be used.
    pub(in crate::cluster) fn durable(&mut self, peer: &NodeName, raise: u64) -> Vec<Out> {
        let Some(entry) = self.lost.get_mut(peer) else { return Vec::new() };
        let Some((_, kept)) = entry.raise.take_if(|(number, _)| *number == raise) else { return Vec::new() };
        let told = kept
            .iter()
            .filter(|(resource, count)| entry.kept.get(*resource) != Some(*count))
            .map(|(resource, count)| {
                Out::Tell(Event::RetainedUse { node: peer.clone(), resource: resource.clone(), licenses: *count })
            })
            .collect();
        entry.kept = kept;
        told
    }

    /// What may be used of lost peers now, of a resource, and until when.
    pub(in crate::cluster) fn usable(&self, resource: &ResourceId, now: Tick) -> (Licenses, Option<Tick>) {
        let mut sum = Licenses::ZERO;
        let mut first_end: Option<Tick> = None;
        for entry in self.lost.values() {
            let Some(lease) = entry.runs(resource, now) else { continue };
            let Some(kept) = entry.kept.get(resource) else { continue };
            sum = sum.plus(*kept);
            first_end = match (first_end, lease) {
                (Some(one), Some(other)) => Some(one.min(other)),
                (one, other) => one.or(other),
            };
        }
        (sum, first_end)
    }

    /// What this node keeps of a peer, usable or only not given up yet.
    pub(in crate::cluster) fn kept_of(&self, peer: &NodeName) -> BTreeMap<ResourceId, Licenses> {
        let Some(entry) = self.lost.get(peer) else { return BTreeMap::new() };
        entry.raise.as_ref().map_or_else(|| entry.kept.clone(), |(_, kept)| kept.clone())
    }

    /// What may no longer be used is given up as calls end: `beyond_home` of a resource is still in use.
    pub(in crate::cluster) fn give_up(&mut self, now: Tick, beyond_home: &dyn Fn(&ResourceId) -> Licenses) -> Vec<Out> {
        let mut out = Vec::new();
        for (peer, entry) in &mut self.lost {
            let before = entry.kept.clone();
            let over: BTreeSet<&ResourceId> = before.keys().filter(|id| entry.runs(id, now).is_none()).collect();
            for (resource, kept) in entry.kept.iter_mut().filter(|(id, _)| over.contains(id)) {
                *kept = (*kept).min(beyond_home(resource));
            }
            entry.kept.retain(|_, kept| *kept > Licenses::ZERO);
            if entry.kept == before {
                continue;
            }
            let kept = entry.kept.iter().map(|(resource, count)| (resource.clone(), *count)).collect();
            out.push(Out::Persist(Record::Kept { peer: peer.clone(), kept }, None));
            for resource in before.keys().filter(|resource| !entry.kept.contains_key(*resource)) {
                let (node, resource) = (peer.clone(), resource.clone());
                out.push(Out::Tell(Event::RetainedUse { node, resource, licenses: Licenses::ZERO }));
            }
        }
        out
    }

    /// The peer itself asks for what is kept of it: it is back, whatever membership says.
    pub(in crate::cluster) fn release(&mut self, peer: &NodeName) -> Vec<Out> {
        self.lost.get_mut(peer).map(|entry| Self::came_back(peer, entry)).unwrap_or_default()
    }

    /// The operator forgot a peer: nothing of it is kept any longer.
    pub(in crate::cluster) fn forget(&mut self, peer: &NodeName) -> Vec<Out> {
        let Some(entry) = self.lost.get_mut(peer) else { return Vec::new() };
        let out = Self::came_back(peer, entry);
        if entry.kept.is_empty() {
            self.lost.remove(peer);
        }
        out
    }
}
