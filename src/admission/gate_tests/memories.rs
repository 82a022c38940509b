//! Rules 1 and 2, over time: refusals are counted once, whatever becomes of their call; tombstones outlive the process.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::units::CallKey;

// --- a tombstone and the sidecar's own restart ---

/// The gate that comes after this one, from these records.
fn successor(rig: &Rig, records: &[Record]) -> (Rig, Recovery) {
    let mut next = Rig::open();
    next.now = rig.now;
    let recovery = next.gate.recover(records.iter().cloned(), 0, next.now);
    next.gate.with_journal(0, |journal| journal.extend_from_slice(records));
    (next, recovery)
}

fn snapshot(rig: &Rig) -> Vec<Record> {
    let mut records = Vec::new();
    let mut cursor = Some(0);
    while let Some(at) = cursor {
        cursor = rig.gate.snapshot(0, at, &mut |record| records.push(record.clone()));
    }
    records
}

#[test]
fn a_release_that_overtook_its_admit_is_late_behind_a_restart_too() {
    let rig = Rig::open();
    assert!(!rig.release("a"));
    assert!(!rig.release_seq("b", 4));
    for records in [rig.records(), snapshot(&rig)] {
        let (next, recovery) = successor(&rig, &records);
        assert_eq!(recovery.buried, 2);
        assert_eq!(next.cause(&call("a")), Cause::Late);
        assert_eq!(next.cause(&call_with_seq("b", 4)), Cause::Late);
        assert_eq!(next.cause(&call_with_seq("b", 5)), Cause::Ok);
        assert_eq!(next.live(), 1);
    }
}

#[test]
fn a_tombstones_number_rises_for_a_restart_too_and_its_time_does_not_begin_again() {
    let mut rig = Rig::open();
    assert!(!rig.release_seq("a", 4));
    rig.pass(40);
    assert!(!rig.release_seq("a", 6));
    for records in [rig.records(), snapshot(&rig)] {
        let (mut next, _) = successor(&rig, &records);
        assert_eq!(next.cause(&call_with_seq("a", 6)), Cause::Late);
        next.pass(19);
        assert_eq!(next.cause(&call_with_seq("a", 6)), Cause::Late);
        next.pass(2);
        assert_eq!(next.cause(&call_with_seq("a", 6)), Cause::Ok, "a minute after the first release");
    }
}

#[test]
fn a_release_behind_a_refusal_is_late_behind_a_restart_too() {
    let rig = Rig::new(Policy { rate: Some(Cps::saturating(1)), ..Policy::default() });
    rig.admit(&call("other"));
    assert_eq!(rig.cause(&call_with_seq("a", 1)), Cause::Cps);
    assert!(!rig.release_seq("a", 2));
    let (next, recovery) = successor(&rig, &rig.records());
    assert_eq!(recovery.buried, 1);
    assert_eq!(next.cause(&call_with_seq("a", 2)), Cause::Late);
}

#[test]
fn a_tombstone_that_a_later_attempt_opened_is_none_any_more() {
    let rig = Rig::open();
    rig.release_seq("a", 4);
    assert_eq!(rig.cause(&call_with_seq("a", 5)), Cause::Ok);
    let (next, recovery) = successor(&rig, &rig.records());
    assert_eq!((recovery.live, recovery.buried), (1, 0));
    assert!(next.release_seq("a", 5));
    let (last, recovery) = successor(&next, &next.records());
    assert_eq!((recovery.live, recovery.released, recovery.buried), (0, 1, 0));
    assert_eq!(last.cause(&call_with_seq("a", 5)), Cause::Late);
}

#[test]
fn a_tombstone_lasts_no_longer_than_a_new_one_whatever_the_clock_says() {
    let rig = Rig::open();
    rig.release("a");
    let mut next = Rig::open();
    next.now = rig.now;
    // Another boot, and a wall clock that is a day off.
    next.gate.recover(rig.records(), 86_400 * 1_000_000_000, next.now);
    assert_eq!(next.cause(&call("a")), Cause::Late);
    next.pass(61);
    assert_eq!(next.cause(&call("a")), Cause::Ok);
}

