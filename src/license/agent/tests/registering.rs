//! Section 4.2 up to leaving.

use super::manager::Manager;
use super::world::{DAY, HOUR, Link, MINUTE, World, seq_of, setup, token};
use crate::license::agent::{AlarmKind, Authorization, Command, Registration, TransportClass, TransportStep};
use crate::license::{BuiltinProfile, Profile};
use crate::protocol::{Acknowledged, Endpoint, RefusalCode};

#[test]
fn registering_stores_the_certificate_acknowledges_asks_for_a_grant_and_forgets_the_token() {
    let mut world = World::of(BuiltinProfile::Cusp);
    world.thorough = true;
    world.register();
    assert_eq!((world.r(), world.a()), (&Registration::Registered, Authorization::Authorized));
    let state = world.agent.state();
    assert!(state.token.is_none() && world.kept.as_ref().unwrap().token.is_none());
    assert_eq!(state.membership.as_ref().unwrap().virtual_account, "main");
    assert_eq!(state.deadlines.id_expiry.unwrap().0, world.now.wall.0 + 365 * DAY);
    assert_eq!(state.deadlines.id_renewal_due.unwrap().0, world.now.wall.0 + 180 * DAY);
    assert_eq!(state.deadlines.authorization_expiry.unwrap().0, world.now.wall.0 + 90 * DAY);
    assert_eq!(state.deadlines.authorization_due.unwrap().0, world.now.wall.0 + 30 * DAY);
    let kinds: Vec<Endpoint> = world.sent.iter().map(|(_, endpoint)| *endpoint).collect();
    assert_eq!(kinds, [Endpoint::Registration, Endpoint::Ack, Endpoint::Entitlement]);
    assert!(
        matches!(&world.manager.acks[0].acknowledged, Acknowledged::Registration { instance } if instance == "instance-1")
    );
    for counts in state.statistics.values() {
        assert_eq!((counts.success, counts.failed, counts.in_queue, counts.dropped), (1, 0, 0, 0));
    }
    let told = &world.manager.registrations[0].info;
    assert_eq!((told.hostname.as_deref(), told.profile.as_str()), (Some("sip-a"), "cusp"));
}

#[test]
fn a_withheld_host_name_is_not_told() {
    let mut setup = setup(Profile::builtin(BuiltinProfile::Cusp).unwrap());
    setup.withhold_hostname = true;
    let mut world = World::with(setup);
    world.register();
    assert_eq!(world.manager.registrations[0].info.hostname, None);
    assert_eq!(world.agent.state().membership.as_ref().unwrap().hostname, None);
}

#[test]
fn after_evaluation_is_used_up_registering_or_a_grant_ends_its_effect_as_the_profile_says() {
    for (builtin, after) in [
        (BuiltinProfile::Cusp, (Authorization::EvaluationExpired, "reject (evaluation-expired)")),
        (BuiltinProfile::Ccx, (Authorization::Waiting, "allow")),
    ] {
        let mut world = World::of(builtin);
        world.run_to(91 * DAY);
        world.link = Link::Held;
        world.register();
        let registration = world.waiting.pop_front().unwrap();
        let answer = world.manager.answer(&registration, world.now.wall);
        world.agent.handle_response(registration.exchange, answer, world.now);
        world.drain();
        assert_eq!((world.a(), world.word()), after, "{builtin:?}");
        world.link = Link::Up;
        world.drain();
        assert_eq!((world.a(), world.word()), (Authorization::Authorized, "allow"));
        assert!(!world.stands(AlarmKind::EvalExpired));
    }
}

