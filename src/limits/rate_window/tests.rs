//! The laws of the window, against an oracle that keeps every admission.

use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

use super::*;
use crate::units::NANOS_PER_SECOND;

const SECOND: u64 = NANOS_PER_SECOND;
/// The log rounds to units of 8192 ns: an admission leaves at most this much late.
const LOG_SLACK: u64 = 2 * 8192 + 8192;
/// The buckets cover a second with 955 whole ticks.
const BUCKET_SLACK: u64 = (955 << 20) - SECOND;

fn cps(limit: u32) -> Cps {
    Cps::new(limit).unwrap()
}

/// Every admission, and the clock that instants are clamped to.
struct Oracle {
    stamps: Vec<u64>,
    clock: u64,
}

impl Oracle {
    fn at(&self, now: Tick) -> u64 {
        self.clock.max(now.0)
    }

    /// Admissions in (at - window, at].
    fn count(&self, at: u64, window: u64) -> u32 {
        let recent = self.stamps.iter().rev().take_while(|stamp| at - **stamp < window).count();
        u32::try_from(recent).unwrap()
    }

    fn admit(&mut self, now: Tick) {
        self.clock = self.at(now);
        self.stamps.push(self.clock);
    }
}

#[derive(Debug, Clone)]
enum Op {
    /// Up to so many takes, until one is refused.
    Take {
        headroom: u32,
        takes: u32,
    },
    Force,
    SetLimit(u32),
    TryLower(u32),
    Touch,
    Advance(u64),
}

/// An operation and how far its clock lags behind.
type Step = (Op, u64);

fn steps(limit_max: u32, idle_max: u64) -> impl Strategy<Value = Vec<Step>> {
    let op = prop_oneof![
        6 => Just(Op::Take { headroom: 0, takes: 1 }),
        2 => (0..4_u32).prop_map(|headroom| Op::Take { headroom, takes: 1 }),
        3 => (1..=limit_max.min(6000)).prop_map(|takes| Op::Take { headroom: 0, takes }),
        1 => Just(Op::Force),
        2 => (0..=limit_max).prop_map(Op::SetLimit),
        1 => (0..=limit_max).prop_map(Op::TryLower),
        1 => Just(Op::Touch),
        3 => (0..3_000_000_u64).prop_map(Op::Advance),
        3 => (0..SECOND * 6 / 5).prop_map(Op::Advance),
        2 => (SECOND - 2_000_000..SECOND + 2_000_000).prop_map(Op::Advance),
        1 => (0..idle_max).prop_map(Op::Advance),
    ];
    let lag = prop_oneof![4 => Just(0), 1 => 0..2_000_000_u64, 1 => 0..SECOND * 2];
    proptest::collection::vec((op, lag), 1..80)
}

fn strict(limit_max: impl Strategy<Value = u32>, idle_max: u64) -> impl Strategy<Value = (u32, u32, u64, Vec<Step>)> {
    limit_max.prop_flat_map(move |max| {
        let start = prop_oneof![Just(0), 0..SECOND * 3, 0..SECOND * 86_400 * 400];
        (Just(max), 0..=max, start, steps(max, idle_max))
    })
}

