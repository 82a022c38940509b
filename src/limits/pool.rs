//! Units that are held until they are given back: sessions of a trunk, license units of a type.
//!
//! One word holds the limit and the use, so a take and a lowering of the limit can never both win the same unit:
//! `{version: 6, limit: 29, used: 29}`. Each change of the limit has another version, so that a take that began before
//! several changes can't swap a word that looks as it did (64 changes within one call of it would be needed).
//!
//! Who holds a unit is not known here: the session table releases each exactly once.

use super::InUse;
use super::lease::{Attempt, Endless, Ends};
use super::peaks::Peaks;
use crate::sync::{AtomicU64, Ordering};
use crate::units::Tick;

const COUNT_BITS: u32 = 29;
/// The most units that are counted.
pub(super) const COUNT_MAX: u32 = (1 << COUNT_BITS) - 1;
/// The limit's part of the word if there is no limit.
const UNLIMITED: u32 = COUNT_MAX;

/// Concurrent units with a limit that other threads may move.
///
/// ```
/// use callgate::limits::Pool;
/// let pool = Pool::new(Some(10));
/// assert!(pool.take(8, 0));
/// assert!(!pool.take(2, 1), "one unit is kept as headroom");
/// assert!(pool.take(2, 0));
/// pool.force(1);
/// assert_eq!((pool.used(), pool.limit()), (11, Some(10)));
/// assert_eq!(pool.try_lower(5).unwrap_err().used, 11);
/// pool.release(11);
/// assert!(pool.try_lower(5).is_ok());
/// ```
#[derive(Debug)]
pub struct Pool {
    word: AtomicU64,
    peaks: Peaks,
}

#[derive(Clone, Copy)]
struct Word {
    version: u8,
    limit: u32,
    used: u32,
}

impl Word {
    fn unpack(word: u64) -> Self {
        let count = |bits: u64| u32::try_from(bits & u64::from(COUNT_MAX)).unwrap_or(COUNT_MAX);
        Self {
            version: u8::try_from(word >> (2 * COUNT_BITS)).unwrap_or(0),
            limit: count(word >> COUNT_BITS),
            used: count(word),
        }
    }

    fn pack(self) -> u64 {
        u64::from(self.version) << (2 * COUNT_BITS) | u64::from(self.limit) << COUNT_BITS | u64::from(self.used)
    }

    fn with_limit(self, limit: u32) -> Self {
        Self { version: self.version.wrapping_add(1) & 0x3f, limit, ..self }
    }

    fn plus(self, n: u32) -> Self {
        Self { used: self.used.saturating_add(n).min(COUNT_MAX), ..self }
    }
}

/// Higher limits than can be counted are one less than no limit at all.
fn limit_bits(limit: Option<u32>) -> u32 {
    limit.map_or(UNLIMITED, |units| units.min(UNLIMITED - 1))
}

impl Pool {
    /// A pool of which nothing is in use. `None` is not limited; 536,870,910 is the highest limit, and higher ones count as
    /// that.
    #[must_use]
    pub fn new(limit: Option<u32>) -> Self {
        Self {
            word: AtomicU64::new(Word { version: 0, limit: limit_bits(limit), used: 0 }.pack()),
            peaks: Peaks::new(),
        }
    }

    /// Takes `n` units if that leaves at least `headroom` of the limit free.
    pub fn take(&self, n: u32, headroom: u32) -> bool {
        self.take_until(n, headroom, Tick(0), Endless) == Attempt::Taken
    }

    /// The same, unless the lease is over; see [`super::lease`].
    pub(super) fn take_until(&self, n: u32, headroom: u32, now: Tick, end: impl Ends) -> Attempt {
        let taken = self.update(|word| {
            if end.over(now) {
                return Err(Attempt::Over(now));
            }
            let next = word.plus(n);
            let fits = word.limit == UNLIMITED || next.used <= word.limit.saturating_sub(headroom);
            if fits { Ok(next) } else { Err(Attempt::Refused) }
        });
        match taken {
            Ok(word) => {
                self.peaks.note(word.used);
                Attempt::Taken
            }
            Err(attempt) => attempt,
        }
    }

