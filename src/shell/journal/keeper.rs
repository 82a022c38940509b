//! What works in the background: the preparing thread, and the keeping thread that syncs, writes snapshots and removes
//! what they replace. Both end when the running keeper is stopped or dropped.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use super::files::{FileName, JournalError, bytes_on_disk};
use super::preparer::Shared;
use super::stats::JournalStats;
use super::{ShardJournal, snapshot};
use crate::admission::{Gate, Journal, Record};
use crate::units::Tick;

/// How often the keeping thread looks.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A file that a snapshot replaced is kept so long: its rate stamps of the last second are wanted after a restart.
const KEEP_REPLACED_S: u64 = 2;

/// After a snapshot, good or failed: when the next one may begin. While records are dropped, one would follow the other.
const SNAPSHOT_AGAIN_S: u64 = 1;

/// How often the files' sizes are looked up.
const DISK_LOOK_S: u64 = 1;

/// Where snapshots come from: the gate, or what holds it.
pub trait SnapshotSource: Send + Sync {
    /// See [`Gate::snapshot`].
    fn snapshot(&self, shard: usize, cursor: u64, sink: &mut dyn FnMut(&Record)) -> Option<u64>;

    /// Appends to one shard's journal, under its lock.
    fn append(&self, shard: usize, records: &[Record]);
}

impl SnapshotSource for Gate<ShardJournal> {
    fn snapshot(&self, shard: usize, cursor: u64, sink: &mut dyn FnMut(&Record)) -> Option<u64> {
        Self::snapshot(self, shard, cursor, sink)
    }

    fn append(&self, shard: usize, records: &[Record]) {
        self.with_journal(shard, |journal| records.iter().for_each(|record| journal.append(record)));
    }
}

impl SnapshotSource for crate::shell::Context {
    fn snapshot(&self, shard: usize, cursor: u64, sink: &mut dyn FnMut(&Record)) -> Option<u64> {
        SnapshotSource::snapshot(&*self.gate, shard, cursor, sink)
    }

    fn append(&self, shard: usize, records: &[Record]) {
        SnapshotSource::append(&*self.gate, shard, records);
    }
}

/// What the journal has to say while it runs: raise and clear alarms with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JournalEvent {
    /// The next segment cannot be made: records will be dropped when the current one is full. Calls go on.
    CannotPrepare(String),
    /// It can again. What was dropped meanwhile is another matter.
    PreparedAgain,
    /// Records were dropped: after a kill now, some calls would not be known again. Calls go on.
    Degraded {
        /// How many, since start.
        dropped_total: u64,
    },
    /// A snapshot closed the gap.
    Restored,
    /// The log cannot be synced: a power loss would lose more than the sync interval.
    SyncFailed(String),
    /// It can again.
    SyncRestored,
    /// A snapshot cannot be written: the log grows. It is tried again each second.
    SnapshotFailed(String),
    /// It can again.
    SnapshotWritten,
}

/// The background work, not yet begun.
#[derive(Debug)]
pub struct Keeper {
    shared: Arc<Shared>,
    old: Vec<FileName>,
}

/// The background work. Stops when dropped.
#[derive(Debug)]
pub struct RunningKeeper {
    shared: Arc<Shared>,
    stop: Vec<Sender<()>>,
    threads: Vec<JoinHandle<()>>,
}

type Tell = Arc<dyn Fn(JournalEvent) + Send + Sync>;

impl Keeper {
    pub(super) const fn new(shared: Arc<Shared>, old: Vec<FileName>) -> Self {
        Self { shared, old }
    }

