//! The journal's life: opened, read back into the gate, kept, stopped; and what it has to say, as alarms and counters.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::json;

use super::ServeError;
use crate::admission::Recovery;
use crate::shell::clock::Clock;
use crate::shell::config::Config;
use crate::shell::context::Context;
use crate::shell::journal::{
    self, Host, JournalConfig, JournalEvent, JournalStats, Keeper, Replay, ReplayReport, RunningKeeper, ShardJournal,
};
use crate::shell::store::KeyOrigin;
use crate::shell::telemetry::{AlarmId, Alarms, EventKind, Raise, Severity};
use crate::units::Tick;

#[cfg(test)]
mod tests;

/// The directory under `data_dir`.
const DIRECTORY: &str = "journal";

/// Beside it: a run had its journal switched off, and nothing is known of it.
const OFF_MARK: &str = "journal-was-off";

/// The journal of this sidecar; `None` inside where it is switched off.
#[derive(Debug)]
pub(super) struct Journaling {
    opened: Option<(Replay, Keeper)>,
    report: ReplayReport,
    keeper: Option<RunningKeeper>,
    /// Where it is written that a run had its journal switched off, and whether it was before this one.
    off_mark: PathBuf,
    was_off: bool,
    recovered_at: Tick,
}

impl Journaling {
    /// Opens it, and gives a writer for each shard.
    ///
    /// # Errors
    /// If it cannot be used, or a later version wrote it.
    pub(super) fn open(config: &Config, data_dir: &Path, shards: u16) -> Result<(Self, Vec<ShardJournal>), ServeError> {
        let off_mark = data_dir.join(OFF_MARK);
        let was_off = off_mark.exists();
        let report = ReplayReport::default();
        if !config.journal.enabled {
            if let Err(error) = std::fs::write(&off_mark, "") {
                tracing::warn!("cannot write {}, which tells a later start of a gap: {error}", off_mark.display());
            }
            let off = Self { opened: None, report, keeper: None, off_mark, was_off: true, recovered_at: Tick(0) };
            return Ok((off, (0..shards).map(|_| ShardJournal::off()).collect()));
        }
        let settings = JournalConfig {
            segment_bytes: u32::try_from(config.journal.segment_size.get()).unwrap_or(u32::MAX),
            sync_interval_ms: config.journal.fsync_interval.get().saturating_mul(1_000),
            ..JournalConfig::new(data_dir.join(DIRECTORY), shards)
        };
        let opened = journal::open(&settings, Host::this())?;
        let read = Some((opened.replay, opened.keeper));
        let journaling = Self { opened: read, report, keeper: None, off_mark, was_off, recovered_at: Tick(0) };
        Ok((journaling, opened.journals))
    }

    /// Puts back what it kept. Before the first request. Where what was admitted in the last second is not surely known,
    /// the rate windows start full: for one second nothing is admitted that counts against a rate.
    pub(super) fn recover(&mut self, context: &Context, key: &KeyOrigin) -> Recovery {
        let recovery = self.put_back(context);
        let now = context.clock.now();
        if let Some(why) = self.why_unsure(&recovery, key) {
            tracing::warn!("the rate windows start full, so that the last second is not admitted twice: {why}");
            context.gate.fill_windows(now);
        }
        self.recovered_at = now.tick;
        recovery
    }