/// Runs the steps and checks every answer. With `slack`, refusals are checked too: what is refused would have been one too
/// many in a window longer than a second by the slack.
fn check(max: u32, limit: u32, start: u64, steps: &[Step], slack: Option<u64>) -> Result<(), TestCaseError> {
    let window = RateWindow::new(cps(limit), cps(max), RatePolicy::Strict);
    let mut oracle = Oracle { stamps: Vec::new(), clock: 0 };
    let mut limit = limit;
    let mut clock = start;
    for (op, lag) in steps {
        let now = Tick(clock.saturating_sub(*lag));
        let at = oracle.at(now);
        let (exact, long) = (oracle.count(at, SECOND), slack.map(|slack| oracle.count(at, SECOND + slack)));
        match *op {
            Op::Take { headroom, takes } => {
                for _ in 0..takes {
                    let (exact, long) = (oracle.count(at, SECOND), slack.map(|slack| oracle.count(at, SECOND + slack)));
                    let peeked = window.peek(now, headroom);
                    let taken = window.take(now, headroom);
                    prop_assert_eq!(peeked, taken, "peek is take without the taking");
                    if taken {
                        oracle.admit(now);
                        prop_assert!(exact < limit.saturating_sub(headroom), "{exact} were in the window of {limit}");
                    } else {
                        if let Some(long) = long {
                            prop_assert!(long >= limit.saturating_sub(headroom), "refused at {long} of {limit}");
                        }
                        break;
                    }
                }
            }
            Op::Force => {
                window.force(now);
                oracle.admit(now);
            }
            Op::SetLimit(to) => {
                window.set_limit(cps(to), now);
                oracle.clock = at;
                limit = to;
            }
            Op::TryLower(to) => match window.try_lower(cps(to), now) {
                Ok(()) if to >= limit => {}
                Ok(()) => {
                    prop_assert!(exact <= to, "lowered to {to} with {exact} in use");
                    oracle.clock = at;
                    limit = to;
                }
                Err(InUse { used }) => {
                    prop_assert!(used > to && used >= exact.min(max));
                    if let Some(long) = long {
                        prop_assert!(to < limit && long > to, "refused to lower to {to} with {long} in use");
                    }
                }
            },
            Op::Touch => {
                window.touch(now);
                oracle.clock = at;
            }
            Op::Advance(nanos) => clock += nanos,
        }
        prop_assert_eq!(window.limit().get(), limit);
        let at = oracle.at(now);
        let used = window.used(now);
        prop_assert!(used >= oracle.count(at, SECOND).min(max), "used is {used}");
        if let Some(slack) = slack {
            prop_assert!(used <= oracle.count(at, SECOND + slack), "used is {used}");
        }
    }
    Ok(())
}

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(
            "tests/fixtures/regressions/rate_window.txt",
        ))),
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config(400))]

    #[test]
    fn the_log_admits_exactly_what_an_exact_window_would(
        (max, limit, start, steps) in strict(prop_oneof![4 => 1..12_u32, 2 => 1..200_u32, 1 => 1..=4095_u32], SECOND * 3600),
    ) {
        check(max, limit, start, &steps, Some(LOG_SLACK))?;
    }

    #[test]
    fn the_log_holds_the_limit_through_any_idle_time(
        (max, limit, start, steps) in strict(1..12_u32, SECOND * 86_400 * 30),
    ) {
        check(max, limit, start, &steps, None)?;
    }

    #[test]
    fn the_log_is_exact_through_any_idle_time_if_touched_each_hour(
        (max, limit, start, steps) in strict(1..12_u32, SECOND * 86_400 * 9),
    ) {
        let hour = 3600 * SECOND;
        let touched: Vec<Step> = steps
            .into_iter()
            .flat_map(|(op, lag)| {
                let hours = if let Op::Advance(nanos) = op { nanos / hour } else { 0 };
                let touches = (0..hours).flat_map(|_| [(Op::Advance(hour), 0), (Op::Touch, 0)]).collect();
                if hours > 0 { touches } else { vec![(op, lag)] }
            })
            .collect();
        check(max, limit, start, &touched, Some(LOG_SLACK))?;
    }

    #[test]
    fn a_restored_window_goes_on_where_the_old_one_stopped(
        limit in 1..300_u32, gaps in proptest::collection::vec(0..SECOND / 50, 1..400), pause in 0..SECOND * 5 / 4,
    ) {
        for max in [limit.max(300), 5000] {
            let old = RateWindow::new(cps(limit), cps(max), RatePolicy::Strict);
            let new = RateWindow::new(cps(limit), cps(max), RatePolicy::Strict);
            let mut clock = SECOND * 100;
            let mut journal = Vec::new();
            for gap in &gaps {
                clock += gap;
                if old.take(Tick(clock), 0) {
                    journal.push(Tick(clock));
                }
            }
            let mut clock = clock + pause;
            for stamp in &journal {
                new.restore(*stamp, Tick(clock));
            }
            let recent = journal.iter().filter(|stamp| clock - stamp.0 < SECOND).count();
            prop_assert!(u64::from(new.used(Tick(clock))) >= u64::try_from(recent).unwrap());
            for gap in &gaps {
                clock += gap;
                let (by_old, by_new) = (old.take(Tick(clock), 0), new.take(Tick(clock), 0));
                if max < 5000 {
                    // The old one may still round an admission in that the new one never heard of.
                    prop_assert!(by_new || !by_old, "the restored window knows no more than the old one");
                    prop_assert_eq!(by_old, by_new);
                }
            }
        }
    }

    #[test]
    fn a_bucket_of_tokens_never_admits_more_than_limit_and_burst_in_a_second(
        limit in 1..400_u32, burst in 0..60_u32, start in 0..SECOND * 86_400 * 400,
        gaps in proptest::collection::vec((prop_oneof![0..4_000_000_u64, 0..SECOND], 1..80_u32, 0..3_000_000_u64), 1..120),
    ) {
        let window = RateWindow::new(cps(limit), cps(limit), RatePolicy::Burst(burst));
        let mut oracle = Oracle { stamps: Vec::new(), clock: 0 };
        let mut clock = start;
        for (gap, takes, lag) in gaps {
            clock += gap;
            let now = Tick(clock.saturating_sub(lag));
            for _ in 0..takes {
                let peeked = window.peek(now, 0);
                let taken = window.take(now, 0);
                prop_assert_eq!(peeked, taken);
                if !taken { break; }
                oracle.admit(Tick(oracle.at(now)));
                prop_assert!(oracle.count(oracle.clock, SECOND) <= limit + burst);
            }
        }
    }
}

