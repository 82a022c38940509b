//! Section 4.2: the id certificate, and the end of a registration from the manager's side.

use super::world::{DAY, HOUR, Link, MINUTE, World, setup};
use crate::license::agent::{AlarmKind, Authorization, Command, Registration, TransportStep, UsageClass};
use crate::license::{BuiltinProfile, Effect, Profile};
use crate::protocol::{Endpoint, RefusalCode};

#[test]
fn the_certificate_is_renewed_in_time_with_a_new_key() {
    for (builtin, days) in [(BuiltinProfile::Cusp, 180), (BuiltinProfile::Ncs540, 290)] {
        let mut world = World::of(builtin);
        world.register();
        let key = world.agent.state().identity.key_seed.clone();
        world.run_to(days * DAY - MINUTE);
        assert_eq!(world.manager.renewals.len(), 0);
        world.run_to(days * DAY);
        assert_eq!(world.manager.renewals.len(), 1, "{builtin:?}");
        let state = world.agent.state();
        assert_ne!(state.identity.key_seed, key);
        assert!(state.identity.pending.is_none());
        assert_eq!(state.deadlines.id_expiry.unwrap().0, world.now.wall.0 + 365 * DAY);
        world.command(Command::RenewAuthorization).unwrap();
        assert_eq!(world.a(), Authorization::Authorized, "the new key signs");
    }
}

#[test]
fn a_renewal_that_fails_keeps_the_old_key_and_is_tried_again_as_authorizations_are() {
    let mut world = World::of(BuiltinProfile::Cusp);
    world.register();
    world.run_to(DAY);
    let key = world.agent.state().identity.key_seed.clone();
    world.link = Link::Down(TransportStep::Tls);
    let begun = world.ms();
    world.command(Command::RenewId).unwrap();
    assert!(world.stands(AlarmKind::IdRenewFailed));
    assert_eq!(world.agent.state().identity.key_seed, key);
    world.run_for(11 * HOUR);
    let tries: Vec<u64> = world.sent(Endpoint::Renew).iter().map(|at| (at - begun) / MINUTE).collect();
    assert_eq!(tries, [0, 15, 30, 45, 60, 75, 90, 105, 120, 360, 600]);
    world.link = Link::Up;
    world.run_for(4 * HOUR);
    assert!(!world.stands(AlarmKind::IdRenewFailed));
    assert_ne!(world.agent.state().identity.key_seed, key);
}

#[test]
fn a_failed_renewal_is_told_with_its_cause_wherever_on_the_way_it_was() {
    for step in [TransportStep::Dns, TransportStep::TlsIssuer, TransportStep::Timeout] {
        let mut world = World::of(BuiltinProfile::Expressway);
        world.register();
        world.link = Link::Down(step);
        world.command(Command::RenewId).unwrap();
        let what = &world.alarms[&AlarmKind::IdRenewFailed].what;
        assert!(what.contains("the id certificate cannot be renewed: ") && what.contains("no way to the manager"));
        assert_eq!(world.agent.state().latest_failure.as_ref().unwrap().code, step.name());
    }
    // A status is no cause: what is wrong with an answer of 200 is told too.
    let mut world = World::of(BuiltinProfile::Expressway);
    world.register();
    world.link = Link::Says(200, b"<html>please log in</html>".to_vec());
    world.command(Command::RenewId).unwrap();
    let what = &world.alarms[&AlarmKind::IdRenewFailed].what;
    assert!(what.contains("HTTP status 200 and no signed message: "), "{what}");
}

#[test]
fn a_certificate_that_expires_ends_the_registration_as_the_profile_says() {
    for (builtin, to) in
        [(BuiltinProfile::Cusp, Registration::Unregistered), (BuiltinProfile::Expressway, Registration::Expired)]
    {
        let mut world = World::of(builtin);
        world.manager.id_valid_days = 30;
        world.register();
        world.link = Link::Down(TransportStep::Tcp);
        world.run_to(30 * DAY - MINUTE);
        assert_eq!(world.r(), &Registration::Registered);
        world.run_to(30 * DAY);
        assert_eq!((world.r(), world.a()), (&to, Authorization::Evaluation), "{builtin:?}");
        assert!(world.stands(AlarmKind::IdExpired));
        assert_eq!(world.word(), "allow", "what evaluation is left decides");
        world.link = Link::Up;
        world.register();
        assert_eq!((world.r(), world.stands(AlarmKind::IdExpired)), (&Registration::Registered, false));
    }
}

