//! How many of the last second's admissions were forced: counts by instant, never too high.
//!
//! A word per 8 ms of the last second: `{slice: 40, count: 24}`. Counted when the window has it already, and dropped a
//! slice early, so the sum is at most what the window itself counts of them. Forcing is rare, so this need not be small or
//! quick.

use crate::sync::{AtomicU64, Ordering};
use crate::units::{NANOS_PER_SECOND, Tick};

/// A slice is 2^23 ns. loom explores every step of a sum: there, half a second.
#[cfg(not(loom))]
const SLICE_SHIFT: u32 = 23;
#[cfg(loom)]
const SLICE_SHIFT: u32 = 29;
#[cfg(not(loom))]
const SLICES: u64 = 128;
#[cfg(loom)]
const SLICES: u64 = 2;
const COUNT_BITS: u32 = 24;
const COUNT_MASK: u64 = (1 << COUNT_BITS) - 1;

#[derive(Debug)]
pub(super) struct ForcedOfASecond {
    slices: Box<[AtomicU64]>,
}

impl ForcedOfASecond {
    pub(super) fn new() -> Self {
        Self { slices: (0..SLICES).map(|_| AtomicU64::new(0)).collect() }
    }

    fn slot(&self, slice: u64) -> Option<&AtomicU64> {
        self.slices.get(usize::try_from(slice % SLICES).unwrap_or(0))
    }

    /// One was forced, at `now` or later, and is in the window already.
    pub(super) fn add(&self, now: Tick) {
        let slice = now.0 >> SLICE_SHIFT;
        let Some(slot) = self.slot(slice) else { return };
        let next = |word: u64| match (word >> COUNT_BITS).cmp(&slice) {
            std::cmp::Ordering::Less => Some(slice << COUNT_BITS | 1),
            std::cmp::Ordering::Equal if word & COUNT_MASK < COUNT_MASK => Some(word + 1),
            // Full, or taken by a later second: not counted, which errs on the safe side.
            std::cmp::Ordering::Equal | std::cmp::Ordering::Greater => None,
        };
        // Release: who counts this one sees the window's word that has it. There is nothing to do where it wasn't counted.
        let _ = slot.fetch_update(Ordering::Release, Ordering::Relaxed, next);
    }

    /// How many were forced within the second that ends at `now`.
    pub(super) fn count(&self, now: Tick) -> u32 {
        let mut sum = 0_u64;
        for slot in &self.slices {
            // Acquire: see `add`.
            let word = slot.load(Ordering::Acquire);
            let begin = word >> COUNT_BITS << SLICE_SHIFT;
            if now.nanos_since(Tick(begin)) < NANOS_PER_SECOND {
                sum += word & COUNT_MASK;
            }
        }
        u32::try_from(sum).unwrap_or(u32::MAX)
    }
}