proptest! {
    #![proptest_config(config(60))]

    #[test]
    fn buckets_hold_the_limit_and_refuse_only_within_their_ticks(
        (max, limit, start, steps) in strict(prop_oneof![Just(4096_u32), Just(1_000_000)], SECOND * 3600 * 2),
    ) {
        // Low limits, too: the algorithm is the same, and the oracle is quicker.
        let limit = limit % 7000;
        check(max, limit, start, &steps, Some(BUCKET_SLACK))?;
    }

    #[test]
    fn buckets_hold_the_limit_through_any_idle_time(
        (limit, start, steps) in (0..20_u32, 0..SECOND * 86_400 * 400, steps(20, SECOND * 86_400 * 30)),
    ) {
        check(5000, limit, start, &steps, Some(BUCKET_SLACK))?;
    }
}

/// The first instant after `from`, to the microsecond, at which the window has room.
fn first_room(window: &RateWindow, from: Tick) -> u64 {
    (0..10_000).map(|step| from.0 + step * 1000).find(|at| window.peek(Tick(*at), 0)).unwrap()
}

#[test]
fn a_burst_of_the_whole_limit_leaves_just_after_one_second_wherever_it_falls() {
    for (max, slack) in [(7_u32, LOG_SLACK), (6000, BUCKET_SLACK + 1000)] {
        for offset in [0, 1, 511, 1023, 1024, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 999_999_999, 123_456_789] {
            let window = RateWindow::new(cps(max), cps(max), RatePolicy::Strict);
            let start = Tick(SECOND * 77 + offset);
            (0..max).for_each(|_| assert!(window.take(start, 0)));
            assert!(!window.take(start, 0));
            assert!(!window.peek(Tick(start.0 + SECOND - 1), 0), "within the second, offset {offset}");
            let room = first_room(&window, Tick(start.0 + SECOND - 50_000));
            assert!(room > start.0 + SECOND - 1 && room <= start.0 + SECOND + slack, "{max}, {offset}: {room}");
        }
    }
}

#[test]
fn a_greedy_caller_gets_the_whole_limit() {
    for (limit, policy, least) in [
        (5, RatePolicy::Strict, 0.999),
        (100, RatePolicy::Strict, 0.999),
        (4095, RatePolicy::Strict, 0.999),
        (4096, RatePolicy::Strict, 0.997),
        (20_000, RatePolicy::Strict, 0.997),
        (100, RatePolicy::Burst(10), 0.999),
        (20_000, RatePolicy::Burst(100), 0.999),
    ] {
        let window = RateWindow::new(cps(limit), cps(limit), policy);
        let seconds = 20;
        let admitted = (0..seconds * 100_000).filter(|step| window.take(Tick(SECOND + step * 10_000), 0)).count();
        let share = f64::from(u32::try_from(admitted).unwrap()) / (f64::from(limit) * 20.0);
        assert!(share >= least, "{limit} {policy:?}: {share}");
    }
}

