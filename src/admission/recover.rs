//! Calls survive the sidecar: what the journal kept is put back, and what is live is written out as a snapshot.

use std::collections::{BTreeMap, HashMap};

use xxhash_rust::xxh3::Xxh3Builder;

use super::entry::{Entry, Step, flag, number, state, stored};
use super::gate::Gate;
use super::groups::Resolved;
use super::policy::Mode;
use super::proxies::Proxies;
use super::record::{FLAG_HEARD, FLAG_RATE_TAKEN, FLAG_SUSPECT, Journal, LiveRecord, NameClass, Record};
use super::resources::Settings;
use super::shard::{Scene, Shard};
use super::table::Memory;
use crate::units::{CallKey, NANOS_PER_SECOND, Now, Tick};

/// Entries per piece of a snapshot.
const PLACES_PER_PIECE: u32 = 256;

/// What was restored from a journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Recovery {
    /// Calls and registrations live again, as suspect.
    pub live: u32,
    /// Calls whose lease had ended meanwhile.
    pub lapsed: u32,
    /// Calls that did not fit into the table.
    pub dropped: u32,
    /// Released calls remembered again.
    pub released: u32,
    /// Releases that came before their call, remembered again.
    pub buried: u32,
    /// Rate stamps of the last second put back.
    pub stamps: u32,
}

/// A live call, and when its proxy last spoke of it.
#[derive(Debug, Clone, Copy)]
struct Replayed {
    record: LiveRecord,
    heard: Tick,
}

/// A journal, replayed as far as it was read.
#[derive(Debug, Default)]
struct Replay {
    live: HashMap<CallKey, Replayed, Xxh3Builder>,
    released: HashMap<CallKey, (Tick, Option<u32>), Xxh3Builder>,
    /// Tombstones: when they go, and their attempts' numbers.
    buried: HashMap<CallKey, (Tick, Option<u32>), Xxh3Builder>,
    /// As many of them as the gate has room for. A flood of unknown ids fills a log with more.
    buried_max: usize,
    // In order, so that one journal always gives the same numbers.
    names: BTreeMap<(u8, u16), Box<[u8]>>,
    /// The latest epoch that each proxy said, and when.
    epochs: BTreeMap<u16, (u64, Tick)>,
    stamps: Vec<(Tick, Option<u16>, Option<u16>)>,
}

impl Replay {
    fn apply(&mut self, record: Record, moved: impl Fn(Tick) -> Tick, now: Now, released_nanos: u64) {
        let is_recent = |at: Tick, nanos: u64| now.tick.nanos_since(at) <= nanos;
        match record {
            Record::SnapshotBegin => {
                self.live.clear();
                self.buried.clear();
            }
            Record::Name { class, number, name } => {
                self.names.insert((class_number(class), number), name);
            }
            Record::ProxyEpoch { proxy, epoch, at } => {
                // Several shards' logs each tell all epochs, one log after the other: the latest counts.
                let at = moved(at);
                let known = self.epochs.entry(proxy).or_insert((epoch, at));
                if at > known.1 {
                    *known = (epoch, at);
                }
            }
            Record::Live(mut live) => {
                live.admitted_at = moved(live.admitted_at);
                live.lease_ends_at = moved(live.lease_ends_at);
                if live.flags & FLAG_RATE_TAKEN != 0 && is_recent(live.admitted_at, NANOS_PER_SECOND) {
                    self.stamps.push((live.admitted_at, live.trunk, live.tenant));
                }
                self.released.remove(&live.key);
                self.buried.remove(&live.key);
                let epoch_at = live.proxy.and_then(|proxy| self.epochs.get(&proxy)).map(|(_, at)| *at);
                let heard = match epoch_at {
                    Some(at) if live.flags & FLAG_HEARD != 0 => live.admitted_at.max(at),
                    _ => live.admitted_at,
                };
                self.live.insert(live.key, Replayed { record: live, heard });
            }
            Record::Lease { key, at, lease_ends_at, lease_s, confirmed, seq } => {
                if let Some(Replayed { record: live, heard }) = self.live.get_mut(&key) {
                    *heard = moved(at);
                    live.lease_ends_at = moved(lease_ends_at);
                    live.lease_s = lease_s;
                    live.seq = seq;
                    live.flags &= !FLAG_SUSPECT;
                    if confirmed {
                        live.flags |= flag::CONFIRMED;
                    }
                }
            }
            Record::Ended { key, at, released } => {
                let live = self.live.remove(&key);
                if released && is_recent(moved(at), released_nanos) {
                    self.released.insert(key, (moved(at), live.and_then(|live| live.record.seq)));
                }
            }
            Record::Stamp { at, trunk, tenant } => {
                if is_recent(moved(at), NANOS_PER_SECOND) {
                    self.stamps.push((moved(at), trunk, tenant));
                }
            }
            Record::Buried { key, ends_at, seq } => {
                let ends_at = moved(ends_at);
                if ends_at > now.tick {
                    self.released.remove(&key);
                    self.buried.insert(key, (ends_at, seq));
                    if self.buried.len() > self.buried_max.saturating_mul(2) {
                        self.forget_oldest_buried();
                    }
                }
            }
        }
    }

