//! Rules that meet one another.

use super::world::{DAY, HOUR, Link, MINUTE, World, setup, token};
use crate::license::agent::{Action, AlarmKind, Authorization, Client, Command, Registration, TransportStep};
use crate::license::ports::{Counts, Port};
use crate::license::{BuiltinProfile, Consequence, Effect, Profile};
use crate::protocol::{Endpoint, GrantAnswer, RefusalCode, TagGrant, TagStatus, Typ};
use crate::units::UnixMillis;

#[test]
fn a_backup_takes_back_no_time_no_number_and_no_deadline_whichever_side_is_further() {
    for backup_is_further in [true, false] {
        let mut world = World::of(BuiltinProfile::Cusp);
        world.register();
        world.run_to(DAY);
        let mut backup = world.agent.state().clone();
        let now = world.agent.effective_now();
        let further = |far: u64, near: u64| if backup_is_further { far } else { near };
        backup.evaluation.used_s = further(999_999, 1);
        backup.evaluation.limit_s = further(backup.evaluation.limit_s, backup.evaluation.limit_s + 1);
        backup.last_grant_seq = further(500, 0);
        backup.message_seq = further(5000, 0);
        backup.signed_high_water = UnixMillis(0);
        backup.deadlines.overage_end = Some(UnixMillis(now.0 + 90 * DAY));
        let current = world.agent.state().clone();
        world.link = Link::Held;
        world.command(Command::Restore(Box::new(backup.clone()))).unwrap();
        let state = world.agent.state();
        assert_eq!(state.evaluation.used_s, current.evaluation.used_s.max(backup.evaluation.used_s));
        assert_eq!(state.evaluation.limit_s, current.evaluation.limit_s);
        assert_eq!(state.last_grant_seq, current.last_grant_seq.max(backup.last_grant_seq));
        // One more: the restored registration asks for a grant.
        assert_eq!(state.message_seq, current.message_seq.max(backup.message_seq) + 1);
        // The registration is alive, and with it its own deadlines.
        assert_eq!(state.deadlines.overage_end, current.deadlines.overage_end);
        assert!(state.signed_high_water >= current.signed_high_water && world.agent.effective_now() >= now);
    }
}

#[test]
fn a_backup_keeps_no_token_no_registration_under_way_and_the_goodbye_that_is_owed() {
    let mut world = World::of(BuiltinProfile::Cusp);
    let unregistered = world.agent.state().clone();
    world.register();
    let registered = world.agent.state().clone();
    world.link = Link::Down(TransportStep::Tcp);
    world.command(Command::Deregister).unwrap();
    let mut pending = unregistered;
    (pending.registration, pending.token) = (Registration::Pending, Some(token()));
    world.command(Command::Restore(Box::new(pending))).unwrap();
    assert_eq!((world.r(), world.agent.state().token.is_none()), (&Registration::Unregistered, true));
    assert!(world.agent.state().goodbye.is_some() && world.stands(AlarmKind::DeregOrphan));
    // A goodbye to the account that the backup is registered in would end what comes back.
    world.command(Command::Restore(Box::new(registered))).unwrap();
    assert_eq!(world.r(), &Registration::Registered);
    assert!(world.agent.state().goodbye.is_none() && !world.stands(AlarmKind::DeregOrphan));
}

#[test]
fn a_goodbye_is_heard_after_the_manager_knew_later_numbers() {
    let mut world = World::of(BuiltinProfile::Cusp);
    world.register();
    world.link = Link::Down(TransportStep::Tcp);
    world.command(Command::Deregister).unwrap();
    world.link = Link::Up;
    world.manager.refuses = Some(RefusalCode::Replayed);
    world.run_for(4 * HOUR + MINUTE);
    assert!(world.agent.state().goodbye.is_some() && world.agent.state().message_seq >= 1 << 32);
    assert!(world.manager.deregistrations.is_empty());
    world.manager.refuses = None;
    world.run_for(4 * HOUR);
    assert!(world.manager.deregistrations[0].header.seq > 1 << 32);
    assert!(world.agent.state().goodbye.is_none() && !world.stands(AlarmKind::DeregOrphan));
}

