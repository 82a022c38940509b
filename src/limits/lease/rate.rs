//! Calls per second, of which some are borrowed.

use super::forced::ForcedOfASecond;
use super::{Attempt, End, Lease, Used};
use crate::limits::{InUse, RatePolicy, RateWindow};
use crate::sync::Mutex;
use crate::units::{Cps, Tick};

/// A [`RateWindow`] whose limit is a [`Lease`].
///
/// ```
/// use callgate::limits::{Lease, LeasedRate, RatePolicy};
/// use callgate::units::{Cps, Tick};
/// let lease = Lease { limit: 10, floor: 5, valid_until: Some(Tick::from_secs(11)) };
/// let rate = LeasedRate::new(lease, Cps::saturating(100), RatePolicy::Strict);
/// let now = Tick::from_secs(10);
/// assert_eq!((0..20).filter(|_| rate.take(now, 0)).count(), 10);
/// let later = Tick::from_secs(12);
/// assert_eq!((0..20).filter(|_| rate.take(later, 0)).count(), 5, "the loan is over, though nobody said so");
/// ```
#[derive(Debug)]
pub struct LeasedRate {
    window: RateWindow,
    end: End,
    lease: Mutex<Lease>,
    forced: ForcedOfASecond,
}

impl LeasedRate {
    /// A window in which nothing was admitted yet; see [`RateWindow::new`].
    #[must_use]
    pub fn new(lease: Lease, limit_max: Cps, policy: RatePolicy) -> Self {
        Self {
            window: RateWindow::new(Cps::saturating(lease.limit), limit_max, policy),
            end: End::new(lease.valid_until),
            lease: Mutex::new(lease),
            forced: ForcedOfASecond::new(),
        }
    }

    /// Whether [`take`](Self::take) would succeed.
    #[inline]
    #[must_use]
    pub fn peek(&self, now: Tick, headroom: u32) -> bool {
        self.attempt(|| self.window.peek_until(now, headroom, &self.end))
    }

    /// Admits one, if the limit at this instant less `headroom` has room for it; see [`RateWindow::take`].
    #[inline]
    pub fn take(&self, now: Tick, headroom: u32) -> bool {
        self.attempt(|| self.window.take_until(now, headroom, &self.end))
    }

    #[inline]
    fn attempt(&self, attempt: impl Fn() -> Attempt) -> bool {
        loop {
            match attempt() {
                Attempt::Taken => return true,
                Attempt::Refused => return false,
                Attempt::Over(at) => self.expire(at),
            }
        }
    }

    /// Admits one whatever the limit says, and counts it as forced.
    pub fn force(&self, now: Tick) {
        self.window.force(now);
        self.forced.add(now);
    }

    /// Admissions of the last second. Of those that were forced, the ones that certainly lie within it.
    #[must_use]
    pub fn used(&self, now: Tick) -> Used {
        let used = self.window.used(now);
        Used { used, forced: self.forced.count(now).min(used) }
    }

    /// The limit at an instant.
    #[must_use]
    pub fn limit(&self, now: Tick) -> u32 {
        self.settle(now);
        self.window.limit().get()
    }

    /// The highest limit that it can be set to, in calls per second.
    #[must_use]
    pub const fn limit_max(&self) -> Cps {
        self.window.limit_max()
    }

    /// Sets the limit at once: a raise, or a forced lowering, which drops nothing and leaves `used` above it.
    pub fn set(&self, lease: Lease, now: Tick) {
        let mut held = self.lease.lock();
        let lease = lease.from(now);
        self.end.change_to(lease.valid_until, |anew| self.window.resize(Cps::saturating(lease.limit), now, anew));
        *held = lease;
    }

    /// Lowers the limit, if no more than that was admitted in the last second, forced ones apart: the check and the change
    /// are one step. It is checked also if the limit in force is lower already: an earlier lowering may have been a
    /// forced one.
    ///
    /// # Errors
    /// If more was admitted. Nothing changed.
    pub fn try_lower(&self, lease: Lease, now: Tick) -> Result<(), InUse> {
        let mut held = self.lease.lock();
        let lease = lease.from(now);
        let limit = Cps::saturating(lease.limit);
        self.end
            .change(lease.valid_until, |anew| self.window.try_resize(limit, now, anew, |at| self.forced.count(at)))?;
        *held = lease;
        Ok(())
    }

    /// Ends what is over by now, as the next admission would.
    pub fn settle(&self, now: Tick) {
        if super::Ends::over(&&self.end, now) {
            self.expire(now);
        }
    }

    #[cold]
    fn expire(&self, now: Tick) {
        let mut held = self.lease.lock();
        let left = held.from(now);
        if left != *held {
            self.end.change_to(None, |anew| self.window.resize(Cps::saturating(left.limit), now, anew));
            *held = left;
        }
    }

    /// Puts back one admission of the last second; see [`RateWindow::restore`].
    pub fn restore(&self, stamp: Tick, now: Tick) {
        self.window.restore(stamp, now);
    }

    /// Starts full; see [`RateWindow::fill`].
    pub fn fill(&self, now: Tick) {
        self.window.fill(now);
    }

    /// Housekeeping; see [`RateWindow::touch`].
    pub fn touch(&self, now: Tick) {
        self.window.touch(now);
    }
}
