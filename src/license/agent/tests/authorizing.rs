//! Section 4.3, and the enforcement that follows from it.

use super::manager::Manager;
use super::world::{DAY, HOUR, Link, MINUTE, World, setup};
use crate::license::agent::{AlarmKind, Authorization, Command, Enforced, Exchange, TransportStep, TypeCap};
use crate::license::{BuiltinProfile, Consequence, Effect, ExpiryBasis, Profile};
use crate::protocol::{Acknowledged, Endpoint, Envelope, GrantAnswer, Typ};
use crate::units::UnixMillis;

fn short(world: &mut World) {
    world.manager.bought.values_mut().for_each(|bought| *bought = 1);
    world.command(Command::RenewAuthorization).unwrap();
}

fn bought(world: &mut World) {
    world.manager.bought.values_mut().for_each(|bought| *bought = 1000);
    world.command(Command::RenewAuthorization).unwrap();
}

#[test]
fn a_failed_authorization_is_tried_every_fifteen_minutes_for_two_hours_and_then_every_four() {
    for builtin in BuiltinProfile::ALL {
        let mut world = World::of(builtin);
        world.register();
        world.run_to(DAY);
        let before = world.sent(Endpoint::Entitlement).len();
        world.link = Link::Down(TransportStep::Tcp);
        world.command(Command::RenewAuthorization).unwrap();
        let begun = world.ms();
        // Reports of the same outage are sent on their own schedule; here they would only hide the retries.
        world.run_for(19 * HOUR);
        let tries: Vec<u64> =
            world.sent(Endpoint::Entitlement)[before..].iter().map(|at| (at - begun) / MINUTE).collect();
        assert_eq!(tries, [0, 15, 30, 45, 60, 75, 90, 105, 120, 360, 600, 840, 1080], "{builtin:?}");
        assert!(world.stands(AlarmKind::AuthDown) && world.stands(AlarmKind::RegDown));
        assert!(world.stands(AlarmKind::AuthRenewFailed));
        assert_eq!(world.agent.state().contact.attempts.len(), 5);
        world.link = Link::Up;
        world.run_for(4 * HOUR);
        assert!(!world.stands(AlarmKind::AuthDown) && !world.stands(AlarmKind::AuthRenewFailed));
    }
}

#[test]
fn once_authorization_has_expired_it_is_tried_every_four_hours_and_any_grant_ends_it() {
    let mut world = World::of(BuiltinProfile::Cusp);
    world.register();
    world.link = Link::Down(TransportStep::Tcp);
    world.run_to(90 * DAY - MINUTE);
    assert_eq!((world.a(), world.word()), (Authorization::Authorized, "allow"));
    world.run_to(90 * DAY);
    assert_eq!((world.a(), world.word()), (Authorization::AuthorizationExpired, "reject (authorization-expired)"));
    assert!(world.stands(AlarmKind::AuthExpired) && world.stands(AlarmKind::Enforced));
    let from = world.sent(Endpoint::Entitlement).len();
    world.run_for(40 * HOUR);
    let tries = world.sent(Endpoint::Entitlement)[from..].to_vec();
    assert!(tries.len() == 10 && tries.windows(2).all(|pair| pair[1] - pair[0] == 4 * HOUR), "{tries:?}");
    world.link = Link::Up;
    world.run_for(4 * HOUR);
    assert_eq!((world.a(), world.word()), (Authorization::Authorized, "allow"));
    assert!(!world.stands(AlarmKind::AuthExpired) && !world.stands(AlarmKind::Enforced));
}

#[test]
fn jitter_spreads_retries_by_a_tenth_and_never_differs_for_one_identity() {
    let mut spread = setup(Profile::builtin(BuiltinProfile::Cusp).unwrap());
    spread.retry_jitter = true;
    let mut world = World::with(spread);
    world.link = Link::Down(TransportStep::Tcp);
    world.register();
    world.run_to(2 * HOUR);
    let tries = world.sent(Endpoint::Registration);
    let gap = tries[1] - tries[0];
    assert!((13 * MINUTE + 30_000..=16 * MINUTE + 30_000).contains(&gap) && gap != 15 * MINUTE);
    assert!(tries.windows(2).all(|pair| pair[1] - pair[0] == gap));
}

