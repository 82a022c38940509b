//! A shard's writer: what runs on the fast path.

use std::sync::Arc;
use std::sync::mpsc::SyncSender;

use super::mapped_segment::MappedSegment;
use super::stats::ShardStats;
use crate::admission::{Journal, Record};
use crate::sync::hand_over::HandOver;

/// Where the preparing thread leaves the next segment.
pub(super) type Slot = HandOver<MappedSegment>;

/// One shard's journal: appends to mapped memory, without a system call or a lock.
#[derive(Debug)]
pub struct ShardJournal {
    current: Option<Box<MappedSegment>>,
    next: Arc<Slot>,
    full: SyncSender<Box<MappedSegment>>,
    stats: Arc<ShardStats>,
    off: bool,
}

impl ShardJournal {
    /// A journal that keeps nothing: for a sidecar whose journal is switched off, and for tests.
    #[must_use]
    pub fn off() -> Self {
        let (full, _) = std::sync::mpsc::sync_channel(0);
        Self { current: None, next: Arc::default(), full, stats: Arc::default(), off: true }
    }

    pub(super) fn new(
        first: Option<MappedSegment>,
        next: Arc<Slot>,
        full: SyncSender<Box<MappedSegment>>,
        stats: Arc<ShardStats>,
    ) -> Self {
        if let Some(first) = &first {
            stats.entered(first.sequence());
        }
        Self { current: first.map(Box::new), next, full, stats, off: false }
    }

    /// The current segment is full, or there was none. Once in a hundred thousand records.
    #[cold]
    fn append_to_next(&mut self, record: &Record) {
        if self.off {
            return;
        }
        if let Some(full) = self.current.take() {
            // The receiver only ever polls: a send wakes nobody, so that it makes no system call. It has room for more
            // segments than can be on the way; should it not, the segment is unmapped here, which costs time, not records.
            let _ = self.full.try_send(full);
        }
        if let Some(mut next) = self.next.take() {
            self.stats.entered(next.sequence());
            self.next.emptied();
            let written = next.append(record);
            self.current = Some(next);
            if let Some(bytes) = written {
                self.stats.appended(bytes);
                return;
            }
        }
        self.stats.dropped();
    }
}

impl Journal for ShardJournal {
    #[inline]
    fn append(&mut self, record: &Record) {
        match self.current.as_mut().and_then(|segment| segment.append(record)) {
            Some(bytes) => self.stats.appended(bytes),
            None => self.append_to_next(record),
        }
    }
}
