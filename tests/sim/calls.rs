//! Calls: they come, are admitted or not, and end.

use callgate::cluster::ResourceIndex;

use crate::story::{MS, SECOND};
use crate::world::{Ev, World};

impl World {
    /// From now on so many calls a second, on average.
    pub fn set_load(&mut self, node: usize, of: usize, per_second: u64) {
        let load = &mut self.hosts[node].load[of];
        *load = (per_second, load.1 + 1);
        let change = load.1;
        self.next_call(node, of, change);
    }

    fn next_call(&mut self, node: usize, of: usize, change: u32) {
        let (per_second, newest) = self.hosts[node].load[of];
        if per_second > 0 && newest == change {
            let after = self.dice.exponential(SECOND / per_second);
            self.after(after, Ev::Call { node, of, change });
        }
    }

    pub fn call(&mut self, node: usize, of: usize, change: u32) {
        if self.hosts[node].load[of].1 != change {
            return;
        }
        self.offer(node, of);
        self.next_call(node, of, change);
    }

    pub fn burst(&mut self, node: usize, of: usize, calls: u32) {
        for _ in 0..calls {
            self.offer(node, of);
        }
    }

    /// A call is offered. Says whether it was admitted.
    pub fn offer(&mut self, node: usize, of: usize) -> bool {
        self.counts.offered += 1;
        self.offered[of] += 1;
        let emergency = self.dice.chance(self.story.setting.emergencies);
        let host = &mut self.hosts[node];
        if host.paused {
            return false;
        }
        let now = host.clock.at(self.now);
        let Some(live) = host.live.as_mut() else { return false };
        let desk = &mut live.desks.0[of];
        let taken = desk.take(now);
        let forced = !taken && emergency;
        if forced {
            let (used, limit) = (desk.used(now), desk.limit(now));
            if used.used < limit && !desk.latched {
                self.law.fail(format!("I11: n{node} forces a call with {used:?} of {limit} in use"));
            }
            desk.force(now);
        }
        self.trace.note(u64::from(taken) << 1 | u64::from(forced));
        if taken {
            self.counts.admitted += 1;
            self.admitted[of] += 1;
        }
        if taken || forced {
            self.begun(node, of, forced);
        }
        let host = &self.hosts[node];
        let full = host.live.as_ref().is_some_and(|live| {
            let desk = &live.desks.0[of];
            desk.used(now).used >= desk.limit(now)
        });
        if !taken || full {
            self.with(node, |cluster, now, desks| cluster.handle_low_water(ResourceIndex(of), now, desks));
        }
        taken
    }

    fn begun(&mut self, node: usize, of: usize, forced: bool) {
        let is_rate = self.story.setting.shared[of].is_rate();
        let calls = &mut self.hosts[node].calls[of];
        if is_rate {
            if !forced {
                calls.recent.push_back(self.now);
                self.law.admitted(of, self.now);
                let cap = self.story.setting.shared[of].units(self.backend.bought(of));
                self.law.check_window(of, cap, self.now);
            }
            return;
        }
        calls.live += 1;
        calls.forced += u32::from(forced);
        let era = self.hosts[node].era;
        let lasts = self.dice.exponential(self.story.setting.session_ms * MS);
        self.after(lasts, Ev::Ends { node, of, era, forced });
    }

    /// A session ends.
    pub fn ends(&mut self, node: usize, of: usize, era: u32, forced: bool) {
        let host = &mut self.hosts[node];
        let calls = &mut host.calls[of];
        let ordinary = calls.live - calls.forced;
        // Others may have been hung up in its place.
        if host.era != era || (forced && calls.forced == 0) || (!forced && ordinary == 0) {
            return;
        }
        calls.live -= 1;
        calls.forced -= u32::from(forced);
        match &host.live {
            Some(_) if host.paused => {
                let unheard = if forced { &mut calls.unheard_forced } else { &mut calls.unheard };
                *unheard += 1;
            }
            Some(live) => live.desks.0[of].release(forced),
            None => calls.stale += 1,
        }
    }

    /// What ended while the process stood still is told to it.
    pub fn hear_ends(&mut self, node: usize) {
        let host = &mut self.hosts[node];
        let Some(live) = &host.live else { return };
        for (desk, calls) in live.desks.0.iter().zip(&mut host.calls) {
            for _ in 0..std::mem::take(&mut calls.unheard) {
                desk.release(false);
            }
            for _ in 0..std::mem::take(&mut calls.unheard_forced) {
                desk.release(true);
            }
        }
    }

    pub fn hang_up(&mut self, node: usize, of: usize, percent: u64) {
        if self.story.setting.shared[of].is_rate() {
            return;
        }
        let era = self.hosts[node].era;
        let calls = &self.hosts[node].calls[of];
        let (forced, ordinary) = (calls.forced, calls.live - calls.forced);
        let part = |count: u32| u64::from(count) * percent / 100;
        for _ in 0..part(ordinary) {
            self.ends(node, of, era, false);
        }
        for _ in 0..part(forced) {
            self.ends(node, of, era, true);
        }
    }
}
