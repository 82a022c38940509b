//! What is only ever added to, beside usage: the audit log, transfers, what happened to instances, alerts that ended,
//! archived reports.

use serde::Serialize;
use sqlx::AnyConnection;

use super::error::StoreError;
use super::rows::{self, Cell, OnConflict, Table};
use super::tables::{ALERTS_ENDED, AUDIT_LOG, INSTANCE_EVENTS, REPORTS, TRANSFERS};
use super::usage::Retention;
use crate::manager::domain::{AlertEnded, AuditEntry, Change, InstanceEvent, Journal, Report, TransferRow, UsageRow};
use crate::units::UnixMillis;

/// How many rows of one table end in one batch.
const ENDED_PER_BATCH: i64 = 1_000;

/// What the changes of a batch append, by kind.
#[derive(Debug, Default)]
pub(super) struct Appended<'c> {
    pub(super) usage: Vec<&'c UsageRow>,
    audit: Vec<&'c AuditEntry>,
    transfers: Vec<&'c TransferRow>,
    events: Vec<&'c InstanceEvent>,
    alerts: Vec<&'c AlertEnded>,
    reports: Vec<&'c Report>,
}

impl<'c> Appended<'c> {
    pub(super) fn of(changes: &'c [Change]) -> Self {
        let mut appended = Self::default();
        for change in changes {
            match change {
                Change::Append(Journal::Usage(row)) => appended.usage.push(row),
                Change::Append(Journal::Audit(entry)) => appended.audit.push(entry),
                Change::Append(Journal::Transfer(row)) => appended.transfers.push(row),
                Change::Append(Journal::Event(event)) => appended.events.push(event),
                Change::Append(Journal::AlertEnded(ended)) => appended.alerts.push(ended),
                Change::Append(Journal::Report(report)) => appended.reports.push(report),
                Change::Put(_) | Change::Remove(_) => {}
            }
        }
        appended
    }
}

/// The last number of each table whose rows are counted here. The audit log counts itself.
#[derive(Debug, Default)]
pub(super) struct Sequences {
    transfers: i64,
    events: i64,
    alerts: i64,
    reports: i64,
}

impl Sequences {
    pub(super) async fn load(connection: &mut AnyConnection) -> Result<Self, StoreError> {
        Ok(Self {
            transfers: last(connection, &TRANSFERS).await?,
            events: last(connection, &INSTANCE_EVENTS).await?,
            alerts: last(connection, &ALERTS_ENDED).await?,
            reports: last(connection, &REPORTS).await?,
        })
    }