    /// Begins, after recovery and before the first request: logs the names that this run starts with, then works in two
    /// threads, of which the first thing is a snapshot that replaces the files of the runs before. `tell` is called from
    /// those threads.
    ///
    /// # Errors
    /// If a thread cannot be made.
    pub fn start(
        self,
        source: Arc<dyn SnapshotSource>,
        recovered: &super::ReplayReport,
        tell: impl Fn(JournalEvent) + Send + Sync + 'static,
    ) -> Result<RunningKeeper, JournalError> {
        let Self { shared, old } = self;
        {
            let mut stats = shared.stats.lock();
            stats.recovered_records = recovered.records;
            stats.damaged_bytes = recovered.damaged_bytes;
        }
        log_names(source.as_ref(), shared.config.shards);
        let tell: Tell = Arc::new(tell);
        let mut running = RunningKeeper { shared, stop: Vec::new(), threads: Vec::new() };
        let (shared, told) = (Arc::clone(&running.shared), Arc::clone(&tell));
        running.spawn("journal-prepare", move |stop| {
            shared.prepare_until(&stop, &|outcome| {
                told(match outcome {
                    Ok(()) => JournalEvent::PreparedAgain,
                    Err(error) => JournalEvent::CannotPrepare(error.to_string()),
                });
            });
        })?;
        let mut work = Work::new(Arc::clone(&running.shared), source, tell, old);
        running.spawn("journal-keep", move |stop| work.run(&stop))?;
        Ok(running)
    }
}

impl RunningKeeper {
    /// The counters now.
    #[must_use]
    pub fn stats(&self) -> JournalStats {
        let mut stats = self.shared.stats.lock().clone();
        for shard in &self.shared.shards {
            stats.appended_records_total += shard.records_total();
            stats.appended_bytes_total += shard.bytes_total();
            stats.dropped_records_total += shard.dropped_total();
        }
        stats
    }

    /// Ends the background work after one last sync. Records go on being kept as long as the current segments last.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.stop.clear();
        for thread in self.threads.drain(..) {
            // A thread that panicked has said so itself.
            let _ = thread.join();
        }
    }

    fn spawn(&mut self, name: &str, work: impl FnOnce(Receiver<()>) + Send + 'static) -> Result<(), JournalError> {
        let (stop, stopped) = channel();
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || work(stopped))
            .map_err(|source| JournalError::io("start a thread for", &self.shared.config.dir, source))?;
        self.stop.push(stop);
        self.threads.push(thread);
        Ok(())
    }
}

impl Drop for RunningKeeper {
    fn drop(&mut self) {
        self.end();
    }
}

/// Names stand in the log of an earlier run, under numbers of that run. Logged again before the first request, they make
/// this run's log readable by itself. They come first in a snapshot: the first piece without one ends them.
fn log_names(source: &dyn SnapshotSource, shards: u16) {
    for shard in (0..shards).map(usize::from) {
        let mut cursor = Some(0);
        while let Some(from) = cursor {
            let mut names = Vec::new();
            cursor = source.snapshot(shard, from, &mut |record| match record {
                Record::Name { .. } | Record::ProxyEpoch { .. } => names.push(record.clone()),
                Record::Live(_)
                | Record::SnapshotBegin
                | Record::Lease { .. }
                | Record::Ended { .. }
                | Record::Stamp { .. }
                | Record::Buried { .. } => {}
            });
            if names.is_empty() {
                break;
            }
            source.append(shard, &names);
        }
    }
}

/// The keeping thread's state.
pub(super) struct Work {
    shared: Arc<Shared>,
    source: Arc<dyn SnapshotSource>,
    tell: Tell,
    /// Files of this directory that a later snapshot will replace: those of earlier runs, then this run's snapshots.
    replaceable: Vec<FileName>,
    /// Replaced files, and when they may go.
    to_remove: VecDeque<(Tick, PathBuf)>,
    snapshots: u64,
    snapshot_bytes: u64,
    /// Bytes appended in all when the last snapshot began.
    snapshot_at_bytes: u64,
    snapshot_not_before: Tick,
    snapshot_failing: bool,
    /// Dropped records that a finished snapshot has made up for.
    dropped_closed: u64,
    synced_at: Tick,
    synced_bytes: u64,
    disk_look_not_before: Tick,
}

