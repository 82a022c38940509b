//! What the gate tells of itself: status, and live calls for people.

use super::entry::{Entry, flag, number};
use super::gate::Gate;
use super::record::Journal;
use super::request::CallId;
use super::shard::{Exit, Shard};
use super::view::{CallView, LimitView, Phase, Status};
use crate::sync::Ordering;
use crate::units::{CallKey, Now};

/// Places walked for one page of calls before its lock is let go.
const PLACES_PER_HOLD: u32 = 512;

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

impl<J: Journal> Gate<J> {
    /// Counters and limits, and how many calls are in doubt: for people and scrapes. Walks the whole table, a short hold at a time.
    pub fn full_status(&self, now: Now) -> Status {
        Status { suspect_live: self.suspects(now), ..self.status(now) }
    }

    /// Counters and limits. Walks the trunks and tenants: not for the fast path.
    pub fn status(&self, now: Now) -> Status {
        let settings = self.settings();
        let mut status = Status { mode: settings.policy.mode, draining: self.is_draining(), ..Status::default() };
        let (mut memories, mut live_peak) = (0_u32, 0_u32);
        for number in 0..self.shards() {
            let Some(shard) = self.shard(number) else { break };
            let tally = shard.tally.clone();
            let live = shard.table.live();
            memories += shard.table.memories();
            live_peak += shard.table.live_peak();
            drop(shard);
            status.calls_live += live.saturating_sub(tally.registrations_live);
            status.registrations_live += tally.registrations_live;
            status.admitted_total += tally.admitted;
            status.emergency_total += tally.emergency;
            status.forced_total += tally.forced;
            status.untracked_total += tally.untracked;
            for (total, count) in status.refused_total.iter_mut().zip(tally.refused) {
                *total += count;
            }
            for (total, count) in status.would_refuse_total.iter_mut().zip(tally.would_refuse) {
                *total += count;
            }
            status.duplicates_total += tally.duplicates;
            status.refusals_repeated_total += tally.refusals_repeated;
            status.reattempts_total += tally.reattempts;
            status.confirmed_total += tally.confirmed;
            status.released_total += tally.released;
            status.released_unknown_total += tally.released_unknown;
            status.lapsed_total += tally.lapsed;
            status.suspects_freed_total += tally.suspects_freed;
            status.resync_released_total += tally.resync_released;
            status.resync_adopted_total += tally.resync_adopted;
            status.memories_evicted_total += tally.memories_evicted;
            status.id_texts_dropped_total += tally.id_texts_dropped;
        }
        status.overage_total = self.resources.types.overage();
        status.names_refused_total =
            self.resources.trunks.refused() + self.resources.tenants.refused() + self.proxies.refused();
        status.limits = self.limits(now);
        let live = status.calls_live + status.registrations_live;
        for (name, limit, used, peak) in [
            ("calls", self.bounds.calls_max, live, live_peak),
            ("memories", self.bounds.memories_max, memories, memories),
        ] {
            status.limits.push(LimitView { name: name.to_owned(), limit: Some(limit), used, peak });
        }
        status
    }

    /// How many live calls are in doubt. Walks the whole table, a short hold at a time.
    pub fn suspects(&self, now: Now) -> u32 {
        let settings = self.settings();
        let scene = self.scene(&settings, now);
        let mut suspects = 0;
        self.walk(|shard, place| {
            suspects += u32::from(shard.is_suspect(&scene, place));
            false
        });
        suspects
    }

    fn limits(&self, now: Now) -> Vec<LimitView> {
        let settings = self.settings();
        let policy = &settings.policy;
        self.resources.settle(&settings, now.tick);
        let view = |name: String, limit: Option<u32>, used: u32, peak: u32| LimitView {
            name,
            limit,
            used,
            peak: peak.max(used),
        };
        let mut limits = Vec::new();
        let rate = policy.rate.map(|_| settings.rate.limit(now.tick));
        let peak = self.rate_peak.load(Ordering::Relaxed);
        limits.push(view("cps".to_owned(), rate, settings.rate.used(now.tick).used, peak));
        if let Some(export) = &policy.export_control {
            let mark = self.resources.watermark.mark().view();
            let (peak, webrtc_peak) = self.resources.watermark.mark().peaks();
            limits.push(view("export-control".to_owned(), Some(mark.limit), mark.count, peak));
            if export.webrtc {
                limits.push(view("webrtc".to_owned(), mark.webrtc_limit, mark.webrtc, webrtc_peak));
            }
        }
        for (name, limit, used, peak) in self.resources.types.views() {
            limits.push(view(format!("sessions:{name}"), limit, used, peak));
        }
        for (class, groups) in [("trunk", &self.resources.trunks), ("tenant", &self.resources.tenants)] {
            for (_, group) in groups.iter() {
                let name = text(&group.name);
                if let Some(window) = group.rate.load().as_ref() {
                    limits.push(view(
                        format!("{class}-cps:{name}"),
                        Some(window.limit().get()),
                        window.used(now.tick),
                        group.rate_peak.load(Ordering::Relaxed),
                    ));
                }
                let sessions = &group.sessions;
                limits.push(view(
                    format!("{class}-sessions:{name}"),
                    sessions.limit(),
                    sessions.used(),
                    sessions.peak(),
                ));
            }
        }
        limits
    }

