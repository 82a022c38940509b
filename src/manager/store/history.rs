//! Reading what the domain does not hold, on connections of its own, while the store writes.

use std::path::Path;

use serde::de::DeserializeOwned;
use sqlx::AnyPool;
use sqlx::Row;
use sqlx::any::AnyRow;

use super::backup;
use super::backup_file::{BackupError, BackupSummary};
use super::database::{Database, DatabaseKind};
use super::error::StoreError;
use super::rows::{Cell, bind};
use crate::manager::domain::{
    AlertEnded, AuditEntry, AuditHead, ChainBroken, InstanceEvent, InstanceId, Report, TransferRow,
};
use crate::units::UnixMillis;

/// The most rows that one query returns.
const ROWS_MAX: u32 = 10_000;
/// How many entries of the audit log are verified at once.
const AUDIT_CHUNK: u32 = 1_000;

/// Reads history and makes backups. Clones share their connections.
#[derive(Debug, Clone)]
pub struct History {
    database: Database,
    pool: AnyPool,
}

/// Why history could not be read.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The audit log was tampered with.
    #[error(transparent)]
    Chain(#[from] ChainBroken),
}

/// A row of a journal and its number, by which the next page is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventRow<T> {
    /// The number; newer rows have higher ones.
    pub seq: u64,
    /// The row.
    pub row: T,
}

/// An archived report without its rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportHead {
    /// Its number; newer reports have higher ones.
    pub seq: u64,
    /// When it was made.
    pub at: UnixMillis,
    /// Its id.
    pub id: String,
    /// What kind of report.
    pub kind: String,
}

/// Conditions and what they are compared to, numbered as they come.
#[derive(Default)]
pub(super) struct Conditions {
    sql: Vec<String>,
    pub(super) values: Vec<Cell>,
}

impl Conditions {
    /// `text` holds `?` where the value goes.
    pub(super) fn add(&mut self, text: &str, value: Cell) {
        self.values.push(value);
        self.sql.push(text.replace('?', &format!("${}", self.values.len())));
    }

    /// A row that comes after this one in the order of these columns.
    pub(super) fn add_row<const N: usize>(&mut self, columns: &[&str; N], after: [i64; N]) {
        self.values.extend(after.map(Cell::Int));
        let marks: Vec<String> = (0..N).rev().map(|back| format!("${}", self.values.len() - back)).collect();
        self.sql.push(format!("({}) > ({})", columns.join(", "), marks.join(", ")));
    }

    pub(super) fn sql(&self) -> String {
        if self.sql.is_empty() { String::new() } else { format!("WHERE {}", self.sql.join(" AND ")) }
    }
}

impl History {
    pub(super) fn new(database: Database, pool: AnyPool) -> Self {
        Self { database, pool }
    }

