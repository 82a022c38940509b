//! Trunks and tenants: registries by name, each with its own calls per second and concurrent sessions.
//!
//! A name gets a number once and keeps it for the life of the process; entries and journal records hold the number. Bounded: where the
//! registry is full, further unlisted names share one group with the default limits.

use std::sync::OnceLock;

use arc_swap::ArcSwapOption;
use dashmap::DashMap;
use xxhash_rust::xxh3::Xxh3Builder;

use super::policy::GroupLimits;
use crate::limits::{Pool, RatePolicy, RateWindow};
use crate::sync::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use crate::units::{Cps, NANOS_PER_SECOND, Tick};

/// The name that unlisted names share once the registry is full.
const OVERFLOW: &[u8] = b"(other)";

/// One trunk or tenant.
#[derive(Debug)]
pub(crate) struct Group {
    /// Its name.
    pub(crate) name: Box<[u8]>,
    /// Its calls per second; `None` is not limited.
    pub(crate) rate: ArcSwapOption<RateWindow>,
    /// The most admissions in a second, as housekeeping saw it.
    pub(crate) rate_peak: AtomicU32,
    /// Its concurrent sessions, counted also where not limited.
    pub(crate) sessions: Pool,
    /// It stands in the configuration.
    listed: AtomicBool,
}

impl Group {
    fn new(name: &[u8], limits: GroupLimits, policy: RatePolicy, listed: bool) -> Self {
        Self {
            name: name.into(),
            rate: ArcSwapOption::from_pointee(
                limits.cps.map(|cps| RateWindow::new(cps, room_for(cps, policy), policy)),
            ),
            rate_peak: AtomicU32::new(0),
            sessions: Pool::new(limits.sessions),
            listed: AtomicBool::new(listed),
        }
    }

    /// Puts other limits in force. Drops nothing. The calls per second, if they are not in force yet: they need another window; see
    /// [`Group::replace`].
    fn resize(&self, limits: GroupLimits, policy_changed: bool, now: Tick) -> Option<Cps> {
        self.sessions.set_limit(limits.sessions);
        let Some(cps) = limits.cps else {
            self.rate.store(None);
            return None;
        };
        match self.rate.load().as_deref() {
            Some(window) if cps <= window.limit_max() && !policy_changed => {
                window.set_limit(cps, now);
                None
            }
            Some(_) | None => Some(cps),
        }
    }

    /// Goes on with a window that is made for this limit. To be called while nobody decides: an admission by the old window
    /// that the new one doesn't know would be one too many.
    fn replace(&self, cps: Cps, policy: RatePolicy, now: Tick) {
        let room = room_for(cps, policy);
        let window = if let Some(before) = self.rate.load().as_deref() {
            before.successor(cps, room, policy, now)
        } else {
            // What was admitted while nothing was limited isn't known: it starts full.
            let window = RateWindow::new(cps, room, policy);
            window.fill(now);
            window
        };
        self.rate.store(Some(window.into()));
    }
}

/// What a window is sized for: twice its limit, and whatever the same memory serves besides. A log for the highest limit that
/// has one takes 32 KiB: 640 MiB for 10,000 trunks and as many tenants, of which few are ever raised that far.
fn room_for(cps: Cps, policy: RatePolicy) -> Cps {
    let twice = cps.get().saturating_mul(2).saturating_sub(1).max(15);
    // A limit that a log of stamps serves keeps one: it is the finer of the two.
    let room = if cps.get() <= RateWindow::LOGGED_MAX { twice.min(RateWindow::LOGGED_MAX) } else { twice };
    RateWindow::room(Cps::saturating(room), policy)
}

/// A group whose limit is above what its window was made for, or whose window goes by another policy.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outgrown {
    number: u16,
    cps: Cps,
}

/// What a name turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Resolved {
    /// This group.
    Known(u16),
    /// This group, new just now: its name is to be journaled.
    Created(u16),
    /// No number is left, not even the shared one: not counted.
    Uncounted,
    /// Not listed, under `strict_trunks`.
    Unknown,
}

/// All trunks, or all tenants.
#[derive(Debug)]
pub(crate) struct Groups {
    by_name: DashMap<Box<[u8]>, u16, Xxh3Builder>,
    slots: Box<[OnceLock<Group>]>,
    count: AtomicU32,
    refused: AtomicU64,
    /// The instant as of which a group that is made now starts full, in nanoseconds; 0 if its last second is known to be empty.
    full_as_of: AtomicU64,
}

impl Groups {
    /// A registry of at most `max` names, hashed with `seed`.
    pub(crate) fn new(max: u16, seed: u64) -> Self {
        let slots = (0..=max).map(|_| OnceLock::new()).collect();
        Self {
            by_name: DashMap::with_hasher_and_shard_amount(Xxh3Builder::new().with_seed(seed), 16),
            slots,
            count: AtomicU32::new(0),
            refused: AtomicU64::new(0),
            full_as_of: AtomicU64::new(0),
        }
    }

    /// Lets every window start full, also those of names that are first heard of within the next second.
    pub(crate) fn fill(&self, now: Tick) {
        // Relaxed: set before the first request.
        self.full_as_of.store(now.0, Ordering::Relaxed);
        for (_, group) in self.iter() {
            if let Some(window) = group.rate.load().as_ref() {
                window.fill(now);
            }
        }
    }

