//! The gate: decides requests in batches, and is resized, housekept and asked about by other threads meanwhile.
//!
//! An id's entry has one owner at a time: the holder of its shard's lock, held for a few decisions, never across IO. Everything
//! that shards share is atomics. A batch is hashed and prefetched before it is decided, because memory latency is what a decision
//! costs. What must stay true: rules 1 to 9 of the interface, whatever the order of messages; each limit at each admission.

use std::sync::Arc;

use arc_swap::ArcSwap;
use crossbeam_utils::CachePadded;
use rand::SeedableRng;
use rand::rngs::SmallRng;

use super::entry::Step;
use super::groups::{Groups, Resolved};
use super::housekeep::{Sweep, Watches};
use super::license_types::LicenseTypes;
use super::policy::{Bounds, GroupLimits, Policy};
use super::pools::{Loans, NodePool, Watch};
use super::proxies::Proxies;
use super::record::{Journal, NameClass, Record};
use super::request::{Admit, Answer, Cause, Decision, Name, Request};
use super::resources::{Resources, Settings, export_leases};
use super::shard::{Names, Scene, Shard};
use super::table::Table;
use crate::limits::{LeasedWatermark, VerdictCell};
use crate::sync::{AtomicBool, AtomicU32, Mutex, MutexGuard, Ordering};
use crate::units::{CallKey, HashKey, Now, Tick};

/// Requests that are hashed and fetched together.
const BATCH: usize = 16;

/// Names one open RESYNC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ResyncToken(pub u64);

/// What a finished RESYNC did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ResyncOutcome {
    /// Named, and live.
    pub kept: u32,
    /// Named, and not known before: now live.
    pub adopted: u32,
    /// Not named, admitted before BEGIN: now free.
    pub released: u32,
}

/// Why a RESYNC command was refused. Nothing changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ResyncError {
    /// The token isn't open: never was, ended, or was aborted after its time.
    #[error("no such resync: the token was never given, has ended, or was aborted after its time; begin again")]
    UnknownToken,
    /// The table of proxies, or the table of calls, is full.
    #[error("a table is full: too many proxies' names, or too many calls; begin again when there is room")]
    Full,
}

/// Why a policy was not put in force. Nothing changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PolicyRefused {
    /// It has other license types, or the same in another order of tiers.
    #[error("the set of license types and their tiers is fixed while the sidecar runs; restart it to change them")]
    LicenseTypes,
    /// It lists more trunks or tenants than have a place beside those that are in use.
    #[error(
        "the {class} table has no room for all listed names beside those in use; restart to empty it, or list fewer"
    )]
    Groups {
        /// `trunk` or `tenant`.
        class: &'static str,
    },
    /// Its call rate is above what the window was made for.
    #[error(
        "the call rate {found} is above the bound of {max} that this process was started with; restart it to raise that"
    )]
    Rate {
        /// What it asks for, in calls per second.
        found: u32,
        /// The bound.
        max: u32,
    },
}

/// Answers requests from memory. `Sync`: any thread may call any method.
///
/// ```
/// use callgate::admission::{Admit, Bounds, CallId, Gate, Policy};
/// use callgate::units::{HashKey, Now, Tick, UnixMillis};
///
/// let gate: Gate<()> = Gate::new(Policy::default(), Bounds::default(), HashKey::from_bytes([7; 16]), 1, vec![()]);
/// let now = Now { tick: Tick::from_secs(10), wall: UnixMillis(0) };
/// let decision = gate.admit(&Admit::call(CallId::new(b"a84b4c76e66710@pc33").unwrap()), now);
/// assert!(decision.admitted);
/// ```
#[derive(Debug)]
pub struct Gate<J: Journal = ()> {
    shards: Box<[CachePadded<Mutex<Shard<J>>>]>,
    settings: ArcSwap<Settings>,
    pub(super) resources: Resources,
    pub(super) proxies: Proxies,
    verdict: VerdictCell,
    draining: AtomicBool,
    hash_key: HashKey,
    pub(super) bounds: Bounds,
    /// What the cluster gave. Held while limits change, so that neither a reload nor a loan is lost.
    pub(super) loans: Mutex<Loans>,
    pub(super) sweep: Mutex<Sweep>,
    pub(super) watches: Mutex<Watches>,
    /// The most admissions in a second, as housekeeping saw it.
    pub(super) rate_peak: AtomicU32,
    /// The same since [`Gate::take_usage`] last looked.
    pub(super) rate_peak_since_look: AtomicU32,
}

