//! Section 4.1 and the evaluation account.

use super::world::{DAY, HOUR, Link, MINUTE, World, setup, token};
use crate::license::agent::{AlarmKind, Authorization, Client, Command, Enforced, Registration, TypeCap};
use crate::license::{BuiltinProfile, Effect, Profile};
use crate::protocol::Endpoint;

fn off(builtin: BuiltinProfile) -> World {
    let mut setup = setup(Profile::builtin(builtin).unwrap());
    setup.enabled = None;
    World::with(setup)
}

#[test]
fn a_first_start_makes_an_identity_and_begins_as_the_profile_says() {
    let on = off(BuiltinProfile::Expressway);
    assert_eq!((on.agent.state().client, on.a(), on.word()), (Client::Enabled, Authorization::Evaluation, "allow"));
    let unconfigured = off(BuiltinProfile::Cusp);
    assert_eq!((unconfigured.agent.state().client, unconfigured.a()), (Client::Disabled, Authorization::None));
    assert_eq!(unconfigured.word(), "reject (unconfigured)");
    assert_eq!(off(BuiltinProfile::Ccx).word(), "allow");
    let kept = on.kept.as_ref().unwrap();
    assert_eq!(kept.udi, on.agent.state().udi);
    assert_eq!(kept.udi.pid(), on.agent.setup().profile.pid);
}

#[test]
fn enabling_begins_evaluation_where_it_was_and_sends_nothing() {
    let mut world = off(BuiltinProfile::Cusp);
    world.run_to(5 * DAY);
    assert_eq!(world.agent.state().evaluation.used_s, 0);
    world.command(Command::Enable).unwrap();
    assert_eq!((world.a(), world.word()), (Authorization::Evaluation, "allow"));
    world.run_for(90 * DAY);
    assert_eq!((world.a(), world.word()), (Authorization::EvaluationExpired, "reject (evaluation-expired)"));
    world.command(Command::Disable).unwrap();
    assert_eq!(world.word(), "reject (unconfigured)");
    world.command(Command::Enable).unwrap();
    assert_eq!((world.a(), world.word()), (Authorization::EvaluationExpired, "reject (evaluation-expired)"));
    assert_eq!(world.sent, []);
}

#[test]
fn disabling_cancels_a_registration_under_way_and_is_refused_when_registered_or_irreversible() {
    let mut world = World::of(BuiltinProfile::Cusp);
    world.link = Link::Held;
    world.register();
    assert_eq!((world.r(), world.waiting.len()), (&Registration::Pending, 1));
    world.command(Command::Disable).unwrap();
    assert_eq!((world.r(), world.waiting.len()), (&Registration::Unregistered, 0));
    assert!(world.agent.state().token.is_none());
    world.link = Link::Up;
    world.command(Command::Enable).unwrap();
    world.register();
    assert_eq!(world.command(Command::Disable).unwrap_err().code, "registered");
    let mut locked = World::of(BuiltinProfile::Expressway);
    assert_eq!(locked.command(Command::Disable).unwrap_err().code, "irreversible");
}

#[test]
fn evaluation_that_runs_out_has_the_profiles_effect_and_an_alarm() {
    for (builtin, word) in [
        (BuiltinProfile::Cccsp, "reject (evaluation-expired)"),
        (BuiltinProfile::Expressway, "no new registrations"),
        (BuiltinProfile::Ccx, "config freeze"),
        (BuiltinProfile::Ncs540, "allow"),
        (BuiltinProfile::Open, "allow"),
    ] {
        let mut world = World::of(builtin);
        world.run_to(90 * DAY - 1000);
        assert_eq!((world.word(), world.stands(AlarmKind::EvalNear)), ("allow", true), "{builtin:?}");
        world.run_to(90 * DAY);
        assert_eq!(world.word(), word, "{builtin:?}");
        assert!(world.stands(AlarmKind::EvalExpired) && !world.stands(AlarmKind::EvalNear));
        assert_eq!(world.stands(AlarmKind::Enforced), word != "allow");
    }
}

