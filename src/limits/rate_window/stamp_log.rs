//! The exact window for limits up to 4095: the instants of the last admissions in a ring.
//!
//! One word: `{limit: 12, next: 13, pending: 1, clock: 38}`. `next` is the number of the next admission. If `pending`,
//! `clock` is the instant of admission `next - 1`, which isn't in the log yet; otherwise it is the instant of a resize
//! or a touch, and only keeps later admissions from being dated earlier.
//!
//! Admission: copy the pending instant into the log, check that admission `next - limit` is more than a second old, swap
//! the word for one with the new instant pending. The copy is idempotent (a maximum, and the instants of a slot only
//! rise), so whoever comes next does it, and a thread that stalls between its swap and the log can't hide its admission:
//! a head claimed before its stamp is written over-admits.
//!
//! Instants are in units of 2^13 ns (8 us). The word keeps 38 bits of them (26 days), the log all.

use super::super::InUse;
use super::super::lease::{Attempt, Ends};
use super::{index, low_u32};
use crate::sync::{AtomicU64, Ordering};
use crate::units::Tick;

/// The highest limit that the word has room for.
pub(super) const LIMIT_MAX: u32 = (1 << LIMIT_BITS) - 1;

const LIMIT_BITS: u32 = 12;
const NEXT_BITS: u32 = 13;
const CLOCK_BITS: u32 = 38;

const NEXT_MASK: u64 = (1 << NEXT_BITS) - 1;
const CLOCK_MASK: u64 = (1 << CLOCK_BITS) - 1;
const PENDING: u64 = 1 << CLOCK_BITS;
const NEXT_SHIFT: u32 = CLOCK_BITS + 1;
const LIMIT_SHIFT: u32 = NEXT_SHIFT + NEXT_BITS;

/// Instants are whole units of 2^13 ns, rounded down. Finer ones would wrap within the time that a host may be suspended.
const UNIT_SHIFT: u32 = 13;
/// An admission this many units old may be less than a second old: two instants d units apart are more than (d - 1)
/// units and less than (d + 1) units apart. One unit more is a second or longer, whatever was rounded away.
const SECOND: u64 = 1_000_000_000_u64.div_ceil(1 << UNIT_SHIFT);
/// Added to every instant, so that an empty slot, which is zero, is older than a second from the first instant on.
const ORIGIN: u64 = 1 << 21;
/// How far the word's clock may be ahead of a caller's (9 hours: a thread that stalled between its clock and its take)
/// before it is taken for one that is long past.
const AHEAD_MAX: u64 = 1 << 32;

#[derive(Debug)]
pub(super) struct StampLog {
    word: AtomicU64,
    log: Box<[AtomicU64]>,
}

/// What a word says at an instant.
#[derive(Clone, Copy)]
struct Sight {
    limit: u32,
    next: u64,
    /// The full instant of the newest admission, if it isn't in the log yet.
    pending: Option<u64>,
    /// The word's own instant.
    clock: u64,
    /// The instant that counts: the caller's, or the word's if that is later.
    at: u64,
}

impl Sight {
    fn of(word: u64, now: Tick) -> Self {
        let now = (now.0 >> UNIT_SHIFT) + ORIGIN;
        let clock = word & CLOCK_MASK;
        let behind = now.wrapping_sub(clock) & CLOCK_MASK;
        let (at, seen) = if behind <= CLOCK_MASK - AHEAD_MAX {
            // After 26 idle days this takes the newest admission for a younger one: that errs on the safe side.
            (now, now.saturating_sub(behind))
        } else if word & (PENDING | CLOCK_MASK) == 0 {
            // Never used: there is no clock to be ahead of.
            (now, now)
        } else {
            let ahead = now + (CLOCK_MASK + 1 - behind);
            (ahead, ahead)
        };
        Self {
            limit: low_u32(word >> LIMIT_SHIFT),
            next: word >> NEXT_SHIFT & NEXT_MASK,
            pending: (word & PENDING != 0).then_some(seen),
            clock: seen,
            at,
        }
    }

