//! Counters of the journal.

use crossbeam_utils::CachePadded;

use crate::sync::{AtomicU64, Ordering};

/// What one writer counts. It alone writes these; others read them.
#[derive(Debug, Default)]
pub(super) struct ShardStats(CachePadded<ShardCounters>);

#[derive(Debug, Default)]
struct ShardCounters {
    records: AtomicU64,
    bytes: AtomicU64,
    dropped: AtomicU64,
    sequence: AtomicU64,
}

impl ShardStats {
    // One thread at a time writes (the shard's lock orders them), so that a load and a store do for an increment. Relaxed:
    // the counters order nothing.
    #[inline]
    pub(super) fn appended(&self, bytes: usize) {
        bump(&self.0.records, 1);
        bump(&self.0.bytes, u64::try_from(bytes).unwrap_or(u64::MAX));
    }

    pub(super) fn dropped(&self) {
        bump(&self.0.dropped, 1);
    }

    /// Says which segment the writer is in. Release, with `sequence`'s Acquire: whoever sees this number finds every
    /// record written before it in this segment or an earlier one.
    pub(super) fn entered(&self, sequence: u64) {
        self.0.sequence.store(sequence, Ordering::Release);
    }

    pub(super) fn sequence(&self) -> u64 {
        self.0.sequence.load(Ordering::Acquire)
    }

    pub(super) fn records_total(&self) -> u64 {
        self.0.records.load(Ordering::Relaxed)
    }

    pub(super) fn bytes_total(&self) -> u64 {
        self.0.bytes.load(Ordering::Relaxed)
    }

    pub(super) fn dropped_total(&self) -> u64 {
        self.0.dropped.load(Ordering::Relaxed)
    }
}

fn bump(counter: &AtomicU64, by: u64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(by), Ordering::Relaxed);
}

/// The journal's counters at one instant, since start.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct JournalStats {
    /// Records appended.
    pub appended_records_total: u64,
    /// Bytes appended, with frames.
    pub appended_bytes_total: u64,
    /// Records dropped because no segment was ready.
    pub dropped_records_total: u64,
    /// Segments made.
    pub segments_made_total: u64,
    /// Segments that could not be made.
    pub segments_failed_total: u64,
    /// Segments of this run that are being written or synced.
    pub segments: u64,
    /// Bytes of all files of the journal, those that wait to be replaced too; looked up each second.
    pub disk_bytes: u64,
    /// Snapshots written.
    pub snapshots_total: u64,
    /// Snapshots that failed.
    pub snapshots_failed_total: u64,
    /// Bytes of the last snapshot.
    pub snapshot_bytes: u64,
    /// Syncs to disk.
    pub syncs_total: u64,
    /// The last failure to sync, if the last sync failed.
    pub sync_error: Option<String>,
    /// The log has a gap that no snapshot has closed yet.
    pub degraded: bool,
    /// Records read at start.
    pub recovered_records: u64,
    /// Bytes that were damaged at start.
    pub damaged_bytes: u64,
}