    /// Whether [`take`](Self::take) would succeed now.
    #[must_use]
    pub fn has_room(&self, n: u32, headroom: u32) -> bool {
        let word = self.load();
        word.limit == UNLIMITED || word.plus(n).used <= word.limit.saturating_sub(headroom)
    }

    /// Takes `n` units whatever the limit says.
    pub fn force(&self, n: u32) {
        let word = self.change(|word| word.plus(n));
        self.peaks.note(word.used);
    }

    /// Gives `n` units back. More than are in use are as many as are in use.
    pub fn release(&self, n: u32) {
        self.change(|word| Word { used: word.used.saturating_sub(n), ..word });
    }

    /// Sets the limit. Drops nothing: what is in use above it stays until it is released.
    pub fn set_limit(&self, limit: Option<u32>) {
        self.change(|word| word.with_limit(limit_bits(limit)));
    }

    /// Lowers the limit, if no more than that is in use: the check and the change are one step. A limit that isn't
    /// below the one in force changes nothing.
    ///
    /// # Errors
    /// If more is in use. Nothing changed.
    pub fn try_lower(&self, limit: u32) -> Result<(), InUse> {
        if limit_bits(Some(limit)) >= self.load().limit {
            return Ok(());
        }
        self.try_set_limit(Some(limit), 0)
    }

    /// Sets the limit if no more than that is in use, `forced` units apart: one step. As long as the caller lets no forced
    /// unit be given back, so many are in use at that step.
    pub(super) fn try_set_limit(&self, limit: Option<u32>, forced: u32) -> Result<(), InUse> {
        let limit = limit_bits(limit);
        let set = self.update(|word| {
            let used = word.used.saturating_sub(forced);
            if used <= limit { Ok(word.with_limit(limit)) } else { Err(InUse { used }) }
        });
        set.map(|_| ())
    }

    /// Units in use.
    #[must_use]
    pub fn used(&self) -> u32 {
        self.load().used
    }

    /// The limit in force; `None` is not limited.
    #[must_use]
    pub fn limit(&self) -> Option<u32> {
        let limit = self.load().limit;
        (limit != UNLIMITED).then_some(limit)
    }

    /// Limit and use, of one instant.
    #[must_use]
    pub fn view(&self) -> (Option<u32>, u32) {
        let word = self.load();
        ((word.limit != UNLIMITED).then_some(word.limit), word.used)
    }

    /// The most in use since the pool was made.
    #[must_use]
    pub fn peak(&self) -> u32 {
        self.peaks.since_start()
    }

    /// The most in use since the last call of this.
    pub fn take_peak_since_last_look(&self) -> u32 {
        self.peaks.look(self.used())
    }

    fn load(&self) -> Word {
        // Acquire: whoever sees a limit also sees what its setter did before (a loan that arrived, a grant persisted).
        Word::unpack(self.word.load(Ordering::Acquire))
    }

    fn change(&self, next: impl Fn(Word) -> Word) -> Word {
        let Ok(word) = self.update(|word| Ok::<Word, std::convert::Infallible>(next(word)));
        word
    }

    /// Swaps the word for what `next` makes of it, unless that refuses.
    fn update<E>(&self, next: impl Fn(Word) -> Result<Word, E>) -> Result<Word, E> {
        let mut word = self.word.load(Ordering::Acquire);
        loop {
            let new = next(Word::unpack(word))?;
            // Release: a unit given back carries the holder's last writes to whoever takes it. Acquire: and here they
            // are seen. The arithmetic itself needs no order, the word is all there is.
            match self.word.compare_exchange_weak(word, new.pack(), Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Ok(new),
                Err(seen) => word = seen,
            }
        }
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests;