#[test]
fn of_a_flood_of_unknown_ids_a_restart_brings_back_the_latest_that_fit() {
    let rig = Rig::open();
    let ends_at = |number: u64| rig.now.tick.plus_secs(1).plus_nanos(number);
    let key = |number| CallKey { high: u64::MAX / 20_000 * number, low: number };
    let flood = (0..20_000).map(|number| Record::Buried { key: key(number), ends_at: ends_at(number), seq: None });
    let recovery = rig.gate.recover(flood, 0, rig.now);
    assert_eq!(rig.used("memories"), BOUNDS.memories_max);
    assert!(recovery.buried <= 2 * BOUNDS.memories_max, "{recovery:?}");
    let kept = snapshot(&rig).into_iter().filter_map(|record| {
        let Record::Buried { key, .. } = record else { return None };
        Some(key.low)
    });
    assert_eq!(kept.min(), Some(20_000 - u64::from(BOUNDS.memories_max)));
}

#[derive(Debug, Clone)]
enum Act {
    Admit { call: u8, seq: u32 },
    Release { call: u8, seq: Option<u32> },
    Pass { millis: u32 },
    Restart { compacted: bool },
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        8 => (0..6_u8, 0..6_u32).prop_map(|(call, seq)| Act::Admit { call, seq }),
        6 => (0..6_u8, prop::option::of(0..6_u32)).prop_map(|(call, seq)| Act::Release { call, seq }),
        3 => (0..4_000_u32).prop_map(|millis| Act::Pass { millis }),
        1 => (0..40_000_u32).prop_map(|millis| Act::Pass { millis }),
        3 => any::<bool>().prop_map(|compacted| Act::Restart { compacted }),
    ]
}

const IDS: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

fn text(call: u8) -> &'static str {
    IDS[usize::from(call)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn where_nothing_is_limited_no_restart_changes_an_answer(acts in prop::collection::vec(act(), 1..120)) {
        let mut steady = Rig::open();
        let mut restarting = Rig::open();
        for act in acts {
            match act {
                Act::Admit { call, seq } => {
                    let admit = call_with_seq(text(call), seq);
                    prop_assert_eq!(restarting.cause(&admit), steady.cause(&admit), "{} {}", text(call), seq);
                }
                Act::Release { call, seq } => {
                    let released = |rig: &Rig| match seq {
                        Some(seq) => rig.release_seq(text(call), seq),
                        None => rig.release(text(call)),
                    };
                    prop_assert_eq!(released(&restarting), released(&steady));
                }
                Act::Pass { millis } => {
                    for rig in [&mut steady, &mut restarting] {
                        rig.pass_millis(u64::from(millis));
                        rig.housekeep();
                    }
                }
                Act::Restart { compacted } => {
                    let records = if compacted { snapshot(&restarting) } else { restarting.records() };
                    restarting = successor(&restarting, &records).0;
                }
            }
        }
    }
}

// --- a refusal, and what becomes of its call ---

fn one_per_second() -> Rig {
    Rig::new(Policy { rate: Some(Cps::saturating(1)), ..Policy::default() })
}

#[test]
fn a_refused_later_attempt_of_a_live_call_is_repeated_and_counted_once() {
    let mut rig = one_per_second();
    rig.admit(&call_with_seq("a", 1));
    let refused = rig.admit(&call_with_seq("a", 2));
    assert_eq!(refused.cause, Cause::Cps);
    for _ in 0..4 {
        assert_eq!(rig.admit(&call_with_seq("a", 2)), refused, "the same answer, the same Retry-After");
    }
    assert_eq!((rig.refused(Cause::Cps), rig.status().refusals_repeated_total), (1, 4));
    rig.pass_millis(1_500);
    assert_eq!(rig.cause(&call_with_seq("a", 2)), Cause::Cps, "remembered although there would be room now");
    assert_eq!(rig.cause(&call_with_seq("a", 1)), Cause::Duplicate, "the call is live, as it was");
    assert_eq!(rig.cause(&call_with_seq("a", 3)), Cause::Ok, "another attempt is another question");
    rig.pass_millis(700);
    assert_eq!((rig.cause(&call_with_seq("a", 2)), rig.live()), (Cause::Late, 1));
}

#[test]
fn so_is_one_without_seq() {
    let mut rig = one_per_second();
    rig.admit(&call("a"));
    rig.pass(33);
    rig.admit(&call("other"));
    let refused = rig.admit(&call("a"));
    assert_eq!((refused.cause, rig.admit(&call("a"))), (Cause::Cps, refused));
    assert_eq!(rig.refused(Cause::Cps), 1);
    rig.pass_millis(2_100);
    assert_eq!(rig.cause(&call("a")), Cause::Ok);
}

