//! What a call costs: admit and release through the whole gate, by how many calls are live, in batches and one at a time.
//!
//! `cargo bench --bench admission`. Figures mean something beside each other, in one run on one machine; the first rows (a bare
//! atomic, the system clock) are there for scale.

#![expect(
    clippy::expect_used,
    clippy::disallowed_methods,
    clippy::as_conversions,
    missing_docs,
    reason = "a bench reads the clock, fails loudly, and its macros document nothing"
)]

use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use callgate::admission::{Admit, Answer, Bounds, CallId, Gate, GroupLimits, Name, Policy, Request};
use callgate::units::{Cps, HashKey, Now, Tick, UnixMillis};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

const BATCH: usize = 16;

fn policy() -> Policy {
    Policy {
        rate: Some(Cps::saturating(1_000_000)),
        trunks: [(
            "trunk".to_owned(),
            GroupLimits { cps: Some(Cps::saturating(1_000_000)), sessions: Some(2_000_000) },
        )]
        .into(),
        ..Policy::default()
    }
}

fn gate(shards: u16) -> Gate {
    let bounds = Bounds { shards, ..Bounds::default() };
    Gate::new(policy(), bounds, HashKey::from_bytes([9; 16]), 1, vec![(); usize::from(shards)])
}

/// Ids of a usual Call-ID's length, made once.
fn ids(count: usize, salt: u64) -> Vec<String> {
    (0..count)
        .map(|number| format!("{:016x}@198.51.100.{}-{salt}", number.wrapping_mul(0x9e37_79b9_7f4a_7c15), number % 250))
        .collect()
}

/// A clock that gives each batch its own instant, so that no window fills.
fn at(step: u64) -> Now {
    Now { tick: Tick(1_000_000_000_000 + step * 20_000), wall: UnixMillis(0) }
}

fn fill(gate: &Gate, ids: &[String], step: &mut u64) {
    for batch in ids.chunks(BATCH) {
        let requests: Vec<Request<'_>> =
            batch.iter().map(|id| Request::Admit(Admit::call(CallId::new(id.as_bytes()).expect("an id")))).collect();
        *step += 1;
        gate.run(&requests, at(*step), |answer| assert!(matches!(answer, Answer::Decision(d) if d.admitted)));
    }
}

/// One pair per element: the oldest call of a batch is released, a new one admitted in its stead. Goes on behind `done` pairs.
fn pairs(
    gate: &Gate,
    ids: &[String],
    live: usize,
    done: usize,
    batch: usize,
    rounds: u64,
    mut clock: impl FnMut() -> Now,
) -> Duration {
    let mut admits = live + done;
    let mut releases = done;
    let mut spent = Duration::ZERO;
    let mut requests: Vec<Request<'_>> = Vec::with_capacity(batch);
    for _ in 0..rounds {
        requests.clear();
        for _ in 0..batch / 2 {
            let gone = CallId::new(ids[releases % ids.len()].as_bytes()).expect("an id");
            let new = CallId::new(ids[admits % ids.len()].as_bytes()).expect("an id");
            requests.push(Request::Release { id: gone, seq: None });
            requests.push(Request::Admit(Admit::call(new)));
            releases += 1;
            admits += 1;
        }
        let now = clock();
        let start = Instant::now();
        if batch == 2 {
            for request in &requests {
                gate.run(std::slice::from_ref(request), now, |answer| {
                    black_box(answer);
                });
            }
        } else {
            gate.run(&requests, now, |answer| {
                black_box(answer);
            });
        }
        spent += start.elapsed();
    }
    spent
}

fn scale(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("for scale");
    let word = AtomicU64::new(0);
    group.bench_function("atomic fetch_add", |bencher| bencher.iter(|| word.fetch_add(1, Ordering::Relaxed)));
    group.bench_function("Instant::now", |bencher| bencher.iter(Instant::now));
    let key = HashKey::from_bytes([9; 16]);
    let id = &ids(1, 0)[0];
    group.bench_function("hash of an id", |bencher| bencher.iter(|| key.hash(black_box(id.as_bytes()))));
    group.finish();
}

