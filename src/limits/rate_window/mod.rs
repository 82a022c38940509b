//! The calls-per-second window: in any second at most the limit, not on average.
//!
//! Three algorithms behind one face, chosen once by the policy and by the highest limit that the window is made for:
//!
//! | file | for | memory |
//! |---|---|---|
//! | `stamp_log` | strict, up to 4095: the instants of the last admissions | 8 bytes per call of the limit |
//! | `buckets` | strict, above: cumulative counts per millisecond | 8 KiB |
//! | `burst` | the burst policy: a token bucket | 8 bytes |
//!
//! What must stay true (strict): at each admission at t, the admissions in (t - 1 s, t], forced ones included, are at
//! most the limit in force at that step, for any interleaving of threads, also across a resize.
//! All state that matters is one word, so that the check and the swap are one step; the log and the buckets beside it
//! only repeat what past words said, and are written before the word that relies on them.
//!
//! Clocks: instants of different threads may run backwards against each other by the length of a batch. An instant
//! older than the word's clock counts as the word's clock.

mod buckets;
mod burst;
mod stamp_log;

#[cfg(test)]
#[cfg(loom)]
mod loom_tests;
#[cfg(test)]
#[cfg(not(loom))]
mod stress;
#[cfg(test)]
#[cfg(not(loom))]
mod tests;

use self::buckets::Buckets;
use self::burst::Burst;
use self::stamp_log::StampLog;
use super::InUse;
use super::lease::{Attempt, Endless, Ends};
use crate::units::{Cps, Tick};

/// How a calls-per-second limit treats bursts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RatePolicy {
    /// Exact: in any window of one second at most the limit.
    #[default]
    Strict,
    /// A token bucket: the limit as a rate, and up to so many calls at once (none counts as one, and an hour's worth of
    /// the limit is the most). In any window of one second at most limit + burst, the highest limit of that second.
    Burst(u32),
}

/// Admissions per second, resizable by other threads while in use.
///
/// ```
/// use callgate::limits::{RatePolicy, RateWindow};
/// use callgate::units::{Cps, Tick};
/// let window = RateWindow::new(Cps::saturating(5), Cps::saturating(100), RatePolicy::Strict);
/// let start = Tick::from_secs(10);
/// for call in 0..5 {
///     assert!(window.take(start.plus_millis(call * 100), 0));
/// }
/// assert!(!window.take(start.plus_millis(999), 0), "five in this second already");
/// assert!(window.take(start.plus_millis(1001), 0), "the first has left the window");
/// assert_eq!(window.try_lower(Cps::saturating(4), start.plus_millis(1001)).unwrap_err().used, 5);
/// ```
#[derive(Debug)]
pub struct RateWindow {
    algorithm: Algorithm,
    limit_max: Cps,
}

#[derive(Debug)]
enum Algorithm {
    StampLog(StampLog),
    Buckets(Buckets),
    Burst(Burst),
}

macro_rules! each {
    ($self:ident, $window:ident => $call:expr) => {
        match &$self.algorithm {
            Algorithm::StampLog($window) => $call,
            Algorithm::Buckets($window) => $call,
            Algorithm::Burst($window) => $call,
        }
    };
}

impl RateWindow {
    /// The highest limit that a log of stamps serves, in calls per second.
    pub const LOGGED_MAX: u32 = stamp_log::LIMIT_MAX;

    /// A window in which nothing was admitted yet. `limit_max` is the highest limit that it can be set to: it sizes the
    /// memory, which is allocated here and never again. A higher `limit` counts as `limit_max`; 0 refuses all.
    #[must_use]
    pub fn new(limit: Cps, limit_max: Cps, policy: RatePolicy) -> Self {
        let algorithm = match policy {
            RatePolicy::Strict if limit_max.get() <= stamp_log::LIMIT_MAX => {
                Algorithm::StampLog(StampLog::new(limit.min(limit_max).get(), limit_max.get()))
            }
            RatePolicy::Strict => Algorithm::Buckets(Buckets::new(limit.min(limit_max).get())),
            RatePolicy::Burst(burst) => Algorithm::Burst(Burst::new(limit.min(limit_max).get(), burst)),
        };
        Self { algorithm, limit_max }
    }

    /// The highest limit for which a window takes no more memory than for this one.
    #[must_use]
    pub fn room(limit: Cps, policy: RatePolicy) -> Cps {
        match policy {
            // One stamp more than the limit: so whether a full log has lost any is known.
            RatePolicy::Strict if limit.get() <= stamp_log::LIMIT_MAX => {
                Cps::saturating((limit.get() + 1).next_power_of_two() - 1)
            }
            RatePolicy::Strict | RatePolicy::Burst(_) => Cps::saturating(u32::MAX),
        }
    }

    /// A window to go on with in this one's place: for higher limits than this one's memory serves, or by another policy. What
    /// was admitted here in the last second is in it; where that isn't known (this one isn't a log of stamps, or the policy
    /// isn't strict), it starts full.
    ///
    /// What this one admits from now on is not in it: nobody may take meanwhile, nor afterwards.
    #[must_use]
    pub fn successor(&self, limit: Cps, limit_max: Cps, policy: RatePolicy, now: Tick) -> Self {
        let window = Self::new(limit, limit_max, policy);
        match (&self.algorithm, policy) {
            (Algorithm::StampLog(log), RatePolicy::Strict) => {
                let (stamps, may_be_more) = log.recent(now);
                if let Some(oldest) = stamps.first().filter(|_| may_be_more) {
                    // Forced ones: as many as there may have been, as young as they may be.
                    window.fill(*oldest);
                }
                for stamp in stamps {
                    window.force(stamp);
                }
                // As after any resize: a clock that is behind can't use the new limit at its older instant.
                window.touch(now);
            }
            (Algorithm::Buckets(_), RatePolicy::Strict)
            | (Algorithm::StampLog(_) | Algorithm::Buckets(_) | Algorithm::Burst(_), RatePolicy::Burst(_))
            | (Algorithm::Burst(_), RatePolicy::Strict) => window.fill(now),
        }
        window
    }

