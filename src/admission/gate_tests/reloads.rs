//! A reload changes calls per second under those who use them: no second holds more than its limit, and a raise refuses nobody.

use std::sync::atomic::{AtomicU32, Ordering};

use super::*;
use crate::limits::RatePolicy;

fn limited(cps: u32) -> GroupLimits {
    GroupLimits { cps: Some(Cps::saturating(cps)), sessions: None }
}

/// A trunk with these calls per second, on a node that refuses nothing.
fn policy(cps: u32) -> Policy {
    Policy { trunks: [("t".to_owned(), limited(cps))].into(), ..open_policy() }
}

fn rig(policy: Policy) -> Rig {
    Rig::bounded(policy, Bounds { calls_max: 20_000, ..BOUNDS })
}

/// Offers so many new calls by the trunk at an instant; how many were admitted.
fn admitted(gate: &Gate<Vec<Record>>, prefix: &str, calls: u32, now: Now) -> u32 {
    let texts = (0..calls).map(|number| format!("{prefix}-{number}"));
    let admitted = texts.filter(|text| gate.admit(&Admit { trunk: Some(name("t")), ..call(text) }, now).admitted);
    u32::try_from(admitted.count()).unwrap()
}

#[test]
fn a_trunk_raised_tenfold_admits_at_once_what_the_last_second_leaves() {
    for (before, raised) in [(10, 100), (16, 4095), (10, 5000), (2000, 6000), (3000, 9000)] {
        let mut rig = rig(policy(before));
        assert_eq!(admitted(&rig.gate, "a", before / 2, rig.now), before / 2);
        rig.pass_millis(600);
        assert_eq!(admitted(&rig.gate, "b", before, rig.now), before - before / 2);
        rig.gate.set_policy(policy(raised), rig.now).unwrap();
        assert_eq!(admitted(&rig.gate, "c", raised, rig.now), raised - before, "{before} to {raised}");
        rig.pass_millis(403);
        assert_eq!(admitted(&rig.gate, "d", raised, rig.now), before / 2, "the first ones left, each in its own time");
        rig.pass_millis(2_000);
        assert_eq!(admitted(&rig.gate, "e", raised + 1, rig.now), raised);
    }
}

#[test]
fn a_bursting_trunk_is_raised_in_its_own_window() {
    let with = |cps| Policy { rate_policy: RatePolicy::Burst(cps), ..policy(cps) };
    let rig = rig(Policy { rate_policy: RatePolicy::Burst(10), ..with(10) });
    assert_eq!(admitted(&rig.gate, "a", 20, rig.now), 10);
    let raised = Policy { rate_policy: RatePolicy::Burst(10), ..with(1_000_000) };
    rig.gate.set_policy(raised, rig.now).unwrap();
    let later = Now { tick: rig.now.tick.plus_millis(1), ..rig.now };
    assert_eq!(admitted(&rig.gate, "b", 20, later), 10, "ten tokens in a millisecond of a million a second");
}

#[test]
fn more_emergencies_than_a_trunks_window_remembers_count_as_a_full_one_when_it_is_raised() {
    let mut rig = rig(policy(5));
    let texts: Vec<String> = (0..50).map(|number| format!("sos-{number}")).collect();
    for text in &texts {
        rig.admit(&Admit { emergency: true, trunk: Some(name("t")), ..call(text) });
    }
    rig.pass_millis(500);
    rig.gate.set_policy(policy(40), rig.now).unwrap();
    assert_eq!(admitted(&rig.gate, "a", 40, rig.now), 0, "fifty in this second already");
    rig.pass_millis(501);
    assert_eq!(admitted(&rig.gate, "b", 50, rig.now), 40);
}

#[test]
fn a_trunk_whose_last_second_is_not_known_starts_full_however_far_it_is_raised() {
    let mut rig = rig(policy(10));
    rig.gate.fill_windows(rig.now);
    rig.pass_millis(500);
    rig.gate.set_policy(policy(100), rig.now).unwrap();
    assert_eq!(admitted(&rig.gate, "a", 1, rig.now), 0);
    rig.pass_millis(501);
    assert_eq!(admitted(&rig.gate, "b", 101, rig.now), 100);
}

#[test]
fn a_window_by_another_policy_starts_full_from_the_latest_call_on_whichever_clock_that_was_told_by() {
    let strict = Policy { rate: Some(Cps::saturating(10)), ..policy(10) };
    let bursting = Policy { rate_policy: RatePolicy::Burst(10), ..strict.clone() };
    for (before, after) in [(&strict, &bursting), (&bursting, &strict)] {
        let rig = rig(before.clone());
        // Decided by a clock that was read after the reload's.
        let ahead = Now { tick: rig.now.tick.plus_millis(30), ..rig.now };
        assert_eq!(admitted(&rig.gate, "a", 10, ahead), 10);
        rig.gate.set_policy(after.clone(), rig.now).unwrap();
        let at = |millis| Now { tick: rig.now.tick.plus_millis(millis), ..rig.now };
        assert_eq!(admitted(&rig.gate, "b", 10, at(1_029)), 0);
        assert_ne!(admitted(&rig.gate, "c", 10, at(1_200)), 0);
    }
}

#[test]
fn who_takes_while_a_trunk_is_raised_is_counted() {
    for shards in [1, 4] {
        for _ in 0..100 {
            let rig = Rig::bounded(policy(10), Bounds { shards, ..BOUNDS });
            let taken = AtomicU32::new(0);
            std::thread::scope(|scope| {
                for taker in ["a", "b"] {
                    let (rig, taken) = (&rig, &taken);
                    scope.spawn(move || taken.fetch_add(admitted(&rig.gate, taker, 60, rig.now), Ordering::SeqCst));
                }
                rig.gate.set_policy(policy(100), rig.now).unwrap();
            });
            let taken = taken.into_inner();
            assert!((10..=100).contains(&taken), "{taken}");
            assert_eq!(taken + admitted(&rig.gate, "c", 100, rig.now), 100);
        }
    }
}
