//! Backups: made while the manager runs, restored into either kind of database, refused when damaged.

use std::path::Path;

use callgate::manager::domain::{AuditHead, Change, Record};
use callgate::manager::store::{BackupError, DatabaseUrl, Store, UsageQuery, restore, verify_backup};

use super::data::{append_usage, audit, event, one_of_each, put, setting, transfer, usage};
use super::{Db, NOW, on_both};

on_both!(
    a_backup_restores_into_either_kind_of_database,
    a_backup_sees_one_instant_while_the_manager_writes,
    what_is_not_empty_is_replaced_only_by_force,
    a_damaged_backup_is_refused_and_changes_nothing,
);

async fn filled(store: &mut Store) {
    let mut changes = put(one_of_each());
    let mut head = AuditHead::default();
    changes.extend((0..30).map(|at| audit(&mut head, &format!("act-{at}"))));
    changes.extend([Change::Append(event(1, 1, NOW)), Change::Append(transfer(4))]);
    store.commit(&changes).await.unwrap();
    let reports = (0..3_000_u64).map(|at| usage(u8::try_from(at % 100).unwrap(), "a", at / 100, at % 300));
    store.commit(&append_usage(reports)).await.unwrap();
    // Some of them as days.
    store
        .retain(callgate::manager::store::Retention::default(), callgate::units::UnixMillis(NOW.0 + 31 * 86_400_000))
        .await
        .unwrap();
}

/// All that a store holds, in a form that can be compared.
async fn everything(store: &mut Store) -> (Vec<Record>, String) {
    let records = store.load().await.unwrap().records;
    let history = store.history();
    let journals = format!(
        "{:?} {:?} {:?} {:?} {:?}",
        history.usage(&UsageQuery::default()).await.unwrap().items,
        history.usage_daily(&UsageQuery::default()).await.unwrap().items,
        history.verify_audit().await.unwrap(),
        history.events(None, None, 0).await.unwrap(),
        history.transfers(None, 0).await.unwrap(),
    );
    (records, journals)
}

async fn a_backup_restores_into_either_kind_of_database(db: &Db) {
    let mut store = db.open().await;
    filled(&mut store).await;
    let expected = everything(&mut store).await;
    let path = db.path("backup");
    let summary = store.history().backup(&path, NOW).await.unwrap();
    assert_eq!(verify_backup(&path).unwrap(), summary);
    let rows = |name: &str| summary.rows.iter().find(|(table, _)| table == name).unwrap().1;
    assert_eq!((rows("audit_log"), rows("usage_instances")), (30, 100));
    assert_eq!(rows("usage_reports") + rows("usage_daily"), 600 + 100, "six hours of the second day are kept");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);

    let other = Db::sqlite();
    restored_is(&other.url(), &path, &expected).await;
    if db.is_postgres() {
        // And the other way: what SQLite wrote into PostgreSQL.
        let sqlite = Db::sqlite();
        restore(sqlite.url(), &path, false, NOW).await.unwrap();
        let again = sqlite.path("again");
        let written = sqlite.open().await.history().backup(&again, NOW).await.unwrap();
        assert_eq!((written.database.as_str(), &written.rows), ("sqlite", &summary.rows));
        let (url, drop_it) = db.another().await;
        restored_is(&url, &again, &expected).await;
        drop_it.await;
    }
}

async fn restored_is(url: &DatabaseUrl, backup: &Path, expected: &(Vec<Record>, String)) {
    restore(url.clone(), backup, false, NOW).await.unwrap();
    let mut store = super::opened(url).await;
    assert!(store.load().await.unwrap().restored, "the domain has to be told");
    assert!(&everything(&mut store).await == expected, "what was restored is what was backed up");
    // It goes on being so until the domain's changes are committed, and goes on writing where the backup ended.
    store.commit(&[]).await.unwrap();
    assert!(store.load().await.unwrap().restored);
    store.commit_restored(&append_usage([usage(200, "new", 1, 1)])).await.unwrap();
    assert!(!store.load().await.unwrap().restored);
    store.commit(&[Change::Append(event(1, 2, NOW)), Change::Append(transfer(1))]).await.unwrap();
    assert_eq!(store.history().events(None, None, 0).await.unwrap().len(), 2);
    store.close().await;
}