#[test]
fn what_was_told_of_lost_contact_ends_with_what_wanted_contact() {
    for end in [Command::CancelRegistration, Command::Disable] {
        let mut world = World::of(BuiltinProfile::Cusp);
        world.link = Link::Down(TransportStep::Tcp);
        world.register();
        world.run_for(HOUR);
        assert!(world.stands(AlarmKind::RegDown) && world.stands(AlarmKind::RegRetry));
        world.command(end).unwrap();
        assert!(!world.stands(AlarmKind::RegDown) && !world.stands(AlarmKind::RegRetry));
        assert!(world.agent.state().token.is_none());
        let sent = world.sent.len();
        world.run_for(DAY);
        assert_eq!(world.sent.len(), sent);
    }
    let mut world = World::of(BuiltinProfile::Cusp);
    world.register();
    world.link = Link::Down(TransportStep::Tcp);
    world.run_for(31 * DAY);
    assert!(world.stands(AlarmKind::RegDown) && world.stands(AlarmKind::AuthDown));
    world.command(Command::Deregister).unwrap();
    world.command(Command::Disable).unwrap();
    assert_eq!(world.agent.state().client, Client::Disabled);
    assert!(!world.stands(AlarmKind::RegDown) && !world.stands(AlarmKind::AuthDown));
}

#[test]
fn what_was_said_to_the_account_that_is_left_is_forgotten_with_it() {
    let mut world = World::of(BuiltinProfile::Open);
    world.register();
    world.link = Link::Held;
    world.command(Command::RenewId).unwrap();
    world.command(Command::ReportNow).unwrap();
    world.command(Command::Register { token: token(), force: true }).unwrap();
    let kinds = |world: &World| world.waiting.iter().map(|outgoing| outgoing.endpoint).collect::<Vec<_>>();
    assert_eq!(kinds(&world), [Endpoint::Renew, Endpoint::Report, Endpoint::Registration]);
    world.manager.virtual_account = "other".to_owned();
    let registration = world.waiting.pop_back().unwrap();
    let answer = world.manager.answer(&registration, world.now.wall);
    world.agent.handle_response(registration.exchange, answer, world.now);
    world.drain();
    assert_eq!(kinds(&world), [Endpoint::Ack, Endpoint::Entitlement]);
    let waits = |endpoint| world.agent.state().statistics[&endpoint].in_queue;
    assert_eq!([Endpoint::Renew, Endpoint::Report].map(waits), [0, 0]);
    assert!(world.agent.state().identity.pending.is_none(), "its key is asked for anew");
}

#[test]
fn a_new_configuration_is_kept_before_it_binds_calls_and_binds_them_before_anybody_hears_of_it() {
    let mut world = World::of(BuiltinProfile::Open);
    world.register();
    let mut setup = world.agent.setup().clone();
    setup.requested[0].units = Some(7);
    setup.overage_allowed = false;
    setup.hostname = "renamed".to_owned();
    world.agent.handle_command(Command::Configure(Box::new(setup)), world.now).unwrap();
    let mut order = Vec::new();
    while let Some(action) = world.agent.poll_action() {
        order.push(match action {
            Action::Persist(_) => "persist",
            Action::SetLimits(_) => "limits",
            Action::Send(_) => "send",
            Action::Cancel(_) => "cancel",
            Action::Raise(_) | Action::Clear(_) | Action::Notice(_) => "tell",
        });
    }
    assert_eq!(order, ["persist", "limits", "tell", "send", "tell"]);
}

