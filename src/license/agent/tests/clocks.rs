//! Section 3, as the agent lives it.

use super::world::{DAY, HOUR, Link, MINUTE, START, World};
use crate::license::BuiltinProfile;
use crate::license::agent::{AlarmKind, Authorization, Command, TransportStep};

const YEAR: u64 = 365 * DAY;

#[test]
fn a_clock_one_year_back_raises_an_alarm_and_changes_nothing_else() {
    let mut world = World::of(BuiltinProfile::Cusp);
    world.register();
    world.run_to(DAY);
    world.now.wall.0 -= YEAR;
    world.run_for(HOUR);
    assert!(world.stands(AlarmKind::ClockRollback));
    assert_eq!((world.a(), world.word()), (Authorization::Authorized, "allow"));
    assert_eq!(world.agent.effective_now().0, START + DAY + HOUR);
    world.restart(true);
    assert_eq!(world.agent.effective_now().0, START + DAY + HOUR);
    world.now.wall.0 += YEAR;
    world.run_for(2 * HOUR);
    assert!(!world.stands(AlarmKind::ClockRollback));
}

#[test]
fn a_clock_ten_years_ahead_expires_nothing_for_three_days() {
    let mut world = World::of(BuiltinProfile::Cusp);
    world.register();
    world.link = Link::Down(TransportStep::Tcp);
    world.run_to(DAY);
    world.now.wall.0 += 10 * YEAR;
    world.run_for(71 * HOUR);
    assert!(world.stands(AlarmKind::ClockJump));
    assert_eq!((world.a(), world.word()), (Authorization::Authorized, "allow"));
    world.now.wall.0 -= 10 * YEAR;
    world.run_for(2 * HOUR);
    assert!(!world.stands(AlarmKind::ClockJump));
    world.now.wall.0 += 10 * YEAR;
    world.run_for(73 * HOUR);
    assert_ne!(world.a(), Authorization::Authorized);
}

#[test]
fn a_leap_that_the_manager_shares_is_believed_at_once() {
    let mut world = World::of(BuiltinProfile::Cusp);
    world.register();
    world.now.wall.0 += 40 * DAY;
    world.manager.clock_ahead_ms = (40 * DAY).cast_signed();
    world.agent.handle_timeout(world.now);
    world.drain();
    assert!(world.stands(AlarmKind::ClockJump));
    world.command(Command::RenewAuthorization).unwrap();
    assert_eq!(world.agent.effective_now(), world.now.wall);
    assert_eq!(world.a(), Authorization::Authorized);
}

#[test]
fn a_manager_whose_clock_is_off_by_more_than_an_hour_is_refused_and_both_times_are_named() {
    let mut world = World::of(BuiltinProfile::Cusp);
    world.register();
    for ahead in [2 * HOUR, DAY] {
        world.manager.clock_ahead_ms = ahead.cast_signed();
        let before = world.agent.effective_now();
        world.command(Command::RenewAuthorization).unwrap();
        assert_eq!(world.agent.state().latest_failure.as_ref().unwrap().code, "clock_skew");
        assert!(world.alarms[&AlarmKind::ClockSkew].what.matches("UTC").count() == 2);
        assert_eq!(world.agent.effective_now(), before, "nothing of it was believed");
    }
    world.manager.clock_ahead_ms = (50 * MINUTE).cast_signed();
    world.run_for(HOUR);
    assert!(!world.stands(AlarmKind::ClockSkew));
}
