//! Every interleaving of the smallest stories that the windows can go wrong in.

use loom::sync::Arc;
use loom::thread;

use super::*;
use crate::limits::loom_tests::explore;

/// A log of few stamps, and buckets (of half a second under loom).
const STRICT: [u32; 2] = [2, stamp_log::LIMIT_MAX + 1];

fn at(millis: u64) -> Tick {
    Tick::from_secs(100).plus_millis(millis)
}

fn window(limit: u32, max: u32) -> Arc<RateWindow> {
    Arc::new(RateWindow::new(Cps::saturating(limit), Cps::saturating(max), RatePolicy::Strict))
}

/// Runs two acts on two threads. loom looks for orders starting from the one in which the spawned thread comes last, and
/// prunes by the last access alone; it finds all that matter only if each act has its turn as the spawned one.
fn together<A: 'static, B: 'static>(
    window: &Arc<RateWindow>,
    swapped: bool,
    first: impl FnOnce(&RateWindow) -> A + 'static,
    second: impl FnOnce(&RateWindow) -> B + 'static,
) -> (A, B) {
    let shared = Arc::clone(window);
    if swapped {
        let thread = thread::spawn(move || second(&shared));
        let first = first(window);
        (first, thread.join().unwrap())
    } else {
        let thread = thread::spawn(move || first(&shared));
        let second = second(window);
        (thread.join().unwrap(), second)
    }
}

/// Tells the story of each strict algorithm, with either act as the spawned one.
fn explore_strict(story: impl Fn(u32, bool) + Copy + Sync + Send + 'static) {
    for max in STRICT {
        for swapped in [false, true] {
            explore(move || story(max, swapped));
        }
    }
}

/// Tells the story of a bucket of so many tokens, one of them a second, with either act as the spawned one.
fn explore_burst(burst: u32, story: impl Fn(&Arc<RateWindow>, bool) + Copy + Sync + Send + 'static) {
    for swapped in [false, true] {
        explore(move || {
            let window = RateWindow::new(Cps::saturating(1), Cps::saturating(100), RatePolicy::Burst(burst));
            story(&Arc::new(window), swapped);
        });
    }
}

#[test]
fn loom_two_takes_at_limit_one() {
    explore_strict(|max, swapped| {
        let window = window(1, max);
        let (first, second) =
            together(&window, swapped, |window| window.take(at(0), 0), |window| window.take(at(1), 0));
        assert!(first != second);
        assert_eq!(window.used(at(1)), 1);
    });
    explore_burst(1, |window, swapped| {
        let (first, second) = together(window, swapped, |window| window.take(at(0), 0), |window| window.take(at(1), 0));
        assert!(first != second);
        assert_eq!(window.used(at(1)), 1);
    });
}

#[test]
fn loom_three_takes_at_limit_two() {
    explore_strict(|max, swapped| {
        let window = window(2, max);
        let take = |window: &RateWindow| window.take(at(0), 0);
        let (first, second) = together(&window, swapped, take, |window| window.take(at(1), 0));
        assert!(first && second);
        assert!(!window.take(at(1), 0));
        assert!(window.take(at(2100), 0));
    });
}

#[test]
fn loom_a_take_or_a_lowering_has_the_last_unit_never_both() {
    explore_strict(|max, swapped| {
        let window = window(1, max);
        let lower = |window: &RateWindow| window.try_lower(Cps::saturating(0), at(0)).is_ok();
        let (taken, lowered) = together(&window, swapped, |window| window.take(at(0), 0), lower);
        assert!(taken != lowered);
        assert_eq!((window.limit().get(), window.used(at(0))), (u32::from(!lowered), u32::from(taken)));
    });
}

#[test]
fn loom_a_stale_clock_meets_a_raise() {
    explore_strict(|max, swapped| {
        let window = window(1, max);
        assert!(window.take(at(0), 0));
        let raise = |window: &RateWindow| window.set_limit(Cps::saturating(2), at(900));
        let (stale, ()) = together(&window, swapped, |window| window.take(at(10), 0), raise);
        // Two and a half seconds: the first has left even the half-second buckets, a call at the raise has not.
        let later = at(1890);
        let more = (0..3).filter(|_| window.take(later, 0)).count();
        assert!(more + usize::from(stale) <= 2, "stale {stale}, later {more}");
    });
}

#[test]
fn loom_an_admission_is_seen_whoever_stalls_in_the_middle_of_it() {
    explore_strict(|max, swapped| {
        let window = window(1, max);
        window.force(at(0));
        // Both find the window free; the earlier one is dated back by nothing.
        let (early, late) =
            together(&window, swapped, |window| window.take(at(3000), 0), |window| window.take(at(6000), 0));
        assert!(late, "whatever came before it is three seconds old");
        assert!(!window.take(at(6900), 0), "early {early}");
        assert!(window.take(at(7700), 0));
    });
}

