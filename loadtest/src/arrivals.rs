//! When calls arrive. PURE: a shape, a length and randomness in, instants out.
//!
//! All of them are drawn before the first is sent, so that a slow answer cannot move the next question (an open loop). Even and
//! random spacing are one thing: a process of rate one, whose gaps are 1 or exponential, stretched so that it has the rate of
//! each moment (time change: the inverse of the integrated rate).

use rand::Rng;
use serde::Deserialize;

use crate::num;
use crate::span::Span;

/// How far apart the calls of one rate are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Spacing {
    /// At random, as calls of many independent callers are.
    #[default]
    Poisson,
    /// Evenly.
    Constant,
}

/// One step: a rate that holds for a while.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// Calls per second.
    pub rate: f64,
    /// How long.
    pub seconds: Span,
}

/// A stretch of time over which the rate changes evenly from one value to another.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Piece {
    seconds: f64,
    from: f64,
    to: f64,
}

impl Piece {
    /// Calls expected in it.
    fn calls(self) -> f64 {
        self.seconds * f64::midpoint(self.from, self.to)
    }

    /// When in it so many calls have come, in expectation: the inverse of `from * t + (to - from) / (2 * seconds) * t^2`.
    fn when(self, calls: f64) -> f64 {
        let slope = (self.to - self.from) / self.seconds;
        // The stable form of the quadratic's root; it holds for a slope of zero too.
        let root = (self.from * self.from + 2.0 * slope * calls).max(0.0).sqrt();
        let speed = self.from + root;
        if speed > 0.0 { (2.0 * calls / speed).min(self.seconds) } else { self.seconds }
    }
}

/// A rate over time, piece by piece. The last piece goes on for as long as the run does if it says so.
#[derive(Debug, Clone, PartialEq)]
pub struct Profile(Vec<Piece>);

impl Profile {
    /// The same rate throughout.
    #[must_use]
    pub fn steady(rate: f64, seconds: Span) -> Self {
        Self::ramp(rate, rate, seconds)
    }

    /// From one rate to another, evenly.
    #[must_use]
    pub fn ramp(from: f64, to: f64, seconds: Span) -> Self {
        Self(vec![Piece { seconds: seconds.seconds(), from, to }])
    }

    /// One rate after another; from the beginning again when the last is over, until `seconds` are.
    #[must_use]
    pub fn steps(steps: &[Step], seconds: Span) -> Self {
        let round: f64 = steps.iter().map(|step| step.seconds.seconds()).sum();
        let mut pieces = Vec::new();
        let mut left = seconds.seconds();
        if round > 0.0 {
            for step in steps.iter().cycle().filter(|step| step.seconds.0 > 0) {
                let length = step.seconds.seconds().min(left);
                if length <= 0.0 {
                    break;
                }
                pieces.push(Piece { seconds: length, from: step.rate, to: step.rate });
                left -= length;
            }
        }
        Self(pieces)
    }

    /// Calls expected in all.
    #[must_use]
    pub fn expected(&self) -> f64 {
        self.0.iter().map(|piece| piece.calls()).sum()
    }

    /// The instants, in order, in nanoseconds.
    #[must_use]
    pub fn draw(&self, spacing: Spacing, rng: &mut impl Rng) -> Vec<u64> {
        let mut instants = Vec::with_capacity(num::index(num::whole(self.expected() * 1.01)));
        let (mut began, mut before) = (0.0, 0.0);
        // Half a gap before the first: evenly spaced calls then fill the time evenly.
        let mut next = gap(spacing, rng) * if spacing == Spacing::Constant { 0.5 } else { 1.0 };
        for piece in &self.0 {
            let calls = piece.calls();
            while next <= before + calls && calls > 0.0 {
                instants.push(num::whole((began + piece.when(next - before)) * 1e9));
                next += gap(spacing, rng);
            }
            began += piece.seconds;
            before += calls;
        }
        instants
    }
}

