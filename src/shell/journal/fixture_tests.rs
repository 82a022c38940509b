//! Journals of earlier versions, as they were written then: every later version must read them.

use std::path::PathBuf;
use std::sync::Arc;

use super::tests::HOST;
use super::*;
use crate::admission::{FLAG_CONFIRMED, FLAG_RATE_TAKEN, Journal, LiveRecord, NameClass, RECORD_VERSION, Record};
use crate::units::{CallKey, Tick};

fn fixture(version: u16) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/journal-v{version}"))
}

const KEY: CallKey = CallKey { high: 0x0123_4567_89ab_cdef, low: 0xfedc_ba98_7654_3210 };
const OTHER: CallKey = CallKey { high: 5, low: 6 };
const UNKNOWN: CallKey = CallKey { high: 7, low: 8 };

fn name(class: NameClass, number: u16, name: &[u8]) -> Record {
    Record::Name { class, number, name: name.into() }
}

fn names() -> Vec<Record> {
    vec![
        name(NameClass::Trunk, 1, b"carrier-a"),
        name(NameClass::Tenant, 2, b"tenant-b"),
        name(NameClass::Proxy, 3, b"proxy-c"),
        name(NameClass::LicenseType, 4, b"session"),
        Record::ProxyEpoch { proxy: 3, epoch: 1_700_000_000, at: Tick(1_000) },
    ]
}

fn full_call() -> Record {
    Record::Live(LiveRecord {
        key: KEY,
        admitted_at: Tick(2_000),
        lease_ends_at: Tick(300_000_002_000),
        seq: Some(101),
        lease_s: 300,
        trunk: Some(1),
        tenant: Some(2),
        proxy: Some(3),
        license_type: Some(4),
        units: 1,
        flags: FLAG_RATE_TAKEN,
    })
}

/// What version 2 brought.
fn buried(seq: Option<u32>) -> Record {
    Record::Buried { key: UNKNOWN, ends_at: Tick(60_000_003_600), seq }
}

fn log(version: u16) -> Vec<Record> {
    let mut log = vec![
        Record::Live(LiveRecord { key: OTHER, admitted_at: Tick(2_500), units: 2, ..LiveRecord::default() }),
        Record::Lease {
            key: KEY,
            at: Tick(3_000),
            lease_ends_at: Tick(43_260_000_003_000),
            lease_s: 43_260,
            confirmed: true,
            seq: Some(102),
        },
        Record::Stamp { at: Tick(3_500), trunk: Some(1), tenant: None },
        Record::Ended { key: OTHER, at: Tick(4_000), released: true },
    ];
    if version >= 2 {
        log.push(buried(Some(103)));
    }
    log
}

/// What its snapshot holds besides names.
fn held(version: u16) -> Vec<Record> {
    let mut held = vec![full_call()];
    if version >= 2 {
        held.push(buried(None));
    }
    held
}

/// What a sidecar of the present version writes: a snapshot of one call and one tombstone, and the log behind it.
struct Source;

impl SnapshotSource for Source {
    fn snapshot(&self, _shard: usize, cursor: u64, sink: &mut dyn FnMut(&Record)) -> Option<u64> {
        if cursor == 0 {
            names().iter().for_each(sink);
            return Some(1);
        }
        held(RECORD_VERSION).iter().for_each(sink);
        None
    }

    fn append(&self, _shard: usize, _records: &[Record]) {}
}

#[test]
#[ignore = "writes the fixture of the present version; run it by name when a version is new, and commit what it wrote"]
fn write_the_fixture() {
    let dir = fixture(RECORD_VERSION);
    let config = JournalConfig { segment_bytes: SEGMENT_BYTES_MIN, ..JournalConfig::new(dir.clone(), 1) };
    let mut opened = open(&config, HOST).unwrap();
    names().iter().chain(&log(RECORD_VERSION)).for_each(|record| opened.journals[0].append(record));
    let source: Arc<dyn SnapshotSource> = Arc::new(Source);
    let keeper = opened.keeper.start(source, opened.replay.report(), |_| {}).unwrap();
    super::tests::wait_until("a snapshot", || keeper.stats().snapshots_total > 0);
    keeper.stop();
    std::fs::remove_file(dir.join("lock")).unwrap();
    std::fs::remove_file(dir.join("segment-00000001-0000-0000000002.log")).unwrap();
}

fn assert_is_read(version: u16) {
    let dir = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(fixture(version)).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), dir.path().join(entry.file_name())).unwrap();
    }
    let mut opened = open(&JournalConfig::new(dir.path().to_owned(), 1), HOST).unwrap();
    let expected: Vec<Record> = std::iter::once(Record::SnapshotBegin)
        .chain(names())
        .chain(held(version))
        .chain(names())
        .chain(log(version))
        .collect();
    assert_eq!(opened.replay.by_ref().collect::<Vec<_>>(), expected);
    assert_eq!(opened.replay.report().damage, vec![]);
    assert_eq!(FLAG_CONFIRMED, 2, "flag bits are part of the format");
}

#[test]
fn a_journal_of_version_1_is_read() {
    assert_is_read(1);
}

#[test]
fn a_journal_of_version_2_is_read() {
    assert_is_read(2);
}