#[test]
fn a_lost_answer_is_asked_for_again_every_fifteen_minutes_with_a_new_number_and_the_same_key() {
    let mut world = World::of(BuiltinProfile::Cusp);
    world.link = Link::Down(TransportStep::Dns);
    world.register();
    assert_eq!(world.r(), &Registration::Pending);
    assert!(world.stands(AlarmKind::RegRetry));
    world.run_to(3 * 15 * MINUTE);
    assert_eq!(world.sent(Endpoint::Registration), [0, 15 * MINUTE, 30 * MINUTE, 45 * MINUTE]);
    assert!(world.stands(AlarmKind::RegDown) && !world.stands(AlarmKind::AuthDown));
    assert_eq!(world.alarms[&AlarmKind::RegDown].next_at.unwrap().0, world.now.wall.0 + 15 * MINUTE);
    world.link = Link::Held;
    world.run_for(15 * MINUTE);
    let first = world.waiting.pop_front().unwrap();
    drop(world.manager.answer(&first, world.now.wall));
    let lost =
        crate::license::agent::TransportFailure { step: TransportStep::Timeout, text: "nothing came".to_owned() };
    world.agent.handle_response(first.exchange, crate::license::agent::Exchange::Failed(lost), world.now);
    world.link = Link::Up;
    world.run_for(15 * MINUTE);
    assert_eq!(world.r(), &Registration::Registered);
    let [one, two] = &world.manager.registrations[..] else { panic!("two were heard") };
    assert_ne!(one.header.nonce, two.header.nonce);
    assert_eq!(two.header.seq, one.header.seq + 1);
    assert!(!world.stands(AlarmKind::RegRetry) && !world.stands(AlarmKind::RegDown));
}

#[test]
fn a_denial_ends_it_without_another_try_and_names_its_reason() {
    for code in [
        RefusalCode::TokenUnknown,
        RefusalCode::TokenExpired,
        RefusalCode::TokenRevoked,
        RefusalCode::TokenUsedUp,
        RefusalCode::AlreadyRegistered,
        RefusalCode::ProductNotAllowed,
        RefusalCode::TokenNotForProduct,
        RefusalCode::TokenNotFromHere,
        RefusalCode::MachineKnown,
    ] {
        let mut world = World::of(BuiltinProfile::Expressway);
        world.manager.refuses = Some(code);
        world.register();
        let Registration::Failed { failure } = world.r() else { panic!("{code:?}") };
        assert_eq!(failure.code, code.name());
        assert!(world.stands(AlarmKind::RegFailed) && world.agent.state().token.is_none());
        world.run_for(2 * DAY);
        assert_eq!(world.sent(Endpoint::Registration), [0]);
        world.manager.refuses = None;
        world.register();
        assert!(!world.stands(AlarmKind::RegFailed));
    }
}

#[test]
fn the_latest_failure_stays_with_code_text_and_time_when_all_goes_well_again() {
    let mut world = World::of(BuiltinProfile::Cusp);
    world.register();
    assert_eq!(world.agent.state().latest_failure, None);
    world.run_to(DAY);
    world.link = Link::Down(TransportStep::Tcp);
    world.command(Command::RenewAuthorization).unwrap();
    let failed_at = world.now.wall;
    world.link = Link::Up;
    world.run_for(DAY);
    assert!(!world.stands(AlarmKind::AuthRenewFailed));
    let failure = world.kept.as_ref().unwrap().latest_failure.clone().unwrap();
    assert_eq!((failure.code.as_str(), failure.at), ("tcp", failed_at));
    assert!(failure.text.contains("no way to the manager"), "{}", failure.text);
}

#[test]
fn a_busy_manager_is_asked_again_and_not_before_it_said() {
    let mut world = World::of(BuiltinProfile::Open);
    world.manager.refuses = Some(RefusalCode::Busy);
    world.register();
    assert_eq!(world.r(), &Registration::Pending);
    world.manager.refuses = None;
    world.run_for(15 * MINUTE);
    assert_eq!(world.r(), &Registration::Registered);
}

#[test]
fn what_nobody_signed_is_no_denial() {
    let captive = b"<html>please log in</html>".to_vec();
    for (status, body) in [(200, captive.clone()), (403, captive), (500, Vec::new()), (403, b"{\"alg\":1}".to_vec())] {
        let mut world = World::of(BuiltinProfile::Cusp);
        world.link = Link::Says(status, body);
        world.register();
        assert_eq!(world.r(), &Registration::Pending, "{status}");
        let step = if status == 200 { "http" } else { "status" };
        assert_eq!(world.agent.state().latest_failure.as_ref().unwrap().code, step);
    }
}

