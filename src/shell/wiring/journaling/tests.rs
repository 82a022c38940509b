//! What a start makes of the journal it finds.

use super::*;
use crate::admission::{Admit, CallId, Cause, Gate};
use crate::shell::store::load_hash_key;
use crate::shell::telemetry::Counters;

/// One life of a sidecar without front ends, with a limit on the rate.
struct Life {
    context: Arc<Context>,
    journaling: Journaling,
    recovery: Recovery,
}

fn config(calls_max: u32) -> Config {
    let mut config = Config::defaults("test", Path::new("unused"));
    config.listen.reactors = 1;
    config.admission.calls_max = calls_max;
    config
}

fn start(data_dir: &Path, config: Config) -> Life {
    let (hash_key, key_origin) = load_hash_key(data_dir).unwrap();
    let bounds = config.bounds();
    let (mut journaling, journals) = Journaling::open(&config, data_dir, bounds.shards).unwrap();
    let policy = crate::admission::Policy { rate: Some(crate::units::Cps::saturating(1000)), ..Default::default() };
    let gate = Gate::new(policy, bounds, hash_key, 1, journals);
    let context = Arc::new(Context::new(gate, config, Counters::default()));
    let recovery = journaling.recover(&context, &key_origin);
    Life { context, journaling, recovery }
}

impl Life {
    fn admit(&self, id: &str) -> Cause {
        self.context.gate.admit(&Admit::call(CallId::new(id.as_bytes()).unwrap()), self.context.clock.now()).cause
    }

    /// Whether the rate window is full. The test must come here within a second of its start.
    fn is_full(&self) -> bool {
        self.admit("a call") == Cause::Cps
    }
}

fn segment(data_dir: &Path) -> PathBuf {
    let files = std::fs::read_dir(data_dir.join(DIRECTORY)).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|extension| extension == "log")).min().unwrap()
}

#[test]
fn a_first_start_and_a_start_after_a_crash_admit_at_once() {
    let dir = tempfile::tempdir().unwrap();
    for _ in 0..3 {
        assert!(!start(dir.path(), config(1000)).is_full());
    }
}

#[test]
fn after_damage_the_windows_start_full() {
    let dir = tempfile::tempdir().unwrap();
    let life = start(dir.path(), config(1000));
    assert_eq!(life.admit("one"), Cause::Ok);
    drop(life);
    let path = segment(dir.path());
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[260] ^= 0xff;
    std::fs::write(&path, bytes).unwrap();
    assert!(start(dir.path(), config(1000)).is_full());
}

#[test]
fn calls_that_do_not_fit_are_counted_told_and_fill_the_windows() {
    let dir = tempfile::tempdir().unwrap();
    let life = start(dir.path(), config(4000));
    for number in 0..900 {
        assert_eq!(life.admit(&number.to_string()), Cause::Ok);
    }
    drop(life);
    let life = start(dir.path(), config(100));
    assert!(life.recovery.dropped > 0);
    assert_eq!(life.context.counters.journal().recovery_dropped.get(), u64::from(life.recovery.dropped));
    let active = life.context.alarms.active();
    assert!(active.iter().any(|alarm| alarm.id == AlarmId::Capacity && alarm.subject == "recovered calls"));
    assert!(life.journaling.why_unsure(&life.recovery, &KeyOrigin::Loaded).is_some());
}

#[test]
fn a_start_after_a_run_without_a_journal_is_unsure_until_that_is_two_seconds_ago() {
    let dir = tempfile::tempdir().unwrap();
    drop(start(dir.path(), config(1000)));
    let off = || {
        let mut off = config(1000);
        off.journal.enabled = false;
        off
    };
    assert!(start(dir.path(), off()).is_full());
    let mut life = start(dir.path(), config(1000));
    assert!(life.is_full());
    life.journaling.begin(&life.context).unwrap();
    life.journaling.look(&life.context);
    assert!(dir.path().join(OFF_MARK).exists(), "a crash now must not forget it");
    life.journaling.recovered_at = Tick(0);
    life.journaling.look(&life.context);
    assert!(!dir.path().join(OFF_MARK).exists());
    drop(life);
    assert!(!start(dir.path(), config(1000)).is_full());
}

#[test]
fn a_lost_journal_or_a_new_key_fills_the_windows() {
    let dir = tempfile::tempdir().unwrap();
    let life = start(dir.path(), config(1000));
    let replaced = KeyOrigin::Replaced { reason: "damaged".to_owned(), kept_as: PathBuf::new() };
    assert!(life.journaling.why_unsure(&life.recovery, &replaced).is_some());
    drop(life);
    std::fs::remove_dir_all(dir.path().join(DIRECTORY)).unwrap();
    assert!(start(dir.path(), config(1000)).is_full());
}

#[test]
fn what_works_again_clears_its_own_alarm_and_no_other() {
    let life = start(tempfile::tempdir().unwrap().path(), config(1000));
    let alarms = &life.context.alarms;
    let subjects = || alarms.active().into_iter().map(|alarm| alarm.subject).collect::<Vec<_>>();
    tell(alarms, &JournalEvent::CannotPrepare("no room".to_owned()));
    tell(alarms, &JournalEvent::SnapshotFailed("no room".to_owned()));
    tell(alarms, &JournalEvent::Degraded { dropped_total: 1 });
    assert_eq!(subjects().len(), 3);
    for (event, subject) in [
        (JournalEvent::PreparedAgain, "segments"),
        (JournalEvent::SnapshotWritten, "snapshot"),
        (JournalEvent::Restored, "records"),
    ] {
        assert!(subjects().iter().any(|active| active == subject));
        tell(alarms, &event);
        assert!(!subjects().iter().any(|active| active == subject));
    }
    assert!(subjects().is_empty());
}
