//! The tables of the present schema, and how a record becomes a row of its own.
//!
//! A schema version that changes a table of version N needs the old description too, for backups of version N.

use super::error::StoreError;
use super::rows::Type::{Int, Text};
use super::rows::{Cell, Table};
use crate::manager::domain::{Record, RecordKind};
use crate::units::UnixMillis;

const ACCOUNTS: Table = Table {
    name: "accounts",
    columns: &[("id", Text), ("name", Text), ("policy_version", Int), ("body", Text)],
    key: 1,
};
const VIRTUAL_ACCOUNTS: Table =
    Table { name: "virtual_accounts", columns: &[("id", Text), ("name", Text), ("body", Text)], key: 1 };
const TAGS: Table = Table { name: "tags", columns: &[("id", Text), ("display_name", Text), ("body", Text)], key: 1 };
const LOTS: Table = Table {
    name: "lots",
    columns: &[
        ("id", Text),
        ("virtual_account", Text),
        ("tag", Text),
        ("quantity", Int),
        ("starts_at", Int),
        ("ends_at", Int),
        ("body", Text),
    ],
    key: 1,
};
const TOKENS: Table = Table {
    name: "tokens",
    columns: &[
        ("id", Text),
        ("virtual_account", Text),
        ("uses", Int),
        ("max_uses", Int),
        ("expires_at", Int),
        ("revoked_at", Int),
        ("body", Text),
    ],
    key: 1,
};
const INSTANCES: Table = Table {
    name: "instances",
    columns: &[
        ("id", Text),
        ("virtual_account", Text),
        ("state", Text),
        ("udi", Text),
        ("hostname", Text),
        ("profile", Text),
        ("registered_at", Int),
        ("last_contact", Int),
        ("grant_seq", Int),
        ("body", Text),
    ],
    key: 1,
};
const MACHINES: Table =
    Table { name: "machines", columns: &[("id", Text), ("eval_used_s", Int), ("body", Text)], key: 1 };
const USERS: Table = Table {
    name: "users",
    columns: &[("id", Text), ("name", Text), ("role", Text), ("disabled", Int), ("body", Text)],
    key: 1,
};
const API_KEYS: Table = Table {
    name: "api_keys",
    columns: &[("id", Text), ("name", Text), ("role", Text), ("expires_at", Int), ("revoked_at", Int), ("body", Text)],
    key: 1,
};
const ALERTS: Table = Table {
    name: "alerts",
    columns: &[
        ("id", Text),
        ("kind", Text),
        ("virtual_account", Text),
        ("raised_at", Int),
        ("due", Int),
        ("body", Text),
    ],
    key: 1,
};
const SIGNING_KEYS: Table = Table {
    name: "signing_keys",
    columns: &[("id", Text), ("not_before", Int), ("not_after", Int), ("body", Text)],
    key: 1,
};
const SETTINGS: Table = Table { name: "settings", columns: &[("id", Text), ("body", Text)], key: 1 };
const AUDIT_HEAD: Table = Table { name: "audit_head", columns: &[("id", Text), ("body", Text)], key: 1 };

pub(super) const AUDIT_LOG: Table = Table {
    name: "audit_log",
    columns: &[
        ("seq", Int),
        ("at", Int),
        ("actor", Text),
        ("action", Text),
        ("target", Text),
        ("previous", Text),
        ("hash", Text),
        ("body", Text),
    ],
    key: 1,
};
pub(super) const TRANSFERS: Table = Table {
    name: "transfers",
    columns: &[
        ("seq", Int),
        ("at", Int),
        ("actor", Text),
        ("from_account", Text),
        ("to_account", Text),
        ("tag", Text),
        ("quantity", Int),
        ("body", Text),
    ],
    key: 1,
};
pub(super) const INSTANCE_EVENTS: Table = Table {
    name: "instance_events",
    columns: &[("seq", Int), ("at", Int), ("instance", Text), ("what", Text), ("body", Text)],
    key: 1,
};
pub(super) const ALERTS_ENDED: Table =
    Table { name: "alerts_ended", columns: &[("seq", Int), ("at", Int), ("alert", Text), ("body", Text)], key: 1 };
pub(super) const REPORTS: Table = Table {
    name: "reports",
    columns: &[("seq", Int), ("at", Int), ("id", Text), ("kind", Text), ("body", Text)],
    key: 1,
};
pub(super) const USAGE_INSTANCES: Table =
    Table { name: "usage_instances", columns: &[("number", Int), ("instance", Text)], key: 1 };
pub(super) const USAGE_ACCOUNTS: Table =
    Table { name: "usage_accounts", columns: &[("number", Int), ("virtual_account", Text)], key: 1 };
