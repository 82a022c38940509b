//! What must hold after every step: the invariants I1 to I8 and I11, each with a message of its own.
//!
//! Sums are kept by node and resource, and only what a step touched is looked at again. Limits and use only fall by
//! themselves, so an old figure is too high at worst: a sum that seems too high is counted anew before it counts.

use std::collections::{BTreeMap, VecDeque};

use callgate::cluster::{Kind, LedgerId, Message, NodeName, Record, ResourceIndex};

use crate::host::Disk;
use crate::story::{SECOND, Story};
use crate::world::{World, name, resource_id};

type Said = BTreeMap<(LedgerId, usize, usize), (u64, u64)>;

/// What is known for the checks.
#[derive(Debug)]
pub struct Law {
    /// The first law that was broken.
    pub broken: Option<String>,
    /// The course of the story is printed.
    pub tells: bool,
    /// max(limit, use) by resource and node, in units.
    claims: Vec<Vec<u32>>,
    /// What may be exceeded by what is on disk, by resource and node, in units.
    declared: Vec<Vec<u32>>,
    /// Kept of lost peers, by resource and node, in licenses.
    kept: Vec<Vec<u32>>,
    /// Admissions of the last second, by resource.
    recent: Vec<VecDeque<u64>>,
    said: Said,
    /// An operator forgets a node that may be alive: what it holds rests at its lenders.
    forgets: bool,
}

impl Law {
    pub fn new(nodes: usize, kinds: usize, forgets: bool) -> Self {
        Self {
            broken: None,
            tells: false,
            claims: vec![vec![0; nodes]; kinds],
            declared: vec![vec![0; nodes]; kinds],
            kept: vec![vec![0; nodes]; kinds],
            recent: vec![VecDeque::new(); kinds],
            said: BTreeMap::new(),
            forgets,
        }
    }

    pub fn fail(&mut self, what: String) {
        if self.broken.is_none() {
            self.broken = Some(what);
        }
    }

    pub fn admitted(&mut self, of: usize, now: u64) {
        self.recent[of].push_back(now);
    }

    /// I3
    pub fn check_window(&mut self, of: usize, cap: u32, now: u64) {
        let recent = &mut self.recent[of];
        while recent.front().is_some_and(|at| at + SECOND <= now) {
            recent.pop_front();
        }
        let count = recent.len();
        if count > usize::try_from(cap).unwrap() {
            self.fail(format!("I3: {count} calls of resource {of} were admitted within one second, {cap} are held"));
        }
    }

    /// I7: what is stored never goes back.
    pub fn stored(&mut self, node: &NodeName, before: Option<&Record>, now: &Record) {
        let back = match (before, now) {
            (Some(Record::Loan { seq, .. }), Record::Loan { seq: new, .. }) => new < seq,
            (Some(Record::Home { epoch, .. }), Record::Home { epoch: new, .. }) => new < epoch,
            (Some(Record::Vote { round, .. }), Record::Vote { round: new, .. }) => new < round,
            (_, _) => false,
        };
        if back {
            self.fail(format!("I7: {node} stores {now:?} over {before:?}"));
        }
    }

    /// What the disk declares.
    pub fn disk_changed(&mut self, story: &Story, node: usize, disk: &Disk) {
        for (of, shared) in story.setting.shared.iter().enumerate() {
            let id = resource_id(story, of);
            let (mut reclaimed, mut kept) = (0, 0);
            for record in disk.records.values() {
                match record {
                    Record::OvershootPossible { resource, units, .. } if *resource == id => reclaimed += units.0,
                    Record::Kept { kept: of, .. } => {
                        kept +=
                            of.iter().filter(|(resource, _)| *resource == id).map(|(_, count)| count.0).sum::<u32>();
                    }
                    _ => {}
                }
            }
            self.declared[of][node] = shared.units(reclaimed + kept);
            self.kept[of][node] = kept;
        }
    }

    /// I6 and I7: what is said about loans is durable, and never goes back.
    pub fn said(&mut self, story: &Story, node: usize, to: usize, message: &Message, disk: &Disk) {
        let (resource, linc, seq, k) = match message {
            Message::Lend(lend) => (&lend.resource, lend.linc, lend.seq, lend.k),
            Message::Adopt(adopt) => (&adopt.resource, adopt.linc, adopt.seq, adopt.out),
            _ => return,
        };
        let of = (0..story.setting.shared.len()).find(|of| resource_id(story, *of) == *resource).unwrap();
        let newest = self.said.entry((disk.id, to, of)).or_default();
        if (linc.0, seq.0) < *newest {
            let text = format!("I7: n{node} says {:?} to n{to} after {newest:?}", (linc.0, seq.0));
            return self.fail(text);
        }
        *newest = (linc.0, seq.0);
        if resource.kind == Kind::Session && k.0 > 0 {
            let key = callgate::cluster::Key::Loan(resource.clone(), name(to));
            let durable = match disk.records.get(&key) {
                Some(Record::Loan { out, .. }) => *out,
                _ => callgate::cluster::Licenses(0),
            };
            if durable < k {
                self.fail(format!("I6: n{node} lends {k:?} to n{to}, and its disk says {durable:?}"));
            }
        }
    }
}

