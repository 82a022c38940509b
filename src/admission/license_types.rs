//! Session licenses by type, with units and ordered tiers: a higher tier of a family can serve a lower one, never the reverse.

use std::collections::BTreeMap;

use super::policy::LicenseType;
use super::pools::{Loans, NodePool};
use crate::limits::{InUse, Lease, LeasedTiers, Used};
use crate::sync::{AtomicBool, AtomicU64, Ordering};
use crate::units::Tick;

/// Where a type's units are counted.
#[derive(Debug)]
struct Slot {
    name: String,
    family: usize,
    tier: usize,
    overage: AtomicBool,
}

/// Units taken from a type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Drawn {
    /// The tier whose units serve it.
    pub(crate) tier: u8,
    /// They were not there: overage, or forced.
    pub(crate) forced: bool,
}

/// Every license type of the profile. Which types there are is fixed for the life of the process; their counts are not.
#[derive(Debug)]
pub(crate) struct LicenseTypes {
    slots: Vec<Slot>,
    families: Vec<LeasedTiers>,
    overage: AtomicU64,
}

impl LicenseTypes {
    /// The types of a policy.
    pub(crate) fn new(types: &[LicenseType]) -> Self {
        let mut families: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (number, license_type) in types.iter().enumerate() {
            // A type without a family is a family of its own.
            let family = match &license_type.tier {
                Some(tier) => format!("tiers:{}", tier.family),
                None => format!("type:{}", license_type.name),
            };
            families.entry(family).or_default().push(number);
        }
        let mut slots: Vec<Slot> = types
            .iter()
            .map(|license_type| Slot {
                name: license_type.name.clone(),
                family: 0,
                tier: 0,
                overage: AtomicBool::new(license_type.overage),
            })
            .collect();
        let mut tiers = Vec::new();
        for members in families.values_mut() {
            members.sort_by_key(|number| types[*number].tier.as_ref().map_or(0, |tier| tier.rank));
            let counts: Vec<_> = members.iter().map(|number| types[*number].count.map(Lease::fixed)).collect();
            for (tier, number) in members.iter().enumerate() {
                slots[*number].family = tiers.len();
                slots[*number].tier = tier;
            }
            tiers.push(LeasedTiers::new(&counts));
        }
        Self { slots, families: tiers, overage: AtomicU64::new(0) }
    }

    /// Whether a policy has the same types in the same families, so that only counts differ.
    pub(crate) fn same_shape(&self, types: &[LicenseType]) -> bool {
        let other = Self::new(types);
        self.slots.len() == other.slots.len()
            && self
                .slots
                .iter()
                .zip(&other.slots)
                .all(|(one, two)| one.name == two.name && one.family == two.family && one.tier == two.tier)
    }

    /// Puts other counts in force, within them what the cluster gave. Drops nothing.
    pub(crate) fn resize(&self, types: &[LicenseType], loans: &Loans, now: Tick) {
        for (number, family) in self.families.iter().enumerate() {
            let mut counts: Vec<(usize, Option<Lease>)> = Vec::new();
            for ((slot, license_type), of_type) in self.slots.iter().zip(types).zip(0..u16::MAX) {
                if slot.family == number {
                    let lease = license_type.count.map(|count| loans.under(NodePool::Type(of_type), count));
                    counts.push((slot.tier, lease));
                }
            }
            counts.sort_unstable_by_key(|(tier, _)| *tier);
            let counts: Vec<Option<Lease>> = counts.into_iter().map(|(_, count)| count).collect();
            family.set_all(&counts, now);
        }
        for (slot, license_type) in self.slots.iter().zip(types) {
            slot.overage.store(license_type.overage, Ordering::Relaxed);
        }
    }

    /// The number of the type of this name.
    pub(crate) fn number(&self, name: &[u8]) -> Option<u16> {
        let number = self.slots.iter().position(|slot| slot.name.as_bytes() == name)?;
        u16::try_from(number).ok()
    }

    fn slot(&self, number: u16) -> Option<(&Slot, &LeasedTiers)> {
        let slot = self.slots.get(usize::from(number))?;
        Some((slot, self.families.get(slot.family)?))
    }

    /// Takes units, as overage where that is allowed. `headroom_percent` of what the type and the tiers above it hold stays for PRIORITY.
    pub(crate) fn take(&self, number: u16, units: u32, headroom_percent: u8, now: Tick) -> Option<Drawn> {
        let (slot, family) = self.slot(number)?;
        let headroom = self.headroom(number, headroom_percent, now);
        let tier = u8::try_from(family.tiers().drawn_tier(slot.tier)).unwrap_or(u8::MAX);
        if family.take(slot.tier, units, headroom, now) {
            return Some(Drawn { tier, forced: false });
        }
        if !slot.overage.load(Ordering::Relaxed) {
            return None;
        }
        family.force(slot.tier, units);
        self.overage.fetch_add(u64::from(units), Ordering::Relaxed);
        Some(Drawn { tier, forced: true })
    }

    /// Whether more than `mark` units are left beside the headroom.
    pub(crate) fn has_room(&self, number: u16, headroom_percent: u8, mark: u32, now: Tick) -> bool {
        let headroom = self.headroom(number, headroom_percent, now).saturating_add(mark);
        self.slot(number).is_none_or(|(slot, family)| family.has_room(slot.tier, 1, headroom, now))
    }

