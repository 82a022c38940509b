//! Records and journals to store.

use callgate::manager::domain::{
    AlertEnded, AuditHead, Change, Domain, InstanceEvent, InstanceEventKind, InstanceId, InstanceState, Journal, LotId,
    Record, RecordKind, Report, ReportId, ReportKind, Setting, TransferRow, UsageRow, VirtualAccountId,
};
use callgate::protocol::{Entropy, RegistrationToken, SecretKey, Udi};
use callgate::units::UnixMillis;
use serde_json::json;

use super::NOW;

pub(crate) const DAY_MS: u64 = 86_400_000;
const HOUR_MS: u64 = 3_600_000;

pub(crate) fn entropy(seed: u8) -> Entropy {
    Entropy::from_seed([seed; 32])
}

pub(crate) fn account_id(seed: u8) -> VirtualAccountId {
    VirtualAccountId::generate(&mut entropy(seed))
}

pub(crate) fn instance_id(seed: u8) -> InstanceId {
    InstanceId::generate(&mut entropy(seed))
}

/// Records that make a domain, the fewest.
pub(crate) fn founded() -> Vec<Change> {
    Domain::found("test", NOW, &mut entropy(1)).1
}

pub(crate) fn setting(name: impl Into<String>, value: impl Into<String>) -> Record {
    Record::Setting(Setting { name: name.into(), value: value.into() })
}

pub(crate) fn instance(seed: u8, hostname: Option<&str>) -> Record {
    let random = &mut entropy(seed);
    let body = json!({
        "id": InstanceId::generate(random), "udi": Udi::generate("test", random), "virtual_account": account_id(1),
        "state": "registered", "state_since": NOW, "key": SecretKey::from_seed([seed; 32]).public(), "pending": null,
        "retired": [], "certificate": { "serial": "0".repeat(32), "not_before": NOW, "not_after": NOW },
        "acknowledged": true, "token": null, "export_allowed": false, "hostname": hostname, "address": "192.0.2.7",
        "profile": "cccsp", "version": "1", "agent_version": "1", "usage": "production", "tags": ["a"],
        "fingerprint": "f", "removal": null, "priority": 0, "note": "größe ' \" \\ \u{1}", "registered_at": NOW,
        "last_contact": NOW, "last_report": null, "message_seq": 5, "last_sent_at": NOW, "nonces": [], "forks": 0,
        "grant_seq": 7, "grant_expires_at": null, "entitlements": [], "leaving": [], "eval_used_s": 12,
    });
    Record::parse(RecordKind::Instance, &body.to_string()).expect("an instance")
}

/// One record of each kind.
pub(crate) fn one_of_each() -> Vec<Record> {
    let random = &mut entropy(9);
    let token = RegistrationToken::generate(random).hash();
    let key = SecretKey::from_seed([9; 32]).public();
    let bodies = [
        (
            RecordKind::Tag,
            json!({ "tag": "premium", "display_name": "Premium", "tier": { "family": "ccx", "level": 2 } }),
        ),
        (
            RecordKind::Lot,
            json!({ "id": LotId::generate(random), "virtual_account": account_id(1), "tag": "premium", "quantity": 10,
                "start": NOW, "end": null, "note": "", "created_at": NOW, "split_from": null }),
        ),
        (
            RecordKind::Token,
            json!({ "id": callgate::manager::domain::TokenId::generate(random), "virtual_account": account_id(1),
                "hash": token, "max_uses": null, "uses": 3, "created_at": NOW, "expires_at": NOW,
                "export_allowed": true, "products": [], "networks": ["10.0.0.0/8"], "note": "", "created_by": "u",
                "revoked_at": NOW, "last_used_at": null }),
        ),
        (RecordKind::Machine, json!({ "fingerprint": "f", "eval_used_s": 4, "instances": [], "allowed": false })),
        (
            RecordKind::User,
            json!({ "id": callgate::manager::domain::UserId::generate(random), "name": "ada", "role": "license_admin",
                "password_hash": "x", "disabled": true, "created_at": NOW, "password_at": NOW }),
        ),
        (
            RecordKind::ApiKey,
            json!({ "id": callgate::manager::domain::ApiKeyId::generate(random), "name": "ci", "role": "viewer",
                "prefix": "p", "hash": token, "created_by": "u", "created_at": NOW, "expires_at": NOW,
                "revoked_at": null }),
        ),
        (RecordKind::Alert, alert()),
        (
            RecordKind::Key,
            json!({ "kid": key.id(), "key": key, "key_use": null, "not_before": NOW, "not_after": NOW,
                "state": "active", "created_at": NOW }),
        ),
        (RecordKind::AuditHead, json!(AuditHead::default())),
    ];
    let mut records: Vec<Record> = bodies
        .into_iter()
        .map(|(kind, body)| Record::parse(kind, &body.to_string()).unwrap_or_else(|e| panic!("{kind:?}: {e}")))
        .collect();
    records.extend(founded().into_iter().filter_map(|change| match change {
        Change::Put(record) => Some(record),
        Change::Remove(_) | Change::Append(_) => None,
    }));
    records.push(instance(5, None));
    records.push(setting("a", "b"));
    records
}

