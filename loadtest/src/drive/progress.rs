//! How far a run is, for whoever watches it from another thread.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::record::Totals;

/// Counts that another thread may read. Each for itself: together they need not fit.
#[derive(Debug, Default)]
pub struct Progress {
    now: AtomicU64,
    asked: AtomicU64,
    admitted: AtomicU64,
    refused: AtomicU64,
    errors: AtomicU64,
    live: AtomicU64,
}

/// What was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Snapshot {
    /// Nanoseconds since the run began.
    pub now: u64,
    /// Questions sent.
    pub asked: u64,
    /// Calls admitted.
    pub admitted: u64,
    /// Calls refused.
    pub refused: u64,
    /// Errors and questions without an answer.
    pub errors: u64,
    /// Live calls.
    pub live: u64,
}

// Relaxed throughout: each count stands for itself and orders nothing.
impl Progress {
    /// Tells the time.
    pub fn at(&self, now: u64) {
        self.now.store(now, Ordering::Relaxed);
    }

    /// Tells the counts.
    pub fn counts(&self, totals: &Totals, live: u64) {
        self.asked.store(totals.asked, Ordering::Relaxed);
        self.admitted.store(totals.admitted, Ordering::Relaxed);
        self.refused.store(totals.refused, Ordering::Relaxed);
        self.errors.store(totals.errors + totals.unanswered, Ordering::Relaxed);
        self.live.store(live, Ordering::Relaxed);
    }

    /// Reads it.
    #[must_use]
    pub fn read(&self) -> Snapshot {
        Snapshot {
            now: self.now.load(Ordering::Relaxed),
            asked: self.asked.load(Ordering::Relaxed),
            admitted: self.admitted.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
            errors: self.errors.load(Ordering::Relaxed),
            live: self.live.load(Ordering::Relaxed),
        }
    }
}