    /// Leaves as many tombstones as there is room for, the latest.
    fn forget_oldest_buried(&mut self) {
        let over = self.buried.len().saturating_sub(self.buried_max);
        let mut ends: Vec<(Tick, CallKey)> = self.buried.iter().map(|(key, (ends, _))| (*ends, *key)).collect();
        if over < ends.len() {
            ends.select_nth_unstable_by_key(over, |(ends, _)| *ends);
        }
        for (_, key) in ends.iter().take(over) {
            self.buried.remove(key);
        }
    }

    /// Whether a call's proxy has restarted since it last spoke of it.
    fn is_stale(&self, live: &Replayed) -> bool {
        let epoch = live.record.proxy.and_then(|proxy| self.epochs.get(&proxy));
        live.record.flags & FLAG_SUSPECT != 0 || epoch.is_some_and(|(_, at)| live.heard < *at)
    }

    fn name(&self, class: NameClass, number: Option<u16>) -> Option<&[u8]> {
        self.names.get(&(class_number(class), number?)).map(|name| &**name)
    }
}

const fn class_number(class: NameClass) -> u8 {
    match class {
        NameClass::Trunk => 1,
        NameClass::Tenant => 2,
        NameClass::Proxy => 3,
        NameClass::LicenseType => 4,
    }
}

impl<J: Journal> Gate<J> {
    /// Puts back what one journal kept: call it once per journal, before the first request. Every call comes back as suspect, counted against
    /// all limits, until it is resynced, refreshed, released, or its lease ends; the last second's rate stamps come back too.
    /// `offset_nanos` is added to every tick (a reboot between writing and reading moves the clock's origin).
    pub fn recover(&self, records: impl IntoIterator<Item = Record>, offset_nanos: i64, now: Now) -> Recovery {
        let settings = self.settings();
        let scene = self.scene(&settings, now);
        let moved = |tick: Tick| Tick(tick.0.saturating_add_signed(offset_nanos));
        let released_nanos = u64::from(scene.leases().released_s) * NANOS_PER_SECOND;
        let buried_max = usize::try_from(self.bounds.memories_max).unwrap_or(usize::MAX);
        let mut replay = Replay { buried_max, ..Replay::default() };
        for record in records {
            replay.apply(record, moved, now, released_nanos);
        }
        let mut recovery = Recovery::default();
        let proxies = self.recover_proxies(&replay, now);
        for live in replay.live.values() {
            self.recover_call(&scene, &replay, &proxies, live, &mut recovery);
        }
        for (key, (at, seq)) in &replay.released {
            let ends = Step::ending(at.plus_nanos(released_nanos));
            let mut shard = self.shard_of(*key);
            if shard.table.find(*key).is_none()
                && let Some((place, _)) = shard.table.add_memory(*key, Memory::Released, ends, scene.step)
            {
                let entry = shard.table.entry_mut(place);
                entry.set_seq(*seq);
                // Whether it paid is not known: the next attempt does.
                entry.set(flag::NEXT_PAYS, true);
                recovery.released += 1;
            }
        }
        self.recover_tombstones(&scene, &replay, &mut recovery);
        self.recover_stamps(&replay, now, &mut recovery);
        // Whether the latch was closed is not known.
        self.resources.watermark.mark().close_unless_low();
        recovery
    }

    /// Gives the journal's proxies their present numbers, and their epochs.
    fn recover_proxies(&self, replay: &Replay, now: Now) -> HashMap<u16, u16> {
        let grace = u64::from(self.policy().leases.suspect_grace_s);
        let mut numbers = HashMap::new();
        for ((class, was), name) in &replay.names {
            if *class != class_number(NameClass::Proxy) {
                continue;
            }
            let Some((number, _)) = self.proxies.number(name) else { continue };
            numbers.insert(*was, number);
            if let Some((epoch, _)) = replay.epochs.get(was) {
                // A grace that ran when the sidecar went starts again: a RESYNC that was open is lost.
                self.proxies.set_epoch(number, *epoch, now.tick, now.tick.plus_secs(grace));
            }
        }
        numbers
    }

