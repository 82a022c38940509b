//! The highest use seen, since the start and since somebody last looked. For people and alarms: no decision reads it.

use crate::sync::{AtomicU32, Ordering};

#[derive(Debug)]
pub(super) struct Peaks {
    since_start: AtomicU32,
    since_look: AtomicU32,
}

impl Peaks {
    pub(super) fn new() -> Self {
        Self { since_start: AtomicU32::new(0), since_look: AtomicU32::new(0) }
    }

    /// Notes a use. Normally two loads: the words are written only by a new peak.
    pub(super) fn note(&self, used: u32) {
        // Relaxed throughout: a peak guards nothing, and each word stands alone.
        if used > self.since_look.load(Ordering::Relaxed) {
            self.since_look.fetch_max(used, Ordering::Relaxed);
            if used > self.since_start.load(Ordering::Relaxed) {
                self.since_start.fetch_max(used, Ordering::Relaxed);
            }
        }
    }

    pub(super) fn since_start(&self) -> u32 {
        self.since_start.load(Ordering::Relaxed)
    }

    /// The peak since the last call of this, which starts again at `used_now`.
    pub(super) fn look(&self, used_now: u32) -> u32 {
        self.since_look.swap(used_now, Ordering::Relaxed).max(used_now)
    }
}
