//! Rules 3 and 7: leases and registrations.

use super::*;

#[test]
fn a_call_that_is_never_confirmed_lapses_after_the_setup_lease() {
    let mut rig = Rig::open();
    assert_eq!(rig.admit(&call("a")).lease_s, 300);
    assert_eq!(rig.live_through(299).lapsed, 0);
    assert_eq!(rig.live_through(2).lapsed, 1);
    assert_eq!((rig.live(), rig.status().lapsed_total, rig.status().released_total), (0, 1, 0));
}

#[test]
fn confirm_turns_the_setup_lease_into_a_talk_lease() {
    let mut rig = Rig::open();
    rig.admit(&call("a"));
    assert!(rig.confirm("a"));
    assert_eq!(rig.live_through(12 * 3600).lapsed, 0);
    assert_eq!(rig.live_through(61).lapsed, 1);
    assert!(!rig.confirm("a"), "unknown by then");
}

#[test]
fn leases_can_be_asked_for_with_each_request() {
    let mut rig = Rig::open();
    assert_eq!(rig.admit(&Admit { ttl_s: Some(5), ..call("a") }).lease_s, 5);
    rig.admit(&call("b"));
    assert!(rig.confirm_with("b", None, Some(10)));
    rig.admit(&Admit { ttl_s: Some(0), ..call("c") });
    assert_eq!(rig.live_through(6).lapsed, 1);
    assert_eq!(rig.live_through(5).lapsed, 1);
    assert_eq!(rig.live(), 1, "a TTL of 0 is the default lease");
}

#[test]
fn refresh_extends_the_lease_of_the_phase_that_the_call_is_in() {
    let mut rig = Rig::open();
    rig.admit(&call("a"));
    rig.pass(200);
    assert!(rig.refresh("a"));
    assert_eq!(rig.live_through(250).lapsed, 0);
    assert_eq!(rig.live_through(51).lapsed, 1);
    assert!(!rig.refresh("a"));
}

#[test]
fn a_shorter_lease_ends_sooner_than_the_one_before() {
    let mut rig = Rig::open();
    rig.admit(&call("a"));
    assert!(rig.confirm_with("a", None, Some(3)));
    assert_eq!(rig.live_through(4).lapsed, 1);
}

#[test]
fn many_leases_that_end_together_end_in_bounded_pieces() {
    let mut rig = Rig::open();
    let ids: Vec<String> = (0..1_000).map(|number| number.to_string()).collect();
    for text in &ids {
        assert!(rig.admit(&call(text)).admitted);
    }
    rig.pass(400);
    let first = rig.gate.housekeep(rig.now);
    assert!(first.more && first.lapsed < 1_000, "one round does a bounded piece: {first:?}");
    rig.housekeep();
    assert_eq!((rig.live(), rig.status().lapsed_total), (0, 1_000));
}

#[test]
fn a_registration_takes_no_calls_per_second_license_and_lives_for_its_expires_and_32_seconds() {
    let mut rig = Rig::new(Policy { rate: Some(Cps::saturating(1)), ..Policy::default() });
    let register = |text| Admit { kind: Kind::Registration, ttl_s: Some(60), ..call(text) };
    for text in ["a", "b", "c"] {
        let decision = rig.admit(&register(text));
        assert_eq!((decision.cause, decision.lease_s), (Cause::Ok, 92));
    }
    assert_eq!((rig.used("cps"), rig.status().registrations_live, rig.status().calls_live), (0, 3, 0));
    assert_eq!(rig.live_through(91).lapsed, 0);
    assert_eq!(rig.live_through(2).lapsed, 3);
}

#[test]
fn a_live_registration_renews_past_every_verdict_and_ends_with_ttl_0() {
    let mut rig = Rig::open();
    let register = |ttl| Admit { kind: Kind::Registration, ttl_s: Some(ttl), ..call("sip:a@b") };
    rig.admit(&register(60));
    rig.gate.verdict().set(crate::limits::Verdict {
        registrations: Some(crate::limits::VerdictCause::EvaluationExpired),
        ..crate::limits::Verdict::default()
    });
    assert_eq!(rig.cause(&Admit { id: id("sip:new@b"), ..register(60) }), Cause::EvaluationExpired);
    rig.pass(80);
    assert_eq!(rig.cause(&register(60)), Cause::Ok);
    assert_eq!(rig.live_through(60).lapsed, 0);
    let gone = rig.admit(&register(0));
    assert_eq!((gone.admitted, gone.lease_s, rig.live()), (true, 0, 0));
    assert_eq!(rig.status().released_total, 1);
    rig.gate.verdict().set(crate::limits::Verdict::default());
    assert!(rig.admit(&register(0)).admitted, "the end of what isn't there");
    assert_eq!(rig.cause(&register(60)), Cause::Ok, "and it may come again at once");
}

#[test]
fn a_memory_whose_time_is_over_is_gone_although_nobody_swept_it() {
    let mut rig = Rig::open();
    rig.release("a");
    rig.pass(61);
    assert_eq!(rig.cause(&call("a")), Cause::Ok);
}
