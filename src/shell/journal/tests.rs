//! The journal as a whole: what is written, killed at any point and damaged in any way, is read back or reported.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::format::HEADER_BYTES;
use super::*;
use crate::admission::record_codec::tests::any_record;
use crate::admission::{Journal, LiveRecord, NameClass, Record};
use crate::sync::Mutex;
use crate::units::{CallKey, Now, Tick, UnixMillis};

pub(super) const HOST: Host =
    Host { boot_id: [1; 16], now: || Now { tick: Tick(5_000_000_000), wall: UnixMillis(1_000_000) } };

pub(super) fn config(dir: &Path, shards: u16) -> JournalConfig {
    JournalConfig { segment_bytes: SEGMENT_BYTES_MIN, ..JournalConfig::new(dir.to_owned(), shards) }
}

pub(super) fn live(number: u64) -> Record {
    Record::Live(LiveRecord {
        key: CallKey { high: number, low: !number },
        admitted_at: Tick(number),
        lease_ends_at: Tick(number + 1_000_000_000_000),
        lease_s: 300,
        ..LiveRecord::default()
    })
}

fn ended(number: u64, at: u64) -> Record {
    Record::Ended { key: CallKey { high: number, low: !number }, at: Tick(at), released: true }
}

/// Writes records with no background work, and lets go of everything without a flush, as a kill does.
pub(super) fn write_and_die(dir: &Path, records: &[Record]) {
    let mut opened = open(&config(dir, 1), HOST).unwrap();
    opened.replay.by_ref().for_each(drop);
    records.iter().for_each(|record| opened.journals[0].append(record));
    assert_eq!(opened.keeper_dropped_total(), 0);
}

impl Opened {
    pub(super) fn keeper_dropped_total(&self) -> u64 {
        self.keeper.dropped_total()
    }
}

pub(super) fn read(dir: &Path) -> (Vec<Record>, ReplayReport) {
    let mut opened = open(&config(dir, 1), HOST).unwrap();
    let records = opened.replay.by_ref().collect();
    (records, opened.replay.report().clone())
}

pub(super) fn files(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
    files.sort();
    files
}

/// A directory with one segment file of these bytes.
fn dir_with(name: &str, bytes: &[u8]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join(name), bytes).unwrap();
    dir
}

fn one_segment(records: &[Record]) -> (String, Vec<u8>, usize) {
    let dir = tempfile::tempdir().unwrap();
    write_and_die(dir.path(), records);
    let [path] = files(dir.path()).try_into().unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let used = (bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1).next_multiple_of(8);
    (path.file_name().unwrap().to_str().unwrap().to_owned(), bytes, used)
}

fn sample() -> Vec<Record> {
    vec![
        Record::Name { class: NameClass::Trunk, number: 1, name: b"carrier".as_slice().into() },
        live(1),
        Record::Stamp { at: Tick(2), trunk: None, tenant: None },
        live(3),
        ended(1, 4),
    ]
}

fn without_numbers(records: Vec<Record>) -> Vec<Record> {
    let strip = |record| match record {
        Record::Live(live) => {
            Some(Record::Live(LiveRecord { trunk: None, tenant: None, proxy: None, license_type: None, ..live }))
        }
        Record::Stamp { at, .. } => Some(Record::Stamp { at, trunk: None, tenant: None }),
        Record::Name { .. } | Record::ProxyEpoch { .. } => None,
        other @ (Record::SnapshotBegin | Record::Lease { .. } | Record::Ended { .. } | Record::Buried { .. }) => {
            Some(other)
        }
    };
    records.into_iter().filter_map(strip).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn what_was_written_before_a_kill_is_read_back_as_it_was(records in prop::collection::vec(any_record(), 0..200)) {
        let dir = tempfile::tempdir().unwrap();
        write_and_die(dir.path(), &records);
        let (read, report) = read(dir.path());
        // Numbers of names have tests of their own; here nothing logs the names.
        prop_assert_eq!(without_numbers(read), without_numbers(records));
        prop_assert_eq!(report.damage, vec![]);
    }
}