#[test]
fn of_random_offers_buckets_admit_at_least_95_percent_of_an_exact_window() {
    use rand::rngs::SmallRng;
    use rand::{Rng, SeedableRng};
    let mut rng = SmallRng::seed_from_u64(7);
    let window = RateWindow::new(cps(4500), cps(4500 * 2), RatePolicy::Strict);
    let mut exact: std::collections::VecDeque<u64> = std::collections::VecDeque::new();
    let (mut by_window, mut by_exact, mut clock) = (0_u32, 0_u32, SECOND);
    while clock < 31 * SECOND {
        clock += rng.random_range(0..2 * SECOND / 4500);
        by_window += u32::from(window.take(Tick(clock), 0));
        while exact.front().is_some_and(|oldest| clock - oldest >= SECOND) {
            exact.pop_front();
        }
        if exact.len() < 4500 {
            exact.push_back(clock);
            by_exact += 1;
        }
    }
    assert!(by_window <= by_exact);
    assert!(f64::from(by_window) >= 0.95 * f64::from(by_exact), "{by_window} of {by_exact}");
}

#[test]
fn an_interval_that_is_no_whole_number_of_nanoseconds_makes_the_rate_no_higher() {
    let window = RateWindow::new(cps(700_000), cps(700_000), RatePolicy::Burst(10));
    let admitted = (0..5_000_000).filter(|step| window.take(Tick(SECOND + step * 200), 0)).count();
    assert!(admitted <= 700_010, "{admitted}");
    assert!(admitted >= 699_000, "{admitted}");
}

#[test]
fn a_filled_window_admits_nothing_for_a_second_even_if_raised() {
    for (max, policy) in [(10, RatePolicy::Strict), (1_000_000, RatePolicy::Strict), (10, RatePolicy::Burst(3))] {
        let window = RateWindow::new(cps(5), cps(max), policy);
        let start = Tick::from_secs(1000);
        window.fill(start);
        assert!(!window.take(start.plus_millis(999), 0));
        window.set_limit(cps(max), start.plus_millis(999));
        assert!(!window.take(start.plus_millis(999), 0), "{policy:?}");
        assert!(window.take(start.plus_millis(1200), 0), "{policy:?}");
    }
}

#[test]
fn a_stale_clock_cannot_use_a_raise_at_its_own_instant() {
    for (max, policy) in [(10, RatePolicy::Strict), (5000, RatePolicy::Strict)] {
        let window = RateWindow::new(cps(1), cps(max), policy);
        let start = Tick::from_secs(50);
        assert!(window.take(start, 0));
        window.set_limit(cps(2), start.plus_millis(900));
        assert!(window.take(start.plus_millis(100), 0), "it counts as admitted at the raise");
        assert!(window.take(start.plus_millis(1500), 0));
        assert!(!window.take(start.plus_millis(1500), 0), "the late one is still in the window");
    }
}

#[test]
fn a_clock_more_than_a_second_behind_still_counts_as_the_windows_clock() {
    for max in [10, 5000] {
        let window = RateWindow::new(cps(1), cps(max), RatePolicy::Strict);
        assert!(window.take(Tick(1_003_116_322), 0));
        assert!(!window.take(Tick(1_048_575), 0), "it is an instant of the window's clock, whose second is taken");
        assert_eq!(window.used(Tick(1_048_575)), 1);
    }
}

#[test]
fn a_clock_hours_behind_still_counts_as_the_windows_clock() {
    for hours in [1, 2, 4, 5, 6, 9] {
        for max in [10, 5000] {
            let window = RateWindow::new(cps(1), cps(max), RatePolicy::Strict);
            let now = Tick::from_secs(500_000);
            assert!(window.take(now, 0));
            let stale = Tick(now.0 - hours * 3600 * SECOND);
            assert!(!window.take(stale, 0), "{max}: {hours} h");
            assert!(!window.take(now.plus_millis(999), 0) && window.take(now.plus_millis(1002), 0));
        }
    }
}

#[test]
fn an_idle_time_that_wraps_the_buckets_tick_is_told_from_none() {
    let window = RateWindow::new(cps(2), cps(5000), RatePolicy::Strict);
    let start = Tick::from_secs(1000);
    assert!(window.take(start, 0) && window.take(start, 0));
    let wrapped = start.plus_nanos(1 << 44).plus_millis(3);
    assert_eq!(window.used(wrapped), 0);
    assert!(window.take(wrapped, 0));
    for later in [0, 10, 500, 999] {
        assert_eq!(window.used(wrapped.plus_millis(later)), 1, "{later} ms on");
    }
    assert!(window.take(wrapped.plus_millis(500), 0) && !window.take(wrapped.plus_millis(999), 0));
}

