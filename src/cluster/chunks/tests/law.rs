//! The law: whatever is lost, late, doubled, given up, killed, whichever lease ends when, all nodes together may use no more
//! than the homes that the engine knows.

use proptest::prelude::*;

use super::world::{MS, Packet, World, resource};
use crate::cluster::{Class, Kind};

#[derive(Debug, Clone, Copy)]
enum Step {
    /// Time passes, in milliseconds; tasks run.
    Pass(u16),
    /// Time passes; no task runs, and the engine's leases end.
    Stall(u16),
    Calls(usize, u8),
    Ends(usize, u8),
    /// A packet arrives; which, counted modulo those under way.
    Arrive(u8),
    /// It arrives, and will once more.
    Double(u8),
    Lose(u8),
    /// A node waits for its answer no longer.
    GiveUp(usize),
    Crash(usize),
    /// The engine restarts, or another of its members leads.
    Lead,
    Home(usize, u8),
    Calm(u8),
}

fn steps(homes: bool) -> impl Strategy<Value = Vec<Step>> {
    let node = 0..3_usize;
    let step = prop_oneof![
        4 => (1..60_u16).prop_map(Step::Pass),
        1 => (100..6000_u16).prop_map(Step::Pass),
        1 => (1..6000_u16).prop_map(Step::Stall),
        6 => (node.clone(), 1..40_u8).prop_map(|(node, calls)| Step::Calls(node, calls)),
        2 => (node.clone(), 1..40_u8).prop_map(|(node, calls)| Step::Ends(node, calls)),
        14 => any::<u8>().prop_map(Step::Arrive),
        2 => any::<u8>().prop_map(Step::Double),
        1 => any::<u8>().prop_map(Step::Lose),
        2 => node.clone().prop_map(Step::GiveUp),
        1 => node.clone().prop_map(Step::Crash),
        1 => Just(Step::Lead),
        1 => (node, 0..12_u8).prop_map(move |(node, home)| if homes { Step::Home(node, home) } else { Step::Pass(9) }),
        5 => (1..250_u8).prop_map(Step::Calm),
    ];
    prop::collection::vec(step, 30..250)
}

fn take(world: &mut World, step: Step) {
    let place = |world: &World, pick: u8| (!world.wire.is_empty()).then(|| usize::from(pick) % world.wire.len());
    match step {
        Step::Pass(ms) => {
            world.now += u64::from(ms) * MS;
            world.engine.expire(world.now);
            (0..3).for_each(|node| world.step_node(node));
        }
        Step::Stall(ms) => {
            world.now += u64::from(ms) * MS;
            world.engine.expire(world.now);
        }
        Step::Calls(node, calls) => (0..calls).for_each(|_| {
            world.offer(node);
        }),
        Step::Ends(node, calls) => (0..calls).for_each(|_| world.end(node)),
        Step::Arrive(pick) => {
            if let Some(place) = place(world, pick) {
                let (_, packet) = world.wire.remove(place);
                world.arrive(packet);
            }
        }
        Step::Double(pick) => {
            if let Some(place) = place(world, pick) {
                let (_, packet) = world.wire[place].clone();
                world.arrive(packet);
            }
        }
        Step::Lose(pick) => {
            if let Some(place) = place(world, pick) {
                world.wire.remove(place);
            }
        }
        Step::GiveUp(node) => world.give_up(node),
        Step::Crash(node) => {
            world.crash(node);
            world.start(node);
        }
        Step::Lead => world.engine.restart(world.now),
        Step::Home(node, home) => world.set_home(node, u32::from(home)),
        Step::Calm(ms) => world.run(u64::from(ms) * 4, 1),
    }
    // Answers that nobody waits for are nobody's; requests that lie for ever test nothing but memory.
    let many = world.wire.len().saturating_sub(40);
    world.wire.drain(..many);
}

fn run(kind: Kind, keep: u32, drift: &[i64], steps: &[Step]) -> Result<(), TestCaseError> {
    let mut world = World::new(&[6, 6, 3], resource(kind, Class::Hard), keep);
    world.drift = drift.to_vec();
    world.engine.fast_ppm = 1000;
    (0..3).for_each(|node| world.start(node));
    for (place, step) in steps.iter().enumerate() {
        take(&mut world, *step);
        let (claims, homes) = world.claims();
        prop_assert!(claims <= homes, "{} of {} after step {}, {:?}", claims, homes, place, step);
    }
    // Whatever happened: once it is calm and nobody calls, all of it is free, and one node can have it all.
    (0..3).for_each(|node| world.give_up(node));
    for node in 0..3 {
        while world.calls[node] > 0 {
            world.end(node);
        }
    }
    world.run(6000, 1);
    (0..3).for_each(|node| world.give_up(node));
    world.run(1500, 1);
    let all: u32 = world.homes.iter().sum();
    let kept: u32 = world.homes.iter().map(|home| home * keep / 100).sum();
    let own = world.homes[0] * keep / 100;
    let units = kind.units_per_license();
    for _ in 0..300 {
        world.run(20, 1);
        (0..100).for_each(|_| {
            world.offer(0);
        });
    }
    prop_assert_eq!(world.limit(0), (all - kept + own) * units);
    let (claims, homes) = world.claims();
    prop_assert!(claims <= homes);
    Ok(())
}

fn drifts() -> impl Strategy<Value = [i64; 3]> {
    [-1000..=1000_i64, -1000..=1000_i64, -1000..=1000_i64]
}

#[test]
fn a_doubled_answer_is_nobodys() {
    let mut world = World::started(&[2], resource(Kind::Rate, Class::Hard));
    let (_, ask) = world.wire.remove(0);
    world.arrive(ask);
    let (_, answer) = world.wire.remove(0);
    assert!(matches!(answer, Packet::Answer { .. }));
    world.arrive(answer.clone());
    let under_way = world.wire.len();
    world.arrive(answer);
    assert_eq!(world.wire.len(), under_way, "nothing more was asked");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn calls_per_second_never_exceed_the_homes_in_the_engine(drift in drifts(), steps in steps(true)) {
        run(Kind::Rate, 0, &drift, &steps)?;
    }

    #[test]
    fn calls_per_second_never_exceed_homes_and_what_is_kept(drift in drifts(), steps in steps(false)) {
        run(Kind::Rate, 34, &drift, &steps)?;
    }

    #[test]
    fn sessions_never_exceed_the_homes_in_the_engine(drift in drifts(), steps in steps(true)) {
        run(Kind::Session, 0, &drift, &steps)?;
    }
}
