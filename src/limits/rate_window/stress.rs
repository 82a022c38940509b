//! Threads against one window, or against two that lend to each other. The clock is a counter that the threads turn, so
//! that nothing depends on how fast the machine is; what is checked holds for every interleaving.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use super::*;
use crate::units::NANOS_PER_SECOND;

/// An admission happened, by the window's clock, between these two instants.
type Bracket = (u64, u64);

/// The most admissions that certainly fall within one second.
fn worst_second(mut brackets: Vec<Bracket>) -> usize {
    brackets.sort_unstable();
    let mut worst = 0;
    // For each possible beginning: those that begin at or after it and end before the second is over. A heap of ends
    // would be exact; as brackets are short, only those that begin in the second have to be looked at.
    let mut ends: std::collections::BTreeMap<u64, usize> = std::collections::BTreeMap::new();
    let mut entered = 0;
    for index in 0..brackets.len() {
        let from = brackets[index].0;
        while entered < brackets.len() && brackets[entered].0 < from + NANOS_PER_SECOND {
            *ends.entry(brackets[entered].1).or_default() += 1;
            entered += 1;
        }
        let beyond: usize = ends.range(from + NANOS_PER_SECOND..).map(|(_, count)| count).sum();
        let inside: usize = entered - index - beyond;
        worst = worst.max(inside);
        let end = brackets[index].1;
        if let Some(count) = ends.get_mut(&end) {
            *count -= 1;
            if *count == 0 {
                ends.remove(&end);
            }
        }
    }
    worst
}

/// Offers batches of calls; each batch reads the clock once and turns it by up to `step`.
fn offer(windows: &[&RateWindow], clock: &AtomicU64, batches: u32, step: u64, seed: u64) -> Vec<Bracket> {
    let mut random = seed | 1;
    let mut admitted = Vec::new();
    for _ in 0..batches {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let now = clock.load(Ordering::SeqCst);
        for window in windows {
            for _ in 0..random >> 8 & 7 {
                if window.take(Tick(now), 0) {
                    admitted.push((now, clock.load(Ordering::SeqCst)));
                }
            }
        }
        clock.fetch_add(random % step, Ordering::SeqCst);
    }
    admitted
}

#[test]
fn no_second_of_any_interleaving_holds_more_than_the_limit() {
    for (limit, step) in [(1, 60_000_000), (7, 20_000_000), (500, 400_000), (4200, 60_000)] {
        let window = RateWindow::new(Cps::saturating(limit), Cps::saturating(limit), RatePolicy::Strict);
        let clock = AtomicU64::new(5 * NANOS_PER_SECOND);
        let admitted: Vec<Bracket> = thread::scope(|scope| {
            let run = |seed| {
                let (window, clock) = (&window, &clock);
                scope.spawn(move || offer(&[window], clock, 40_000, step, seed))
            };
            let runs = [run(11), run(22), run(33)];
            runs.into_iter().flat_map(|run| run.join().unwrap()).collect()
        });
        let elapsed = clock.load(Ordering::SeqCst) - 5 * NANOS_PER_SECOND;
        assert!(elapsed > 3 * NANOS_PER_SECOND, "the test must cover seconds");
        assert!(!admitted.is_empty());
        let worst = worst_second(admitted);
        assert!(worst <= usize::try_from(limit).unwrap(), "{worst} of {limit}");
    }
}

#[test]
fn two_windows_that_lend_to_each_other_never_exceed_their_sum() {
    for (total, max, step) in [(8, 8, 20_000_000), (300, 300, 500_000), (300, 5000, 500_000)] {
        let window = |limit| RateWindow::new(Cps::saturating(limit), Cps::saturating(max), RatePolicy::Strict);
        let (left, right) = (window(total / 2), window(total - total / 2));
        let clock = AtomicU64::new(5 * NANOS_PER_SECOND);
        let (admitted, loans) = thread::scope(|scope| {
            let run = |seed| {
                let (left, right, clock) = (&left, &right, &clock);
                scope.spawn(move || offer(&[left, right], clock, 30_000, step, seed))
            };
            let runs = [run(5), run(6)];
            let mut loans = 0;
            while runs.iter().any(|run| !run.is_finished()) {
                for (lender, borrower) in [(&left, &right), (&right, &left)] {
                    let units = 1 + total / 10;
                    let rest = lender.limit().get().saturating_sub(units);
                    let given = lender.limit().get() - rest;
                    let now = Tick(clock.load(Ordering::SeqCst));
                    if given > 0 && lender.try_lower(Cps::saturating(rest), now).is_ok() {
                        let now = Tick(clock.load(Ordering::SeqCst));
                        borrower.set_limit(Cps::saturating(borrower.limit().get() + given), now);
                        loans += 1;
                    }
                }
                thread::yield_now();
            }
            (runs.into_iter().flat_map(|run| run.join().unwrap()).collect::<Vec<_>>(), loans)
        });
        assert_eq!(left.limit().get() + right.limit().get(), total, "lending makes no units and loses none");
        let worst = worst_second(admitted);
        assert!(worst <= usize::try_from(total).unwrap(), "{worst} of {total} after {loans} loans");
    }
}
