//! Rules 1, 2 and 5: what travels twice, late, or in the wrong order.

use super::*;

fn one_per_second() -> Rig {
    Rig::new(Policy { rate: Some(Cps::saturating(1)), ..Policy::default() })
}

#[test]
fn a_retransmission_gets_the_stored_answer_and_consumes_nothing() {
    let rig = one_per_second();
    let first = rig.admit(&call_with_seq("a", 7));
    let again = rig.admit(&call_with_seq("a", 7));
    assert_eq!((first.cause, again.cause), (Cause::Ok, Cause::Duplicate));
    assert_eq!((again.admitted, again.lease_s), (true, first.lease_s));
    assert_eq!((rig.live(), rig.used("cps"), rig.status().duplicates_total), (1, 1, 1));
}

#[test]
fn without_seq_ten_retransmissions_within_32_seconds_are_free_and_the_next_one_pays() {
    let mut rig = one_per_second();
    rig.admit(&call("a"));
    rig.pass(2);
    for _ in 0..10 {
        assert_eq!(rig.cause(&call("a")), Cause::Duplicate);
    }
    assert_eq!(rig.used("cps"), 0);
    assert_eq!(rig.cause(&call("a")), Cause::Ok, "it pays the rate as a new attempt");
    assert_eq!((rig.used("cps"), rig.live()), (1, 1));
}

#[test]
fn without_seq_an_ask_after_32_seconds_is_a_new_attempt_of_the_same_session() {
    let mut rig = one_per_second();
    rig.admit(&call("a"));
    rig.pass(31);
    assert_eq!(rig.cause(&call("a")), Cause::Duplicate);
    rig.pass(2);
    assert_eq!(rig.cause(&call("a")), Cause::Ok);
    assert_eq!((rig.live(), rig.used("cps"), rig.status().reattempts_total), (1, 1, 1));
}

#[test]
fn a_higher_seq_pays_the_rate_and_never_a_second_session() {
    let mut rig = one_per_second();
    rig.admit(&call_with_seq("a", 1));
    let refused = rig.admit(&call_with_seq("a", 2));
    assert_eq!((refused.admitted, refused.cause), (false, Cause::Cps));
    assert_eq!(rig.live(), 1, "refused, the call stays live");
    rig.pass(3);
    assert_eq!(rig.cause(&call_with_seq("a", 2)), Cause::Ok);
    assert_eq!(rig.live(), 1);
    assert_eq!(rig.cause(&call_with_seq("a", 1)), Cause::Late, "the attempt before is over");
}

#[test]
fn a_lower_seq_than_the_live_one_is_late_and_changes_nothing() {
    let rig = Rig::open();
    rig.admit(&call_with_seq("a", 5));
    assert_eq!(rig.cause(&call_with_seq("a", 4)), Cause::Late);
    assert!(!rig.release_seq("a", 4));
    assert!(!rig.confirm_with("a", Some(4), None));
    assert_eq!(rig.live(), 1);
    assert!(rig.release_seq("a", 5));
}

#[test]
fn a_refusal_is_repeated_for_two_seconds_and_counted_once() {
    let mut rig = one_per_second();
    rig.admit(&call("a"));
    let refused = rig.admit(&call_with_seq("b", 1));
    for _ in 0..5 {
        assert_eq!(rig.admit(&call_with_seq("b", 1)), refused, "the same answer, the same Retry-After");
    }
    assert_eq!((rig.refused(Cause::Cps), rig.status().refusals_repeated_total), (1, 5));
    rig.pass_millis(1_500);
    assert_eq!(rig.admit(&call_with_seq("b", 1)).cause, Cause::Cps, "remembered although there would be room now");
    rig.pass_millis(700);
    assert_eq!(rig.cause(&call_with_seq("b", 1)), Cause::Ok);
}

#[test]
fn a_refusal_is_remembered_by_id_and_seq() {
    let mut rig = one_per_second();
    rig.admit(&call("a"));
    rig.admit(&call_with_seq("b", 1));
    rig.pass_millis(1_100);
    assert_eq!(rig.cause(&call_with_seq("b", 1)), Cause::Cps);
    assert_eq!(rig.cause(&call_with_seq("b", 2)), Cause::Ok);
}

#[test]
fn draining_deadline_and_late_are_not_remembered() {
    let rig = Rig::open();
    rig.gate.set_draining(true);
    assert_eq!(rig.cause(&call("a")), Cause::Draining);
    rig.gate.set_draining(false);
    assert_eq!(rig.cause(&call("a")), Cause::Ok);
    let overdue = Admit { deadline: Some(UnixMillis(999_999)), ..call("b") };
    assert_eq!(rig.cause(&overdue), Cause::Deadline);
    assert_eq!(rig.cause(&call("b")), Cause::Ok);
}

#[test]
fn a_request_past_its_deadline_consumes_nothing_unless_it_is_an_emergency() {
    let rig = one_per_second();
    let overdue = Admit { deadline: Some(UnixMillis(999_999)), ..call("a") };
    assert_eq!(rig.cause(&overdue), Cause::Deadline);
    assert_eq!((rig.live(), rig.used("cps")), (0, 0));
    assert_eq!(rig.cause(&Admit { emergency: true, ..overdue }), Cause::Emergency);
    let in_time = Admit { deadline: Some(rig.now.wall), ..call("b") };
    assert_eq!(rig.cause(&in_time), Cause::Cps, "a deadline of this very millisecond is in time");
}