#[test]
fn a_refused_later_attempt_stays_refused_when_its_call_ends_meanwhile() {
    let rig = one_per_second();
    rig.admit(&call_with_seq("a", 1));
    let refused = rig.admit(&call_with_seq("a", 2));
    assert!(rig.release_seq("a", 1));
    assert_eq!(rig.admit(&call_with_seq("a", 2)), refused, "although what follows a release would be free");
    assert_eq!((rig.refused(Cause::Cps), rig.cause(&call_with_seq("a", 1))), (1, Cause::Late));
    assert_eq!(rig.cause(&call_with_seq("a", 3)), Cause::Ok);
}

#[test]
fn nor_does_the_end_of_its_lease_make_it_another_question() {
    let mut rig = one_per_second();
    rig.admit(&Admit { ttl_s: Some(1), ..call_with_seq("a", 1) });
    rig.pass_millis(500);
    let refused = rig.admit(&call_with_seq("a", 2));
    assert_eq!(rig.live_through(1).lapsed, 1);
    assert_eq!(rig.admit(&call_with_seq("a", 2)), refused);
    assert_eq!((rig.refused(Cause::Cps), rig.live()), (1, 0));
    rig.pass(2);
    assert_eq!(rig.cause(&call_with_seq("a", 2)), Cause::Ok);
}

#[test]
fn an_emergency_passes_the_refusal_of_its_own_later_attempt() {
    let rig = one_per_second();
    rig.admit(&call_with_seq("a", 1));
    assert_eq!(rig.cause(&call_with_seq("a", 2)), Cause::Cps);
    assert_eq!(rig.cause(&Admit { emergency: true, ..call_with_seq("a", 2) }), Cause::Emergency);
}

#[test]
fn a_refusal_beside_a_live_call_needs_no_room_of_a_call() {
    let bounds = Bounds { calls_max: 1, memories_max: 4, ..BOUNDS };
    let mut rig = Rig::bounded(Policy { rate: Some(Cps::saturating(1)), ..Policy::default() }, bounds);
    rig.admit(&call_with_seq("a", 1));
    for seq in 2..20 {
        assert_eq!(rig.cause(&call_with_seq("a", seq)), Cause::Cps);
    }
    assert_eq!((rig.live(), rig.used("memories")), (1, 1), "one refusal of each id is remembered");
    assert!(rig.release("a"));
    rig.live_through(61);
    assert_eq!(rig.used("memories"), 0);
}

/// What a client knows of the refusals that it was told.
#[derive(Debug, Default)]
struct Refusals {
    /// The last refused attempt of each id, its answer, and until when it is surely repeated.
    last: HashMap<u8, (u32, Decision, Tick)>,
    told: u64,
    repeated: u64,
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn each_refusal_is_counted_once_and_repeated_for_two_seconds(acts in prop::collection::vec(act(), 1..150)) {
        let mut rig = Rig::new(Policy {
            rate: Some(Cps::saturating(2)),
            leases: Leases { setup_s: 2, ..Leases::default() },
            ..Policy::default()
        });
        let mut known = Refusals::default();
        for act in acts {
            match act {
                Act::Admit { call, seq } => {
                    let was_live = rig.gate.call(id(text(call)), rig.now).is_some();
                    let decision = rig.admit(&call_with_seq(text(call), seq));
                    let remembered = known.last.get(&call).filter(|(of, _, until)| *of == seq && rig.now.tick < *until);
                    if let Some((_, refusal, _)) = remembered {
                        prop_assert!(decision == *refusal || decision.cause == Cause::Late, "{:?}", decision);
                    }
                    if decision.admitted {
                        if !was_live {
                            // A call that begins: what was refused before is another story.
                            known.last.remove(&call);
                        }
                    } else if remembered.is_some() && decision.cause != Cause::Late {
                        known.repeated += 1;
                    } else if decision.cause != Cause::Late {
                        known.last.insert(call, (seq, decision, rig.now.tick.plus_secs(2)));
                        known.told += 1;
                    }
                }
                Act::Release { call, seq: Some(seq) } => drop(rig.release_seq(text(call), seq)),
                Act::Release { call, seq: None } => drop(rig.release(text(call))),
                Act::Pass { millis } => {
                    // In whole steps of the gate's coarse clock, so that 2 s are 2 s.
                    rig.now.tick = Tick((rig.now.tick.0 + u64::from(millis) * 1_000_000) >> 26 << 26);
                    rig.housekeep();
                }
                Act::Restart { .. } => {}
            }
            prop_assert_eq!(rig.refused(Cause::Cps), known.told);
            prop_assert_eq!(rig.status().refusals_repeated_total, known.repeated);
        }
    }
}
