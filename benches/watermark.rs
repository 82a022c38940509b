//! The watermark, a pool and tiers: take and give back, beside a bare atomic in one run.

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

use callgate::limits::{Latch, Pool, Tiers, Watermark, WatermarkLimits};
use criterion::{Criterion, criterion_group, criterion_main};

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
        others.into_iter().map(|other| other.join().unwrap()).fold(own, Duration::max)
    })
}

fn watermark(c: &mut Criterion) {
    let mut group = c.benchmark_group("watermark");
    group.warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1)).sample_size(30);
    let counter = AtomicU64::new(0);
    let mark = Watermark::new(WatermarkLimits { limit: 2500, webrtc: Some(256), latch: Latch::Alone });
    let full = Watermark::new(WatermarkLimits { limit: 1, webrtc: None, latch: Latch::Alone });
    full.force(false);
    let pool = Pool::new(Some(1000));
    let tiers = Tiers::new(&[Some(100), Some(100), Some(100)]);
    for threads in [1, 2] {
        let mut bench = |name: &str, once: &(dyn Fn() + Sync)| {
            group.bench_function(format!("{name}, {threads} thread"), |b| {
                b.iter_custom(|iterations| contended(threads, iterations, once));
            });
        };
        bench("bare fetch_add and fetch_sub", &|| {
            black_box(counter.fetch_add(1, Ordering::AcqRel));
            black_box(counter.fetch_sub(1, Ordering::AcqRel));
        });
        bench("watermark take, commit, release", &|| {
            if let Ok(taken) = mark.take(black_box(false), 0) {
                mark.commit(taken);
                mark.release(false);
            }
        });
        bench("watermark refused", &|| {
            black_box(full.take(black_box(false), 0).map(|taken| full.undo(taken)).is_ok());
        });
        bench("pool take and release", &|| {
            if pool.take(black_box(1), 0) {
                pool.release(1);
            }
        });
        bench("tiers take and release, lowest of three", &|| {
            if tiers.take(black_box(0), 1, 0) {
                tiers.release(0, 1);
            }
        });
    }
    group.finish();
}

criterion_group!(benches, watermark);
criterion_main!(benches);