    /// The present number of a trunk or tenant of the journal, made anew where it has none yet.
    fn recover_group(&self, settings: &Settings, replay: &Replay, class: NameClass, was: Option<u16>) -> Option<u16> {
        let policy = &settings.policy;
        let (groups, default) = match class {
            NameClass::Trunk => (&self.resources.trunks, policy.trunk_default),
            NameClass::Tenant => (&self.resources.tenants, policy.tenant_default),
            NameClass::Proxy | NameClass::LicenseType => return None,
        };
        match groups.resolve(replay.name(class, was)?, default, policy.rate_policy, false) {
            Resolved::Known(number) | Resolved::Created(number) => Some(number),
            Resolved::Uncounted | Resolved::Unknown => None,
        }
    }

    fn recover_call(
        &self,
        scene: &Scene<'_>,
        replay: &Replay,
        proxies: &HashMap<u16, u16>,
        replayed: &Replayed,
        recovery: &mut Recovery,
    ) {
        let live = &replayed.record;
        if live.lease_ends_at <= scene.now.tick {
            recovery.lapsed += 1;
            return;
        }
        let trunk = self.recover_group(scene.settings, replay, NameClass::Trunk, live.trunk);
        let tenant = self.recover_group(scene.settings, replay, NameClass::Tenant, live.tenant);
        let license_type =
            replay.name(NameClass::LicenseType, live.license_type).and_then(|name| self.resources.types.number(name));
        let proxy = live.proxy.and_then(|was| proxies.get(&was)).copied();
        let mut shard = self.shard_of(live.key);
        if shard.table.find(live.key).is_some() {
            return;
        }
        let Some(place) = shard.table.add_live(live.key) else {
            recovery.dropped += 1;
            return;
        };
        // Suspect because recovered. If its proxy had restarted besides, it belongs to a generation before, and is freed
        // after the grace.
        let before = u16::from(replay.is_stale(replayed));
        let generation = proxy.map_or(0, |proxy| scene.proxies.generation(proxy).wrapping_sub(before));
        let entry = shard.table.entry_mut(place);
        entry.admitted = Step::of(live.admitted_at);
        entry.ends = Step::ending(live.lease_ends_at);
        entry.lease_s = live.lease_s;
        entry.trunk = stored(trunk);
        entry.tenant = stored(tenant);
        entry.proxy = stored(proxy);
        entry.license_type = stored(license_type);
        entry.units = live.units;
        entry.memo_cause = 0;
        entry.generation = generation;
        entry.flags = live.flags & flag::JOURNALED & !flag::EXPORT_COUNTED | flag::RECOVERED;
        entry.set_seq(live.seq);
        // Whether its last attempt paid is not known (a later one may have, or was let off): the next one does.
        entry.set(flag::NEXT_PAYS, true);
        if scene.settings.policy.mode == Mode::Enforce {
            // Shadow mode was left before the restart, or with it: the call counts like any other.
            entry.flags &= !flag::SHADOW;
        }
        if !entry.has(flag::SHADOW) {
            self.resources.count_again(scene.settings, entry, true, scene.now.tick);
        }
        let registration = entry.has(flag::REGISTRATION);
        shard.table.arm(place, scene.step);
        shard.tally.registrations_live += u32::from(registration);
        recovery.live += 1;
    }

    /// What a RELEASE announced before the restart is late behind it, for as long as it would have been.
    fn recover_tombstones(&self, scene: &Scene<'_>, replay: &Replay, recovery: &mut Recovery) {
        // Not longer than a new one: a clock that was set may say anything.
        let latest = Step::after(scene.now.tick, scene.leases().tombstone_s);
        let mut buried: Vec<_> = replay.buried.iter().map(|(key, (ends, seq))| (*ends, *key, *seq)).collect();
        // The oldest first, as they came: it is the first to go.
        buried.sort_unstable_by_key(|(ends, key, _)| (*ends, key.high, key.low));
        for (ends, key, seq) in buried {
            let ends = Step::ending(ends).min(latest);
            let mut shard = self.shard_of(key);
            if shard.table.find(key).is_none()
                && let Some((place, _)) = shard.table.add_memory(key, Memory::Tombstone, ends, scene.step)
            {
                shard.table.entry_mut(place).set_seq(seq);
                recovery.buried += 1;
            }
        }
    }

    /// A restart opens no second window: the last second's admissions are in it.
    fn recover_stamps(&self, replay: &Replay, now: Now, recovery: &mut Recovery) {
        let settings = self.settings();
        let mut stamps = replay.stamps.clone();
        stamps.sort_unstable_by_key(|(at, _, _)| *at);
        for (at, trunk, tenant) in stamps {
            settings.rate.restore(at, now.tick);
            for (class, was, groups) in [
                (NameClass::Trunk, trunk, &self.resources.trunks),
                (NameClass::Tenant, tenant, &self.resources.tenants),
            ] {
                // Also of a name that no live call has and no list: its window is the default's.
                let group = self.recover_group(&settings, replay, class, was).and_then(|number| groups.get(number));
                if let Some(window) = group.and_then(|group| group.rate.load_full()) {
                    window.restore(at, now.tick);
                }
            }
            recovery.stamps += 1;
        }
    }

