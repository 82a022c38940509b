//! Pages of what was used: by report, by day of an instance, by hour, day or range of a pool.
//!
//! A page goes on exactly where the one before ended: its cursor is the whole key of the last row that was looked at, time
//! first, so that rows of one time are neither lost nor told twice. One page looks at a bounded number of rows: where few of
//! them are of what is asked for it may be short, or empty, and still have a next one.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sqlx::any::AnyRow;

use super::hours::HOUR_S;
use super::{DAY_S, UsageDay};
use crate::manager::domain::{InstanceId, UsageRow, VirtualAccountId};
use crate::manager::store::error::StoreError;
use crate::manager::store::history::{Conditions, History, corrupt, limit, number, optional, parsed, text};
use crate::manager::store::rows::Cell;
use crate::units::UnixMillis;

/// The most rows that one page looks at.
const LOOKED_AT: u32 = 20_000;

/// Which usage to read. What is `None` doesn't restrict.
#[derive(Debug, Clone, Default)]
pub struct UsageQuery {
    /// Of this instance.
    pub instance: Option<InstanceId>,
    /// In this virtual account.
    pub virtual_account: Option<VirtualAccountId>,
    /// Of this tag.
    pub tag: Option<String>,
    /// Intervals that end at this or after.
    pub from: UnixMillis,
    /// Intervals that end at this or before.
    pub until: Option<UnixMillis>,
    /// Where the page before ended.
    pub after: Option<UsageCursor>,
    /// At most so many rows; 0 is the most there may be: 10,000.
    pub limit: u32,
}

/// Where a page of usage ended. As text it is three numbers with dots between, good for the next page and nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct UsageCursor(i64, i64, i64);

/// A text that no page ended with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{found:?} is no cursor of usage; accepted: `next` of the page before")]
pub struct UsageCursorError {
    /// What was found, cut at 64 characters.
    pub found: String,
}

impl fmt::Display for UsageCursor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}.{}", self.0, self.1, self.2)
    }
}

impl FromStr for UsageCursor {
    type Err = UsageCursorError;

    fn from_str(found: &str) -> Result<Self, Self::Err> {
        let mut parts = found.split('.').map(|part| part.parse::<i64>().ok().filter(|number| *number >= 0));
        match (parts.next().flatten(), parts.next().flatten(), parts.next().flatten(), parts.next()) {
            (Some(one), Some(two), Some(three), None) => Ok(Self(one, two, three)),
            _ => Err(UsageCursorError { found: found.chars().take(64).collect() }),
        }
    }
}

/// A page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsagePage<T> {
    /// What was found, in order.
    pub items: Vec<T>,
    /// Where to go on; `None` at the end.
    pub next: Option<UsageCursor>,
}

/// What is summed up in one row of a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UsageBy {
    /// An hour.
    Hour,
    /// A day (UTC).
    #[default]
    Day,
    /// All that was asked for.
    Range,
}

/// Which pools' use to read. What is `None` doesn't restrict.
#[derive(Debug, Clone, Default)]
pub struct PoolUsageQuery {
    /// In this virtual account.
    pub virtual_account: Option<VirtualAccountId>,
    /// Of this tag.
    pub tag: Option<String>,
    /// Hours that begin at this or after.
    pub from: UnixMillis,
    /// Hours that begin before this.
    pub until: Option<UnixMillis>,
    /// What one row sums up.
    pub by: UsageBy,
    /// Where the page before ended.
    pub after: Option<UsageCursor>,
    /// At most so many rows; 0 is the most there may be: 10,000.
    pub limit: u32,
}

