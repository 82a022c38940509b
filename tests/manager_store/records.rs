//! Records: what was put is loaded, also by a person with a database client; all of a commit or nothing.

use callgate::manager::domain::{AuditHead, Change, Record, RecordKind};
use callgate::manager::store::{Store, StoreError};

use super::data::{audit, founded, instance, one_of_each, put, setting};
use super::{Db, on_both};

on_both!(
    each_kind_of_record_is_loaded_as_it_was_put,
    the_last_change_of_a_record_counts,
    columns_beside_the_body_say_what_the_body_says,
    a_commit_is_all_or_nothing,
    one_manager_at_a_time_works_on_a_database,
    a_manager_that_was_taken_over_writes_nothing_more,
    a_newer_database_is_refused,
    a_body_that_is_no_record_is_named,
);

fn sorted(mut records: Vec<Record>) -> Vec<Record> {
    records.sort_by_key(Record::key);
    records
}

async fn settings(store: &mut Store) -> Vec<(String, String)> {
    let records = store.load().await.expect("it loads").records;
    records
        .into_iter()
        .filter_map(|record| if let Record::Setting(found) = record { Some((found.name, found.value)) } else { None })
        .collect()
}

async fn each_kind_of_record_is_loaded_as_it_was_put(db: &Db) {
    let records = one_of_each();
    for kind in RecordKind::ALL {
        assert!(records.iter().any(|record| record.key().kind == kind), "one of {}", kind.name());
    }
    let mut store = db.open().await;
    assert!(store.load().await.unwrap().records.is_empty());
    store.commit(&put(records.clone())).await.unwrap();
    let loaded = store.load().await.unwrap();
    assert!(!loaded.restored);
    assert_eq!(sorted(loaded.records), sorted(records.clone()));
    store.close().await;
    let mut again = super::opened(&db.url()).await;
    assert_eq!(sorted(again.load().await.unwrap().records), sorted(records.clone()));
    let removals: Vec<Change> = records.iter().map(|record| Change::Remove(record.key())).collect();
    again.commit(&removals).await.unwrap();
    assert!(again.load().await.unwrap().records.is_empty());
}

async fn the_last_change_of_a_record_counts(db: &Db) {
    let mut store = db.open().await;
    let (first, second) = (setting("s", "first"), setting("s", "second"));
    let key = first.key();
    let rows = [
        (vec![Change::Put(first.clone()), Change::Put(second.clone())], Some("second")),
        (vec![Change::Put(second.clone()), Change::Remove(key.clone())], None),
        (vec![Change::Remove(key.clone()), Change::Put(first.clone())], Some("first")),
        (vec![Change::Put(second)], Some("second")),
        (vec![Change::Remove(key.clone())], None),
        (vec![Change::Remove(key)], None),
    ];
    for (at, (changes, expected)) in rows.into_iter().enumerate() {
        store.commit(&changes).await.unwrap();
        let found = settings(&mut store).await;
        assert_eq!(found.first().map(|(_, value)| value.as_str()), expected, "row {at}");
    }
    // More than one statement holds, and each size of statement.
    let many: Vec<Record> = (0..1_367).map(|number| setting(format!("s{number:04}"), "x")).collect();
    store.commit(&put(many)).await.unwrap();
    assert_eq!(settings(&mut store).await.len(), 1_367);
    let many: Vec<Record> = (0..1_367).map(|number| setting(format!("s{number:04}"), number.to_string())).collect();
    store.commit(&put(many)).await.unwrap();
    let found = settings(&mut store).await;
    assert_eq!(found.len(), 1_367);
    for (number, (name, value)) in found.iter().enumerate() {
        assert_eq!((name.as_str(), value.as_str()), (format!("s{number:04}").as_str(), number.to_string().as_str()));
    }
}