    /// Takes units whether there are any or not.
    pub(crate) fn force(&self, number: u16, units: u32, now: Tick) -> Option<Drawn> {
        let (slot, family) = self.slot(number)?;
        let tier = u8::try_from(slot.tier).unwrap_or(u8::MAX);
        if family.take(slot.tier, units, 0, now) {
            return Some(Drawn { tier, forced: false });
        }
        family.force(slot.tier, units);
        Some(Drawn { tier, forced: true })
    }

    /// Counts units that were taken before a restart.
    pub(crate) fn restore(&self, number: u16, units: u32) -> Option<Drawn> {
        let (slot, family) = self.slot(number)?;
        family.tiers().force(slot.tier, units);
        Some(Drawn { tier: u8::try_from(slot.tier).unwrap_or(u8::MAX), forced: false })
    }

    /// Gives units back, as they were taken.
    pub(crate) fn release(&self, number: u16, units: u32, forced: bool) {
        if let Some((slot, family)) = self.slot(number) {
            if forced {
                family.release_forced(slot.tier, units);
            } else {
                family.release(slot.tier, units);
            }
        }
    }

    /// What is in use of a type's units, whichever type's calls draw on them.
    pub(crate) fn used(&self, number: u16) -> Used {
        self.slot(number).map_or(Used::default(), |(slot, family)| family.used(slot.tier))
    }

    /// A type's units now.
    pub(crate) fn limit(&self, number: u16, now: Tick) -> Option<u32> {
        self.slot(number).map_or(Some(0), |(slot, family)| family.limit(slot.tier, now))
    }

    /// Sets one type's units. Drops nothing.
    pub(crate) fn set(&self, number: u16, lease: Lease, now: Tick) {
        if let Some((slot, family)) = self.slot(number) {
            family.set(slot.tier, Some(lease), now);
        }
    }

    /// Lowers one type's units, if no more are in use.
    pub(crate) fn try_lower(&self, number: u16, lease: Lease, now: Tick) -> Result<(), InUse> {
        self.slot(number).map_or(Ok(()), |(slot, family)| family.try_lower(slot.tier, lease, now))
    }

    /// Ends what is over by now.
    pub(crate) fn settle(&self, now: Tick) {
        self.families.iter().for_each(|family| family.settle(now));
    }

    fn headroom(&self, number: u16, percent: u8, now: Tick) -> u32 {
        if percent == 0 {
            return 0;
        }
        let Some((slot, family)) = self.slot(number) else { return 0 };
        // What can serve this type: its own units and those above. Unlimited ones need no headroom.
        let held = (slot.tier..family.tiers().count()).map(|tier| family.limit(tier, now));
        let limit = held.sum::<Option<u32>>().unwrap_or(0);
        super::resources::percent_of(limit, percent)
    }

    /// An overage that came to nothing: the call was refused after all.
    pub(crate) fn forget_overage(&self, units: u16) {
        self.overage.fetch_sub(u64::from(units), Ordering::Relaxed);
    }

    /// Units admitted above their count since start.
    pub(crate) fn overage(&self) -> u64 {
        self.overage.load(Ordering::Relaxed)
    }

    /// The name of a type.
    pub(crate) fn name(&self, number: u16) -> Option<&str> {
        self.slots.get(usize::from(number)).map(|slot| slot.name.as_str())
    }

    /// The name of a tier in the family of a type.
    pub(crate) fn tier_name(&self, number: u16, tier: u8) -> Option<&str> {
        let family = self.slots.get(usize::from(number))?.family;
        let mut of_family = self.slots.iter().filter(|slot| slot.family == family);
        of_family.find(|slot| slot.tier == usize::from(tier)).map(|slot| slot.name.as_str())
    }

    /// Every type: its name, the units that it holds, those in use by its calls, and their peak (with higher tiers' calls).
    pub(crate) fn views(&self) -> impl Iterator<Item = (&str, Option<u32>, u32, u32)> {
        self.slots.iter().filter_map(|slot| {
            let family = self.families.get(slot.family)?.tiers();
            let (limit, used) = (family.limit(slot.tier), family.used(slot.tier));
            Some((slot.name.as_str(), limit, used, family.peak_from(slot.tier)))
        })
    }

    /// Every type: its name, its units in use, and the most since the last call of this. Of a lower tier the peak is what
    /// calls of it and of those above used at most, less what those above use now.
    pub(crate) fn take_usage(&self) -> impl Iterator<Item = (&str, u32, u32)> {
        let peaks: Vec<Vec<u32>> =
            self.families.iter().map(|family| family.tiers().take_peaks_since_last_look()).collect();
        self.slots.iter().filter_map(move |slot| {
            let family = self.families.get(slot.family)?.tiers();
            let peak = *peaks.get(slot.family)?.get(slot.tier)?;
            let used = family.used(slot.tier);
            let above: u32 = (slot.tier + 1..family.count()).map(|tier| family.used(tier)).sum();
            Some((slot.name.as_str(), used, peak.saturating_sub(above).max(used)))
        })
    }

    /// Every type's number and name.
    pub(crate) fn names(&self) -> impl Iterator<Item = (u16, &str)> {
        (0..u16::MAX).zip(self.slots.iter().map(|slot| slot.name.as_str()))
    }
}