/// What a pool used over an hour, a day or a range. Licenses are rounded up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolUsage {
    /// The virtual account.
    pub virtual_account: VirtualAccountId,
    /// The tag.
    pub tag: String,
    /// The beginning of the first hour that anything was reported of.
    pub from: UnixMillis,
    /// The end of the last one.
    pub until: UnixMillis,
    /// Reports that ended in it.
    pub reports: u64,
    /// The most instances that reported of one hour.
    pub instances: u64,
    /// The most licenses asked for in one hour.
    pub requested: u64,
    /// The most reported as used in one hour.
    pub reported: u64,
    /// The most observed in one hour: the sum of the instances' peaks, which needn't coincide.
    pub peak: u64,
    /// The beginning of that hour, the first of several.
    pub peak_at: UnixMillis,
    /// Of an hour: the sum of the instances' 95th percentiles. Of more: of the hours' peaks the 95th percentile, the lowest
    /// that 95 % of the hours don't exceed.
    pub p95: u64,
}

/// One hour of a pool, as it is stored.
struct Hour {
    pool: (i64, i64),
    virtual_account: VirtualAccountId,
    tag: String,
    hour: u64,
    /// Instances, reports, requested, reported, observed, p95.
    numbers: [u64; 6],
}

impl History {
    /// Use by report, of the last 30 days, the oldest first.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn usage(&self, query: &UsageQuery) -> Result<UsagePage<UsageRow>, StoreError> {
        let columns = "r.span_s, r.requested, r.reported, r.observed, r.p95, r.samples, r.peak_before_s, r.next, \
                       r.received_after_s";
        self.usage_page(query, "usage_reports", "until_s", 1_000, columns, usage_row).await
    }

    /// Use by day, of what is older than 30 days, the oldest first.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn usage_daily(&self, query: &UsageQuery) -> Result<UsagePage<UsageDay>, StoreError> {
        let columns = "r.reports, r.requested, r.reported, r.observed, r.p95, r.samples";
        self.usage_page(query, "usage_daily", "day", DAY_S * 1_000, columns, usage_day).await
    }

    async fn usage_page<T>(
        &self,
        query: &UsageQuery,
        table: &'static str,
        time: &str,
        unit_ms: u64,
        columns: &str,
        read: fn(&AnyRow) -> Result<T, String>,
    ) -> Result<UsagePage<T>, StoreError> {
        let mut conditions = Conditions::default();
        if let Some(instance) = query.instance {
            let sql = "instance = (SELECT number FROM usage_instances WHERE instance = ?)";
            conditions.add(sql, Cell::Text(instance.to_string()));
        }
        conditions.add(&format!("{time} >= ?"), Cell::number("usage", query.from.0.div_ceil(unit_ms))?);
        if let Some(until) = query.until {
            conditions.add(&format!("{time} <= ?"), Cell::number("usage", until.0 / unit_ms)?);
        }
        if let Some(UsageCursor(at, instance, tag)) = query.after {
            conditions.add_row(&[time, "instance", "tag"], [at, instance, tag]);
        }
        let wanted = limit(query.limit);
        // Tags and accounts are compared here: an index of each would be as large as the table.
        let filtered = query.tag.is_some() || query.virtual_account.is_some();
        let looked_at = if filtered { LOOKED_AT } else { wanted.saturating_add(1) };
        let sql = format!(
            "SELECT r.{time}, r.instance, r.tag, i.instance, a.virtual_account, t.tag, {columns} FROM \
             (SELECT * FROM {table} {} ORDER BY {time}, instance, tag LIMIT {looked_at}) r \
             JOIN usage_instances i ON i.number = r.instance JOIN usage_tags t ON t.number = r.tag \
             JOIN usage_accounts a ON a.number = r.account ORDER BY r.{time}, r.instance, r.tag",
            conditions.sql(),
        );
        let rows = self.rows(&sql, conditions.values).await?;
        let is_asked_for = |row: &AnyRow| -> Result<bool, String> {
            let tag = query.tag.as_ref().map_or(Ok(true), |tag| text(row, 5).map(|found| found == *tag))?;
            let account = query.virtual_account;
            Ok(tag
                && account
                    .map_or(Ok(true), |account| parsed(row, 4).map(|found: VirtualAccountId| found == account))?)
        };
        let wanted = usize::try_from(wanted).unwrap_or(usize::MAX);
        let mut page = UsagePage { items: Vec::new(), next: None };
        let mut last = None;
        for row in &rows {
            let broken = |why| corrupt(table, why);
            if is_asked_for(row).map_err(broken)? {
                if page.items.len() >= wanted {
                    page.next = last;
                    return Ok(page);
                }
                page.items.push(read(row).map_err(broken)?);
            }
            last = Some(key(row).map_err(broken)?);
        }
        page.next = last.filter(|_| rows.len() >= usize::try_from(looked_at).unwrap_or(usize::MAX));
        Ok(page)
    }

    /// What pools used, by virtual account and tag in the order in which the manager met them, then by time.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn usage_of_pools(&self, query: &PoolUsageQuery) -> Result<UsagePage<PoolUsage>, StoreError> {
        let mut conditions = Conditions::default();
        if let Some(account) = query.virtual_account {
            let sql = "account = (SELECT number FROM usage_accounts WHERE virtual_account = ?)";
            conditions.add(sql, Cell::Text(account.to_string()));
        }
        if let Some(tag) = &query.tag {
            conditions.add("tag = (SELECT number FROM usage_tags WHERE tag = ?)", Cell::text(tag));
        }
        conditions.add("hour >= ?", Cell::number("usage_hours", query.from.0.div_ceil(HOUR_S * 1_000))?);
        if let Some(until) = query.until {
            conditions.add("hour < ?", Cell::number("usage_hours", until.0.div_ceil(HOUR_S * 1_000))?);
        }
        if let Some(UsageCursor(account, tag, hour)) = query.after {
            conditions.add_row(&["account", "tag", "hour"], [account, tag, hour]);
        }
        let sql = format!(
            "SELECT h.account, h.tag, h.hour, a.virtual_account, t.tag, h.covered_s, h.reports, h.requested_s, h.reported_s, \
             h.observed_s, h.p95_s FROM \
             (SELECT * FROM usage_hours {} ORDER BY account, tag, hour LIMIT {LOOKED_AT}) h \
             JOIN usage_accounts a ON a.number = h.account JOIN usage_tags t ON t.number = h.tag \
             ORDER BY h.account, h.tag, h.hour",
            conditions.sql(),
        );
        let rows = self.rows(&sql, conditions.values).await?;
        let whole = rows.len() < usize::try_from(LOOKED_AT).unwrap_or(usize::MAX);
        let hours: Result<Vec<Hour>, String> = rows.iter().map(hour).collect();
        let hours = hours.map_err(|why| corrupt("usage_hours", why))?;
        let together = |one: &Hour, next: &Hour| {
            one.pool == next.pool
                && match query.by {
                    UsageBy::Hour => false,
                    UsageBy::Day => one.hour / 24 == next.hour / 24,
                    UsageBy::Range => true,
                }
        };
        let mut groups: Vec<&[Hour]> = hours.chunk_by(together).collect();
        let mut more = !whole;
        if more && groups.len() > 1 {
            // The last one may go on behind what was looked at.
            groups.pop();
        }
        let wanted = usize::try_from(limit(query.limit)).unwrap_or(usize::MAX);
        if groups.len() > wanted {
            groups.truncate(wanted);
            more = true;
        }
        let end = groups.last().and_then(|group| group.last()).filter(|_| more);
        let next = end.map(|hour| UsageCursor(hour.pool.0, hour.pool.1, i64::try_from(hour.hour).unwrap_or(i64::MAX)));
        Ok(UsagePage { items: groups.into_iter().filter_map(summed).collect(), next })
    }
}

