//! What a story does to the world.

use std::collections::BTreeMap;

use callgate::cluster::{Class, Cluster, Kind, LedgerId};
use callgate::units::Tick;

use crate::desk::Desks;
use crate::host::Disk;
use crate::story::{Happening, MS};
use crate::world::{Ev, World, name};

impl World {
    pub fn happens(&mut self, happening: Happening) {
        if self.calm {
            return;
        }
        let nodes = self.hosts.len();
        match happening {
            Happening::Load { node, of, per_second } => self.set_load(node, of, per_second),
            Happening::Burst { node, of, calls } => self.burst(node, of, calls),
            Happening::Hangup { node, of, percent } => self.hang_up(node, of, percent),
            Happening::Cut { from, to } => self.links.cut(from, to, self.now),
            Happening::Split { side } => {
                let inside = |node: usize| side >> (node % 30) & 1 == 1;
                for from in 0..nodes {
                    for to in (0..nodes).filter(|to| inside(from) != inside(*to)) {
                        self.links.cut(from, to, self.now);
                    }
                }
            }
            Happening::Heal => self.links.heal(),
            Happening::Reset { one, other } => self.break_link(one, other),
            Happening::Wire(wire) => self.wire = wire,
            Happening::Kill { node, down_ms } => {
                self.stop(node);
                self.after(down_ms * MS, Ev::Start { node });
            }
            Happening::PowerLoss { node, down_ms } => self.lose_power(node, down_ms),
            Happening::Replace { node, down_ms } => self.replace(node, down_ms),
            Happening::Pause { node, ms, calls } => self.pause(node, ms, calls),
            Happening::Drift { node, ppm } => {
                let now = self.now;
                self.hosts[node].clock.set_rate(now, ppm);
                self.hosts[node].wake_at = u64::MAX;
                self.set_wake(node);
            }
            Happening::Disk { node, us } => self.hosts[node].disk.us = (us / 2, us),
            Happening::DiskFails { node, ms } => self.hosts[node].disk.fails_until = self.now + ms * MS,
            Happening::Move { of, from, to, licenses } => {
                if self.backend.begin_move(of, from, to, licenses) {
                    self.grant_after(10 * MS, from, of);
                }
            }
            Happening::Contact { node, lost_ms } => {
                self.hosts[node].contact_lost_until = self.now + lost_ms * MS;
            }
            Happening::Drain { node } => self.unless_paused(node, |cluster, now, desks| cluster.drain(now, desks)),
            Happening::Undrain { node } => self.unless_paused(node, |cluster, now, desks| cluster.undrain(now, desks)),
            Happening::Forget { node } => self.forget(node),
            Happening::Vouch { node } => self.vouch(node),
        }
    }

    pub fn unless_paused(&mut self, node: usize, act: impl FnOnce(&mut Cluster, Tick, &mut Desks)) {
        if !self.hosts[node].paused {
            self.with(node, act);
        }
    }

    fn lose_power(&mut self, node: usize, down_ms: u64) {
        self.stop(node);
        let host = &mut self.hosts[node];
        host.era += 1;
        host.torn = true;
        for calls in &mut host.calls {
            // Its calls died with it. What the journal holds of them is anybody's guess.
            let known = u64::from(calls.live + calls.stale);
            let kept = u32::try_from(self.dice.between(0, known)).unwrap();
            (calls.live, calls.forced, calls.stale) = (0, 0, kept);
        }
        self.after(down_ms * MS, Ev::Start { node });
    }

    fn replace(&mut self, node: usize, down_ms: u64) {
        self.lose_power(node, down_ms);
        let id = LedgerId(u128::from(self.dice.throw()));
        let host = &mut self.hosts[node];
        for calls in &mut host.calls {
            calls.stale = 0;
        }
        host.disk = Disk { id, inc: 0, records: BTreeMap::new(), is_new: true, ..host.disk.clone() };
        host.vouched = true;
        self.law.disk_changed(&self.story, node, &self.hosts[node].disk);
    }

    fn pause(&mut self, node: usize, ms: u64, calls: u32) {
        if self.hosts[node].live.is_none() || self.hosts[node].paused {
            return;
        }
        self.hosts[node].paused = true;
        // What is deferred comes after the calls: the clock is read by each.
        let resumes = self.now + ms * MS;
        self.at(resumes, Ev::Resume { node });
        self.hosts[node].deferred.clear();
        self.hosts[node].resumes_with = calls;
    }

    /// Only a host that is down may be forgotten where hard sessions are at stake: the operator vouches for that.
    fn forget(&mut self, node: usize) {
        let hard = self.story.setting.shared.iter().any(|s| s.class == Class::Hard && s.limit.kind() == Kind::Session);
        let has_calls = self.hosts[node].calls.iter().any(|calls| calls.live > 0);
        if hard && (self.hosts[node].live.is_some() || has_calls) {
            return;
        }
        let gone = name(node);
        for other in (0..self.hosts.len()).filter(|other| *other != node) {
            self.unless_paused(other, |cluster, now, desks| cluster.forget(&gone, now, desks));
        }
    }

    fn vouch(&mut self, node: usize) {
        self.unless_paused(node, |cluster, now, desks| cluster.release_fence(now, desks));
    }

    pub fn resume(&mut self, node: usize) {
        if !std::mem::take(&mut self.hosts[node].paused) {
            return;
        }
        for of in 0..self.story.setting.shared.len() {
            let calls = self.hosts[node].resumes_with;
            self.burst(node, of, calls);
        }
        self.hear_ends(node);
        for event in std::mem::take(&mut self.hosts[node].deferred) {
            self.take(event);
        }
    }
}
