//! How long over-use may last before it is reported at once (transition rows 50 to 54).
//!
//! A sample over what was granted starts the watch and is told; beyond the profile's `warn_min` it is told again; at
//! `tolerance_min` a report goes out, and the manager's answer says whether the account is out of compliance. A sample
//! back within ends the watch, before the breach or after it. What must stay true: each event is told once per watch, in
//! this order, and none at all under a profile without tolerance.

use serde::{Deserialize, Serialize};

use crate::license::profile::OutOfCompliance;
use crate::units::UnixMillis;

/// What is to be told or done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ToleranceEvent {
    /// Over-use began: raise `OOC_PENDING`.
    Pending,
    /// It goes on: raise `OOC_IMMINENT`.
    Imminent,
    /// It was tolerated long enough: report now.
    Breach,
    /// Use is back within what was granted: clear both alarms.
    Cleared,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Stage {
    Pending,
    Imminent,
    Breached,
}

/// The watch over one instance's over-use.
///
/// ```
/// use callgate::license::usage::tolerance::{Tolerance, ToleranceEvent};
/// use callgate::license::{BuiltinProfile, Profile};
/// use callgate::units::UnixMillis;
/// let ooc = Profile::builtin(BuiltinProfile::Ccx).unwrap().ooc;
/// let at = |minutes: u64| UnixMillis(minutes * 60_000);
/// let mut watch = Tolerance::default();
/// assert_eq!(watch.sample(&ooc, true, at(0)), Some(ToleranceEvent::Pending));
/// assert_eq!(watch.handle_timeout(&ooc, at(30)), None);
/// assert_eq!(watch.handle_timeout(&ooc, at(31)), Some(ToleranceEvent::Imminent));
/// assert_eq!(watch.handle_timeout(&ooc, at(45)), Some(ToleranceEvent::Breach));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Tolerance {
    watch: Option<(UnixMillis, Stage)>,
}

impl Tolerance {
    /// A watch that began earlier, as the store knows it. What was told before may be told again.
    #[must_use]
    pub const fn resumed(over_use_since: Option<UnixMillis>) -> Self {
        match over_use_since {
            Some(since) => Self { watch: Some((since, Stage::Pending)) },
            None => Self { watch: None },
        }
    }

    /// Since when use has been over what was granted.
    #[must_use]
    pub fn over_use_since(&self) -> Option<UnixMillis> {
        self.watch.map(|(since, _)| since)
    }

    /// A sample was taken: whether it is over what was granted. Where a profile has no tolerance nothing is watched.
    pub fn sample(&mut self, ooc: &OutOfCompliance, over: bool, now: UnixMillis) -> Option<ToleranceEvent> {
        if !over || ooc.tolerance_s().is_none() {
            return self.watch.take().map(|_| ToleranceEvent::Cleared);
        }
        if self.watch.is_none() {
            self.watch = Some((now, Stage::Pending));
            return Some(ToleranceEvent::Pending);
        }
        self.handle_timeout(ooc, now)
    }

    /// When [`handle_timeout`](Tolerance::handle_timeout) has something to say.
    #[must_use]
    pub fn poll_timeout(&self, ooc: &OutOfCompliance) -> Option<UnixMillis> {
        let (since, stage) = self.watch?;
        let after = match stage {
            // Beyond the warning time, not at it.
            Stage::Pending => ooc.warn_s() * 1000 + 1,
            Stage::Imminent => ooc.tolerance_s()? * 1000,
            Stage::Breached => return None,
        };
        Some(UnixMillis(since.0.saturating_add(after)))
    }

    /// Time has passed. A watch that slept through a stage tells the last one it reached.
    pub fn handle_timeout(&mut self, ooc: &OutOfCompliance, now: UnixMillis) -> Option<ToleranceEvent> {
        let (since, stage) = self.watch?;
        let over_ms = now.0.saturating_sub(since.0);
        let reached = if over_ms >= ooc.tolerance_s()? * 1000 {
            Stage::Breached
        } else if over_ms > ooc.warn_s() * 1000 {
            Stage::Imminent
        } else {
            Stage::Pending
        };
        let (next, event) = match (stage, reached) {
            (Stage::Pending | Stage::Imminent, Stage::Breached) => (Stage::Breached, ToleranceEvent::Breach),
            (Stage::Pending, Stage::Imminent) => (Stage::Imminent, ToleranceEvent::Imminent),
            (Stage::Breached, Stage::Breached | Stage::Imminent | Stage::Pending)
            | (Stage::Imminent, Stage::Imminent | Stage::Pending)
            | (Stage::Pending, Stage::Pending) => return None,
        };
        self.watch = Some((since, next));
        Some(event)
    }
}

