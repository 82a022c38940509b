//! What a forecast says will happen to calls is what happens: random states are forecast, and then lived.

use proptest::prelude::*;

use super::histories::{Step, step, take};
use super::world::{DAY, HOUR, Link, MINUTE, World, setup};
use crate::license::agent::{Command, TransportStep};
use crate::license::view::{Forecast, Track, ViewInput, effect_in_force, on_calls};
use crate::license::{BuiltinProfile, Profile};
use crate::units::UnixMillis;

/// How far the forecast looks.
const DAYS: u32 = 500;

/// Evaluation is counted in whole seconds, each instant is looked at this much before and after, and what follows from an
/// event follows from the moment at which it was seen: no event is further off than all of that together.
const MARGIN_MS: u64 = 5000;

/// No wait is longer, so that what was not forecast is seen too.
const LEAP_MS: u64 = 9 * DAY;

fn forecast(world: &World) -> Forecast {
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
    Forecast::of(&input, DAYS)
}

/// What calls meet. Whether an alarm goes with it, which a single failure decides, is not forecast.
fn effect(world: &World) -> &'static str {
    met(on_calls(effect_in_force(world.agent.state().enforced)))
}

fn met(effect: &str) -> &str {
    effect.trim_end_matches(", with an alarm")
}

/// Goes to a moment of effective time in leaps, and looks after each.
fn live_to(world: &mut World, at: UnixMillis, expected: &str, track: &Track) -> Result<(), TestCaseError> {
    while world.agent.effective_now() < at {
        let left = at.0 - world.agent.effective_now().0;
        world.pass(left.min(LEAP_MS));
        world.agent.handle_timeout(world.now);
        world.drain();
        prop_assert_eq!(effect(world), expected, "at {} of {:#?}\n{:#?}", at.0, track, world.agent.state());
    }
    Ok(())
}

fn comes_true(world: &mut World, track: &Track, until: UnixMillis) -> Result<(), TestCaseError> {
    let mut in_force = effect(world);
    let mut off_ms = MARGIN_MS;
    for step in &track.steps {
        let before = UnixMillis(step.at.0.saturating_sub(off_ms));
        // Of steps that come together only what follows from all of them is looked at.
        live_to(world, before, in_force, track)?;
        in_force = met(&step.effect);
        off_ms += MARGIN_MS;
        let after = UnixMillis(step.at.0 + off_ms);
        let together = track.steps.iter().any(|other| other.at > step.at && other.at.0 <= after.0 + 2 * off_ms);
        let last_of_instant = track.steps.iter().rfind(|other| other.at == step.at).is_some_and(|last| last == step);
        if last_of_instant && !together && after <= until {
            let left = after.0.saturating_sub(world.agent.effective_now().0);
            world.pass(left);
            world.agent.handle_timeout(world.now);
            world.drain();
            prop_assert_eq!(effect(world), in_force, "after {:#?}\n{:#?}", step, world.agent.state());
        }
    }
    prop_assert_eq!(in_force, met(&track.at_the_end));
    live_to(world, UnixMillis(until.0 - MARGIN_MS), in_force, track)
}

/// Something came of it, from wherever it began: a state that nothing disturbs but the manager's absence or presence.
fn state_after(builtin: BuiltinProfile, steps: Vec<Step>) -> World {
    let mut setup = setup(Profile::builtin(builtin).unwrap());
    setup.enabled = None;
    let mut world = World::with(setup);
    let backup = world.agent.state().clone();
    drop(world.command(Command::Enable));
    for step in steps {
        // Forecasts take the clock and the disk for granted.
        if !matches!(step, Step::Wall(_) | Step::FailWrites(_)) {
            take(&mut world, step, &backup);
        }
    }
    (world.manager.refuses, world.manager.grant_seq) = (None, world.manager.grant_seq + 1000);
    world
}

/// The manager is not reached: as now, or from now on.
fn unreached(builtin: BuiltinProfile, steps: Vec<Step>) -> Result<(), TestCaseError> {
    let mut world = state_after(builtin, steps);
    if world.link != Link::Up {
        world.link = Link::Down(TransportStep::Tcp);
    }
    world.run_for(MINUTE);
    let told = forecast(&world);
    world.link = Link::Down(TransportStep::Tcp);
    let track = told.without_contact.unwrap_or(told.as_now);
    // Exactly until the first failure, which some products count from; leaps would make it late.
    let first = track.steps.first().map_or(told.until, |step| UnixMillis(step.at.0.saturating_sub(HOUR)));
    for _ in 0..32 {
        if world.agent.state().contact.failures > 0 || world.agent.effective_now() >= first {
            break;
        }
        let left = first.0 - world.agent.effective_now().0;
        world.run_for(left.min(DAY));
    }
    comes_true(&mut world, &track, told.until)
}

/// The manager goes on answering.
fn reached(builtin: BuiltinProfile, steps: Vec<Step>) -> Result<(), TestCaseError> {
    let mut world = state_after(builtin, steps);
    world.link = Link::Up;
    world.run_for(DAY);
    let told = forecast(&world);
    comes_true(&mut world, &told.as_now, told.until)
}

macro_rules! forecasts {
    ($($name:ident $other:ident $builtin:ident)*) => { proptest! {
        #![proptest_config(ProptestConfig { cases: 16, max_shrink_iters: 200, ..ProptestConfig::default() })]
        $(
            #[test]
            fn $name(steps in prop::collection::vec(step(), 1..12)) {
                unreached(BuiltinProfile::$builtin, steps)?;
            }

            #[test]
            fn $other(steps in prop::collection::vec(step(), 1..12)) {
                reached(BuiltinProfile::$builtin, steps)?;
            }
        )*
    } };
}

forecasts! {
    what_open_is_forecast_without_a_manager_happens what_open_is_forecast_with_one_happens Open
    what_cusp_is_forecast_without_a_manager_happens what_cusp_is_forecast_with_one_happens Cusp
    what_cccsp_is_forecast_without_a_manager_happens what_cccsp_is_forecast_with_one_happens Cccsp
    what_expressway_is_forecast_without_a_manager_happens what_expressway_is_forecast_with_one_happens Expressway
    what_ccx_is_forecast_without_a_manager_happens what_ccx_is_forecast_with_one_happens Ccx
    what_ncs540_is_forecast_without_a_manager_happens what_ncs540_is_forecast_with_one_happens Ncs540
}