#[test]
fn runs_follow_one_another_until_a_snapshot_replaces_them() {
    let dir = tempfile::tempdir().unwrap();
    for run in 0..5 {
        write_and_die(dir.path(), &[live(run), live(run + 100)]);
    }
    let expected: Vec<Record> = (0..5).flat_map(|run| [live(run), live(run + 100)]).collect();
    assert_eq!(read(dir.path()).0, expected);
}

#[test]
fn a_log_cut_at_any_byte_yields_every_record_before_the_cut_and_says_so() {
    let records = sample();
    let (name, bytes, used) = one_segment(&records);
    for cut in 0..used + 9 {
        let dir = dir_with(&name, &bytes[..cut]);
        let (read, report) = read(dir.path());
        let whole = records.iter().zip(read.iter()).filter(|(written, read)| written == read).count();
        assert_eq!(whole, read.len(), "only a prefix, cut at {cut}");
        if cut >= used {
            assert_eq!(read, records, "cut at {cut}");
        }
        // An empty file was made and never used; anything else that is too short is told.
        assert_eq!(report.damage.is_empty(), cut == 0, "cut at {cut}: {:?}", report.damage);
        if cut >= HEADER_BYTES {
            let last = report.damage.last().unwrap();
            assert_eq!(last.kind, DamageKind::Cut);
            assert_eq!((last.offset, last.bytes), (cut.try_into().unwrap(), (bytes.len() - cut).try_into().unwrap()));
        }
    }
}

#[test]
fn a_flipped_byte_costs_at_most_the_record_that_it_is_in() {
    let records = sample();
    let (name, bytes, used) = one_segment(&records);
    for at in 0..used {
        for flip in [1, 0x80, 0xff] {
            let mut bad = bytes.clone();
            bad[at] ^= flip;
            let dir = dir_with(&name, &bad);
            let (read, report) = read(dir.path());
            if at < HEADER_BYTES {
                assert_eq!(read, records, "the header is there twice, byte {at}");
                continue;
            }
            assert!(read.len() + 1 >= records.len(), "byte {at}: {read:?}");
            assert!(read.iter().all(|record| records.contains(record)), "nothing false is read, byte {at}");
            if read.len() < records.len() {
                let [damage] = report.damage.as_slice() else { panic!("byte {at}: {:?}", report.damage) };
                let at = u64::try_from(at).unwrap();
                assert!(damage.offset <= at && at < damage.offset + damage.bytes.max(8), "byte {at}: {damage}");
                assert!(damage.to_string().starts_with(&name), "{damage}");
            }
        }
    }
}

#[test]
fn a_damaged_segment_keeps_no_later_one_from_being_read() {
    let dir = tempfile::tempdir().unwrap();
    write_and_die(dir.path(), &sample());
    write_and_die(dir.path(), &[live(7)]);
    let first = files(dir.path()).remove(0);
    let mut bytes = std::fs::read(&first).unwrap();
    bytes[..HEADER_BYTES].fill(0xAB);
    std::fs::write(&first, bytes).unwrap();
    let (read, report) = read(dir.path());
    assert_eq!(read, [live(7)]);
    assert_eq!(report.damage[0].kind, DamageKind::Header);
    assert_eq!(report.damaged_bytes, u64::from(SEGMENT_BYTES_MIN));
}

#[test]
fn bytes_of_an_older_segment_in_recycled_blocks_never_pass_for_records() {
    let (_, old, old_used) = one_segment(&(0..100).map(live).collect::<Vec<_>>());
    let (name, mut bytes, used) = one_segment(&[live(1000)]);
    // The blocks behind the log's end hold what another file left there, at the very same offsets.
    let end = used.next_multiple_of(64);
    bytes[end..old_used].copy_from_slice(&old[end..old_used]);
    let dir = dir_with(&name, &bytes);
    let (read, report) = read(dir.path());
    assert_eq!(read, [live(1000)]);
    assert_eq!(report.damage[0].kind, DamageKind::Tail);
    // The same file's own records do not pass at another offset either.
    let (name, mut bytes, used) = one_segment(&[live(1), live(2)]);
    bytes.copy_within(HEADER_BYTES..used, used.next_multiple_of(64));
    let dir = dir_with(&name, &bytes);
    assert_eq!(self::read(dir.path()).0, [live(1), live(2)]);
}

