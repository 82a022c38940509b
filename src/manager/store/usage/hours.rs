//! What each pool (a tag in a virtual account) used in each hour, summed over its instances as their reports come.
//!
//! A report says one number for a span of hours. Its hours are given the number for as long as it covers them: license
//! seconds, so that reports that end and begin within an hour share it and count once. An hour's number is its license
//! seconds by 3,600: for peaks the most that can have been used at once, as the instances' peaks needn't coincide.

use std::collections::BTreeMap;

use sqlx::AnyConnection;

use super::super::error::StoreError;
use super::super::rows::Cell;
use crate::manager::domain::UsageRow;

pub(super) const HOUR_S: u64 = 3_600;
/// The longest span that a report is spread over, back from its end: 31 days.
const SPAN_MAX_S: u64 = 31 * 86_400;
/// The most licenses that one report counts with: sums over all instances stay within 63 bits.
const LICENSES_MAX: u64 = 1_000_000_000;

/// Sums of one hour of one pool: covered seconds, reports, license seconds requested, reported, observed, 95th percentile.
type Sums = [u64; 6];

/// What the reports of one batch add.
#[derive(Debug, Default)]
pub(super) struct Hours(BTreeMap<(i64, i64, u64), Sums>);

impl Hours {
    /// Adds a report that was not there before.
    pub(super) fn add(&mut self, account: i64, tag: i64, report: &UsageRow) {
        let until = report.until.0 / 1_000;
        let from = (report.from.0 / 1_000).max(until.saturating_sub(SPAN_MAX_S)).min(until);
        // A span that ends with an hour is no part of the next one.
        let last = if from == until { until / HOUR_S } else { (until - 1) / HOUR_S };
        for hour in from / HOUR_S..=last {
            let covered = until.min((hour + 1) * HOUR_S).saturating_sub(from.max(hour * HOUR_S));
            let of = |licenses: u64| licenses.min(LICENSES_MAX) * covered;
            let added = [
                covered,
                u64::from(hour == last),
                of(report.requested),
                of(report.reported),
                of(report.observed_peak),
                of(report.p95),
            ];
            let sums = self.0.entry((account, tag, hour)).or_default();
            for (sum, more) in sums.iter_mut().zip(added) {
                *sum = sum.saturating_add(more);
            }
        }
    }

    pub(super) fn rows(self) -> Vec<Vec<Cell>> {
        let number = |value: u64| Cell::Int(i64::try_from(value).unwrap_or(i64::MAX));
        let row = |((account, tag, hour), sums): ((i64, i64, u64), Sums)| {
            let mut row = vec![Cell::Int(account), Cell::Int(tag), number(hour)];
            row.extend(sums.map(number));
            row
        };
        self.0.into_iter().map(row).collect()
    }
}

/// Ends hours before this one.
pub(super) async fn end(connection: &mut AnyConnection, first: i64) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM usage_hours WHERE hour < $1")
        .bind(first)
        .execute(connection)
        .await
        .map_err(|source| StoreError::database("end hours of use", source))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manager::domain::{InstanceId, VirtualAccountId};
    use crate::protocol::Entropy;
    use crate::units::UnixMillis;

    fn report(from_s: u64, until_s: u64, peak: u64) -> UsageRow {
        let random = &mut Entropy::from_seed([1; 32]);
        UsageRow {
            instance: InstanceId::generate(random),
            virtual_account: VirtualAccountId::generate(random),
            tag: "a".to_owned(),
            from: UnixMillis(from_s * 1_000),
            until: UnixMillis(until_s * 1_000),
            requested: 100,
            reported: 0,
            observed_peak: peak,
            peak_at: None,
            p95: 0,
            samples: 1,
            next: None,
            received_at: UnixMillis(until_s * 1_000),
        }
    }

    fn of(reports: &[UsageRow]) -> Vec<(u64, u64, u64, u64)> {
        let mut hours = Hours::default();
        reports.iter().for_each(|report| hours.add(1, 1, report));
        hours.0.iter().map(|((_, _, hour), sums)| (*hour, sums[0], sums[1], sums[4])).collect()
    }

    #[test]
    fn hours_share_a_report_by_the_time_that_it_covers_of_them() {
        // From 00:30 to 02:15.
        assert_eq!(of(&[report(1_800, 8_100, 10)]), [(0, 1_800, 0, 18_000), (1, 3_600, 0, 36_000), (2, 900, 1, 9_000)]);
        // Two that follow each other within an hour count once.
        assert_eq!(of(&[report(0, 1_800, 10), report(1_800, 3_600, 10)]), [(0, 3_600, 2, 36_000)]);
        assert_eq!(of(&[report(7_200, 7_200, 10)]), [(2, 0, 1, 0)], "no time, but a report");
    }

    #[test]
    fn a_report_of_years_or_of_too_much_is_bounded() {
        let hours = of(&[report(0, 100 * 86_400, u64::MAX)]);
        assert_eq!(hours.len(), 31 * 24);
        assert_eq!(hours[0], (69 * 24, 3_600, 0, 3_600_000_000_000));
    }
}