#[test]
fn a_signed_no_from_the_manager_ends_the_registration_at_once() {
    for code in [RefusalCode::InstanceRemoved, RefusalCode::CertificateRevoked, RefusalCode::Duplicate] {
        let mut world = World::of(BuiltinProfile::Cusp);
        world.run_to(90 * DAY);
        world.register();
        assert_eq!(world.word(), "allow");
        world.manager.refuses = Some(code);
        world.command(Command::RenewAuthorization).unwrap();
        assert_eq!((world.r(), world.a()), (&Registration::Unregistered, Authorization::EvaluationExpired));
        assert_eq!(world.word(), "reject (evaluation-expired)");
        assert!(world.stands(AlarmKind::IdRevoked));
        assert_eq!(world.stands(AlarmKind::DuplicateUdi), code == RefusalCode::Duplicate);
    }
}

#[test]
fn what_a_manager_takes_away_goes_on_working_for_the_grace_that_the_profile_gives() {
    let mut profile = Profile::builtin(BuiltinProfile::Open).unwrap();
    profile.eval_expired.effect = Effect::RejectNew;
    let mut world = World::with(setup(profile));
    world.run_to(90 * DAY);
    world.register();
    world.manager.refuses = Some(RefusalCode::InstanceRemoved);
    world.command(Command::RenewAuthorization).unwrap();
    let end = world.now.wall.0 + 72 * HOUR;
    assert_eq!((world.r(), world.word()), (&Registration::Registered, "allow"));
    assert_eq!(world.alarms[&AlarmKind::IdRevoked].next_at.unwrap().0, end);
    world.run_for(60 * HOUR);
    assert_eq!((world.word(), world.agent.state().deadlines.revocation_grace_end.unwrap().0), ("allow", end));
    world.manager.refuses = None;
    world.run_for(4 * HOUR);
    assert_eq!(world.agent.state().deadlines.revocation_grace_end, None, "the manager took it back");
    assert!(!world.stands(AlarmKind::IdRevoked));
    world.manager.refuses = Some(RefusalCode::InstanceRemoved);
    world.command(Command::RenewAuthorization).unwrap();
    world.run_for(72 * HOUR);
    assert_eq!((world.r(), world.word()), (&Registration::Unregistered, "reject (evaluation-expired)"));
}

#[test]
fn a_removal_that_refuses_nothing_waits_for_nothing() {
    let mut world = World::of(BuiltinProfile::Open);
    world.register();
    world.manager.refuses = Some(RefusalCode::InstanceRemoved);
    world.command(Command::RenewAuthorization).unwrap();
    assert_eq!((world.r(), world.word()), (&Registration::Unregistered, "allow"));
}

#[test]
fn a_new_host_name_is_told_and_renews_by_itself_only_where_that_is_wanted() {
    for wanted in [false, true] {
        let mut world = World::of(BuiltinProfile::Cusp);
        world.register();
        let mut renamed = world.agent.setup().clone();
        renamed.hostname = "sip-b".to_owned();
        renamed.renew_on_hostname_change = wanted;
        world.restart_with(renamed);
        assert_eq!(world.stands(AlarmKind::HostnameChanged), !wanted);
        assert_eq!(world.manager.renewals.len(), usize::from(wanted));
        world.command(Command::RenewId).unwrap();
        assert!(!world.stands(AlarmKind::HostnameChanged));
        assert_eq!(world.manager.renewals[0].info.hostname.as_deref(), Some("sip-b"));
    }
}

#[test]
fn privacy_holds_from_the_next_message_on() {
    let mut world = World::of(BuiltinProfile::Expressway);
    world.register();
    let mut private = world.agent.setup().clone();
    private.withhold_hostname = true;
    world.command(Command::Configure(Box::new(private))).unwrap();
    assert_eq!(world.r(), &Registration::Registered);
    assert!(!world.stands(AlarmKind::HostnameChanged));
    world.command(Command::RenewId).unwrap();
    assert_eq!(world.manager.renewals[0].info.hostname, None);
}

#[test]
fn production_or_lab_is_chosen_before_registration() {
    let mut world = World::of(BuiltinProfile::Ccx);
    world.register();
    let mut lab = world.agent.setup().clone();
    lab.usage = UsageClass::Lab;
    assert_eq!(world.command(Command::Configure(Box::new(lab))).unwrap_err().code, "usage_locked");
}

#[test]
fn a_new_issuer_key_is_believed_because_the_root_signed_the_set_that_names_it_and_an_old_set_is_not() {
    let mut world = World::of(BuiltinProfile::Cusp);
    world.register();
    world.manager.issuer = crate::protocol::SecretKey::from_seed([77; 32]);
    world.manager.key_set_seq = 2;
    world.command(Command::RenewAuthorization).unwrap();
    assert_eq!(world.agent.state().contact.failures, 0);
    assert_eq!(world.agent.state().identity.key_set.as_ref().unwrap().seq, 2);
    world.manager.issuer = crate::protocol::SecretKey::from_seed([51; 32]);
    world.manager.key_set_seq = 1;
    world.command(Command::RenewAuthorization).unwrap();
    assert_eq!(world.agent.state().latest_failure.as_ref().unwrap().code, "bad_key_set");
    assert!(world.stands(AlarmKind::GrantRejected));
}