impl Work {
    fn new(shared: Arc<Shared>, source: Arc<dyn SnapshotSource>, tell: Tell, old: Vec<FileName>) -> Self {
        Self {
            shared,
            source,
            tell,
            replaceable: old,
            to_remove: VecDeque::new(),
            snapshots: 0,
            snapshot_bytes: 0,
            snapshot_at_bytes: 0,
            snapshot_not_before: Tick(0),
            snapshot_failing: false,
            dropped_closed: 0,
            synced_at: Tick(0),
            synced_bytes: 0,
            disk_look_not_before: Tick(0),
        }
    }

    fn run(&mut self, stop: &Receiver<()>) {
        loop {
            self.look(self.now());
            match stop.recv_timeout(LOOK_EVERY) {
                Err(RecvTimeoutError::Timeout) => {}
                Ok(()) | Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        self.sync(self.now());
    }

    fn now(&self) -> Tick {
        (self.shared.host.now)().tick
    }

    fn bytes_total(&self) -> u64 {
        self.shared.shards.iter().map(|shard| shard.bytes_total()).sum()
    }

    fn dropped_total(&self) -> u64 {
        self.shared.shards.iter().map(|shard| shard.dropped_total()).sum()
    }

    fn look(&mut self, now: Tick) {
        let interval_ms = u64::from(self.shared.config.sync_interval_ms);
        if interval_ms > 0 && now >= self.synced_at.plus_millis(interval_ms) {
            self.sync(now);
        }
        let dropped = self.dropped_total();
        let gap = dropped > self.dropped_closed;
        if gap && !self.shared.stats.lock().degraded {
            self.shared.stats.lock().degraded = true;
            (self.tell)(JournalEvent::Degraded { dropped_total: dropped });
        }
        let log_bytes = self.bytes_total().saturating_sub(self.snapshot_at_bytes);
        let large = log_bytes > self.shared.config.compact_bytes_min.max(self.snapshot_bytes.saturating_mul(2));
        if (self.snapshots == 0 || gap || large) && now >= self.snapshot_not_before {
            self.snapshot(dropped);
        }
        self.remove_replaced(now);
        let segments = self.shared.segments.lock().len();
        self.shared.stats.lock().segments = u64::try_from(segments).unwrap_or(u64::MAX);
        if now >= self.disk_look_not_before {
            self.disk_look_not_before = now.plus_secs(DISK_LOOK_S);
            let bytes = bytes_on_disk(&self.shared.config.dir);
            self.shared.stats.lock().disk_bytes = bytes;
        }
    }

    fn snapshot(&mut self, dropped: u64) {
        let bytes_before = self.bytes_total();
        let written = snapshot::write(&self.shared, self.source.as_ref(), self.snapshots + 1);
        self.snapshot_not_before = self.now().plus_secs(SNAPSHOT_AGAIN_S);
        match written {
            Ok(done) => {
                if std::mem::take(&mut self.snapshot_failing) {
                    (self.tell)(JournalEvent::SnapshotWritten);
                }
                self.snapshots += 1;
                self.snapshot_bytes = done.bytes;
                self.snapshot_at_bytes = bytes_before;
                self.dropped_closed = dropped;
                self.replace(&done);
                let restored = {
                    let mut stats = self.shared.stats.lock();
                    stats.snapshots_total = self.snapshots;
                    stats.snapshot_bytes = done.bytes;
                    // What was dropped while the snapshot was taken may be missing in it: then another one follows.
                    stats.degraded && self.dropped_total() == dropped
                };
                if restored {
                    self.shared.stats.lock().degraded = false;
                    (self.tell)(JournalEvent::Restored);
                }
            }
            Err(error) => {
                self.shared.stats.lock().snapshots_failed_total += 1;
                if !std::mem::replace(&mut self.snapshot_failing, true) {
                    (self.tell)(JournalEvent::SnapshotFailed(error.to_string()));
                }
            }
        }
    }

    /// Everything before the snapshot is replaced by it, and may go when its last second has passed: counted
    /// from when the snapshot began, as nothing was written to those files after that.
    fn replace(&mut self, done: &snapshot::Snapshot) {
        let due = done.began.plus_secs(KEEP_REPLACED_S);
        let dir = &self.shared.config.dir;
        self.to_remove.extend(self.replaceable.drain(..).map(|name| (due, name.path(dir))));
        self.replaceable.push(done.name);
        let start_of = |shard| done.starts.iter().find(|(named, _)| *named == shard).map_or(0, |(_, start)| *start);
        self.shared.segments.lock().retain(|name, _| {
            let replaced = name.shard.is_some_and(|shard| name.sequence < start_of(shard));
            if replaced {
                self.to_remove.push_back((due, name.path(dir)));
            }
            !replaced
        });
    }

    fn remove_replaced(&mut self, now: Tick) {
        while let Some((due, path)) = self.to_remove.front()
            && now >= *due
        {
            // A file that cannot be removed is found again, and replaced again, at the next start.
            let _ = std::fs::remove_file(path);
            self.to_remove.pop_front();
        }
    }

    fn sync(&mut self, now: Tick) {
        self.synced_at = now;
        let bytes = self.bytes_total();
        let segments: Vec<_> =
            self.shared.segments.lock().iter().map(|(name, segment)| (*name, segment.clone())).collect();
        let mut failure = None;
        let mut names_are_durable = false;
        for (name, segment) in segments {
            let current = name.shard.is_some_and(|shard| {
                let stats = self.shared.shards.get(usize::from(shard));
                stats.is_some_and(|stats| name.sequence <= stats.sequence())
            });
            // A segment that waits to be used holds nothing yet, and nothing new need not be synced.
            if !current || (!segment.full && bytes == self.synced_bytes) {
                continue;
            }
            // The name first: records under a name that a power loss takes back would hardly be found again.
            if !segment.named && !names_are_durable {
                match (self.shared.disk.sync_dir)(&self.shared.config.dir) {
                    Ok(()) => names_are_durable = true,
                    Err(error) => failure = Some(error.to_string()),
                }
            }
            if !segment.named
                && names_are_durable
                && let Some(segment) = self.shared.segments.lock().get_mut(&name)
            {
                segment.named = true;
            }
            match (self.shared.disk.sync_data)(&segment.file) {
                Ok(()) if segment.full => {
                    self.shared.segments.lock().remove(&name);
                    // It still has to be replaced by a snapshot.
                    self.replaceable.push(name);
                }
                Ok(()) => {}
                Err(error) => failure = Some(error.to_string()),
            }
            self.shared.stats.lock().syncs_total += 1;
        }
        if failure.is_none() {
            self.synced_bytes = bytes;
        }
        let before = std::mem::replace(&mut self.shared.stats.lock().sync_error, failure.clone());
        match (before, failure) {
            (None, Some(error)) => (self.tell)(JournalEvent::SyncFailed(error)),
            (Some(_), None) => (self.tell)(JournalEvent::SyncRestored),
            (None, None) | (Some(_), Some(_)) => {}
        }
    }
}

#[cfg(test)]
impl Work {
    /// The keeping thread's work, done by the test itself.
    pub(super) fn of(keeper: Keeper, source: Arc<dyn SnapshotSource>) -> Self {
        Self::new(keeper.shared, source, Arc::new(|_| {}), keeper.old)
    }

    pub(super) fn look_now(&mut self) {
        self.look(self.now());
    }

    pub(super) fn prepare_now(&self) {
        self.shared.look().unwrap();
    }

    pub(super) fn disk_bytes(&self) -> u64 {
        self.shared.stats.lock().disk_bytes
    }

    pub(super) fn sync_now(&mut self) {
        self.sync(self.now());
    }
}

#[cfg(test)]
impl Keeper {
    pub(super) fn dropped_total(&self) -> u64 {
        self.shared.shards.iter().map(|shard| shard.dropped_total()).sum()
    }
}

#[cfg(test)]
impl RunningKeeper {
    pub(super) fn is_ready(&self) -> bool {
        self.shared.is_ready()
    }
}
