//! The calls that are offered: when, where, for how long. Drawn from a seed: the same seed offers the same calls.
//!
//! Arrivals are a Poisson process per node, its rate changing as the hot spot moves; the caller hears ringing for a while,
//! and then talks for a time that is exponential, as telephone traffic is modeled since Erlang.

use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

/// The shortest and longest time to an answer.
const RING: (f64, f64) = (0.1, 0.6);
/// The mean time of a call from answer to end, in seconds.
const TALK_MEAN: f64 = 1.5;

/// Where how many calls come.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Plan {
    /// How many nodes there are.
    pub(super) nodes: usize,
    /// Calls per second at the busy node.
    pub(super) busy_rate: f64,
    /// Calls per second at each other one.
    pub(super) quiet_rate: f64,
    /// How long a node stays the busy one.
    pub(super) shift: Duration,
}

impl Plan {
    /// Which node is busy at that time from the beginning.
    pub(super) fn busy(&self, at: Duration) -> usize {
        let turn = at.as_nanos() / self.shift.as_nanos().max(1);
        usize::try_from(turn).unwrap_or(0) % self.nodes.max(1)
    }

    fn rate(&self, node: usize, at: Duration) -> f64 {
        if self.busy(at) == node { self.busy_rate } else { self.quiet_rate }
    }
}

/// One call that will be offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Call {
    /// When, from the beginning.
    pub(super) at: Duration,
    /// From its admission to its answer.
    pub(super) rings: Duration,
    /// From its answer to its end.
    pub(super) talks: Duration,
}

/// The calls of one node, in order, without an end.
#[derive(Debug)]
pub(super) struct Arrivals {
    plan: Plan,
    node: usize,
    rng: SmallRng,
    at: Duration,
}

impl Arrivals {
    pub(super) fn new(plan: Plan, node: usize, seed: u64) -> Self {
        // Nodes have streams of their own, so that one that is slow doesn't change what others are offered.
        let stream = u64::try_from(node).unwrap_or(0);
        let rng = SmallRng::seed_from_u64(seed.wrapping_mul(1_000_003).wrapping_add(stream));
        Self { plan, node, rng, at: Duration::ZERO }
    }

    fn exponential(&mut self, mean: f64) -> Duration {
        // From (0, 1]: its logarithm is finite.
        let uniform = 1.0 - self.rng.random::<f64>();
        Duration::from_secs_f64(-uniform.ln() * mean)
    }

    /// The next call. Thinning (Lewis and Shedler, 1979): drawn at the highest rate, kept with the part that the rate of
    /// that moment has of it.
    pub(super) fn next(&mut self) -> Call {
        let most = self.plan.busy_rate.max(self.plan.quiet_rate);
        loop {
            let gap = self.exponential(1.0 / most);
            self.at += gap;
            if self.rng.random::<f64>() * most < self.plan.rate(self.node, self.at) {
                break;
            }
        }
        let rings = Duration::from_secs_f64(self.rng.random_range(RING.0..RING.1));
        Call { at: self.at, rings, talks: self.exponential(TALK_MEAN) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAN: Plan = Plan { nodes: 3, busy_rate: 270.0, quiet_rate: 15.0, shift: Duration::from_secs(5) };

    fn offered(node: usize, from: u64, to: u64) -> usize {
        let mut arrivals = Arrivals::new(PLAN, node, 1);
        let calls = std::iter::repeat_with(|| arrivals.next().at).take_while(|at| *at < Duration::from_secs(to));
        calls.filter(|at| *at >= Duration::from_secs(from)).count()
    }

    #[test]
    fn the_same_seed_offers_the_same_calls_and_another_one_others() {
        let calls = |seed| {
            let mut arrivals = Arrivals::new(PLAN, 0, seed);
            std::iter::repeat_with(move || arrivals.next()).take(100).collect::<Vec<_>>()
        };
        assert_eq!(calls(7), calls(7));
        assert_ne!(calls(7), calls(8));
    }

    #[test]
    fn each_node_is_the_busy_one_in_turn() {
        assert_eq!([0, 4, 5, 10, 15].map(|s| PLAN.busy(Duration::from_secs(s))), [0, 0, 1, 2, 0]);
        // Five standard deviations: 1350 and 75 calls are expected.
        assert!((1166..=1534).contains(&offered(1, 5, 10)), "{}", offered(1, 5, 10));
        assert!((32..=118).contains(&offered(1, 0, 5)), "{}", offered(1, 0, 5));
    }
}