fn alert() -> serde_json::Value {
    json!({ "id": "insufficient_licenses:x", "kind": "insufficient_licenses", "severity": "major", "source": "/x",
        "virtual_account": null, "text": "t", "action": "a", "due": null, "raised_at": NOW, "acknowledged": null })
}

pub(crate) fn put(records: impl IntoIterator<Item = Record>) -> Vec<Change> {
    records.into_iter().map(Change::Put).collect()
}

/// A report of six hours that ends `hours` after [`NOW`]'s midnight.
pub(crate) fn usage(instance: u8, tag: &str, hours: u64, peak: u64) -> UsageRow {
    let until = UnixMillis(NOW.0 - NOW.0 % DAY_MS + hours * HOUR_MS);
    UsageRow {
        instance: instance_id(instance),
        virtual_account: account_id(1 + instance % 2),
        tag: tag.to_owned(),
        from: UnixMillis(until.0 - 6 * HOUR_MS),
        until,
        requested: 100,
        reported: peak.min(90),
        observed_peak: peak,
        peak_at: peak.is_multiple_of(2).then(|| UnixMillis(until.0 - 1_000 * peak)),
        p95: peak / 2,
        samples: 24,
        next: (peak > 100).then_some(peak),
        received_at: UnixMillis(until.0 + 3_000),
    }
}

pub(crate) fn append_usage(rows: impl IntoIterator<Item = UsageRow>) -> Vec<Change> {
    rows.into_iter().map(|row| Change::Append(Journal::Usage(row))).collect()
}

pub(crate) fn audit(head: &mut AuditHead, action: &str) -> Change {
    let entry =
        head.append(NOW, "user:ada".to_owned(), Some("192.0.2.1".to_owned()), action, "/x".to_owned(), "é".to_owned());
    Change::Append(Journal::Audit(entry))
}

pub(crate) fn event(instance: u8, detail: u64, at: UnixMillis) -> Journal {
    Journal::Event(InstanceEvent {
        at,
        instance: instance_id(instance),
        udi: Udi::generate("test", &mut entropy(instance)),
        what: InstanceEventKind::TakenOver,
        virtual_account: account_id(1),
        state: InstanceState::Registered,
        detail: detail.to_string(),
    })
}

pub(crate) fn transfer(quantity: u64) -> Journal {
    let lot = LotId::generate(&mut entropy(3));
    Journal::Transfer(TransferRow {
        at: NOW,
        actor: "user:ada".to_owned(),
        from: account_id(1),
        to: account_id(2),
        tag: "premium".to_owned(),
        quantity,
        lot,
        new_lot: lot,
    })
}

pub(crate) fn alert_ended() -> Journal {
    let alert = serde_json::from_value(alert()).expect("an alert");
    Journal::AlertEnded(AlertEnded { at: NOW, alert })
}

pub(crate) fn report(seed: u8, at: UnixMillis) -> Report {
    Report {
        id: ReportId::generate(&mut entropy(seed)),
        kind: ReportKind::ComplianceWarning,
        virtual_account: None,
        at,
        actor: "system".to_owned(),
        pools: Vec::new(),
        instances: Vec::new(),
        instances_left_out: 0,
    }
}
