//! What the fast path reads and the slow path resizes. PURE.
//!
//! Every limit here is one atomic word that holds the limit *and* what is in use, so that "is there room?" and "take it"
//! are one step, and so are "is the rest unused?" and "give it away". Nothing waits, nothing allocates after `new`, and
//! nothing reads a clock: the instant comes in as an argument.
//!
//! | type | what it limits |
//! |---|---|
//! | [`RateWindow`] | admissions in any second |
//! | [`Pool`] | units held at once |
//! | [`Tiers`] | units of ordered license types, where a higher one serves a lower |
//! | [`Watermark`] | sessions under export control, with a latch |
//! | [`LeasedRate`], [`LeasedPool`], [`LeasedTiers`], [`LeasedWatermark`] | the same, a part of the limit being borrowed for a time |
//! | [`LowWater`] | nothing: that a limit ran low, told once |
//! | [`VerdictCell`] | nothing: what licensing says of new calls |
//! | [`LevelWatch`] | nothing: how full a limit is, for alarms |
//!
//! What must stay true: an unforced admission never takes `used` past the limit in force at that step. *Forced* ones
//! (emergency, permitted overage, adopted calls) are counted in the same word, past the limit if need be.
//!
//! It stops at numbers: which limit a call needs, in which order, and what is told to the caller is `admission`'s.

mod lease;
mod level;
mod low_water;
mod peaks;
mod pool;
mod rate_window;
mod tiers;
mod verdict;
mod watermark;

#[cfg(test)]
#[cfg(loom)]
mod loom_tests;

pub use lease::{Lease, LeasedPool, LeasedRate, LeasedTiers, LeasedWatermark, Offered, Side, Used};
pub use level::{Level, LevelWatch};
pub use low_water::LowWater;
pub use pool::Pool;
pub use rate_window::{RatePolicy, RateWindow};
pub use tiers::Tiers;
pub use verdict::{Verdict, VerdictCause, VerdictCell};
pub use watermark::{Latch, Refused, Taken, Watermark, WatermarkLimits, WatermarkView};

/// A voluntary lowering was refused: more is in use than the limit that was asked for. Nothing changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{used} units are in use; a limit is lowered voluntarily only to what is in use, or above")]
pub struct InUse {
    /// Units in use at that step.
    pub used: u32,
}