#[test]
fn what_the_other_side_asks_for_extends_a_retry_and_never_shortens_it() {
    for (asked_s, gap) in [(1, 15 * MINUTE), (3600, HOUR), (u64::MAX, DAY)] {
        let mut world = World::of(BuiltinProfile::Cusp);
        world.register();
        world.link = Link::Held;
        world.command(Command::RenewAuthorization).unwrap();
        let request = world.waiting.pop_front().unwrap();
        let busy = Exchange::Answered { status: 503, retry_after_s: Some(asked_s), body: Vec::new() };
        world.agent.handle_response(request.exchange, busy, world.now);
        world.drain();
        assert_eq!(world.agent.state().deadlines.authorization_due.unwrap().0, world.now.wall.0 + gap);
    }
}

#[test]
fn a_shortage_is_told_and_refuses_nothing_until_its_overage_ends() {
    for (builtin, after) in
        [(BuiltinProfile::Cusp, "allow"), (BuiltinProfile::Ccx, "config freeze"), (BuiltinProfile::Open, "allow")]
    {
        let mut world = World::of(builtin);
        world.register();
        world.run_to(DAY);
        short(&mut world);
        assert_eq!(
            (world.a(), world.word(), world.stands(AlarmKind::Ooc)),
            (Authorization::OutOfCompliance, "allow", true)
        );
        world.run_to(91 * DAY - MINUTE);
        assert_eq!(world.word(), "allow");
        world.run_to(91 * DAY);
        assert_eq!(world.word(), after, "{builtin:?}");
        bought(&mut world);
        assert_eq!(
            (world.a(), world.word(), world.stands(AlarmKind::Ooc)),
            (Authorization::Authorized, "allow", false)
        );
    }
}

#[test]
fn overage_keeps_its_first_deadline_until_a_day_of_compliance_has_passed() {
    let mut world = World::of(BuiltinProfile::Ccx);
    world.register();
    short(&mut world);
    let end = Some(UnixMillis(world.now.wall.0 + 90 * DAY));
    assert_eq!(world.agent.state().deadlines.overage_end, end);
    for _ in 0..5 {
        world.run_for(10 * DAY);
        bought(&mut world);
        world.run_for(23 * HOUR);
        short(&mut world);
        assert_eq!(world.agent.state().deadlines.overage_end, end);
    }
    world.command(Command::Deregister).unwrap();
    world.register();
    assert_eq!((world.a(), world.agent.state().deadlines.overage_end), (Authorization::OutOfCompliance, end));
    bought(&mut world);
    world.run_for(DAY);
    assert_eq!(world.agent.state().deadlines.overage_end, None);
    short(&mut world);
    assert_eq!(world.agent.state().deadlines.overage_end.unwrap().0, world.now.wall.0 + 90 * DAY);
}

#[test]
fn without_overage_the_clock_to_enforcement_runs_all_the_same() {
    for overage_allowed in [true, false] {
        let mut choosing = setup(Profile::builtin(BuiltinProfile::Ccx).unwrap());
        choosing.overage_allowed = overage_allowed;
        let mut world = World::with(choosing);
        world.register();
        short(&mut world);
        let cap = if overage_allowed { TypeCap::Uncapped } else { TypeCap::Units(1) };
        assert_eq!(world.cap("standard"), cap, "what may be used now");
        assert_eq!(world.agent.state().deadlines.overage_end.unwrap().0, world.now.wall.0 + 90 * DAY);
        world.run_for(90 * DAY);
        assert_eq!(world.word(), "config freeze");
    }
}

#[test]
fn where_the_first_failure_is_the_basis_authorization_expires_that_long_after_it() {
    let mut counted = Profile::builtin(BuiltinProfile::Cusp).unwrap();
    counted.auth_expiry.basis = ExpiryBasis::FirstFailure;
    let mut world = World::with(setup(counted));
    world.register();
    world.link = Link::Down(TransportStep::Tcp);
    // This product reports daily: the first day's report is what fails first.
    world.run_to(DAY);
    assert!(world.agent.state().contact.first_failure.is_some());
    world.run_to(91 * DAY - MINUTE);
    assert_eq!(world.a(), Authorization::Authorized);
    world.run_to(91 * DAY);
    assert_eq!(world.a(), Authorization::AuthorizationExpired);
}

