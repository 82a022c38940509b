//! Limits of which a part is borrowed for a time.
//!
//! Each is one of the limits of this module with an *end* beside its word: an instant from which on the limit is a lower
//! one, the floor. The end is judged by the clock of the admission itself, so a process that was stopped and wakes up
//! admits nothing on a loan that is over, though no task of it has run yet.
//!
//! What must stay true: an unforced admission at t, made by a step of the word, is covered by the lease in force at that
//! very step: its limit if t is before its end, else its floor.
//!
//! # Why the orders below suffice
//!
//! A take loads the word, then the end ([`End::over`]), then swaps that word. Whoever changes a lease (one at a time, under a
//! lock) stores the *earlier* of both ends, then swaps the word, then stores the new end. So:
//!
//! - A take that loaded the new word sees the new end, or the earlier of both: the end was stored before the word that it
//!   acquired. Nobody admits by a raised limit and an end that was later than its own.
//! - A take that loaded the old word and already sees a later end fails to swap: the word was swapped before that end was
//!   stored, and both are acquired. Nobody admits by a higher old limit and the later end of a lower new one.
//! - A take that loaded the old word and the old end swaps before the change, or fails.
//! - The word that a take swaps is the very one that it loaded, not one that came to look the same: where an end comes to
//!   be earlier, the swap of the word makes one that never was before (a later clock in the windows, another version in
//!   pools, another generation in the watermark). Where ends only come to be later, an end that was read long ago is
//!   earlier than the one in force, which errs on the safe side.
//!
//! Ending a loan is such a change too, made by whichever admission comes first: the word goes down to the floor, then the end
//! goes up to "never".

mod forced;
mod rate;
mod tiers;
mod watermark;

#[cfg(test)]
#[cfg(loom)]
mod loom_tests;
#[cfg(test)]
#[cfg(not(loom))]
mod tests;

pub use self::rate::LeasedRate;
pub use self::tiers::{LeasedPool, LeasedTiers};
pub use self::watermark::{LeasedWatermark, Side};

use crate::sync::{AtomicU64, Ordering};
use crate::units::Tick;

/// A limit of which a part is borrowed for a time, in units.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// The limit.
    pub limit: u32,
    /// The limit from `valid_until` on.
    pub floor: u32,
    /// When the earliest loan in it ends; `None` if none does.
    pub valid_until: Option<Tick>,
}

impl Lease {
    /// A limit that nothing ends.
    #[must_use]
    pub const fn fixed(limit: u32) -> Self {
        Self { limit, floor: limit, valid_until: None }
    }

    /// The limit at an instant.
    #[must_use]
    pub fn at(&self, now: Tick) -> u32 {
        if self.is_over(now) { self.floor } else { self.limit }
    }

    /// What is left of it at an instant: itself, or its floor for good.
    #[must_use]
    pub fn from(self, now: Tick) -> Self {
        if self.is_over(now) { Self::fixed(self.floor) } else { self }
    }

    /// The same under a cap.
    #[must_use]
    pub fn at_most(self, cap: u32) -> Self {
        Self { limit: self.limit.min(cap), floor: self.floor.min(cap), ..self }
    }

    fn is_over(&self, now: Tick) -> bool {
        self.valid_until.is_some_and(|end| now >= end)
    }
}

/// What counts against a limit now, in units.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Used {
    /// Live sessions, or admissions of the last second; forced ones included.
    pub used: u32,
    /// Those of them that were admitted past the limit (emergency, permitted overage, adopted calls): never more than there
    /// are, sometimes less.
    pub forced: u32,
}

/// What was asked for since the last look, in units.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Offered {
    /// Admitted or refused for want of units.
    pub attempts: u32,
    /// Refused for want of units.
    pub refused: u32,
}

/// What became of a take that looks at an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Attempt {
    /// Taken (of a peek: it would be).
    Taken,
    /// There is no room.
    Refused,
    /// The lease is over at this instant: the caller's, or the later one that the limit's word is at. Nothing changed.
    Over(Tick),
}

impl From<bool> for Attempt {
    fn from(taken: bool) -> Self {
        if taken { Self::Taken } else { Self::Refused }
    }
}

/// Whether a lease is over at an instant. Asked between the load of a limit's word and the swap of that word.
pub(super) trait Ends {
    /// See the trait.
    fn over(&self, at: Tick) -> bool;
}

/// The limit isn't leased.
#[derive(Debug, Clone, Copy)]
pub(super) struct Endless;

impl Ends for Endless {
    #[inline]
    fn over(&self, _at: Tick) -> bool {
        false
    }
}

const NEVER: u64 = u64::MAX;

/// When the earliest loan ends.
#[derive(Debug)]
pub(super) struct End(AtomicU64);

impl End {
    fn new(end: Option<Tick>) -> Self {
        Self(AtomicU64::new(end.map_or(NEVER, |end| end.0)))
    }

    /// Changes a lease: `swap` puts the new limit into its word, being told whether that must be a word that never was
    /// before; if it refuses, the word is as it was, and so is the end. Only under the lock of whoever owns this.
    fn change<E>(&self, to: Option<Tick>, swap: impl FnOnce(bool) -> Result<(), E>) -> Result<(), E> {
        // Relaxed: only the holder of the lock changes it.
        let from = self.0.load(Ordering::Relaxed);
        let to = to.map_or(NEVER, |end| end.0);
        if to < from {
            // Relaxed: the swap of the word below releases it, and takes read it after they acquired a word.
            self.0.store(to, Ordering::Relaxed);
        }
        let swapped = swap(to < from);
        let end = if swapped.is_ok() { to } else { from };
        if end > from.min(to) {
            // Release: who sees the later end sees the word that it belongs to, and can't swap an older one.
            self.0.store(end, Ordering::Release);
        }
        swapped
    }

    /// The same where nothing refuses.
    fn change_to(&self, to: Option<Tick>, swap: impl FnOnce(bool)) {
        let Ok(()) = self.change(to, |anew| {
            swap(anew);
            Ok::<(), std::convert::Infallible>(())
        });
    }
}

impl Ends for &End {
    #[inline]
    fn over(&self, at: Tick) -> bool {
        // Acquire: see `change`. The word was acquired before, so this isn't read before it.
        at.0 >= self.0.load(Ordering::Acquire)
    }
}
