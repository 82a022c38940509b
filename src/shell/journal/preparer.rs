//! Prepares the next segment of each shard ahead, and takes over full ones. Never syncs: a slow disk must not keep the
//! next segment from being ready.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use super::JournalConfig;
use super::files::{FileName, Host, JournalError};
use super::format::{FileKind, Header};
use super::mapped_segment::MappedSegment;
use super::stats::{JournalStats, ShardStats};
use super::writer::{ShardJournal, Slot};
use crate::admission::RECORD_VERSION;
use crate::sync::Mutex;

/// How often the preparing thread looks. At a million calls a second a segment of 8 MiB lasts an eighth of a second.
const LOOK_EVERY: Duration = Duration::from_millis(25);

/// After a failure: how often it tries again.
const TRY_AGAIN_LOOKS: u32 = 50;

/// Full segments on the way to the preparing thread, per shard.
const FULL_MAX: usize = 64;

/// What the writers and both threads share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) config: JournalConfig,
    pub(super) host: Host,
    pub(super) disk: Disk,
    pub(super) generation: u64,
    pub(super) shards: Vec<Arc<ShardStats>>,
    pub(super) stats: Mutex<JournalStats>,
    /// Segments of this run that are to be synced; the file is closed once it is full and synced.
    pub(super) segments: Mutex<BTreeMap<FileName, SegmentFile>>,
    /// Held while the journal is open.
    _lock: File,
    supply: Mutex<Vec<Supply>>,
}

/// A segment of this run.
#[derive(Debug, Clone)]
pub(super) struct SegmentFile {
    pub(super) file: Arc<File>,
    /// It was handed over full: one more sync, and it is done.
    pub(super) full: bool,
    /// Its name was synced: it outlives a power loss.
    pub(super) named: bool,
}

/// What the disk is asked for where a test needs it slow or full.
#[derive(Debug, Clone, Copy)]
pub(super) struct Disk {
    pub(super) make: fn(&Path, &Header) -> io::Result<(MappedSegment, File)>,
    pub(super) sync_data: fn(&File) -> io::Result<()>,
    pub(super) sync_dir: fn(&Path) -> io::Result<()>,
}

impl Disk {
    pub(super) const fn real() -> Self {
        Self {
            make: MappedSegment::create,
            sync_data: |file| Ok(rustix::fs::fdatasync(file)?),
            sync_dir: |dir| File::open(dir)?.sync_all(),
        }
    }
}

/// One shard's two ends.
#[derive(Debug)]
struct Supply {
    shard: u16,
    slot: Arc<Slot>,
    full: Receiver<Box<MappedSegment>>,
    next_sequence: u64,
}

impl Shared {
    pub(super) fn new(config: JournalConfig, host: Host, disk: Disk, generation: u64, lock: File) -> Self {
        let shards = (0..config.shards).map(|_| Arc::default()).collect();
        Self {
            config,
            host,
            disk,
            generation,
            shards,
            stats: Mutex::new(JournalStats::default()),
            segments: Mutex::new(BTreeMap::new()),
            _lock: lock,
            supply: Mutex::new(Vec::new()),
        }
    }

    /// A header for a new file.
    pub(super) fn header(&self, kind: FileKind, shard: u16, sequence: u64) -> Result<Header, JournalError> {
        let mut id = [0; 8];
        getrandom::fill(&mut id).map_err(JournalError::Random)?;
        let (boottime, realtime) = self.host.clocks();
        Ok(Header {
            record_version: RECORD_VERSION,
            kind,
            shard,
            shards: self.config.shards,
            generation: self.generation,
            sequence,
            id: u64::from_le_bytes(id),
            boot_id: self.host.boot_id,
            boottime,
            realtime,
            length: 0,
        })
    }