#[test]
fn an_authorization_that_expires_during_overage_keeps_the_earlier_deadline_and_lifts_nothing() {
    let mut world = World::of(BuiltinProfile::Ccx);
    world.register();
    short(&mut world);
    world.link = Link::Down(TransportStep::Tcp);
    world.run_to(90 * DAY - MINUTE);
    assert_eq!(world.word(), "allow");
    world.run_to(90 * DAY);
    assert_eq!((world.a(), world.word()), (Authorization::AuthorizationExpired, "config freeze"));
    let mut lenient = Profile::builtin(BuiltinProfile::Ccx).unwrap();
    lenient.auth_expired = Consequence { effect: Effect::AllowNotify, overage_hours: None, then: None };
    let mut world = World::with(setup(lenient));
    world.register();
    short(&mut world);
    world.run_to(20 * DAY);
    world.link = Link::Down(TransportStep::Tcp);
    world.run_to(100 * DAY);
    assert_eq!((world.a(), world.word()), (Authorization::OutOfCompliance, "config freeze"));
    world.run_to(111 * DAY);
    assert_eq!((world.a(), world.word()), (Authorization::AuthorizationExpired, "config freeze"));
}

#[test]
fn leaving_the_registration_ends_what_authorization_had_enforced() {
    let mut world = World::of(BuiltinProfile::Cusp);
    world.register();
    world.link = Link::Down(TransportStep::Tcp);
    world.run_to(91 * DAY);
    assert_eq!(world.word(), "reject (authorization-expired)");
    world.command(Command::Deregister).unwrap();
    assert_eq!((world.a(), world.word()), (Authorization::Evaluation, "allow"));
}

#[test]
fn a_tag_that_the_manager_doesnt_know_is_invalid_and_the_others_are_not_affected() {
    let mut world = World::of(BuiltinProfile::Ccx);
    world.manager.bought.remove("ccx.ivr");
    world.register();
    assert_eq!(world.a(), Authorization::Authorized);
    assert!(world.alarms[&AlarmKind::InvalidTag].what.contains("ccx.ivr"));
    world.manager.bought.insert("ccx.ivr".to_owned(), 1000);
    world.command(Command::RenewAuthorization).unwrap();
    assert!(!world.stands(AlarmKind::InvalidTag));
}

#[test]
fn waiting_without_an_answer_notifies_and_falls_to_expired_evaluation_where_it_runs() {
    let mut world = World::of(BuiltinProfile::Cccsp);
    world.link = Link::Held;
    world.register();
    let registration = world.waiting.pop_front().unwrap();
    let answer = world.manager.answer(&registration, world.now.wall);
    world.agent.handle_response(registration.exchange, answer, world.now);
    world.drain();
    world.link = Link::Down(TransportStep::Tcp);
    world.drain();
    assert_eq!((world.a(), world.agent.state().enforced), (Authorization::Waiting, Enforced::Notify));
    world.run_to(90 * DAY);
    assert_eq!((world.a(), world.word()), (Authorization::EvaluationExpired, "reject (evaluation-expired)"));
    world.link = Link::Up;
    world.run_for(4 * HOUR);
    assert_eq!((world.a(), world.word()), (Authorization::Authorized, "allow"));
}

#[test]
fn a_changed_count_is_asked_for_at_once_and_the_old_grant_holds_until_the_answer() {
    let mut world = World::of(BuiltinProfile::Cusp);
    world.register();
    world.link = Link::Held;
    let mut more = world.agent.setup().clone();
    more.requested[0].units = Some(200);
    world.command(Command::Configure(Box::new(more))).unwrap();
    assert_eq!((world.a(), world.waiting.len()), (Authorization::Authorized, 1));
    world.link = Link::Up;
    world.drain();
    assert_eq!(world.manager.requested["cusp.cps"], 40);
}

#[test]
fn nothing_asked_for_is_no_licenses_in_use_until_the_first_use() {
    let mut idle = setup(Profile::builtin(BuiltinProfile::Expressway).unwrap());
    idle.requested.iter_mut().for_each(|requested| requested.units = None);
    let mut world = World::with(idle);
    world.register();
    assert_eq!((world.a(), world.word(), world.cap("rms")), (Authorization::None, "allow", TypeCap::Uncapped));
    assert!(world.sent(Endpoint::Entitlement).is_empty());
    world.link = Link::Held;
    world.use_now("rms", 3);
    assert_eq!((world.a(), world.word(), world.cap("rms")), (Authorization::Waiting, "allow", TypeCap::Uncapped));
    world.link = Link::Up;
    world.drain();
    assert_eq!(world.a(), Authorization::Authorized);
    assert_eq!(world.manager.requested.values().copied().collect::<Vec<_>>(), [3]);
}

