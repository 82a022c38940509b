//! A histogram that any thread may write without a lock: fixed exponential buckets of relaxed atomics.
//!
//! It knows nothing of what it measures. What must stay true: the bounds never change while the process runs, so that
//! two scrapes can be subtracted.

use crate::sync::{AtomicU64, Ordering};

/// The exponent of the first bound: 2^8 = 256 nanoseconds.
const FIRST_EXPONENT: u32 = 8;

/// How many bounds there are: 256 ns, 512 ns, ... 2^30 ns (about 1.07 s). One more bucket takes what is above.
const BOUNDS: usize = 23;

const BUCKETS: usize = BOUNDS + 1;

/// Durations in nanoseconds, by powers of two.
///
/// ```
/// use callgate::shell::telemetry::Histogram;
/// let histogram = Histogram::default();
/// histogram.observe(300, 4);
/// let view = histogram.view();
/// assert_eq!(view.count, 4);
/// assert_eq!(view.buckets[1], (0.000_000_512, 4));
/// ```
#[derive(Debug)]
pub struct Histogram {
    buckets: [AtomicU64; BUCKETS],
    /// Their sum in nanoseconds: 584 years fit.
    sum_nanos: AtomicU64,
}

/// A histogram at one instant.
#[derive(Debug, Clone, PartialEq)]
pub struct HistogramView {
    /// How many were observed.
    pub count: u64,
    /// Their sum in seconds.
    pub sum_seconds: f64,
    /// Upper bounds in seconds and how many fell into each bucket (not cumulative). The last bound is `f64::MAX`.
    pub buckets: Vec<(f64, u64)>,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: std::array::from_fn(|_| AtomicU64::new(0)), sum_nanos: AtomicU64::new(0) }
    }
}

impl Histogram {
    /// Counts `times` observations of `nanos` each: one call for a batch.
    pub fn observe(&self, nanos: u64, times: u64) {
        if let Some(bucket) = self.buckets.get(Self::index(nanos)) {
            // Relaxed: nothing is published by a count; a scrape may lag by one batch.
            bucket.fetch_add(times, Ordering::Relaxed);
            self.sum_nanos.fetch_add(nanos.saturating_mul(times), Ordering::Relaxed);
        }
    }

    /// What was observed so far. The count is the sum of the buckets, so that both always agree.
    #[must_use]
    pub fn view(&self) -> HistogramView {
        let mut bound_nanos = 1_u64 << FIRST_EXPONENT;
        let mut count = 0_u64;
        let mut buckets = Vec::with_capacity(BUCKETS);
        for (i, bucket) in self.buckets.iter().enumerate() {
            let n = bucket.load(Ordering::Relaxed);
            count = count.saturating_add(n);
            buckets.push((if i < BOUNDS { seconds(bound_nanos) } else { f64::MAX }, n));
            bound_nanos = bound_nanos.saturating_mul(2);
        }
        HistogramView { count, sum_seconds: seconds(self.sum_nanos.load(Ordering::Relaxed)), buckets }
    }

    /// The first bucket whose bound is at least `nanos`.
    fn index(nanos: u64) -> usize {
        let exponent = u64::BITS - nanos.saturating_sub(1).leading_zeros();
        let index = exponent.saturating_sub(FIRST_EXPONENT);
        usize::try_from(index).unwrap_or(BOUNDS).min(BOUNDS)
    }
}

#[expect(clippy::as_conversions, reason = "nanoseconds to a float for display; f64 has no TryFrom<u64>")]
fn seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_falls_into_the_first_bucket_that_bounds_it() {
        for (nanos, index) in
            [(0, 0), (1, 0), (256, 0), (257, 1), (512, 1), (513, 2), (1 << 30, 22), ((1 << 30) + 1, 23)]
        {
            assert_eq!(Histogram::index(nanos), index, "{nanos} ns");
        }
        assert_eq!(Histogram::index(u64::MAX), BOUNDS);
    }

    #[test]
    fn bounds_rise_and_the_count_is_the_sum_of_the_buckets() {
        let histogram = Histogram::default();
        histogram.observe(100, 3);
        histogram.observe(1_000_000, 2);
        histogram.observe(u64::MAX, 1);
        let view = histogram.view();
        assert!(view.buckets.windows(2).all(|w| w[0].0 < w[1].0));
        assert_eq!(view.count, 6);
        assert_eq!(view.buckets.iter().map(|b| b.1).sum::<u64>(), 6);
    }
}
