//! Calls per second, of which some are borrowed.

use super::forced::ForcedOfASecond;
use super::{Attempt, End, Lease, NEVER, Used};
use crate::limits::{InUse, RatePolicy, RateWindow};
use crate::sync::{AtomicU64, Mutex, Ordering};
use crate::units::{Cps, NANOS_PER_SECOND, Tick};

/// Of a stretched window's time this part is left out: 1/512, or 1953 parts per million. It covers clocks that are wrong by
/// 1000 in either direction.
const STRETCH_SHIFT: u32 = 9;

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
    /// From when on the window's time runs slower than the caller's; [`NEVER`] unless it is stretched.
    stretched_from: AtomicU64,
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
            stretched_from: AtomicU64::new(NEVER),
        }
    }

    /// From now on a second of this window lasts a second by any clock within the error: one whose limit moves between
    /// hosts. By a clock that is fast by 1000 parts per million a plain window would admit a second time after 999 ms, on
    /// units that another host used meanwhile. Said again it changes nothing.
    pub fn stretch(&self, now: Tick) {
        // What was admitted in the last second is stretched too: counted from two seconds ago on, its time steps back by 4 ms,
        // which a window takes for a late thread's clock.
        let from = now.0.saturating_sub(2 * NANOS_PER_SECOND);
        // Relaxed: said before the limit is first raised.
        let _ = self.stretched_from.compare_exchange(NEVER, from, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// An instant by the window's own time. Never runs back, and never ahead of the caller's.
    #[inline]
    fn seen(&self, at: Tick) -> Tick {
        let from = self.stretched_from.load(Ordering::Relaxed);
        Tick(at.0 - (at.0.saturating_sub(from) >> STRETCH_SHIFT))
    }

    fn seen_lease(&self, lease: Lease) -> Lease {
        Lease { valid_until: lease.valid_until.map(|end| self.seen(end)), ..lease }
    }

    /// Whether [`take`](Self::take) would succeed.
    #[inline]
    #[must_use]
    pub fn peek(&self, now: Tick, headroom: u32) -> bool {
        let now = self.seen(now);
        self.attempt(|| self.window.peek_until(now, headroom, &self.end))
    }

    /// Admits one, if the limit at this instant less `headroom` has room for it; see [`RateWindow::take`].
    #[inline]
    pub fn take(&self, now: Tick, headroom: u32) -> bool {
        let now = self.seen(now);
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
        let now = self.seen(now);
        self.window.force(now);
        self.forced.add(now);
    }

    /// Admissions of the last second. Of those that were forced, the ones that certainly lie within it.
    #[must_use]
    pub fn used(&self, now: Tick) -> Used {
        let now = self.seen(now);
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
        let (now, lease) = (self.seen(now), self.seen_lease(lease.from(now)));
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
        let (now, lease) = (self.seen(now), self.seen_lease(lease.from(now)));
        let limit = Cps::saturating(lease.limit);
        self.end
            .change(lease.valid_until, |anew| self.window.try_resize(limit, now, anew, |at| self.forced.count(at)))?;
        *held = lease;
        Ok(())
    }

    /// Ends what is over by now, as the next admission would.
    pub fn settle(&self, now: Tick) {
        let now = self.seen(now);
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
        self.window.restore(self.seen(stamp), self.seen(now));
    }

    /// Starts full; see [`RateWindow::fill`].
    pub fn fill(&self, now: Tick) {
        self.window.fill(self.seen(now));
    }

    /// Housekeeping; see [`RateWindow::touch`].
    pub fn touch(&self, now: Tick) {
        self.window.touch(self.seen(now));
    }
}
