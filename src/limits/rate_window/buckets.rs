//! The exact window for limits above 4095: cumulative totals at the end of each tick of 2^20 ns.
//!
//! One word: `{limit: 20, total: 20, tick: 24}`. `total` counts admissions, modulo 2^20; `tick` is when the last one (or a
//! resize) was. The ring holds, for each past tick, the total at its end, with the full tick as its tag.
//!
//! `used` is derived, never stored: the total less the total at the end of tick - [`SPAN`]. The whole ticks between cover any
//! second that ends in this tick, so it is never too low; it is too high by what was admitted within about 1.3 ticks of
//! that second's beginning, 0.14 % of a steady load at most.
//!
//! When the tick moves, the totals of all ticks left behind are published before the word is swapped. A total published
//! early (by a thread whose swap then fails) is too low, and thereby errs on the safe side; the maximum repairs it, and
//! the thread whose swap succeeds has published the true one. Nothing is ever published that is too high: totals only
//! rise. A helper that stalled for a lap finds a higher tag.

use std::cmp::Ordering as Order;

use super::super::InUse;
use super::super::lease::{Attempt, Ends};
use super::{index, low_u32};
use crate::sync::{AtomicU64, Ordering};
use crate::units::Tick;

const COUNT_BITS: u32 = 20;
const TICK_BITS: u32 = 24;
const COUNT_MASK: u64 = (1 << COUNT_BITS) - 1;
const TICK_MASK: u64 = (1 << TICK_BITS) - 1;
const TOTAL_SHIFT: u32 = TICK_BITS;
const LIMIT_SHIFT: u32 = TICK_BITS + COUNT_BITS;

/// A tick is 2^20 ns, about a millisecond: a shift instead of a division.
#[cfg(not(loom))]
const TICK_SHIFT: u32 = 20;
/// loom explores every interleaving: with ticks of half a second the ring is four slots.
#[cfg(loom)]
const TICK_SHIFT: u32 = 29;

/// The last tick whose admissions have all left the window lies so many ticks back: a second is at most SPAN - 1 ticks,
/// begun ones included.
const SPAN: u64 = (1_000_000_000 >> TICK_SHIFT) + 2;
#[expect(clippy::as_conversions, clippy::cast_possible_truncation, reason = "a constant far below 2^32")]
const SLOTS: usize = SPAN.next_power_of_two() as usize;
/// Added to every tick, so that the window of the first instant doesn't begin before zero.
const ORIGIN: u64 = 2 * SPAN;

#[derive(Debug)]
pub(super) struct Buckets {
    word: AtomicU64,
    ring: Box<[AtomicU64]>,
}

/// What a word says at an instant.
#[derive(Clone, Copy)]
struct Sight {
    limit: u32,
    total: u64,
    /// The tick that counts: the caller's, or a later one that the word or the ring has seen.
    tick: u64,
    /// The word's own tick; 0 if that is over a second ago.
    last: u64,
    used: u32,
    /// The first tick to publish when the word moves to `tick`.
    unpublished: u64,
}

impl Sight {
    /// The word after `count` more admissions at this tick.
    fn admitted(&self, count: u32) -> u64 {
        self.word(self.limit, (self.total + u64::from(count)) & COUNT_MASK)
    }

    fn resized(&self, limit: u32) -> u64 {
        self.word(limit, self.total)
    }

    /// The same, so that the word that follows never was before: if the clock doesn't tell it apart, one admission that
    /// nobody made does. (A later tick would too, and would then forget the calls of a second ago a millisecond early.)
    const fn anew(mut self, anew: bool) -> Self {
        // Where the count is full nobody takes by an old word either.
        if anew && self.tick == self.last && self.used < low_u32(COUNT_MASK) {
            self.total = (self.total + 1) & COUNT_MASK;
            self.used += 1;
        }
        self
    }

    /// The instant that counts, in nanoseconds.
    #[inline]
    fn instant(&self, now: Tick) -> Tick {
        now.max(Tick(self.tick.saturating_sub(ORIGIN) << TICK_SHIFT))
    }

    fn word(&self, limit: u32, total: u64) -> u64 {
        u64::from(limit) << LIMIT_SHIFT | total << TOTAL_SHIFT | self.tick & TICK_MASK
    }
}

