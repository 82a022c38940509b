//! Rule 8: shadow mode says yes to everything, and counts what enforcement would have refused.

use super::*;

fn policy(mode: Mode) -> Policy {
    Policy {
        mode,
        rate: Some(Cps::saturating(5)),
        trunks: [("t".to_owned(), GroupLimits { cps: None, sessions: Some(2) })].into(),
        ..Policy::default()
    }
}

fn would_refuse(rig: &Rig, cause: Cause) -> u64 {
    rig.status().would_refuse_total[usize::from(cause.code())]
}

/// What each of many offered calls is answered, or would be.
fn refusals(mode: Mode) -> (u64, u64) {
    let mut rig = Rig::new(policy(mode));
    let ids: Vec<String> = (0..200).map(|number| number.to_string()).collect();
    for (number, text) in ids.iter().enumerate() {
        let trunk = (number % 3 == 0).then(|| name("t"));
        rig.admit(&Admit { trunk, ..call(text) });
        if number % 30 == 29 {
            rig.release(&ids[number - 29]);
        }
        rig.pass_millis(70);
    }
    let status = rig.status();
    let of = |totals: [u64; Cause::COUNT], cause: Cause| totals[usize::from(cause.code())];
    let totals = if mode == Mode::Shadow { status.would_refuse_total } else { status.refused_total };
    (of(totals, Cause::Cps), of(totals, Cause::TrunkSessions))
}

#[test]
fn shadow_mode_counts_just_what_enforcement_refuses() {
    let enforced = refusals(Mode::Enforce);
    assert!(enforced.0 > 0 && enforced.1 > 0, "the load reaches both limits: {enforced:?}");
    assert_eq!(refusals(Mode::Shadow), enforced);
}

#[test]
fn shadow_mode_answers_yes_to_everything() {
    let rig = Rig::new(policy(Mode::Shadow));
    rig.gate.set_draining(true);
    rig.release("late");
    for text in ["a", "late", "b"] {
        let decision = rig.admit(&call(text));
        assert_eq!((decision.admitted, decision.cause, decision.sip_status), (true, Cause::Ok, 0));
    }
    let overdue = Admit { deadline: Some(UnixMillis(1)), ..call("c") };
    assert!(rig.admit(&overdue).admitted);
    assert_eq!(would_refuse(&rig, Cause::Draining), 2);
    assert_eq!(would_refuse(&rig, Cause::Late), 1);
    assert_eq!(would_refuse(&rig, Cause::Deadline), 1);
    assert_eq!(rig.live(), 2, "what came late or past its deadline opens nothing");
    assert_eq!(rig.status().refused_total.iter().sum::<u64>(), 0);
}

#[test]
fn a_call_that_would_have_been_refused_is_live_marked_and_released_like_any_other() {
    let rig = Rig::new(policy(Mode::Shadow));
    let on_trunk = |text| Admit { trunk: Some(name("t")), ..call(text) };
    for text in ["a", "b", "c"] {
        rig.admit(&on_trunk(text));
    }
    assert_eq!((rig.live(), rig.used("trunk-sessions:t"), would_refuse(&rig, Cause::TrunkSessions)), (3, 2, 1));
    assert!(rig.gate.call(id("c"), rig.now).unwrap().forced);
    assert_eq!(rig.cause(&on_trunk("c")), Cause::Duplicate);
    for text in ["c", "a", "b"] {
        assert!(rig.release(text));
    }
    assert_eq!((rig.live(), rig.used("trunk-sessions:t")), (0, 0));
}

#[test]
fn enforcement_after_shadow_counts_every_call_that_is_live() {
    let mut rig = Rig::new(policy(Mode::Shadow));
    let on_trunk = |text| Admit { trunk: Some(name("t")), ..call(text) };
    for text in ["a", "b", "c"] {
        rig.admit(&on_trunk(text));
    }
    rig.gate.set_policy(policy(Mode::Enforce), rig.now).unwrap();
    assert_eq!((rig.live(), rig.used("trunk-sessions:t")), (3, 3), "nobody is dropped, everybody counts");
    rig.release("c");
    rig.pass(2);
    assert_eq!(rig.cause(&on_trunk("d")), Cause::TrunkSessions);
    rig.release("a");
    rig.release("b");
    assert_eq!(rig.used("trunk-sessions:t"), 0);
}

#[test]
fn a_later_attempt_that_enforcement_would_refuse_is_counted_and_passes() {
    let mut policy = policy(Mode::Shadow);
    policy.rate = Some(Cps::saturating(1));
    let rig = Rig::new(policy);
    rig.admit(&call_with_seq("a", 1));
    assert_eq!(rig.cause(&call_with_seq("a", 2)), Cause::Ok);
    assert_eq!((would_refuse(&rig, Cause::Cps), rig.live()), (1, 1));
}

#[test]
fn an_attempt_that_shadow_mode_would_refuse_leaves_none_free() {
    let mut rig = Rig::new(policy(Mode::Shadow));
    rig.admit(&call_with_seq("a", 1));
    rig.release("a");
    rig.admit(&call_with_seq("a", 2));
    assert_eq!(rig.used("cps"), 1, "the challenged attempt comes again for free, once");
    for text in ["b", "c", "d", "e"] {
        rig.admit(&call(text));
    }
    rig.admit(&call_with_seq("a", 3));
    assert_eq!(would_refuse(&rig, Cause::Cps), 1);
    rig.pass(2);
    rig.release("a");
    rig.admit(&call_with_seq("a", 4));
    assert_eq!(rig.used("cps"), 1, "it pays");
}
