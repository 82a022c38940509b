//! A deterministic simulator of the cluster: the real [`Cluster`](callgate::cluster::Cluster) at each of a few nodes, over the
//! product's real limits, on clocks, disks and a wire that a seed commands.
//!
//! ```text
//! cargo test --profile ci --no-default-features --test sim                      a bounded number of seeds, and the mutants
//! CALLGATE_SIM_SEEDS=100000 cargo test ... --test sim seeds                     so many
//! CALLGATE_SIM_FROM=17 CALLGATE_SIM_SEEDS=1 cargo test ... --test sim seeds     seed 17 alone; CALLGATE_SIM_TELL=1 prints its course
//! CALLGATE_SIM_NODES=1000 CALLGATE_SIM_SEEDS=1 cargo test ... --test sim seeds  the seed's story with so many nodes
//! CALLGATE_SIM_MUTANTS=1000 cargo test ... --test sim mutant                    each mutant on so many seeds
//! cargo test --release ... --test sim figures -- --ignored --nocapture          the figures of benches/README.md
//! ```
//!
//! | file | what it holds |
//! |---|---|
//! | `story` | what a seed makes: a setting, and what happens |
//! | `world`, `happens`, `host`, `wire`, `calls`, `backend`, `desk` | the world that it happens in |
//! | `law` | the invariants, after each step |
//! | `course` | the storm, the calm after it, and what must hold then |
//! | `shrink` | the shortest story that still breaks the law |
//! | `mutants` | each rule left out: some seed must notice |
//! | `figures` | how much of what is held is used, and what that costs |
//!
//! What must stay true: one seed has one course. Each is told twice, and the traces are compared.
#![expect(
    clippy::unwrap_used,
    clippy::as_conversions,
    clippy::wildcard_enum_match_arm,
    unreachable_pub,
    reason = "a test that can't go on says so by failing, and looks at what it is about"
)]

mod backend;
mod calls;
mod course;
mod desk;
mod dice;
mod figures;
mod happens;
mod host;
mod law;
mod mutants;
mod shrink;
mod story;
mod wire;
mod world;

use std::sync::atomic::{AtomicU64, Ordering};

use callgate::cluster::Rules;

/// Seeds that every run tells.
const SEEDS: u64 = 400;

/// A number from the environment.
fn asked(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Looks for the first seed, of so many, that `finds` something, on all cores.
fn first_of<T: Send>(from: u64, count: u64, finds: impl Fn(u64) -> Option<T> + Sync) -> Option<(u64, T)> {
    let next = AtomicU64::new(from);
    let end = AtomicU64::new(from + count);
    let threads = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    let mut found = Vec::new();
    std::thread::scope(|scope| {
        let search = || {
            let mut found = Vec::new();
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= end.load(Ordering::Relaxed) {
                    return found;
                }
                if let Some(what) = finds(seed) {
                    end.fetch_min(seed, Ordering::Relaxed);
                    found.push((seed, what));
                }
            }
        };
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(search)).collect();
        for thread in threads {
            found.extend(thread.join().unwrap());
        }
    });
    found.into_iter().min_by_key(|(seed, _)| *seed)
}

fn told(seed: u64) -> story::Story {
    match asked("CALLGATE_SIM_NODES") {
        Some(nodes) => story::with_nodes(seed, usize::try_from(nodes).unwrap()),
        None => story::story(seed),
    }
}

#[test]
fn seeds_keep_every_law_and_repeat_themselves() {
    let from = asked("CALLGATE_SIM_FROM").unwrap_or(0);
    let count = asked("CALLGATE_SIM_SEEDS").unwrap_or(SEEDS);
    let steps = AtomicU64::new(0);
    let broken = first_of(from, count, |seed| {
        let story = told(seed);
        let outcome = course::tell(&story, &Rules::default(), false);
        steps.fetch_add(outcome.counts.steps, Ordering::Relaxed);
        if outcome.broken.is_some() {
            return outcome.broken;
        }
        let again = course::tell(&story, &Rules::default(), false);
        (again.trace != outcome.trace).then(|| "determinism: two runs of one story differ".to_owned())
    });
    println!("{count} seeds from {from}, {} steps, each told twice", steps.load(Ordering::Relaxed));
    if let Some((seed, law)) = broken {
        let short = shrink::shortest(&told(seed), &Rules::default());
        let still = course::tell(&short, &Rules::default(), asked("CALLGATE_SIM_TELL").is_some()).broken;
        panic!(
            "seed {seed} breaks a law: {law}\nthe shortest story that does ({}):\n{short}\nagain: CALLGATE_SIM_FROM={seed} \
             CALLGATE_SIM_SEEDS=1 cargo test --profile ci --no-default-features --test sim seeds",
            still.unwrap_or_default()
        );
    }
}

#[test]
fn sessions_that_come_home_to_a_lender_that_is_killed_are_there_once() {
    for seed in 0..20 {
        let story = story::homecoming(seed);
        assert_eq!(course::tell(&story, &Rules::default(), false).broken, None, "seed {seed} of homecoming");
    }
}