/// What a request for a grant makes of this answer: whether it was believed, and the code of the failure.
fn told(world: &mut World, answer: impl FnOnce(&mut World, &crate::license::agent::Outgoing) -> Exchange) -> String {
    let before = world.agent.state().clone();
    world.link = Link::Held;
    world.command(Command::RenewAuthorization).unwrap();
    let request = world.waiting.pop_front().unwrap();
    let answer = answer(world, &request);
    world.agent.handle_response(request.exchange, answer, world.now);
    world.drain();
    let after = world.agent.state();
    assert_eq!((after.authorization, &after.grant), (before.authorization, &before.grant), "nothing was believed");
    assert_eq!(after.last_grant_seq, before.last_grant_seq);
    assert!(world.stands(AlarmKind::GrantRejected));
    assert_eq!(after.deadlines.authorization_due.unwrap().0, world.now.wall.0 + 15 * MINUTE, "tried again");
    let code = after.latest_failure.as_ref().unwrap().code.clone();
    world.link = Link::Up;
    world.command(Command::RenewAuthorization).unwrap();
    assert!(!world.stands(AlarmKind::GrantRejected));
    code
}

#[test]
fn replayed_reordered_foreign_and_forged_grants_change_nothing_and_are_told_with_their_cause() {
    let mut world = World::of(BuiltinProfile::Cusp);
    world.register();
    let replayed = world.manager.said.last().unwrap().clone();
    let said = move |_: &mut World, _: &_| Exchange::Answered { status: 200, retry_after_s: None, body: replayed };
    assert_eq!(told(&mut world, said), "nonce_mismatch");
    for back in [0, 1] {
        let code = told(&mut world, |world, request| {
            let newest = world.manager.grant_seq;
            world.manager.grant_seq -= 1 + back;
            let answer = world.manager.answer(request, world.now.wall);
            world.manager.grant_seq = newest;
            answer
        });
        assert_eq!(code, "old_grant");
    }
    let forged = told(&mut world, |world, request| Manager::new(90).answer(request, world.now.wall));
    assert_eq!(forged, "bad_key_set");
    let tampered = told(&mut world, |world, request| {
        let Exchange::Answered { body, .. } = world.manager.answer(request, world.now.wall) else {
            panic!("it answers")
        };
        let mut envelope: serde_json::Value = serde_json::from_slice(&body).unwrap();
        let sig = envelope["sig"].as_str().unwrap().to_owned();
        let first = if sig.starts_with('A') { "B" } else { "A" };
        envelope["sig"] = format!("{first}{}", &sig[1..]).into();
        Exchange::Answered { status: 200, retry_after_s: None, body: serde_json::to_vec(&envelope).unwrap() }
    });
    assert_eq!(tampered, "bad_signature");
    let foreign = told(&mut world, |world, request| {
        let Exchange::Answered { body, .. } = world.manager.answer(request, world.now.wall) else {
            panic!("it answers")
        };
        let mut answer: GrantAnswer = Envelope::parse(&body).unwrap().peek().unwrap();
        answer.grant.udi = World::of(BuiltinProfile::Open).agent.state().udi.clone();
        world.manager.sign(Typ::GrantAnswer, &answer)
    });
    assert_eq!(foreign, "foreign_udi");
    let expired = told(&mut world, |world, request| {
        world.manager.grant_days = 0;
        let answer = world.manager.answer(request, world.now.wall);
        world.manager.grant_days = 90;
        answer
    });
    assert_eq!(expired, "expired_grant");
}

#[test]
fn an_answer_to_nothing_is_counted_and_changes_nothing() {
    let mut world = World::of(BuiltinProfile::Cusp);
    world.register();
    let before = world.agent.state().clone();
    let stray = Exchange::Answered { status: 200, retry_after_s: None, body: Vec::new() };
    world.agent.handle_response(crate::license::agent::ExchangeId(99), stray, world.now);
    world.drain();
    let after = world.agent.state();
    assert_eq!(after.unexpected["authorized/answer"], 1);
    assert_eq!((&after.registration, &after.grant), (&before.registration, &before.grant));
}

