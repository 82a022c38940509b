//! The world: real time, hosts, what is between them, and the order in which things happen.
//!
//! One queue of events, by real time and then by the order in which they were made: a story has one course.

use std::collections::BTreeMap;

use callgate::cluster::{
    Class, Cluster, Epoch, HomeGrant, Incarnation, Ledger, LedgerId, Licenses, NodeName, Record, Resource, ResourceId,
    ResourceIndex, Rule, Rules, Setup,
};
use callgate::units::{Tick, UnixMillis};

use crate::backend::Backend;
use crate::desk::{Desks, Limit};
use crate::dice::{Dice, Trace};
use crate::host::{Calls, Clock, Disk, Host, Live};
use crate::law::Law;
use crate::story::{Happening, MS, SECOND, Story, Wire};
use crate::wire::{Links, Packet};

/// Something that is due.
#[derive(Debug, Clone)]
pub enum Ev {
    Happens(usize),
    Wake { node: usize, life: u32 },
    Arrives(Packet),
    Written { node: usize, life: u32 },
    Call { node: usize, of: usize, change: u32 },
    Ends { node: usize, of: usize, era: u32, forced: bool },
    Look { one: usize, other: usize },
    Up { node: usize, peer: usize, life: u32 },
    Down { node: usize, peer: usize, life: u32 },
    Start { node: usize },
    Resume { node: usize },
    Resync { node: usize, life: u32 },
    Grant { node: usize, of: usize },
    Wall { node: usize },
}

/// What was counted.
#[derive(Debug, Clone, Copy, Default)]
pub struct Counts {
    pub steps: u64,
    pub offered: u64,
    pub admitted: u64,
    pub messages: u64,
    pub datagrams: u64,
    pub bytes: u64,
}

/// The world.
pub struct World {
    pub story: Story,
    pub rules: Rules,
    pub now: u64,
    made: u64,
    queue: BTreeMap<(u64, u64), Ev>,
    pub hosts: Vec<Host>,
    pub links: Links,
    pub wire: Wire,
    pub backend: Backend,
    pub dice: Dice,
    pub trace: Trace,
    pub law: Law,
    pub counts: Counts,
    pub calm: bool,
    /// By resource.
    pub offered: Vec<u64>,
    pub admitted: Vec<u64>,
}

/// The instant at which a world begins.
const BEGIN: u64 = 1000 * SECOND;
/// A granted hard count lapses after so long unless it is confirmed again.
const LAPSES_MS: u64 = 2500;
const CONFIRMED_EVERY_MS: u64 = 800;

impl World {
    pub fn new(story: Story, rules: Rules) -> Self {
        let nodes = story.setting.nodes();
        let mut dice = Dice::new(story.setting.seed);
        let hosts = (0..nodes).map(|node| Self::host(&story, node, &mut dice)).collect();
        let kinds = story.setting.shared.len();
        let forgets = story.events.iter().any(|(_, what)| matches!(what, Happening::Forget { .. }));
        let mut world = Self {
            now: BEGIN,
            made: 0,
            queue: BTreeMap::new(),
            hosts,
            links: Links::new(nodes),
            wire: story.setting.wire,
            backend: Backend::new(&story.setting.homes),
            dice,
            trace: Trace::default(),
            law: Law::new(nodes, kinds, forgets),
            counts: Counts::default(),
            calm: false,
            offered: vec![0; kinds],
            admitted: vec![0; kinds],
            story,
            rules,
        };
        for node in 0..nodes {
            world.start(node);
            world.after(0, Ev::Wall { node });
            for other in node + 1..nodes {
                world.after(MS, Ev::Look { one: node, other });
            }
        }
        for place in 0..world.story.events.len() {
            let at = world.story.events[place].0;
            // Nodes meet first.
            world.after((at + 400) * MS, Ev::Happens(place));
        }
        world
    }

    fn host(story: &Story, node: usize, dice: &mut Dice) -> Host {
        let setting = &story.setting;
        let mut records = BTreeMap::new();
        for (of, home) in setting.homes[node].iter().enumerate() {
            let record = Record::Home {
                resource: resource_id(story, of),
                epoch: Epoch(1),
                home: Licenses(*home),
                fixed_share: fixed_share(story, of, *home),
            };
            records.insert(record.key(), record);
        }
        let kinds = setting.shared.len();
        Host {
            name: name(node),
            live: None,
            life: 0,
            era: 0,
            disk: Disk {
                id: LedgerId(u128::from(dice.throw())),
                inc: 0,
                records,
                us: setting.disk_us,
                fails_until: 0,
                is_new: false,
            },
            clock: Clock::new(dice.between(100, 5000) * SECOND, BEGIN, setting.drift[node]),
            paused: false,
            deferred: Vec::new(),
            calls: vec![Calls::default(); kinds],
            load: vec![(0, 0); kinds],
            wake_at: u64::MAX,
            contact_lost_until: 0,
            grant_due: vec![0; kinds],
            resumes_with: 0,
            vouched: false,
            torn: false,
        }
    }