async fn columns_beside_the_body_say_what_the_body_says(db: &Db) {
    let mut store = db.open().await;
    store.commit(&put(one_of_each())).await.unwrap();
    store.commit(&put([instance(6, Some("edge-1"))])).await.unwrap();
    let rows = [
        ("SELECT hostname FROM instances WHERE hostname IS NOT NULL AND grant_seq = 7", "edge-1"),
        ("SELECT state FROM instances WHERE hostname = 'edge-1'", "registered"),
        ("SELECT role FROM users WHERE disabled = 1 AND name = 'ada'", "license_admin"),
        ("SELECT tag FROM lots WHERE quantity = 10 AND ends_at IS NULL", "premium"),
        ("SELECT display_name FROM tags WHERE id = 'premium'", "Premium"),
        ("SELECT kind FROM alerts WHERE due IS NULL AND virtual_account IS NULL", "insufficient_licenses"),
    ];
    for (sql, expected) in rows {
        assert_eq!(db.text(sql).await, expected, "{sql}");
    }
    let tokens = "SELECT COUNT(*) FROM tokens WHERE uses = 3 AND max_uses IS NULL AND revoked_at = 1800000000000";
    assert_eq!(db.number(tokens).await, 1);
    // What changes in the body changes beside it.
    store.commit(&put([instance(6, Some("edge-2"))])).await.unwrap();
    assert_eq!(db.number("SELECT COUNT(*) FROM instances WHERE hostname = 'edge-2'").await, 1);
    assert_eq!(db.number("SELECT COUNT(*) FROM instances WHERE hostname = 'edge-1'").await, 0);
}

async fn a_commit_is_all_or_nothing(db: &Db) {
    let mut store = db.open().await;
    let mut head = AuditHead::default();
    let first = audit(&mut head, "first");
    let mut changes = founded();
    changes.push(first.clone());
    store.commit(&changes).await.unwrap();
    let before = sorted(store.load().await.unwrap().records);

    // An entry of the audit log that is there already fails, after the records of its batch were written.
    let mut changes = put([setting("lost", "x"), instance(4, None)]);
    changes.push(audit(&mut head, "second"));
    changes.push(first);
    let error = store.commit(&changes).await.unwrap_err();
    assert!(matches!(error, StoreError::Database { .. }), "{error}");
    assert_eq!(sorted(store.load().await.unwrap().records), before);
    assert_eq!(store.history().audit(0, 0).await.unwrap().len(), 1);

    // And goes on as if nothing had been.
    store.commit(&put([setting("kept", "x")])).await.unwrap();
    assert_eq!(settings(&mut store).await, [("kept".to_owned(), "x".to_owned())]);
}

async fn one_manager_at_a_time_works_on_a_database(db: &Db) {
    let first = db.open().await;
    let error = db.try_open().await.unwrap_err();
    assert!(matches!(error, StoreError::InUse { .. }), "{error}");
    assert!(error.to_string().contains("in use by another manager"), "{error}");
    first.close().await;
    super::opened(&db.url()).await.close().await;
}

async fn a_manager_that_was_taken_over_writes_nothing_more(db: &Db) {
    let mut store = db.open().await;
    store.commit(&put([setting("a", "1")])).await.unwrap();
    db.execute("UPDATE store_state SET writer = writer + 1").await;
    for _ in 0..2 {
        // The second time on a new connection.
        let error = store.commit(&put([setting("a", "2")])).await.unwrap_err();
        assert!(matches!(error, StoreError::TakenOver), "{error}");
    }
    assert_eq!(db.text("SELECT body FROM settings").await, r#"{"name":"a","value":"1"}"#);
}

async fn a_newer_database_is_refused(db: &Db) {
    db.open().await.close().await;
    db.execute("INSERT INTO schema_versions (version, applied_at) VALUES (1000, 0)").await;
    let mut last = String::new();
    for _ in 0..100 {
        let error = db.try_open().await.unwrap_err();
        if matches!(error, StoreError::Newer { found: 1000, .. }) {
            assert!(error.to_string().contains("use the newer program"), "{error}");
            return;
        }
        // The lock of the store that was closed a moment ago.
        last = error.to_string();
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("{last}");
}

async fn a_body_that_is_no_record_is_named(db: &Db) {
    let mut store = db.open().await;
    store.commit(&put([setting("a", "1"), setting("b", "2")])).await.unwrap();
    db.execute("UPDATE settings SET body = '{}' WHERE id = 'b'").await;
    let error = store.load().await.unwrap_err().to_string();
    assert!(error.starts_with("table settings, row b: "), "{error}");
    db.execute("UPDATE settings SET body = (SELECT body FROM settings WHERE id = 'a') WHERE id = 'b'").await;
    let error = store.load().await.unwrap_err().to_string();
    assert!(error.starts_with("table settings, row b: it holds setting/a"), "{error}");
}