#[test]
fn a_journal_of_a_later_version_is_refused_by_name_and_nothing_is_touched() {
    for (at, words) in [(6, "format 2, records 2"), (8, "format 1, records 3")] {
        let (name, mut bytes, _) = one_segment(&sample());
        for copy in 0..2 {
            let begin = copy * HEADER_BYTES / 2;
            bytes[begin + at] += 1;
            let sum = xxhash_rust::xxh3::xxh3_64(&bytes[begin..begin + HEADER_BYTES / 2 - 8]).to_le_bytes();
            bytes[begin + HEADER_BYTES / 2 - 8..begin + HEADER_BYTES / 2].copy_from_slice(&sum);
        }
        let dir = dir_with(&name, &bytes);
        std::fs::write(dir.path().join("segment-00000009-0000-0000000002.new"), b"unfinished").unwrap();
        let told = open(&config(dir.path(), 1), HOST).unwrap_err().to_string();
        assert!(told.contains(words) && told.contains("format 1, records 2.") && told.contains(&name), "{told}");
        assert!(told.contains("nothing was changed"), "{told}");
        assert_eq!(files(dir.path()).len(), 1);
        assert_eq!(std::fs::read(dir.path().join(&name)).unwrap(), bytes);
        assert!(dir.path().join("segment-00000009-0000-0000000002.new").exists());
    }
}

#[test]
fn two_processes_cannot_share_a_journal() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(&config(dir.path(), 1), HOST).unwrap();
    let told = open(&config(dir.path(), 1), HOST).unwrap_err().to_string();
    assert!(told.contains("in use by another callgate"), "{told}");
    drop(first);
    open(&config(dir.path(), 1), HOST).unwrap();
}

#[test]
fn a_reboot_moves_every_tick_by_the_wall_clock() {
    let dir = tempfile::tempdir().unwrap();
    write_and_die(dir.path(), &[live(4_000_000_000)]);
    // Written at tick 5 s = wall 1000 s. Now it is tick 3 s = wall 1010 s: old tick 5 s is 7 s before this boot.
    let rebooted = Host { boot_id: [2; 16], now: || Now { tick: Tick(3_000_000_000), wall: UnixMillis(1_010_000) } };
    let mut opened = open(&config(dir.path(), 1), rebooted).unwrap();
    let Some(Record::Live(read)) = opened.replay.next() else { panic!("one record") };
    assert_eq!(read.admitted_at, Tick(0), "before this boot");
    assert_eq!(read.lease_ends_at, Tick(4_000_000_000 + 1_000_000_000_000 - 12_000_000_000));
}

#[test]
fn without_a_next_segment_records_are_dropped_and_counted_and_the_others_kept() {
    let dir = tempfile::tempdir().unwrap();
    let mut opened = open(&config(dir.path(), 1), HOST).unwrap();
    // No background work fills the next segment: the log's one segment runs full.
    let fits = (0_u64..)
        .take_while(|number| {
            opened.journals[0].append(&live(*number));
            opened.keeper_dropped_total() == 0
        })
        .count();
    opened.journals[0].append(&live(0));
    assert_eq!(opened.keeper_dropped_total(), 2);
    drop(opened);
    assert_eq!(read(dir.path()).0.len(), fits, "what was taken is kept");
}

/// A gate's worth of state, without the gate.
#[derive(Debug)]
pub(super) struct Model(Mutex<ModelState>);

#[derive(Debug)]
struct ModelState {
    journals: Vec<ShardJournal>,
    live: Vec<BTreeMap<CallKey, LiveRecord>>,
}

