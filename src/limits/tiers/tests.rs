use proptest::prelude::*;

use super::*;

/// Whether calls of these tiers can be given units one by one: tries every way.
fn feasible(calls: &mut Vec<usize>, free: &mut [u32]) -> bool {
    let Some(tier) = calls.pop() else { return true };
    for serving in tier..free.len() {
        if free[serving] > 0 {
            free[serving] -= 1;
            let rest = feasible(calls, free);
            free[serving] += 1;
            if rest {
                calls.push(tier);
                return true;
            }
        }
    }
    calls.push(tier);
    false
}

#[test]
fn ten_premium_and_forty_standard_allow_the_published_mixes() {
    for (standard, premium) in [(50, 0), (40, 10), (0, 10), (45, 5)] {
        for premium_first in [true, false] {
            let tiers = Tiers::new(&[Some(40), Some(10)]);
            let mut calls = vec![(0, standard), (1, premium)];
            if premium_first {
                calls.reverse();
            }
            for (tier, count) in calls {
                (0..count).for_each(|_| assert!(tiers.take(tier, 1, 0), "{standard} standard, {premium} premium"));
            }
            assert!(!tiers.take(1, 1, 0), "{standard} standard, {premium} premium are full for premium");
            assert_eq!(tiers.take(0, 1, 0), standard + premium < 50);
            assert_eq!((tiers.used(1), tiers.overage()), (premium, 0));
        }
    }
}

proptest! {
    #[test]
    fn three_tiers_admit_exactly_what_some_assignment_of_units_allows(
        units in proptest::array::uniform3(0..4_u32),
        steps in proptest::collection::vec((0..3_usize, 0..4_u8), 0..24),
    ) {
        let tiers = Tiers::new(&units.map(Some));
        let mut live: Vec<usize> = Vec::new();
        for (tier, op) in steps {
            if op == 0 {
                if let Some(at) = live.iter().position(|live| *live == tier) {
                    live.swap_remove(at);
                    tiers.release(tier, 1);
                }
                continue;
            }
            let mut calls = live.clone();
            calls.push(tier);
            let fits = feasible(&mut calls, &mut units.clone());
            prop_assert_eq!(tiers.take(tier, 1, 0), fits, "{:?} and one of tier {}", live, tier);
            if fits {
                live.push(tier);
            }
            for tier in 0..3 {
                let expected = live.iter().filter(|live| **live == tier).count();
                prop_assert_eq!(usize::try_from(tiers.used(tier)).unwrap(), expected);
            }
        }
    }

    #[test]
    fn overage_is_what_no_assignment_covers(
        units in proptest::array::uniform3(0..4_u32), forced in proptest::collection::vec(0..3_usize, 0..8),
    ) {
        let tiers = Tiers::new(&units.map(Some));
        forced.iter().for_each(|tier| tiers.force(*tier, 1));
        // The most that can be served is the largest feasible subset.
        let served = (0..1_u32 << forced.len())
            .filter(|subset| {
                let mut calls =
                    forced.iter().enumerate().filter(|(at, _)| subset >> at & 1 == 1).map(|(_, tier)| *tier).collect();
                feasible(&mut calls, &mut units.clone())
            })
            .map(u32::count_ones)
            .max()
            .unwrap();
        prop_assert_eq!(tiers.overage(), u32::try_from(forced.len()).unwrap() - served);
    }
}

#[test]
fn a_refused_call_leaves_nothing_behind() {
    let tiers = Tiers::new(&[Some(0), Some(0), Some(5)]);
    (0..5).for_each(|_| assert!(tiers.take(0, 1, 0)));
    assert!(!tiers.take(2, 1, 0), "its own suffix has room for none: the lowest took them all");
    assert_eq!((tiers.used(0), tiers.used(1), tiers.used(2)), (5, 0, 0));
    tiers.release(0, 5);
    assert!(!tiers.take(1, 6, 0));
    assert!(tiers.take(2, 5, 0));
}

#[test]
fn units_and_headroom_count_in_every_suffix() {
    let tiers = Tiers::new(&[Some(4), Some(4)]);
    assert!(!tiers.take(1, 3, 2), "two of the four premium units are kept");
    assert!(tiers.take(1, 3, 1));
    assert!(!tiers.take(0, 3, 3));
    assert!(tiers.take(0, 3, 2));
    assert_eq!((tiers.used(0), tiers.used(1)), (3, 3));
}

#[test]
fn a_call_draws_on_the_lowest_tier_with_room() {
    let tiers = Tiers::new(&[Some(2), Some(1), Some(1)]);
    let mut drawn = Vec::new();
    for _ in 0..4 {
        drawn.push(tiers.drawn_tier(0));
        assert!(tiers.take(0, 1, 0));
    }
    assert_eq!(drawn, [0, 0, 1, 2]);
    assert_eq!(tiers.drawn_tier(0), 2, "no room anywhere: the highest");
    tiers.release(0, 1);
    assert_eq!((tiers.drawn_tier(0), tiers.drawn_tier(2)), (2, 2));
    assert!(tiers.take(2, 1, 0));
    tiers.release(0, 3);
    assert_eq!((tiers.drawn_tier(0), tiers.drawn_tier(1), tiers.drawn_tier(2)), (0, 1, 2));
}

#[test]
fn an_unlimited_tier_serves_all_below_it() {
    let tiers = Tiers::new(&[Some(1), None, Some(1)]);
    (0..10).for_each(|_| assert!(tiers.take(0, 1, 0) && tiers.take(1, 1, 0)));
    assert!(tiers.take(2, 1, 0) && !tiers.take(2, 1, 0));
    assert_eq!((tiers.drawn_tier(0), tiers.limit(0), tiers.limit(1), tiers.limit(3)), (1, Some(1), None, Some(0)));
    assert_eq!(tiers.overage(), 0);
}

#[test]
fn lowered_units_drop_nobody_and_show_as_overage() {
    let tiers = Tiers::new(&[Some(40), Some(10)]);
    (0..50).for_each(|_| assert!(tiers.take(0, 1, 0)));
    tiers.set_limits(&[Some(30), Some(10)]);
    assert_eq!((tiers.used(0), tiers.overage()), (50, 10));
    assert!(!tiers.take(0, 1, 0));
    tiers.set_limits(&[]);
    assert_eq!(tiers.overage(), 50, "missing tiers have no units");
    tiers.set_limits(&[Some(51), Some(0), Some(9)]);
    assert!(tiers.take(0, 1, 0) && !tiers.take(0, 1, 0), "surplus tiers are ignored");
}

#[test]
fn an_unknown_tier_is_refused_and_changes_nothing() {
    let tiers = Tiers::new(&[Some(1)]);
    assert!(!tiers.take(1, 1, 0));
    tiers.force(1, 1);
    tiers.release(7, 1);
    assert_eq!((tiers.used(0), tiers.used(1), tiers.used(usize::MAX)), (0, 0, 0));
    assert!(!Tiers::new(&[]).take(0, 1, 0));
}