#[test]
fn used_up_evaluation_stays_used_up_whatever_a_profile_says_later() {
    let mut world = World::of(BuiltinProfile::Cusp);
    let mut short = Profile::builtin(BuiltinProfile::Cusp).unwrap();
    short.eval.hours = 1;
    world.command(Command::Configure(Box::new(setup(short)))).unwrap();
    world.run_for(HOUR);
    assert_eq!(world.a(), Authorization::EvaluationExpired);
    let long = setup(Profile::builtin(BuiltinProfile::Cusp).unwrap());
    world.command(Command::Configure(Box::new(long))).unwrap();
    assert_eq!(world.a(), Authorization::EvaluationExpired);
    assert_eq!(world.agent.state().unexpected["evaluation_expired/evaluation_account"], 1);
}

#[test]
fn a_hundred_restarts_give_no_evaluation_time_back_and_unclean_ones_cost_a_minute() {
    let mut world = World::of(BuiltinProfile::Open);
    world.run_to(100 * 1000);
    for restart in 1..=50 {
        world.restart(true);
        assert_eq!(world.agent.state().evaluation.used_s, 100, "restart {restart}");
    }
    for restart in 1..=50 {
        world.restart(false);
        assert_eq!(world.agent.state().evaluation.used_s, 100 + restart * 60);
    }
}

#[test]
fn time_while_off_counts_only_where_the_profile_says_so() {
    let mut profile = Profile::builtin(BuiltinProfile::Open).unwrap();
    for (counts, used_s) in [(false, 10), (true, 3610)] {
        profile.eval.count_offline = counts;
        let mut world = World::with(setup(profile.clone()));
        world.run_to(10_000);
        world.agent.stop(world.now);
        world.drain();
        world.pass(HOUR);
        world.restart_with(world.agent.setup().clone());
        assert_eq!(world.agent.state().evaluation.used_s, used_s);
    }
}

#[test]
fn evaluation_runs_while_waiting_for_a_grant_only_where_the_profile_says_so() {
    for (builtin, runs) in [(BuiltinProfile::Cccsp, true), (BuiltinProfile::Cusp, false)] {
        let mut world = World::of(builtin);
        world.link = Link::Held;
        world.register();
        let registration = world.waiting.pop_front().unwrap();
        let answer = world.manager.answer(&registration, world.now.wall);
        world.agent.handle_response(registration.exchange, answer, world.now);
        world.drain();
        assert_eq!(world.a(), Authorization::Waiting);
        world.pass(HOUR);
        world.agent.handle_timeout(world.now);
        assert_eq!(world.agent.state().evaluation.used_s, if runs { 3600 } else { 0 });
    }
}

#[test]
fn what_a_manager_remembers_of_used_evaluation_counts() {
    let mut world = World::of(BuiltinProfile::Open);
    world.manager.eval_used_s = 5_000_000;
    world.register();
    assert_eq!(world.agent.state().evaluation.used_s, 5_000_000);
}

#[test]
fn leaving_and_coming_back_gives_no_evaluation_time() {
    let mut world = World::of(BuiltinProfile::Cusp);
    world.run_to(60 * DAY);
    for _ in 0..20 {
        world.register();
        assert_eq!(world.a(), Authorization::Authorized);
        world.run_for(DAY);
        world.command(Command::Deregister).unwrap();
        assert_eq!(world.agent.state().evaluation.used_s, 60 * 86_400);
    }
    world.run_for(30 * DAY);
    assert_eq!((world.a(), world.word()), (Authorization::EvaluationExpired, "reject (evaluation-expired)"));
}

