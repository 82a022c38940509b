//! Several nodes under self-lease (10-H), on a network that loses, delays, repeats and cuts, with crashes, pauses, slow disks
//! and clocks that drift. The law: what all may have in use together never exceeds what all hold.

mod hostile;
mod leased;

use std::collections::VecDeque;

use super::*;
use crate::cluster::members::Dice;
use crate::cluster::wire::{Datagram, decode_datagram, encode_datagram};

const CALLS: ResourceIndex = ResourceIndex(0);
const RATE: ResourceIndex = ResourceIndex(1);
const HOME: u32 = 20;
const FIXED: u32 = 2;
const STEP_MS: u64 = 20;
const MS: u64 = 1_000_000;

fn hard() -> Vec<Resource> {
    [("export", Kind::Session), ("export-cps", Kind::Rate)]
        .map(|(text, kind)| Resource {
            id: ResourceId { name: text.into(), kind, class: Class::Hard },
            limit_max: None,
            headroom: 0,
        })
        .into()
}

fn params() -> Parameters {
    Parameters {
        self_lease: true,
        self_lease_ms: 2000,
        lost_after_ms: 3000,
        trustee_term_ms: 6000,
        ..Parameters::default()
    }
}

/// Calls that last, and calls against a rate with their instants: real, and by the node's clock.
#[derive(Debug, Clone)]
struct Load {
    lease: [Lease; 2],
    live: u32,
    stamps: VecDeque<(u64, u64)>,
    window: u64,
    attempts: [u32; 2],
    refused: [u32; 2],
}

impl Load {
    fn recent(&self, now: Tick) -> u32 {
        let since = now.0.saturating_sub(self.window);
        u32::try_from(self.stamps.iter().filter(|(_, at)| *at > since).count()).unwrap()
    }

    fn try_admit(&mut self, of: ResourceIndex, real: u64, now: Tick) {
        self.attempts[of.0] += 1;
        if self.used(of, now).used >= self.lease[of.0].at(now) {
            self.refused[of.0] += 1;
        } else if of == CALLS {
            self.live += 1;
        } else {
            self.stamps.push_back((real, now.0));
        }
    }
}

impl Pools for Load {
    fn used(&self, resource: ResourceIndex, now: Tick) -> Used {
        Used { used: if resource == CALLS { self.live } else { self.recent(now) }, forced: 0 }
    }

    fn take_offered(&mut self, of: ResourceIndex) -> Offered {
        Offered { attempts: std::mem::take(&mut self.attempts[of.0]), refused: std::mem::take(&mut self.refused[of.0]) }
    }

    fn set(&mut self, resource: ResourceIndex, limit: Lease, _now: Tick) {
        self.lease[resource.0] = limit;
    }

    fn try_lower(&mut self, resource: ResourceIndex, limit: Lease, now: Tick) -> Result<(), InUse> {
        let used = self.used(resource, now).used;
        if used > limit.limit {
            return Err(InUse { used });
        }
        self.lease[resource.0] = limit;
        Ok(())
    }
}

struct Member {
    name: NodeName,
    /// `None`: it is down; its calls go on.
    cluster: Option<Cluster>,
    load: Load,
    disk: Ledger,
    writing: Option<(u64, Vec<Record>, u64)>,
    /// Parts per million, and where its clock began.
    drift: (i64, u64),
    asleep_until: u64,
    /// When its grants come again after a restart.
    granted_at: Option<u64>,
    wants: [u32; 2],
    told: Vec<Event>,
}

struct Storm {
    real: u64,
    dice: Dice,
    members: Vec<Member>,
    rules: Rules,
    params: Parameters,
    wires: BTreeMap<(u64, u64), (usize, usize, Action)>,
    sent: u64,
    /// Ways that carry nothing, and ways that carry no datagrams.
    cut: BTreeSet<(usize, usize)>,
    deaf: BTreeSet<(usize, usize)>,
    linked: BTreeSet<(usize, usize)>,
    loss_percent: usize,
    /// Until when grants hold, in milliseconds from each grant.
    grant_ms: Option<u64>,
    /// Whose hints say that it has all and uses nothing.
    liar: Option<usize>,
    /// All that was sent, if it is to be sent again.
    heard: Option<Vec<(usize, usize, Action)>>,
}