impl World {
    /// I1, I2, I4, I5, I8 where a node's step may have changed them.
    pub fn check_node(&mut self, node: usize) {
        if self.law.broken.is_some() {
            return;
        }
        for of in 0..self.story.setting.shared.len() {
            self.claim(node, of);
            let sum: u32 = self.law.claims[of].iter().sum();
            if sum > self.cap(of) {
                self.count_anew(of);
            }
            self.check_loans(node, of);
        }
    }

    fn cap(&self, of: usize) -> u32 {
        let bought = self.story.setting.shared[of].units(self.backend.bought(of));
        bought + self.law.declared[of].iter().sum::<u32>()
    }

    fn claim(&mut self, node: usize, of: usize) {
        let is_rate = self.story.setting.shared[of].is_rate();
        let limit = self.hosts[node].limit(of, self.now);
        let used = self.hosts[node].used(of, is_rate, self.now);
        self.law.claims[of][node] = limit.max(used);
    }

    fn count_anew(&mut self, of: usize) {
        let nodes = 0..self.hosts.len();
        nodes.clone().for_each(|node| self.claim(node, of));
        let (sum, cap) = (self.law.claims[of].iter().sum::<u32>(), self.cap(of));
        if sum <= cap {
            return;
        }
        let is_rate = self.story.setting.shared[of].is_rate();
        let used: Vec<u32> = nodes.clone().map(|node| self.hosts[node].used(of, is_rate, self.now)).collect();
        let limits: Vec<u32> = nodes.map(|node| self.hosts[node].limit(of, self.now)).collect();
        let declared: u32 = self.law.declared[of].iter().sum();
        let bought = cap - declared;
        let name = self.story.setting.shared[of].name;
        let in_use: u32 = used.iter().sum();
        let all = format!("{name}: limits {limits:?}, in use {used:?}, bought {bought}, declared {declared}");
        let law = match (in_use > cap, declared > 0) {
            (true, false) if !is_rate => format!("I4: {in_use} sessions live of {bought} bought; {all}"),
            (true, true) => format!("I8: more is in use than bought and declared; {all}"),
            (_, _) => format!("I1: {sum} may be in use of {cap}; {all}"),
        };
        self.law.fail(law);
    }

    /// I2, I5
    fn check_loans(&mut self, node: usize, of: usize) {
        let Some(live) = &self.hosts[node].live else { return };
        let index = ResourceIndex(of);
        let sums = live.cluster.inspect_sums(index);
        let most = self.backend.0[node][of].account + self.law.kept[of][node];
        if sums.out + sums.limbo > u64::from(most) && !self.hosts[node].vouched {
            return self.law.fail(format!("I5: n{node} lends more than its own {most}: {sums:?}"));
        }
        // Many nodes are looked at in turn.
        let nodes = self.hosts.len();
        let looked_at = if nodes <= 12 {
            0..nodes
        } else {
            let at = usize::try_from(self.counts.steps).unwrap() % nodes;
            at..at + 1
        };
        for peer in looked_at.filter(|peer| *peer != node) {
            for (lender, borrower) in [(node, peer), (peer, node)] {
                self.check_pair(lender, borrower, of);
            }
        }
    }

    fn check_pair(&mut self, lender: usize, borrower: usize, of: usize) {
        let index = ResourceIndex(of);
        let is_rate = self.story.setting.shared[of].is_rate();
        let (l, b) = (&self.hosts[lender], &self.hosts[borrower]);
        let (Some(lends), Some(borrows)) = (&l.live, &b.live) else { return };
        let held = borrows.cluster.inspect_pair(index, &l.name);
        if held.hold.0 == 0 {
            return;
        }
        let lent = lends.cluster.inspect_pair(index, &b.name);
        // A new ledger counts its lives anew, and has no units until it knows what the one before lent.
        if lends.cluster.fenced_by().is_some() {
            return;
        }
        let same = held.linc == lends.cluster.inc() && lent.binc == borrows.cluster.inc();
        let now = b.clock.at(self.now);
        let over = is_rate && held.ends.is_some_and(|ends| ends <= now);
        let rests = if is_rate && self.law.forgets { lends.cluster.inspect_sums(index).limbo } else { 0 };
        let most = u64::from(lent.out.0 + lent.reclaimed.0) + rests;
        if same && !over && u64::from(held.hold.0) > most {
            let text = format!("I2: n{borrower} holds {held:?} of n{lender}, which says {lent:?}");
            self.law.fail(text);
        }
    }
}