    /// The writers, each with its first segment. Called once. Without room for it a shard begins with none, and drops what
    /// it is given: calls go on, the preparing thread tells, and the first snapshot after there is room closes the gap.
    pub(super) fn first_segments(&self) -> Result<Vec<ShardJournal>, JournalError> {
        let mut journals = Vec::new();
        let mut supply = self.supply.lock();
        for (shard, stats) in (0..self.config.shards).zip(&self.shards) {
            let first = match self.make_segment(shard, 1) {
                Err(JournalError::NoRoom { .. }) => None,
                made => Some(made?),
            };
            let next_sequence = if first.is_some() { 2 } else { 1 };
            let slot = Arc::new(Slot::default());
            let (send, receive): (SyncSender<Box<MappedSegment>>, _) = sync_channel(FULL_MAX);
            supply.push(Supply { shard, slot: Arc::clone(&slot), full: receive, next_sequence });
            journals.push(ShardJournal::new(first, slot, send, Arc::clone(stats)));
        }
        Ok(journals)
    }

    fn make_segment(&self, shard: u16, sequence: u64) -> Result<MappedSegment, JournalError> {
        let name = FileName { generation: self.generation, shard: Some(shard), sequence };
        let path = name.path(&self.config.dir);
        let bytes = self.config.segment_len();
        let mut header = self.header(FileKind::Segment, shard, sequence)?;
        header.length = u64::try_from(bytes).unwrap_or(u64::MAX);
        match (self.disk.make)(&path, &header) {
            Ok((segment, file)) => {
                self.segments.lock().insert(name, SegmentFile { file: Arc::new(file), full: false, named: false });
                self.stats.lock().segments_made_total += 1;
                Ok(segment)
            }
            Err(source) => {
                self.stats.lock().segments_failed_total += 1;
                let no_room = source.kind() == io::ErrorKind::StorageFull
                    || source.kind() == io::ErrorKind::QuotaExceeded
                    || source.kind() == io::ErrorKind::FileTooLarge;
                Err(if no_room {
                    JournalError::NoRoom { dir: self.config.dir.clone(), bytes, source }
                } else {
                    JournalError::io("make", &path, source)
                })
            }
        }
    }

    /// One look: fills what is empty, takes over what is full. Returns the first failure.
    pub(super) fn look(&self) -> Result<(), JournalError> {
        let mut outcome = Ok(());
        for supply in self.supply.lock().iter_mut() {
            if !supply.slot.is_filled() {
                match self.make_segment(supply.shard, supply.next_sequence) {
                    Ok(segment) => {
                        supply.slot.put(segment);
                        supply.next_sequence += 1;
                    }
                    Err(error) => outcome = outcome.and(Err(error)),
                }
            }
            while let Ok(full) = supply.full.try_recv() {
                let name =
                    FileName { generation: self.generation, shard: Some(supply.shard), sequence: full.sequence() };
                // Unmapped here: its pages leave the resident set, and stay the kernel's to write back.
                drop(full);
                if let Some(segment) = self.segments.lock().get_mut(&name) {
                    segment.full = true;
                }
            }
        }
        outcome
    }

    /// The preparing thread's loop, until `stop` is closed. The first failure goes to `tell`, and the first
    /// success after it.
    pub(super) fn prepare_until(&self, stop: &Receiver<()>, tell: &dyn Fn(Result<(), &JournalError>)) {
        let (mut failing, mut rest) = (false, 0);
        loop {
            if rest > 0 {
                rest -= 1;
            } else if let Err(error) = self.look() {
                if !failing {
                    tell(Err(&error));
                }
                (failing, rest) = (true, TRY_AGAIN_LOOKS);
            } else if std::mem::take(&mut failing) {
                tell(Ok(()));
            }
            match stop.recv_timeout(LOOK_EVERY) {
                Err(RecvTimeoutError::Timeout) => {}
                Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }
}

#[cfg(test)]
impl Shared {
    pub(super) fn is_ready(&self) -> bool {
        self.supply.lock().iter().all(|supply| supply.slot.is_filled())
    }
}
