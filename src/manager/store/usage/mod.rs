//! What instances report: a row per tag and report for 30 days, then a row per day.
//!
//! Instances and tags are numbered, so that a row is some forty bytes. A day's row holds the highest of each number: the
//! peak of peaks, the highest 95th percentile. Rolling up goes through the instances in bounded batches, each in one
//! transaction, so that no report is ever counted twice or lost.
//!
//! | part | what it does |
//! |---|---|
//! | `hours` | what each pool used in each hour, summed as reports come |
//! | `read` | pages of all three: by report, by day, by pool |

mod hours;
mod read;

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use sqlx::AnyConnection;
use sqlx::Row;

use super::error::StoreError;
use super::rows::{self, Cell, OnConflict, Table};
use super::tables::{USAGE_ACCOUNTS, USAGE_HOURS, USAGE_INSTANCES, USAGE_REPORTS, USAGE_TAGS};
use crate::manager::domain::{InstanceId, UsageRow, VirtualAccountId};
use crate::units::UnixMillis;

pub use read::{PoolUsage, PoolUsageQuery, UsageBy, UsageCursor, UsageCursorError, UsagePage, UsageQuery};

use self::hours::Hours;

const DAY_S: u64 = 86_400;

/// How long what is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Days that each report is kept.
    pub report_days: u32,
    /// Days that each day's row is kept.
    pub daily_days: u32,
    /// How many instances one batch goes through.
    pub batch_instances: u32,
}

impl Default for Retention {
    fn default() -> Self {
        Self { report_days: 30, daily_days: 400, batch_instances: 256 }
    }
}

/// One tag's day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageDay {
    /// Which instance.
    pub instance: InstanceId,
    /// Where it was registered; if in several, the one that the manager met last.
    pub virtual_account: VirtualAccountId,
    /// Which tag.
    pub tag: String,
    /// The day's beginning (UTC).
    pub day: UnixMillis,
    /// How many reports.
    pub reports: u64,
    /// The most licenses asked for.
    pub requested: u64,
    /// The most reported as used.
    pub reported: u64,
    /// The peak of peaks.
    pub observed_peak: u64,
    /// The highest 95th percentile.
    pub p95: u64,
    /// How many samples in all.
    pub samples: u64,
}

/// The numbers of names.
#[derive(Debug, Default)]
struct Numbers {
    known: HashMap<String, i64>,
    /// Made in the transaction under way.
    fresh: Vec<(String, i64)>,
    last: i64,
}

impl Numbers {
    fn of(&mut self, name: &str) -> i64 {
        if let Some(number) = self.known.get(name) {
            return *number;
        }
        self.last += 1;
        self.known.insert(name.to_owned(), self.last);
        self.fresh.push((name.to_owned(), self.last));
        self.last
    }

    async fn load(connection: &mut AnyConnection, table: &Table) -> Result<Self, StoreError> {
        let sql = format!("SELECT {} FROM {}", table.column_list(), table.name);
        let rows = sqlx::query(&sql)
            .fetch_all(connection)
            .await
            .map_err(|source| StoreError::database("read numbers", source))?;
        let mut numbers = Self::default();
        for row in rows {
            let read = || -> Result<(i64, String), sqlx::Error> { Ok((row.try_get(0)?, row.try_get(1)?)) };
            let (number, name) = read().map_err(|source| StoreError::database("read a number", source))?;
            numbers.last = numbers.last.max(number);
            numbers.known.insert(name, number);
        }
        Ok(numbers)
    }

    fn fresh_rows(&mut self) -> Vec<Vec<Cell>> {
        std::mem::take(&mut self.fresh).into_iter().map(|(name, number)| vec![number.into(), name.into()]).collect()
    }
}

/// A report, the number of its virtual account, and its row.
type Reported<'r> = (&'r UsageRow, i64, Vec<Cell>);

/// Writes reports and rolls them up.
#[derive(Debug, Default)]
pub(super) struct Usage {
    instances: Numbers,
    tags: Numbers,
    accounts: Numbers,
    /// The instance number that the next batch of rolling up begins with.
    next: i64,
}

impl Usage {
    pub(super) async fn load(connection: &mut AnyConnection) -> Result<Self, StoreError> {
        let instances = Numbers::load(connection, &USAGE_INSTANCES).await?;
        let tags = Numbers::load(connection, &USAGE_TAGS).await?;
        let accounts = Numbers::load(connection, &USAGE_ACCOUNTS).await?;
        Ok(Self { instances, tags, accounts, next: 0 })
    }

