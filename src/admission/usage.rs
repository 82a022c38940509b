//! What is used of each license, for the licensing agent: now, and at most since it last asked.

use super::gate::Gate;
use super::record::Journal;
use crate::sync::Ordering;
use crate::units::Now;

/// What is used of what licenses cover.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Usage {
    /// Calls of the last second.
    pub rate: Used,
    /// Units of each session type, in the order of the policy.
    pub types: Vec<(String, Used)>,
}

/// Units in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Used {
    /// Now.
    pub now: u32,
    /// The most since the last look, at least `now`.
    pub peak: u32,
}

impl<J: Journal> Gate<J> {
    /// What is used, and the peaks since the last call of this, which begin anew. For one reader: the licensing driver.
    pub fn take_usage(&self, now: Now) -> Usage {
        let used = self.settings().rate.used(now.tick).used;
        // Relaxed: a peak guards nothing.
        let peak = self.rate_peak_since_look.swap(used, Ordering::Relaxed).max(used);
        let types = self.resources.types.take_usage();
        Usage {
            rate: Used { now: used, peak },
            types: types.map(|(name, now, peak)| (name.to_owned(), Used { now, peak })).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::{Admit, Bounds, CallId, LicenseType, Name, Policy, Request, Tier};
    use crate::units::{HashKey, Tick, UnixMillis};

    fn gate() -> Gate<()> {
        let tier = |rank| Some(Tier { family: "agents".to_owned(), rank });
        let of =
            |name: &str, rank| LicenseType { name: name.to_owned(), count: Some(5), overage: true, tier: tier(rank) };
        let policy = Policy {
            license_types: vec![of("standard", 1), of("premium", 2)],
            default_type_call: Some(0),
            ..Policy::default()
        };
        Gate::new(policy, Bounds::default(), HashKey::from_bytes([7; 16]), 1, vec![()])
    }

    fn at(millis: u64) -> Now {
        Now { tick: Tick::from_secs(10).plus_millis(millis), wall: UnixMillis(0) }
    }

    #[test]
    fn a_peak_between_two_looks_is_seen_by_the_next_one_and_by_no_other() {
        let gate = gate();
        for number in 0..4_u8 {
            gate.admit(&Admit::call(CallId::new(&[b'a' + number]).unwrap()), at(0));
        }
        let premium =
            Admit { license_type: Some(Name::new(b"premium").unwrap()), ..Admit::call(CallId::new(b"p").unwrap()) };
        gate.admit(&premium, at(0));
        let seen = gate.take_usage(at(10));
        assert_eq!(seen.rate, Used { now: 5, peak: 5 });
        assert_eq!(
            seen.types,
            [("standard".to_owned(), Used { now: 4, peak: 4 }), ("premium".to_owned(), Used { now: 1, peak: 1 })]
        );
        // Housekeeping sees a burst that has passed by the time of the look.
        gate.admit(&Admit::call(CallId::new(b"x").unwrap()), at(20));
        gate.housekeep(at(30));
        gate.run(&[Request::Release { id: CallId::new(b"x").unwrap(), seq: None }], at(40), |_| {});
        let seen = gate.take_usage(at(2_000));
        assert_eq!(seen.rate, Used { now: 0, peak: 6 });
        assert_eq!(seen.types[0].1, Used { now: 4, peak: 5 });
        let seen = gate.take_usage(at(2_001));
        assert_eq!((seen.rate.peak, seen.types[0].1.peak), (0, 4));
    }
}