    /// Whether [`take`](Self::take) would succeed. Changes nothing.
    #[inline]
    #[must_use]
    pub fn peek(&self, now: Tick, headroom: u32) -> bool {
        self.peek_until(now, headroom, Endless) == Attempt::Taken
    }

    /// The same, unless the lease is over; see [`super::lease`].
    #[inline]
    pub(super) fn peek_until(&self, now: Tick, headroom: u32, end: impl Ends) -> Attempt {
        each!(self, window => window.peek(now, headroom, end))
    }

    /// Admits one, if the limit less `headroom` has room for it in the second that ends at `now`.
    ///
    /// Under the burst policy headroom is a share of the bucket, in the proportion of `headroom` to the limit.
    #[inline]
    pub fn take(&self, now: Tick, headroom: u32) -> bool {
        self.take_until(now, headroom, Endless) == Attempt::Taken
    }

    /// The same, unless the lease is over; see [`super::lease`].
    #[inline]
    pub(super) fn take_until(&self, now: Tick, headroom: u32, end: impl Ends) -> Attempt {
        each!(self, window => window.take(now, headroom, end))
    }

    /// Admits one whatever the limit says. It counts like any other.
    #[inline]
    pub fn force(&self, now: Tick) {
        each!(self, window => window.force(now));
    }

    /// Admissions of the last second, forced ones included; under the burst policy the bucket's missing tokens. Counted
    /// to 4096 or the next power of two of `limit_max` in a small window, to 1,048,575 in a large one.
    #[must_use]
    pub fn used(&self, now: Tick) -> u32 {
        each!(self, window => window.used(now))
    }

    /// The limit in force.
    #[must_use]
    pub fn limit(&self) -> Cps {
        Cps::saturating(each!(self, window => window.limit()))
    }

    /// The highest limit that it can be set to.
    #[must_use]
    pub const fn limit_max(&self) -> Cps {
        self.limit_max
    }

    /// Sets the limit at once: a raise, or a forced lowering. Drops nothing; above a lowered limit nothing is admitted
    /// until enough has left the window. A limit above `limit_max` counts as that.
    ///
    /// `now` becomes the window's clock, so that a batch whose clock is older than a raise can't be judged by the raised
    /// limit at its older instant.
    pub fn set_limit(&self, limit: Cps, now: Tick) {
        self.resize(limit, now, false);
    }

    /// The same. `anew`: the word that results never was before.
    pub(super) fn resize(&self, limit: Cps, now: Tick, anew: bool) {
        let limit = limit.min(self.limit_max).get();
        each!(self, window => window.set_limit(limit, now, anew));
    }

    /// Lowers the limit if no more than that was admitted in the last second: the check and the change are one step, so
    /// what is given away here can be used elsewhere at once. A limit that isn't below the one in force changes nothing.
    ///
    /// # Errors
    /// If more was admitted. Nothing changed.
    pub fn try_lower(&self, limit: Cps, now: Tick) -> Result<(), InUse> {
        if limit >= self.limit() {
            return Ok(());
        }
        self.try_resize(limit, now, false, |_| 0)
    }

    /// Sets the limit if no more than that was admitted in the last second, what `forced` counts at an instant apart: one
    /// step. `anew`: the word that results never was before.
    pub(super) fn try_resize(
        &self,
        limit: Cps,
        now: Tick,
        anew: bool,
        forced: impl Fn(Tick) -> u32,
    ) -> Result<(), InUse> {
        let limit = limit.min(self.limit_max).get();
        each!(self, window => window.try_resize(limit, now, anew, forced))
    }

    /// Puts back one admission of the last second, from a journal; older ones are ignored. In ascending order of `stamp`,
    /// and before the window is used.
    pub fn restore(&self, stamp: Tick, now: Tick) {
        if now.nanos_since(stamp) < crate::units::NANOS_PER_SECOND {
            self.force(stamp.min(now));
        }
    }

    /// Starts full: nothing is admitted until a second has passed. For a start whose last second isn't known.
    pub fn fill(&self, now: Tick) {
        match &self.algorithm {
            Algorithm::StampLog(window) => window.fill(now),
            Algorithm::Buckets(window) => window.fill(self.limit_max.get(), now),
            Algorithm::Burst(window) => window.fill(now),
        }
    }

    /// Housekeeping, at least once a minute: keeps the shortened clocks of an idle window unambiguous.
    pub fn touch(&self, now: Tick) {
        each!(self, window => window.touch(now));
    }
}

/// The low 32 bits of a field that was masked to fewer.
#[inline]
#[expect(clippy::as_conversions, clippy::cast_possible_truncation, reason = "the low 32 bits are what is meant")]
const fn low_u32(masked: u64) -> u32 {
    masked as u32
}

/// An index into a table, from a value that was masked to the table's size.
#[inline]
#[expect(clippy::as_conversions, clippy::cast_possible_truncation, reason = "masked: below the table's length")]
const fn index(masked: u64) -> usize {
    masked as usize
}
