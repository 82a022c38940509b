//! Every interleaving of the smallest stories that pools, tiers, the watermark, the low-water flag and the verdict can go wrong in.

use loom::sync::Arc;
use loom::thread;

use super::*;

pub(super) fn explore(story: impl Fn() + Sync + Send + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(story);
}

#[test]
fn loom_a_pools_last_unit_goes_to_a_taker_or_to_a_lowering_never_to_both() {
    for taker_spawned in [true, false] {
        explore(move || {
            let pool = Arc::new(Pool::new(Some(1)));
            let shared = Arc::clone(&pool);
            let take = |pool: &Pool| pool.take(1, 0);
            let lower = |pool: &Pool| pool.try_lower(0).is_ok();
            let (taken, lowered) = if taker_spawned {
                let taker = thread::spawn(move || take(&shared));
                let lowered = lower(&pool);
                (taker.join().unwrap(), lowered)
            } else {
                let lender = thread::spawn(move || lower(&shared));
                let taken = take(&pool);
                (taken, lender.join().unwrap())
            };
            assert!(taken != lowered, "exactly one of them: taken {taken}, lowered {lowered}");
            assert_eq!(pool.view(), (Some(u32::from(!lowered)), u32::from(taken)));
        });
    }
}

#[test]
fn loom_two_takers_of_a_pools_last_unit() {
    explore(|| {
        let pool = Arc::new(Pool::new(Some(1)));
        let taker = {
            let pool = Arc::clone(&pool);
            thread::spawn(move || pool.take(1, 0))
        };
        let mine = pool.take(1, 0);
        assert!(mine != taker.join().unwrap());
        pool.release(1);
        assert_eq!((pool.used(), pool.peak()), (0, 1));
    });
}

#[test]
fn loom_a_premium_and_a_standard_call_for_the_last_unit_of_the_family() {
    explore(|| {
        let tiers = Arc::new(Tiers::new(&[Some(0), Some(1)]));
        let premium = {
            let tiers = Arc::clone(&tiers);
            thread::spawn(move || tiers.take(1, 1, 0))
        };
        let standard = tiers.take(0, 1, 0);
        let premium = premium.join().unwrap();
        assert!(premium != standard);
        assert_eq!((tiers.used(0), tiers.used(1), tiers.overage()), (u32::from(standard), u32::from(premium), 0));
        tiers.release(usize::from(premium), 1);
        assert!(tiers.take(1, 1, 0), "the loser left nothing behind");
    });
}

#[test]
fn loom_an_undone_take_never_closes_the_gate() {
    explore(|| {
        let mark = Arc::new(Watermark::new(WatermarkLimits { limit: 2, webrtc: None, latch: Latch::Alone }));
        let other = {
            let mark = Arc::clone(&mark);
            thread::spawn(move || mark.take(false, 0).map(|taken| mark.undo(taken)).is_ok())
        };
        let mine = mark.take(false, 0).map(|taken| mark.commit(taken)).is_ok();
        assert!(mine && other.join().unwrap(), "there was room for both");
        let view = mark.view();
        assert_eq!((view.count, view.latched), (1, false));
    });
}

#[test]
fn loom_whoever_commits_last_closes_the_gate() {
    explore(|| {
        let mark = Arc::new(Watermark::new(WatermarkLimits { limit: 2, webrtc: None, latch: Latch::Alone }));
        let admit = |mark: &Watermark| mark.take(false, 0).map(|taken| mark.commit(taken)).is_ok();
        let other = {
            let mark = Arc::clone(&mark);
            thread::spawn(move || admit(&mark))
        };
        assert!(admit(&mark) && other.join().unwrap());
        assert_eq!(mark.take(false, 0), Err(Refused::Latched));
        mark.release(false);
        assert!(!mark.view().latched, "below two is below the low mark of two");
    });
}

#[test]
fn loom_a_switch_of_webrtc_meets_a_commit_and_the_limit_that_stands_decides() {
    explore(|| {
        let mark = Arc::new(Watermark::new(WatermarkLimits { limit: 2, webrtc: Some(1), latch: Latch::Alone }));
        mark.force(false);
        let taken = mark.take(true, 0).unwrap();
        let committing = {
            let mark = Arc::clone(&mark);
            thread::spawn(move || mark.commit(taken))
        };
        mark.set(WatermarkLimits { limit: 2, webrtc: None, latch: Latch::Alone });
        committing.join().unwrap();
        let view = mark.view();
        assert_eq!((view.count, view.webrtc_limit, view.latched), (2, None, true));
    });
}

