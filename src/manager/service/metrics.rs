//! What the loop counts. Any thread may read while it counts.

use std::collections::BTreeMap;

use parking_lot::Mutex;

use crate::protocol::RefusalCode;
use crate::shell::telemetry::Histogram;
use crate::sync::{AtomicU64, Ordering};

/// How many bounds a [`SizeHistogram`] has: 1, 2, 4, ... 4096.
const SIZE_BOUNDS: usize = 13;

/// Sizes by powers of two: each bucket holds those up to its bound and above the one before.
#[derive(Debug, Default)]
pub struct SizeHistogram {
    buckets: [AtomicU64; SIZE_BOUNDS + 1],
    sum: AtomicU64,
}

impl SizeHistogram {
    fn observe(&self, size: u64) {
        let at = (0..SIZE_BOUNDS).find(|at| size <= 1 << at).unwrap_or(SIZE_BOUNDS);
        if let Some(bucket) = self.buckets.get(at) {
            // Relaxed: nothing is published by a count.
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        self.sum.fetch_add(size, Ordering::Relaxed);
    }

    /// The upper bound of each bucket (the last has none) and how many fell into it, not cumulative.
    #[must_use]
    pub fn buckets(&self) -> Vec<(Option<u64>, u64)> {
        let bound = |at: usize| (at < SIZE_BOUNDS).then(|| 1_u64 << at);
        self.buckets.iter().enumerate().map(|(at, bucket)| (bound(at), bucket.load(Ordering::Relaxed))).collect()
    }

    /// The sum of all sizes.
    #[must_use]
    pub fn sum(&self) -> u64 {
        self.sum.load(Ordering::Relaxed)
    }
}

/// Counters of the loop. All only rise.
#[derive(Debug, Default)]
pub struct ServiceMetrics {
    batches: SizeHistogram,
    commit_nanos: Histogram,
    changes: AtomicU64,
    commit_failures: AtomicU64,
    loads: AtomicU64,
    busy: AtomicU64,
    cannot_write: AtomicU64,
    unstorable: AtomicU64,
    reads: AtomicU64,
    refusals: Mutex<BTreeMap<&'static str, u64>>,
}

impl ServiceMetrics {
    /// Requests per commit.
    #[must_use]
    pub const fn batches(&self) -> &SizeHistogram {
        &self.batches
    }

    /// How long commits took.
    #[must_use]
    pub const fn commits(&self) -> &Histogram {
        &self.commit_nanos
    }

    /// Changes committed.
    #[must_use]
    pub fn changes_total(&self) -> u64 {
        self.changes.load(Ordering::Relaxed)
    }

    /// Commits that failed.
    #[must_use]
    pub fn commit_failures_total(&self) -> u64 {
        self.commit_failures.load(Ordering::Relaxed)
    }

    /// How often the domain was loaded again after a failure.
    #[must_use]
    pub fn reloads_total(&self) -> u64 {
        self.loads.load(Ordering::Relaxed)
    }

    /// Requests refused because too many waited.
    #[must_use]
    pub fn busy_total(&self) -> u64 {
        self.busy.load(Ordering::Relaxed)
    }

    /// Requests refused because the database could not be written.
    #[must_use]
    pub fn cannot_write_total(&self) -> u64 {
        self.cannot_write.load(Ordering::Relaxed)
    }

    /// Requests refused because the database does not take what they lead to.
    #[must_use]
    pub fn unstorable_total(&self) -> u64 {
        self.unstorable.load(Ordering::Relaxed)
    }

    /// Requests that only looked.
    #[must_use]
    pub fn reads_total(&self) -> u64 {
        self.reads.load(Ordering::Relaxed)
    }

    /// Refusals that the domain gave to agents, by the code's name.
    #[must_use]
    pub fn refusals_total(&self) -> BTreeMap<&'static str, u64> {
        self.refusals.lock().clone()
    }

    /// Counts a refusal; also for those that were refused before they came to the domain.
    pub fn count_refusal(&self, code: RefusalCode) {
        *self.refusals.lock().entry(code.name()).or_default() += 1;
    }

    pub(super) fn count_busy(&self) {
        self.busy.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_cannot_write(&self, requests: usize) {
        self.cannot_write.fetch_add(u64::try_from(requests).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub(super) fn count_unstorable(&self) {
        self.unstorable.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_read(&self) {
        self.reads.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_reload(&self) {
        self.loads.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_commit(&self, requests: usize, changes: usize, took: std::time::Duration, done: bool) {
        self.batches.observe(u64::try_from(requests).unwrap_or(u64::MAX));
        self.commit_nanos.observe(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), 1);
        if done {
            self.changes.fetch_add(u64::try_from(changes).unwrap_or(u64::MAX), Ordering::Relaxed);
        } else {
            self.commit_failures.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_falls_into_the_first_bucket_that_holds_it() {
        let histogram = SizeHistogram::default();
        for size in [1, 2, 3, 512, 5_000] {
            histogram.observe(size);
        }
        let filled: Vec<_> = histogram.buckets().into_iter().filter(|(_, count)| *count > 0).collect();
        assert_eq!(filled, [(Some(1), 1), (Some(2), 1), (Some(4), 1), (Some(512), 1), (None, 1)]);
        assert_eq!(histogram.sum(), 5_518);
    }
}
