//! One shard of the gate: its table, counters and journal, owned by whoever holds its lock.

use rand::Rng;
use rand::rngs::SmallRng;

use super::entry::{Step, flag, number, state, stored};
use super::policy::Leases;
use super::pools::{NodePool, OfferedTotal};
use super::proxies::Proxies;
use super::record::{FLAG_RATE_TAKEN, Journal, LiveRecord, Record};
use super::request::{Admit, Cause, Decision, Kind};
use super::resources::{Held, Resources, Settings};
use super::table::{Memory, Table};
use crate::limits::Verdict;
use crate::units::{CallKey, Now, Tick};

/// What deciding needs besides the shard: one snapshot for a whole batch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scene<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) resources: &'a Resources,
    pub(crate) proxies: &'a Proxies,
    pub(crate) verdict: Verdict,
    pub(crate) draining: bool,
    pub(crate) now: Now,
    pub(crate) step: Step,
}

impl Scene<'_> {
    pub(crate) fn leases(&self) -> &Leases {
        &self.settings.policy.leases
    }
}

/// The numbers of the names in an ADMIT; made before the shard is locked, because a new name is journaled in every shard.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Names {
    pub(crate) trunk: Option<u16>,
    pub(crate) tenant: Option<u16>,
    pub(crate) proxy: Option<u16>,
    pub(crate) license_type: Option<u16>,
    /// A name that strictness refuses, or a type that the profile doesn't have.
    pub(crate) refused: Option<Cause>,
}

/// Counters of one shard, since start.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tally {
    pub(crate) registrations_live: u32,
    pub(crate) admitted: u64,
    pub(crate) emergency: u64,
    pub(crate) forced: u64,
    pub(crate) untracked: u64,
    pub(crate) refused: [u64; Cause::COUNT],
    pub(crate) would_refuse: [u64; Cause::COUNT],
    pub(crate) duplicates: u64,
    pub(crate) refusals_repeated: u64,
    pub(crate) reattempts: u64,
    pub(crate) confirmed: u64,
    pub(crate) released: u64,
    pub(crate) released_unknown: u64,
    pub(crate) lapsed: u64,
    pub(crate) suspects_freed: u64,
    pub(crate) resync_released: u64,
    pub(crate) resync_adopted: u64,
    pub(crate) memories_evicted: u64,
    pub(crate) id_texts_dropped: u64,
    /// What was asked of the pools that nodes may share, by [`NodePool::index`].
    offered: Vec<OfferedTotal>,
}

impl Tally {
    /// Counts what was asked of a pool, and what of it was refused for want of units.
    pub(super) fn offer(&mut self, pool: NodePool, attempts: u16, refused: u16) {
        let index = pool.index();
        if index >= self.offered.len() {
            self.offered.resize(index + 1, OfferedTotal::default());
        }
        if let Some(offered) = self.offered.get_mut(index) {
            offered.attempts += u64::from(attempts);
            offered.refused += u64::from(refused);
        }
    }

    /// Counts what a call was refused for.
    pub(super) fn wanted(&mut self, cause: Cause, license_type: Option<u16>, units: u16) {
        if let Some(pool) = NodePool::refused_by(cause, license_type) {
            let units = if matches!(pool, NodePool::Type(_)) { units } else { 1 };
            self.offer(pool, units, units);
        }
    }

    /// Counts what a call took.
    pub(super) fn took(&mut self, held: &Held, license_type: Option<u16>, units: u16) {
        if held.rate_taken {
            self.offer(NodePool::Rate, 1, 0);
        }
        if held.flags & flag::EXPORT_COUNTED != 0 {
            let webrtc = held.flags & flag::WEBRTC_COUNTED != 0;
            self.offer(if webrtc { NodePool::Webrtc } else { NodePool::Export }, 1, 0);
        }
        if held.flags & flag::TYPE_COUNTED != 0
            && let Some(number) = license_type
        {
            self.offer(NodePool::Type(number), units, 0);
        }
    }