impl Storm {
    fn new(count: usize, seed: u64, rules: Rules, params: Parameters) -> Self {
        let mut dice = Dice::new(seed);
        let members = (0..count)
            .map(|place| Member {
                name: name(&format!("n{place}")),
                cluster: None,
                load: Load {
                    lease: [Lease::fixed(0); 2],
                    live: 0,
                    stamps: VecDeque::new(),
                    window: params.window_nanos(),
                    attempts: [0; 2],
                    refused: [0; 2],
                },
                disk: Ledger {
                    id: LedgerId(u128::try_from(place).unwrap() + 1),
                    inc: Incarnation(0),
                    records: BTreeMap::new(),
                },
                writing: None,
                drift: (i64::try_from(dice.below(1999)).unwrap() - 999, u64::try_from(dice.below(1 << 30)).unwrap()),
                asleep_until: 0,
                granted_at: None,
                wants: [0; 2],
                told: Vec::new(),
            })
            .collect();
        let mut storm = Self {
            real: 1_000_000 * MS,
            dice,
            members,
            rules,
            params,
            wires: BTreeMap::new(),
            sent: 0,
            cut: BTreeSet::new(),
            deaf: BTreeSet::new(),
            linked: BTreeSet::new(),
            loss_percent: 0,
            grant_ms: None,
            liar: None,
            heard: None,
        };
        for place in 0..count {
            storm.start(place);
            storm.grant(place, 1, HOME);
        }
        storm
    }

    fn clock(&self, place: usize) -> Tick {
        let (ppm, began) = self.members[place].drift;
        let skew = i128::from(self.real) * i128::from(ppm) / 1_000_000;
        Tick(began + u64::try_from(i128::from(self.real) + skew).unwrap())
    }

    fn start(&mut self, place: usize) {
        let now = self.clock(place);
        let names: Vec<NodeName> = self.members.iter().map(|member| member.name.clone()).collect();
        let member = &mut self.members[place];
        member.disk.inc = Incarnation(member.disk.inc.0 + 1);
        let setup = Setup {
            node: member.name.clone(),
            peers: names.into_iter().filter(|other| *other != member.name).collect(),
            resources: hard(),
            params: self.params.clone(),
            seed: member.disk.inc.0 * 100 + u64::try_from(place).unwrap(),
            rules: self.rules.clone(),
        };
        member.cluster = Some(Cluster::new(setup, member.disk.clone(), now, &mut member.load));
        member.granted_at = Some(self.real + 2000 * MS);
    }

    fn crash(&mut self, place: usize) {
        let member = &mut self.members[place];
        (member.cluster, member.writing) = (None, None);
        member.load.lease = [Lease::fixed(0); 2];
        self.linked.retain(|(one, other)| *one != place && *other != place);
        for other in 0..self.members.len() {
            let (now, gone) = (self.clock(other), self.members[place].name.clone());
            if let Some(cluster) = &mut self.members[other].cluster {
                cluster.handle_disconnected(&gone, now);
            }
        }
    }

    fn grant(&mut self, place: usize, epoch: u64, home: u32) {
        let now = self.clock(place);
        let not_after = self.grant_ms.map(|ms| now.plus_millis(ms));
        let grant = HomeGrant { epoch: Epoch(epoch), home: Licenses(home), fixed_share: Licenses(FIXED), not_after };
        let member = &mut self.members[place];
        if let Some(cluster) = &mut member.cluster {
            for of in [CALLS, RATE] {
                cluster.handle_grant(of, grant, now, &mut member.load);
            }
        }
    }

