//! The plan: every call that will be offered, drawn before the first is sent. PURE.
//!
//! Each sort of chance has dice of its own: other hold times leave the arrivals as they were.

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::arrivals::{Profile, Spacing, bursts};
use crate::num;
use crate::scenario::{Arrivals, Scenario};
use crate::trace::Recorded;

/// The most calls of one plan.
pub const CALLS_MAX: usize = 50_000_000;

/// One call that will be offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call {
    /// When, in nanoseconds since the run began.
    pub at: u64,
    /// From its admission to its release, in nanoseconds.
    pub hold: u64,
    /// From its admission to its CONFIRM; the largest value for never.
    pub ring: u64,
    /// Its trunk: a position in [`Plan::trunks`].
    pub trunk: u16,
    /// It is asked about a second time.
    pub retransmitted: bool,
    /// It is never released.
    pub release_lost: bool,
}

/// All calls of a run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// In the order of their times.
    pub calls: Vec<Call>,
    /// Trunk names. Empty: calls name none.
    pub trunks: Vec<String>,
    /// How long a call is asked about a second time after the first, in nanoseconds.
    pub retransmit_after: u64,
}

/// Why there is no plan.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum PlanError {
    /// More calls than a plan may hold.
    #[error(
        "about {expected:.0} calls would be drawn; a plan holds {CALLS_MAX} at most: lower the rate or the seconds"
    )]
    TooMany {
        /// How many.
        expected: f64,
    },
}

impl Plan {
    /// Draws it. `recorded` is what the trace of a scenario holds that replays one.
    ///
    /// # Errors
    /// [`PlanError::TooMany`].
    pub fn draw(scenario: &Scenario, recorded: &[Recorded]) -> Result<Self, PlanError> {
        let dice = |stream: u64| SmallRng::seed_from_u64(scenario.seed.wrapping_mul(1_000_003).wrapping_add(stream));
        let mut arrivals = dice(1);
        let seconds = scenario.seconds;
        let mut drawn = |profile: Profile, spacing, more: f64| {
            let expected = profile.expected() + more;
            if expected * 1.1 > num::float_len(CALLS_MAX) {
                Err(PlanError::TooMany { expected })
            } else {
                Ok(profile.draw(spacing, &mut arrivals))
            }
        };
        let instants = match &scenario.arrivals {
            Arrivals::Poisson { rate } => drawn(Profile::steady(*rate, seconds), Spacing::Poisson, 0.0)?,
            Arrivals::Constant { rate } => drawn(Profile::steady(*rate, seconds), Spacing::Constant, 0.0)?,
            Arrivals::Steps { steps, spacing } => drawn(Profile::steps(steps, seconds), *spacing, 0.0)?,
            Arrivals::Ramp { from, to, spacing } => drawn(Profile::ramp(*from, *to, seconds), *spacing, 0.0)?,
            Arrivals::Bursts { burst, every, rate } => {
                let more = f64::from(*burst) * seconds.seconds() / every.seconds();
                let mut instants = drawn(Profile::steady(*rate, seconds), Spacing::Poisson, more)?;
                instants.extend(bursts(*burst, *every, seconds));
                instants.sort_unstable();
                instants
            }
            Arrivals::Trace { speed, .. } => {
                let scaled = recorded.iter().map(|call| num::whole(num::float(call.at) / speed));
                scaled.take_while(|at| *at < seconds.0).collect()
            }
            Arrivals::Closed { .. } => Vec::new(),
        };
        Ok(Self::of(scenario, recorded, &instants, [dice(2), dice(3), dice(4), dice(5)]))
    }

    fn of(scenario: &Scenario, recorded: &[Recorded], instants: &[u64], dice: [SmallRng; 4]) -> Self {
        let [mut holds, mut rings, mut chance, mut shares] = dice;
        let calls = &scenario.calls;
        let mut trunks: Vec<String> = calls.trunks.keys().cloned().collect();
        trunks.extend(recorded.iter().filter_map(|call| call.trunk.clone()));
        trunks.sort_unstable();
        trunks.dedup();
        let weights: Vec<f64> = trunks.iter().map(|name| calls.trunks.get(name).copied().unwrap_or(0.0)).collect();
        let mut percent = |percent: f64| chance.random::<f64>() * 100.0 < percent;
        let planned = instants.iter().enumerate().map(|(position, at)| {
            let known = recorded.get(position);
            let (hold, drawn_trunk) = (calls.hold.draw(&mut holds), pick(&weights, shares.random::<f64>()));
            let named = known.and_then(|call| call.trunk.as_ref()).and_then(|name| trunks.binary_search(name).ok());
            let hold = known.and_then(|call| call.hold).unwrap_or(hold);
            let retransmitted = percent(calls.retransmit_percent);
            Call {
                at: *at,
                hold,
                ring: calls.ring.map_or(u64::MAX, |ring| ring.draw(&mut rings)),
                trunk: u16::try_from(named.unwrap_or(drawn_trunk)).unwrap_or(0),
                // Nobody asks again about a call that is over.
                retransmitted: retransmitted && calls.retransmit_after.0 < hold,
                release_lost: percent(calls.lost_release_percent),
            }
        });
        Self { calls: planned.collect(), trunks: trunks.clone(), retransmit_after: calls.retransmit_after.0 }
    }