    /// Live calls in the table's order, at most `limit`, from `cursor` on (0 at first). The second value is the next cursor; a call
    /// that comes or goes meanwhile may be missed, never shown twice.
    pub fn calls(&self, cursor: u64, limit: usize, now: Now) -> (Vec<CallView>, Option<u64>) {
        let mut calls = Vec::new();
        // A cursor is the shard's number above the place's 32 bits.
        let mut number = usize::try_from(cursor >> 32).unwrap_or(usize::MAX);
        let mut place = u32::try_from(cursor & 0xffff_ffff).unwrap_or(u32::MAX);
        while let Some(shard) = self.shard(number) {
            let end = shard.table.places().min(place.saturating_add(PLACES_PER_HOLD));
            while place < end {
                if calls.len() >= limit {
                    return (calls, Some(u64::try_from(number).unwrap_or(0) << 32 | u64::from(place)));
                }
                if shard.table.entry(place).is_live() {
                    calls.push(self.view(&shard, place, now));
                }
                place += 1;
            }
            if place >= shard.table.places() {
                number += 1;
                place = 0;
            }
        }
        (calls, None)
    }

    /// One live call, by its id.
    pub fn call(&self, id: CallId<'_>, now: Now) -> Option<CallView> {
        self.call_by_key(self.key(id.bytes()), now)
    }

    /// One live call, by its key.
    pub fn call_by_key(&self, key: CallKey, now: Now) -> Option<CallView> {
        let shard = self.shard_of(key);
        let place = shard.table.find(key)?;
        shard.table.entry(place).is_live().then(|| self.view(&shard, place, now))
    }

    /// Frees a live call by its key, as its proxy's RELEASE would: an operator's command.
    pub fn release_by_key(&self, key: CallKey, now: Now) -> bool {
        let settings = self.settings();
        let scene = self.scene(&settings, now);
        let mut shard = self.shard_of(key);
        let Some(place) = shard.lookup(key, scene.step) else { return false };
        if !shard.table.entry(place).is_live() {
            return false;
        }
        shard.close(&scene, place, Exit::Released, None);
        true
    }

    fn view(&self, shard: &Shard<J>, place: u32, now: Now) -> CallView {
        let settings = self.settings();
        let scene = self.scene(&settings, now);
        let entry: &Entry = shard.table.entry(place);
        let types = &self.resources.types;
        let group_name = |group: Option<&super::groups::Group>| group.map(|group| text(&group.name));
        let license_type = number(entry.license_type);
        let license_tier = license_type
            .filter(|_| entry.has(flag::TYPE_COUNTED))
            .and_then(|number| types.tier_name(number, entry.drawn_tier));
        let license_type = license_type.and_then(|number| types.name(number));
        CallView {
            key: entry.key,
            id: shard.text(place).map(<[u8]>::to_vec),
            registration: entry.has(flag::REGISTRATION),
            phase: if entry.has(flag::CONFIRMED) { Phase::Talk } else { Phase::Setup },
            suspect: shard.is_suspect(&scene, place),
            emergency: entry.has(flag::EMERGENCY),
            forced: entry.has(flag::FORCED),
            webrtc: entry.has(flag::WEBRTC),
            seq: entry.seq(),
            trunk: group_name(number(entry.trunk).and_then(|number| self.resources.trunks.get(number))),
            tenant: group_name(number(entry.tenant).and_then(|number| self.resources.tenants.get(number))),
            proxy: number(entry.proxy).and_then(|number| self.proxies.name(number)).map(text),
            license_type: license_type.map(ToOwned::to_owned),
            license_tier: license_tier.filter(|tier| Some(*tier) != license_type).map(ToOwned::to_owned),
            units: entry.units,
            admitted_at: entry.admitted.tick(),
            lease_ends_at: entry.ends.tick(),
        }
    }
}