async fn a_backup_sees_one_instant_while_the_manager_writes(db: &Db) {
    let mut store = db.open().await;
    store.commit(&put([setting("a", "0"), setting("b", "0")])).await.unwrap();
    let history = store.history();
    let writing = tokio::spawn(async move {
        let mut head = AuditHead::default();
        for number in 1..=80_u64 {
            let mut changes = put([setting("a", number.to_string()), setting("b", number.to_string())]);
            changes.push(audit(&mut head, "act"));
            store.commit(&changes).await.unwrap();
        }
        store
    });
    let mut seen = Vec::new();
    while !writing.is_finished() && seen.len() < 12 {
        let path = db.path(&format!("backup-{}", seen.len()));
        let summary = history.backup(&path, NOW).await.unwrap();
        seen.push((path, summary));
    }
    assert!(seen.len() > 1, "backups were made meanwhile");
    writing.await.unwrap().close().await;
    for (path, summary) in &seen {
        let target = Db::sqlite();
        restore(target.url(), path, false, NOW).await.unwrap();
        let mut store = target.open().await;
        let values: Vec<Record> = store.load().await.unwrap().records;
        let [Record::Setting(a), Record::Setting(b)] = values.as_slice() else { panic!("{values:?}") };
        assert_eq!(a.value, b.value);
        let entries = summary.rows.iter().find(|(table, _)| table == "audit_log").unwrap().1;
        assert_eq!(a.value, entries.to_string());
    }
}

async fn what_is_not_empty_is_replaced_only_by_force(db: &Db) {
    let source = Db::sqlite();
    let mut store = source.open().await;
    store.commit(&put([setting("from", "backup")])).await.unwrap();
    let path = source.path("backup");
    store.history().backup(&path, NOW).await.unwrap();

    let mut store = db.open().await;
    store.commit(&put([setting("mine", "x")])).await.unwrap();
    let error = restore(db.url(), &path, true, NOW).await.unwrap_err().to_string();
    assert!(error.contains("in use by another manager"), "{error}");
    store.close().await;
    drop(super::opened(&db.url()).await);
    let error = restored_when_free(db, &path, false).await.unwrap_err();
    assert!(matches!(error, BackupError::NotEmpty { .. }), "{error}");
    assert!(error.to_string().contains("needs --force"), "{error}");
    assert!(db.text("SELECT body FROM settings").await.contains("mine"));
    restored_when_free(db, &path, true).await.unwrap();
    assert!(db.text("SELECT body FROM settings").await.contains("backup"));
    // What an interrupted start left, tables and nothing in them, is empty.
    db.execute("DELETE FROM settings").await;
    restored_when_free(db, &path, false).await.unwrap();
}

/// PostgreSQL may need a moment to notice that a session ended.
async fn restored_when_free(db: &Db, path: &Path, force: bool) -> Result<(), BackupError> {
    let mut result = restore(db.url(), path, force, NOW).await;
    for _ in 0..100 {
        if !matches!(&result, Err(error) if error.to_string().contains("in use")) {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        result = restore(db.url(), path, force, NOW).await;
    }
    result.map(|_| ())
}

async fn a_damaged_backup_is_refused_and_changes_nothing(db: &Db) {
    let source = Db::sqlite();
    let mut store = source.open().await;
    filled(&mut store).await;
    let path = source.path("backup");
    store.history().backup(&path, NOW).await.unwrap();
    let whole = std::fs::read_to_string(&path).unwrap();

    let lines: Vec<&str> = whole.split_inclusive('\n').collect();
    let cut = lines[..lines.len() / 2].concat();
    std::fs::write(&path, &cut).unwrap();
    let error = restore(db.url(), &path, false, NOW).await.unwrap_err();
    assert!(matches!(error, BackupError::Truncated { .. }), "{error}");
    assert!(error.to_string().contains(&format!("after line {}", lines.len() / 2)), "{error}");

    let changed = whole.replacen("act-17", "act-18", 1);
    let line = 1 + lines.iter().position(|line| line.contains("act-17")).unwrap();
    std::fs::write(&path, &changed).unwrap();
    let error = restore(db.url(), &path, false, NOW).await.unwrap_err();
    assert!(error.to_string().contains(&format!("line {line}: its check does not fit")), "{error}");
    let mut store = db.open().await;
    let loaded = store.load().await.unwrap();
    assert!(loaded.records.is_empty() && !loaded.restored);
}