#[test]
fn a_call_is_released_once_and_its_release_remembered_for_32_seconds() {
    let mut rig = Rig::open();
    rig.admit(&call_with_seq("a", 3));
    assert!(rig.release("a"));
    assert!(!rig.release("a"), "released before");
    assert_eq!((rig.live(), rig.status().released_total, rig.status().released_unknown_total), (0, 1, 0));
    assert_eq!(rig.cause(&call_with_seq("a", 3)), Cause::Late);
    assert_eq!(rig.cause(&call_with_seq("a", 2)), Cause::Late);
    rig.pass(33);
    assert_eq!(rig.cause(&call_with_seq("a", 3)), Cause::Ok, "forgotten by then");
}

#[test]
fn a_challenged_attempt_that_comes_again_takes_no_second_license_but_a_third_one_pays() {
    let rig = Rig::new(Policy { rate: Some(Cps::saturating(2)), ..Policy::default() });
    assert_eq!(rig.cause(&call_with_seq("a", 1)), Cause::Ok);
    assert!(rig.release_seq("a", 1));
    assert_eq!(rig.cause(&call_with_seq("a", 2)), Cause::Ok);
    assert_eq!((rig.used("cps"), rig.live()), (1, 1), "one license for both attempts");
    assert!(rig.release_seq("a", 2));
    assert_eq!(rig.cause(&call_with_seq("a", 3)), Cause::Ok);
    assert_eq!(rig.used("cps"), 2, "the next one pays");
    assert!(rig.release_seq("a", 3));
    assert_eq!(rig.cause(&call_with_seq("a", 4)), Cause::Ok, "and brings one free re-attempt again");
    assert_eq!(rig.used("cps"), 2);
}

#[test]
fn a_re_attempt_without_seq_follows_a_release_too() {
    let rig = one_per_second();
    rig.admit(&call("a"));
    rig.release("a");
    assert_eq!(rig.cause(&call("a")), Cause::Ok);
    assert_eq!((rig.used("cps"), rig.live()), (1, 1));
}

#[test]
fn a_release_that_overtakes_its_admit_leaves_nothing_live() {
    let mut rig = Rig::open();
    assert!(!rig.release("a"));
    assert_eq!(rig.cause(&call("a")), Cause::Late);
    assert_eq!(rig.cause(&call_with_seq("a", 9)), Cause::Late, "nothing says that 9 is newer");
    assert_eq!(rig.live(), 0);
    rig.pass(61);
    assert_eq!(rig.cause(&call("a")), Cause::Ok);
}

#[test]
fn an_early_release_with_seq_lets_only_a_higher_one_pass() {
    let rig = Rig::open();
    assert!(!rig.release_seq("a", 4));
    assert_eq!(rig.cause(&call("a")), Cause::Late);
    assert_eq!(rig.cause(&call_with_seq("a", 4)), Cause::Late);
    assert_eq!(rig.cause(&call_with_seq("a", 5)), Cause::Ok);
}

#[test]
fn a_release_of_a_refused_call_leaves_no_tombstone() {
    let mut rig = one_per_second();
    rig.admit(&call("a"));
    assert_eq!(rig.cause(&call("b")), Cause::Cps);
    assert!(!rig.release("b"));
    rig.pass(3);
    assert_eq!(rig.cause(&call("b")), Cause::Ok);
}

#[test]
fn a_refused_re_attempt_keeps_the_memory_of_its_release() {
    let policy =
        Policy { trunks: [("t".to_owned(), GroupLimits { cps: None, sessions: Some(1) })].into(), ..open_policy() };
    let rig = Rig::new(policy);
    let on_trunk = |text, seq| Admit { trunk: Some(name("t")), ..call_with_seq(text, seq) };
    rig.admit(&on_trunk("a", 1));
    rig.release_seq("a", 1);
    rig.admit(&on_trunk("b", 1));
    assert_eq!(rig.cause(&on_trunk("a", 2)), Cause::TrunkSessions);
    assert_eq!(rig.cause(&on_trunk("a", 2)), Cause::TrunkSessions);
    assert_eq!(rig.refused(Cause::TrunkSessions), 1, "repeated from memory");
    assert_eq!(rig.cause(&on_trunk("a", 1)), Cause::Late, "the release is not forgotten");
}

#[test]
fn an_emergency_call_passes_every_memory() {
    let rig = one_per_second();
    rig.admit(&call("a"));
    assert_eq!(rig.cause(&call("b")), Cause::Cps);
    assert_eq!(rig.cause(&Admit { emergency: true, ..call("b") }), Cause::Emergency);
    rig.release("c");
    assert_eq!(rig.cause(&Admit { emergency: true, ..call("c") }), Cause::Emergency);
    assert_eq!(rig.live(), 3);
}

