//! Random histories: what must stay true is checked after each step.

use proptest::prelude::*;

use super::table::by_table;
use super::world::{DAY, HOUR, Link, World, setup, token};
use crate::license::agent::{Agent, AgentState, Command, Stored, TransportStep};
use crate::license::{BuiltinProfile, Profile};
use crate::protocol::RefusalCode;

#[derive(Debug, Clone)]
pub(super) enum Step {
    Pass(u64),
    Wall(i64),
    Link(u8),
    /// Answers what is held, the newest first, so that answers come out of order.
    Deliver,
    /// Answers everything that is held by what the manager said last.
    Replay,
    Register(bool),
    Cancel,
    Deregister,
    RenewAuthorization,
    RenewId,
    Report,
    Enable(bool),
    Count(u32),
    Strict(bool),
    Bought(u64),
    Refuse(u8),
    GrantSeqBack,
    Restart(bool),
    FailWrites(u32),
    Use(u32),
    Restore,
    Reset(bool),
}

pub(super) fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1..3 * HOUR).prop_map(Step::Pass),
        4 => (DAY..100 * DAY).prop_map(Step::Pass),
        1 => prop_oneof![Just(-365_i64), Just(3650), Just(40), Just(-1)].prop_map(Step::Wall),
        3 => (0_u8..6).prop_map(Step::Link),
        2 => Just(Step::Deliver),
        1 => Just(Step::Replay),
        5 => any::<bool>().prop_map(Step::Register),
        1 => Just(Step::Cancel),
        2 => Just(Step::Deregister),
        2 => Just(Step::RenewAuthorization),
        1 => Just(Step::RenewId),
        1 => Just(Step::Report),
        2 => any::<bool>().prop_map(Step::Enable),
        1 => prop_oneof![Just(0_u32), Just(10), Just(500)].prop_map(Step::Count),
        1 => any::<bool>().prop_map(Step::Strict),
        3 => prop_oneof![Just(0_u64), Just(1), Just(1000)].prop_map(Step::Bought),
        2 => (0_u8..8).prop_map(Step::Refuse),
        1 => Just(Step::GrantSeqBack),
        2 => any::<bool>().prop_map(Step::Restart),
        1 => (1_u32..4).prop_map(Step::FailWrites),
        1 => (0_u32..900).prop_map(Step::Use),
        1 => Just(Step::Restore),
        1 => any::<bool>().prop_map(Step::Reset),
    ]
}

pub(super) fn take(world: &mut World, step: Step, backup: &AgentState) {
    let command = match step {
        Step::Pass(ms) => {
            world.pass(ms);
            world.agent.handle_timeout(world.now);
            return world.drain();
        }
        Step::Wall(days) => {
            world.now.wall.0 = world.now.wall.0.saturating_add_signed(days * DAY.cast_signed());
            world.agent.handle_timeout(world.now);
            return world.drain();
        }
        Step::Link(link) => {
            world.link = match link {
                0 => Link::Down(TransportStep::Tcp),
                1 => Link::Says(200, b"<html>".to_vec()),
                2 => Link::Held,
                _ => Link::Up,
            };
            return world.drain();
        }
        Step::Deliver => {
            while let Some(outgoing) = world.waiting.pop_back() {
                let outcome = world.outcome(&outgoing);
                world.agent.handle_response(outgoing.exchange, outcome, world.now);
            }
            return world.drain();
        }
        Step::Replay => {
            while let (Some(outgoing), Some(body)) = (world.waiting.pop_back(), world.manager.said.last().cloned()) {
                let outcome = crate::license::agent::Exchange::Answered { status: 200, retry_after_s: None, body };
                world.agent.handle_response(outgoing.exchange, outcome, world.now);
            }
            return world.drain();
        }
        Step::Bought(licenses) => return world.manager.bought.values_mut().for_each(|bought| *bought = licenses),
        Step::Refuse(code) => {
            world.manager.refuses = match code {
                0 => Some(RefusalCode::InstanceRemoved),
                1 => Some(RefusalCode::TokenExpired),
                2 => Some(RefusalCode::Busy),
                3 => Some(RefusalCode::Replayed),
                _ => None,
            };
            return;
        }
        Step::GrantSeqBack => return world.manager.grant_seq = world.manager.grant_seq.saturating_sub(2),
        Step::Restart(clean) => return world.restart(clean),
        Step::FailWrites(writes) => return world.failing_writes = writes,
        Step::Use(units) => {
            let name = world.agent.setup().requested[0].type_name.clone();
            return world.use_now(&name, units);
        }
        Step::Register(force) => Command::Register { token: token(), force },
        Step::Cancel => Command::CancelRegistration,
        Step::Deregister => Command::Deregister,
        Step::RenewAuthorization => Command::RenewAuthorization,
        Step::RenewId => Command::RenewId,
        Step::Report => Command::ReportNow,
        Step::Enable(true) => Command::Enable,
        Step::Enable(false) => Command::Disable,
        Step::Count(units) => {
            let mut setup = world.agent.setup().clone();
            setup.requested[0].units = Some(units);
            Command::Configure(Box::new(setup))
        }
        Step::Strict(strict) => {
            let mut setup = world.agent.setup().clone();
            setup.overage_allowed = !strict;
            Command::Configure(Box::new(setup))
        }
        Step::Restore => Command::Restore(Box::new(backup.clone())),
        Step::Reset(keep_licensing) => Command::FactoryReset { keep_licensing },
    };
    drop(world.command(command));
}