#[test]
fn limit_zero_refuses_all_and_forced_ones_are_counted() {
    for (max, policy) in
        [(0, RatePolicy::Strict), (10, RatePolicy::Strict), (5000, RatePolicy::Strict), (9, RatePolicy::Burst(4))]
    {
        let window = RateWindow::new(cps(0), cps(max), policy);
        let now = Tick::from_secs(9);
        assert!(!window.peek(now, 0));
        assert!(!window.take(now, 0));
        window.force(now);
        assert_eq!(window.used(now), 1, "{max}, {policy:?}");
        assert!(!window.take(now.plus_secs(5), 0));
    }
}

#[test]
fn a_limit_above_the_maximum_counts_as_the_maximum() {
    for max in [8, 6000] {
        let window = RateWindow::new(cps(1_000_000), cps(max), RatePolicy::Strict);
        assert_eq!(window.limit(), cps(max));
        window.set_limit(cps(max + 1), Tick(0));
        assert_eq!((window.limit(), window.limit_max()), (cps(max), cps(max)));
    }
}

#[test]
fn the_highest_limit_is_held_exactly_and_forced_ones_saturate() {
    let window = RateWindow::new(cps(1_000_000), cps(1_000_000), RatePolicy::Strict);
    let now = Tick::from_secs(3);
    assert_eq!((0..1_000_010).filter(|_| window.take(now, 0)).count(), 1_000_000);
    (0..100_000).for_each(|_| window.force(now));
    assert_eq!(window.used(now), (1 << 20) - 1, "counted to the end of the field, and never round it");
    assert!(!window.take(now.plus_millis(999), 0));
    assert_eq!(window.used(now.plus_millis(1002)), 0);
}

#[test]
fn headroom_is_left_to_those_who_may_use_it() {
    for (max, policy) in [(10, RatePolicy::Strict), (5000, RatePolicy::Strict), (10, RatePolicy::Burst(10))] {
        let window = RateWindow::new(cps(10), cps(max), policy);
        let now = Tick::from_secs(3);
        assert_eq!((0..20).filter(|_| window.take(now, 3)).count(), 7, "{policy:?}");
        assert!(!window.peek(now, 3) && window.peek(now, 0));
        assert_eq!((0..20).filter(|_| window.take(now, 0)).count(), 3);
        assert!(
            !window.take(now.plus_secs(10), 10) && !window.take(now.plus_secs(10), u32::MAX),
            "no room beside all of it"
        );
    }
}

#[test]
fn a_resized_bucket_of_tokens_keeps_its_missing_tokens() {
    let window = RateWindow::new(cps(100), cps(100), RatePolicy::Burst(20));
    let now = Tick::from_secs(20_000);
    (0..20).for_each(|_| assert!(window.take(now, 0)));
    assert!(!window.take(now, 0));
    assert_eq!(window.try_lower(cps(19), now), Err(InUse { used: 20 }));
    window.set_limit(cps(1), now);
    assert_eq!((window.used(now), window.take(now.plus_millis(900), 0)), (20, false));
    window.set_limit(cps(100), now);
    assert!(!window.take(now.plus_millis(5), 0), "flapping gives no token");
    assert!(window.take(now.plus_millis(11), 0));
    // Fifty resizes a second, as lending makes them, must not starve it either.
    let admitted = (0..1000_u64).filter(|step| {
        let at = now.plus_secs(10).plus_millis(step * 10);
        window.set_limit(cps(if step % 2 == 0 { 99 } else { 100 }), at);
        window.take(at, 0)
    });
    assert!(admitted.count() >= 980);
}

#[test]
fn an_hour_is_the_most_that_a_burst_is_worth_and_flapping_does_not_refill_it() {
    let window = RateWindow::new(cps(1_000_000), cps(1_000_000), RatePolicy::Burst(500_000));
    let now = Tick::from_secs(20_000);
    assert_eq!((0..600_000).filter(|_| window.take(now, 0)).count(), 500_000);
    window.set_limit(cps(1), now);
    window.set_limit(cps(1_000_000), now);
    assert!(!window.take(now, 0));
    let slow = RateWindow::new(cps(1), cps(1), RatePolicy::Burst(1_000_000));
    assert_eq!((0..5000).filter(|_| slow.take(now, 0)).count(), 3600);
}