impl Model {
    pub(super) fn new(journals: Vec<ShardJournal>) -> Arc<Self> {
        let live = journals.iter().map(|_| BTreeMap::new()).collect();
        Arc::new(Self(Mutex::new(ModelState { journals, live })))
    }

    fn shard(&self, key: CallKey) -> usize {
        usize::try_from(key.high).unwrap() % self.0.lock().journals.len()
    }

    pub(super) fn apply(&self, record: &Record) {
        if let Record::Live(live) = record {
            let shard = self.shard(live.key);
            let mut state = self.0.lock();
            state.live[shard].insert(live.key, *live);
            state.journals[shard].append(record);
        } else if let Record::Ended { key, .. } = record {
            let shard = self.shard(*key);
            let mut state = self.0.lock();
            state.live[shard].remove(key);
            state.journals[shard].append(record);
        }
    }

    pub(super) fn all(&self) -> BTreeMap<CallKey, LiveRecord> {
        self.0.lock().live.iter().flatten().map(|(key, live)| (*key, *live)).collect()
    }
}

impl SnapshotSource for Model {
    fn snapshot(&self, shard: usize, cursor: u64, sink: &mut dyn FnMut(&Record)) -> Option<u64> {
        let state = self.0.lock();
        sink(&Record::SnapshotBegin);
        let from = usize::try_from(cursor).unwrap();
        state.live[shard].values().skip(from).take(50).for_each(|live| sink(&Record::Live(*live)));
        (from + 50 < state.live[shard].len()).then_some(cursor + 50)
    }

    fn append(&self, shard: usize, records: &[Record]) {
        records.iter().for_each(|record| self.0.lock().journals[shard].append(record));
    }
}

/// What a gate does with the records.
pub(super) fn replayed(records: impl IntoIterator<Item = Record>) -> BTreeMap<CallKey, LiveRecord> {
    let mut calls = BTreeMap::new();
    for record in records {
        if record == Record::SnapshotBegin {
            calls.clear();
        } else if let Record::Live(live) = record {
            calls.insert(live.key, live);
        } else if let Record::Ended { key, .. } = record {
            calls.remove(&key);
        }
    }
    calls
}

pub(super) fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    for _ in 0..3000 {
        if holds() {
            return;
        }
        let _ = stopped.recv_timeout(Duration::from_millis(10));
    }
    drop(stop);
    panic!("after 30 seconds still not: {what}");
}

#[test]
fn calls_come_back_through_rotation_compaction_restarts_and_other_numbers_of_shards() {
    let dir = tempfile::tempdir().unwrap();
    let mut expected = BTreeMap::new();
    let mut number = 0;
    for shards in [1, 4, 2, 1] {
        let config = JournalConfig { compact_bytes_min: 200_000, sync_interval_ms: 20, ..config(dir.path(), shards) };
        let mut opened = open(&config, Host::this()).unwrap();
        assert_eq!(replayed(opened.replay.by_ref()), expected);
        assert_eq!(opened.replay.report().damage, vec![]);
        let report = opened.replay.report().clone();
        let model = Model::new(std::mem::take(&mut opened.journals));
        for call in expected.values() {
            let shard = model.shard(call.key);
            model.0.lock().live[shard].insert(call.key, *call);
        }
        let source: Arc<dyn SnapshotSource> = Arc::<Model>::clone(&model);
        let keeper = opened.keeper.start(source, &report, |_| {}).unwrap();
        for _ in 0..30 {
            // The background work gets its turn: nothing is to be dropped here.
            wait_until("a next segment for each shard", || keeper.is_ready());
            for _ in 0..300 {
                number += 1;
                model.apply(&live(number));
                if number % 4 != 0 {
                    model.apply(&ended(number.saturating_sub(2), number));
                }
            }
        }
        wait_until("no gap", || !keeper.stats().degraded);
        let stats = keeper.stats();
        assert!(stats.snapshots_total > 0 && stats.sync_error.is_none(), "{stats:?}");
        expected = model.all();
        keeper.stop();
    }
    assert!(number > 30_000 && !expected.is_empty());
}