    /// Entries of the audit log after `seq`, in order.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn audit(&self, after: u64, rows_max: u32) -> Result<Vec<AuditEntry>, StoreError> {
        let mut conditions = Conditions::default();
        conditions.add("seq > ?", Cell::number("audit_log", after)?);
        let sql =
            format!("SELECT seq, body FROM audit_log {} ORDER BY seq LIMIT {}", conditions.sql(), limit(rows_max));
        Ok(self.bodies("audit_log", &sql, conditions.values).await?.into_iter().map(|found| found.row).collect())
    }

    /// Verifies the whole chain of the audit log and returns its end.
    ///
    /// # Errors
    /// The first place where it is broken; or if the database fails.
    pub async fn verify_audit(&self) -> Result<AuditHead, HistoryError> {
        let mut head = AuditHead::default();
        loop {
            let entries = self.audit(head.seq, AUDIT_CHUNK).await?;
            if entries.is_empty() {
                return Ok(head);
            }
            head = head.verify(&entries)?;
        }
    }

    /// What happened to an instance, or to all, the newest first; `before` a number, or from the newest on.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn events(
        &self,
        instance: Option<InstanceId>,
        before: Option<u64>,
        rows_max: u32,
    ) -> Result<Vec<EventRow<InstanceEvent>>, StoreError> {
        let mut conditions = before_seq("instance_events", before)?;
        if let Some(instance) = instance {
            conditions.add("instance = ?", Cell::Text(instance.to_string()));
        }
        self.newest("instance_events", conditions, rows_max).await
    }

    /// Licenses that went from one virtual account to another, the newest first.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn transfers(
        &self,
        before: Option<u64>,
        rows_max: u32,
    ) -> Result<Vec<EventRow<TransferRow>>, StoreError> {
        self.newest("transfers", before_seq("transfers", before)?, rows_max).await
    }

    /// Alerts that ended, the newest first.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn alerts_ended(
        &self,
        before: Option<u64>,
        rows_max: u32,
    ) -> Result<Vec<EventRow<AlertEnded>>, StoreError> {
        self.newest("alerts_ended", before_seq("alerts_ended", before)?, rows_max).await
    }

    /// Archived reports, the newest first, without their rows.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn reports(&self, before: Option<u64>, rows_max: u32) -> Result<Vec<ReportHead>, StoreError> {
        let conditions = before_seq("reports", before)?;
        let sql = format!(
            "SELECT seq, at, id, kind FROM reports {} ORDER BY seq DESC LIMIT {}",
            conditions.sql(),
            limit(rows_max)
        );
        let rows = self.rows(&sql, conditions.values).await?;
        let head = |row: &AnyRow| -> Result<ReportHead, String> {
            Ok(ReportHead {
                seq: number(row, 0)?,
                at: UnixMillis(number(row, 1)?),
                id: text(row, 2)?,
                kind: text(row, 3)?,
            })
        };
        rows.iter().map(|row| head(row).map_err(|why| corrupt("reports", why))).collect()
    }

    /// An archived report.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn report(&self, id: &str) -> Result<Option<Report>, StoreError> {
        let mut conditions = Conditions::default();
        conditions.add("id = ?", Cell::text(id));
        let sql = format!("SELECT seq, body FROM reports {}", conditions.sql());
        Ok(self.bodies("reports", &sql, conditions.values).await?.into_iter().next().map(|found| found.row))
    }

    /// How many bytes the database takes.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn bytes(&self) -> Result<u64, StoreError> {
        let sql = match self.database.kind() {
            DatabaseKind::Sqlite => "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()",
            DatabaseKind::Postgres => "SELECT pg_database_size(current_database())",
        };
        let rows = self.rows(sql, Vec::new()).await?;
        let first = rows.first().ok_or_else(|| corrupt("the database's size", "no row".to_owned()))?;
        number(first, 0).map_err(|why| corrupt("the database's size", why))
    }

    /// Writes a backup to a file while everything goes on: what was committed when it began, and nothing later.
    ///
    /// # Errors
    /// If the database or the file fails. A file that was there before is replaced only by a whole backup.
    pub async fn backup(&self, path: &Path, now: UnixMillis) -> Result<BackupSummary, BackupError> {
        backup::backup(&self.database, path, now).await
    }

    async fn newest<T: DeserializeOwned>(
        &self,
        table: &'static str,
        conditions: Conditions,
        rows_max: u32,
    ) -> Result<Vec<EventRow<T>>, StoreError> {
        let sql =
            format!("SELECT seq, body FROM {table} {} ORDER BY seq DESC LIMIT {}", conditions.sql(), limit(rows_max));
        self.bodies(table, &sql, conditions.values).await
    }

    async fn bodies<T: DeserializeOwned>(
        &self,
        table: &'static str,
        sql: &str,
        values: Vec<Cell>,
    ) -> Result<Vec<EventRow<T>>, StoreError> {
        let rows = self.rows(sql, values).await?;
        let read = |row: &AnyRow| -> Result<EventRow<T>, String> {
            let row_body = text(row, 1)?;
            let parsed = serde_json::from_str(&row_body).map_err(|error| error.to_string())?;
            Ok(EventRow { seq: number(row, 0)?, row: parsed })
        };
        rows.iter().map(|row| read(row).map_err(|why| corrupt(table, why))).collect()
    }

    /// All rows of a query, which may take so long and no longer.
    pub(super) async fn rows(&self, sql: &str, values: Vec<Cell>) -> Result<Vec<AnyRow>, StoreError> {
        let failed = |source| StoreError::database("read history", source);
        let mut connection = self.pool.acquire().await.map_err(failed)?;
        let query = async { bind(sqlx::query(sql), values).fetch_all(&mut *connection).await.map_err(failed) };
        let result = self.database.within(self.database.patience().work, query).await;
        if matches!(result, Err(StoreError::Timeout { .. })) {
            // Its answer may still come: nobody else is to get it, and nobody is to wait for it.
            drop(connection.detach());
        }
        result
    }
}

pub(super) fn limit(rows_max: u32) -> u32 {
    if rows_max == 0 { ROWS_MAX } else { rows_max.min(ROWS_MAX) }
}

fn before_seq(table: &'static str, before: Option<u64>) -> Result<Conditions, StoreError> {
    let mut conditions = Conditions::default();
    if let Some(before) = before {
        conditions.add("seq < ?", Cell::number(table, before)?);
    }
    Ok(conditions)
}

pub(super) fn number(row: &AnyRow, at: usize) -> Result<u64, String> {
    let value: i64 = row.try_get(at).map_err(|error| error.to_string())?;
    u64::try_from(value).map_err(|_| format!("column {at} is {value}"))
}

pub(super) fn optional(row: &AnyRow, at: usize) -> Result<Option<u64>, String> {
    let value: Option<i64> = row.try_get(at).map_err(|error| error.to_string())?;
    value.map(u64::try_from).transpose().map_err(|_| format!("column {at} is negative"))
}

pub(super) fn text(row: &AnyRow, at: usize) -> Result<String, String> {
    row.try_get(at).map_err(|error| error.to_string())
}

pub(super) fn parsed<T: std::str::FromStr>(row: &AnyRow, at: usize) -> Result<T, String>
where
    T::Err: std::fmt::Display,
{
    text(row, at)?.parse().map_err(|error: T::Err| error.to_string())
}

pub(super) fn corrupt(table: &'static str, why: String) -> StoreError {
    StoreError::Corrupt { table, key: "?".to_owned(), why }
}