#[test]
fn loom_a_lowered_limit_is_never_passed_by_a_take_that_read_the_old_one() {
    explore(|| {
        let mark = Arc::new(Watermark::new(WatermarkLimits { limit: 9, webrtc: None, latch: Latch::Alone }));
        mark.force(false);
        let taking = {
            let mark = Arc::clone(&mark);
            thread::spawn(move || mark.take(false, 0))
        };
        mark.set(WatermarkLimits { limit: 2, webrtc: None, latch: Latch::Alone });
        let own = mark.take(false, 0);
        let other = taking.join().unwrap();
        assert_eq!(u8::from(own.is_ok()) + u8::from(other.is_ok()), 1, "one unit was left, before and after");
        for taken in [own, other].into_iter().flatten() {
            mark.commit(taken);
        }
        assert!(mark.view().latched);
    });
}

#[test]
fn loom_a_verdict_that_is_seen_brings_the_resize_that_came_before_it() {
    explore(|| {
        let shared = Arc::new((Pool::new(Some(0)), VerdictCell::default()));
        let agent = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                shared.0.set_limit(Some(1));
                shared.1.set(Verdict { calls: Some(VerdictCause::Enforced), ..Verdict::default() });
            })
        };
        if shared.1.get().calls.is_some() {
            assert!(shared.0.take(1, 0));
        }
        agent.join().unwrap();
        assert_eq!(shared.1.get().calls, Some(VerdictCause::Enforced));
    });
}

/// Runs two acts on two threads, with either as the spawned one; see `rate_window::loom_tests`.
fn on_two_threads<A: 'static, B: 'static>(
    low: &Arc<LowWater>,
    swapped: bool,
    first: impl FnOnce(&LowWater) -> A + 'static,
    second: impl FnOnce(&LowWater) -> B + 'static,
) -> (A, B) {
    let shared = Arc::clone(low);
    if swapped {
        let thread = thread::spawn(move || second(&shared));
        let first = first(low);
        (first, thread.join().unwrap())
    } else {
        let thread = thread::spawn(move || first(&shared));
        let second = second(low);
        (thread.join().unwrap(), second)
    }
}

#[test]
fn loom_of_two_who_raise_the_low_water_flag_one_wakes_the_slow_path() {
    for swapped in [false, true] {
        explore(move || {
            let low = Arc::new(LowWater::default());
            low.arm(1);
            let (first, second) = on_two_threads(&low, swapped, LowWater::raise, LowWater::raise);
            assert!(first != second);
            assert_eq!((low.mark(), low.take_raised(), low.take_raised()), (None, true, false));
        });
    }
}

#[test]
fn loom_a_raise_that_meets_the_slow_path_is_told_once_or_leaves_the_flag_armed() {
    for swapped in [false, true] {
        explore(move || {
            let low = Arc::new(LowWater::default());
            low.arm(1);
            let look = |low: &LowWater| {
                let told = low.take_raised();
                low.arm(2);
                told
            };
            let (raised, told) = on_two_threads(&low, swapped, LowWater::raise, look);
            assert!(raised, "it was armed, before and after");
            assert!(told != low.take_raised(), "told once: at this look, or at the next");
            // Armed again, unless the raise came behind that.
            assert!(low.mark() == Some(2) || (low.mark().is_none() && !told));
            assert_eq!(low.raise(), low.take_raised());
        });
    }
}

#[test]
fn loom_who_arms_while_nobody_is_watched_for_is_told_of_the_next_raise_at_the_latest() {
    for swapped in [false, true] {
        explore(move || {
            let low = Arc::new(LowWater::default());
            let (raised, ()) = on_two_threads(&low, swapped, LowWater::raise, |low| low.arm(1));
            assert_eq!(low.take_raised(), raised);
            assert_eq!(low.raise(), !raised, "what came too early leaves it armed");
            assert_eq!((low.take_raised(), low.mark()), (!raised, None));
        });
    }
}

#[test]
fn loom_who_sees_the_low_water_flag_sees_what_was_counted_before_it() {
    use crate::sync::{AtomicU32, Ordering};
    explore(|| {
        let shared = Arc::new((AtomicU32::new(0), LowWater::default()));
        shared.1.arm(1);
        let refusing = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                shared.0.store(1, Ordering::Relaxed);
                assert!(shared.1.raise());
            })
        };
        if shared.1.take_raised() {
            assert_eq!(shared.0.load(Ordering::Relaxed), 1);
        }
        refusing.join().unwrap();
    });
}