fn key(row: &AnyRow) -> Result<UsageCursor, String> {
    let part = |at| number(row, at).and_then(|value| i64::try_from(value).map_err(|error| error.to_string()));
    Ok(UsageCursor(part(0)?, part(1)?, part(2)?))
}

fn hour(row: &AnyRow) -> Result<Hour, String> {
    let UsageCursor(account, tag, hour) = key(row)?;
    let mut numbers = [0; 6];
    for (at, to) in (5..).zip(&mut numbers) {
        *to = number(row, at)?;
    }
    for (at, value) in numbers.iter_mut().enumerate() {
        // All but the count of reports are seconds.
        if at != 1 {
            *value = value.div_ceil(HOUR_S);
        }
    }
    let hour = u64::try_from(hour).map_err(|error| error.to_string())?;
    Ok(Hour { pool: (account, tag), virtual_account: parsed(row, 3)?, tag: text(row, 4)?, hour, numbers })
}

fn summed(hours: &[Hour]) -> Option<PoolUsage> {
    let (first, last) = (hours.first()?, hours.last()?);
    let highest = |at: usize| hours.iter().filter_map(|hour| hour.numbers.get(at)).copied().max().unwrap_or(0);
    let (peak, begins) = (highest(4), |hour: &Hour| UnixMillis(hour.hour * HOUR_S * 1_000));
    let peak_hour = hours.iter().find(|hour| hour.numbers[4] == peak).unwrap_or(first);
    let p95 = if hours.len() == 1 {
        first.numbers[5]
    } else {
        let mut peaks: Vec<u64> = hours.iter().map(|hour| hour.numbers[4]).collect();
        peaks.sort_unstable();
        let rank = (peaks.len() * 95).div_ceil(100);
        peaks.get(rank.saturating_sub(1)).copied().unwrap_or(peak)
    };
    Some(PoolUsage {
        virtual_account: first.virtual_account,
        tag: first.tag.clone(),
        from: begins(first),
        until: UnixMillis((last.hour + 1) * HOUR_S * 1_000),
        reports: hours.iter().map(|hour| hour.numbers[1]).sum(),
        instances: highest(0),
        requested: highest(2),
        reported: highest(3),
        peak,
        peak_at: begins(peak_hour),
        p95,
    })
}