    // --- the queue ---------------------------------------------------------------------------------------------------

    pub fn after(&mut self, nanos: u64, event: Ev) {
        self.at(self.now.saturating_add(nanos), event);
    }

    pub fn at(&mut self, real: u64, event: Ev) {
        self.made += 1;
        self.queue.insert((real.max(self.now), self.made), event);
    }

    /// Runs until an instant, or until a law is broken.
    pub fn run_until(&mut self, real: u64) {
        while let Some(entry) = self.queue.first_entry() {
            if entry.key().0 > real || self.law.broken.is_some() {
                break;
            }
            self.now = entry.key().0;
            let event = entry.remove();
            self.counts.steps += 1;
            self.take(event);
        }
        self.now = self.now.max(real);
    }

    pub fn take(&mut self, event: Ev) {
        if let Some(node) = event.node()
            && self.hosts[node].paused
        {
            self.hosts[node].deferred.push(event);
            return;
        }
        let node = event.concerns();
        match event {
            Ev::Happens(place) => self.happens(self.story.events[place].1),
            Ev::Wake { node, life } => self.wake(node, life),
            Ev::Arrives(packet) => self.arrives(packet),
            Ev::Written { node, life } => self.written(node, life),
            Ev::Call { node, of, change } => self.call(node, of, change),
            Ev::Ends { node, of, era, forced } => self.ends(node, of, era, forced),
            Ev::Look { one, other } => self.look(one, other),
            Ev::Up { node, peer, life } => self.link_changed(node, peer, life, true),
            Ev::Down { node, peer, life } => self.link_changed(node, peer, life, false),
            Ev::Start { node } => self.start(node),
            Ev::Resume { node } => self.resume(node),
            Ev::Resync { node, life } => self.resync(node, life),
            Ev::Grant { node, of } => self.grant(node, of),
            Ev::Wall { node } => self.wall(node),
        }
        match node {
            Some(node) => self.check(node),
            None => self.check_all(),
        }
    }

    // --- the process -------------------------------------------------------------------------------------------------

    /// Lets a live process do something, and carries out what it wants.
    pub fn with(&mut self, node: usize, act: impl FnOnce(&mut Cluster, Tick, &mut Desks)) {
        let now = self.hosts[node].clock.at(self.now);
        let Some(live) = self.hosts[node].live.as_mut() else { return };
        act(&mut live.cluster, now, &mut live.desks);
        self.carry_out(node);
        self.set_wake(node);
    }

    pub fn set_wake(&mut self, node: usize) {
        let host = &mut self.hosts[node];
        let Some(due) = host.live.as_ref().and_then(|live| live.cluster.poll_timeout()) else { return };
        let real = host.clock.real_of(due).max(self.now);
        if real < host.wake_at {
            host.wake_at = real;
            let life = host.life;
            self.at(real, Ev::Wake { node, life });
        }
    }

    fn wake(&mut self, node: usize, life: u32) {
        let host = &mut self.hosts[node];
        if host.life != life {
            return;
        }
        host.wake_at = u64::MAX;
        let now = host.clock.at(self.now);
        let due = host.live.as_ref().and_then(|live| live.cluster.poll_timeout()).is_some_and(|due| due <= now);
        if due {
            self.with(node, |cluster, now, desks| cluster.handle_timeout(now, desks));
            self.look_export(node);
        }
        self.set_wake(node);
    }

    fn look_export(&mut self, node: usize) {
        for of in 0..self.story.setting.shared.len() {
            if self.story.setting.shared[of].limit == Limit::Export {
                let cap = u64::from(self.backend.bought(of));
                self.with(node, |cluster, now, desks| {
                    desks.0[of].latched = cluster.look_export(ResourceIndex(of), cap, now, desks);
                });
            }
        }
    }