    /// Writes within the caller's transaction. If that fails, this must be loaded again.
    pub(super) async fn append(
        &mut self,
        connection: &mut AnyConnection,
        appended: &Appended<'_>,
    ) -> Result<(), StoreError> {
        let mut audit = Vec::with_capacity(appended.audit.len());
        for entry in &appended.audit {
            audit.push(vec![
                Cell::number(AUDIT_LOG.name, entry.seq)?,
                Cell::number(AUDIT_LOG.name, entry.at.0)?,
                Cell::text(&entry.actor),
                Cell::text(&entry.action),
                Cell::text(&entry.target),
                Cell::text(&entry.previous),
                Cell::text(&entry.hash),
                body(&AUDIT_LOG, entry)?,
            ]);
        }
        let mut transfers = Vec::with_capacity(appended.transfers.len());
        for row in &appended.transfers {
            transfers.push(vec![
                next(&mut self.transfers),
                Cell::number(TRANSFERS.name, row.at.0)?,
                Cell::text(&row.actor),
                Cell::text(row.from.to_string()),
                Cell::text(row.to.to_string()),
                Cell::text(&row.tag),
                Cell::number(TRANSFERS.name, row.quantity)?,
                body(&TRANSFERS, row)?,
            ]);
        }
        let mut events = Vec::with_capacity(appended.events.len());
        for event in &appended.events {
            events.push(vec![
                next(&mut self.events),
                Cell::number(INSTANCE_EVENTS.name, event.at.0)?,
                Cell::text(event.instance.to_string()),
                name_of(&INSTANCE_EVENTS, &event.what)?,
                body(&INSTANCE_EVENTS, event)?,
            ]);
        }
        let mut alerts = Vec::with_capacity(appended.alerts.len());
        for ended in &appended.alerts {
            alerts.push(vec![
                next(&mut self.alerts),
                Cell::number(ALERTS_ENDED.name, ended.at.0)?,
                Cell::text(&ended.alert.id),
                body(&ALERTS_ENDED, ended)?,
            ]);
        }
        let mut reports = Vec::with_capacity(appended.reports.len());
        for report in &appended.reports {
            reports.push(vec![
                next(&mut self.reports),
                Cell::number(REPORTS.name, report.at.0)?,
                Cell::text(report.id.to_string()),
                name_of(&REPORTS, &report.kind)?,
                body(&REPORTS, report)?,
            ]);
        }
        let all = [
            (&AUDIT_LOG, audit),
            (&TRANSFERS, transfers),
            (&INSTANCE_EVENTS, events),
            (&ALERTS_ENDED, alerts),
            (&REPORTS, reports),
        ];
        for (table, rows) in all {
            // An entry of the audit log that is there already is a broken chain: it fails.
            rows::insert(connection, table, OnConflict::Fail, rows).await?;
        }
        Ok(())
    }
}

/// Ends what was kept for `retention.daily_days`, the oldest first, at most a batch of each table. The audit log and
/// transfers are kept for ever.
pub(super) async fn end(
    connection: &mut AnyConnection,
    retention: Retention,
    now: UnixMillis,
) -> Result<(), StoreError> {
    let kept_ms = u64::from(retention.daily_days) * 86_400_000;
    let before = i64::try_from(now.0.saturating_sub(kept_ms)).unwrap_or(i64::MAX);
    for table in [&INSTANCE_EVENTS, &ALERTS_ENDED, &REPORTS] {
        let sql = format!(
            "DELETE FROM {name} WHERE at < $1 AND seq < (SELECT MIN(seq) FROM {name}) + {ENDED_PER_BATCH}",
            name = table.name
        );
        sqlx::query(&sql)
            .bind(before)
            .execute(&mut *connection)
            .await
            .map_err(|source| StoreError::database("end old rows", source))?;
    }
    Ok(())
}

async fn last(connection: &mut AnyConnection, table: &Table) -> Result<i64, StoreError> {
    let sql = format!("SELECT MAX(seq) FROM {}", table.name);
    let last: Option<i64> = sqlx::query_scalar(&sql)
        .fetch_one(connection)
        .await
        .map_err(|source| StoreError::database("read the last number", source))?;
    Ok(last.unwrap_or(0))
}

fn next(last: &mut i64) -> Cell {
    *last += 1;
    Cell::Int(*last)
}

fn body(table: &Table, value: &impl Serialize) -> Result<Cell, StoreError> {
    serde_json::to_string(value).map(Cell::Text).map_err(|error| unwritable(table, &error))
}

/// The name by which serde writes a plain enum.
fn name_of(table: &Table, value: &impl Serialize) -> Result<Cell, StoreError> {
    match serde_json::to_value(value).map_err(|error| unwritable(table, &error))? {
        serde_json::Value::String(name) => Ok(Cell::Text(name)),
        other @ (serde_json::Value::Null
        | serde_json::Value::Bool(_)
        | serde_json::Value::Number(_)
        | serde_json::Value::Array(_)
        | serde_json::Value::Object(_)) => Ok(Cell::Text(other.to_string())),
    }
}

fn unwritable(table: &Table, error: &serde_json::Error) -> StoreError {
    StoreError::Corrupt { table: table.name, key: "new".to_owned(), why: error.to_string() }
}
