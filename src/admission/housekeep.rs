//! What time does to the gate: leases end, suspects are freed, forgotten RESYNCs are aborted, levels are watched. Bounded pieces.

use std::collections::HashMap;

use super::entry::flag;
use super::gate::Gate;
use super::pools::NodePool;
use super::record::Journal;
use super::shard::Exit;
use super::view::LevelChange;
use crate::limits::{Level, LevelWatch};
use crate::sync::{Ordering, unlock_fair};
use crate::units::{NANOS_PER_SECOND, Now, Tick};

/// Entries looked at per hold of a shard's lock: with 32 the longest hold stays near a tenth of a millisecond.
const LOOKS_PER_HOLD: u32 = 32;

/// Places walked per hold when a whole table is searched for the calls of one proxy.
pub(super) const WALK_PER_HOLD: u32 = 256;

/// Holds per round.
const HOLDS_PER_ROUND: u32 = 8;

/// How often idle windows are touched, so that their short clocks stay unambiguous.
const TOUCH_EVERY_NANOS: u64 = 30 * NANOS_PER_SECOND;

/// What one round of [`Gate::housekeep`] did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Housekeeping {
    /// Leases that ended.
    pub lapsed: u32,
    /// Suspect calls freed.
    pub suspects_freed: u32,
    /// There is more to do now: call again, after letting requests through.
    pub more: bool,
    /// Limits that passed a mark.
    pub levels: Vec<LevelChange>,
}

/// The walk that frees one proxy's suspects.
#[derive(Debug, Default)]
pub(super) struct Sweep {
    proxy: Option<u16>,
    generation: u16,
    shard: usize,
    place: u32,
    sampled: Tick,
    touched: Tick,
}

/// The levels of the watched limits.
#[derive(Debug, Default)]
pub(super) struct Watches(HashMap<String, Watched>);

/// One of them.
#[derive(Debug, Default)]
struct Watched {
    level: LevelWatch,
    /// Units refused for want of this limit, as of the last look.
    refused: u64,
}

impl<J: Journal> Gate<J> {
    /// Ends leases, frees suspects, watches levels: a bounded piece of work. Call it every 50 ms or so.
    pub fn housekeep(&self, now: Now) -> Housekeeping {
        let mut done = Housekeeping::default();
        self.end_leases(now, &mut done);
        self.proxies.abort_overdue(u64::from(self.policy().leases.resync_s) * NANOS_PER_SECOND, now.tick);
        self.free_suspects(now, &mut done);
        self.touch(now);
        self.watch(now, &mut done);
        done
    }

    fn end_leases(&self, now: Now, done: &mut Housekeeping) {
        let settings = self.settings();
        let scene = self.scene(&settings, now);
        for number in 0..self.shards() {
            let mut more = false;
            for _ in 0..HOLDS_PER_ROUND {
                let Some(mut shard) = self.shard(number) else { break };
                let mut budget = LOOKS_PER_HOLD;
                while let Some(place) = shard.table.next_ended(scene.step, &mut budget) {
                    shard.close(&scene, place, Exit::Lapsed, None);
                    done.lapsed += 1;
                }
                let mut budget = LOOKS_PER_HOLD;
                more = shard.table.forget_ended(scene.step, &mut budget) || shard.table.is_behind(scene.step);
                unlock_fair(shard);
                if !more {
                    break;
                }
            }
            done.more |= more;
        }
    }

    /// Walks on through the tables for the suspects of a proxy whose grace is over.
    fn free_suspects(&self, now: Now, done: &mut Housekeeping) {
        let settings = self.settings();
        let scene = self.scene(&settings, now);
        let Some(mut sweep) = self.sweep.try_lock() else { return };
        for _ in 0..HOLDS_PER_ROUND {
            if sweep.proxy.is_none() {
                sweep.proxy = self.proxies.next_overdue(now.tick);
                sweep.generation = sweep.proxy.map_or(0, |proxy| self.proxies.generation(proxy));
                (sweep.shard, sweep.place) = (0, 0);
            }
            let Some(proxy) = sweep.proxy else { return };
            if self.proxies.suspend_again(proxy) {
                // Its RESYNC began meanwhile: whether it ends or is aborted decides about the rest.
                sweep.proxy = None;
                continue;
            }
            let Some(mut shard) = self.shard(sweep.shard) else {
                sweep.proxy = None;
                continue;
            };
            let end = shard.table.places().min(sweep.place.saturating_add(WALK_PER_HOLD));
            let mut budget = LOOKS_PER_HOLD;
            while sweep.place < end && budget > 0 {
                let entry = shard.table.entry(sweep.place);
                // A registration stays: see `resync`.
                let of_proxy = entry.is_live()
                    && !entry.has(flag::REGISTRATION)
                    && super::entry::number(entry.proxy) == Some(proxy);
                // Older than the restart whose grace is over; calls of a still newer life have a grace of their own.
                let age = sweep.generation.wrapping_sub(entry.generation);
                if of_proxy && (1..0x8000).contains(&age) {
                    shard.close(&scene, sweep.place, Exit::Suspect, None);
                    done.suspects_freed += 1;
                    budget -= 1;
                }
                sweep.place += 1;
            }
            if sweep.place >= shard.table.places() {
                sweep.shard += 1;
                sweep.place = 0;
            }
            unlock_fair(shard);
        }
        done.more = true;
    }

