//! What a report says of one tag, as the profile has it.

use super::Usage;
use crate::license::agent::Requested;
use crate::license::profile::{CountSource, Profile, ReportCap, ReportValue};
use crate::protocol::TagReport;
use crate::units::UnixMillis;

/// What a report is made from, beside use.
#[derive(Debug, Clone, Copy)]
pub struct Reported<'a> {
    /// What is asked for.
    pub requested: &'a Requested,
    /// Licenses installed here (granted, or reserved); caps the value under `cluster.report_cap = installed`.
    pub installed: Option<u64>,
    /// The count of the next day, in units, where configured capacity is counted.
    pub next_units: Option<u32>,
    /// The beginning of the interval: the end of the last report.
    pub from: UnixMillis,
    /// Its end.
    pub until: UnixMillis,
}

/// Units as licenses, rounded up.
#[must_use]
pub fn licenses(units: u32, per_license: u32) -> u64 {
    u64::from(units.div_ceil(per_license.max(1)))
}

/// What a report says of one tag. Call [`Usage::sample`] first.
#[must_use]
pub fn tag_report(usage: &Usage, profile: &Profile, of: Reported<'_>) -> TagReport {
    let Requested { type_name, tag, units, per_license, tier: _ } = of.requested;
    let licenses = |units: u32| licenses(units, *per_license);
    let interval = usage.interval(tag, of.from, of.until);
    // Configured capacity is known before it is observed: a report that was due at the start says no less.
    let counted = profile.type_named(type_name).is_some_and(|licensed| licensed.counts != CountSource::Admission);
    let current = usage.observed(tag).or(units.filter(|_| counted)).unwrap_or(0);
    // What is used is asked for, where nothing else is.
    let requested = licenses(units.unwrap_or(current));
    let value = match profile.report.value {
        ReportValue::Requested => requested,
        ReportValue::Current | ReportValue::CurrentAndNext => licenses(current),
        ReportValue::Peak => licenses(interval.peak),
    };
    let reported = match profile.cluster.report_cap {
        ReportCap::None => value,
        ReportCap::Installed => of.installed.map_or(value, |installed| value.min(installed)),
    };
    TagReport {
        tag: tag.clone(),
        requested,
        reported,
        observed_peak: licenses(interval.peak.max(current)),
        peak_at: interval.peak_at,
        p95: licenses(interval.p95),
        samples: interval.samples,
        lent_used: licenses(usage.lent(tag)),
        next: match profile.report.value {
            ReportValue::CurrentAndNext => Some(licenses(of.next_units.unwrap_or(current))),
            ReportValue::Requested | ReportValue::Current | ReportValue::Peak => None,
        },
    }
}