    fn below(&mut self, bound: usize) -> usize {
        self.dice.below(bound)
    }

    fn link(&mut self) {
        for one in 0..self.members.len() {
            for other in one + 1..self.members.len() {
                let up = !self.cut.contains(&(one, other))
                    && !self.cut.contains(&(other, one))
                    && self.members[one].cluster.is_some()
                    && self.members[other].cluster.is_some();
                let changes = if up { self.linked.insert((one, other)) } else { self.linked.remove(&(one, other)) };
                if !changes {
                    continue;
                }
                for (at, peer) in [(one, other), (other, one)] {
                    let (now, peer) = (self.clock(at), self.members[peer].name.clone());
                    match &mut self.members[at].cluster {
                        Some(cluster) if up => cluster.handle_connected(&peer, now),
                        Some(cluster) => cluster.handle_disconnected(&peer, now),
                        None => {}
                    }
                }
            }
        }
    }

    fn step(&mut self) {
        self.link();
        for place in 0..self.members.len() {
            let (now, real) = (self.clock(place), self.real);
            if self.members[place].asleep_until > real || self.members[place].cluster.is_none() {
                continue;
            }
            // Who wakes up admits before any of its tasks runs.
            let member = &mut self.members[place];
            member.load.live = member.load.live.min(member.wants[0]);
            for (of, wanted) in [(CALLS, member.wants[0]), (RATE, member.wants[1])] {
                for _ in member.load.used(of, now).used..wanted {
                    member.load.try_admit(of, real, now);
                }
            }
            if member.granted_at.is_some_and(|at| at <= real) {
                member.granted_at = None;
                self.grant(place, 1, HOME);
            }
        }
        let due: Vec<(u64, u64)> = self.wires.range(..(self.real, u64::MAX)).map(|(key, _)| *key).collect();
        for key in due {
            let Some((from, to, action)) = self.wires.remove(&key) else { continue };
            if self.members[to].asleep_until > self.real {
                self.wires.insert((self.members[to].asleep_until, key.1), (from, to, action));
                continue;
            }
            let (now, sender) = (self.clock(to), self.members[from].name.clone());
            let member = &mut self.members[to];
            let Some(cluster) = &mut member.cluster else { continue };
            match action {
                Action::Send { message, .. } => cluster.handle_message(&sender, message, now, &mut member.load),
                Action::Gossip { bytes, .. } => cluster.handle_datagram(&sender, &bytes, now),
                _ => {}
            }
        }
        for place in 0..self.members.len() {
            let (now, real) = (self.clock(place), self.real);
            let member = &mut self.members[place];
            let Some(cluster) = &mut member.cluster else { continue };
            if member.asleep_until > real {
                continue;
            }
            if member.writing.as_ref().is_some_and(|(_, _, at)| *at <= real)
                && let Some((batch, records, _)) = member.writing.take()
            {
                member.disk.records.extend(records.into_iter().map(|record| (record.key(), record)));
                cluster.handle_persisted(batch, now, &mut member.load);
            }
            if cluster.poll_timeout().is_some_and(|due| due <= now) {
                cluster.handle_timeout(now, &mut member.load);
            }
            self.send(place);
        }
        self.check();
        self.real += STEP_MS * MS;
    }

