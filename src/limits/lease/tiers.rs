//! Session licenses, of which some are borrowed: ordered tiers, and a pool, which is a family of one tier.

use super::{Attempt, End, Lease, Used};
use crate::limits::{InUse, Tiers};
use crate::sync::{AtomicU32, Mutex, Ordering};
use crate::units::Tick;

/// [`Tiers`] whose units are [`Lease`]s.
///
/// A unit that was forced is released as forced: then what is in use apart from those is known exactly, and a lender may
/// give away what emergencies stand upon.
#[derive(Debug)]
pub struct LeasedTiers {
    tiers: Tiers,
    /// The end of whichever tier's loans ends first.
    end: End,
    /// Forced units in use by calls of each tier. Raised after the tiers' words, lowered before them and under the lock: never
    /// more than those words count of them, and no fewer for as long as the lock is held.
    forced: Box<[AtomicU32]>,
    /// Each tier's own lease; `None` is not limited.
    leases: Mutex<Vec<Option<Lease>>>,
}

fn earliest(leases: &[Option<Lease>]) -> Option<Tick> {
    leases.iter().flatten().filter_map(|lease| lease.valid_until).min()
}

fn limits(leases: &[Option<Lease>]) -> Vec<Option<u32>> {
    leases.iter().map(|lease| lease.map(|lease| lease.limit)).collect()
}

fn left(leases: &[Option<Lease>], now: Tick) -> Vec<Option<Lease>> {
    leases.iter().map(|lease| lease.map(|lease| lease.from(now))).collect()
}

impl LeasedTiers {
    /// Tiers with these units, lowest first; `None` is not limited.
    #[must_use]
    pub fn new(leases: &[Option<Lease>]) -> Self {
        Self {
            tiers: Tiers::new(&limits(leases)),
            end: End::new(earliest(leases)),
            forced: leases.iter().map(|_| AtomicU32::new(0)).collect(),
            leases: Mutex::new(leases.to_vec()),
        }
    }

    /// The tiers, for what doesn't change them.
    #[must_use]
    pub const fn tiers(&self) -> &Tiers {
        &self.tiers
    }

    /// Takes `units` of this tier or of higher ones, as of `now`; see [`Tiers::take`].
    pub fn take(&self, tier: usize, units: u32, headroom: u32, now: Tick) -> bool {
        loop {
            match self.tiers.take_until(tier, units, headroom, now, &self.end) {
                Attempt::Taken => return true,
                Attempt::Refused => return false,
                Attempt::Over(at) => self.expire(at),
            }
        }
    }

    /// Whether [`take`](Self::take) would succeed.
    #[must_use]
    pub fn has_room(&self, tier: usize, units: u32, headroom: u32, now: Tick) -> bool {
        self.settle(now);
        self.tiers.has_room(tier, units, headroom)
    }

    /// Takes `units` whatever the limits say, and counts them as forced.
    pub fn force(&self, tier: usize, units: u32) {
        self.tiers.force(tier, units);
        if let Some(forced) = self.forced.get(tier) {
            // Release: who sees it counted sees the words that have it.
            let _ = forced.fetch_update(Ordering::Release, Ordering::Relaxed, |forced| forced.checked_add(units));
        }
    }

    /// Gives `units` of this tier back, which were taken.
    pub fn release(&self, tier: usize, units: u32) {
        self.tiers.release(tier, units);
    }