#[test]
fn a_denial_signed_by_a_stranger_is_none_and_neither_is_one_of_another_request() {
    let mut world = World::of(BuiltinProfile::Cusp);
    world.register();
    world.link = Link::Held;
    world.command(Command::RenewAuthorization).unwrap();
    let first = world.waiting.pop_front().unwrap();
    let mut stranger = Manager::new(90);
    stranger.refuses = Some(RefusalCode::InstanceRemoved);
    let forged = stranger.answer(&first, world.now.wall);
    world.agent.handle_response(first.exchange, forged, world.now);
    world.drain();
    assert_eq!((world.r(), world.a()), (&Registration::Registered, Authorization::Authorized));
    world.manager.refuses = Some(RefusalCode::InstanceRemoved);
    let old = world.manager.answer(&first, world.now.wall);
    world.command(Command::RenewAuthorization).unwrap();
    let second = world.waiting.pop_front().unwrap();
    world.agent.handle_response(second.exchange, old, world.now);
    world.drain();
    assert_eq!(world.r(), &Registration::Registered, "a replayed refusal ends nothing");
}

#[test]
fn a_manager_under_another_root_than_the_pinned_or_configured_one_is_not_believed() {
    let mut configured = setup(Profile::builtin(BuiltinProfile::Cusp).unwrap());
    configured.trusted_root = Some(Manager::new(90).root.public());
    let mut world = World::with(configured);
    world.register();
    assert_eq!(world.r(), &Registration::Pending);
    assert_eq!(world.agent.state().latest_failure.as_ref().unwrap().code, "foreign_root");
    let mut pinned = World::of(BuiltinProfile::Cusp);
    pinned.register();
    let stranger = Manager::new(90);
    (pinned.manager.root, pinned.manager.issuer) = (stranger.root, stranger.issuer);
    pinned.command(Command::Register { token: token(), force: true }).unwrap();
    assert!(pinned.stands(AlarmKind::ReregFailed));
    assert_eq!(pinned.agent.state().membership.as_ref().unwrap().virtual_account, "main");
}

#[test]
fn a_second_token_replaces_the_first_at_once() {
    let mut world = World::of(BuiltinProfile::Cusp);
    world.link = Link::Held;
    world.register();
    let first = seq_of(&world.waiting[0]);
    world.register();
    assert_eq!(world.waiting.len(), 1);
    assert_eq!(seq_of(&world.waiting[0]), first + 1);
}

#[test]
fn registering_twice_is_refused_and_with_force_moves_to_the_other_account_without_a_gap() {
    let mut world = World::of(BuiltinProfile::Cusp);
    world.register();
    let again = world.command(Command::Register { token: token(), force: false }).unwrap_err();
    assert_eq!(again.code, "already_registered");
    let grant = world.agent.state().grant.clone();
    world.manager.virtual_account = "other".to_owned();
    world.link = Link::Held;
    world.command(Command::Register { token: token(), force: true }).unwrap();
    let moving = world.waiting.pop_front().unwrap();
    assert!(moving.client.is_none() && world.r() == &Registration::Registered);
    let answer = world.manager.answer(&moving, world.now.wall);
    world.agent.handle_response(moving.exchange, answer, world.now);
    world.drain();
    assert_eq!(world.agent.state().membership.as_ref().unwrap().virtual_account, "other");
    assert_eq!((world.a(), &world.agent.state().grant), (Authorization::Authorized, &grant), "until the first grant");
    world.link = Link::Up;
    world.drain();
    assert_eq!(world.agent.state().grant.as_ref().unwrap().virtual_account, "other");
}

#[test]
fn a_move_that_fails_leaves_the_registration_as_it_was() {
    let mut world = World::of(BuiltinProfile::Cusp);
    world.register();
    let before = world.agent.state().clone();
    world.manager.refuses = Some(RefusalCode::TokenExpired);
    world.command(Command::Register { token: token(), force: true }).unwrap();
    let after = world.agent.state();
    assert_eq!((&after.registration, &after.membership), (&before.registration, &before.membership));
    assert_eq!((after.authorization, &after.grant), (before.authorization, &before.grant));
    assert!(world.stands(AlarmKind::ReregFailed) && after.token.is_none());
    assert_eq!(world.word(), "allow");
}