fn check(world: &World, before: &AgentState) -> Result<(), TestCaseError> {
    let state = world.agent.state();
    prop_assert!(state.evaluation.used_s >= before.evaluation.used_s, "evaluation time is never given back");
    prop_assert!(state.last_grant_seq >= before.last_grant_seq, "grant numbers rise");
    prop_assert!(state.signed_high_water >= before.signed_high_water, "time doesn't go backwards");
    let held = state.grant.as_ref().map_or(0, |grant| grant.seq);
    prop_assert!(held <= state.last_grant_seq);
    if let (Some(was), Some(is)) = (before.deadlines.overage_end, state.deadlines.overage_end) {
        // A new one may begin only after the old one was forgotten, which takes a day of compliance.
        let forgotten = before.deadlines.overage_forgotten.is_some();
        prop_assert!(is <= was || forgotten, "overage keeps its first deadline");
    }
    if let Some(was) = before.deadlines.deregistered_evaluation_end {
        let is = state.deadlines.deregistered_evaluation_end;
        prop_assert!(is.is_some_and(|is| is <= was), "a fixed evaluation is given once");
    }
    let in_force = world.verdict();
    let profile = &world.agent.setup().profile;
    let now = world.agent.effective_now();
    // While writes fail, what was kept last binds calls, as it did when it was kept; else the state of now does.
    let table = if world.agent.is_paused() {
        by_table(world.kept.as_deref().unwrap(), profile, world.bound_at)
    } else {
        by_table(state, profile, now)
    };
    prop_assert_eq!(in_force, table, "the verdict is the table's");
    prop_assert_eq!(world.limits.as_ref(), world.agent.limits());
    for counts in state.statistics.values() {
        prop_assert!(counts.in_queue <= 64);
    }
    for (at, _) in state.contact.attempts.iter().map(|attempt| (attempt.at, attempt)) {
        prop_assert!(at <= now);
    }
    Ok(())
}

/// What is kept survives JSON, and a start from it gives the same verdict. Every beginning of a history is one too, so
/// that looking at the ends alone looks everywhere.
fn check_kept(world: &World) -> Result<(), TestCaseError> {
    let (state, in_force, now) = (world.agent.state(), world.verdict(), world.agent.effective_now());
    let kept = world.kept.as_ref().unwrap();
    let json = serde_json::to_string(kept).unwrap();
    let mut back: AgentState = serde_json::from_str(&json).unwrap();
    prop_assert_eq!(&back, kept.as_ref());
    let sane = world.now.wall.0.abs_diff(now.0) < 1000;
    if sane && state.leaving.is_none() && world.failing_writes == 0 && world.agent_is_rested() {
        back.evaluation.clean_stop = true;
        back.evaluation.used_s = state.evaluation.used_s;
        let stored = Stored { state: Some(Box::new(back)), ..Stored::default() };
        let again = Agent::start(world.agent.setup().clone(), stored, world.now, [4; 32]);
        prop_assert_eq!(again.limits().unwrap().verdict, in_force, "a restart changes no verdict");
    }
    Ok(())
}

fn live(builtin: BuiltinProfile, steps: Vec<Step>) -> Result<(), TestCaseError> {
    let mut setup = setup(Profile::builtin(builtin).unwrap());
    setup.enabled = None;
    let mut world = World::with(setup);
    let backup = world.agent.state().clone();
    drop(world.command(Command::Enable));
    for step in steps {
        // What a killed process knew and could not keep is lost: at most a minute, unless the disk failed.
        let killed = matches!(step, Step::Restart(clean) if !clean || world.failing_writes > 0);
        let before = if killed { world.kept.as_deref().unwrap().clone() } else { world.agent.state().clone() };
        take(&mut world, step, &backup);
        check(&world, &before)?;
    }
    check_kept(&world)?;
    Ok(())
}

macro_rules! histories {
    ($($name:ident $builtin:ident)*) => { proptest! {
        // Six times 1,667 are ten thousand histories per run.
        #![proptest_config(ProptestConfig { cases: 1667, max_shrink_iters: 2000, ..ProptestConfig::default() })]
        $(
            #[test]
            fn $name(steps in prop::collection::vec(step(), 1..16)) {
                live(BuiltinProfile::$builtin, steps)?;
            }
        )*
    } };
}

histories! {
    no_history_breaks_the_laws_under_open Open
    no_history_breaks_the_laws_under_cusp Cusp
    no_history_breaks_the_laws_under_cccsp Cccsp
    no_history_breaks_the_laws_under_expressway Expressway
    no_history_breaks_the_laws_under_ccx Ccx
    no_history_breaks_the_laws_under_ncs540 Ncs540
}