#[test]
fn a_fresh_window_has_room_at_any_uptime() {
    for seconds in [0, 1, 1000, 9000, 10_000, 14_000, 17_000, 280_000, 281_000, 600_000, 100_000_000] {
        for (max, policy) in [(1, RatePolicy::Strict), (5000, RatePolicy::Strict), (10, RatePolicy::Burst(2))] {
            let window = RateWindow::new(cps(1), cps(max), policy);
            let now = Tick::from_secs(seconds);
            assert_eq!(window.used(now), 0);
            assert!(window.take(now, 0), "{seconds} s, {policy:?}");
            assert_eq!(window.used(now), 1);
        }
    }
}

#[test]
fn the_end_of_the_clock_does_not_panic() {
    for (max, policy) in [(1, RatePolicy::Strict), (5000, RatePolicy::Strict), (10, RatePolicy::Burst(2))] {
        let window = RateWindow::new(cps(1), cps(max), policy);
        for now in [Tick(u64::MAX), Tick(0), Tick(u64::MAX - 1)] {
            window.take(now, 0);
            window.force(now);
            window.touch(now);
            window.set_limit(cps(1), now);
        }
    }
}

#[test]
fn a_successor_knows_the_last_second_by_the_instant() {
    for limit_max in [31, 4095, 1_000_000] {
        let window = RateWindow::new(cps(10), cps(15), RatePolicy::Strict);
        let start = Tick(SECOND * 5 + 123_456);
        for call in 0..10 {
            assert!(window.take(start.plus_millis(call * 90), 0));
        }
        let now = start.plus_millis(950);
        let next = window.successor(cps(20), cps(limit_max), RatePolicy::Strict, now);
        assert_eq!((next.used(now), next.limit(), next.limit_max()), (10, cps(20), cps(limit_max)));
        assert_eq!((0..20).filter(|_| next.take(now, 0)).count(), 10);
        assert!(!next.take(start.plus_millis(999), 0));
        assert!(next.take(start.plus_millis(1002), 0), "the first one's second is over, {limit_max}");
        assert!(!next.take(start.plus_millis(1089), 0) && next.take(start.plus_millis(1092), 0));
    }
}

#[test]
fn a_successor_of_a_log_that_has_lost_some_counts_as_many_as_there_may_have_been() {
    let window = RateWindow::new(cps(10), cps(15), RatePolicy::Strict);
    let start = Tick::from_secs(7);
    (0..40).for_each(|call| window.force(start.plus_millis(call * 10)));
    let now = start.plus_millis(400);
    let next = window.successor(cps(100), cps(127), RatePolicy::Strict, now);
    // It holds the last sixteen, the oldest of them at 240 ms; the others were before that.
    assert!(!next.take(start.plus_millis(1239), 0));
    assert_eq!((0..100).filter(|_| next.take(start.plus_millis(1241), 0)).count(), 100 - 15);
}

#[test]
fn a_successor_by_another_policy_starts_full() {
    let burst = RatePolicy::Burst(5);
    for (before, after) in [(RatePolicy::Strict, burst), (burst, RatePolicy::Strict), (burst, RatePolicy::Burst(6))] {
        let window = RateWindow::new(cps(10), cps(15), before);
        let now = Tick::from_secs(7);
        let next = window.successor(cps(10), cps(15), after, now);
        assert!(!next.take(now.plus_millis(999), 0), "{before:?}, {after:?}");
        assert!(next.take(now.plus_millis(1101), 0));
    }
}

#[test]
fn the_room_of_a_window_is_what_its_memory_serves() {
    let room = |limit| RateWindow::room(cps(limit), RatePolicy::Strict).get();
    assert_eq!([0, 1, 15, 16, 2047, 2048, 4095].map(room), [0, 1, 15, 31, 2047, 4095, 4095]);
    assert_eq!(room(4096), crate::units::CALL_RATE_MAX);
    assert_eq!(RateWindow::room(cps(5), RatePolicy::Burst(3)).get(), crate::units::CALL_RATE_MAX);
}