    fn start(&mut self, node: usize) {
        if self.hosts[node].live.is_some() {
            return;
        }
        let nodes = self.hosts.len();
        let kinds = self.story.setting.shared.len();
        let limits: Vec<Limit> = self.story.setting.shared.iter().map(|shared| shared.limit).collect();
        let real = self.now;
        let host = &mut self.hosts[node];
        let now = host.clock.at(real);
        host.life += 1;
        host.disk.inc += 1;
        host.wake_at = u64::MAX;
        let most: u32 = (0..kinds).map(|of| self.backend.bought(of) * 5).max().unwrap_or(0);
        let mut desks = Desks::new(&limits, most, !self.rules.has(Rule::FullWindow), now);
        let mut known = true;
        for (of, calls) in host.calls.iter_mut().enumerate() {
            let desk = &mut desks.0[of];
            if host.torn {
                desk.fill(now);
            } else {
                for at in &calls.recent {
                    desk.restore(Tick(now.0.saturating_sub(real - at)), now);
                }
            }
            for _ in 0..calls.live + calls.stale {
                desk.recover();
            }
            desk.reconciled = calls.stale == 0;
            known &= desk.reconciled;
        }
        host.torn = false;
        let ledger = Ledger { id: host.disk.id, inc: Incarnation(host.disk.inc), records: host.disk.records.clone() };
        let setup = Setup {
            node: host.name.clone(),
            peers: (0..nodes).filter(|peer| *peer != node).map(name).collect(),
            resources: (0..kinds)
                .map(|of| Resource { id: resource_id(&self.story, of), limit_max: None, headroom: 0 })
                .collect(),
            params: self.story.setting.params.clone(),
            seed: self.dice.throw(),
            rules: self.rules.clone(),
        };
        let mut cluster = Cluster::new(setup, ledger, now, &mut desks);
        if std::mem::take(&mut host.disk.is_new) {
            cluster.fence(now, &mut desks);
        }
        host.live = Some(Live { cluster, desks, writing: None });
        let life = host.life;
        self.carry_out(node);
        self.set_wake(node);
        if !known {
            let after = self.dice.between(50, 600) * MS;
            self.after(after, Ev::Resync { node, life });
        }
        for of in 0..kinds {
            let after = self.dice.below(200) * MS;
            self.grant_after(after, node, of);
        }
    }

    fn resync(&mut self, node: usize, life: u32) {
        let host = &mut self.hosts[node];
        if host.life != life {
            return;
        }
        let Some(live) = host.live.as_mut() else { return };
        for (desk, calls) in live.desks.0.iter_mut().zip(&mut host.calls) {
            for _ in 0..std::mem::take(&mut calls.stale) {
                desk.release(false);
            }
            desk.reconciled = true;
        }
    }

    /// The process is gone; a write under way happened or not.
    pub fn stop(&mut self, node: usize) {
        let written = self.dice.chance(500);
        for peer in (0..self.hosts.len()).filter(|peer| *peer != node) {
            self.break_link(node, peer);
        }
        let host = &mut self.hosts[node];
        host.paused = false;
        host.deferred.clear();
        let Some(live) = host.live.take() else { return };
        host.life += 1;
        for calls in &mut host.calls {
            calls.stale += std::mem::take(&mut calls.unheard) + std::mem::take(&mut calls.unheard_forced);
        }
        if let Some((_, records)) = live.writing.filter(|_| written) {
            self.write(node, records);
        }
    }

    // --- the disk ----------------------------------------------------------------------------------------------------

    pub fn begin_write(&mut self, node: usize, batch: u64, records: Vec<Record>) {
        let host = &mut self.hosts[node];
        let Some(live) = host.live.as_mut() else { return };
        if live.writing.is_some() {
            self.law.fail("the driver's contract: two batches are under way at once".into());
            return;
        }
        live.writing = Some((batch, records));
        let (low, high) = host.disk.us;
        let life = host.life;
        let after = self.dice.between(low, high) * 1000;
        self.after(after, Ev::Written { node, life });
    }

    fn written(&mut self, node: usize, life: u32) {
        let host = &mut self.hosts[node];
        if host.life != life {
            return;
        }
        let fails = self.now < host.disk.fails_until;
        let Some((batch, records)) = host.live.as_mut().and_then(|live| live.writing.take()) else { return };
        if !fails {
            self.write(node, records);
            return self.with(node, |cluster, now, desks| cluster.handle_persisted(batch, now, desks));
        }
        if self.dice.chance(500) {
            // It is on disk, and nobody knows.
            self.write(node, records);
        }
        self.with(node, |cluster, now, _| cluster.handle_persist_failed(batch, now));
    }

    fn write(&mut self, node: usize, records: Vec<Record>) {
        let host = &mut self.hosts[node];
        for record in records {
            self.law.stored(&host.name, host.disk.records.get(&record.key()), &record);
            host.disk.records.insert(record.key(), record);
        }
        self.law.disk_changed(&self.story, node, &self.hosts[node].disk);
    }