/// A bound on a shard's share of `total`: even shares, and six standard deviations of a random spread.
fn share(total: u32, shards: usize) -> u32 {
    let shards = u32::try_from(shards.max(1)).unwrap_or(u32::MAX);
    if shards == 1 {
        return total;
    }
    let even = total / shards;
    even.saturating_add(even.isqrt().saturating_mul(6)).saturating_add(1).min(total)
}

impl<J: Journal> Gate<J> {
    /// A gate. `journals` holds one journal per shard, `bounds.shards` of them, a power of two (their number counts, if it differs);
    /// `seed` starts the random part of Retry-After.
    ///
    /// # Panics
    /// If their number is no power of two: a mistake of the program that calls.
    #[must_use]
    pub fn new(policy: Policy, bounds: Bounds, hash_key: HashKey, seed: u64, journals: Vec<J>) -> Self {
        assert!(journals.len().is_power_of_two(), "{} journals: a gate has 1, 2, 4, 8 ... shards", journals.len());
        let shards = journals.len();
        let texts_max = usize::try_from(share(bounds.id_texts_max, shards)).unwrap_or(usize::MAX);
        let mut seeds = SmallRng::seed_from_u64(seed);
        let shards = journals
            .into_iter()
            .map(|journal| {
                let table = Table::new(share(bounds.calls_max, shards), share(bounds.memories_max, shards));
                let rng = SmallRng::from_rng(&mut seeds);
                CachePadded::new(Mutex::new(Shard::new(table, journal, rng, texts_max)))
            })
            .collect();
        let loans = Loans::new(policy.license_types.len());
        let (plain, webrtc) = export_leases(policy.export_control.as_ref(), &loans);
        let resources = Resources {
            watermark: LeasedWatermark::new(plain, webrtc, loans.latch()),
            watch: Watch::new(policy.license_types.len()),
            types: LicenseTypes::new(&policy.license_types),
            trunks: Groups::new(bounds.groups_max, seed),
            tenants: Groups::new(bounds.groups_max, seed.rotate_left(32)),
        };
        let settings = Settings::new(policy, bounds.rate_max);
        let gate = Self {
            shards,
            settings: ArcSwap::from_pointee(settings),
            resources,
            proxies: Proxies::new(bounds.proxies_max, seed.rotate_left(16)),
            verdict: VerdictCell::default(),
            draining: AtomicBool::new(false),
            hash_key,
            bounds,
            loans: Mutex::new(loans),
            sweep: Mutex::new(Sweep::default()),
            watches: Mutex::new(Watches::default()),
            rate_peak: AtomicU32::new(0),
            rate_peak_since_look: AtomicU32::new(0),
        };
        let policy = gate.policy();
        for (groups, listed) in [(&gate.resources.trunks, &policy.trunks), (&gate.resources.tenants, &policy.tenants)] {
            for (name, limits) in listed {
                groups.create(name.as_bytes(), *limits, policy.rate_policy, true);
            }
        }
        gate
    }

