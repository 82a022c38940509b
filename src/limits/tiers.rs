//! Ordered tiers of one license family: a premium license can serve a standard call, never the reverse.
//!
//! Use is feasible exactly when, for every tier k, the use of tiers k and above is at most the units of tiers k and
//! above (Hall's theorem for nested sets). So one [`Pool`] per tier counts its *suffix*: a call of tier t is counted in
//! the pools 0..=t. No call is bound to a unit of one tier: a standard call that spilled over makes room above as soon
//! as any standard call ends.
//!
//! What must stay true: each suffix's use is at most its limit, at every step, for unforced use. Several words change
//! one after another, so a take may be refused that would have fitted an instant later; never the reverse.

use super::lease::{Attempt, Endless, Ends};
use super::{InUse, Pool};
use crate::sync::{AtomicU64, Ordering};
use crate::units::Tick;

/// Session-license tiers, lowest first.
///
/// ```
/// use callgate::limits::Tiers;
/// let tiers = Tiers::new(&[Some(40), Some(10)]); // 40 standard, 10 premium
/// for _ in 0..45 {
///     assert!(tiers.take(0, 1, 0));
/// }
/// assert_eq!(tiers.drawn_tier(0), 1, "the standard ones are used up");
/// for _ in 0..5 {
///     assert!(tiers.take(1, 1, 0));
/// }
/// assert!(!tiers.take(1, 1, 0));
/// assert!(!tiers.take(0, 1, 0));
/// ```
#[derive(Debug)]
pub struct Tiers {
    suffixes: Box<[Pool]>,
    /// Each tier's own units, [`UNLIMITED`] for no limit. For people and records: no decision reads it.
    own: Box<[AtomicU64]>,
}

const UNLIMITED: u64 = u64::MAX;

fn own_bits(units: Option<u32>) -> u64 {
    units.map_or(UNLIMITED, u64::from)
}

impl Tiers {
    /// Tiers with these units, lowest first; `None` is not limited.
    #[must_use]
    pub fn new(units: &[Option<u32>]) -> Self {
        Self {
            suffixes: suffix_sums(units).into_iter().map(Pool::new).collect(),
            own: units.iter().map(|own| AtomicU64::new(own_bits(*own))).collect(),
        }
    }

    /// How many tiers there are.
    #[must_use]
    pub const fn count(&self) -> usize {
        self.suffixes.len()
    }

    /// Takes `units` of this tier or, where those are used up, of higher ones, if that leaves at least `headroom` units
    /// free in each suffix that it is counted in. Refused, it changes nothing. An unknown tier is refused.
    pub fn take(&self, tier: usize, units: u32, headroom: u32) -> bool {
        self.take_until(tier, units, headroom, Tick(0), Endless) == Attempt::Taken
    }

    /// The same, unless the lease is over; see [`super::lease`].
    pub(super) fn take_until(
        &self,
        tier: usize,
        units: u32,
        headroom: u32,
        now: Tick,
        end: impl Ends + Copy,
    ) -> Attempt {
        let Some(needed) = self.suffixes.get(..tier.saturating_add(1)) else { return Attempt::Refused };
        // From the narrowest suffix down: a premium call that finds no premium unit never touches the standard count.
        for (at, pool) in needed.iter().enumerate().rev() {
            let attempt = pool.take_until(units, headroom, now, end);
            if attempt != Attempt::Taken {
                for undo in needed.iter().skip(at + 1) {
                    undo.release(units);
                }
                return attempt;
            }
        }
        Attempt::Taken
    }

    /// Whether [`take`](Self::take) would succeed now.
    #[must_use]
    pub fn has_room(&self, tier: usize, units: u32, headroom: u32) -> bool {
        self.suffixes
            .get(..tier.saturating_add(1))
            .is_some_and(|needed| needed.iter().all(|pool| pool.has_room(units, headroom)))
    }

    /// Takes `units` of this tier whatever the limits say. An unknown tier is ignored.
    pub fn force(&self, tier: usize, units: u32) {
        self.counted_in(tier).for_each(|pool| pool.force(units));
    }

    /// Gives `units` of this tier back.
    pub fn release(&self, tier: usize, units: u32) {
        self.counted_in(tier).for_each(|pool| pool.release(units));
    }

    /// Sets the units of every tier, lowest first. Drops nothing. Missing tiers have none, surplus ones are ignored.
    pub fn set_limits(&self, units: &[Option<u32>]) {
        let mut units: Vec<Option<u32>> = units.iter().copied().take(self.count()).collect();
        units.resize(self.count(), Some(0));
        for (pool, limit) in self.suffixes.iter().zip(suffix_sums(&units)) {
            pool.set_limit(limit);
        }
        for (own, units) in self.own.iter().zip(units) {
            // Relaxed: guards nothing.
            own.store(own_bits(units), Ordering::Relaxed);
        }
    }