/// An answer to the next authorization with so many tags.
fn with_tags(world: &mut World, count: usize) {
    world.link = Link::Held;
    world.command(Command::RenewAuthorization).unwrap();
    let request = world.waiting.pop_front().unwrap();
    drop(world.manager.answer(&request, world.now.wall));
    let body = world.manager.said.last().unwrap();
    let mut answer: GrantAnswer = crate::protocol::Envelope::parse(body).unwrap().peek().unwrap();
    answer.grant.tags = (0..count)
        .map(|n| TagGrant {
            tag: format!("open.t{n}"),
            epoch: 1,
            granted: 1,
            cap: 1,
            status: TagStatus::InCompliance,
            term_end: None,
        })
        .collect();
    let answer = world.manager.sign(Typ::GrantAnswer, &answer);
    world.agent.handle_response(request.exchange, answer, world.now);
    world.drain();
}

#[test]
fn a_grant_has_at_most_256_tags() {
    let mut world = World::of(BuiltinProfile::Open);
    world.register();
    with_tags(&mut world, 256);
    assert_eq!(world.agent.state().grant.as_ref().unwrap().tags.len(), 256);
    with_tags(&mut world, 257);
    assert_eq!(world.agent.state().grant.as_ref().unwrap().tags.len(), 256);
    let failure = world.agent.state().latest_failure.clone().unwrap();
    assert_eq!((failure.code.as_str(), world.stands(AlarmKind::GrantRejected)), ("too_many_tags", true));
    assert!(failure.text.contains("257") && failure.text.contains("256"), "{}", failure.text);
}

#[test]
fn registering_twice_says_how_to_move() {
    let mut world = World::of(BuiltinProfile::Open);
    world.register();
    let refused = world.command(Command::Register { token: token(), force: false }).unwrap_err();
    assert_eq!(refused.code, "already_registered");
    assert!(refused.text.contains("registered already") && refused.text.contains("register --force"), "{refused}");
}

#[test]
fn what_a_wrong_clock_had_put_off_is_due_as_soon_as_it_would_have_been_once_the_time_is_signed() {
    for builtin in [BuiltinProfile::Open, BuiltinProfile::Expressway, BuiltinProfile::Ccx] {
        let mut world = World::of(builtin);
        world.register();
        world.run_to(DAY);
        // The wall clock is ten years ahead, and is believed after three days without a manager.
        world.link = Link::Down(TransportStep::Tcp);
        world.now.wall.0 += 3650 * DAY;
        world.run_for(73 * HOUR);
        let name = world.agent.setup().requested[0].type_name.clone();
        world.use_now(&name, 33);
        world.run_for(HOUR);
        drop(world.command(Command::ReportNow));
        assert!(world.agent.effective_now().0 > super::world::START + 3650 * DAY);
        // A manager that says no is enough to know the time.
        world.link = Link::Up;
        world.manager.refuses = Some(RefusalCode::Busy);
        drop(world.command(Command::RenewAuthorization));
        drop(world.command(Command::Register { token: token(), force: false }));
        let now = world.agent.effective_now();
        assert_eq!(now.0, super::world::START + world.ms(), "{builtin:?}");
        let state = world.agent.state();
        let deadlines = &state.deadlines;
        for (name, at) in [
            ("registration_retry", deadlines.registration_retry),
            ("authorization_due", deadlines.authorization_due),
            ("authorization_expiry", deadlines.authorization_expiry),
            ("id_renewal_due", deadlines.id_renewal_due),
            ("overage_end", deadlines.overage_end),
            ("authorization_overage_end", deadlines.authorization_overage_end),
            ("report_due", deadlines.report_due),
            ("sample_due", deadlines.sample_due),
        ] {
            assert!(at.is_none_or(|at| at.0 < now.0 + 366 * DAY), "{builtin:?}: {name} {at:?}");
        }
        let past = [state.contact.last_attempt, state.contact.first_failure, deadlines.over_use_since];
        assert!(past.into_iter().flatten().all(|at| at <= now));
        assert!(state.standing.values().all(|standing| standing.since <= now));
        assert!(state.statistics.values().filter_map(|counts| counts.last_sent).all(|at| at <= now));
        let tag = &world.agent.setup().requested[0].tag;
        let used = world.agent.usage().interval(tag, UnixMillis(now.0 - DAY), now);
        assert!(used.peak == 33 && used.peak_at.is_some_and(|at| at <= now), "{builtin:?} {used:?}");
        world.manager.refuses = None;
        world.run_for(2 * HOUR);
        if world.r() == &Registration::Registered {
            world.command(Command::ReportNow).unwrap();
        }
    }
}