#[test]
fn a_gap_is_told_and_closed_by_a_snapshot() {
    let dir = tempfile::tempdir().unwrap();
    let mut opened = open(&config(dir.path(), 1), Host::this()).unwrap();
    let model = Model::new(std::mem::take(&mut opened.journals));
    // Nobody prepares yet: the log overflows.
    (0..3000).for_each(|number| model.apply(&live(number)));
    assert!(opened.keeper_dropped_total() > 0);
    let told = Arc::new(Mutex::new(Vec::new()));
    let telling = Arc::clone(&told);
    let source: Arc<dyn SnapshotSource> = Arc::<Model>::clone(&model);
    let report = opened.replay.report().clone();
    let keeper = opened.keeper.start(source, &report, move |event| telling.lock().push(event)).unwrap();
    wait_until("the gap is closed", || told.lock().contains(&JournalEvent::Restored));
    assert!(matches!(told.lock()[0], JournalEvent::Degraded { dropped_total } if dropped_total > 0));
    model.apply(&live(5000));
    drop(keeper);
    drop(opened.replay);
    let mut expected = model.all();
    drop(model);
    let mut opened = open(&config(dir.path(), 1), Host::this()).unwrap();
    let mut read = replayed(opened.replay.by_ref());
    assert!(read.contains_key(&CallKey { high: 5000, low: !5000 }));
    expected.retain(|key, _| !read.contains_key(key));
    assert_eq!(expected, BTreeMap::new(), "every live call came back");
    read.clear();
}

#[test]
fn a_snapshot_that_lost_its_end_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let mut opened = open(&config(dir.path(), 1), Host::this()).unwrap();
    let model = Model::new(std::mem::take(&mut opened.journals));
    (0..100).for_each(|number| model.apply(&live(number)));
    let source: Arc<dyn SnapshotSource> = Arc::<Model>::clone(&model);
    let report = opened.replay.report().clone();
    let keeper = opened.keeper.start(source, &report, |_| {}).unwrap();
    wait_until("a snapshot", || keeper.stats().snapshots_total > 0);
    keeper.stop();
    drop((opened.replay, model));
    let snapshot = files(dir.path()).into_iter().find(|path| path.to_str().unwrap().contains("snapshot")).unwrap();
    let bytes = std::fs::read(&snapshot).unwrap();
    std::fs::write(&snapshot, &bytes[..bytes.len() - 16]).unwrap();
    let (read, report) = read(dir.path());
    assert_eq!(replayed(read).len(), 100, "its calls and the log's are all there");
    assert!(report.damage.iter().any(|damage| damage.kind == DamageKind::Incomplete), "{:?}", report.damage);
}

#[test]
fn a_name_that_stands_behind_what_refers_to_it_is_known_all_the_same() {
    let stamp = |trunk| Record::Stamp { at: Tick(2), trunk: Some(trunk), tenant: None };
    let name = |number, name: &[u8]| Record::Name { class: NameClass::Trunk, number, name: name.into() };
    let dir = tempfile::tempdir().unwrap();
    write_and_die(dir.path(), &[name(1, b"a"), name(2, b"b")]);
    // The next run numbers them the other way round. One thread used a number before the other logged its name, in a
    // shard whose log is read later.
    let mut opened = open(&config(dir.path(), 2), HOST).unwrap();
    opened.journals[0].append(&stamp(1));
    opened.journals[1].append(&stamp(2));
    opened.journals[1].append(&name(1, b"b"));
    opened.journals[1].append(&name(2, b"a"));
    drop(opened);
    let stamps: Vec<Record> =
        read(dir.path()).0.into_iter().filter(|read| matches!(read, Record::Stamp { .. })).collect();
    assert_eq!(stamps, [stamp(2), stamp(1)], "in the numbers of the first run");
}