#[test]
fn a_grant_that_ends_before_the_next_renewal_is_renewed_at_its_end() {
    let mut world = World::of(BuiltinProfile::Cusp);
    world.manager.grant_days = 7;
    world.register();
    assert_eq!(world.agent.state().deadlines.authorization_due.unwrap().0, world.now.wall.0 + 7 * DAY);
}

#[test]
fn caps_are_what_is_requested_or_granted_as_overage_is_allowed_and_a_smaller_grant_is_acknowledged() {
    let mut world = World::of(BuiltinProfile::Open);
    world.register();
    assert_eq!((world.cap("cps"), world.cap("session")), (TypeCap::Requested, TypeCap::Requested));
    world.manager.bought.insert("open.cps".to_owned(), 10);
    world.command(Command::RenewAuthorization).unwrap();
    assert_eq!(world.cap("cps"), TypeCap::Requested, "overage is billed");
    let acked: Vec<&Acknowledged> = world.manager.acks.iter().map(|ack| &ack.acknowledged).collect();
    assert!(matches!(acked[1], Acknowledged::Grant { tag, effective: 10, .. } if tag == "open.cps"), "{acked:?}");
    let mut strict = world.agent.setup().clone();
    strict.overage_allowed = false;
    world.command(Command::Configure(Box::new(strict))).unwrap();
    assert_eq!((world.cap("cps"), world.cap("session")), (TypeCap::Units(50), TypeCap::Units(50)));
    assert!(!world.limits.as_ref().unwrap().overage_allowed);
    let mut fixed = World::of(BuiltinProfile::Cusp);
    fixed.manager.bought.insert("cusp.cps".to_owned(), 10);
    let mut strict = fixed.agent.setup().clone();
    strict.overage_allowed = false;
    fixed.command(Command::Configure(Box::new(strict))).unwrap();
    fixed.register();
    assert_eq!(fixed.cap("cps"), TypeCap::Requested, "without control the profile decides");
    fixed.manager.overage_allowed = false;
    fixed.command(Command::RenewAuthorization).unwrap();
    assert_eq!(fixed.cap("cps"), TypeCap::Units(50), "but the manager has a word too");
}

#[test]
fn export_control_is_lifted_by_flag_and_entitlement_together_only() {
    for (flag, licenses, lifted) in [
        (false, None, false),
        (true, None, false),
        (false, Some(1), false),
        (true, Some(0), false),
        (true, Some(1), true),
    ] {
        let mut setup = setup(Profile::builtin(BuiltinProfile::Expressway).unwrap());
        let tag = setup.profile.export_tag(setup.usage);
        setup.requested.iter_mut().for_each(|requested| requested.units = None);
        let mut world = World::with(setup);
        world.manager.export_allowed = flag;
        if let Some(licenses) = licenses {
            world.manager.bought.insert(tag, licenses);
        }
        world.register();
        let found = (world.limits.as_ref().unwrap().export_lifted, world.a());
        let in_use = if lifted { Authorization::Authorized } else { Authorization::None };
        assert_eq!(found, (lifted, in_use), "{flag} {licenses:?}");
        assert!(!world.stands(AlarmKind::InvalidTag) && !world.stands(AlarmKind::Ooc), "what isn't there is no fault");
        world.command(Command::Deregister).unwrap();
        assert!(!world.limits.as_ref().unwrap().export_lifted);
    }
}

#[test]
fn every_alarm_says_what_since_when_effect_next_and_remedy() {
    let mut world = World::of(BuiltinProfile::Ccx);
    world.register();
    short(&mut world);
    world.link = Link::Down(TransportStep::TlsIssuer);
    world.run_to(200 * DAY);
    assert!(world.stands(AlarmKind::UnknownCa));
    assert!(world.alarms.len() > 5);
    for alarm in world.alarms.values() {
        for text in [&alarm.what, &alarm.effect, &alarm.next, &alarm.remedy] {
            assert!(text.len() > 5, "{alarm:?}");
        }
        assert!(alarm.since.0 >= super::world::START && alarm.since <= world.now.wall, "{alarm:?}");
    }
}
