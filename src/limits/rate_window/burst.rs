//! The burst policy: a token bucket, as the generic cell rate algorithm (ITU-T I.371) keeps it in one instant.
//!
//! One word: `{limit: 20, full: 44}`. `full` is the instant, in nanoseconds, at which the bucket will be full again; each
//! admission moves it one interval (1 s / limit) later, and is allowed if it is then at most `burst` intervals ahead. The
//! interval is rounded up, so the rate is never above the limit (and up to 0.1 % below it at a million a second).

use super::super::InUse;
use super::super::lease::{Attempt, Ends};
use super::low_u32;
use crate::sync::{AtomicU64, Ordering};
use crate::units::Tick;

const FULL_BITS: u32 = 44;
const FULL_MASK: u64 = (1 << FULL_BITS) - 1;
/// How far beyond its burst `full` is let ahead of the clock: forced admissions, and a batch clock that is behind. Farther is taken
/// for long past, so that a host that slept for hours does not wake to an empty bucket.
const SLACK_NANOS: u64 = 60_000_000_000;
/// No instant: the bucket was full from the beginning.
const NEVER_USED: u64 = 0;
/// The most that a burst may be worth: an hour of the limit. It leaves room for forced admissions.
const BURST_NANOS_MAX: u64 = 3_600_000_000_000;

#[derive(Debug)]
pub(super) struct Burst {
    word: AtomicU64,
    /// Calls at once, at least one.
    burst: u32,
}

/// What a word says at an instant.
#[derive(Clone, Copy)]
struct Sight {
    limit: u32,
    burst: u32,
    now: u64,
    /// Nanoseconds until the bucket is full.
    ahead: u64,
}

impl Sight {
    fn of(word: u64, now: Tick, burst: u32) -> Self {
        let now = now.0;
        let ahead = word.wrapping_sub(now) & FULL_MASK;
        let limit = low_u32(word >> FULL_BITS);
        let is_ahead = ahead <= ahead_max(limit, burst) && word & FULL_MASK != NEVER_USED;
        Self { limit, burst, now, ahead: if is_ahead { ahead } else { 0 } }
    }

    /// Nanoseconds from one token to the next. Not for a limit of zero, which has none.
    fn interval(limit: u32) -> u64 {
        u64::from(1_000_000_000_u32.div_ceil(limit.max(1)))
    }

    fn word(&self, limit: u32, ahead: u64) -> u64 {
        let full = self.now.wrapping_add(ahead.min(ahead_max(limit, self.burst))) & FULL_MASK;
        u64::from(limit) << FULL_BITS | full.max(NEVER_USED + 1)
    }

    /// Missing tokens, begun ones included.
    fn missing(&self) -> u32 {
        low_u32(self.ahead.div_ceil(Self::interval(self.limit)).min(u64::from(u32::MAX)))
    }
}

/// What a full bucket is worth, in nanoseconds.
fn capacity(burst: u32, interval: u64) -> u64 {
    (u64::from(burst) * interval).min(BURST_NANOS_MAX)
}

/// How far `full` may be ahead at this limit.
fn ahead_max(limit: u32, burst: u32) -> u64 {
    capacity(burst, Sight::interval(limit)) + SLACK_NANOS
}

impl Burst {
    pub(super) fn new(limit: u32, burst: u32) -> Self {
        Self { word: AtomicU64::new(u64::from(limit) << FULL_BITS | NEVER_USED), burst: burst.max(1) }
    }

    #[inline]
    pub(super) fn peek(&self, now: Tick, headroom: u32, end: impl Ends) -> Attempt {
        let word = self.load();
        if end.over(now) {
            return Attempt::Over(now);
        }
        Attempt::from(self.admitted(&self.sight(word, now), headroom).is_some())
    }

    #[inline]
    pub(super) fn take(&self, now: Tick, headroom: u32, end: impl Ends) -> Attempt {
        let mut word = self.load();
        loop {
            if end.over(now) {
                return Attempt::Over(now);
            }
            let sight = self.sight(word, now);
            let Some(next) = self.admitted(&sight, headroom) else { return Attempt::Refused };
            match self.swap(word, next) {
                Ok(()) => return Attempt::Taken,
                Err(seen) => word = seen,
            }
        }
    }

