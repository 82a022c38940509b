//! The rate window's take, beside a bare atomic and the clock itself, in one run: read the ratios, not the figures.
//!
//! `batch`: sixteen takes share an instant, as a batch of requests does. Two threads: the time of each one's operation.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    missing_docs,
    reason = "a bench measures clocks and may panic"
)]

use std::hint::black_box;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use callgate::limits::{RatePolicy, RateWindow};
use callgate::units::{Cps, Tick};
use criterion::{Criterion, criterion_group, criterion_main};

/// Runs `work(iterations)` on so many threads at once; the slowest one's time.
fn contended(threads: usize, iterations: u64, work: impl Fn(u64) + Sync) -> Duration {
    let start = Barrier::new(threads);
    std::thread::scope(|scope| {
        let run = || {
            start.wait();
            let begun = Instant::now();
            work(iterations);
            begun.elapsed()
        };
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(run)).collect();
        let own = run();
        others.into_iter().map(|other| other.join().unwrap()).fold(own, Duration::max)
    })
}

/// Takes in batches of sixteen, `gap` nanoseconds per take apart on average.
fn batches(window: &RateWindow, clock: &AtomicU64, iterations: u64, gap: u64) {
    let mut left = iterations;
    while left > 0 {
        let now = Tick(clock.fetch_add(16 * gap, Ordering::Relaxed));
        for _ in 0..left.min(16) {
            black_box(window.take(black_box(now), 0));
        }
        left = left.saturating_sub(16);
    }
}

fn rate_window(c: &mut Criterion) {
    let mut group = c.benchmark_group("rate_window");
    group.warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1)).sample_size(30);
    for threads in [1, 2] {
        let counter = AtomicU64::new(0);
        group.bench_function(format!("bare fetch_add, {threads} thread"), |b| {
            b.iter_custom(|iterations| {
                contended(threads, iterations, |iterations| {
                    for _ in 0..iterations {
                        black_box(counter.fetch_add(1, Ordering::AcqRel));
                    }
                })
            });
        });
        for (name, limit, policy, gap) in [
            ("log of 100", 100, RatePolicy::Strict, 10_100_000),
            ("log of 4000", 4000, RatePolicy::Strict, 260_000),
            ("log of 4000, refused", 4000, RatePolicy::Strict, 1),
            ("buckets of 1,000,000", 1_000_000, RatePolicy::Strict, 1_010),
            ("buckets of 10,000, refused", 10_000, RatePolicy::Strict, 100),
            ("tokens of 1,000,000", 1_000_000, RatePolicy::Burst(1000), 1_010),
        ] {
            let window = RateWindow::new(Cps::saturating(limit), Cps::saturating(limit), policy);
            let clock = AtomicU64::new(1_000_000_000_000);
            group.bench_function(format!("{name}, {threads} thread"), |b| {
                b.iter_custom(|iterations| {
                    contended(threads, iterations, |iterations| batches(&window, &clock, iterations, gap))
                });
            });
        }
    }
    group.bench_function("peek of a log of 4000", |b| {
        let window = RateWindow::new(Cps::saturating(4000), Cps::saturating(4000), RatePolicy::Strict);
        b.iter(|| black_box(window.peek(black_box(Tick(1_000_000_000_000)), 0)));
    });
    group.bench_function("Instant::now", |b| b.iter(|| black_box(Instant::now())));
    group.bench_function("exact clock and buckets of 1,000,000", |b| {
        let window = RateWindow::new(Cps::saturating(1_000_000), Cps::saturating(1_000_000), RatePolicy::Strict);
        let origin = Instant::now();
        b.iter(|| {
            let now = Tick(u64::try_from(origin.elapsed().as_nanos()).unwrap_or(u64::MAX));
            black_box(window.take(now, 0))
        });
    });
    group.finish();
}

criterion_group!(benches, rate_window);
criterion_main!(benches);
