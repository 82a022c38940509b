//! A deterministic simulator of the cluster: the real [`Cluster`](callgate::cluster::Cluster) at each of a few nodes, over the
//! product's real limits, on clocks, disks and a wire that a seed commands.
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
mod host;
mod law;
mod shrink;
mod story;
mod wire;
mod world;

use callgate::cluster::Rules;

#[test]
fn seeds() {
    let from: u64 = std::env::var("CALLGATE_SIM_SEED").ok().and_then(|t| t.parse().ok()).unwrap_or(0);
    let count: u64 = std::env::var("CALLGATE_SIM_SEEDS").ok().and_then(|t| t.parse().ok()).unwrap_or(50);
    let begun = std::time::Instant::now();
    let mut steps = 0;
    for seed in from..from + count {
        let story = story::story(seed);
        let outcome = course::tell(&story, &Rules::default(), false);
        steps += outcome.counts.steps;
        if let Some(broken) = outcome.broken {
            println!("{seed}: {broken}");
            if count == 1 || std::env::var("SHRINK").is_ok() {
                let short = shrink::shortest(&story, &Rules::default());
                println!("{:?}", course::tell(&short, &Rules::default(), std::env::var("TELL").is_ok()).broken);
                println!("{short}");
            }
        }
    }
    println!("{steps} steps, {:?}", begun.elapsed());
}
