//! Every interleaving of an admission with the end, the renewal, the shortening and the lowering of a loan.

use loom::sync::Arc;
use loom::thread;

use super::*;
use crate::limits::loom_tests::explore;
use crate::limits::{Latch, RatePolicy};
use crate::units::Cps;

fn at(millis: u64) -> Tick {
    Tick::from_secs(100).plus_millis(millis)
}

fn until(limit: u32, floor: u32, millis: u64) -> Lease {
    Lease { limit, floor, valid_until: Some(at(millis)) }
}

/// One limit, in whichever form.
enum Limit {
    Rate(LeasedRate),
    Pool(LeasedPool),
    Mark(LeasedWatermark),
}

impl Limit {
    fn take(&self, now: Tick) -> bool {
        match self {
            Self::Rate(rate) => rate.take(now, 0),
            Self::Pool(pool) => pool.take(1, 0, now),
            Self::Mark(mark) => mark.take(false, 0, now).map(|taken| mark.mark().commit(taken)).is_ok(),
        }
    }

    fn limit(&self, now: Tick) -> u32 {
        match self {
            Self::Rate(rate) => rate.limit(now),
            Self::Pool(pool) => pool.limit(now),
            Self::Mark(mark) => {
                mark.settle(now);
                mark.mark().view().limit
            }
        }
    }

    fn set(&self, lease: Lease, now: Tick) {
        match self {
            Self::Rate(rate) => rate.set(lease, now),
            Self::Pool(pool) => pool.set(lease, now),
            Self::Mark(mark) => mark.set(Side::Plain, lease, now),
        }
    }

    fn try_lower(&self, lease: Lease, now: Tick) -> bool {
        match self {
            Self::Rate(rate) => rate.try_lower(lease, now).is_ok(),
            Self::Pool(pool) => pool.try_lower(lease, now).is_ok(),
            Self::Mark(mark) => mark.try_lower(Side::Plain, lease, now).is_ok(),
        }
    }

    fn force(&self, now: Tick) {
        match self {
            Self::Rate(rate) => rate.force(now),
            Self::Pool(pool) => pool.force(1),
            Self::Mark(mark) => mark.force(false),
        }
    }

    fn release_forced(&self) {
        match self {
            Self::Rate(_) => {}
            Self::Pool(pool) => pool.release_forced(1),
            Self::Mark(mark) => mark.release_forced(false),
        }
    }
}

/// Two acts on two threads, either as the spawned one, on the log of stamps, the buckets, a pool and a watermark.
fn story<A: 'static, B: 'static>(
    lease: Lease,
    before: fn(&Limit),
    first: fn(&Limit) -> A,
    second: fn(&Limit) -> B,
    check: fn(&Limit, A, B),
) {
    for kind in 0..4 {
        for swapped in [false, true] {
            explore(move || {
                let rate = |max| LeasedRate::new(lease, Cps::saturating(max), RatePolicy::Strict);
                let limit = Arc::new(match kind {
                    0 => Limit::Rate(rate(4)),
                    1 => Limit::Rate(rate(5_000)),
                    2 => Limit::Pool(LeasedPool::new(lease)),
                    _ => Limit::Mark(LeasedWatermark::new(lease, None, Latch::Spare)),
                });
                before(&limit);
                let shared = Arc::clone(&limit);
                let (a, b) = if swapped {
                    let thread = thread::spawn(move || second(&shared));
                    let a = first(&limit);
                    (a, thread.join().unwrap())
                } else {
                    let thread = thread::spawn(move || first(&shared));
                    let b = second(&limit);
                    (thread.join().unwrap(), b)
                };
                check(&limit, a, b);
            });
        }
    }
}

#[test]
fn loom_of_two_calls_after_the_end_the_floor_admits_one() {
    story(
        until(2, 1, 10),
        |_| {},
        |limit| limit.take(at(10)),
        |limit| limit.take(at(11)),
        |limit, first, second| {
            assert!(first != second, "{first} {second}");
            assert!(!limit.take(at(12)));
        },
    );
}

#[test]
fn loom_a_raised_limit_is_never_taken_by_the_end_that_was_before_it() {
    // The call comes after the end of the new loan, and before that of the old one.
    story(
        until(1, 1, 900),
        |limit| assert!(limit.take(at(0))),
        |limit| limit.take(at(20)),
        |limit| limit.set(until(2, 1, 20), at(10)),
        |_, taken, ()| assert!(!taken, "the second unit's loan was over"),
    );
}

#[test]
fn loom_a_renewal_that_lowers_is_never_taken_by_the_limit_that_was_before_it() {
    // The old loan has ended for this call; the new one, with a lower limit, has not.
    story(
        until(2, 0, 20),
        |limit| assert!(limit.take(at(0))),
        |limit| limit.take(at(20)),
        |limit| limit.set(until(1, 0, 900), at(10)),
        |_, taken, ()| assert!(!taken, "one is in use, and no lease covers two at that instant"),
    );
}

#[test]
fn loom_units_that_change_their_lender_twice_are_not_mistaken_for_what_they_were() {
    // The same limit three times: until late, lower, and until early.
    story(
        until(2, 1, 900),
        |limit| assert!(limit.take(at(0))),
        |limit| limit.take(at(20)),
        |limit| {
            let lowered = limit.try_lower(until(1, 1, 900), at(10));
            limit.set(until(2, 1, 20), at(10));
            lowered
        },
        |_, taken, lowered| assert!(!(taken && lowered), "the unit was given back, and the next one's loan was over"),
    );
}

#[test]
fn loom_a_call_or_a_lowering_has_the_last_borrowed_unit_never_both() {
    story(
        until(2, 1, 900),
        |limit| assert!(limit.take(at(0))),
        |limit| limit.take(at(1)),
        |limit| limit.try_lower(Lease::fixed(1), at(1)),
        |limit, taken, lowered| {
            assert!(taken != lowered, "taken {taken}, lowered {lowered}");
            assert!(!limit.take(at(2)));
        },
    );
}

#[test]
fn loom_the_end_of_a_loan_and_its_renewal_leave_one_of_both_in_force() {
    story(
        until(2, 1, 10),
        |limit| assert!(limit.take(at(0))),
        |limit| limit.take(at(10)),
        |limit| limit.set(until(2, 1, 900), at(9)),
        |limit, taken, ()| {
            assert_eq!(limit.limit(at(20)), 2, "renewed: two until 900");
            let later = limit.take(at(20));
            match limit {
                // Windows may count one that nobody made, where their clock doesn't tell two words apart.
                Limit::Rate(_) => assert!(!(taken && later)),
                Limit::Pool(_) | Limit::Mark(_) => assert_eq!(later, !taken),
            }
            assert!(!limit.take(at(21)));
        },
    );
}

#[test]
fn loom_an_emergency_that_ends_takes_no_call_out_of_the_count() {
    // Two calls and an emergency; the emergency ends, a call comes in its stead, and one unit is to be given away.
    story(
        Lease::fixed(3),
        |limit| {
            assert!(limit.take(at(0)) && limit.take(at(0)));
            limit.force(at(0));
        },
        |limit| {
            limit.release_forced();
            limit.take(at(1))
        },
        |limit| limit.try_lower(Lease::fixed(2), at(1)),
        |_, taken, lowered| assert!(!(taken && lowered), "three calls under a limit of two"),
    );
}
