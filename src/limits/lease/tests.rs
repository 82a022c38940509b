use super::*;
use crate::limits::{InUse, Latch, RatePolicy, Refused};
use crate::units::Cps;

fn at(millis: u64) -> Tick {
    Tick::from_secs(100).plus_millis(millis)
}

fn until(limit: u32, floor: u32, millis: u64) -> Lease {
    Lease { limit, floor, valid_until: Some(at(millis)) }
}

/// Both strict algorithms and the burst policy.
fn windows(lease: Lease) -> Vec<LeasedRate> {
    let max = [Cps::saturating(100), Cps::saturating(5_000)];
    let strict = max.map(|max| LeasedRate::new(lease, max, RatePolicy::Strict));
    let burst = LeasedRate::new(lease, max[0], RatePolicy::Burst(1_000));
    strict.into_iter().chain([burst]).collect()
}

fn taken(rate: &LeasedRate, now: Tick) -> usize {
    (0..200).filter(|_| rate.take(now, 0)).count()
}

#[test]
fn at_the_very_instant_of_its_end_a_loan_admits_nothing_though_no_task_has_run() {
    for rate in &windows(until(10, 4, 500))[..2] {
        assert!(rate.peek(at(499), 5) && rate.take(at(499), 0));
        assert_eq!(taken(rate, at(500)), 3, "one of four is taken already");
        assert!(!rate.peek(at(500), 0));
        assert_eq!(rate.limit(at(500)), 4);
    }
    let pool = LeasedPool::new(until(10, 4, 500));
    assert!(pool.take(5, 0, at(499)));
    assert!(!pool.take(1, 0, at(500)));
    pool.release(2);
    assert!(pool.take(1, 0, at(501)) && !pool.take(1, 0, at(501)));
    let mark = LeasedWatermark::new(until(3, 1, 500), Some(until(2, 0, 400)), Latch::Spare);
    assert!(mark.take(true, 0, at(399)).is_ok_and(|taken| {
        mark.mark().commit(taken);
        true
    }));
    assert_eq!(mark.take(true, 0, at(400)).unwrap_err(), Refused::WebrtcFull);
    for _ in 0..2 {
        mark.mark().commit(mark.take(false, 0, at(499)).unwrap());
    }
    assert_eq!(mark.take(false, 0, at(500)).unwrap_err(), Refused::Reached);
    assert_eq!(mark.mark().view().limit, 1);
}

#[test]
fn a_stretched_second_is_one_by_any_clock_within_the_error() {
    for rate in &windows(until(10, 10, 60_000))[..2] {
        rate.stretch(at(10_000));
        assert_eq!(taken(rate, at(10_000)), 10);
        // By a clock that is fast by 1000 parts per million only 0.9999 of a second have passed.
        assert_eq!(taken(rate, at(11_001)), 0);
        assert_eq!(taken(rate, at(11_005)), 10);
        rate.stretch(at(12_000));
        assert_eq!(rate.used(at(12_004)).used, 10, "said again it changes nothing");
    }
}

#[test]
fn a_batch_whose_clock_is_older_than_the_window_is_judged_by_the_window() {
    for rate in &windows(until(10, 4, 500))[..2] {
        // An emergency of another thread has moved the window past the end of the loan.
        rate.force(at(600));
        assert_eq!(taken(rate, at(400)), 3, "what is dated after the end counts against the floor");
    }
}

#[test]
fn a_renewed_loan_goes_on_and_a_shortened_one_ends_sooner() {
    for rate in windows(until(10, 4, 500)) {
        rate.set(until(10, 4, 900), at(100));
        assert_eq!(rate.limit(at(600)), 10);
        rate.set(until(10, 4, 700), at(600));
        assert_eq!((rate.limit(at(699)), rate.limit(at(700))), (10, 4));
        rate.set(until(20, 4, 650), at(701));
        assert_eq!(rate.limit(at(701)), 4, "a loan that is over when it is put in force gives nothing");
        rate.set(Lease::fixed(7), at(702));
        assert_eq!(rate.limit(at(100_000)), 7);
    }
}