    // --- licensing ---------------------------------------------------------------------------------------------------

    /// The agent at a node confirms a grant, or brings a new one.
    pub fn grant_after(&mut self, after: u64, node: usize, of: usize) {
        let at = self.now + after;
        let due = &mut self.hosts[node].grant_due[of];
        if *due <= self.now || at < *due {
            *due = at;
            self.at(at, Ev::Grant { node, of });
        }
    }

    fn grant(&mut self, node: usize, of: usize) {
        let host = &self.hosts[node];
        if host.grant_due[of] != self.now {
            return;
        }
        let granted = self.backend.0[node][of];
        let lapses = self.story.setting.lapsing && self.story.setting.shared[of].class == Class::Hard;
        let lost = host.paused || self.now < host.contact_lost_until;
        if host.live.is_none() {
            return;
        }
        if granted.moving_to.is_some() || lapses || lost {
            self.grant_after(if lapses { CONFIRMED_EVERY_MS } else { 400 } * MS, node, of);
        }
        if lost {
            return;
        }
        let share = fixed_share(&self.story, of, granted.count);
        self.with(node, |cluster, now, desks| {
            let grant = HomeGrant {
                epoch: Epoch(granted.epoch),
                home: Licenses(granted.count),
                fixed_share: share,
                not_after: lapses.then(|| now.plus_millis(LAPSES_MS)),
            };
            cluster.handle_grant(ResourceIndex(of), grant, now, desks);
        });
    }

    pub fn acknowledged(&mut self, node: usize, id: &ResourceId, epoch: Epoch) {
        let Some(of) = (0..self.story.setting.shared.len()).find(|of| resource_id(&self.story, *of) == *id) else {
            return;
        };
        for to in self.backend.acknowledged(of, node, epoch.0) {
            self.grant_after(20 * MS, to, of);
        }
    }

    fn wall(&mut self, node: usize) {
        self.after(2 * SECOND, Ev::Wall { node });
        let wall = UnixMillis(self.now / MS);
        if let Some(live) = self.hosts[node].live.as_mut() {
            live.cluster.handle_wall(wall);
        }
    }

    // --- laws --------------------------------------------------------------------------------------------------------

    fn check(&mut self, node: usize) {
        if let Some(live) = &self.hosts[node].live {
            for desk in &live.desks.0 {
                self.trace.note(u64::from(desk.limit(Tick(0))));
            }
        }
        self.trace.note(self.now);
        self.check_node(node);
    }

    fn check_all(&mut self) {
        self.trace.note(self.now);
        for node in 0..self.hosts.len() {
            self.check_node(node);
        }
    }
}

impl Ev {
    /// Where something may have changed; `None`: anywhere.
    const fn concerns(&self) -> Option<usize> {
        match self {
            Self::Call { node, .. } | Self::Ends { node, .. } | Self::Start { node } | Self::Grant { node, .. } => {
                Some(*node)
            }
            Self::Happens(_)
            | Self::Wake { .. }
            | Self::Written { .. }
            | Self::Up { .. }
            | Self::Down { .. }
            | Self::Resync { .. }
            | Self::Arrives(_)
            | Self::Look { .. }
            | Self::Resume { .. }
            | Self::Wall { .. } => self.node(),
        }
    }

    /// Whose process it is for: a paused one hears of it later.
    const fn node(&self) -> Option<usize> {
        match self {
            Self::Wake { node, .. }
            | Self::Written { node, .. }
            | Self::Up { node, .. }
            | Self::Down { node, .. }
            | Self::Resync { node, .. } => Some(*node),
            Self::Arrives(packet) => Some(packet.to),
            Self::Happens(_)
            | Self::Call { .. }
            | Self::Ends { .. }
            | Self::Look { .. }
            | Self::Start { .. }
            | Self::Resume { .. }
            | Self::Grant { .. }
            | Self::Wall { .. } => None,
        }
    }
}

pub fn name(node: usize) -> NodeName {
    format!("n{node}").parse().unwrap()
}

pub fn resource_id(story: &Story, of: usize) -> ResourceId {
    let shared = story.setting.shared[of];
    ResourceId { name: shared.name.into(), kind: shared.limit.kind(), class: shared.class }
}

/// What remains of a hard count when its grant has lapsed.
fn fixed_share(story: &Story, of: usize, home: u32) -> Licenses {
    let hard = story.setting.shared[of].class == Class::Hard;
    Licenses(if hard && story.setting.lapsing { home / 2 } else { 0 })
}
