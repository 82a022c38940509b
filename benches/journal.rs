//! The journal: nanoseconds per record appended, and the time from opening it to a gate that knows every call.
//!
//! `cargo bench --bench journal`. Appending is measured inside one large segment, with its pages prepared as they are in
//! a running sidecar.

#![expect(missing_docs, reason = "criterion's macros make public items")]
#![expect(clippy::expect_used, reason = "a bench that cannot set itself up has nothing to say")]
#![expect(clippy::disallowed_methods, reason = "a bench measures time")]

use std::collections::BTreeSet;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use callgate::admission::{Bounds, Gate, Journal, LiveRecord, Policy, RECORD_BYTES_MAX, Record, record_codec};
use callgate::shell::clock::Clock;
use callgate::shell::journal::{self, Host, JournalConfig};
use callgate::units::{CallKey, HashKey};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

fn live(number: u64) -> Record {
    let now = Clock.tick();
    Record::Live(LiveRecord {
        key: CallKey { high: number.wrapping_mul(0x9e37_79b9_7f4a_7c15), low: number },
        admitted_at: now,
        lease_ends_at: now.plus_secs(43_260),
        seq: Some(1),
        lease_s: 43_260,
        units: 1,
        ..LiveRecord::default()
    })
}

fn config(dir: &Path) -> JournalConfig {
    JournalConfig { segment_bytes: 128 * 1024 * 1024, ..JournalConfig::new(dir.to_owned(), 1) }
}

fn files(dir: &Path) -> BTreeSet<PathBuf> {
    std::fs::read_dir(dir).expect("readable").map(|entry| entry.expect("readable").path()).collect()
}

fn append(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("journal");
    group.throughput(Throughput::Elements(1));
    let record = live(1);
    group.bench_function("encode", |bencher| {
        let mut bytes = [0; RECORD_BYTES_MAX];
        bencher.iter(|| record_codec::encode(black_box(&record), black_box(&mut bytes)));
    });
    group.bench_function("append", |bencher| {
        bencher.iter_custom(|iterations| {
            // Always so many at once, whatever criterion asks for: a few records would measure the first touch of the pages
            // by this core, which a running sidecar pays once in 64 records.
            const RECORDS: u32 = 500_000;
            let dir = tempfile::tempdir().expect("a directory");
            let mut opened = journal::open(&config(dir.path()), Host::this()).expect("it opens");
            let journal = opened.journals.first_mut().expect("one shard");
            let begin = Instant::now();
            for _ in 0..RECORDS {
                journal.append(black_box(&record));
            }
            let share = f64::from(u32::try_from(iterations).unwrap_or(u32::MAX)) / f64::from(RECORDS);
            begin.elapsed().mul_f64(share)
        });
    });
    group.finish();
}

fn recover(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("open and recover");
    group.sample_size(10);
    for calls in [10_000_u64, 1_000_000] {
        let dir = tempfile::tempdir().expect("a directory");
        // As many bytes of segments as a running sidecar would have written.
        let segment = if calls > 100_000 { config(dir.path()) } else { JournalConfig::new(dir.path().to_owned(), 1) };
        let mut opened = journal::open(&segment, Host::this()).expect("it opens");
        let writer = opened.journals.first_mut().expect("one shard");
        (0..calls).for_each(|number| writer.append(&live(number)));
        drop(opened);
        let written = files(dir.path());
        group.throughput(Throughput::Elements(calls));
        group.bench_function(format!("{calls} calls"), |bencher| {
            bencher.iter_custom(|iterations| {
                let mut spent = Duration::ZERO;
                for _ in 0..iterations {
                    let begin = Instant::now();
                    let mut opened =
                        journal::open(&JournalConfig::new(dir.path().to_owned(), 1), Host::this()).expect("it opens");
                    let key = HashKey::from_bytes([7; 16]);
                    let gate = Gate::new(Policy::default(), Bounds::default(), key, 1, opened.journals);
                    let recovery = gate.recover(&mut opened.replay, 0, Clock.now());
                    spent += begin.elapsed();
                    assert_eq!(u64::from(recovery.live), calls);
                    drop(gate);
                    for file in files(dir.path()).difference(&written) {
                        std::fs::remove_file(file).expect("this run's segment");
                    }
                }
                spent
            });
        });
    }
    group.finish();
}

criterion_group!(benches, append, recover);
criterion_main!(benches);