#[test]
fn a_lowering_is_refused_by_what_is_in_use_but_not_by_what_was_forced() {
    for rate in &windows(Lease::fixed(20))[..2] {
        assert!((0..10).all(|_| rate.take(at(0), 0)));
        (0..5).for_each(|_| rate.force(at(1)));
        assert_eq!(rate.used(at(2)), Used { used: 15, forced: 5 });
        assert_eq!(rate.try_lower(Lease::fixed(9), at(2)), Err(InUse { used: 10 }));
        assert_eq!(rate.limit(at(2)), 20);
        assert_eq!(rate.try_lower(Lease::fixed(10), at(2)), Ok(()));
        assert!(!rate.take(at(2), 0), "admissions count what was forced");
        assert_eq!(rate.used(at(1_100)), Used::default());
    }
    let pool = LeasedPool::new(Lease::fixed(20));
    assert!(pool.take(10, 0, at(0)));
    pool.force(5);
    assert_eq!(pool.try_lower(Lease::fixed(9), at(2)), Err(InUse { used: 10 }));
    assert_eq!(pool.try_lower(Lease::fixed(10), at(2)), Ok(()));
    pool.release_forced(5);
    assert_eq!((pool.used(), pool.limit(at(3))), (Used { used: 10, forced: 0 }, 10));
    assert_eq!(pool.try_lower(Lease::fixed(9), at(2)), Err(InUse { used: 10 }));
}

#[test]
fn a_lowering_is_checked_also_where_a_loan_has_ended_below_it() {
    for rate in &windows(until(20, 4, 500))[..2] {
        assert_eq!(taken(rate, at(499)), 20);
        assert_eq!(rate.limit(at(500)), 4);
        assert_eq!(rate.try_lower(Lease::fixed(15), at(501)), Err(InUse { used: 20 }), "20 are in use");
    }
    let pool = LeasedPool::new(until(20, 4, 500));
    assert!(pool.take(20, 0, at(0)));
    assert_eq!(pool.limit(at(500)), 4);
    assert_eq!(pool.try_lower(Lease::fixed(15), at(501)), Err(InUse { used: 20 }));
}

mod oracle {
    //! Any story of calls and leases against lists that remember everything.

    use proptest::prelude::*;

    use super::*;
    use crate::units::NANOS_PER_SECOND;

    #[derive(Debug, Clone)]
    enum Act {
        Pass(u64),
        Take,
        Force,
        Release(bool),
        Set(u32, u32, Option<u64>),
        TryLower(u32, u32, Option<u64>),
    }

    fn act() -> impl Strategy<Value = Act> {
        let end = || prop::option::of(0..900_u64);
        prop_oneof![
            4 => (0..400_u64).prop_map(Act::Pass),
            12 => Just(Act::Take),
            1 => Just(Act::Force),
            4 => any::<bool>().prop_map(Act::Release),
            2 => (0..12_u32, 0..12_u32, end()).prop_map(|(limit, floor, end)| Act::Set(limit, floor.min(limit), end)),
            3 => (0..12_u32, 0..12_u32, end())
                .prop_map(|(limit, floor, end)| Act::TryLower(limit, floor.min(limit), end)),
        ]
    }

    fn lease(now: Tick, limit: u32, floor: u32, end: Option<u64>) -> Lease {
        Lease { limit, floor, valid_until: end.map(|millis| now.plus_millis(millis)) }
    }

