//! What used to lock licensing for good, and doesn't.

use super::manager::Manager;
use super::world::{DAY, HOUR, Link, MINUTE, World};
use crate::license::BuiltinProfile;
use crate::license::agent::{AlarmKind, Authorization, Command, Registration, TransportClass, TransportStep, TypeCap};
use crate::protocol::{Endpoint, RefusalCode};
use crate::units::{Tick, UnixMillis};

#[test]
fn a_host_that_boots_in_another_decade_keeps_its_registration_until_its_clock_is_set() {
    let mut world = World::of(BuiltinProfile::Cusp);
    world.register();
    world.run_to(DAY);
    let good = world.now;
    // Another boot.
    world.now.tick = Tick::from_secs(5);
    world.now.wall.0 += 3650 * DAY;
    world.restart(false);
    assert_eq!((world.a(), world.r()), (Authorization::Authorized, &Registration::Registered));
    assert_eq!(world.kept.as_ref().unwrap().high_water, UnixMillis(good.wall.0));
    world.now.wall.0 -= 3650 * DAY;
    world.agent.handle_timeout(world.now);
    world.drain();
    assert_eq!(world.agent.effective_now(), world.now.wall);
}

#[test]
fn a_first_start_with_a_clock_of_another_decade_is_put_right_by_the_first_answer() {
    let mut world = World::of(BuiltinProfile::Cusp);
    world.manager.clock_ahead_ms = -(3650 * DAY).cast_signed();
    world.register();
    assert_eq!(world.a(), Authorization::Authorized);
    assert_eq!(world.agent.effective_now().0, world.now.wall.0 - 3650 * DAY);
}

#[test]
fn a_grant_whose_term_has_ended_holds_until_the_manager_says_something_else() {
    let mut world = World::of(BuiltinProfile::Open);
    world.manager.overage_allowed = false;
    world.register();
    let cap = world.cap("cps");
    let mut state = world.agent.state().clone();
    for tag in &mut state.grant.as_mut().unwrap().tags {
        tag.term_end = Some(UnixMillis(1));
    }
    let limits = crate::license::agent::enforcement::limits(&state, world.agent.setup(), world.now.wall);
    assert!(limits.types.contains(&("cps".to_owned(), cap)), "{limits:?}");
    assert!(cap != TypeCap::Units(0));
}

#[test]
fn the_cap_of_the_grant_bounds_overage() {
    let mut world = World::of(BuiltinProfile::Open);
    world.register();
    let mut state = world.agent.state().clone();
    state.grant.as_mut().unwrap().tags.iter_mut().find(|tag| tag.tag == "open.cps").unwrap().cap = 12;
    let limits = crate::license::agent::enforcement::limits(&state, world.agent.setup(), world.now.wall);
    assert!(limits.types.contains(&("cps".to_owned(), TypeCap::Units(60))), "{limits:?}");
}

#[test]
fn a_deregistration_whose_end_could_not_be_kept_is_sent_again_and_counts_add_up() {
    let mut world = World::of(BuiltinProfile::Cusp);
    world.register();
    world.link = Link::Held;
    world.command(Command::Deregister).unwrap();
    world.failing_writes = 1;
    world.link = Link::Up;
    world.drain();
    assert!(world.agent.state().leaving.is_some());
    assert_eq!(world.agent.state().statistics[&Endpoint::Deregistration].in_queue, 0);
    world.run_for(MINUTE);
    assert_eq!((world.r(), world.agent.state().leaving), (&Registration::Unregistered, None));
}

#[test]
fn a_request_that_the_driver_lost_is_given_up_and_tried_again() {
    let mut world = World::of(BuiltinProfile::Cusp);
    world.register();
    world.link = Link::Held;
    world.command(Command::RenewAuthorization).unwrap();
    world.run_for(2 * MINUTE);
    assert_eq!(world.agent.state().latest_failure.as_ref().unwrap().code, "timeout");
    assert!(world.waiting.is_empty());
    world.link = Link::Up;
    world.run_for(15 * MINUTE);
    assert_eq!(world.agent.state().contact.failures, 0);
}

