//! Row 42: counts that change, and what binds calls until the manager has answered.

use super::world::{DAY, Link, MINUTE, START, World, setup};
use crate::license::agent::{AlarmKind, Authorization, Command, Requested, Setup, TransportStep, TypeCap};
use crate::license::view::{LicenseView, ViewInput};
use crate::license::{BuiltinProfile, Profile};
use crate::protocol::Endpoint;
use crate::units::UnixMillis;

/// Calls per second are counted, sessions are as this says; nothing above the grant is admitted.
fn strict(sessions: Option<u32>) -> Setup {
    let mut strict = setup(Profile::builtin(BuiltinProfile::Open).unwrap());
    strict.overage_allowed = false;
    strict.requested.iter_mut().find(|of| of.type_name == "session").unwrap().units = sessions;
    strict
}

fn configure(world: &mut World, setup: Setup) {
    world.command(Command::Configure(Box::new(setup))).unwrap();
}

fn sessions_asked(world: &World) -> Option<u64> {
    world.manager.requested.get("open.session").copied()
}

#[test]
fn what_is_not_limited_is_not_refused_although_overage_is() {
    let mut world = World::with(strict(None));
    world.register();
    assert_eq!((world.a(), world.cap("cps")), (Authorization::Authorized, TypeCap::Units(100)));
    assert_eq!(world.cap("session"), TypeCap::Uncapped);
    world.use_now("session", 3);
    world.command(Command::ReportNow).unwrap();
    assert_eq!(world.cap("session"), TypeCap::Uncapped);
}

#[test]
fn a_type_that_the_manager_was_not_asked_for_yet_waits_for_its_answer_with_what_is_requested() {
    let mut world = World::with(strict(None));
    world.register();
    world.link = Link::Held;
    configure(&mut world, strict(Some(70)));
    assert_eq!((world.a(), world.cap("session")), (Authorization::Authorized, TypeCap::Requested));
    world.manager.bought.insert("open.session".to_owned(), 40);
    world.link = Link::Up;
    world.drain();
    assert_eq!(world.cap("session"), TypeCap::Units(40), "the answer binds");
    // Not limited, and then limited again: the grant that knows nothing of it doesn't bind.
    configure(&mut world, strict(None));
    assert_eq!(world.cap("session"), TypeCap::Uncapped);
    world.link = Link::Down(TransportStep::Timeout);
    configure(&mut world, strict(Some(30)));
    assert_eq!(world.cap("session"), TypeCap::Requested);
    world.link = Link::Up;
    world.run_for(15 * MINUTE);
    assert_eq!((world.cap("session"), sessions_asked(&world)), (TypeCap::Units(30), Some(30)));
}

#[test]
fn more_of_a_type_that_was_asked_for_stays_at_the_old_grant_until_the_answer() {
    let mut world = World::with(strict(Some(50)));
    world.register();
    world.link = Link::Held;
    configure(&mut world, strict(Some(70)));
    assert_eq!(world.cap("session"), TypeCap::Units(50));
    world.link = Link::Up;
    world.drain();
    assert_eq!(world.cap("session"), TypeCap::Units(70));
}

#[test]
fn a_changed_count_that_a_kill_cut_off_is_asked_for_after_the_start() {
    let mut world = World::with(strict(Some(50)));
    world.register();
    for sessions in [70, 50] {
        world.link = Link::Held;
        configure(&mut world, strict(Some(sessions)));
        assert_ne!(sessions_asked(&world), Some(sessions.into()));
        world.link = Link::Up;
        world.restart(false);
        assert_eq!(sessions_asked(&world), Some(sessions.into()));
    }
}

#[test]
fn a_change_that_was_taken_back_before_the_answer_is_told_to_the_manager() {
    let mut world = World::with(strict(Some(50)));
    world.register();
    world.link = Link::Down(TransportStep::Timeout);
    configure(&mut world, strict(Some(70)));
    // The manager heard it; its answer was lost.
    world.manager.requested.insert("open.session".to_owned(), 70);
    world.link = Link::Up;
    configure(&mut world, strict(Some(50)));
    assert_eq!(sessions_asked(&world), Some(50));
}

#[test]
fn an_answered_report_brings_a_request_that_failed_back_at_once() {
    let mut world = World::with(strict(Some(50)));
    world.register();
    world.run_for(MINUTE);
    world.link = Link::Down(TransportStep::Tcp);
    configure(&mut world, strict(Some(70)));
    world.link = Link::Up;
    world.command(Command::ReportNow).unwrap();
    assert_eq!((sessions_asked(&world), world.cap("session")), (Some(70), TypeCap::Units(70)));
    let asked = world.sent(Endpoint::Entitlement).len();
    world.run_for(DAY);
    assert_eq!(world.sent(Endpoint::Entitlement).len(), asked, "reports alone go on");
}

#[test]
fn a_restored_backup_asks_for_the_counts_that_come_with_it() {
    let mut world = World::with(strict(Some(50)));
    world.register();
    let backup = world.agent.state().clone();
    configure(&mut world, strict(None));
    assert_eq!(sessions_asked(&world), None);
    // As the driver does it: the state first, then the overrides by a new configuration.
    world.command(Command::Restore(Box::new(backup))).unwrap();
    assert_eq!(sessions_asked(&world), None);
    configure(&mut world, strict(Some(50)));
    assert_eq!(sessions_asked(&world), Some(50));
}