    /// The instant that counts, in nanoseconds.
    #[inline]
    fn instant(&self, now: Tick) -> Tick {
        now.max(Tick(self.at.saturating_sub(ORIGIN) << UNIT_SHIFT))
    }

    const fn recent(&self, stamp: u64) -> bool {
        self.at.saturating_sub(stamp) <= SECOND
    }

    /// The word after an admission at `self.at`.
    fn admitted(&self) -> u64 {
        u64::from(self.limit) << LIMIT_SHIFT
            | ((self.next + 1) & NEXT_MASK) << NEXT_SHIFT
            | PENDING
            | self.at & CLOCK_MASK
    }

    /// The word with this limit, nothing pending, and the clock at `self.at`. `anew`: a word that never was before.
    fn settled(&self, limit: u32, anew: bool) -> u64 {
        // With something pending it never was: that goes to the log, and the next one that is pending has another number.
        // Otherwise a later clock tells them apart, or one admission that nobody made. (A clock ahead of time would forget
        // the calls of a second ago too early.)
        if anew && self.pending.is_none() && self.at == self.clock {
            return Self { limit, ..*self }.admitted();
        }
        // A clock of zero with nothing pending means "never used": one unit later is the same, and safe.
        let clock = (self.at & CLOCK_MASK).max(1);
        u64::from(limit) << LIMIT_SHIFT | self.next << NEXT_SHIFT | clock
    }
}