/// Whether a sample's peak, in units, is over what was granted, in licenses.
#[must_use]
pub fn is_over(peak: u32, per_license: u32, granted: u64) -> bool {
    u64::from(peak) > granted.saturating_mul(u64::from(per_license.max(1)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::license::{BuiltinProfile, Profile};

    fn at(minutes: u64) -> UnixMillis {
        UnixMillis(1_700_000_000_000 + minutes * 60_000)
    }

    fn ooc(builtin: BuiltinProfile) -> OutOfCompliance {
        Profile::builtin(builtin).unwrap().ooc
    }

    #[test]
    fn over_use_is_told_at_once_again_beyond_thirty_minutes_and_breaches_at_forty_five() {
        let ooc = ooc(BuiltinProfile::Ccx);
        let mut watch = Tolerance::default();
        let mut told = Vec::new();
        for minute in 0..120 {
            let event = if minute % 15 == 0 {
                watch.sample(&ooc, true, at(minute))
            } else {
                watch.handle_timeout(&ooc, at(minute))
            };
            told.extend(event.map(|event| (minute, event)));
        }
        assert_eq!(told, [(0, ToleranceEvent::Pending), (31, ToleranceEvent::Imminent), (45, ToleranceEvent::Breach)]);
        assert_eq!(watch.over_use_since(), Some(at(0)));
        assert_eq!(watch.poll_timeout(&ooc), None);
    }

    #[test]
    fn a_sample_within_what_was_granted_ends_the_watch_and_the_next_one_starts_anew() {
        let ooc = ooc(BuiltinProfile::Open);
        let mut watch = Tolerance::default();
        assert_eq!(watch.sample(&ooc, false, at(0)), None);
        assert_eq!(watch.sample(&ooc, true, at(15)), Some(ToleranceEvent::Pending));
        assert_eq!(watch.poll_timeout(&ooc), Some(UnixMillis(at(45).0 + 1)));
        assert_eq!(watch.sample(&ooc, true, at(30)), None);
        assert_eq!(watch.sample(&ooc, false, at(45)), Some(ToleranceEvent::Cleared));
        assert_eq!(watch, Tolerance::default());
        assert_eq!(watch.sample(&ooc, true, at(60)), Some(ToleranceEvent::Pending));
        assert_eq!(watch.handle_timeout(&ooc, at(90)), None, "thirty minutes count from the new beginning");
    }

    #[test]
    fn a_profile_without_tolerance_watches_nothing() {
        for builtin in [BuiltinProfile::Cusp, BuiltinProfile::Cccsp, BuiltinProfile::Expressway, BuiltinProfile::Ncs540]
        {
            let mut watch = Tolerance::default();
            assert_eq!(watch.sample(&ooc(builtin), true, at(0)), None);
            assert_eq!(watch, Tolerance::default());
        }
    }

    #[test]
    fn a_watch_goes_on_over_a_restart_and_one_that_slept_tells_the_last_stage() {
        let ooc = ooc(BuiltinProfile::Ccx);
        let mut watch = Tolerance::resumed(Some(at(0)));
        assert_eq!(watch.handle_timeout(&ooc, at(60)), Some(ToleranceEvent::Breach));
        assert_eq!(watch.handle_timeout(&ooc, at(61)), None);
        assert_eq!(watch.sample(&ooc, false, at(75)), Some(ToleranceEvent::Cleared));
    }

    #[test]
    fn over_is_counted_in_units_of_the_licenses_granted() {
        assert!(!is_over(100, 5, 20));
        assert!(is_over(101, 5, 20));
        assert!(is_over(1, 1, 0));
        assert!(!is_over(u32::MAX, 5, u64::MAX));
    }
}