    /// The trunk that this call names, if calls name one.
    #[must_use]
    pub fn trunk(&self, call: &Call) -> Option<&str> {
        self.trunks.get(usize::from(call.trunk)).map(String::as_str)
    }

    /// A number that two plans share if they offer the same calls: FNV-1a of all of them.
    #[must_use]
    pub fn digest(&self) -> u64 {
        self.calls
            .iter()
            .flat_map(|call| {
                let marks =
                    u64::from(call.trunk) << 2 | u64::from(call.retransmitted) << 1 | u64::from(call.release_lost);
                [call.at, call.hold, call.ring, marks]
            })
            .flat_map(u64::to_le_bytes)
            .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
    }
}

/// The position that a uniform number in [0, 1) falls on, by weight.
fn pick(weights: &[f64], uniform: f64) -> usize {
    let mut left = uniform * weights.iter().sum::<f64>();
    for (position, weight) in weights.iter().enumerate() {
        if left < *weight {
            return position;
        }
        left -= weight;
    }
    0
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::trace;

    fn scenario(rest: &str) -> Scenario {
        let text = format!("seconds = 10\n{rest}");
        Scenario::parse(&text, Path::new("test.toml")).unwrap()
    }

    #[test]
    fn the_same_seed_offers_the_same_calls_and_another_one_others() {
        let text = "[arrivals]\nshape = \"poisson\"\nrate = 100\n";
        let plan = Plan::draw(&scenario(text), &[]).unwrap();
        assert_eq!(plan, Plan::draw(&scenario(text), &[]).unwrap());
        let other = Plan::draw(&scenario(&format!("seed = 2\n{text}")), &[]).unwrap();
        assert_ne!(plan.digest(), other.digest());
    }

    #[test]
    fn other_hold_times_leave_the_arrivals_as_they_were() {
        let at = |rest: &str| {
            let text = format!("[arrivals]\nshape = \"poisson\"\nrate = 100\n[calls]\n{rest}");
            Plan::draw(&scenario(&text), &[]).unwrap().calls.iter().map(|call| call.at).collect::<Vec<_>>()
        };
        assert_eq!(at(""), at("hold = { dist = \"fixed\", time = \"1s\" }\nretransmit_percent = 50"));
    }

    #[test]
    fn retransmissions_lost_releases_and_trunks_have_their_shares() {
        let text = "[arrivals]\nshape = \"constant\"\nrate = 1000\n[calls]\nretransmit_percent = 10\nhold = { dist = \"fixed\", time = 3 }\nlost_release_percent = 2\ntrunks = { a = 3, b = 1 }\n";
        let plan = Plan::draw(&scenario(text), &[]).unwrap();
        let share = |held: &dyn Fn(&Call) -> bool| plan.calls.iter().filter(|call| held(call)).count();
        assert_eq!(plan.calls.len(), 10_000);
        assert!(share(&|call| call.retransmitted).abs_diff(1000) < 120);
        assert!(share(&|call| call.release_lost).abs_diff(200) < 60);
        assert!(share(&|call| plan.trunk(call) == Some("a")).abs_diff(7500) < 200);
    }

    #[test]
    fn a_burst_lies_over_its_background() {
        let text = "[arrivals]\nshape = \"bursts\"\nburst = 50\nevery = \"5s\"\nrate = 10\n";
        let plan = Plan::draw(&scenario(text), &[]).unwrap();
        assert_eq!(plan.calls.iter().filter(|call| call.at == 2_500_000_000).count(), 50);
        assert!(plan.calls.len() > 150 && plan.calls.is_sorted_by_key(|call| call.at));
    }

    #[test]
    fn a_trace_is_replayed_with_what_it_knows_and_at_the_speed_that_was_asked_for() {
        let recorded = trace::parse("0\n1,7\n2,,b\n30\n").unwrap();
        let text = "[arrivals]\nshape = \"trace\"\nfile = \"x\"\nspeed = 2\n[calls]\nhold = { dist = \"fixed\", time = 1 }\ntrunks = { a = 1 }\n";
        let plan = Plan::draw(&scenario(text), &recorded).unwrap();
        let seen: Vec<_> = plan.calls.iter().map(|call| (call.at, call.hold, plan.trunk(call).unwrap())).collect();
        assert_eq!(
            seen,
            [(0, 1_000_000_000, "a"), (500_000_000, 7_000_000_000, "a"), (1_000_000_000, 1_000_000_000, "b")]
        );
    }

    #[test]
    fn more_calls_than_a_plan_holds_are_refused_before_they_are_drawn() {
        let error = Plan::draw(&scenario("[arrivals]\nshape = \"constant\"\nrate = 9e6\n"), &[]).unwrap_err();
        assert_eq!(error, PlanError::TooMany { expected: 9e7 });
    }
}