    /// What was asked of a pool since the start.
    pub(super) fn offered(&self, pool: NodePool) -> OfferedTotal {
        self.offered.get(pool.index()).copied().unwrap_or_default()
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Shard<J> {
    pub(crate) table: Table,
    pub(crate) tally: Tally,
    pub(crate) journal: J,
    /// The latest instant at which anything was decided here.
    pub(crate) latest: Tick,
    rng: SmallRng,
    /// The ids' texts of the first places, as long as people may want to read them.
    texts: Vec<Vec<u8>>,
    texts_max: usize,
}

/// How an entry left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Its proxy (or an operator) released it.
    Released,
    /// Its lease ended.
    Lapsed,
    /// It stayed suspect.
    Suspect,
    /// A RESYNC did not name it.
    Resynced,
}

impl<J: Journal> Shard<J> {
    pub(crate) fn new(table: Table, journal: J, rng: SmallRng, texts_max: usize) -> Self {
        Self { table, tally: Tally::default(), journal, latest: Tick(0), rng, texts: Vec::new(), texts_max }
    }

    /// The entry of a key, unless it is a memory whose time is over.
    pub(crate) fn lookup(&mut self, key: CallKey, step: Step) -> Option<u32> {
        let place = self.table.find(key)?;
        let entry = self.table.entry(place);
        if !entry.is_live() && entry.ends <= step {
            self.table.remove(place);
            return None;
        }
        Some(place)
    }

    /// The id's text of an entry, if kept.
    pub(crate) fn text(&self, place: u32) -> Option<&[u8]> {
        self.texts.get(usize::try_from(place).ok()?).map(Vec::as_slice).filter(|text| !text.is_empty())
    }

    fn keep_text(&mut self, place: u32, id: &[u8]) {
        let Ok(place) = usize::try_from(place) else { return };
        if place >= self.texts_max {
            self.tally.id_texts_dropped += 1;
            return;
        }
        if place >= self.texts.len() {
            self.texts.resize_with(place + 1, Vec::new);
        }
        if let Some(text) = self.texts.get_mut(place) {
            text.clear();
            text.extend_from_slice(id);
        }
    }

    /// Makes a call live with what it holds, and journals it. `None`: the table is full.
    pub(crate) fn open(&mut self, scene: &Scene<'_>, opening: &Opening<'_>) -> Option<u32> {
        let place = match opening.memory {
            Some(place) => self.table.revive(place).then_some(place)?,
            None => self.table.add_live(opening.key)?,
        };
        let ends = Step::after(scene.now.tick, opening.lease_s);
        let names = opening.names;
        let generation = names.proxy.map_or(0, |proxy| scene.proxies.generation(proxy));
        let entry = self.table.entry_mut(place);
        entry.ends = ends;
        entry.admitted = scene.step;
        entry.lease_s = opening.lease_s;
        entry.trunk = stored(names.trunk);
        entry.tenant = stored(names.tenant);
        entry.proxy = stored(names.proxy);
        entry.license_type = stored(names.license_type);
        entry.units = opening.units;
        entry.flags = opening.flags | opening.held.flags;
        entry.set(flag::NEXT_PAYS, !opening.held.rate_taken);
        entry.drawn_tier = opening.held.tier;
        entry.memo_cause = opening.held.forced;
        entry.generation = generation;
        entry.resync = opening.resync;
        entry.set_seq(opening.seq);
        let record = LiveRecord {
            key: opening.key,
            admitted_at: scene.now.tick,
            lease_ends_at: ends.tick(),
            seq: opening.seq,
            lease_s: opening.lease_s,
            trunk: names.trunk,
            tenant: names.tenant,
            proxy: names.proxy,
            license_type: names.license_type,
            units: opening.units,
            flags: entry.flags & flag::JOURNALED | if opening.held.rate_taken { FLAG_RATE_TAKEN } else { 0 },
        };
        let registration = entry.has(flag::REGISTRATION);
        self.table.arm(place, scene.step);
        self.journal.append(&Record::Live(record));
        if registration {
            self.tally.registrations_live += 1;
        }
        self.keep_text(place, opening.id);
        Some(place)
    }

