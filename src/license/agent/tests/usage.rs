//! Section 4.4, as far as it is the agent's.

use super::world::{DAY, HOUR, Link, MINUTE, World, setup};
use crate::license::agent::{AlarmKind, Authorization, Command, TransportStep};
use crate::license::{BuiltinProfile, Profile};
use crate::protocol::Endpoint;

/// Uses so many units of a type, every second of so many minutes.
fn hold(world: &mut World, type_name: &str, units: u32, minutes: u64) {
    for _ in 0..minutes {
        world.use_now(type_name, units);
        world.run_for(MINUTE);
    }
}

#[test]
fn over_use_is_told_told_again_and_reported_and_the_manager_decides() {
    let mut world = World::of(BuiltinProfile::Ccx);
    // Fifty premium seats may serve standard calls too.
    world.register();
    world.manager.bought.insert("ccx.standard".to_owned(), 10);
    let reports = world.manager.reports.len();
    hold(&mut world, "standard", 101, 16);
    assert!(world.stands(AlarmKind::OocPending) && !world.stands(AlarmKind::OocImminent));
    hold(&mut world, "standard", 101, 31);
    assert!(world.stands(AlarmKind::OocImminent));
    assert_eq!(world.manager.reports.len(), reports);
    hold(&mut world, "standard", 101, 16);
    assert_eq!(world.manager.reports.len(), reports + 1);
    assert_eq!(world.a(), Authorization::OutOfCompliance);
    assert!(world.stands(AlarmKind::Ooc));
}

#[test]
fn over_use_that_ends_in_time_leaves_no_trace() {
    let mut world = World::of(BuiltinProfile::Ccx);
    world.register();
    hold(&mut world, "standard", 101, 20);
    assert!(world.stands(AlarmKind::OocPending));
    hold(&mut world, "standard", 10, 31);
    assert!(!world.stands(AlarmKind::OocPending) && !world.stands(AlarmKind::OocImminent));
    assert_eq!(world.manager.reports.len(), 0);
    let mut untold = World::of(BuiltinProfile::Cusp);
    untold.register();
    hold(&mut untold, "cps", 500, 60);
    assert!(!untold.stands(AlarmKind::OocPending), "this product has no tolerance to watch");
}

#[test]
fn reports_come_at_the_profiles_interval_with_peak_and_percentile_and_carry_a_grant() {
    for (builtin, hours) in [(BuiltinProfile::Open, 6), (BuiltinProfile::Ccx, 8), (BuiltinProfile::Cusp, 24)] {
        let mut world = World::of(builtin);
        world.register();
        world.run_to(hours * HOUR * 3 + MINUTE);
        assert_eq!(world.sent(Endpoint::Report), [1, 2, 3].map(|n| n * hours * HOUR), "{builtin:?}");
    }
    let mut world = World::of(BuiltinProfile::Open);
    world.register();
    hold(&mut world, "session", 7, 30);
    world.use_now("session", 40);
    world.run_to(6 * HOUR + MINUTE);
    let report = &world.manager.reports[0];
    assert_eq!(report.until.0 - report.from.0, 6 * HOUR);
    let session = report.tags.iter().find(|tag| tag.tag == "open.session").unwrap();
    assert_eq!((session.requested, session.reported, session.observed_peak), (50, 40, 40));
    assert!(session.peak_at.is_some());
    assert_eq!(world.agent.state().last_grant_seq, 2);
}

#[test]
fn a_person_may_ask_for_a_report_once_a_minute() {
    let mut world = World::of(BuiltinProfile::Open);
    world.register();
    world.command(Command::ReportNow).unwrap();
    assert_eq!(world.command(Command::ReportNow).unwrap_err().code, "too_soon");
    world.run_for(MINUTE);
    world.command(Command::ReportNow).unwrap();
    assert_eq!(world.manager.reports.len(), 2);
}

#[test]
fn a_report_that_was_lost_is_told_once_contact_is_back() {
    let mut world = World::of(BuiltinProfile::Open);
    world.register();
    world.run_to(5 * HOUR);
    world.link = Link::Down(TransportStep::Tcp);
    world.run_to(6 * HOUR);
    assert!(world.stands(AlarmKind::ReportFailed));
    world.link = Link::Up;
    world.run_to(6 * HOUR + 15 * MINUTE);
    assert!(!world.stands(AlarmKind::ReportFailed));
    assert_eq!(world.manager.reports.len(), 1);
    assert_eq!(world.manager.reports[0].from.0, super::world::START);
}

#[test]
fn messages_created_are_those_that_succeeded_failed_wait_or_were_dropped() {
    let mut world = World::of(BuiltinProfile::Open);
    world.register();
    world.run_to(DAY);
    world.link = Link::Down(TransportStep::Configuration);
    world.command(Command::RenewAuthorization).unwrap();
    world.link = Link::Held;
    world.run_for(HOUR);
    for endpoint in Endpoint::ALL {
        let counts = world.agent.state().statistics.get(&endpoint).copied().unwrap_or_default();
        let created = u64::try_from(world.sent(endpoint).len()).unwrap();
        assert_eq!(counts.success + counts.failed + counts.in_queue + counts.dropped, created, "{endpoint:?}");
    }
    assert_eq!(world.agent.state().statistics[&Endpoint::Entitlement].dropped, 1);
}

#[test]
fn a_manager_may_ask_to_be_told_later_and_never_sooner() {
    for (hint_s, due) in [(60, 6 * HOUR), (86_400, DAY)] {
        let mut world = World::with(setup(Profile::builtin(BuiltinProfile::Open).unwrap()));
        world.register();
        world.manager.hint_s = Some(hint_s);
        world.run_to(6 * HOUR);
        assert_eq!(world.agent.state().deadlines.report_due.unwrap().0, world.now.wall.0 + due);
    }
}

#[test]
fn what_nobody_counts_is_neither_asked_for_nor_reported_nor_over_what_was_granted() {
    let mut free = setup(Profile::builtin(BuiltinProfile::Open).unwrap());
    free.requested.iter_mut().filter(|of| of.type_name == "session").for_each(|of| of.units = None);
    let mut world = World::with(free);
    world.manager.bought.remove("open.session");
    world.register();
    world.use_now("session", 3);
    world.run_for(DAY);
    world.command(Command::RenewAuthorization).unwrap();
    assert_eq!(world.manager.requested.keys().collect::<Vec<_>>(), ["open.cps"]);
    assert!(world.manager.reports.iter().flat_map(|report| &report.tags).all(|tag| tag.tag == "open.cps"));
    assert!(world.alarms.is_empty(), "{:?}", world.alarms);
}

#[test]
fn a_higher_tier_serves_a_lower_one_and_never_the_other_way() {
    for (standard, premium, over) in [(45, 5, false), (40, 10, false), (41, 10, true), (30, 11, true), (50, 0, false)] {
        let mut tiers = setup(Profile::builtin(BuiltinProfile::Ccx).unwrap());
        tiers.requested.iter_mut().for_each(|of| {
            of.units = match of.type_name.as_str() {
                "standard" => Some(40),
                "premium" => Some(10),
                _ => None,
            }
        });
        let mut world = World::with(tiers);
        world.register();
        world.use_now("standard", standard);
        world.use_now("premium", premium);
        world.run_for(20 * MINUTE);
        assert_eq!(world.stands(AlarmKind::OocPending), over, "{standard} {premium}");
    }
}