    /// Why admissions of the last second may be unknown.
    fn why_unsure(&self, recovery: &Recovery, key: &KeyOrigin) -> Option<&'static str> {
        let has_history = match key {
            KeyOrigin::Loaded => true,
            KeyOrigin::Created => false,
            KeyOrigin::Replaced { .. } => return Some("the key for hashing call ids was replaced"),
        };
        if self.report.damaged_places > 0 {
            return Some("the journal was damaged");
        }
        if recovery.dropped > 0 {
            return Some("not all calls of the journal fitted into the table");
        }
        // A first start has nothing to be unsure of.
        if has_history && self.was_off {
            return Some("the journal is or was switched off");
        }
        (has_history && self.report.files == 0).then_some("the run before left no journal")
    }

    fn put_back(&mut self, context: &Context) -> Recovery {
        let Some((replay, _)) = &mut self.opened else { return Recovery::default() };
        let now = context.clock.now();
        let recovery = context.gate.recover(&mut *replay, 0, now);
        self.report = replay.report().clone();
        let counters = context.counters.journal();
        counters.recovered.set(self.report.records);
        counters.recovered_calls.set(recovery.live.into());
        counters.recovery_dropped.set(recovery.dropped.into());
        counters.torn_tails.set(self.report.damaged_places);
        if self.report.files > 0 {
            let Recovery { live, lapsed, dropped, stamps, released, buried } = recovery;
            let text = format!(
                "The journal brought back {live} live calls, in doubt until their proxy names or releases them; \
                 {lapsed} had ended meanwhile."
            );
            tracing::info!(live, lapsed, dropped, stamps, records = self.report.records, "{text}");
            let data = json!({
                "live": live, "lapsed": lapsed, "dropped": dropped, "stamps": stamps, "released": released,
                "buried": buried,
                "records": self.report.records, "damaged_bytes": self.report.damaged_bytes,
            });
            context.events.publish(now.wall, EventKind::Recovered, Severity::Info, text, data);
        }
        for damage in &self.report.damage {
            tracing::warn!("journal: {damage}");
        }
        if self.report.damaged_places > 0 {
            context.alarms.raise(torn(&self.report), now.wall);
        }
        if recovery.dropped > 0 {
            context.alarms.raise(no_place(recovery.dropped), now.wall);
        }
        recovery
    }

    /// Starts its background work, after recovery and before the first request.
    ///
    /// # Errors
    /// If a thread cannot be made.
    pub(super) fn begin(&mut self, context: &Arc<Context>) -> Result<(), ServeError> {
        let Some((_, keeper)) = self.opened.take() else { return Ok(()) };
        let alarms = context.alarms.clone();
        let source: Arc<Context> = Arc::clone(context);
        self.keeper = Some(keeper.start(source, &self.report, move |event| tell(&alarms, &event))?);
        context.counters.journal().healthy.set(1);
        Ok(())
    }

    /// Takes over its counters. Each second or so.
    pub(super) fn look(&mut self, context: &Context) {
        let Some(keeper) = &self.keeper else { return };
        // A crash right after the start must not forget it: only what a second has passed over is known again.
        if self.was_off && context.clock.now().tick >= self.recovered_at.plus_secs(2) {
            // Should that fail, the next look or the next start tries again.
            self.was_off = std::fs::remove_file(&self.off_mark).is_err() && self.off_mark.exists();
        }
        let JournalStats {
            appended_records_total,
            appended_bytes_total,
            dropped_records_total,
            segments_made_total,
            segments_failed_total,
            snapshots_total,
            snapshots_failed_total,
            disk_bytes,
            degraded,
            sync_error,
            ..
        } = keeper.stats();
        let counters = context.counters.journal();
        counters.appended.set(appended_records_total);
        counters.bytes.set(appended_bytes_total);
        counters.dropped.set(dropped_records_total);
        counters.segments.set(segments_made_total);
        counters.snapshots.set(snapshots_total);
        counters.errors.set(segments_failed_total.saturating_add(snapshots_failed_total));
        counters.disk_bytes.set(disk_bytes);
        counters.healthy.set((!degraded && sync_error.is_none()).into());
    }

    /// Ends its background work, after a last sync.
    pub(super) fn stop(&mut self, context: &Context) {
        self.look(context);
        if let Some(keeper) = self.keeper.take() {
            keeper.stop();
        }
    }
}

/// What the journal says, as alarms. Called from its threads.
fn tell(alarms: &Alarms, event: &JournalEvent) {
    let wall = Clock.wall();
    let (subject, what, effect) = match event {
        JournalEvent::Restored => {
            alarms.clear(AlarmId::JournalDegraded, "records", wall);
            return;
        }
        JournalEvent::PreparedAgain => {
            alarms.clear(AlarmId::JournalDegraded, "segments", wall);
            return;
        }
        JournalEvent::SnapshotWritten => {
            alarms.clear(AlarmId::JournalDegraded, "snapshot", wall);
            return;
        }
        JournalEvent::SyncRestored => {
            alarms.clear(AlarmId::JournalDegraded, "sync", wall);
            return;
        }
        JournalEvent::CannotPrepare(error) => (
            "segments",
            format!("The journal's next segment cannot be made: {error}."),
            "Calls go on, and are kept while the current segment lasts, if there is one; those after that are dropped."
                .to_owned(),
        ),
        JournalEvent::Degraded { dropped_total } => (
            "records",
            format!("The journal has dropped {dropped_total} records since start."),
            "Calls go on; after a restart now some live calls would not be known again.".to_owned(),
        ),
        JournalEvent::SyncFailed(error) => (
            "sync",
            format!("The journal cannot be synced to disk: {error}."),
            "Calls go on, and survive a crash of the sidecar; a power loss would lose more than a second.".to_owned(),
        ),
        JournalEvent::SnapshotFailed(error) => (
            "snapshot",
            format!("A snapshot of the live calls cannot be written: {error}."),
            "Calls go on and are kept; the journal grows on disk.".to_owned(),
        ),
    };
    alarms.raise(
        Raise {
            id: AlarmId::JournalDegraded,
            subject: subject.to_owned(),
            severity: Severity::Major,
            what,
            effect,
            next: "It is tried again each second; a snapshot of all live calls closes the gap.".to_owned(),
            remedy: "Check the disk under node.data_dir: space, errors, speed.".to_owned(),
        },
        wall,
    );
}

fn no_place(dropped: u32) -> Raise {
    Raise {
        id: AlarmId::Capacity,
        subject: "recovered calls".to_owned(),
        severity: Severity::Major,
        what: format!("{dropped} live calls of the journal did not fit into the table of calls."),
        effect: "They are not counted, so that more calls than the limits say can be live until they end.".to_owned(),
        next: "The alarm stays until the next start.".to_owned(),
        remedy: "Set admission.calls_max at least as high as it was before, and restart.".to_owned(),
    }
}

fn torn(report: &ReplayReport) -> Raise {
    let first = report.damage.first().map(|damage| format!(" First: {damage}.")).unwrap_or_default();
    Raise {
        id: AlarmId::JournalTorn,
        subject: String::new(),
        severity: Severity::Warning,
        what: format!(
            "The journal was damaged in {} places, {} bytes in all.{first}",
            report.damaged_places, report.damaged_bytes
        ),
        effect: "Calls of the damaged records are not known; everything else came back.".to_owned(),
        next: "A RESYNC of each proxy puts its calls right. The alarm stays until the next start.".to_owned(),
        remedy: "A power cut explains a torn end; otherwise check the disk.".to_owned(),
    }
}