    fn send(&mut self, from: usize) {
        loop {
            let member = &mut self.members[from];
            let Some(action) = member.cluster.as_mut().and_then(Cluster::poll_action) else { return };
            let (Action::Send { to, .. } | Action::Gossip { to, .. }) = &action else {
                match action {
                    Action::Persist { batch, records } => {
                        let takes = u64::try_from(self.dice.below(60)).unwrap() * MS;
                        member.writing = Some((batch, records, self.real + takes));
                    }
                    Action::Tell(event) => member.told.push(event),
                    _ => {}
                }
                continue;
            };
            let Some(place) = self.members.iter().position(|member| member.name == *to) else { continue };
            let is_datagram = matches!(action, Action::Gossip { .. });
            let action = if self.liar == Some(from) { lied(action) } else { action };
            if let Some(heard) = &mut self.heard {
                heard.push((from, place, action.clone()));
            }
            let lost = self.below(100) < self.loss_percent
                || self.cut.contains(&(from, place))
                || (is_datagram && self.deaf.contains(&(from, place)));
            if lost {
                continue;
            }
            // Some come twice, and some very late.
            for _ in 0..1 + usize::from(self.loss_percent > 0 && self.below(20) == 0) {
                let longest = if self.loss_percent > 0 && self.below(30) == 0 { 4000 } else { 30 };
                let delay = u64::try_from(1 + self.below(longest)).unwrap() * MS;
                self.sent += 1;
                self.wires.insert((self.real + delay, self.sent), (from, place, action.clone()));
            }
        }
    }

    fn run(&mut self, millis: u64) {
        for _ in 0..millis / STEP_MS {
            self.step();
        }
    }

    /// The law, of both resources. Who sleeps or is down admits nothing; its calls go on.
    fn check(&mut self) {
        let real = self.real;
        for member in &mut self.members {
            while member.load.stamps.front().is_some_and(|(at, _)| at + 1100 * MS <= real) {
                member.load.stamps.pop_front();
            }
        }
        for of in [CALLS, RATE] {
            let each: Vec<u32> = (0..self.members.len())
                .map(|place| {
                    let load = &self.members[place].load;
                    let recent = load.stamps.iter().filter(|(at, _)| at + 1000 * MS > real).count();
                    let used = if of == CALLS { load.live } else { u32::try_from(recent).unwrap() };
                    load.lease[of.0].at(self.clock(place)).max(used)
                })
                .collect();
            let all = u32::try_from(self.members.len()).unwrap() * HOME * hard()[of.0].id.kind.units_per_license();
            assert!(each.iter().sum::<u32>() <= all, "{each:?} of {of:?} at {} ms, and all hold {all}", real / MS);
        }
    }

    fn limit(&self, place: usize, of: ResourceIndex) -> u32 {
        self.members[place].load.lease[of.0].at(self.clock(place))
    }

    fn isolate(&mut self, place: usize) {
        for other in (0..self.members.len()).filter(|other| *other != place) {
            self.cut.extend([(place, other), (other, place)]);
        }
    }

    /// Something happens to somebody.
    fn blow(&mut self) {
        let place = self.below(self.members.len());
        match self.below(10) {
            0 | 1 => self.isolate(place),
            2 => {
                let other = self.below(self.members.len());
                self.cut.insert((place, other));
            }
            3 => {
                let other = self.below(self.members.len());
                self.deaf.extend([(place, other), (other, place)]);
            }
            4 => {
                self.cut.clear();
                self.deaf.clear();
            }
            5 if self.members[place].cluster.is_some() => self.crash(place),
            5 | 6 => {
                let down = (0..self.members.len()).find(|at| self.members[*at].cluster.is_none());
                if let Some(down) = down {
                    self.start(down);
                }
            }
            7 => self.members[place].asleep_until = self.real + u64::try_from(self.below(6000)).unwrap() * MS,
            _ => {
                let most = [0, 5, 20, 45, 80][self.below(5)];
                self.members[place].wants = [most, most * 5];
            }
        }
    }
}

/// A hint of a member that lies.
fn lied(action: Action) -> Action {
    let Action::Gossip { to, bytes } = action else { return action };
    let Ok(Datagram::Hint(mut hint)) = decode_datagram(&bytes) else { return Action::Gossip { to, bytes } };
    for of in &mut hint.of {
        (of.home, of.surplus) = (Licenses(u32::MAX), Licenses(u32::MAX));
        (of.used, of.free, of.demand, of.starving) = (0, u32::MAX, u32::MAX, true);
    }
    Action::Gossip { to, bytes: encode_datagram(&Datagram::Hint(hint)).unwrap() }
}