fn usage_row(row: &AnyRow) -> Result<UsageRow, String> {
    let until_s = number(row, 0)?;
    let seconds = |value: u64| UnixMillis(value.saturating_mul(1000));
    Ok(UsageRow {
        instance: parsed(row, 3)?,
        virtual_account: parsed(row, 4)?,
        tag: text(row, 5)?,
        from: seconds(until_s.saturating_sub(number(row, 6)?)),
        until: seconds(until_s),
        requested: number(row, 7)?,
        reported: number(row, 8)?,
        observed_peak: number(row, 9)?,
        p95: number(row, 10)?,
        samples: number(row, 11)?,
        peak_at: optional(row, 12)?.map(|before| seconds(until_s.saturating_sub(before))),
        next: optional(row, 13)?,
        received_at: seconds(until_s.saturating_add(number(row, 14)?)),
    })
}

fn usage_day(row: &AnyRow) -> Result<UsageDay, String> {
    Ok(UsageDay {
        instance: parsed(row, 3)?,
        virtual_account: parsed(row, 4)?,
        tag: text(row, 5)?,
        day: UnixMillis(number(row, 0)?.saturating_mul(DAY_S * 1_000)),
        reports: number(row, 6)?,
        requested: number(row, 7)?,
        reported: number(row, 8)?,
        observed_peak: number(row, 9)?,
        p95: number(row, 10)?,
        samples: number(row, 11)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_as_it_was_written_and_nothing_else_is_one() {
        let cursor = UsageCursor(1_800_000_000, 7, 1);
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
        for wrong in ["", "1", "1.2", "1.2.3.4", "1.2.x", "1.-2.3", "1.2.9223372036854775808", "1..3"] {
            assert!(wrong.parse::<UsageCursor>().is_err(), "{wrong}");
        }
    }
}