pub(super) const USAGE_TAGS: Table = Table { name: "usage_tags", columns: &[("number", Int), ("tag", Text)], key: 1 };
pub(super) const USAGE_REPORTS: Table = Table {
    name: "usage_reports",
    columns: &[
        ("instance", Int),
        ("tag", Int),
        ("until_s", Int),
        ("account", Int),
        ("span_s", Int),
        ("requested", Int),
        ("reported", Int),
        ("observed", Int),
        ("p95", Int),
        ("samples", Int),
        ("peak_before_s", Int),
        ("next", Int),
        ("received_after_s", Int),
    ],
    key: 3,
};
pub(super) const USAGE_DAILY: Table = Table {
    name: "usage_daily",
    columns: &[
        ("instance", Int),
        ("tag", Int),
        ("day", Int),
        ("account", Int),
        ("reports", Int),
        ("requested", Int),
        ("reported", Int),
        ("observed", Int),
        ("p95", Int),
        ("samples", Int),
    ],
    key: 3,
};

pub(super) const USAGE_HOURS: Table = Table {
    name: "usage_hours",
    columns: &[
        ("account", Int),
        ("tag", Int),
        ("hour", Int),
        ("covered_s", Int),
        ("reports", Int),
        ("requested_s", Int),
        ("reported_s", Int),
        ("observed_s", Int),
        ("p95_s", Int),
    ],
    key: 3,
};

/// What belongs to a backup: everything but the schema's versions and who writes.
pub(super) const TABLES: &[Table] = &[
    ACCOUNTS,
    VIRTUAL_ACCOUNTS,
    TAGS,
    LOTS,
    TOKENS,
    INSTANCES,
    MACHINES,
    USERS,
    API_KEYS,
    ALERTS,
    SIGNING_KEYS,
    SETTINGS,
    AUDIT_HEAD,
    AUDIT_LOG,
    TRANSFERS,
    INSTANCE_EVENTS,
    ALERTS_ENDED,
    REPORTS,
    USAGE_INSTANCES,
    USAGE_TAGS,
    USAGE_ACCOUNTS,
    USAGE_REPORTS,
    USAGE_DAILY,
    USAGE_HOURS,
];

/// Where records of a kind are.
pub(super) const fn table_of(kind: RecordKind) -> &'static Table {
    match kind {
        RecordKind::Account => &ACCOUNTS,
        RecordKind::VirtualAccount => &VIRTUAL_ACCOUNTS,
        RecordKind::Tag => &TAGS,
        RecordKind::Lot => &LOTS,
        RecordKind::Token => &TOKENS,
        RecordKind::Instance => &INSTANCES,
        RecordKind::Machine => &MACHINES,
        RecordKind::User => &USERS,
        RecordKind::ApiKey => &API_KEYS,
        RecordKind::Alert => &ALERTS,
        RecordKind::Key => &SIGNING_KEYS,
        RecordKind::Setting => &SETTINGS,
        RecordKind::AuditHead => &AUDIT_HEAD,
    }
}

/// The row of a record, in its table's columns.
pub(super) fn row_of(record: &Record) -> Result<Vec<Cell>, StoreError> {
    let key = record.key();
    let table = table_of(key.kind).name;
    let body =
        record.body().map_err(|error| StoreError::Corrupt { table, key: key.id.clone(), why: error.to_string() })?;
    let number = |value: u64| Cell::number(table, value);
    let time = |value: UnixMillis| Cell::number(table, value.0);
    let some_time = |value: Option<UnixMillis>| Cell::optional_number(table, value.map(|at| at.0));
    let mut row = vec![Cell::Text(key.id)];
    row.extend(match record {
        Record::Account(account) => vec![Cell::text(&account.name), number(account.policy_version)?],
        Record::VirtualAccount(account) => vec![Cell::text(&account.name)],
        Record::Tag(tag) => vec![Cell::text(&tag.display_name)],
        Record::Lot(lot) => vec![
            Cell::text(lot.virtual_account.to_string()),
            Cell::text(&lot.tag),
            number(lot.quantity)?,
            time(lot.start)?,
            some_time(lot.end)?,
        ],
        Record::Token(token) => vec![
            Cell::text(token.virtual_account.to_string()),
            number(token.uses)?,
            Cell::optional_number(table, token.max_uses)?,
            time(token.expires_at)?,
            some_time(token.revoked_at)?,
        ],
        Record::Instance(instance) => vec![
            Cell::text(instance.virtual_account.to_string()),
            Cell::text(instance.state.name()),
            Cell::text(instance.udi.to_string()),
            Cell::optional_text(instance.hostname.as_deref()),
            Cell::text(&instance.profile),
            time(instance.registered_at)?,
            time(instance.last_contact)?,
            number(instance.grant_seq)?,
        ],
        Record::Machine(machine) => vec![number(machine.eval_used_s)?],
        Record::User(user) => vec![Cell::text(&user.name), Cell::text(user.role.name()), Cell::flag(user.disabled)],
        Record::ApiKey(key) => vec![
            Cell::text(&key.name),
            Cell::text(key.role.name()),
            some_time(key.expires_at)?,
            some_time(key.revoked_at)?,
        ],
        Record::Alert(alert) => vec![
            Cell::text(alert.kind.name()),
            Cell::optional_text(alert.virtual_account.map(|id| id.to_string())),
            time(alert.raised_at)?,
            some_time(alert.due)?,
        ],
        Record::Key(key) => vec![time(key.not_before)?, time(key.not_after)?],
        Record::Setting(_) | Record::AuditHead(_) => Vec::new(),
    });
    row.push(Cell::Text(body));
    Ok(row)
}