fn admit_and_release(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("admit + release, a pair");
    group.throughput(Throughput::Elements(1));
    for live in [10_usize, 1_000, 100_000, 1_000_000] {
        for (name, batch) in [("batches of 16", BATCH * 2), ("one at a time", 2)] {
            let gate = gate(1);
            // As many ids again as are live: an id that comes again has long been forgotten.
            let ids = ids(live * 2 + 600_000, 1);
            let mut step = 0;
            fill(&gate, &ids[..live], &mut step);
            group.bench_function(BenchmarkId::new(name, live), |bencher| {
                bencher.iter_custom(|pairs_wanted| {
                    let per_round = u64::try_from(batch / 2).expect("small");
                    let gate = &gate;
                    let rounds = pairs_wanted.div_ceil(per_round);
                    let spent = pairs(gate, &ids, live, 0, batch, rounds, || {
                        step += 1;
                        at(step)
                    });
                    // Put it back as it was: the calls that are live now go, the first ones come.
                    let done = usize::try_from(rounds * per_round).expect("fits");
                    for number in done..done + live {
                        let id = CallId::new(ids[number % ids.len()].as_bytes()).expect("an id");
                        step += 1;
                        gate.run(&[Request::Release { id, seq: None }], at(step), |_| {});
                    }
                    step += 2_000_000_000; // eleven hours: every memory is over
                    while gate.housekeep(at(step)).more {}
                    while gate.status(at(step)).limits.iter().any(|limit| limit.name == "memories" && limit.used > 0) {
                        gate.housekeep(at(step));
                    }
                    fill(gate, &ids[..live], &mut step);
                    spent.mul_f64(pairs_wanted as f64 / (rounds * per_round) as f64)
                });
            });
        }
    }
    group.finish();
}

fn with_a_trunk(criterion: &mut Criterion) {
    let gate = gate(1);
    let ids = ids(600_000, 2);
    let mut step = 0;
    let mut next = 0;
    criterion.bench_function("admit + release with a trunk, one at a time", |bencher| {
        bencher.iter(|| {
            let id = CallId::new(ids[next % ids.len()].as_bytes()).expect("an id");
            next += 1;
            step += 1;
            let admit = Admit { trunk: Name::new(b"trunk").ok(), ..Admit::call(id) };
            black_box(gate.admit(&admit, at(step)));
            gate.run(&[Request::Release { id, seq: None }], at(step), |answer| {
                black_box(answer);
            });
        });
    });
}

fn refused(criterion: &mut Criterion) {
    let gate: Gate = Gate::new(
        Policy { rate: Some(Cps::saturating(0)), ..Policy::default() },
        Bounds::default(),
        HashKey::from_bytes([9; 16]),
        1,
        vec![()],
    );
    let ids = ids(400_000, 3);
    let mut next = 0;
    criterion.bench_function("a flood is refused, per call", |bencher| {
        bencher.iter(|| {
            let id = CallId::new(ids[next % ids.len()].as_bytes()).expect("an id");
            next += 1;
            black_box(gate.admit(&Admit::call(id), at(u64::try_from(next).expect("fits"))))
        });
    });
}

/// What one thread works with: ids of its own, of which the first so many are live.
struct Own {
    ids: Vec<String>,
    live: usize,
    done: usize,
}

/// Two threads beside one: each with ids of its own, on one gate of one or four shards, by how many calls are live in all.
///
/// The time is that of both together, for so many pairs each.
fn two_threads(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("two threads on one gate, a pair each");
    for live in [16_usize, 100_000, 1_000_000] {
        for shards in [1_u16, 4] {
            for threads in [1_usize, 2] {
                let gate = gate(shards);
                let each = live / threads;
                // One clock for both: a thread that fell behind must not find the windows filled.
                let mut step = 0;
                // As many ids again as are live: an id that comes again has long been forgotten.
                let mut own: Vec<Own> = (0..threads)
                    .map(|thread| {
                        let ids = ids(each * 2 + 600_000, u64::try_from(thread).expect("small"));
                        fill(&gate, &ids[..each], &mut step);
                        Own { ids, live: each, done: 0 }
                    })
                    .collect();
                let step = AtomicU64::new(step);
                let name = BenchmarkId::new(format!("{live} live, {shards} shards"), format!("{threads} threads"));
                group.bench_function(name, |bencher| {
                    bencher.iter_custom(|pairs_wanted| {
                        let pairs_each = usize::try_from(pairs_wanted.next_multiple_of(16)).expect("fits");
                        let rounds = pairs_wanted.div_ceil(16);
                        let start = Instant::now();
                        std::thread::scope(|scope| {
                            for own in &mut own {
                                let (gate, step) = (&gate, &step);
                                scope.spawn(move || {
                                    let Own { ids, live, done } = own;
                                    let clock = || at(step.fetch_add(1, Ordering::Relaxed) + 1);
                                    pairs(gate, ids, *live, *done, BATCH * 2, rounds, clock);
                                    *done += pairs_each;
                                });
                            }
                        });
                        start.elapsed()
                    });
                });
                let live_now = gate.status(at(step.into_inner())).calls_live;
                assert_eq!(live_now, u32::try_from(each * threads).expect("small"), "every pair left as many live");
            }
        }
    }
    group.finish();
}

fn quick() -> Criterion {
    Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
}

criterion_group! {
    name = benches;
    config = quick();
    targets = scale, admit_and_release, with_a_trunk, refused, two_threads
}
criterion_main!(benches);
