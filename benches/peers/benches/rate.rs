//! One rate decision that admits: ours (an exact window, resizable) beside governor's (a token bucket).
//!
//! Both read an exact clock for each decision, and both again with the clock's cost taken out: ours by an instant that
//! is handed in, governor by its own fake clock. At the end the ratios to a bare atomic addition, in paired rounds.

use std::hint::black_box;
use std::num::NonZeroU32;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use callgate::limits::{RatePolicy, RateWindow};
use callgate::units::{Cps, Tick};
use criterion::{Criterion, criterion_group, criterion_main};
use governor::clock::FakeRelativeClock;
use governor::{Quota, RateLimiter};

fn contended(threads: usize, iterations: u64, once: impl Fn() + Sync) -> Duration {
    let start = Barrier::new(threads);
    std::thread::scope(|scope| {
        let run = || {
            start.wait();
            let begun = Instant::now();
            (0..iterations).for_each(|_| once());
            begun.elapsed()
        };
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(run)).collect();
        let own = run();
        others.into_iter().map(|other| other.join().expect("a worker")).fold(own, Duration::max)
    })
}

fn rate(c: &mut Criterion) {
    let mut group = c.benchmark_group("rate decision");
    group.warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1)).sample_size(30);
    let limit = Cps::saturating(1_000_000);
    // governor's quota as high as it goes, so that it admits: its work doesn't depend on the figure.
    let quota = Quota::per_second(NonZeroU32::new(1_000_000_000).expect("not zero"));
    let window = || RateWindow::new(limit, limit, RatePolicy::Strict);
    let (exact_ours, batch_ours) = (window(), window());
    let small = RateWindow::new(Cps::saturating(4000), Cps::saturating(4000), RatePolicy::Strict);
    let exact_governor = RateLimiter::direct(quota);
    let fake = FakeRelativeClock::default();
    let batch_governor = RateLimiter::direct_with_clock(quota, fake.clone());
    let origin = Instant::now();
    let (clock, small_clock) = (AtomicU64::new(1_000_000_000_000), AtomicU64::new(1_000_000_000_000));
    for threads in [1, 2] {
        let mut bench = |name: &str, once: &(dyn Fn() + Sync)| {
            group.bench_function(format!("{name}, {threads} thread"), |b| {
                b.iter_custom(|iterations| contended(threads, iterations, once));
            });
        };
        bench("governor, its default clock", &|| {
            black_box(exact_governor.check().is_ok());
        });
        bench("callgate, Instant::now", &|| {
            let now = Tick(u64::try_from(origin.elapsed().as_nanos()).unwrap_or(u64::MAX));
            black_box(exact_ours.take(now, 0));
        });
        bench("governor, standing clock", &|| {
            black_box(batch_governor.check().is_ok());
        });
        bench("callgate buckets, clock handed in", &|| {
            // The clock moves on with each call, by a relaxed load and store: cheaper than an atomic addition.
            let now = clock.load(Ordering::Relaxed) + 1010;
            clock.store(now, Ordering::Relaxed);
            black_box(batch_ours.take(Tick(now), 0));
        });
        bench("callgate log of 4000, clock handed in", &|| {
            let now = small_clock.load(Ordering::Relaxed) + 260_000;
            small_clock.store(now, Ordering::Relaxed);
            black_box(small.take(Tick(now), 0));
        });
    }
    group.finish();
}

#[path = "../../paired/mod.rs"]
mod paired;

/// What so many threads do at once, as a way of paired rounds.
fn way<'a>(threads: usize, once: impl Fn() + Sync + 'a) -> Box<dyn FnMut(u32) -> Duration + 'a> {
    Box::new(move |operations| contended(threads, operations.into(), &once))
}

/// A bare atomic addition, ours and governor's in turns.
fn ratios(_: &mut Criterion) {
    let window = |limit: u32| RateWindow::new(Cps::saturating(limit), Cps::saturating(limit), RatePolicy::Strict);
    let (buckets, exact, log) = (window(1_000_000), window(1_000_000), window(4000));
    let quota = Quota::per_second(NonZeroU32::new(1_000_000_000).expect("not zero"));
    let governor = RateLimiter::direct(quota);
    let standing = RateLimiter::direct_with_clock(quota, FakeRelativeClock::default());
    let origin = Instant::now();
    let word = AtomicU64::new(0);
    let (clock, log_clock) = (AtomicU64::new(1_000_000_000_000), AtomicU64::new(1_000_000_000_000));
    let handed_in = |clock: &AtomicU64, gap: u64| {
        let now = clock.load(Ordering::Relaxed) + gap;
        clock.store(now, Ordering::Relaxed);
        Tick(now)
    };
    for threads in [1, 2] {
        let bare = way(threads, || {
            black_box(word.fetch_add(1, Ordering::AcqRel));
        });
        let our_buckets = way(threads, || {
            black_box(buckets.take(handed_in(&clock, 1010), 0));
        });
        let our_log = way(threads, || {
            black_box(log.take(handed_in(&log_clock, 260_000), 0));
        });
        let governor_standing = way(threads, || {
            black_box(standing.check().is_ok());
        });
        let our_clock = way(threads, || {
            let now = Tick(u64::try_from(origin.elapsed().as_nanos()).unwrap_or(u64::MAX));
            black_box(exact.take(now, 0));
        });
        let governor_clock = way(threads, || {
            black_box(governor.check().is_ok());
        });
        let ways = vec![
            ("bare fetch_add", bare),
            ("callgate buckets, clock handed in", our_buckets),
            ("callgate log of 4000, clock handed in", our_log),
            ("governor, standing clock", governor_standing),
            ("callgate buckets, Instant::now", our_clock),
            ("governor, its default clock", governor_clock),
        ];
        paired::in_turns(&format!("rate decision, {threads} thread"), 15, 200_000, ways);
    }
}

criterion_group!(benches, rate, ratios);
criterion_main!(benches);
