//! Writes a snapshot file: every name, live call and memory that outlives a restart, taken a short hold at a time while calls come and go.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;

use super::files::{FileName, JournalError};
use super::format::{Content, FRAME_BYTES_MAX, FileKind, HEADER_BYTES, write_own, write_record};
use super::keeper::SnapshotSource;
use super::preparer::Shared;
use crate::admission::Record;
use crate::units::Tick;

/// What a snapshot covers.
#[derive(Debug)]
pub(super) struct Snapshot {
    pub(super) name: FileName,
    /// For each shard the segment that its log was in when the snapshot began.
    pub(super) starts: Vec<(u16, u64)>,
    pub(super) bytes: u64,
    /// Read after `starts`: nothing was written to an earlier segment after it.
    pub(super) began: Tick,
}

/// Frames on their way into a file.
struct Frames {
    id: u64,
    /// The offset of the first byte of `pending` in the file.
    offset: u64,
    pending: Vec<u8>,
    records: u64,
}

impl Frames {
    fn push(&mut self, content: &Content) {
        self.push_with(|space, id, offset| write_own(space, id, offset, content));
    }

    fn push_record(&mut self, record: &Record) {
        self.records += 1;
        self.push_with(|space, id, offset| write_record(space, id, offset, record));
    }

    fn push_with(&mut self, write: impl FnOnce(&mut [u8], u64, u64) -> Option<usize>) {
        let at = self.pending.len();
        self.pending.resize(at + FRAME_BYTES_MAX, 0);
        let offset = self.offset + u64::try_from(at).unwrap_or(0);
        let written = self.pending.get_mut(at..).and_then(|space| write(space, self.id, offset)).unwrap_or(0);
        self.pending.truncate(at + written);
    }

    fn write_to(&mut self, mut file: &File) -> io::Result<()> {
        file.write_all(&self.pending)?;
        self.offset += u64::try_from(self.pending.len()).unwrap_or(0);
        self.pending.clear();
        Ok(())
    }
}

/// Writes snapshot number `sequence`, syncs it, and gives it its name: a snapshot with a name is complete and durable.
///
/// # Errors
/// If it cannot be written; then there is no such file.
pub(super) fn write(shared: &Shared, source: &dyn SnapshotSource, sequence: u64) -> Result<Snapshot, JournalError> {
    let name = FileName { generation: shared.generation, shard: None, sequence };
    let path = name.path(&shared.config.dir);
    let unfinished = path.with_extension("new");
    let header = shared.header(FileKind::Snapshot, 0, sequence)?;
    // The places first, the calls after: what the log takes from here on is read again on top of the snapshot.
    let starts: Vec<(u16, u64)> =
        (0..shared.config.shards).zip(&shared.shards).map(|(shard, stats)| (shard, stats.sequence())).collect();
    let began = (shared.host.now)().tick;
    let make = || -> io::Result<u64> {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
        file.write_all(&header.bytes())?;
        let offset = u64::try_from(HEADER_BYTES).unwrap_or(u64::MAX);
        let mut frames = Frames { id: header.id, offset, pending: Vec::new(), records: 0 };
        for &(shard, sequence) in &starts {
            frames.push(&Content::Start { shard, sequence });
        }
        for shard in 0..shared.config.shards {
            let mut cursor = Some(0);
            while let Some(from) = cursor {
                // Under the shard's lock: into memory only. The file is written after the lock is free.
                cursor = source.snapshot(usize::from(shard), from, &mut |record| match record {
                    // One mark for all shards is put at replay; one per shard would forget the shards before it.
                    Record::SnapshotBegin => {}
                    Record::Name { .. }
                    | Record::ProxyEpoch { .. }
                    | Record::Live(_)
                    | Record::Lease { .. }
                    | Record::Ended { .. }
                    | Record::Stamp { .. }
                    | Record::Buried { .. } => frames.push_record(record),
                });
                frames.write_to(&file)?;
            }
        }
        let records = frames.records;
        frames.push(&Content::End { records });
        frames.write_to(&file)?;
        file.sync_all()?;
        std::fs::rename(&unfinished, &path)?;
        File::open(&shared.config.dir)?.sync_all()?;
        Ok(frames.offset)
    };
    match make() {
        Ok(bytes) => Ok(Snapshot { name, starts, bytes, began }),
        Err(source) => {
            let _ = std::fs::remove_file(&unfinished);
            Err(JournalError::io("write", &unfinished, source))
        }
    }
}