#[test]
fn a_changed_count_is_asked_for_at_once_and_reported_with_what_was_used_before_where_the_profile_says_so() {
    for (on_change, reports) in [(true, 1), (false, 0)] {
        let mut changing = strict(Some(50));
        std::sync::Arc::make_mut(&mut changing.profile).report.on_change = on_change;
        let mut world = World::with(changing.clone());
        world.register();
        world.use_now("session", 9);
        world.run_for(MINUTE);
        let before = world.sent(Endpoint::Report).len();
        configure(&mut world, changing.clone());
        assert_eq!(world.sent(Endpoint::Report).len(), before, "nothing changed");
        changing.requested.iter_mut().find(|of| of.type_name == "session").unwrap().units = Some(70);
        configure(&mut world, changing);
        assert_eq!(sessions_asked(&world), Some(70));
        assert_eq!(world.sent(Endpoint::Report).len() - before, reports, "on_change = {on_change}");
    }
}

/// Twenty sessions are bought, and three of a type of the operator's own.
fn mixed(overage_allowed: bool, own: &[(&str, bool)]) -> World {
    let mut mixed = strict(Some(50));
    mixed.overage_allowed = overage_allowed;
    mixed.overage_of = own.iter().map(|(name, allowed)| ((*name).to_owned(), *allowed)).collect();
    mixed.requested.push(Requested {
        type_name: "premium".to_owned(),
        tag: "open.premium".to_owned(),
        units: Some(10),
        per_license: 1,
        tier: None,
    });
    let mut world = World::with(mixed);
    world.manager.bought.insert("open.session".to_owned(), 20);
    world.manager.bought.insert("open.premium".to_owned(), 3);
    world.register();
    world
}

fn caps(world: &World) -> [TypeCap; 3] {
    ["cps", "session", "premium"].map(|name| world.cap(name))
}

fn effect_now(world: &World) -> String {
    let input = ViewInput {
        node: "sip-a",
        state: world.agent.state(),
        setup: world.agent.setup(),
        usage: world.agent.usage(),
        ports: &[],
        alarms: &[],
        server: None,
        proxy: None,
        now: world.agent.effective_now(),
    };
    LicenseView::of(&input).effect_now
}

#[test]
fn a_type_without_overage_is_held_to_its_grant_beside_types_with_it_and_the_other_way_round() {
    use TypeCap::{Requested, Units};
    let mut world = mixed(true, &[("premium", false)]);
    assert_eq!(caps(&world), [Requested, Requested, Units(3)]);
    assert!(world.limits.as_ref().unwrap().overage_allowed, "of the others");
    world.manager.overage_allowed = false;
    world.command(Command::RenewAuthorization).unwrap();
    assert_eq!(caps(&world), [Units(100), Units(20), Units(3)], "the manager has a word too");
    let world = mixed(false, &[("session", true)]);
    assert_eq!(caps(&world), [Units(100), Requested, Units(3)]);
    assert!(world.limits.as_ref().unwrap().overage_allowed, "of this one");
}

#[test]
fn the_texts_name_the_cap_of_a_type_without_overage_and_count_the_others() {
    let mut world = mixed(true, &[("premium", false)]);
    assert_eq!(world.alarms[&AlarmKind::Ooc].effect, "new calls are admitted, up to what was granted (3 premium)");
    assert_eq!(effect_now(&world), "new calls are admitted, with an alarm, up to what was granted (3 premium)");
    world.manager.bought.insert("open.premium".to_owned(), 0);
    world.command(Command::RenewAuthorization).unwrap();
    let nothing = "new calls that need premium are refused: none was granted; emergency calls are admitted";
    assert_eq!((world.alarms[&AlarmKind::Ooc].effect.as_str(), effect_now(&world).as_str()), (nothing, nothing));
}

#[test]
fn the_texts_name_the_cap_and_what_is_refused_beside_it() {
    let admitted = "new calls are admitted, up to what was granted (";
    let nothing = "new calls that need ";
    for (bought, calls) in [(1, admitted), (0, nothing)] {
        let mut choosing = setup(Profile::builtin(BuiltinProfile::Ccx).unwrap());
        choosing.overage_allowed = false;
        let mut world = World::with(choosing);
        world.manager.bought.values_mut().for_each(|of| *of = bought);
        world.register();
        world.run_for(90 * DAY);
        assert_eq!(world.word(), "config freeze");
        for (told, beside) in [
            (&world.alarms[&AlarmKind::Ooc].effect, "; configuration changes are refused"),
            (&effect_now(&world), "; changes of trunks, tenants and license types are refused"),
        ] {
            assert!(told.starts_with(calls) && told.contains("standard") && told.ends_with(beside), "{told}");
        }
    }
}

#[test]
fn a_report_of_changed_counts_that_finds_one_on_its_way_follows_it() {
    let mut changing = strict(Some(50));
    std::sync::Arc::make_mut(&mut changing.profile).report.on_change = true;
    let mut world = World::with(changing.clone());
    world.register();
    world.run_for(MINUTE);
    world.link = Link::Held;
    world.command(Command::ReportNow).unwrap();
    changing.requested.iter_mut().find(|of| of.type_name == "session").unwrap().units = Some(70);
    configure(&mut world, changing);
    let before = world.sent(Endpoint::Report).len();
    // The request is answered while the report waits.
    let at = world.waiting.iter().position(|of| of.endpoint == Endpoint::Entitlement).unwrap();
    let request = world.waiting.remove(at).unwrap();
    let answer = world.manager.answer(&request, UnixMillis(START + world.ms()));
    world.agent.handle_response(request.exchange, answer, world.now);
    world.drain();
    assert_eq!((sessions_asked(&world), world.sent(Endpoint::Report).len()), (Some(70), before));
    world.link = Link::Up;
    world.drain();
    world.run_for(MINUTE);
    assert_eq!(world.sent(Endpoint::Report).len(), before + 1, "once");
    world.run_for(MINUTE);
    assert_eq!(world.sent(Endpoint::Report).len(), before + 1, "and no more");
}