    /// Decides a batch, in order: `answer` gets one answer per request, in the requests' order.
    pub fn run(&self, requests: &[Request<'_>], now: Now, mut answer: impl FnMut(Answer)) {
        for batch in requests.chunks(BATCH) {
            let settings = self.settings.load();
            let scene = self.scene(&settings, now);
            let mut keys = [CallKey::default(); BATCH];
            for (key, request) in keys.iter_mut().zip(batch) {
                *key = self.hash_key.hash(request.id().bytes());
            }
            if let [shard] = &*self.shards {
                // Names first: a new one is journaled under the lock.
                let mut names = [Names::default(); BATCH];
                for (names, request) in names.iter_mut().zip(batch) {
                    *names = self.names(&scene, request);
                }
                let mut shard = shard.lock();
                // Again, under the lock: a reload that is through with this shard must not be passed by older settings.
                let settings = self.settings.load();
                shard.latest = shard.latest.max(now.tick);
                let scene = self.scene(&settings, now);
                prefetch(&shard, keys.get(..batch.len()).unwrap_or_default());
                for ((key, names), request) in keys.iter().zip(&names).zip(batch) {
                    answer(decide(&mut shard, &scene, *key, request, names));
                }
            } else {
                for (key, request) in keys.iter().zip(batch) {
                    let names = self.names(&scene, request);
                    let mut shard = self.shard_of(*key);
                    let settings = self.settings.load();
                    shard.latest = shard.latest.max(now.tick);
                    answer(decide(&mut shard, &self.scene(&settings, now), *key, request, &names));
                }
            }
        }
    }

    /// Decides one ADMIT.
    pub fn admit(&self, admit: &Admit<'_>, now: Now) -> Decision {
        let settings = self.settings.load();
        let scene = self.scene(&settings, now);
        let key = self.hash_key.hash(admit.id.bytes());
        let names = self.names_of(&scene, admit);
        let mut shard = self.shard_of(key);
        let settings = self.settings.load();
        shard.latest = shard.latest.max(now.tick);
        shard.admit(&self.scene(&settings, now), key, admit, &names)
    }

    /// The licensing verdict that this gate reads; the agent writes it.
    #[must_use]
    pub const fn verdict(&self) -> &VerdictCell {
        &self.verdict
    }

    /// The settings in force.
    #[must_use]
    pub fn policy(&self) -> Arc<Policy> {
        Arc::clone(&self.settings.load().policy)
    }

    /// Refuses every new call, or stops doing so.
    pub fn set_draining(&self, draining: bool) {
        // Relaxed: a batch that has begun may still admit; draining is no barrier.
        self.draining.store(draining, Ordering::Relaxed);
    }

    /// Whether every new call is refused.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Puts new settings in force. Drops no call.
    ///
    /// # Errors
    /// If it changes what is fixed while the process runs; nothing changes then.
    pub fn set_policy(&self, policy: Policy, now: Now) -> Result<(), PolicyRefused> {
        if !self.resources.types.same_shape(&policy.license_types) {
            return Err(PolicyRefused::LicenseTypes);
        }
        let loans = self.loans.lock();
        // What the cluster gives stays within the bound by itself.
        let own_rate = policy.rate.filter(|_| loans.of(NodePool::Rate).is_none());
        if let Some(rate) = own_rate.filter(|rate| *rate > self.bounds.rate_max) {
            return Err(PolicyRefused::Rate { found: rate.get(), max: self.bounds.rate_max.get() });
        }
        for (class, groups, listed) in
            [("trunk", &self.resources.trunks, &policy.trunks), ("tenant", &self.resources.tenants, &policy.tenants)]
        {
            if !groups.have_room_for(listed.keys()) {
                return Err(PolicyRefused::Groups { class });
            }
        }
        let before = self.settings.load_full();
        let known = (self.resources.trunks.len(), self.resources.tenants.len());
        for (groups, outgrown) in self.resources.configure(&policy, before.policy.rate_policy, &loans, now.tick) {
            for group in outgrown {
                self.alone(now.tick, |now| groups.replace(group, policy.rate_policy, now));
            }
        }
        self.alone(now.tick, |now| {
            self.settings.store(Arc::new(before.succeed(policy, self.bounds.rate_max, &loans, now)));
        });
        self.journal_new_groups(known);
        // Calls that went uncounted so far (export control was off, or shadow mode on) count from now on.
        self.count_all_again(now);
        drop(loans);
        Ok(())
    }

    /// Changes what can't be changed under those who decide: a window for another one. All shards' locks are held, as shortly as
    /// that takes; `change` is told the latest instant at which anybody decided so far.
    fn alone(&self, now: Tick, change: impl FnOnce(Tick)) {
        // Always in this order, and nobody else holds more than one.
        let shards: Vec<_> = self.shards.iter().map(|shard| shard.lock()).collect();
        change(shards.iter().map(|shard| shard.latest).fold(now, Tick::max));
    }

    fn journal_new_groups(&self, (trunks, tenants): (usize, usize)) {
        let groups =
            [(NameClass::Trunk, &self.resources.trunks, trunks), (NameClass::Tenant, &self.resources.tenants, tenants)];
        for (class, groups, known) in groups {
            for (number, group) in groups.iter().filter(|(number, _)| usize::from(*number) >= known) {
                self.journal_name(class, number, &group.name);
            }
        }
    }

    pub(super) fn scene<'a>(&'a self, settings: &'a Settings, now: Now) -> Scene<'a> {
        Scene {
            settings,
            resources: &self.resources,
            proxies: &self.proxies,
            verdict: self.verdict.get(),
            draining: self.is_draining(),
            now,
            step: Step::of(now.tick),
        }
    }

    pub(super) fn settings(&self) -> arc_swap::Guard<Arc<Settings>> {
        self.settings.load()
    }

    pub(super) fn key(&self, id: &[u8]) -> CallKey {
        self.hash_key.hash(id)
    }

    /// How many shards there are.
    #[must_use]
    pub fn shards(&self) -> usize {
        self.shards.len()
    }

    pub(super) fn shard(&self, number: usize) -> Option<MutexGuard<'_, Shard<J>>> {
        self.shards.get(number).map(|shard| shard.lock())
    }