    /// Writes reports within the caller's transaction. If that fails, this must be loaded again.
    pub(super) async fn append(
        &mut self,
        connection: &mut AnyConnection,
        reports: &[&UsageRow],
    ) -> Result<(), StoreError> {
        let table = USAGE_REPORTS.name;
        // A report that was sent twice has the same end: the later one stands.
        let mut rows: HashMap<(i64, i64, i64), Reported<'_>> = HashMap::with_capacity(reports.len());
        for report in reports {
            let (instance, tag) = (self.instances.of(&report.instance.to_string()), self.tags.of(&report.tag));
            let account = self.accounts.of(&report.virtual_account.to_string());
            let until_s = report.until.0 / 1000;
            let before = report.peak_at.map(|at| until_s.saturating_sub(at.0 / 1000));
            let row = vec![
                instance.into(),
                tag.into(),
                Cell::number(table, until_s)?,
                account.into(),
                Cell::number(table, until_s.saturating_sub(report.from.0 / 1000))?,
                Cell::number(table, report.requested)?,
                Cell::number(table, report.reported)?,
                Cell::number(table, report.observed_peak)?,
                Cell::number(table, report.p95)?,
                Cell::number(table, report.samples)?,
                Cell::optional_number(table, before)?,
                Cell::optional_number(table, report.next)?,
                Cell::number(table, (report.received_at.0 / 1000).saturating_sub(until_s))?,
            ];
            let until = i64::try_from(until_s).map_err(|_| StoreError::TooLarge { table, value: until_s })?;
            rows.insert((instance, tag, until), (report, account, row));
        }
        rows::insert(connection, &USAGE_INSTANCES, OnConflict::Fail, self.instances.fresh_rows()).await?;
        rows::insert(connection, &USAGE_TAGS, OnConflict::Fail, self.tags.fresh_rows()).await?;
        rows::insert(connection, &USAGE_ACCOUNTS, OnConflict::Fail, self.accounts.fresh_rows()).await?;
        // In the order of the key: neighbors share pages.
        let mut rows: Vec<_> = rows.into_iter().collect();
        rows.sort_unstable_by_key(|(key, _)| *key);
        let new = rows.iter().map(|(_, (_, _, row))| row.clone()).collect();
        let new = rows::insert_new(connection, &USAGE_REPORTS, new).await?;
        let mut hours = Hours::default();
        let mut again = Vec::new();
        for (key, (report, account, row)) in rows {
            if new.contains(&[key.0, key.1, key.2]) {
                hours.add(account, key.1, report);
            } else {
                again.push(row);
            }
        }
        rows::insert(connection, &USAGE_REPORTS, OnConflict::Replace, again).await?;
        rows::insert(connection, &USAGE_HOURS, OnConflict::Add, hours.rows()).await
    }

    /// Rolls up one batch within the caller's transaction: reports of days that are over for `retention.report_days`
    /// become rows of days, and rows of days end. Says whether all instances were gone through since the first batch.
    pub(super) async fn roll_up(
        &mut self,
        connection: &mut AnyConnection,
        retention: Retention,
        now: UnixMillis,
    ) -> Result<bool, StoreError> {
        let today = now.0 / 1000 / DAY_S;
        let first_day = today.saturating_sub(u64::from(retention.report_days));
        let first_daily = today.saturating_sub(u64::from(retention.daily_days));
        let cutoff_s = i64::try_from(first_day.saturating_mul(DAY_S)).unwrap_or(i64::MAX);
        let (from, to) = (self.next, self.next.saturating_add(i64::from(retention.batch_instances.max(1))));
        let higher = |column: &str| {
            format!(
                "{column} = CASE WHEN excluded.{column} > usage_daily.{column} THEN excluded.{column} \
                 ELSE usage_daily.{column} END"
            )
        };
        let roll_up = format!(
            "INSERT INTO usage_daily (instance, tag, day, account, reports, requested, reported, observed, p95, samples) \
             SELECT instance, tag, until_s / {DAY_S}, MAX(account), COUNT(*), MAX(requested), MAX(reported), MAX(observed), MAX(p95), \
             CAST(SUM(samples) AS BIGINT) FROM usage_reports \
             WHERE instance >= $1 AND instance < $2 AND until_s < $3 GROUP BY instance, tag, until_s / {DAY_S} \
             ON CONFLICT (instance, tag, day) DO UPDATE SET reports = usage_daily.reports + excluded.reports, \
             samples = usage_daily.samples + excluded.samples, {}, {}, {}, {}",
            higher("requested"),
            higher("reported"),
            higher("observed"),
            higher("p95"),
        );
        let remove = "DELETE FROM usage_reports WHERE instance >= $1 AND instance < $2 AND until_s < $3";
        let end = "DELETE FROM usage_daily WHERE instance >= $1 AND instance < $2 AND day < $3";
        let first_daily = i64::try_from(first_daily).unwrap_or(i64::MAX);
        for (sql, bound) in [(roll_up.as_str(), cutoff_s), (remove, cutoff_s), (end, first_daily)] {
            sqlx::query(sql)
                .bind(from)
                .bind(to)
                .bind(bound)
                .execute(&mut *connection)
                .await
                .map_err(|source| StoreError::database("roll up usage", source))?;
        }
        let done = to > self.instances.last;
        if done {
            hours::end(connection, first_daily.saturating_mul(24)).await?;
        }
        self.next = if done { 0 } else { to };
        Ok(done)
    }
}

impl From<String> for Cell {
    fn from(value: String) -> Self {
        Self::Text(value)
    }
}