#[test]
fn a_clock_that_is_set_right_is_noticed_and_what_it_refused_is_asked_again_at_once() {
    let mut world = World::of(BuiltinProfile::Cusp);
    // Our clock stands ten years back.
    world.manager.clock_ahead_ms = (3650 * DAY).cast_signed();
    world.register();
    assert!(world.stands(AlarmKind::ClockSkew) && world.r() == &Registration::Pending);
    world.run_for(MINUTE);
    assert_eq!(world.sent(Endpoint::Registration).len(), 1);
    // A clock that NTP nudges is not set.
    world.now.wall.0 += 30_000;
    world.run_for(MINUTE);
    assert_eq!(world.sent(Endpoint::Registration).len(), 1);
    world.now.wall.0 += 3650 * DAY;
    world.agent.handle_timeout(world.now);
    world.drain();
    assert_eq!((world.r(), world.a()), (&Registration::Registered, Authorization::Authorized));
    assert_eq!(world.agent.effective_now(), world.now.wall);
    assert!(!world.stands(AlarmKind::ClockSkew));
}

#[test]
fn a_clock_that_was_set_to_another_wrong_time_is_asked_about_once_for_each_time() {
    let mut world = World::of(BuiltinProfile::Cusp);
    world.manager.clock_ahead_ms = (3650 * DAY).cast_signed();
    world.register();
    for tries in 2..5 {
        world.now.wall.0 += 3 * DAY;
        world.run_for(5 * MINUTE);
        assert_eq!(world.sent(Endpoint::Registration).len(), tries);
    }
}

#[test]
fn a_start_after_a_refused_time_asks_at_once() {
    let mut world = World::of(BuiltinProfile::Cusp);
    world.manager.clock_ahead_ms = (3650 * DAY).cast_signed();
    world.register();
    world.run_for(MINUTE);
    world.now.wall.0 += 3650 * DAY;
    // Another boot.
    world.now.tick = crate::units::Tick::from_secs(2000);
    world.manager.clock_ahead_ms = (world.now.wall.0 - super::world::START - world.ms()).cast_signed();
    world.restart(false);
    world.run_for(MINUTE);
    assert_eq!(world.r(), &Registration::Registered);
}

#[test]
fn a_refusal_for_the_time_that_it_sets_right_itself_is_asked_again_at_once() {
    let mut world = World::of(BuiltinProfile::Cusp);
    // Our clock is ten years ahead: the manager refuses what it says, and says the time.
    world.manager.clock_ahead_ms = -(3650 * DAY).cast_signed();
    world.link = Link::Held;
    world.register();
    let request = world.waiting.pop_front().unwrap();
    world.manager.refuses = Some(RefusalCode::ClockSkew);
    let no = world.manager.answer(&request, UnixMillis(super::world::START + world.ms()));
    world.manager.refuses = None;
    world.agent.handle_response(request.exchange, no, world.now);
    world.link = Link::Up;
    world.drain();
    world.run_for(1000);
    assert_eq!(world.r(), &Registration::Registered);
}