    /// Sets the units of every tier, lowest first, if no more than those are in use, forced units apart: of those `forced`
    /// counts the ones of each tier, none of which is given back meanwhile.
    ///
    /// # Errors
    /// If more are in use. Nothing changed, but that takes may have been refused meanwhile that would have fitted.
    pub(super) fn try_set_limits(&self, units: &[Option<u32>], forced: &[u32]) -> Result<(), InUse> {
        let before: Vec<Option<u32>> = self.suffixes.iter().map(Pool::limit).collect();
        let forced = suffix_sums(&forced.iter().map(|forced| Some(*forced)).collect::<Vec<_>>());
        let limits = suffix_sums(units);
        for (at, ((pool, limit), forced)) in self.suffixes.iter().zip(&limits).zip(&forced).enumerate() {
            if let Err(in_use) = pool.try_set_limit(*limit, forced.unwrap_or(0)) {
                // What was lowered already isn't given away: it may be used again.
                for (undo, limit) in self.suffixes.iter().zip(&before).take(at) {
                    undo.set_limit(*limit);
                }
                return Err(in_use);
            }
        }
        for (own, units) in self.own.iter().zip(units) {
            own.store(own_bits(*units), Ordering::Relaxed);
        }
        Ok(())
    }

    /// Units of this tier in use, where calls draw on the lowest tier that serves them; the highest tier's include what
    /// no unit covers.
    #[must_use]
    pub fn drawn(&self, tier: usize) -> u32 {
        let mut spilled: u64 = 0;
        for at in 0..self.count() {
            let wanted = spilled + u64::from(self.used(at));
            let held = if at + 1 == self.count() { u64::MAX } else { self.limit(at).map_or(u64::MAX, u64::from) };
            if at == tier {
                return u32::try_from(wanted.min(held)).unwrap_or(u32::MAX);
            }
            spilled = wanted.saturating_sub(held);
        }
        0
    }

    /// Units in use by calls of this tier, whichever tier's units serve them.
    #[must_use]
    pub fn used(&self, tier: usize) -> u32 {
        let of = |tier: usize| self.suffixes.get(tier).map_or(0, Pool::used);
        of(tier).saturating_sub(of(tier.saturating_add(1)))
    }

    /// Units that this tier itself holds; `None` is not limited, an unknown tier holds none.
    #[must_use]
    pub fn limit(&self, tier: usize) -> Option<u32> {
        self.own.get(tier).map_or(Some(0), |own| u32::try_from(own.load(Ordering::Relaxed)).ok())
    }

    /// Units in use that no unit held covers: forced ones, or those above a limit that was lowered.
    #[must_use]
    pub fn overage(&self) -> u32 {
        let above = |pool: &Pool| match pool.view() {
            (Some(limit), used) => used.saturating_sub(limit),
            (None, _) => 0,
        };
        self.suffixes.iter().map(above).max().unwrap_or(0)
    }

    /// The tier whose units the next call of this tier would draw on: the lowest one from its own upwards with a unit
    /// left, if lower calls fill their own tier first. Without room anywhere, the highest. For records: read it before
    /// the take; a racing call may make it one tier wrong.
    #[must_use]
    pub fn drawn_tier(&self, tier: usize) -> usize {
        let highest = self.count().saturating_sub(1);
        let mut spilled: u64 = 0;
        for at in 0..self.count() {
            let wanted = spilled + u64::from(self.used(at));
            let held = self.limit(at).map_or(u64::MAX, u64::from);
            if at >= tier && wanted < held {
                return at;
            }
            spilled = wanted.saturating_sub(held);
        }
        highest
    }

    fn counted_in(&self, tier: usize) -> impl Iterator<Item = &Pool> {
        self.suffixes.get(..tier.saturating_add(1)).unwrap_or_default().iter()
    }

    /// For each tier the most in use of it and those above together since the last call of this.
    #[must_use]
    pub fn take_peaks_since_last_look(&self) -> Vec<u32> {
        self.suffixes.iter().map(Pool::take_peak_since_last_look).collect()
    }

    /// The most ever in use of tiers `tier` and above together.
    #[must_use]
    pub fn peak_from(&self, tier: usize) -> u32 {
        self.suffixes.get(tier).map_or(0, Pool::peak)
    }
}

/// For each tier the units of it and all above; not limited if any of those isn't.
fn suffix_sums(units: &[Option<u32>]) -> Vec<Option<u32>> {
    let mut sums: Vec<Option<u32>> = units
        .iter()
        .rev()
        .scan(Some(0_u32), |sum, own| {
            *sum = sum.and_then(|sum| own.map(|own| sum.saturating_add(own)));
            Some(*sum)
        })
        .collect();
    sums.reverse();
    sums
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests;