    /// Housekeeping: what [`Groups::fill`] did not know is over after a second.
    pub(crate) fn settle(&self, now: Tick) {
        let full_as_of = self.full_as_of.load(Ordering::Relaxed);
        if full_as_of != 0 && now.nanos_since(Tick(full_as_of)) > 2 * NANOS_PER_SECOND {
            self.full_as_of.store(0, Ordering::Relaxed);
        }
    }

    /// The group of this number.
    pub(crate) fn get(&self, number: u16) -> Option<&Group> {
        self.slots.get(usize::from(number))?.get()
    }

    /// Every group, with its number.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u16, &Group)> {
        (0..=u16::MAX).zip(self.slots.iter()).filter_map(|(number, slot)| Some((number, slot.get()?)))
    }

    /// Whether all these names have a place of their own, or would find one.
    pub(crate) fn have_room_for<'a>(&self, mut listed: impl Iterator<Item = &'a String>) -> bool {
        let max = self.slots.len().saturating_sub(1);
        let mut left = max.saturating_sub(self.len());
        listed.all(|name| {
            let known = self.by_name.contains_key(name.as_bytes());
            if !known {
                let Some(less) = left.checked_sub(1) else { return false };
                left = less;
            }
            true
        })
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.iter().count()
    }

    /// Requests whose name found no place of its own.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// The group of this name.
    pub(crate) fn resolve(&self, name: &[u8], default: GroupLimits, policy: RatePolicy, strict: bool) -> Resolved {
        if let Some(number) = self.by_name.get(name) {
            let number = *number;
            return match self.get(number) {
                Some(group) if strict && !group.listed.load(Ordering::Relaxed) => Resolved::Unknown,
                _ => Resolved::Known(number),
            };
        }
        if strict {
            return Resolved::Unknown;
        }
        // Also where nothing limits it: an operator wants to see what a trunk uses before limiting it.
        self.create(name, default, policy, false)
    }

    /// Gives a name its number, or the shared one if the registry is full.
    pub(crate) fn create(&self, name: &[u8], limits: GroupLimits, policy: RatePolicy, listed: bool) -> Resolved {
        let max = u32::try_from(self.slots.len().saturating_sub(1)).unwrap_or(u32::MAX);
        let full = self.count.load(Ordering::Relaxed) >= max && !self.by_name.contains_key(name);
        let name = if full {
            self.refused.fetch_add(1, Ordering::Relaxed);
            if let Some(number) = self.by_name.get(OVERFLOW) {
                return Resolved::Known(*number);
            }
            OVERFLOW
        } else {
            name
        };
        // The map's shard lock makes number and slot one step for everybody who asks for this name.
        let entry = self.by_name.entry(name.into());
        match entry {
            dashmap::Entry::Occupied(known) => Resolved::Known(*known.get()),
            dashmap::Entry::Vacant(vacant) => {
                // Relaxed: the number only has to be unique; the slot's own lock publishes the group.
                let number = self.count.fetch_add(1, Ordering::Relaxed).min(max);
                let Ok(number) = u16::try_from(number) else { return Resolved::Uncounted };
                if let Some(slot) = self.slots.get(usize::from(number)) {
                    let group = slot.get_or_init(|| Group::new(name, limits, policy, listed));
                    let full_as_of = self.full_as_of.load(Ordering::Relaxed);
                    if let Some(window) = group.rate.load().as_ref().filter(|_| full_as_of != 0) {
                        window.fill(Tick(full_as_of));
                    }
                }
                vacant.insert(number);
                Resolved::Created(number)
            }
        }
    }

    /// Puts a configuration in force: listed groups get their limits, the others the default. Those that it returns get their calls
    /// per second by [`Groups::replace`].
    pub(crate) fn configure<'a>(
        &self,
        listed: impl Iterator<Item = (&'a String, &'a GroupLimits)>,
        default: GroupLimits,
        policy: RatePolicy,
        policy_changed: bool,
        now: Tick,
    ) -> Vec<Outgrown> {
        let mut on_list = vec![false; self.slots.len()];
        let mut outgrown = Vec::new();
        let mut resize = |number, group: &Group, limits| {
            outgrown.extend(group.resize(limits, policy_changed, now).map(|cps| Outgrown { number, cps }));
        };
        for (name, limits) in listed {
            let (Resolved::Known(number) | Resolved::Created(number)) =
                self.create(name.as_bytes(), *limits, policy, true)
            else {
                continue;
            };
            if let Some(mark) = on_list.get_mut(usize::from(number)) {
                *mark = true;
            }
            if let Some(group) = self.get(number) {
                resize(number, group, *limits);
            }
        }
        for (number, group) in self.iter() {
            let listed = on_list.get(usize::from(number)).copied().unwrap_or(false);
            group.listed.store(listed, Ordering::Relaxed);
            if !listed {
                resize(number, group, default);
            }
        }
        outgrown
    }

    /// Gives a group another window. To be called while nobody decides.
    pub(crate) fn replace(&self, outgrown: Outgrown, policy: RatePolicy, now: Tick) {
        if let Some(group) = self.get(outgrown.number) {
            group.replace(outgrown.cps, policy, now);
        }
    }
}