#[test]
fn deregistering_gives_everything_back_and_keeps_the_key_and_the_evaluation() {
    let mut world = World::of(BuiltinProfile::Cusp);
    world.run_to(DAY);
    world.register();
    let before = world.agent.state().clone();
    world.command(Command::Deregister).unwrap();
    assert_eq!(world.manager.deregistrations[0].virtual_account, "main");
    let after = world.agent.state();
    assert_eq!((world.r(), world.a()), (&Registration::Unregistered, Authorization::Evaluation));
    assert!(after.grant.is_none() && after.identity.certificate_chain_b64.is_empty() && after.goodbye.is_none());
    assert_eq!(after.identity.key_seed, before.identity.key_seed);
    assert_eq!((&after.udi, after.evaluation.used_s), (&before.udi, 86_400));
    assert_eq!(after.last_grant_seq, before.last_grant_seq);
    assert_eq!(world.command(Command::Deregister).unwrap_err().code, "not_registered");
}

#[test]
fn deregistering_out_of_reach_happens_here_and_is_told_once_the_manager_is_seen_again() {
    let mut world = World::of(BuiltinProfile::Cusp);
    world.register();
    world.link = Link::Held;
    world.command(Command::Deregister).unwrap();
    assert_eq!(world.waiting[0].within_s, 10);
    world.link = Link::Down(TransportStep::Tcp);
    world.drain();
    assert_eq!(world.r(), &Registration::Unregistered);
    assert!(world.stands(AlarmKind::DeregOrphan));
    world.restart(true);
    assert!(world.stands(AlarmKind::DeregOrphan));
    world.run_for(9 * HOUR);
    assert_eq!(world.sent(Endpoint::Deregistration).len(), 3);
    world.link = Link::Up;
    world.run_for(4 * HOUR);
    assert_eq!(world.manager.deregistrations.len(), 1);
    assert!(!world.stands(AlarmKind::DeregOrphan) && world.agent.state().goodbye.is_none());
}

#[test]
fn a_goodbye_is_not_said_to_an_account_that_was_joined_again() {
    let mut world = World::of(BuiltinProfile::Cusp);
    world.register();
    world.link = Link::Down(TransportStep::Tcp);
    world.command(Command::Deregister).unwrap();
    world.link = Link::Up;
    world.register();
    world.run_for(2 * DAY);
    assert_eq!(world.manager.deregistrations.len(), 0);
    assert!(!world.stands(AlarmKind::DeregOrphan));
}

#[test]
fn a_process_that_ends_while_it_deregisters_is_deregistered() {
    let mut world = World::of(BuiltinProfile::Cusp);
    world.register();
    world.link = Link::Held;
    world.command(Command::Deregister).unwrap();
    world.restart(false);
    assert_eq!((world.r(), world.stands(AlarmKind::DeregOrphan)), (&Registration::Unregistered, true));
}

#[test]
fn a_transport_that_needs_deregistration_is_refused_while_registered() {
    let mut world = World::of(BuiltinProfile::Expressway);
    world.register();
    let mut other = world.agent.setup().clone();
    other.transport = TransportClass::OnPrem;
    let refused = world.command(Command::Configure(Box::new(other.clone()))).unwrap_err();
    assert_eq!(refused.code, "transport_locked");
    assert!(world.stands(AlarmKind::TransportLocked));
    assert_eq!(world.agent.setup().transport, TransportClass::Direct);
    world.command(Command::Deregister).unwrap();
    world.command(Command::Configure(Box::new(other))).unwrap();
    assert_eq!(world.agent.setup().transport, TransportClass::OnPrem);
    let mut free = World::of(BuiltinProfile::Ccx);
    free.register();
    let mut other = free.agent.setup().clone();
    other.transport = TransportClass::Proxy;
    free.command(Command::Configure(Box::new(other))).unwrap();
}
