//! A pair under whatever schedule: packets lost, doubled, overtaken and late, both nodes killed at any point with only the
//! durable part surviving, clocks that drift within the error.
//!
//! After every step: I1 (and with it I3, I4), I2, I5.

use proptest::prelude::*;

use super::world::{MS, World, name, rate, session};
use crate::cluster::*;
use crate::units::NANOS_PER_SECOND;

/// Something that happens.
#[derive(Debug, Clone, Copy)]
pub(super) enum Step {
    /// Time passes, in milliseconds; tasks run.
    Pass(u16),
    /// Time passes; tasks don't run.
    Stall(u16),
    /// So many calls are offered at a node.
    Calls(usize, u8),
    /// So many sessions end at a node.
    Ends(usize, u8),
    /// A packet arrives; which, counted modulo those under way.
    Arrive(u8),
    /// It arrives, and will once more.
    Double(u8),
    Lose(u8),
    /// A node's batch is durable.
    Write(usize),
    Crash(usize),
    /// Both write, all arrives, tasks run, for so many milliseconds.
    Calm(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let node = 0..2_usize;
    let step = prop_oneof![
        4 => (1..60_u16).prop_map(Step::Pass),
        1 => (100..2600_u16).prop_map(Step::Pass),
        1 => (1..2600_u16).prop_map(Step::Stall),
        5 => (node.clone(), 1..40_u8).prop_map(|(node, calls)| Step::Calls(node, calls)),
        2 => (node.clone(), 1..40_u8).prop_map(|(node, calls)| Step::Ends(node, calls)),
        8 => any::<u8>().prop_map(Step::Arrive),
        2 => any::<u8>().prop_map(Step::Double),
        1 => any::<u8>().prop_map(Step::Lose),
        5 => node.clone().prop_map(Step::Write),
        1 => node.prop_map(Step::Crash),
        4 => (1..80_u8).prop_map(Step::Calm),
    ];
    prop::collection::vec(step, 20..160)
}

pub(super) fn take(world: &mut World, step: Step) {
    let packet = |world: &World, pick: u8| (!world.wire.is_empty()).then(|| usize::from(pick) % world.wire.len());
    match step {
        Step::Pass(ms) => {
            world.now += u64::from(ms) * MS;
            world.wake(0);
            world.wake(1);
        }
        Step::Stall(ms) => world.now += u64::from(ms) * MS,
        Step::Calls(node, calls) => (0..calls).for_each(|_| {
            world.offer(node, 0);
        }),
        Step::Ends(node, calls) => (0..calls).for_each(|_| world.end(node, 0)),
        Step::Arrive(pick) => {
            if let Some(place) = packet(world, pick) {
                let packet = world.wire.remove(place);
                world.deliver(packet);
            }
        }
        Step::Double(pick) => {
            if let Some(place) = packet(world, pick) {
                let packet = world.wire[place].clone();
                world.deliver(packet);
            }
        }
        Step::Lose(pick) => {
            if let Some(place) = packet(world, pick) {
                world.wire.remove(place);
            }
        }
        Step::Write(node) => world.persist(node),
        Step::Crash(node) => {
            world.crash(node);
            world.start(node);
        }
        Step::Calm(ms) => world.run(u64::from(ms), 1),
    }
    // A wire that holds everything for ever tests nothing but memory.
    let many = world.wire.len().saturating_sub(60);
    world.wire.drain(..many);
}

/// I1, I2, I5.
pub(super) fn check(world: &mut World) -> Result<(), String> {
    let units = world.resources[0].id.kind.units_per_license();
    let is_rate = world.resources[0].id.kind == Kind::Rate;
    let (mut claims, mut homes) = (0, 0);
    for node in 0..2 {
        let limit = world.limit(node, 0);
        let now = world.now;
        let recent = |at: u64| at + NANOS_PER_SECOND > now;
        let real = if is_rate {
            u32::try_from(world.admitted.iter().filter(|(at, by, _)| *by == node && recent(*at)).count()).unwrap()
        } else {
            world.calls[node][0]
        };
        claims += limit.max(real);
        let engine = &world.node(node).cluster;
        let sums = engine.inspect_sums(ResourceIndex(0));
        homes += u32::try_from(sums.home).unwrap() * units;
        if sums.out + sums.limbo > sums.home {
            return Err(format!("I5: node {node} lends more than its own: {sums:?}"));
        }
    }
    if claims > homes {
        return Err(format!("I1: {claims} of {homes}"));
    }
    for (lender, borrower) in [(0, 1), (1, 0)] {
        let (l, b) = (&world.node(lender).cluster.clone(), &world.node(borrower).cluster.clone());
        let lent = l.inspect_pair(ResourceIndex(0), &name(borrower));
        let held = b.inspect_pair(ResourceIndex(0), &name(lender));
        let same = held.linc == l.ledger().inc && lent.binc == b.ledger().inc;
        let over = is_rate && held.ends.is_some_and(|ends| ends <= world.local(borrower));
        if same && !over && held.hold > lent.out.plus(lent.reclaimed) {
            return Err(format!("I2: {borrower} holds {held:?}, {lender} says {lent:?}"));
        }
    }
    Ok(())
}

fn run(resource: Resource, drift: [i64; 2], steps: &[Step]) -> Result<(), TestCaseError> {
    let mut world = World::new(&[6, 6], vec![resource], Rules::default());
    world.drift = drift.to_vec();
    world.start_all();
    for (place, step) in steps.iter().enumerate() {
        take(&mut world, *step);
        check(&mut world).map_err(|text| TestCaseError::fail(format!("{text} after step {place}, {step:?}")))?;
    }
    // I10: whatever happened, all comes home once it is calm.
    for node in 0..2 {
        while world.calls[node][0] > 0 && world.resources[0].id.kind == Kind::Session {
            world.end(node, 0);
        }
    }
    world.run(7000, 2);
    let units = world.resources[0].id.kind.units_per_license();
    prop_assert_eq!([world.limit(0, 0), world.limit(1, 0)], [6 * units, 6 * units]);
    Ok(())
}

fn drifts() -> impl Strategy<Value = [i64; 2]> {
    [-1000..=1000_i64, -1000..=1000_i64]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 120, ..ProptestConfig::default() })]

    #[test]
    fn a_pair_never_admits_more_calls_per_second_than_it_holds(drift in drifts(), steps in steps()) {
        run(rate(Class::Hard), drift, &steps)?;
    }

    #[test]
    fn a_pair_never_has_more_sessions_than_it_holds(drift in drifts(), steps in steps()) {
        run(session(Class::Hard), drift, &steps)?;
    }

    #[test]
    fn a_pair_never_has_more_licensed_sessions_than_it_holds(drift in drifts(), steps in steps()) {
        run(session(Class::License), drift, &steps)?;
    }
}
