//! Section 4.7.

use super::world::{DAY, Link, World, setup};
use crate::license::agent::{AlarmKind, Authorization, Client, Command, Registration, Stored, TransportStep};
use crate::license::{BuiltinProfile, EvaluationAccount, Profile};
use crate::protocol::{Endpoint, RefusalCode};

#[test]
fn a_backup_of_the_same_machine_brings_the_registration_back_and_no_evaluation_time() {
    let mut world = World::of(BuiltinProfile::Cusp);
    world.run_to(DAY);
    world.register();
    let backup = world.agent.state().clone();
    world.command(Command::RenewAuthorization).unwrap();
    world.command(Command::Deregister).unwrap();
    world.run_for(10 * DAY);
    let seq = world.agent.state().last_grant_seq;
    world.command(Command::Restore(Box::new(backup))).unwrap();
    let state = world.agent.state();
    assert_eq!((world.r(), world.a()), (&Registration::Registered, Authorization::Authorized));
    assert_eq!(state.evaluation.used_s, 11 * 86_400);
    assert!(state.last_grant_seq > seq, "a number that was seen is not taken again");
}

#[test]
fn a_backup_of_another_machine_brings_neither_identity_nor_registration() {
    let mut world = World::of(BuiltinProfile::Cusp);
    world.register();
    let mut backup = world.agent.state().clone();
    backup.fingerprint = "there".to_owned();
    backup.evaluation.used_s = 1_000_000;
    let mut other = World::of(BuiltinProfile::Cusp);
    other.run_to(DAY);
    other.command(Command::Restore(Box::new(backup.clone()))).unwrap();
    let state = other.agent.state();
    assert_eq!((other.r(), state.client), (&Registration::Unregistered, Client::Enabled));
    assert_ne!(state.udi, backup.udi);
    assert_ne!(state.identity.key_seed, backup.identity.key_seed);
    assert!(state.identity.certificate_chain_b64.is_empty() && state.grant.is_none());
    assert_eq!(state.evaluation.used_s, 1_000_000);
    assert!(other.stands(AlarmKind::ReregisterNeeded));
    other.register();
    assert!(!other.stands(AlarmKind::ReregisterNeeded));
}

#[test]
fn a_state_that_moved_to_another_machine_is_an_instance_of_its_own() {
    let mut world = World::of(BuiltinProfile::Cusp);
    world.register();
    let udi = world.agent.state().udi.clone();
    let mut moved = world.agent.setup().clone();
    moved.fingerprint = "there".to_owned();
    world.restart_with(moved);
    assert_ne!(world.agent.state().udi, udi);
    assert_eq!(world.r(), &Registration::Unregistered);
    assert!(world.stands(AlarmKind::ReregisterNeeded));
}

#[test]
fn a_factory_reset_that_keeps_licensing_is_out_of_contact_until_the_first_contact() {
    let mut world = World::of(BuiltinProfile::Expressway);
    world.register();
    world.command(Command::FactoryReset { keep_licensing: true }).unwrap();
    assert!(world.stands(AlarmKind::RegDown) && world.stands(AlarmKind::AuthDown));
    assert_eq!(world.a(), Authorization::Authorized);
    world.run_for(DAY);
    assert!(!world.stands(AlarmKind::RegDown) && !world.stands(AlarmKind::AuthDown));
}

#[test]
fn a_factory_reset_that_keeps_licensing_says_that_there_is_nothing_to_keep_where_nothing_is_registered() {
    let mut world = World::of(BuiltinProfile::Open);
    let done = world.command(Command::FactoryReset { keep_licensing: true }).unwrap();
    assert!(done.text.contains("not registered"), "{}", done.text);
    assert!(!world.stands(AlarmKind::RegDown) && !world.stands(AlarmKind::AuthDown));
}

#[test]
fn a_factory_reset_that_drops_licensing_deregisters_and_begins_as_delivered() {
    for (builtin, client) in [(BuiltinProfile::Expressway, Client::Enabled), (BuiltinProfile::Ccx, Client::Disabled)] {
        for reachable in [true, false] {
            let mut world = World::of(builtin);
            world.run_to(DAY);
            world.register();
            if !reachable {
                world.link = Link::Down(TransportStep::Tcp);
            }
            world.command(Command::FactoryReset { keep_licensing: false }).unwrap();
            assert_eq!((world.r(), world.agent.state().client), (&Registration::Unregistered, client));
            assert_eq!(world.agent.state().evaluation.used_s, 86_400);
            assert_eq!(world.sent(Endpoint::Deregistration).len(), 1);
            assert_eq!(world.stands(AlarmKind::DeregOrphan), !reachable);
        }
    }
}

#[test]
fn of_two_hosts_with_one_identity_the_one_that_is_told_so_stops_and_says_why() {
    let mut world = World::of(BuiltinProfile::Open);
    world.register();
    world.manager.refuses = Some(RefusalCode::Duplicate);
    world.command(Command::ReportNow).unwrap();
    assert_eq!(world.r(), &Registration::Unregistered);
    assert!(world.stands(AlarmKind::DuplicateUdi));
}

#[test]
fn a_manager_that_knows_later_numbers_is_overtaken() {
    let mut world = World::of(BuiltinProfile::Open);
    world.register();
    world.manager.refuses = Some(RefusalCode::Replayed);
    world.command(Command::RenewAuthorization).unwrap();
    let seq = world.agent.state().message_seq;
    assert!(seq >= 1 << 32);
    assert_eq!(world.r(), &Registration::Registered);
}

#[test]
fn an_account_that_was_kept_apart_counts_when_it_used_more() {
    for (used_s, after) in [(5_000_000, 5_000_000), (0, 60)] {
        let setup = setup(Profile::builtin(BuiltinProfile::Cusp).unwrap());
        let world = World::with(setup.clone());
        let state = world.kept.clone();
        let account = EvaluationAccount { used_s, ..EvaluationAccount::open(&setup.profile, world.now.wall) };
        let stored = Stored { state, account: Some(account), ..Stored::default() };
        let agent = crate::license::agent::Agent::start(setup, stored, world.now, [3; 32]);
        assert!(agent.state().evaluation.used_s >= after && agent.state().evaluation.used_s <= after + 60);
    }
}

#[test]
fn a_backup_from_before_a_renewal_doesnt_end_the_registration_that_lives() {
    let mut world = World::of(BuiltinProfile::Cusp);
    world.register();
    let backup = world.agent.state().clone();
    world.run_to(DAY);
    world.command(Command::RenewId).unwrap();
    let identity = world.agent.state().identity.clone();
    assert_ne!(identity, backup.identity);
    world.run_to(2 * DAY);
    let done = world.command(Command::Restore(Box::new(backup.clone()))).unwrap();
    assert!(done.text.contains("stays"), "{}", done.text);
    assert_eq!(world.agent.state().identity, identity);
    assert_eq!((world.r(), world.a()), (&Registration::Registered, Authorization::Authorized));
    assert!(world.agent.state().membership.as_ref().unwrap().renewed_at.is_some());
    // Once it is gone here, the backup's is better than none.
    world.command(Command::Deregister).unwrap();
    world.command(Command::Restore(Box::new(backup.clone()))).unwrap();
    assert_eq!(world.agent.state().identity, backup.identity);
}