#[test]
fn a_no_whose_time_is_out_of_the_accepted_skew_takes_nothing_away() {
    let mut world = World::of(BuiltinProfile::Cusp);
    world.register();
    world.manager.clock_ahead_ms = (2 * DAY).cast_signed();
    world.manager.refuses = Some(RefusalCode::InstanceRemoved);
    world.command(Command::RenewAuthorization).unwrap();
    assert_eq!((world.r(), world.a()), (&Registration::Registered, Authorization::Authorized));
    assert_eq!(world.agent.state().latest_failure.as_ref().unwrap().code, "clock_skew");
}

#[test]
fn a_rebuilt_manager_is_joined_with_force_or_after_a_factory_reset() {
    for reset in [false, true] {
        let mut world = World::of(BuiltinProfile::Cusp);
        world.register();
        world.manager.refuses = Some(RefusalCode::InstanceRemoved);
        world.command(Command::RenewAuthorization).unwrap();
        assert_eq!(world.r(), &Registration::Unregistered);
        world.manager.refuses = None;
        let rebuilt = Manager::new(90);
        (world.manager.root, world.manager.issuer) = (rebuilt.root, rebuilt.issuer);
        world.register();
        let failure = world.agent.state().latest_failure.clone().unwrap();
        assert!(failure.code == "foreign_root" && failure.text.contains("register --force"), "{failure:?}");
        if reset {
            world.command(Command::FactoryReset { keep_licensing: false }).unwrap();
            world.command(Command::Enable).unwrap();
        }
        world.command(Command::Register { token: super::world::token(), force: !reset }).unwrap();
        assert_eq!(world.r(), &Registration::Registered);
    }
}

#[test]
fn a_signed_no_is_contact() {
    let mut world = World::of(BuiltinProfile::Cusp);
    world.register();
    world.link = Link::Down(TransportStep::Tcp);
    world.run_to(31 * DAY);
    assert!(world.stands(AlarmKind::RegDown) && world.stands(AlarmKind::AuthDown));
    world.link = Link::Up;
    world.manager.refuses = Some(RefusalCode::Busy);
    world.run_for(DAY);
    assert!(!world.stands(AlarmKind::RegDown) && !world.stands(AlarmKind::AuthDown));
    assert!(world.agent.state().contact.failures > 3);
}

#[test]
fn a_single_failure_after_each_contact_tells_the_far_mark_once() {
    let mut world = World::of(BuiltinProfile::Cusp);
    world.register();
    for _ in 0..3 {
        world.link = Link::Down(TransportStep::Tcp);
        world.command(Command::RenewAuthorization).unwrap();
        world.run_for(MINUTE);
        world.link = Link::Up;
        world.run_for(HOUR);
    }
    let told = world.notices.iter().filter(|notice| notice.name == "deadline_near" && notice.text.contains("authoriz"));
    assert!(told.count() <= 1);
}

#[test]
fn a_way_changed_by_a_restart_while_locked_isnt_used_and_locks_nothing_else() {
    let mut world = World::of(BuiltinProfile::Expressway);
    world.register();
    let mut other = world.agent.setup().clone();
    other.transport = TransportClass::OnPrem;
    world.restart_with(other.clone());
    assert!(world.stands(AlarmKind::TransportLocked));
    assert_eq!(world.agent.way_in_force().0, TransportClass::Direct);
    other.overage_allowed = !other.overage_allowed;
    world.command(Command::Configure(Box::new(other.clone()))).unwrap();
    assert!(world.stands(AlarmKind::TransportLocked));
    other.transport = TransportClass::Proxy;
    assert!(world.command(Command::Configure(Box::new(other))).is_err());
}

#[test]
fn a_configuration_that_could_not_be_kept_is_not_in_force() {
    let mut world = World::of(BuiltinProfile::Cusp);
    world.register();
    let mut more = world.agent.setup().clone();
    more.requested[0].units = Some(7);
    world.failing_writes = 1;
    drop(world.command(Command::Configure(Box::new(more))));
    assert_eq!(world.agent.setup().requested[0].units, Some(100));
}

#[test]
fn a_request_shows_no_body_to_people() {
    let mut world = World::of(BuiltinProfile::Cusp);
    world.link = Link::Held;
    world.register();
    let shown = format!("{:?}", world.waiting[0]);
    assert!(shown.contains("body_bytes") && !shown.contains("body:"), "{shown}");
}
