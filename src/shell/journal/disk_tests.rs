//! A disk that is slow, full, or loses its power: the journal keeps what it promised, and tells the rest.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::keeper::Work;
use super::preparer::Disk;
use super::tests::{Model, config, files, live, read, replayed, wait_until, write_and_die};
use super::*;
use crate::sync::Mutex;
use crate::units::{Now, Tick, UnixMillis};

/// No room while a file of this name stands in the directory.
const FULL: &str = "the-disk-is-full";

const SMALL_DISK: Disk = Disk {
    make: |path, header| {
        if path.with_file_name(FULL).exists() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        (Disk::real().make)(path, header)
    },
    ..Disk::real()
};

type Told = Arc<Mutex<Vec<JournalEvent>>>;

fn telling(told: &Told) -> impl Fn(JournalEvent) + Send + Sync + 'static {
    let told = Arc::clone(told);
    move |event| told.lock().push(event)
}

#[test]
fn a_replaced_segment_stays_two_seconds_from_the_snapshot_however_slow_the_sync_before_it() {
    static CLOCK: AtomicU64 = AtomicU64::new(1_000_000_000_000);
    let host = Host {
        boot_id: [1; 16],
        now: || Now { tick: Tick(CLOCK.load(Ordering::Relaxed)), wall: UnixMillis(1_000_000) },
    };
    let slow = Disk {
        sync_data: |_: &File| {
            CLOCK.fetch_add(60_000_000_000, Ordering::Relaxed);
            Ok(())
        },
        ..Disk::real()
    };
    let dir = tempfile::tempdir().unwrap();
    write_and_die(dir.path(), &[live(1)]);
    let mut opened = open_on(&config(dir.path(), 1), host, slow).unwrap();
    let old = files(dir.path()).remove(0);
    let model = Model::new(std::mem::take(&mut opened.journals));
    model.apply(&live(2));
    let mut work = Work::of(opened.keeper, model);
    // It syncs for a minute first, then writes a snapshot.
    work.look_now();
    assert!(files(dir.path()).iter().any(|path| path.to_str().unwrap().contains("snapshot")));
    work.look_now();
    assert!(old.exists(), "its last second is still wanted");
    CLOCK.fetch_add(2_000_000_000, Ordering::Relaxed);
    work.look_now();
    assert!(!old.exists());
}

#[test]
fn what_fails_is_told_once_and_told_again_when_it_works_although_nothing_was_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let mut opened = open_on(&config(dir.path(), 1), Host::this(), SMALL_DISK).unwrap();
    let blocked = dir.path().join("snapshot-00000001-0000000001.new");
    std::fs::create_dir(&blocked).unwrap();
    std::fs::write(dir.path().join(FULL), b"").unwrap();
    let model = Model::new(std::mem::take(&mut opened.journals));
    let told = Told::default();
    let report = opened.replay.report().clone();
    let keeper = opened.keeper.start(model, &report, telling(&told)).unwrap();
    wait_until("both are told", || told.lock().len() == 2);
    std::fs::remove_file(dir.path().join(FULL)).unwrap();
    wait_until("segments are made again", || told.lock().contains(&JournalEvent::PreparedAgain));
    assert!(!told.lock().contains(&JournalEvent::SnapshotWritten));
    std::fs::remove_dir(&blocked).unwrap();
    wait_until("a snapshot is written", || told.lock().contains(&JournalEvent::SnapshotWritten));
    drop(keeper);
    assert_eq!(told.lock().len(), 4, "{:?}", told.lock());
}

#[test]
fn a_segment_whose_name_a_power_loss_took_back_is_read_and_later_replaced() {
    let dir = tempfile::tempdir().unwrap();
    write_and_die(dir.path(), &[live(1)]);
    write_and_die(dir.path(), &[live(2)]);
    let [first, second] = files(dir.path()).try_into().unwrap();
    std::fs::rename(&second, second.with_extension("new")).unwrap();
    // These are what they seem: half made.
    for name in ["segment-00000007-0000-0000000001.new", "snapshot-00000007-0000000001.new"] {
        std::fs::write(dir.path().join(name), b"CGJRNL").unwrap();
    }
    let (records, report) = read(dir.path());
    assert_eq!(records, [live(1), live(2)]);
    assert_eq!(report.damage, vec![]);
    assert!(first.exists() && second.exists(), "it has its name again");
    let left = std::fs::read_dir(dir.path()).unwrap();
    assert!(left.into_iter().all(|entry| entry.unwrap().path().extension().is_none_or(|found| found != "new")));
}