fn gap(spacing: Spacing, rng: &mut impl Rng) -> f64 {
    match spacing {
        // From (0, 1]: its logarithm is finite.
        Spacing::Poisson => -(1.0 - rng.random::<f64>()).ln(),
        Spacing::Constant => 1.0,
    }
}

/// `burst` calls at once every `every`, the first after half of it.
#[must_use]
pub fn bursts(burst: u32, every: Span, seconds: Span) -> Vec<u64> {
    let mut instants = Vec::new();
    let mut at = every.0 / 2;
    while at < seconds.0 && every.0 > 0 {
        instants.extend((0..burst).map(|_| at));
        at = at.saturating_add(every.0);
    }
    instants
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    use super::*;

    fn dice() -> SmallRng {
        SmallRng::seed_from_u64(7)
    }

    fn seconds(count: u64) -> Span {
        Span(count * crate::span::SECOND)
    }

    fn in_second(instants: &[u64], second: u64) -> usize {
        instants.iter().filter(|at| **at / crate::span::SECOND == second).count()
    }

    #[test]
    fn even_arrivals_have_the_same_gap_throughout() {
        let instants = Profile::steady(100.0, seconds(2)).draw(Spacing::Constant, &mut dice());
        assert_eq!(instants.len(), 200);
        assert_eq!(instants[0], 5_000_000);
        assert!(instants.windows(2).all(|pair| pair[1].abs_diff(pair[0] + 10_000_000) <= 1));
    }

    #[test]
    fn random_arrivals_have_their_mean_and_as_much_variance() {
        let instants = Profile::steady(1000.0, seconds(100)).draw(Spacing::Poisson, &mut dice());
        assert!(instants.len().abs_diff(100_000) < 1500, "{}", instants.len());
        assert!(instants.is_sorted());
        // Counts of a Poisson process vary as much as they are.
        let counts: Vec<f64> = (0..100).map(|second| num::float_len(in_second(&instants, second))).collect();
        let variance = counts.iter().map(|count| (count - 1000.0).powi(2)).sum::<f64>() / 100.0;
        assert!((500.0..2000.0).contains(&variance), "{variance}");
    }

    #[test]
    fn the_same_seed_draws_the_same_arrivals() {
        let draw = || Profile::steady(50.0, seconds(3)).draw(Spacing::Poisson, &mut dice());
        assert_eq!(draw(), draw());
    }

    #[test]
    fn a_ramp_has_the_rate_of_each_moment() {
        let instants = Profile::ramp(0.0, 100.0, seconds(10)).draw(Spacing::Constant, &mut dice());
        assert_eq!(instants.len(), 500);
        assert!(in_second(&instants, 0).abs_diff(5) <= 1 && in_second(&instants, 9).abs_diff(95) <= 1);
        let down = Profile::ramp(100.0, 0.0, seconds(10)).draw(Spacing::Constant, &mut dice());
        assert!(in_second(&down, 0).abs_diff(95) <= 1 && in_second(&down, 9).abs_diff(5) <= 1);
    }

    #[test]
    fn steps_follow_each_other_and_begin_again() {
        let steps = [Step { rate: 10.0, seconds: seconds(1) }, Step { rate: 40.0, seconds: seconds(2) }];
        let instants = Profile::steps(&steps, seconds(5)).draw(Spacing::Constant, &mut dice());
        let counts: Vec<usize> = (0..5).map(|second| in_second(&instants, second)).collect();
        assert_eq!(counts, [10, 40, 40, 10, 40]);
    }

    #[test]
    fn a_burst_comes_at_one_instant() {
        assert_eq!(bursts(3, seconds(2), seconds(4)), [1, 1, 1, 3, 3, 3].map(|second| second * crate::span::SECOND));
        assert!(bursts(3, seconds(0), seconds(4)).is_empty());
    }

    #[test]
    fn a_rate_of_zero_draws_nothing() {
        assert!(Profile::steady(0.0, seconds(5)).draw(Spacing::Poisson, &mut dice()).is_empty());
        assert!(Profile::steps(&[], seconds(5)).draw(Spacing::Constant, &mut dice()).is_empty());
    }
}