    /// Lets every window start full: nothing is admitted until a second has passed. For a start whose last second is not known,
    /// because its journal was damaged or off.
    pub fn fill_windows(&self, now: Now) {
        self.settings().rate.fill(now.tick);
        for groups in [&self.resources.trunks, &self.resources.tenants] {
            groups.fill(now.tick);
        }
    }

    /// Writes a piece of one shard's snapshot to `sink`: at cursor 0 the names, then live calls, released markers and tombstones. Returns the next cursor, `None`
    /// at the end. The lock is held to copy a piece, never while `sink` runs. What changes meanwhile is in the journal, behind
    /// the snapshot's beginning, and records are absolute: replaying them over the snapshot is right whatever it caught.
    pub fn snapshot(&self, shard: usize, cursor: u64, sink: &mut dyn FnMut(&Record)) -> Option<u64> {
        let Some(place) = cursor.checked_sub(1) else {
            for record in self.name_records() {
                sink(&record);
            }
            return Some(1);
        };
        let place = u32::try_from(place).ok()?;
        let guard = self.shard(shard)?;
        let end = guard.table.places().min(place.saturating_add(PLACES_PER_PIECE));
        let released_s = self.policy().leases.released_s;
        let mut records: Vec<Record> = Vec::new();
        for place in place..end {
            match guard.table.entry(place).state {
                state::LIVE => records.push(guard.live_record(&self.proxies, place)),
                state::RELEASED => records.extend(released_records(guard.table.entry(place), released_s)),
                state::TOMBSTONE => records.push(buried_record(guard.table.entry(place))),
                _ => {}
            }
        }
        let more = end < guard.table.places();
        drop(guard);
        for record in &records {
            sink(record);
        }
        more.then(|| u64::from(end) + 1)
    }

    fn name_records(&self) -> Vec<Record> {
        let mut records = vec![Record::SnapshotBegin];
        for (class, groups) in
            [(NameClass::Trunk, &self.resources.trunks), (NameClass::Tenant, &self.resources.tenants)]
        {
            records.extend(groups.iter().map(|(number, group)| Record::Name {
                class,
                number,
                name: group.name.clone(),
            }));
        }
        records.extend(self.resources.types.names().map(|(number, name)| Record::Name {
            class: NameClass::LicenseType,
            number,
            name: name.as_bytes().into(),
        }));
        for (proxy, name, epoch) in self.proxies.names() {
            records.push(Record::Name { class: NameClass::Proxy, number: proxy, name });
            records.extend(epoch.map(|(epoch, at)| Record::ProxyEpoch { proxy, epoch, at }));
        }
        records
    }
}

/// A tombstone.
pub(super) const fn buried_record(entry: &Entry) -> Record {
    Record::Buried { key: entry.key, ends_at: entry.ends.tick(), seq: entry.seq() }
}

/// A released marker, as the two records that make one.
fn released_records(entry: &Entry, released_s: u32) -> [Record; 2] {
    let at = Tick(entry.ends.tick().0.saturating_sub(u64::from(released_s) * NANOS_PER_SECOND));
    let live =
        LiveRecord { key: entry.key, admitted_at: at, lease_ends_at: at, seq: entry.seq(), ..LiveRecord::default() };
    [Record::Live(live), Record::Ended { key: entry.key, at, released: true }]
}

impl<J: Journal> Shard<J> {
    /// A live call, whole.
    fn live_record(&self, proxies: &Proxies, place: u32) -> Record {
        let entry = self.table.entry(place);
        let stale = number(entry.proxy).is_some_and(|proxy| proxies.generation(proxy) != entry.generation);
        Record::Live(LiveRecord {
            key: entry.key,
            admitted_at: entry.admitted.tick(),
            lease_ends_at: entry.ends.tick(),
            seq: entry.seq(),
            lease_s: entry.lease_s,
            trunk: number(entry.trunk),
            tenant: number(entry.tenant),
            proxy: number(entry.proxy),
            license_type: number(entry.license_type),
            units: entry.units,
            // Its stamp, if recent, stands in the journal with its exact instant.
            flags: entry.flags & flag::JOURNALED | if stale { FLAG_SUSPECT } else { FLAG_HEARD },
        })
    }

    /// Journals a live call whole: what changed is in no smaller record.
    pub(super) fn journal_live(&mut self, scene: &Scene<'_>, place: u32) {
        let record = self.live_record(scene.proxies, place);
        self.journal.append(&record);
    }
}