    fn count(all: &[(Tick, bool)], now: Tick, forced: bool) -> u32 {
        let recent = |stamp: &Tick| now.nanos_since(*stamp) < NANOS_PER_SECOND;
        u32::try_from(all.iter().filter(|(stamp, is)| recent(stamp) && *is == forced).count()).unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

        #[test]
        fn a_leased_window_never_passes_what_is_in_force_at_the_instant(
            large in any::<bool>(),
            acts in prop::collection::vec(act(), 1..120),
        ) {
            let mut held = Lease::fixed(5);
            let rate = LeasedRate::new(held, Cps::saturating(if large { 5_000 } else { 64 }), RatePolicy::Strict);
            let (mut now, mut all) = (Tick::from_secs(100), Vec::new());
            for act in acts {
                match act {
                    Act::Pass(millis) => now = now.plus_millis(millis),
                    Act::Take => {
                        let before = count(&all, now, false) + count(&all, now, true);
                        let taken = rate.take(now, 0);
                        if taken {
                            prop_assert!(before < held.at(now), "{before} in use, {held:?} at {now:?}");
                            all.push((now, false));
                        }
                    }
                    Act::Force => {
                        rate.force(now);
                        all.push((now, true));
                    }
                    Act::Release(_) => {}
                    Act::Set(limit, floor, end) => {
                        held = lease(now, limit, floor, end);
                        rate.set(held, now);
                    }
                    Act::TryLower(limit, floor, end) => {
                        let wanted = lease(now, limit, floor, end);
                        let in_use = count(&all, now, false);
                        if rate.try_lower(wanted, now).is_ok() {
                            prop_assert!(in_use <= wanted.at(now), "{in_use} in use, lowered to {wanted:?}");
                            held = wanted;
                        }
                    }
                }
                let used = rate.used(now);
                prop_assert!(used.used >= count(&all, now, false) + count(&all, now, true));
                prop_assert!(used.forced <= count(&all, now, true), "a bound from below");
                prop_assert_eq!(rate.limit(now), held.at(now));
            }
        }

        #[test]
        fn a_leased_pool_does_exactly_what_plain_numbers_say(acts in prop::collection::vec(act(), 1..120)) {
            let mut held = Lease::fixed(5);
            let pool = LeasedPool::new(held);
            let mark = LeasedWatermark::new(held, None, Latch::Spare);
            let (mut now, mut calls, mut forced) = (Tick::from_secs(100), 0, 0);
            for act in acts {
                match act {
                    Act::Pass(millis) => now = now.plus_millis(millis),
                    Act::Take => {
                        let fits = calls + forced < held.at(now);
                        prop_assert_eq!(pool.take(1, 0, now), fits);
                        prop_assert_eq!(mark.take(false, 0, now).map(|taken| mark.mark().commit(taken)).is_ok(), fits);
                        calls += u32::from(fits);
                    }
                    Act::Force => {
                        pool.force(1);
                        mark.force(false);
                        forced += 1;
                    }
                    Act::Release(true) if forced > 0 => {
                        pool.release_forced(1);
                        mark.release_forced(false);
                        forced -= 1;
                    }
                    Act::Release(false) if calls > 0 => {
                        pool.release(1);
                        mark.mark().release(false);
                        calls -= 1;
                    }
                    Act::Release(_) => {}
                    Act::Set(limit, floor, end) => {
                        held = lease(now, limit, floor, end);
                        pool.set(held, now);
                        mark.set(Side::Plain, held, now);
                    }
                    Act::TryLower(limit, floor, end) => {
                        let wanted = lease(now, limit, floor, end);
                        let fits = calls <= wanted.at(now);
                        prop_assert_eq!(pool.try_lower(wanted, now).is_ok(), fits);
                        prop_assert_eq!(mark.try_lower(Side::Plain, wanted, now).is_ok(), fits);
                        held = if fits { wanted } else { held };
                    }
                }
                let used = Used { used: calls + forced, forced };
                prop_assert_eq!((pool.used(), mark.used(Side::Plain)), (used, used));
                mark.settle(now);
                prop_assert_eq!((pool.limit(now), mark.mark().view().limit), (held.at(now), held.at(now)));
            }
        }
    }
}

/// Several threads admit from two nodes while units go from one to the other for a term, by a clock that all share: whatever is
/// stalled where, a unit is used by one of them only.
#[test]
fn a_unit_lent_for_a_term_is_in_use_on_one_side_only_however_threads_stall() {
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
    let live = |pool: &LeasedPool| pool.used().used;
    for _ in 0..20 {
        let (lender, borrower) = (LeasedPool::new(Lease::fixed(8)), LeasedPool::new(Lease::fixed(0)));
        let (clock, done) = (AtomicU64::new(1), AtomicBool::new(false));
        std::thread::scope(|scope| {
            let calls: Vec<_> = [&lender, &borrower, &borrower]
                .into_iter()
                .map(|pool| {
                    let clock = &clock;
                    scope.spawn(move || {
                        for _ in 0..4_000 {
                            // The batch's clock, read before the take, as a thread that stalls would have it.
                            let now = Tick(clock.fetch_add(1, SeqCst));
                            if pool.take(1, 0, now) {
                                pool.release(1);
                            }
                        }
                    })
                })
                .collect();
            scope.spawn(|| {
                while !done.load(SeqCst) {
                    let now = Tick(clock.load(SeqCst));
                    if lender.try_lower(Lease::fixed(4), now).is_err() {
                        continue;
                    }
                    let end = now.plus_nanos(50);
                    borrower.set(Lease { limit: 4, floor: 0, valid_until: Some(end) }, now);
                    while clock.load(SeqCst) < end.0 && !done.load(SeqCst) {
                        std::thread::yield_now();
                    }
                    // After the end nothing new is taken by whoever reads the clock now: what is in use ends.
                    let later = Tick(clock.load(SeqCst).max(end.0));
                    assert!(!borrower.take(1, 0, later), "taken after the end");
                    while live(&borrower) > 0 {
                        std::thread::yield_now();
                    }
                    lender.set(Lease::fixed(8), later);
                    assert!(live(&lender) <= 8);
                }
            });
            for call in calls {
                call.join().unwrap();
            }
            done.store(true, SeqCst);
        });
        assert_eq!((live(&lender), live(&borrower)), (0, 0));
    }
}
