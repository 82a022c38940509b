//! How long a call lasts from its admission to its release. PURE.

use rand::Rng;
use serde::Deserialize;

use crate::num;
use crate::span::Span;

/// The distribution of hold times.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(tag = "dist", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Hold {
    /// As telephone traffic is modeled since Erlang.
    Exponential {
        /// The mean.
        mean: Span,
    },
    /// As measured calls are: many short ones, few very long ones.
    LogNormal {
        /// Half of all calls are shorter.
        median: Span,
        /// The standard deviation of the logarithm: 0 for all alike, 1 to 1.5 for telephone calls.
        sigma: f64,
    },
    /// All alike.
    Fixed {
        /// How long.
        time: Span,
    },
}

impl Default for Hold {
    fn default() -> Self {
        Self::Exponential { mean: Span(3 * crate::span::SECOND) }
    }
}

impl Hold {
    /// One call's, in nanoseconds.
    pub fn draw(self, rng: &mut impl Rng) -> u64 {
        // From (0, 1]: its logarithm is finite.
        let mut uniform = || 1.0 - rng.random::<f64>();
        match self {
            Self::Exponential { mean } => num::whole(-uniform().ln() * num::float(mean.0)),
            Self::LogNormal { median, sigma } => {
                // Box and Muller, 1958.
                let normal = (-2.0 * uniform().ln()).sqrt() * (std::f64::consts::TAU * uniform()).cos();
                num::whole((sigma * normal).exp() * num::float(median.0))
            }
            Self::Fixed { time } => time.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    use super::*;

    fn drawn(hold: Hold) -> Vec<f64> {
        let mut rng = SmallRng::seed_from_u64(3);
        let mut times: Vec<f64> = (0..20_001).map(|_| Span(hold.draw(&mut rng)).seconds()).collect();
        times.sort_by(f64::total_cmp);
        times
    }

    #[test]
    fn exponential_times_have_their_mean_and_its_median() {
        let times = drawn(Hold::Exponential { mean: Span(2_000_000_000) });
        let mean = times.iter().sum::<f64>() / num::float_len(times.len());
        assert!((1.94..2.06).contains(&mean), "{mean}");
        assert!((1.33..1.44).contains(&times[10_000]), "{}", times[10_000]);
    }

    #[test]
    fn log_normal_times_have_their_median_and_spread() {
        let times = drawn(Hold::LogNormal { median: Span(2_000_000_000), sigma: 1.0 });
        assert!((1.94..2.06).contains(&times[10_000]), "{}", times[10_000]);
        // One standard deviation above: a factor of e.
        let above = times[16_827] / times[10_000];
        assert!((2.55..2.9).contains(&above), "{above}");
    }

    #[test]
    fn fixed_times_are_all_alike() {
        assert!(drawn(Hold::Fixed { time: Span(500_000_000) }).iter().all(|time| (*time - 0.5).abs() < 1e-9));
    }
}