    /// Gives `units` of this tier back, which were forced.
    pub fn release_forced(&self, tier: usize, units: u32) {
        let _changing = self.leases.lock();
        if let Some(forced) = self.forced.get(tier) {
            let _ =
                forced.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |forced| Some(forced.saturating_sub(units)));
        }
        self.tiers.release(tier, units);
    }

    /// Units of this tier in use, by whichever tier's calls ([`Tiers::drawn`]), and the forced ones of its own calls.
    #[must_use]
    pub fn used(&self, tier: usize) -> Used {
        let forced = self.forced.get(tier).map_or(0, |forced| forced.load(Ordering::Acquire));
        let used = self.tiers.drawn(tier);
        Used { used, forced: forced.min(used) }
    }

    /// The units of this tier at an instant; `None` is not limited, an unknown tier holds none.
    #[must_use]
    pub fn limit(&self, tier: usize, now: Tick) -> Option<u32> {
        self.settle(now);
        self.tiers.limit(tier)
    }

    /// Sets the units of every tier, lowest first. Drops nothing. Missing tiers have none, surplus ones are ignored.
    pub fn set_all(&self, leases: &[Option<Lease>], now: Tick) {
        let mut held = self.leases.lock();
        let mut next = left(leases, now);
        next.resize(held.len(), Some(Lease::fixed(0)));
        self.put(&mut held, next);
    }

    /// Sets the units of one tier. Drops nothing.
    pub fn set(&self, tier: usize, lease: Option<Lease>, now: Tick) {
        let mut held = self.leases.lock();
        let mut next = left(&held, now);
        if let Some(own) = next.get_mut(tier) {
            *own = lease.map(|lease| lease.from(now));
        }
        self.put(&mut held, next);
    }

    /// Lowers the units of one tier, if no more are in use of it and of those that it serves, forced ones apart. It is
    /// checked also if the limit in force is lower already.
    ///
    /// # Errors
    /// If more are in use. Nothing changed.
    pub fn try_lower(&self, tier: usize, lease: Lease, now: Tick) -> Result<(), InUse> {
        let mut held = self.leases.lock();
        let mut next = left(&held, now);
        let lease = lease.from(now);
        if let Some(own) = next.get_mut(tier) {
            *own = Some(lease);
        }
        // Acquire: the words have what is counted here. None of it is given back while the lock is held.
        let forced: Vec<u32> = self.forced.iter().map(|forced| forced.load(Ordering::Acquire)).collect();
        // Every swap of a pool's limit makes a new version of its word: always one that never was before.
        self.end.change(earliest(&next), |_| self.tiers.try_set_limits(&limits(&next), &forced))?;
        *held = next;
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
        let mut held = self.leases.lock();
        let next = left(&held, now);
        if next != *held {
            self.put(&mut held, next);
        }
    }

    fn put(&self, held: &mut Vec<Option<Lease>>, next: Vec<Option<Lease>>) {
        self.end.change_to(earliest(&next), |_| self.tiers.set_limits(&limits(&next)));
        *held = next;
    }
}

/// A [`Pool`](crate::limits::Pool) whose limit is a [`Lease`].
///
/// ```
/// use callgate::limits::{Lease, LeasedPool};
/// use callgate::units::Tick;
/// let lease = Lease { limit: 3, floor: 2, valid_until: Some(Tick::from_secs(60)) };
/// let pool = LeasedPool::new(lease);
/// let now = Tick::from_secs(1);
/// assert!(pool.take(3, 0, now) && !pool.take(1, 0, now));
/// pool.force(1);
/// assert_eq!((pool.used().used, pool.used().forced), (4, 1));
/// assert!(pool.try_lower(Lease::fixed(2), now).is_err());
/// pool.release(1);
/// assert!(pool.try_lower(Lease::fixed(2), now).is_ok(), "two, and an emergency");
/// pool.release_forced(1);
/// ```
#[derive(Debug)]
pub struct LeasedPool(LeasedTiers);

impl LeasedPool {
    /// A pool of which nothing is in use.
    #[must_use]
    pub fn new(lease: Lease) -> Self {
        Self(LeasedTiers::new(&[Some(lease)]))
    }

    /// Takes `n` units, if that leaves at least `headroom` of the limit at this instant free.
    pub fn take(&self, n: u32, headroom: u32, now: Tick) -> bool {
        self.0.take(0, n, headroom, now)
    }

    /// Whether [`take`](Self::take) would succeed.
    #[must_use]
    pub fn has_room(&self, n: u32, headroom: u32, now: Tick) -> bool {
        self.0.has_room(0, n, headroom, now)
    }

    /// Takes `n` units whatever the limit says, and counts them as forced.
    pub fn force(&self, n: u32) {
        self.0.force(0, n);
    }

    /// Gives `n` units back, which were taken.
    pub fn release(&self, n: u32) {
        self.0.release(0, n);
    }

    /// Gives `n` units back, which were forced.
    pub fn release_forced(&self, n: u32) {
        self.0.release_forced(0, n);
    }

    /// Units in use.
    #[must_use]
    pub fn used(&self) -> Used {
        self.0.used(0)
    }

    /// The limit at an instant.
    #[must_use]
    pub fn limit(&self, now: Tick) -> u32 {
        self.0.limit(0, now).unwrap_or(0)
    }

    /// Sets the limit at once: a raise, or a forced lowering. Drops nothing.
    pub fn set(&self, lease: Lease, now: Tick) {
        self.0.set(0, Some(lease), now);
    }

    /// Lowers the limit, if no more than that is in use, forced units apart: check and change are one step.
    ///
    /// # Errors
    /// If more is in use. Nothing changed.
    pub fn try_lower(&self, lease: Lease, now: Tick) -> Result<(), InUse> {
        self.0.try_lower(0, lease, now)
    }
}