    pub(super) fn force(&self, now: Tick) {
        self.update(now, |sight| sight.word(sight.limit, sight.ahead + Sight::interval(sight.limit)));
    }

    /// Empties the bucket for a second beyond what fills it.
    pub(super) fn fill(&self, now: Tick) {
        self.update(now, |sight| {
            let capacity = self.capacity_nanos(Sight::interval(sight.limit));
            sight.word(sight.limit, capacity + crate::units::NANOS_PER_SECOND)
        });
    }

    pub(super) fn used(&self, now: Tick) -> u32 {
        self.sight(self.load(), now).missing()
    }

    pub(super) fn limit(&self) -> u32 {
        low_u32(self.load() >> FULL_BITS)
    }

    pub(super) fn set_limit(&self, limit: u32, now: Tick, anew: bool) {
        self.update(now, |sight| self.resized(sight, limit, anew));
    }

    /// Tokens don't tell which admissions they are missing for: none count as forced.
    pub(super) fn try_resize(
        &self,
        limit: u32,
        now: Tick,
        anew: bool,
        _forced: impl Fn(Tick) -> u32,
    ) -> Result<(), InUse> {
        let mut word = self.load();
        loop {
            let sight = self.sight(word, now);
            if sight.missing() > limit {
                return Err(InUse { used: sight.missing() });
            }
            match self.swap(word, self.resized(&sight, limit, anew)) {
                Ok(()) => return Ok(()),
                Err(seen) => word = seen,
            }
        }
    }

    pub(super) fn touch(&self, now: Tick) {
        self.update(now, |sight| sight.word(sight.limit, sight.ahead));
    }

    /// The word after an admission, if the bucket holds a token beyond those kept as headroom.
    fn admitted(&self, sight: &Sight, headroom: u32) -> Option<u64> {
        if headroom >= sight.limit {
            return None;
        }
        let interval = Sight::interval(sight.limit);
        let ahead = sight.ahead + interval;
        let mut room = self.capacity_nanos(interval);
        if headroom > 0 {
            // The bucket's share that matches the headroom's share of the limit; at least one token, never the last one.
            let share = (u64::from(self.burst) * u64::from(headroom)).div_ceil(u64::from(sight.limit));
            room = room.saturating_sub(share * interval).max(interval);
        }
        (ahead <= room).then(|| sight.word(sight.limit, ahead))
    }

    /// The word with another limit and as many missing tokens, fractions included: a resize gives none and takes none.
    /// `anew`: a nanosecond more, so that it is a word that never was before.
    fn resized(&self, sight: &Sight, limit: u32, anew: bool) -> u64 {
        let (old, new) = (Sight::interval(sight.limit), Sight::interval(limit));
        let exact = (u128::from(sight.ahead) * u128::from(new)).div_ceil(u128::from(old));
        let mut ahead = u64::try_from(exact).unwrap_or(u64::MAX);
        if sight.ahead > BURST_NANOS_MAX {
            // More is missing than any bucket holds, perhaps more than the word could keep at a low limit: at least all
            // of the new one.
            ahead = ahead.max(self.capacity_nanos(new));
        }
        sight.word(limit, ahead.saturating_add(u64::from(anew)))
    }

    fn capacity_nanos(&self, interval: u64) -> u64 {
        capacity(self.burst, interval)
    }

    fn sight(&self, word: u64, now: Tick) -> Sight {
        Sight::of(word, now, self.burst)
    }

    fn load(&self) -> u64 {
        // Acquire: whoever sees a limit also sees what its setter did before.
        self.word.load(Ordering::Acquire)
    }

    fn update(&self, now: Tick, next: impl Fn(&Sight) -> u64) {
        let mut word = self.load();
        loop {
            match self.swap(word, next(&self.sight(word, now))) {
                Ok(()) => return,
                Err(seen) => word = seen,
            }
        }
    }

    fn swap(&self, old: u64, new: u64) -> Result<(), u64> {
        // The word is all the state; Release only hands on what a resizer did before it.
        self.word.compare_exchange(old, new, Ordering::AcqRel, Ordering::Acquire).map(|_| ())
    }
}
