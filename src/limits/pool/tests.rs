use proptest::prelude::*;

use super::*;

proptest! {
    /// Against a model of two plain numbers.
    #[test]
    fn unforced_units_never_pass_the_limit_and_none_is_lost(
        first in proptest::option::of(0..50_u32),
        steps in proptest::collection::vec((0..6_u8, 0..20_u32, 0..5_u32), 0..200),
    ) {
        let pool = Pool::new(first);
        let (mut limit, mut used, mut peak) = (first, 0_u32, 0_u32);
        for (op, n, headroom) in steps {
            match op {
                0 | 1 => {
                    let fits = limit.is_none_or(|limit| used + n <= limit.saturating_sub(headroom));
                    prop_assert_eq!(pool.take(n, headroom), fits);
                    used += if fits { n } else { 0 };
                }
                2 => {
                    pool.force(n);
                    used += n;
                }
                3 => {
                    pool.release(n);
                    used = used.saturating_sub(n);
                }
                4 => {
                    limit = (headroom > 0).then_some(n * 3);
                    pool.set_limit(limit);
                }
                _ => {
                    let lowered = pool.try_lower(n);
                    if limit.is_some_and(|limit| n >= limit) {
                        prop_assert!(lowered.is_ok());
                    } else if used <= n {
                        prop_assert!(lowered.is_ok());
                        limit = Some(n);
                    } else {
                        prop_assert_eq!(lowered, Err(InUse { used }));
                    }
                }
            }
            peak = peak.max(used);
            prop_assert_eq!(pool.view(), (limit, used));
            prop_assert_eq!((pool.limit(), pool.used(), pool.peak()), (limit, used, peak));
        }
    }
}

#[test]
fn numbers_at_the_end_of_the_range_neither_wrap_nor_pass_for_no_limit() {
    let pool = Pool::new(Some(u32::MAX));
    assert_eq!(pool.limit(), Some(COUNT_MAX - 1));
    pool.force(u32::MAX);
    pool.force(7);
    assert_eq!((pool.used(), pool.limit()), (COUNT_MAX, Some(COUNT_MAX - 1)));
    assert!(!pool.take(1, 0));
    pool.release(u32::MAX);
    pool.release(1);
    assert_eq!(pool.used(), 0);
    let unlimited = Pool::new(None);
    assert!(unlimited.take(u32::MAX, u32::MAX) && unlimited.take(9, 0));
    assert_eq!((unlimited.used(), unlimited.limit()), (COUNT_MAX, None));
}

#[test]
fn a_peak_since_the_last_look_starts_again_at_what_is_in_use() {
    let pool = Pool::new(None);
    pool.force(9);
    pool.release(5);
    assert_eq!((pool.take_peak_since_last_look(), pool.take_peak_since_last_look(), pool.peak()), (9, 4, 9));
}

#[test]
fn two_pools_that_lend_to_each_other_never_exceed_their_sum() {
    let (left, right) = (Pool::new(Some(5)), Pool::new(Some(5)));
    let held = AtomicU64::new(0);
    std::thread::scope(|scope| {
        let callers: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    for _ in 0..30_000 {
                        for pool in [&left, &right] {
                            if pool.take(2, 0) {
                                assert!(held.fetch_add(2, Ordering::SeqCst) + 2 <= 10);
                                held.fetch_sub(2, Ordering::SeqCst);
                                pool.release(2);
                            }
                        }
                    }
                })
            })
            .collect();
        while callers.iter().any(|caller| !caller.is_finished()) {
            for (lender, borrower) in [(&left, &right), (&right, &left)] {
                let rest = lender.limit().unwrap().saturating_sub(1);
                if lender.limit() != Some(rest) && lender.try_lower(rest).is_ok() {
                    borrower.set_limit(borrower.limit().map(|limit| limit + 1));
                }
            }
        }
    });
    assert_eq!((left.used(), right.used()), (0, 0));
    assert_eq!(left.limit().unwrap() + right.limit().unwrap(), 10);
}