    /// Ends a live call: frees what it holds, journals it, and remembers a release.
    pub(crate) fn close(&mut self, scene: &Scene<'_>, place: u32, exit: Exit, seq: Option<u32>) {
        let entry = *self.table.entry(place);
        scene.resources.release(&entry);
        let released = exit == Exit::Released;
        if released && seq > entry.seq() {
            // The marker's number, which a restart must know too, is the release's.
            self.table.entry_mut(place).set_seq(seq);
            self.journal_lease(scene, place);
        }
        self.journal.append(&Record::Ended { key: entry.key, at: scene.now.tick, released });
        if entry.has(flag::REGISTRATION) {
            self.tally.registrations_live = self.tally.registrations_live.saturating_sub(1);
        }
        if let Some(text) = usize::try_from(place).ok().and_then(|place| self.texts.get_mut(place)) {
            text.clear();
        }
        let key = entry.key;
        match exit {
            Exit::Released => {
                self.tally.released += 1;
                let ends = Step::after(scene.now.tick, scene.leases().released_s);
                let kept = entry.flags & (flag::HAS_SEQ | flag::NEXT_PAYS);
                let last = entry.seq().max(seq);
                let memory = self.table.entry_mut(place);
                memory.flags = kept;
                memory.set_seq(last);
                if self.table.remember(place, Memory::Released, ends, scene.step) {
                    self.tally.memories_evicted += 1;
                }
            }
            Exit::Lapsed => {
                self.tally.lapsed += 1;
                self.table.remove(place);
            }
            Exit::Suspect => {
                self.tally.suspects_freed += 1;
                self.table.remove(place);
            }
            Exit::Resynced => {
                self.tally.resync_released += 1;
                self.table.remove(place);
            }
        }
        if entry.has(flag::HAS_MEMO) {
            self.hand_over_attempt(key, scene.step);
        }
    }

    /// Gives a live call a new lease from now on, and journals it.
    pub(crate) fn renew(&mut self, scene: &Scene<'_>, place: u32, lease_s: u32) {
        let ends = Step::after(scene.now.tick, lease_s);
        self.table.rearm(place, ends, scene.step);
        self.table.entry_mut(place).lease_s = lease_s;
        self.trust(scene, place);
        self.journal_lease(scene, place);
    }

    pub(crate) fn journal_lease(&mut self, scene: &Scene<'_>, place: u32) {
        let entry = self.table.entry(place);
        let record = Record::Lease {
            key: entry.key,
            at: scene.now.tick,
            lease_ends_at: entry.ends.tick(),
            lease_s: entry.lease_s,
            confirmed: entry.has(flag::CONFIRMED),
            seq: entry.seq(),
        };
        self.journal.append(&record);
    }

    /// Its proxy spoke of it: it is not suspect any more, nor after a restart.
    pub(crate) fn heard_of(&mut self, scene: &Scene<'_>, place: u32) {
        let was_suspect = self.is_suspect(scene, place);
        self.trust(scene, place);
        if was_suspect {
            self.journal_lease(scene, place);
        }
    }

    /// The same, where a record is written anyway.
    fn trust(&mut self, scene: &Scene<'_>, place: u32) {
        let proxy = number(self.table.entry(place).proxy);
        let generation = proxy.map_or(0, |proxy| scene.proxies.generation(proxy));
        let entry = self.table.entry_mut(place);
        entry.generation = generation;
        entry.flags &= !flag::RECOVERED;
    }

    /// Remembers a refusal: in the memory that is there, or in one of its own.
    pub(crate) fn remember_refusal(
        &mut self,
        scene: &Scene<'_>,
        key: CallKey,
        memory: Option<u32>,
        seq: Option<u32>,
        decision: Decision,
    ) {
        let ends = Step::after(scene.now.tick, scene.leases().refusal_s);
        let place = match memory {
            // A released call's memory goes on, and holds the refusal besides; an older refusal's is replaced.
            Some(place) if self.table.entry(place).state != state::REFUSED => place,
            other => {
                if let Some(place) = other {
                    self.table.remove(place);
                }
                let Some((place, evicted)) = self.table.add_memory(key, Memory::Refused, ends, scene.step) else {
                    return;
                };
                self.tally.memories_evicted += u64::from(evicted);
                place
            }
        };
        let entry = self.table.entry_mut(place);
        entry.admitted = ends;
        entry.memo_cause = decision.cause.code();
        entry.memo_seq = seq.unwrap_or(0);
        entry.lease_s = u32::from(decision.retry_after_s);
        entry.set(flag::MEMO_HAS_SEQ, seq.is_some());
        entry.set(flag::HAS_MEMO, true);
    }

    /// Remembers that a later attempt of a live call was refused. The call's entry has no room for it: it is a memory of its own, beside the call.
    pub(crate) fn remember_attempt(&mut self, scene: &Scene<'_>, place: u32, seq: Option<u32>, decision: Decision) {
        let beside = beside(self.table.entry(place).key);
        let memory = self.lookup(beside, scene.step);
        self.remember_refusal(scene, beside, memory, seq, decision);
        self.table.entry_mut(place).set(flag::HAS_MEMO, true);
    }