    /// The shard that owns a key, locked.
    pub(super) fn shard_of(&self, key: CallKey) -> MutexGuard<'_, Shard<J>> {
        let mask = self.shards.len() - 1;
        // The index uses the high half; the low bits of the low half are free.
        let number = usize::try_from(key.low & 0xffff).unwrap_or(0) & mask;
        self.shards[number].lock()
    }

    /// Runs `with` on one shard's journal, under the shard's lock. `None` if there is no such shard.
    pub fn with_journal<R>(&self, shard: usize, with: impl FnOnce(&mut J) -> R) -> Option<R> {
        self.shard(shard).map(|mut shard| with(&mut shard.journal))
    }

    // --- names ---

    fn names(&self, scene: &Scene<'_>, request: &Request<'_>) -> Names {
        match request {
            Request::Admit(admit) => self.names_of(scene, admit),
            Request::Confirm { .. } | Request::Release { .. } | Request::Refresh { .. } => Names::default(),
        }
    }

    fn names_of(&self, scene: &Scene<'_>, admit: &Admit<'_>) -> Names {
        let policy = &scene.settings.policy;
        let mut names = Names { license_type: policy.default_type(admit.kind), ..Names::default() };
        if let Some(name) = admit.license_type {
            names.license_type = self.resources.types.number(name.bytes());
            if names.license_type.is_none() {
                // There is no license of it, and there will be none however long the caller waits.
                names.refused = Some(Cause::UnknownType);
            }
        }
        let group = |groups: &Groups, name: Option<Name<'_>>, default: GroupLimits, class, unknown| {
            let Some(name) = name else { return (None, None) };
            match groups.resolve(name.bytes(), default, policy.rate_policy, policy.strict_trunks) {
                Resolved::Known(number) => (Some(number), None),
                Resolved::Created(number) => {
                    self.journal_name(class, number, name.bytes());
                    (Some(number), None)
                }
                Resolved::Uncounted => (None, None),
                Resolved::Unknown => (None, Some(unknown)),
            }
        };
        let trunks = &self.resources.trunks;
        let (trunk, refused) = group(trunks, admit.trunk, policy.trunk_default, NameClass::Trunk, Cause::UnknownTrunk);
        names.trunk = trunk;
        names.refused = names.refused.or(refused);
        let tenants = &self.resources.tenants;
        let (tenant, refused) =
            group(tenants, admit.tenant, policy.tenant_default, NameClass::Tenant, Cause::UnknownTenant);
        names.tenant = tenant;
        names.refused = names.refused.or(refused);
        names.proxy = admit.proxy.and_then(|name| self.proxy_number(name));
        names
    }

    /// A proxy's number; a new name is journaled.
    pub(super) fn proxy_number(&self, name: Name<'_>) -> Option<u16> {
        let (number, new) = self.proxies.number(name.bytes())?;
        if new {
            self.journal_name(NameClass::Proxy, number, name.bytes());
        }
        Some(number)
    }

    fn journal_name(&self, class: NameClass, number: u16, name: &[u8]) {
        let record = Record::Name { class, number, name: name.into() };
        for shard in &self.shards {
            shard.lock().journal.append(&record);
        }
    }
}

/// Fetches what a batch will touch, in three waves.
fn prefetch<J: Journal>(shard: &Shard<J>, keys: &[CallKey]) {
    if keys.len() < 2 {
        return; // nothing to overlap with
    }
    for key in keys {
        shard.table.prefetch_index(*key);
    }
    let mut places = [None; BATCH];
    for (place, key) in places.iter_mut().zip(keys) {
        *place = shard.table.prefetch_entry(*key);
    }
    for place in places.into_iter().flatten() {
        shard.table.prefetch_neighbours(place);
    }
}

fn decide<J: Journal>(
    shard: &mut Shard<J>,
    scene: &Scene<'_>,
    key: CallKey,
    request: &Request<'_>,
    names: &Names,
) -> Answer {
    match request {
        Request::Admit(admit) => Answer::Decision(shard.admit(scene, key, admit, names)),
        Request::Confirm { seq, ttl_s, .. } => Answer::Known(shard.confirm(scene, key, *seq, *ttl_s)),
        Request::Release { seq, .. } => Answer::Known(shard.release(scene, key, *seq)),
        Request::Refresh { .. } => Answer::Known(shard.refresh(scene, key)),
    }
}