#[test]
fn a_fixed_evaluation_after_deregistration_is_given_once_and_never_adds_up() {
    let mut world = World::of(BuiltinProfile::Ncs540);
    world.register();
    world.command(Command::Deregister).unwrap();
    let end = world.agent.state().deadlines.deregistered_evaluation_end;
    assert_eq!(end.unwrap().0, world.now.wall.0 + 720 * HOUR);
    for _ in 0..10 {
        world.run_for(DAY);
        world.register();
        world.command(Command::Deregister).unwrap();
        assert_eq!(world.agent.state().deadlines.deregistered_evaluation_end, end);
    }
    world.run_to(30 * DAY - 1000);
    assert_eq!(world.a(), Authorization::Evaluation);
    world.run_to(30 * DAY);
    assert_eq!(world.a(), Authorization::EvaluationExpired);
    world.register();
    world.command(Command::Deregister).unwrap();
    assert_eq!(world.a(), Authorization::EvaluationExpired);
}

#[test]
fn deadlines_are_told_ninety_days_to_an_hour_before() {
    let mut world = World::of(BuiltinProfile::Cusp);
    world.run_to(91 * DAY);
    let told: Vec<u64> = world
        .notices
        .iter()
        .filter(|notice| notice.name == "deadline_near")
        .map(|notice| notice.at.unwrap().0 - super::world::START)
        .collect();
    assert_eq!(told.len(), 8);
    assert!(told.iter().all(|at| at.abs_diff(90 * DAY) < 2000), "{told:?}");
    let mut friendly = World::of(BuiltinProfile::Open);
    friendly.run_to(91 * DAY);
    assert!(friendly.notices.iter().all(|notice| notice.name != "deadline_near"), "nothing is refused there");
}

#[test]
fn evaluation_caps_as_its_capability_says() {
    assert_eq!(World::of(BuiltinProfile::Cusp).cap("cps"), TypeCap::Requested);
    assert_eq!(World::of(BuiltinProfile::Expressway).cap("rms"), TypeCap::Uncapped);
    assert_eq!(World::of(BuiltinProfile::Ccx).cap("premium"), TypeCap::Uncapped);
    assert_eq!(off(BuiltinProfile::Cusp).cap("cps"), TypeCap::Uncapped);
}

#[test]
fn nothing_of_an_event_happens_unless_it_was_kept_first() {
    let mut world = World::of(BuiltinProfile::Cusp);
    let before = world.kept.clone();
    world.failing_writes = 1;
    world.register();
    assert_eq!((world.sent.len(), world.r()), (0, &Registration::Unregistered));
    assert_eq!(world.kept, before);
    world.run_for(MINUTE);
    assert_eq!(world.sent.len(), 0, "a command that was not kept did not happen");
    world.register();
    assert_eq!(world.a(), Authorization::Authorized);
    assert_eq!(world.sent(Endpoint::Registration).len(), 1);
}

#[test]
fn a_disk_that_is_full_changes_no_verdict_and_gives_no_time_back() {
    let mut world = World::of(BuiltinProfile::Cusp);
    world.run_to(89 * DAY);
    world.failing_writes = u32::MAX;
    world.run_for(2 * DAY);
    assert_eq!((world.a(), world.word()), (Authorization::Evaluation, "allow"));
    assert!(world.agent.state().evaluation.used_s >= 91 * 86_400 - 15);
    world.failing_writes = 0;
    world.run_for(MINUTE);
    assert_eq!(world.word(), "reject (evaluation-expired)");
    let enforced = world.kept.as_ref().unwrap().enforced;
    assert!(matches!(enforced, Enforced::Enforced { effect: Effect::RejectNew, .. }));
}

#[test]
fn a_token_is_wiped_after_cancel_and_nothing_shows_it() {
    let mut world = World::of(BuiltinProfile::Open);
    world.link = Link::Held;
    world.register();
    assert!(world.agent.state().token.is_some());
    let shown = format!("{:?}", world.agent);
    assert!(!shown.contains(token().reveal()), "Debug shows no token");
    world.command(Command::CancelRegistration).unwrap();
    assert!(world.agent.state().token.is_none() && world.kept.as_ref().unwrap().token.is_none());
    assert_eq!(world.command(Command::CancelRegistration).unwrap_err().code, "not_pending");
}