    fn touch(&self, now: Now) {
        let Some(mut sweep) = self.sweep.try_lock() else { return };
        let settings = self.settings();
        self.resources.settle(&settings, now.tick);
        let used = settings.rate.used(now.tick).used;
        self.rate_peak.fetch_max(used, Ordering::Relaxed);
        self.rate_peak_since_look.fetch_max(used, Ordering::Relaxed);
        if now.tick.nanos_since(sweep.sampled) < NANOS_PER_SECOND {
            return;
        }
        sweep.sampled = now.tick;
        let touch = now.tick.nanos_since(sweep.touched) >= TOUCH_EVERY_NANOS;
        if touch {
            sweep.touched = now.tick;
            settings.rate.touch(now.tick);
        }
        for groups in [&self.resources.trunks, &self.resources.tenants] {
            groups.settle(now.tick);
            for (_, group) in groups.iter() {
                if let Some(window) = group.rate.load().as_ref() {
                    group.rate_peak.fetch_max(window.used(now.tick), Ordering::Relaxed);
                    if touch {
                        window.touch(now.tick);
                    }
                }
            }
        }
    }

    /// Looks at each limit's level. A limit that refused since the last look, or that is latched, is reached, however little is in use
    /// at this instant: calls end between two looks.
    fn watch(&self, now: Now, done: &mut Housekeeping) {
        let mut watches = self.watches.lock();
        let mut watch = |name: &str, used: u32, limit: Option<u32>, (latched, refused): (bool, u64)| {
            let watch = match watches.0.get_mut(name) {
                Some(watch) => watch,
                None => watches.0.entry(name.to_owned()).or_default(),
            };
            let refuses = latched || refused > watch.refused;
            watch.refused = refused;
            let Some(limit) = limit.filter(|limit| *limit > 0) else {
                // No limit (any more): what was near it isn't.
                let from = std::mem::take(&mut watch.level).level();
                if from != Level::Normal {
                    let change = LevelChange { limit_name: name.to_owned(), from, to: Level::Normal, limit: 0, used };
                    done.levels.push(change);
                }
                return;
            };
            let level_of = if refuses { used.max(limit) } else { used };
            if let Some((from, to)) = watch.level.observe(level_of, limit) {
                done.levels.push(LevelChange { limit_name: name.to_owned(), from, to, limit, used });
            }
        };
        let settings = self.settings();
        let refused = |pool| (false, self.pool_offered(pool).refused);
        let rate = settings.policy.rate.filter(|_| settings.policy.rate_enforced);
        let rate = rate.map(|_| settings.rate.limit(now.tick));
        watch("cps", settings.rate.used(now.tick).used, rate, refused(NodePool::Rate));
        let export = settings.policy.export_control;
        let mark = self.resources.watermark.mark().view();
        let latched = (mark.latched, refused(NodePool::Export).1);
        watch("export-control", mark.count, export.map(|_| mark.limit), latched);
        let webrtc = export.filter(|export| export.webrtc).and(mark.webrtc_limit);
        watch("webrtc", mark.webrtc, webrtc, refused(NodePool::Webrtc));
        for (number, (name, limit, used, _)) in (0..=u16::MAX).zip(self.resources.types.views()) {
            watch(&format!("sessions:{name}"), used, limit, refused(NodePool::Type(number)));
        }
        let live = self.tables().fold(0_u32, |sum, (live, _)| sum.saturating_add(live));
        watch("calls", live, Some(self.bounds.calls_max), (false, 0));
    }

    /// Live entries and memories of each shard.
    pub(super) fn tables(&self) -> impl Iterator<Item = (u32, u32)> {
        (0..self.shards()).filter_map(|number| {
            let shard = self.shard(number)?;
            Some((shard.table.live(), shard.table.memories()))
        })
    }

    /// Walks all live calls, a short hold at a time, and counts those that aren't counted yet where they should be.
    pub(super) fn count_all_again(&self, now: Now) {
        let settings = self.settings();
        let enforced = settings.policy.mode == super::policy::Mode::Enforce;
        self.walk(|shard, place| {
            let entry = shard.table.entry_mut(place);
            if entry.has(flag::SHADOW) {
                if !enforced {
                    return false;
                }
                entry.flags &= !flag::SHADOW;
            }
            self.resources.count_again(&settings, entry, false, now.tick);
            true
        });
    }

    /// Calls `visit` for each live entry, a short hold at a time: shorter where it says that it changed the entry.
    pub(super) fn walk(&self, mut visit: impl FnMut(&mut super::shard::Shard<J>, u32) -> bool) {
        for number in 0..self.shards() {
            let mut place = 0;
            while let Some(mut shard) = self.shard(number) {
                let end = shard.table.places().min(place + WALK_PER_HOLD);
                if place >= end {
                    break;
                }
                let mut changes = 0;
                while place < end && changes < LOOKS_PER_HOLD {
                    if shard.table.entry(place).is_live() && visit(&mut shard, place) {
                        changes += 1;
                    }
                    place += 1;
                }
                unlock_fair(shard);
            }
        }
    }
}