    /// The refusal of this later attempt of a live call, if its time is not over.
    pub(crate) fn remembered_attempt(&mut self, scene: &Scene<'_>, place: u32, seq: Option<u32>) -> Option<Decision> {
        let entry = self.table.entry(place);
        if !entry.has(flag::HAS_MEMO) {
            return None;
        }
        let memory = self.lookup(beside(entry.key), scene.step)?;
        self.remembered_refusal(scene, memory, seq)
    }

    /// What was remembered beside a call that has ended goes on where its id is looked up now: in its marker, or by itself.
    fn hand_over_attempt(&mut self, key: CallKey, step: Step) {
        let Some(memory) = self.lookup(beside(key), step) else { return };
        let Some(marker) = self.table.find(key) else {
            self.table.rename(memory, key);
            return;
        };
        let memo = *self.table.entry(memory);
        self.table.remove(memory);
        let marker = self.table.entry_mut(marker);
        marker.admitted = memo.admitted;
        marker.memo_cause = memo.memo_cause;
        marker.memo_seq = memo.memo_seq;
        marker.lease_s = memo.lease_s;
        marker.flags |= memo.flags & (flag::HAS_MEMO | flag::MEMO_HAS_SEQ);
    }

    /// The refusal that a memory holds for this attempt, if its time is not over.
    pub(crate) fn remembered_refusal(&self, scene: &Scene<'_>, place: u32, seq: Option<u32>) -> Option<Decision> {
        let entry = self.table.entry(place);
        let memo_seq = entry.has(flag::MEMO_HAS_SEQ).then_some(entry.memo_seq);
        if !entry.has(flag::HAS_MEMO) || entry.admitted <= scene.step || memo_seq != seq {
            return None;
        }
        let cause = Cause::from_code(entry.memo_cause)?;
        Some(Decision {
            admitted: false,
            cause,
            sip_status: scene.settings.policy.refusal(cause).sip_status,
            retry_after_s: u16::try_from(entry.lease_s).unwrap_or(u16::MAX),
            lease_s: 0,
        })
    }

    /// A refusal of this cause, with a Retry-After of its own.
    pub(crate) fn refusal(&mut self, scene: &Scene<'_>, cause: Cause) -> Decision {
        let told = scene.settings.policy.refusal(cause);
        let retry_after_s = match told.retry_after_s {
            None => 0,
            Some(least) if told.retry_spread_s == 0 => least,
            Some(least) => least.saturating_add(self.rng.random_range(0..=told.retry_spread_s)),
        };
        Decision { admitted: false, cause, sip_status: told.sip_status, retry_after_s, lease_s: 0 }
    }
}

/// Where the refusal of a later attempt stands while the call lives: under a key that is no id's, found in the call's shard alone.
const fn beside(key: CallKey) -> CallKey {
    CallKey { high: !key.high, low: !key.low }
}

/// What [`Shard::open`] makes an entry from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Opening<'a> {
    pub(crate) key: CallKey,
    pub(crate) id: &'a [u8],
    /// The memory that becomes the entry.
    pub(crate) memory: Option<u32>,
    pub(crate) names: Names,
    pub(crate) seq: Option<u32>,
    pub(crate) units: u16,
    pub(crate) lease_s: u32,
    pub(crate) flags: u16,
    pub(crate) held: &'a Held,
    pub(crate) resync: u16,
}

impl<'a> Opening<'a> {
    /// What an ADMIT says of its call; memory, lease and flags are the decision's.
    pub(crate) fn of(key: CallKey, admit: &Admit<'a>, names: &Names, held: &'a Held) -> Self {
        Self {
            key,
            id: admit.id.bytes(),
            memory: None,
            names: *names,
            seq: admit.seq,
            units: admit.units,
            lease_s: 0,
            flags: 0,
            held,
            resync: 0,
        }
    }
}

/// The lease that an ADMIT asks for, in seconds. A TTL of 0 is none, and the default counts.
pub(crate) fn lease_of(admit: &Admit<'_>, leases: &Leases) -> u32 {
    match (admit.kind, admit.ttl_s) {
        (Kind::Call, None | Some(0)) => leases.setup_s,
        (Kind::Call, Some(ttl)) => ttl,
        (Kind::Registration, ttl) => ttl.unwrap_or(3600).saturating_add(leases.registration_grace_s),
    }
    .min(super::entry::LEASE_SECONDS_MAX)
}