impl Buckets {
    pub(super) fn new(limit: u32) -> Self {
        Self {
            word: AtomicU64::new(u64::from(limit) << LIMIT_SHIFT),
            ring: (0..SLOTS).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    #[inline]
    pub(super) fn peek(&self, now: Tick, headroom: u32, end: impl Ends) -> Attempt {
        let sight = self.sight(self.load(), now);
        let instant = sight.instant(now);
        if end.over(instant) {
            return Attempt::Over(instant);
        }
        Attempt::from(sight.used < sight.limit.saturating_sub(headroom))
    }

    #[inline]
    pub(super) fn take(&self, now: Tick, headroom: u32, end: impl Ends) -> Attempt {
        let mut word = self.load();
        loop {
            let sight = self.sight(word, now);
            let instant = sight.instant(now);
            if end.over(instant) {
                return Attempt::Over(instant);
            }
            if sight.used >= sight.limit.saturating_sub(headroom) {
                return Attempt::Refused;
            }
            match self.swap(word, &sight, sight.admitted(1)) {
                Ok(()) => return Attempt::Taken,
                Err(seen) => word = seen,
            }
        }
    }

    pub(super) fn force(&self, now: Tick) {
        // The difference of totals must fit: at 2^20 - 1 in a second, above every limit, further ones are not counted.
        self.update(now, |sight| sight.admitted(u32::from(u64::from(sight.used) < COUNT_MASK)));
    }

    pub(super) fn fill(&self, limit_max: u32, now: Tick) {
        self.update(now, |sight| sight.admitted(limit_max.saturating_sub(sight.used)));
    }

    pub(super) fn used(&self, now: Tick) -> u32 {
        self.sight(self.load(), now).used
    }

    pub(super) fn limit(&self) -> u32 {
        low_u32(self.load() >> LIMIT_SHIFT)
    }

    pub(super) fn set_limit(&self, limit: u32, now: Tick, anew: bool) {
        let mut word = self.load();
        loop {
            let sight = self.sight(word, now).anew(anew);
            match self.swap(word, &sight, sight.resized(limit)) {
                Ok(()) => return,
                Err(seen) => word = seen,
            }
        }
    }

    pub(super) fn try_resize(
        &self,
        limit: u32,
        now: Tick,
        anew: bool,
        forced: impl Fn(Tick) -> u32,
    ) -> Result<(), InUse> {
        let mut word = self.load();
        loop {
            let sight = self.sight(word, now);
            // Counted after the word was loaded: a forced admission that this word doesn't have yet fails the swap.
            let used = sight.used.saturating_sub(forced(sight.instant(now)));
            if used > limit {
                return Err(InUse { used });
            }
            let sight = sight.anew(anew);
            match self.swap(word, &sight, sight.resized(limit)) {
                Ok(()) => return Ok(()),
                Err(seen) => word = seen,
            }
        }
    }

    pub(super) fn touch(&self, now: Tick) {
        self.update(now, |sight| sight.resized(sight.limit));
    }

    fn load(&self) -> u64 {
        // Acquire: the totals of all ticks before this word's were published before it.
        self.word.load(Ordering::Acquire)
    }

    fn slot(&self, tick: u64) -> &AtomicU64 {
        &self.ring[index(tick) & (SLOTS - 1)]
    }

    /// A slot's tick and total.
    fn published(&self, tick: u64) -> (u64, u64) {
        // Relaxed: what the word relies on was published before the word that was acquired; what is newer has a higher tag.
        let entry = self.slot(tick).load(Ordering::Relaxed);
        (entry >> COUNT_BITS, entry & COUNT_MASK)
    }

    fn sight(&self, word: u64, now: Tick) -> Sight {
        let total = word >> TOTAL_SHIFT & COUNT_MASK;
        // The tag has 44 bits; no clock runs for 200 years.
        let mut now = (now.0.min(1 << 62) >> TICK_SHIFT) + ORIGIN;
        loop {
            let behind = now.wrapping_sub(word) & TICK_MASK;
            let (tick, last) = if behind < SPAN {
                (now, now.saturating_sub(behind))
            } else {
                // Either the word is over a second old, or it is ahead of this thread's clock. A word that is ahead has left
                // the tick before it behind, and published it.
                let ahead = now + (TICK_MASK + 1 - behind);
                let newest = self.published(ahead - 1).0;
                if newest >= ahead - 1 { (newest + 1, newest + 1) } else { (now, 0) }
            };
            let edge = tick - SPAN;
            let idle = (0, edge);
            let (used, unpublished) = if last <= edge {
                idle
            } else {
                let (tag, before) = self.published(edge);
                match tag.cmp(&edge) {
                    Order::Equal => (low_u32(total.wrapping_sub(before) & COUNT_MASK), last),
                    // A word that is truly past this tick has published it. So it is hours older than it looks.
                    Order::Less => idle,
                    // Another thread's clock is ahead, and reused the slot: time has come so far.
                    Order::Greater => {
                        now = tag + 1;
                        continue;
                    }
                }
            };
            return Sight { limit: low_u32(word >> LIMIT_SHIFT), total, tick, last, used, unpublished };
        }
    }

    fn update(&self, now: Tick, next: impl Fn(&Sight) -> u64) {
        let mut word = self.load();
        loop {
            let sight = self.sight(word, now);
            match self.swap(word, &sight, next(&sight)) {
                Ok(()) => return,
                Err(seen) => word = seen,
            }
        }
    }

    /// Moves on to the next word; the totals of the ticks left behind are published first, at most [`SPAN`] of them.
    fn swap(&self, old: u64, sight: &Sight, new: u64) -> Result<(), u64> {
        for tick in sight.unpublished..sight.tick {
            // Relaxed: published by the swap below. A maximum: see the module's head.
            self.slot(tick).fetch_max(tick << COUNT_BITS | sight.total, Ordering::Relaxed);
        }
        // Release: the totals above are seen by whoever acquires the new word.
        self.word.compare_exchange(old, new, Ordering::AcqRel, Ordering::Acquire).map(|_| ())
    }
}
