//! How much of what is held is used, how soon, and what that costs: `cargo test --release --no-default-features --test sim
//! figures -- --ignored --nocapture`. Each row is told by one seed; the same command prints the same figures.

use callgate::cluster::{Class, Parameters, Rules};

use crate::desk::Limit;
use crate::dice::Dice;
use crate::story::{Happening, MS, SECOND, Setting, Shared, Story, Wire};
use crate::world::World;

/// Licenses at each node: 100 calls per second.
const HOME: u32 = 20;
const UNITS: u64 = 100;
/// Left out of the figures, and what they are about, in seconds.
const WARM_S: u64 = 4;
const MEASURED_S: u64 = 20;
/// The load moves to another node so often, in milliseconds.
const SHIFTS_MS: u64 = 5000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    Uniform,
    Skew,
    Shift,
}

fn quiet(nodes: usize, delay_us: (u64, u64), seed: u64) -> Story {
    let setting = Setting {
        seed,
        shared: vec![Shared::new("cps", Limit::Rate, Class::License)],
        homes: vec![vec![HOME]; nodes],
        drift: vec![0; nodes],
        params: Parameters { borrow_ahead_ms: if delay_us.1 > 10_000 { 120 } else { 60 }, ..Parameters::default() },
        wire: Wire::calm(delay_us),
        disk_us: (500, 2000),
        session_ms: 1000,
        lapsing: false,
        emergencies: 0,
        storm_ms: 0,
    };
    Story { setting, events: Vec::new() }
}

/// The part of the calls that are admitted at most (Erlang B), of `offered` Erlangs at so many units.
fn erlang_b(units: u64, offered: f64) -> f64 {
    let mut inverse = 1.0;
    for unit in 1..=units {
        inverse = 1.0 + unit as f64 / offered * inverse;
    }
    1.0 - 1.0 / inverse
}

struct Row {
    admitted: f64,
    of_best: f64,
    split: f64,
    messages: f64,
    kilobytes: f64,
}

/// Offers `load` times what all hold, in a shape, and measures.
fn offered(nodes: usize, shape: Shape, load: f64, delay_us: (u64, u64), events: &[(u64, Happening)]) -> Row {
    let mut story = quiet(nodes, delay_us, 7);
    story.events = events.to_vec();
    let mut world = World::new(story, Rules::default());
    let count = u64::try_from(nodes).unwrap();
    let total = load * (count * UNITS) as f64;
    let mut hot = 0;
    let begun = world.now + SECOND;
    world.run_until(begun);
    let mut before = (0, 0, world.counts);
    for slot in 0..(WARM_S + MEASURED_S) * 1000 / SHIFTS_MS + 1 {
        for node in 0..nodes {
            let part = match shape {
                Shape::Uniform => 1.0 / nodes as f64,
                Shape::Skew | Shape::Shift if node == hot => 0.9,
                Shape::Skew | Shape::Shift => 0.1 / (nodes - 1) as f64,
            };
            world.set_load(node, 0, (total * part).round() as u64);
        }
        if shape == Shape::Shift {
            hot = (hot + 1) % nodes;
        }
        let ends = begun + (slot + 1) * SHIFTS_MS * MS;
        if slot == 0 {
            world.run_until(begun + WARM_S * SECOND);
            before = (world.offered[0], world.admitted[0], world.counts);
        }
        world.run_until(ends.min(begun + (WARM_S + MEASURED_S) * SECOND));
    }
    assert_eq!(world.law.broken, None);
    let (offered, admitted) = (world.offered[0] - before.0, world.admitted[0] - before.1);
    let best = erlang_b(count * UNITS, total);
    let seconds = MEASURED_S as f64 * count as f64;
    let sent = (world.counts.messages + world.counts.datagrams) - (before.2.messages + before.2.datagrams);
    Row {
        admitted: admitted as f64 / (offered as f64).min((count * UNITS * MEASURED_S) as f64),
        of_best: admitted as f64 / (best * offered as f64),
        split: if shape == Shape::Uniform { erlang_b(UNITS, total / count as f64) / best } else { 0.0 },
        messages: sent as f64 / seconds,
        kilobytes: (world.counts.bytes - before.2.bytes) as f64 / 1000.0 / seconds,
    }
}

