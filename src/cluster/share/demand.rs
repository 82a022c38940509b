//! How much is asked for: an estimate of the calls offered per second, refused ones included.
//!
//! An exponential mean over irregular steps, in integers, so that one seed gives one trace everywhere. A step of `dt` weighs
//! `dt / (tau + dt)`.

use super::super::params::Parameters;
use crate::limits::Offered;
use crate::units::{NANOS_PER_SECOND, Tick};

/// Parts of a call per second that the estimate is kept in.
const PARTS: u64 = 1000;
/// Calls offered in one step beyond which the rest isn't counted: no host offers so many.
const STEP_CALLS_MAX: u64 = 1 << 32;

/// The estimate for one resource.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(in crate::cluster) struct Demand {
    /// Calls per second, in thousandths.
    mean: u64,
    /// Offered since the last step.
    fresh: u64,
    stepped: Tick,
    /// Since when calls are refused for want of units and none is free.
    starving: Option<Tick>,
}

impl Demand {
    pub(in crate::cluster) const fn new(now: Tick) -> Self {
        Self { mean: 0, fresh: 0, stepped: now, starving: None }
    }

    /// Takes in what was offered since the last look.
    pub(in crate::cluster) fn observe(&mut self, offered: Offered, now: Tick, params: &Parameters) {
        self.fresh = (self.fresh + u64::from(offered.attempts)).min(STEP_CALLS_MAX);
        let step = now.nanos_since(self.stepped);
        // Steps much shorter than tau are gathered: a call just after the last step says nothing about the rate yet.
        if step < 1_000_000 {
            return;
        }
        let tau = u64::from(params.demand_tau_ms.max(1)) * 1_000_000;
        let now_rate = u128::from(self.fresh) * u128::from(NANOS_PER_SECOND) * u128::from(PARTS) / u128::from(step);
        let weighed = u128::from(self.mean) * u128::from(tau) + now_rate * u128::from(step);
        self.mean = u64::try_from(weighed / u128::from(tau + step)).unwrap_or(u64::MAX);
        self.fresh = 0;
        self.stepped = now;
    }

    pub(super) fn set_starving(&mut self, starving: bool, now: Tick) {
        self.starving = starving.then(|| self.starving.unwrap_or(now));
    }

    pub(in crate::cluster) const fn is_starving(&self) -> bool {
        self.starving.is_some()
    }

    /// Starving for so long, without a free unit in between.
    pub(super) fn starves_for(&self, ms: u32, now: Tick) -> bool {
        self.starving.is_some_and(|since| since.plus_millis(u64::from(ms)) <= now)
    }

    /// Nothing was asked for in a while.
    pub(in crate::cluster) const fn is_idle(&self) -> bool {
        self.mean == 0 && self.fresh == 0
    }

    /// Calls per second, rounded up.
    pub(in crate::cluster) fn per_second(&self) -> u32 {
        u32::try_from(self.mean.div_ceil(PARTS)).unwrap_or(u32::MAX)
    }

    /// The units that the demand of `ahead_ms` takes, with so many standard deviations above: a*t + z*sqrt(a*t), rounded up.
    pub(in crate::cluster) fn ahead(&self, ahead_ms: u32, deviations: u32) -> u32 {
        // In thousandths of a call, then in thousandths of its root.
        let mean = self.mean.saturating_mul(u64::from(ahead_ms)) / 1000;
        let root = mean.saturating_mul(PARTS).isqrt();
        let ahead = mean.saturating_add(root.saturating_mul(u64::from(deviations)));
        u32::try_from(ahead.div_ceil(PARTS)).unwrap_or(u32::MAX)
    }
}