#[test]
fn a_manager_is_asked_for_the_counted_ports_and_told_the_current_and_the_next_count() {
    let port = |name: &str, gbps, features: &[&str]| Port {
        name: name.to_owned(),
        gbps,
        features: features.iter().map(|feature| (*feature).to_owned()).collect(),
        active: true,
        card: Some("0/0".to_owned()),
    };
    let today = Counts::of(&[port("a", 100, &["l3vpn"]), port("b", 25, &[])]);
    let tomorrow = Counts::of(&[port("a", 100, &["l3vpn"]), port("b", 25, &[]), port("c", 400, &["l3vpn"])]);
    let mut setup = setup(Profile::builtin(BuiltinProfile::Ncs540).unwrap());
    let asked = |setup: &mut crate::license::agent::Setup, counts: &Counts| {
        let profile = setup.profile.clone();
        for requested in &mut setup.requested {
            requested.units = counts.from_source(profile.type_named(&requested.type_name).unwrap().counts);
        }
    };
    asked(&mut setup, &today);
    let mut world = World::with(setup.clone());
    world.register();
    assert_eq!(world.manager.requested["ncs540.essential"], 13);
    let told = |world: &mut World, now: &Counts, next: &Counts| {
        let usage = now.usage(next, &world.agent.setup().profile);
        world.agent.observe(&usage, world.now);
        world.command(Command::ReportNow).unwrap();
        let report = world.manager.reports.last().unwrap();
        let line = |tag: &str| {
            let of = report.tags.iter().find(|of| of.tag == tag).unwrap();
            (of.requested, of.reported, of.next.unwrap())
        };
        ["ncs540.essential", "ncs540.advanced", "ncs540.tracking"].map(line)
    };
    assert_eq!(told(&mut world, &today, &tomorrow), [(13, 13, 53), (10, 10, 50), (2, 2, 2)]);
    // The next day.
    world.run_for(DAY);
    asked(&mut setup, &tomorrow);
    world.command(Command::Configure(Box::new(setup))).unwrap();
    assert_eq!(world.manager.requested["ncs540.essential"], 53);
    assert_eq!(told(&mut world, &tomorrow, &tomorrow), [(53, 53, 53), (50, 50, 50), (2, 2, 2)]);
    // A report that comes before anything was observed says no less.
    world.restart(true);
    assert_eq!(world.agent.usage().observed("ncs540.essential"), None);
    world.run_for(MINUTE);
    world.command(Command::ReportNow).unwrap();
    assert_eq!(world.manager.reports.last().unwrap().tags[0].reported, 53);
}

#[test]
fn both_ends_of_overage_are_in_force_at_their_instants() {
    // Two consequences that run at once, the earlier one the harder: each is in force from its own end on.
    let mut profile = Profile::builtin(BuiltinProfile::Open).unwrap();
    profile.auth_expired = Consequence {
        effect: Effect::AllowNotify,
        overage_hours: Some(10),
        then: Some(Effect::RejectNewRegistrations),
    };
    (profile.ooc.effect, profile.ooc.overage_hours, profile.ooc.then) =
        (Effect::AllowNotify, Some(95 * 24 + 1), Some(Effect::ConfigFreeze));
    let mut world = World::with(setup(profile));
    world.register();
    // At a time at which nothing else is due.
    world.run_for(7 * MINUTE);
    world.manager.bought.values_mut().for_each(|bought| *bought = 1);
    world.command(Command::RenewAuthorization).unwrap();
    assert_eq!(world.a(), Authorization::OutOfCompliance);
    world.link = Link::Down(TransportStep::Tcp);
    world.coarse_ms = HOUR;
    world.run_to(91 * DAY);
    assert_eq!(world.a(), Authorization::AuthorizationExpired);
    let refused = |world: &World| {
        let verdict = world.verdict();
        (verdict.registrations.is_some(), verdict.configuration.is_some())
    };
    assert_eq!(refused(&world), (true, false));
    world.coarse_ms = 0;
    let end = 95 * DAY + HOUR + 7 * MINUTE;
    world.run_to(end - 1);
    assert_eq!(refused(&world), (true, false));
    world.run_to(end);
    assert_eq!(refused(&world), (true, true));
}
