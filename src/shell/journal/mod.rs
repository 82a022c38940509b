//! Calls survive the sidecar: a preallocated mapped log, written without a system call or a lock on the fast path.
//!
//! A shard's writer ([`ShardJournal`]) encodes each record straight into a mapped file. The pages belong to the kernel
//! from that moment on, so that `kill -9` loses nothing; only a power loss can, up to the sync interval. Around it work
//! two threads: one prepares the next segment ahead and takes over full ones, one syncs, writes snapshots and removes
//! what they replace. Here end the files; what the records mean is the gate's business.
//!
//! # Files, under `data_dir/journal/` (directory 0700, files 0600)
//!
//! | name | what |
//! |---|---|
//! | `lock` | held (`flock`) by the running sidecar |
//! | `segment-GENERATION-SHARD-SEQUENCE.log` | a piece of one shard's log; a generation is one run of the sidecar |
//! | `snapshot-GENERATION-SEQUENCE.log` | every name, live call, released marker and tombstone of all shards at one time |
//! | `*.new` | being made; at start a segment with a good header is read and named, anything else removed |
//!
//! Every file begins with a header (twice, so that a damaged byte does not cost the file): magic `CGJRNL`, format
//! version, record version, shard, generation, sequence, a random id, and the clocks at its creation. Then come frames,
//! aligned to 8 bytes: checksum u32, length u16, and the record ([`record_codec`](crate::admission::record_codec)). The
//! checksum (XXH3, truncated) is seeded with the file's random id and the frame's offset, so that bytes of an older file
//! that come up in recycled blocks never pass for records. Zeros end the log.
//!
//! # Recovery
//!
//! The latest snapshot, then each segment from the ones on that it names, generation by generation. Segments before it
//! are kept for two seconds more and read first, for the rate stamps of the last second. A damaged place is skipped up
//! to the next frame that passes its checksum, so that what is lost is what was damaged; it is reported with file, offset
//! and length. A file whose version is newer than this build is refused before anything is touched.
//!
//! # What must stay true
//!
//! - A record whose `append` returned is read back after a kill at any later instant, or was counted as dropped.
//! - A segment is removed only after a snapshot that covers it is durable.
//! - Nothing here waits on the fast path: no next segment means a counted drop, an alarm, and a snapshot as soon as there
//!   is room, which closes the gap.

mod files;
mod format;
mod keeper;
mod mapped_segment;
mod names;
mod preparer;
mod reader;
mod replay;
mod snapshot;
mod stats;
mod writer;

#[cfg(test)]
mod disk_tests;
#[cfg(test)]
mod fixture_tests;
#[cfg(test)]
mod tests;

pub use files::{Host, JournalError};
pub use keeper::{JournalEvent, Keeper, RunningKeeper, SnapshotSource};
pub use reader::{Damage, DamageKind};
pub use replay::{Replay, ReplayReport};
pub use stats::JournalStats;
pub use writer::ShardJournal;

use std::path::PathBuf;
use std::sync::Arc;

use files::{FileName, Scanned};
use preparer::{Disk, Shared};

/// The least segment size, in bytes.
pub const SEGMENT_BYTES_MIN: u32 = 64 * 1024;

/// The largest segment size, in bytes.
pub const SEGMENT_BYTES_MAX: u32 = 1024 * 1024 * 1024;

/// Where the journal is, and how large its pieces are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalConfig {
    /// The directory: `data_dir/journal`.
    pub dir: PathBuf,
    /// Shards of the gate; the last run may have had another number.
    pub shards: u16,
    /// Bytes of one segment. Two per shard are mapped at a time. Rounded up to whole pages, and into
    /// [`SEGMENT_BYTES_MIN`] to [`SEGMENT_BYTES_MAX`].
    pub segment_bytes: u32,
    /// How often the log is synced to disk, for power loss, in milliseconds. 0: never, the kernel does it when it likes.
    pub sync_interval_ms: u32,
    /// A snapshot is due when the log since the last one exceeds this and twice the last snapshot.
    pub compact_bytes_min: u64,
}

impl JournalConfig {
    /// The defaults: 16 MiB segments, synced each second, compacted from 64 MiB on.
    #[must_use]
    pub const fn new(dir: PathBuf, shards: u16) -> Self {
        Self {
            dir,
            shards,
            segment_bytes: 16 * 1024 * 1024,
            sync_interval_ms: 1000,
            compact_bytes_min: 64 * 1024 * 1024,
        }
    }

    fn segment_len(&self) -> usize {
        let bytes = self.segment_bytes.clamp(SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX);
        usize::try_from(bytes).unwrap_or(usize::MAX).next_multiple_of(4096)
    }
}

/// An opened journal.
///
/// 1. [`open`]: checks what is there, and makes the first segment of each shard.
/// 2. Give `journals` to the gate.
/// 3. Give `&mut replay` to `Gate::recover`, with an offset of 0: the ticks are already in this boot's time. Then look at
///    [`Replay::report`].
/// 4. [`Keeper::start`], before the first request.
#[derive(Debug)]
pub struct Opened {
    /// One writer per shard.
    pub journals: Vec<ShardJournal>,
    /// The records of the runs before.
    pub replay: Replay,
    /// What works in the background.
    pub keeper: Keeper,
}

/// Opens the journal of this directory for this process alone.
///
/// # Errors
/// If another process has it open, if a later version of callgate wrote it (nothing is touched then), or if the disk does
/// not let itself be read. No room for the first segments is no error: what cannot be kept is dropped and told.
pub fn open(config: &JournalConfig, host: Host) -> Result<Opened, JournalError> {
    open_on(config, host, Disk::real())
}

fn open_on(config: &JournalConfig, host: Host, disk: Disk) -> Result<Opened, JournalError> {
    let lock = files::lock(&config.dir)?;
    let mut scanned = Scanned::read(&config.dir)?;
    let generation = scanned.generation_last().saturating_add(1);
    let old: Vec<FileName> = scanned.names().collect();
    scanned.name_unfinished(&config.dir)?;
    let replay = Replay::new(scanned, &host);
    files::remove_unfinished(&config.dir)?;
    let shared = Arc::new(Shared::new(config.clone(), host, disk, generation, lock));
    let journals = shared.first_segments()?;
    Ok(Opened { journals, replay, keeper: Keeper::new(shared, old) })
}