/// From the first refusal to the first borrowed unit, in round trips of `2 * delay`, and in milliseconds.
fn first_units(delay_us: (u64, u64), tries: u64) -> Vec<f64> {
    let mut times: Vec<f64> = (0..tries)
        .map(|seed| {
            let mut world = World::new(quiet(10, delay_us, seed), Rules::default());
            let mut dice = Dice::new(seed);
            let begun = world.now + 2 * SECOND + dice.below(SECOND);
            world.run_until(begun);
            let mut empty = None;
            loop {
                if !world.offer(0, 0) {
                    empty = empty.or(Some(world.now));
                }
                if world.hosts[0].limit(0, world.now) > HOME * 5 {
                    return (world.now - empty.unwrap_or(world.now)) as f64 / MS as f64;
                }
                let next = world.now + MS / 5;
                world.run_until(next);
            }
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times
}

fn says(name: &str, row: &Row) {
    let Row { admitted, of_best, split, messages, kilobytes } = row;
    println!("{name:<42} {admitted:>8.3} {of_best:>9.3} {split:>7.3} {messages:>9.0} {kilobytes:>8.1}");
    println!(
        "{{\"case\":\"{name}\",\"admitted\":{admitted:.4},\"of_erlang_b\":{of_best:.4},\"static_split\":{split:.4},\
         \"messages_per_node_second\":{messages:.1},\"kilobytes_per_node_second\":{kilobytes:.2}}}"
    );
}

/// A node that never lends is safe too: this says that lending pays. Where all nodes are as busy as they can be there is next to
/// nothing to lend, and what is on its way is out of use; still no worse than if nobody lent.
#[test]
fn a_cluster_serves_an_even_load_no_worse_than_a_static_split_and_a_skewed_one_nearly_as_one_node_would() {
    for load in [0.9, 1.0, 1.2] {
        let row = offered(10, Shape::Uniform, load, NEAR, &[]);
        assert!(row.of_best >= row.split, "even load of {load}: {:.3}, a static split {:.3}", row.of_best, row.split);
    }
    for (shape, least) in [(Shape::Skew, 0.97), (Shape::Shift, 0.955)] {
        let row = offered(10, shape, 1.0, NEAR, &[]);
        assert!(row.of_best >= least, "{shape:?}: {:.3} of what one node would admit", row.of_best);
    }
}

const NEAR: (u64, u64) = (1000, 5000);
const FAR: (u64, u64) = (1000, 50_000);

#[test]
#[ignore = "minutes, for people to read"]
fn figures() {
    let sizes: Vec<usize> = match crate::asked("CALLGATE_SIM_NODES") {
        Some(nodes) => vec![usize::try_from(nodes).unwrap()],
        None => vec![2, 10, 100],
    };
    println!("{:<42} {:>8} {:>9} {:>7} {:>9} {:>8}", "case", "admitted", "/Erlang B", "split", "msgs/n/s", "kB/n/s");
    for nodes in &sizes {
        for (wire, delay_us) in [("1-5 ms", NEAR), ("1-50 ms", FAR)] {
            for shape in [Shape::Uniform, Shape::Skew, Shape::Shift] {
                for load in [0.8, 0.9, 1.0, 1.2, 1.5] {
                    let row = offered(*nodes, shape, load, delay_us, &[]);
                    says(&format!("{nodes} nodes, {shape:?} {load}, {wire}"), &row);
                }
            }
        }
    }
    let halves = [(6000, Happening::Split { side: 0b11111 }), (21_000, Happening::Heal)];
    says("10 nodes, Shift 1.2, 1-50 ms, 15 s in halves", &offered(10, Shape::Shift, 1.2, FAR, &halves));
    let kills: Vec<(u64, Happening)> = (0..10_u64)
        .map(|at| (1000 + at * 2400, Happening::Kill { node: usize::try_from(at * 3 % 10).unwrap(), down_ms: 500 }))
        .collect();
    says("10 nodes, Shift 1.0, 1-50 ms, a kill each 2.4 s", &offered(10, Shape::Shift, 1.0, FAR, &kills));
    for (wire, delay_us) in [("1-5 ms", NEAR), ("1-50 ms", FAR)] {
        let times = first_units(delay_us, 100);
        println!(
            "empty to first borrowed unit, {wire}: median {:.1} ms, 99 % {:.1} ms (mean round trip {} ms, longest {})",
            times[50],
            times[98],
            (delay_us.0 + delay_us.1) / 1000,
            delay_us.1 * 2 / 1000
        );
    }
}