#[test]
fn loom_totals_published_early_are_put_right() {
    for swapped in [false, true] {
        explore(move || {
            // Buckets: one thread still counts in the tick that the other leaves.
            let window = window(3, STRICT[1]);
            window.force(at(0));
            let take_next = |window: &RateWindow| window.take(at(700), 0);
            let (same, next) = together(&window, swapped, |window| window.take(at(10), 0), take_next);
            assert!(same && next);
            assert!(!window.take(at(700), 0), "three are in the window");
            assert_eq!(window.used(at(700)), 3);
            let left = window.used(at(1650));
            assert!((1..=3).contains(&left), "the last one at least: {left}");
            assert_eq!(window.used(at(2900)), 0);
        });
    }
}

#[test]
fn loom_a_slot_reused_by_a_later_clock_tells_that_time_has_come_so_far() {
    for swapped in [false, true] {
        explore(move || {
            let window = window(1, STRICT[1]);
            window.force(at(0));
            // The late one publishes over the very slot that the early one needs, and may not have swapped yet.
            let late = |window: &RateWindow| window.take(at(2700), 0);
            let (early, late) = together(&window, swapped, |window| window.take(at(500), 0), late);
            assert!(early != late, "half a second after the first one there is no room");
        });
    }
}

#[test]
fn loom_one_thread_takes_twice_at_limit_two() {
    explore_strict(|max, swapped| {
        let window = window(2, max);
        let twice = |window: &RateWindow| u8::from(window.take(at(0), 0)) + u8::from(window.take(at(0), 0));
        let (once, twice) = together(&window, swapped, |window| u8::from(window.take(at(0), 0)), twice);
        assert_eq!(once + twice, 2);
    });
}

#[test]
fn loom_a_helper_that_stalls_for_a_lap_puts_nothing_old_over_the_new() {
    explore_strict(|max, swapped| {
        let window = window(2, max);
        window.force(at(0));
        let lap = |window: &RateWindow| {
            assert!(window.take(at(4000), 0) && window.take(at(4001), 0));
            window.touch(at(4002));
        };
        let ((), ()) = together(&window, swapped, |window| window.touch(at(1)), lap);
        assert_eq!(window.used(at(4002)), 2);
        assert!(!window.take(at(4003), 1) && !window.take(at(4900), 0));
    });
}

#[test]
fn loom_a_touch_or_a_resize_hides_no_admission() {
    explore_strict(|max, swapped| {
        let window = window(1, max);
        let (taken, ()) = together(&window, swapped, |window| window.take(at(0), 0), |window| window.touch(at(5)));
        assert!(taken);
        assert!(!window.take(at(900), 0));
        let resize = |window: &RateWindow| window.set_limit(Cps::saturating(2), at(901));
        let (forced, ()) = together(&window, swapped, |window| window.force(at(901)), resize);
        let () = forced;
        assert!(!window.take(at(901), 0));
        assert_eq!(window.used(at(901)), 2);
    });
}

#[test]
fn loom_a_bucket_of_tokens_that_is_resized_while_one_is_taken_loses_and_gains_none() {
    explore_burst(1, |window, swapped| {
        let raise = |window: &RateWindow| window.set_limit(Cps::saturating(2), at(0));
        let (taken, ()) = together(window, swapped, |window| window.take(at(0), 0), raise);
        assert!(taken);
        assert_eq!((window.limit().get(), window.used(at(0))), (2, 1));
        assert!(!window.take(at(499), 0), "a token takes half a second now");
        assert!(window.take(at(500), 0) && !window.take(at(500), 0));
    });
    explore_burst(2, |window, swapped| {
        let lower = |window: &RateWindow| window.set_limit(Cps::saturating(0), at(1));
        let (taken, ()) = together(window, swapped, |window| window.take(at(0), 0), lower);
        assert_eq!(window.used(at(1)), u32::from(taken));
        assert!(!window.take(at(9000), 0), "refuses all");
    });
}

#[test]
fn loom_a_take_or_a_lowering_has_the_last_token_never_both() {
    explore_burst(1, |window, swapped| {
        let lower = |window: &RateWindow| window.try_lower(Cps::saturating(0), at(0)).is_ok();
        let (taken, lowered) = together(window, swapped, |window| window.take(at(0), 0), lower);
        assert!(taken != lowered);
        assert_eq!((window.limit().get(), window.used(at(0))), (u32::from(!lowered), u32::from(taken)));
    });
}

#[test]
fn loom_a_forced_token_and_a_touch_hide_none_that_is_taken() {
    explore_burst(2, |window, swapped| {
        let (taken, ()) = together(window, swapped, |window| window.take(at(0), 0), |window| window.force(at(0)));
        assert!(taken);
        assert_eq!(window.used(at(0)), 2);
        let (more, ()) = together(window, swapped, |window| window.take(at(1), 0), |window| window.touch(at(2)));
        assert!(!more);
        assert!(window.take(at(1000), 0) && !window.take(at(1000), 0));
    });
}
