//! What a node reports as its usage (BEH-26). PURE.
//!
//! Where the profile caps at the installed count, a node reports at most its home count: what it borrowed is reported by the
//! lender, who can't use it itself. The true peak stands beside it, so that nothing is hidden from an audit.

use super::resource::{Kind, Licenses};

/// What is to be reported of a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// In use at this node, in units.
    pub used: u32,
    /// As the profile has it reported, in units.
    pub reported: u32,
    /// Lent to others, in units: in use there, for all that this node knows.
    pub lent_used: u32,
    /// The most that was in use at once since the last report, in units, whatever was reported.
    pub peak: u32,
}

/// What is reported: `used` as it is, or capped at the installed count.
#[must_use]
pub fn usage(used: u32, peak: u32, home: Licenses, lent: Licenses, kind: Kind, capped: bool) -> Usage {
    let reported = if capped { used.min(home.units(kind)) } else { used };
    Usage { used, reported, lent_used: lent.units(kind), peak: peak.max(used) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_with_ten_of_its_own_that_uses_twenty_reports_ten_and_its_true_peak() {
        let usage = usage(20, 23, Licenses(10), Licenses(0), Kind::Session, true);
        assert_eq!((usage.used, usage.reported, usage.peak), (20, 10, 23));
    }

    #[test]
    fn where_nothing_is_capped_what_is_used_is_reported() {
        let usage = usage(20, 0, Licenses(10), Licenses(0), Kind::Session, false);
        assert_eq!((usage.reported, usage.peak), (20, 20));
    }

    #[test]
    fn what_is_lent_is_reported_by_the_lender_in_units() {
        let usage = usage(3, 3, Licenses(10), Licenses(4), Kind::Rate, true);
        assert_eq!((usage.reported, usage.lent_used), (3, 20));
        let capped = super::usage(60, 60, Licenses(10), Licenses(0), Kind::Rate, true);
        assert_eq!(capped.reported, 50, "ten licenses of five calls per second");
    }
}