#[test]
fn a_segment_under_both_names_is_read_once() {
    let dir = tempfile::tempdir().unwrap();
    write_and_die(dir.path(), &[live(1)]);
    let [path] = files(dir.path()).try_into().unwrap();
    std::fs::copy(&path, path.with_extension("new")).unwrap();
    assert_eq!(read(dir.path()).0, [live(1)]);
}

#[test]
fn a_segments_name_is_synced_before_what_is_in_it() {
    static STEPS: Mutex<Vec<&str>> = Mutex::new(Vec::new());
    let watched = Disk {
        sync_data: |_: &File| {
            STEPS.lock().push("data");
            Ok(())
        },
        sync_dir: |_| {
            STEPS.lock().push("dir");
            Ok(())
        },
        ..Disk::real()
    };
    let dir = tempfile::tempdir().unwrap();
    let mut opened = open_on(&config(dir.path(), 1), Host::this(), watched).unwrap();
    let model = Model::new(std::mem::take(&mut opened.journals));
    let mut work = Work::of(opened.keeper, Arc::<Model>::clone(&model));
    for number in 0..2 {
        model.apply(&live(number));
        work.sync_now();
    }
    assert_eq!(*STEPS.lock(), ["dir", "data", "data"]);
}

#[test]
fn a_full_disk_at_start_is_told_and_a_snapshot_closes_the_gap_when_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    write_and_die(dir.path(), &[live(1)]);
    std::fs::write(dir.path().join(FULL), b"").unwrap();
    let mut opened = open_on(&config(dir.path(), 2), Host::this(), SMALL_DISK).unwrap();
    assert_eq!(replayed(opened.replay.by_ref()).len(), 1, "what the crashed run kept comes back");
    let blocked = dir.path().join("snapshot-00000002-0000000001.new");
    std::fs::create_dir(&blocked).unwrap();
    let model = Model::new(std::mem::take(&mut opened.journals));
    let told = Told::default();
    let report = opened.replay.report().clone();
    let source: Arc<dyn SnapshotSource> = Arc::<Model>::clone(&model);
    let keeper = opened.keeper.start(source, &report, telling(&told)).unwrap();
    (1..=10).for_each(|number| model.apply(&live(number)));
    wait_until("the gap is told", || told.lock().contains(&JournalEvent::Degraded { dropped_total: 10 }));
    let no_room = |event: &JournalEvent| matches!(event, JournalEvent::CannotPrepare(why) if why.contains("no room"));
    wait_until("the reason is told", || told.lock().iter().any(no_room));
    assert_eq!(keeper.stats().appended_records_total, 0);
    std::fs::remove_file(dir.path().join(FULL)).unwrap();
    std::fs::remove_dir(&blocked).unwrap();
    wait_until("segments are made", || told.lock().contains(&JournalEvent::PreparedAgain));
    wait_until("the gap is closed", || told.lock().contains(&JournalEvent::Restored));
    model.apply(&live(11));
    let expected = model.all();
    drop((keeper, opened.replay, model));
    let mut opened = open(&config(dir.path(), 1), Host::this()).unwrap();
    assert_eq!(replayed(opened.replay.by_ref()), expected);
}

#[test]
fn full_segments_that_wait_for_a_snapshot_are_counted_as_used_space() {
    static CLOCK: AtomicU64 = AtomicU64::new(1_000_000_000_000);
    let host = Host {
        boot_id: [1; 16],
        now: || Now { tick: Tick(CLOCK.load(Ordering::Relaxed)), wall: UnixMillis(1_000_000) },
    };
    let dir = tempfile::tempdir().unwrap();
    let mut opened = open_on(&config(dir.path(), 1), host, Disk::real()).unwrap();
    let model = Model::new(std::mem::take(&mut opened.journals));
    let mut work = Work::of(opened.keeper, Arc::<Model>::clone(&model));
    work.look_now();
    for number in 0..3000 {
        work.prepare_now();
        model.apply(&live(number));
    }
    CLOCK.fetch_add(1_500_000_000, Ordering::Relaxed);
    work.look_now();
    let on_disk: u64 = files(dir.path()).iter().map(|path| path.metadata().unwrap().len()).sum();
    assert!(on_disk >= 4 * u64::from(SEGMENT_BYTES_MIN));
    assert_eq!(work.disk_bytes(), on_disk);
}