#[test]
fn a_batch_is_answered_in_its_own_order() {
    let rig = Rig::open();
    let ids: Vec<String> = (0..40).map(|number| format!("call-{number}")).collect();
    let mut requests = Vec::new();
    for text in &ids {
        requests.push(Request::Admit(call(text)));
        requests.push(Request::Release { id: id(text), seq: None });
        requests.push(Request::Release { id: id(text), seq: None });
    }
    let mut answers = Vec::new();
    rig.gate.run(&requests, rig.now, |answer| answers.push(answer));
    assert_eq!(answers.len(), requests.len());
    for three in answers.chunks(3) {
        assert!(matches!(three[0], Answer::Decision(Decision { admitted: true, .. })));
        assert_eq!(&three[1..], [Answer::Known(true), Answer::Known(false)]);
    }
    assert_eq!(rig.live(), 0);
}

#[test]
fn what_took_no_license_gives_no_free_attempt() {
    let rig = Rig::new(Policy { rate: Some(Cps::saturating(2)), ..Policy::default() });
    let register = Admit { kind: Kind::Registration, ..call("a") };
    assert_eq!(rig.cause(&register), Cause::Ok);
    assert!(rig.release("a"));
    assert_eq!(rig.cause(&call("a")), Cause::Ok);
    assert_eq!(rig.used("cps"), 1, "a registration paid nothing that a call could ride on");
}

#[test]
fn a_call_does_not_ride_on_a_registrations_id_nor_the_reverse() {
    let rig = Rig::open();
    rig.admit(&Admit { kind: Kind::Registration, ..call("r") });
    assert_eq!(rig.cause(&call("r")), Cause::Late);
    rig.admit(&call("c"));
    assert_eq!(rig.cause(&Admit { kind: Kind::Registration, ..call("c") }), Cause::Late);
    assert_eq!((rig.status().calls_live, rig.status().registrations_live), (1, 1));
}

#[test]
fn a_re_attempt_on_another_trunk_pays_there() {
    let limits = GroupLimits { cps: Some(Cps::saturating(1)), sessions: None };
    let rig = Rig::new(Policy { trunks: [("x".to_owned(), limits), ("y".to_owned(), limits)].into(), ..open_policy() });
    let on = |trunk: &'static str, seq| Admit { trunk: Some(name(trunk)), ..call_with_seq("a", seq) };
    rig.admit(&on("x", 1));
    rig.release_seq("a", 1);
    assert_eq!(rig.cause(&on("y", 2)), Cause::Ok);
    assert_eq!((rig.used("trunk-cps:x"), rig.used("trunk-cps:y")), (1, 1));
}

#[test]
fn the_end_of_a_registration_is_the_same_however_often_it_is_said() {
    let rig = Rig::open();
    let register = |ttl, seq| Admit { kind: Kind::Registration, ttl_s: Some(ttl), ..call_with_seq("r", seq) };
    rig.admit(&register(60, 4));
    for _ in 0..3 {
        let gone = rig.admit(&register(0, 5));
        assert_eq!((gone.admitted, gone.lease_s), (true, 0));
    }
    assert_eq!((rig.live(), rig.status().released_total), (0, 1));
}

#[test]
fn a_release_that_overtakes_a_later_attempt_is_remembered() {
    let rig = one_per_second();
    rig.admit(&call("other"));
    assert_eq!(rig.cause(&call_with_seq("a", 1)), Cause::Cps);
    assert!(!rig.release_seq("a", 2));
    assert_eq!(rig.cause(&call_with_seq("a", 2)), Cause::Late);
    assert!(!rig.release_seq("b", 4));
    assert!(!rig.release_seq("b", 5));
    assert_eq!(rig.cause(&call_with_seq("b", 5)), Cause::Late);
}

#[test]
fn a_challenged_emergency_call_takes_no_second_license() {
    let rig = Rig::new(Policy { rate: Some(Cps::saturating(5)), ..Policy::default() });
    let emergency = |seq| Admit { emergency: true, ..call_with_seq("a", seq) };
    rig.admit(&emergency(1));
    rig.release_seq("a", 1);
    assert_eq!(rig.cause(&emergency(2)), Cause::Emergency);
    assert_eq!(rig.used("cps"), 1);
}

#[test]
fn a_later_attempt_that_paid_on_another_trunk_leaves_none_free_on_the_calls_own() {
    let limits = GroupLimits { cps: Some(Cps::saturating(10)), sessions: None };
    let trunks = ["t", "u"].map(|trunk| (trunk.to_owned(), limits));
    let rig = Rig::new(Policy { trunks: trunks.into(), ..open_policy() });
    let by = |trunk, seq| Admit { trunk: Some(name(trunk)), ..call_with_seq("a", seq) };
    rig.admit(&by("t", 1));
    rig.release("a");
    rig.admit(&by("t", 2));
    assert_eq!(rig.used("trunk-cps:t"), 1, "the challenged attempt comes again for free, once");
    rig.admit(&by("u", 3));
    rig.release("a");
    rig.admit(&by("t", 4));
    assert_eq!((rig.used("trunk-cps:t"), rig.used("trunk-cps:u"), rig.used("cps")), (2, 1, 3));
}
