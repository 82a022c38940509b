//! The course of a story: the storm, the calm after it, and what must hold then (I9, I10).

use callgate::cluster::{ResourceIndex, Rules};

use crate::dice::Trace;
use crate::story::{MS, SECOND, Story, Wire};
use crate::world::{Counts, Ev, World};

/// What came of a story.
#[derive(Debug, Clone)]
pub struct Outcome {
    pub broken: Option<String>,
    pub trace: Trace,
    pub counts: Counts,
}

/// One-way delay on the calm wire, in microseconds.
const CALM_DELAY_US: (u64, u64) = (1000, 2000);
/// After the storm membership finds everybody again, leases end, and what was kept is given up.
const SETTLES: u64 = 14 * SECOND;
/// A starving node receives a unit within two round trips, a tick, a gossip period, and the disk's time (I9).
const FIRST_UNIT: u64 = (2 * 4 + 20 + 100 + 10) * MS;

/// Tells a story to its end.
pub fn tell(story: &Story, rules: &Rules, tells: bool) -> Outcome {
    let mut world = World::new(story.clone(), rules.clone());
    world.law.tells = tells;
    let storm = world.now + (story.setting.storm_ms + 400) * MS;
    world.run_until(storm);
    if world.law.broken.is_none() {
        world.calm_down();
        let settled = world.now + SETTLES + u64::from(story.setting.params.session_term_ms) * MS;
        world.run_until(settled);
    }
    if world.law.broken.is_none() {
        world.check_all_is_home();
    }
    if world.law.broken.is_none() {
        world.check_one_is_served();
    }
    Outcome { broken: world.law.broken.take(), trace: world.trace, counts: world.counts }
}

impl World {
    /// Faults and load stop.
    pub fn calm_down(&mut self) {
        self.calm = true;
        self.wire = Wire::calm(CALM_DELAY_US);
        self.links.heal();
        for node in 0..self.hosts.len() {
            self.resume(node);
            for of in 0..self.story.setting.shared.len() {
                self.set_load(node, of, 0);
                self.hang_up(node, of, 100);
            }
            let host = &mut self.hosts[node];
            host.disk.fails_until = 0;
            host.disk.us = (500, 1000);
            host.contact_lost_until = 0;
            self.after(0, Ev::Start { node });
            self.unless_paused(node, |cluster, now, desks| cluster.undrain(now, desks));
        }
    }

    /// I10: nothing stays borrowed, lent, at rest or on the move.
    fn check_all_is_home(&mut self) {
        for node in 0..self.hosts.len() {
            for of in 0..self.story.setting.shared.len() {
                let granted = self.backend.0[node][of];
                let home = self.story.setting.shared[of].units(granted.count);
                let limit = self.hosts[node].limit(of, self.now);
                let Some(live) = &self.hosts[node].live else {
                    return self.law.fail(format!("I10: n{node} isn't there"));
                };
                let sums = live.cluster.inspect_sums(ResourceIndex(of));
                let used = live.desks.0[of].used(self.hosts[node].clock.at(self.now));
                if granted.moving_to.is_some() {
                    return self.law.fail(format!("I10: n{node} never gave up what a grant left out: {granted:?}"));
                }
                if limit != home || (sums.out, sums.held, sums.limbo, used.used) != (0, 0, 0, 0) {
                    let loans = self.loans_of(node, of);
                    let text = format!("I10: n{node} has {limit} of its {home} in force; {sums:?}, {used:?}{loans}");
                    return self.law.fail(text);
                }
            }
        }
    }

    /// What a node and its borrowers think of what is out, for people to read.
    fn loans_of(&self, node: usize, of: usize) -> String {
        let index = ResourceIndex(of);
        let Some(lender) = &self.hosts[node].live else { return String::new() };
        let mut text = String::new();
        for (peer, host) in self.hosts.iter().enumerate() {
            let lent = lender.cluster.inspect_pair(index, &host.name);
            if lent.out.0 > 0 {
                let held = host
                    .live
                    .as_ref()
                    .map(|live| (live.cluster.inc(), live.cluster.inspect_pair(index, &self.hosts[node].name)));
                let inc = lender.cluster.inc();
                text += &format!("\n  {inc:?} to n{peer}: {lent:?}\n  there: {held:?}");
            }
        }
        text
    }

    /// I9, and that what is lent is used: a node that never lends is safe too.
    fn check_one_is_served(&mut self) {
        let nodes = self.hosts.len();
        let starving = usize::try_from(self.story.setting.seed).unwrap() % nodes;
        let kinds = self.story.setting.shared.len();
        let percent = self.story.setting.params.max_lend_percent;
        let count = |world: &Self, node: usize, of: usize| world.backend.0[node][of].count;
        let own: Vec<u32> =
            (0..kinds).map(|of| self.story.setting.shared[of].units(count(self, starving, of))).collect();
        let others: Vec<u32> = (0..kinds)
            .map(|of| {
                let lent =
                    (0..nodes).filter(|node| *node != starving).map(|node| count(self, node, of) * percent / 100);
                self.story.setting.shared[of].units(lent.sum())
            })
            .collect();
        let mut first_refused: Vec<Option<u64>> = vec![None; kinds];
        let mut served = vec![false; kinds];
        self.story.setting.session_ms = 60_000;
        self.story.setting.emergencies = 0;
        for _ in 0..1500 {
            for of in 0..kinds {
                if !self.offer(starving, of) {
                    first_refused[of] = first_refused[of].or(Some(self.now));
                }
                served[of] |= self.hosts[starving].limit(of, self.now) > own[of];
                let late = first_refused[of].is_some_and(|at| self.now > at + FIRST_UNIT);
                if late && !served[of] && others[of] > 0 {
                    let text = format!("I9: n{starving} is given nothing of {} that others have", others[of]);
                    return self.law.fail(text);
                }
            }
            let next = self.now + MS;
            self.run_until(next);
            if self.law.broken.is_some() {
                return;
            }
        }
        for of in 0..kinds {
            let limit = self.hosts[starving].limit(of, self.now);
            let least = own[of] + others[of] * 7 / 10;
            if limit < least {
                let text = format!("use: n{starving} may use {limit}, though {} idle; {least} expected", others[of]);
                return self.law.fail(text);
            }
        }
    }
}