impl StampLog {
    pub(super) fn new(limit: u32, limit_max: u32) -> Self {
        let slots = limit_max.max(1).next_power_of_two();
        Self {
            word: AtomicU64::new(u64::from(limit) << LIMIT_SHIFT),
            log: (0..slots).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    #[inline]
    pub(super) fn peek(&self, now: Tick, headroom: u32, end: impl Ends) -> Attempt {
        let mut word = self.load();
        loop {
            let sight = Sight::of(word, now);
            let instant = sight.instant(now);
            if end.over(instant) {
                return Attempt::Over(instant);
            }
            let limit = sight.limit.saturating_sub(headroom);
            if limit == 0 {
                return Attempt::Refused;
            }
            if !sight.recent(self.stamp(&sight, u64::from(limit))) {
                return Attempt::Taken;
            }
            match self.moved_on(word) {
                None => return Attempt::Refused,
                Some(seen) => word = seen,
            }
        }
    }

    #[inline]
    pub(super) fn take(&self, now: Tick, headroom: u32, end: impl Ends) -> Attempt {
        let mut word = self.load();
        loop {
            let sight = Sight::of(word, now);
            let instant = sight.instant(now);
            if end.over(instant) {
                return Attempt::Over(instant);
            }
            let limit = sight.limit.saturating_sub(headroom);
            if limit == 0 {
                return Attempt::Refused;
            }
            if sight.recent(self.stamp(&sight, u64::from(limit))) {
                match self.moved_on(word) {
                    None => return Attempt::Refused,
                    Some(seen) => word = seen,
                }
                continue;
            }
            match self.swap(word, &sight, sight.admitted()) {
                Ok(()) => return Attempt::Taken,
                Err(seen) => word = seen,
            }
        }
    }

    pub(super) fn force(&self, now: Tick) {
        self.update(now, Sight::admitted);
    }

    /// Fills the whole log, so that a successor knows too that there may have been more.
    pub(super) fn fill(&self, now: Tick) {
        self.log.iter().for_each(|_| self.force(now));
    }

    pub(super) fn used(&self, now: Tick) -> u32 {
        let mut word = self.load();
        loop {
            let used = self.count(&Sight::of(word, now));
            match self.moved_on(word) {
                None => return used,
                Some(seen) => word = seen,
            }
        }
    }

    pub(super) fn limit(&self) -> u32 {
        low_u32(self.load() >> LIMIT_SHIFT)
    }

    pub(super) fn set_limit(&self, limit: u32, now: Tick, anew: bool) {
        self.update(now, |sight| sight.settled(limit, anew));
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
            let sight = Sight::of(word, now);
            // Counted after the word was loaded: a forced admission that this word doesn't have yet fails the swap.
            let forced = forced(sight.instant(now));
            // No more than `limit` in use besides: the one before the last `limit + forced` admissions is old. What the
            // log doesn't hold any more isn't known to be.
            let held = u64::try_from(self.log.len()).unwrap_or(0);
            let back = (u64::from(limit) + u64::from(forced) + 1).min(held);
            if sight.recent(self.stamp(&sight, back)) {
                let used = self.count(&sight).saturating_sub(forced);
                match self.moved_on(word) {
                    None => return Err(InUse { used }),
                    Some(seen) => word = seen,
                }
                continue;
            }
            match self.swap(word, &sight, sight.settled(limit, anew)) {
                Ok(()) => return Ok(()),
                Err(seen) => word = seen,
            }
        }
    }

    pub(super) fn touch(&self, now: Tick) {
        self.update(now, |sight| sight.settled(sight.limit, false));
    }

    /// The instant of the `back`-th newest admission; 1 is the newest. At most the log's length.
    fn stamp(&self, sight: &Sight, back: u64) -> u64 {
        match sight.pending {
            Some(stamp) if back == 1 => stamp,
            // Relaxed: it was written before the word from which `sight` was acquired. If it was overwritten since, it is
            // younger, and the word has moved on.
            Some(_) | None => self.slot(sight.next.wrapping_sub(back)).load(Ordering::Relaxed),
        }
    }

    /// The admissions of the last second, each at the latest instant that it can have been at, oldest first; and whether the log
    /// may have held more of them, none younger than these.
    pub(super) fn recent(&self, now: Tick) -> (Vec<Tick>, bool) {
        let mut word = self.load();
        loop {
            let sight = Sight::of(word, now);
            let count = u64::from(self.count(&sight));
            let unit_end = |stamp: u64| Tick(((stamp.saturating_sub(ORIGIN) + 1) << UNIT_SHIFT) - 1);
            let stamps = (1..=count).rev().map(|back| unit_end(self.stamp(&sight, back))).collect();
            match self.moved_on(word) {
                None => return (stamps, u64::try_from(self.log.len()) == Ok(count)),
                Some(seen) => word = seen,
            }
        }
    }

    /// How many of the log's admissions are recent. They stand in order of time, so bisection finds the border.
    fn count(&self, sight: &Sight) -> u32 {
        let (mut recent, mut old) = (0, u64::try_from(self.log.len()).unwrap_or(0) + 1);
        while old - recent > 1 {
            let middle = u64::midpoint(recent, old);
            if sight.recent(self.stamp(sight, middle)) {
                recent = middle;
            } else {
                old = middle;
            }
        }
        low_u32(recent)
    }

    fn slot(&self, number: u64) -> &AtomicU64 {
        let mask = self.log.len() - 1;
        &self.log[index(number) & mask]
    }

    fn load(&self) -> u64 {
        // Acquire: the log entries that this word relies on were written before it.
        self.word.load(Ordering::Acquire)
    }

    /// The word, if it is no longer this one. A refusal is final only if the word under which it was made still stands:
    /// otherwise a slot of the log may have been overwritten under the reader.
    fn moved_on(&self, word: u64) -> Option<u64> {
        let seen = self.load();
        (seen != word).then_some(seen)
    }

    fn update(&self, now: Tick, next: impl Fn(&Sight) -> u64) {
        let mut word = self.load();
        loop {
            let sight = Sight::of(word, now);
            match self.swap(word, &sight, next(&sight)) {
                Ok(()) => return,
                Err(seen) => word = seen,
            }
        }
    }

    /// Moves on to the next word; what was pending in the old one goes to the log first.
    fn swap(&self, old: u64, sight: &Sight, new: u64) -> Result<(), u64> {
        if let Some(stamp) = sight.pending {
            // A maximum: a helper that stalled for a whole lap of the ring can't put an old instant over a new one.
            // Relaxed: published by the swap below.
            self.slot(sight.next.wrapping_sub(1)).fetch_max(stamp, Ordering::Relaxed);
        }
        // Release: the log entry above is seen by whoever acquires the new word.
        self.word.compare_exchange(old, new, Ordering::AcqRel, Ordering::Acquire).map(|_| ())
    }
}
