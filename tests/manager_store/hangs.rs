//! What the manager does when PostgreSQL hangs, when its claim on the database is lost, and when the server's defaults are
//! careless.

use std::sync::Arc;
use std::time::Duration;

use callgate::manager::service::{Readiness, Service, ServiceConfig, Unavailable};
use callgate::manager::store::{Patience, Store, StoreError};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::data::{entropy, put, setting};
use super::failures::{is_ready_soon, write};
use super::{Db, NOW};

/// Far longer than anything that is bounded here, far shorter than what isn't.
const SOON: Duration = Duration::from_secs(30);

async fn service(db: &Db, patience: Patience) -> (Service, JoinHandle<Result<(), StoreError>>) {
    let store = Store::open_with(db.url(), NOW, patience).await.expect("it opens");
    let config = ServiceConfig {
        probe_every: Duration::from_millis(50),
        claim_every: Duration::from_millis(100),
        ..ServiceConfig::default()
    };
    Service::start(store, config, Arc::new(|| NOW), entropy(2)).await.expect("it starts")
}

async fn is_unready_soon(service: &Service) -> String {
    for _ in 0..600 {
        if let Readiness::NotReady(why) = service.readiness() {
            return why.to_string();
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{:?}", service.readiness());
}

async fn end(db: Db, service: Service, task: JoinHandle<Result<(), StoreError>>) {
    service.stop().await;
    task.await.unwrap().unwrap();
    drop(service);
    db.done().await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL: tests/run-all.sh runs it"]
async fn a_server_that_hangs_is_given_up_in_time_and_taken_again_when_it_answers() {
    let db = Db::postgres().await;
    let patience = Patience { connect: Duration::from_secs(600), work: Duration::from_secs(2), ..Patience::default() };
    let (service, task) = service(&db, patience).await;
    write(&service, "before", 10).await.unwrap();
    let Some(frozen) = db.freeze() else { return };
    let error = timeout(SOON, write(&service, "lost", 10)).await.expect("it is answered in time").unwrap_err();
    assert!(matches!(&error, Unavailable::CannotWrite { disk_full: false, .. }), "{error}");
    assert!(is_unready_soon(&service).await.contains("cannot write"));
    // It connects again, for up to ten minutes, and answers meanwhile: why nothing can be done.
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let error = timeout(SOON, write(&service, "refused", 10)).await.expect("at once").unwrap_err();
        assert!(matches!(error, Unavailable::CannotWrite { .. }), "{error}");
        let read = timeout(SOON, service.read(|domain, _| domain.account().name)).await.expect("at once");
        assert!(matches!(read, Err(Unavailable::CannotWrite { .. }) | Ok(_)), "{read:?}");
    }
    drop(frozen);
    timeout(SOON, is_ready_soon(&service)).await.expect("it recovers by itself");
    write(&service, "after", 10).await.unwrap();
    let settings = db.text("SELECT string_agg(id, ' ' ORDER BY id) FROM settings").await;
    // A commit that was under way when the server stopped may have come to its end.
    assert!(["after before", "after before lost"].contains(&settings.as_str()), "{settings}");
    end(db, service, task).await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL: tests/run-all.sh runs it"]
async fn reading_history_from_a_server_that_hangs_ends_in_time() {
    let db = Db::postgres().await;
    let patience = Patience { connect: Duration::from_secs(2), work: Duration::from_secs(2), ..Patience::default() };
    let (service, task) = service(&db, patience).await;
    assert!(service.history().bytes().await.unwrap() > 0);
    let Some(frozen) = db.freeze() else { return };
    // More than there are connections: none of them is kept by what hung.
    for _ in 0..6 {
        let error = timeout(SOON, service.history().bytes()).await.expect("in time").unwrap_err();
        assert!(matches!(error, StoreError::Timeout { .. } | StoreError::Database { .. }), "{error}");
    }
    // Nobody writes: the claim's check finds it out.
    is_unready_soon(&service).await;
    drop(frozen);
    timeout(SOON, is_ready_soon(&service)).await.expect("it recovers by itself");
    assert!(service.history().bytes().await.unwrap() > 0);
    end(db, service, task).await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL: tests/run-all.sh runs it"]
async fn a_manager_that_lost_its_claim_writes_nothing_until_it_has_it_again() {
    let db = Db::postgres().await;
    let (service, task) = service(&db, Patience::default()).await;
    write(&service, "before", 10).await.unwrap();
    let holder = "SELECT pid::bigint FROM pg_locks WHERE locktype = 'advisory' AND granted AND database = \
                  (SELECT oid FROM pg_database WHERE datname = current_database())";
    let (pid, key) = (db.number(holder).await, 0x6361_6c6c_6761_7465_i64);
    // Somebody else waits for the claim, and has it as soon as it is lost.
    let mut other = db.raw().await;
    let waiting = tokio::spawn(async move {
        sqlx::query(&format!("SELECT pg_advisory_lock({key})")).execute(&mut other).await.expect("it is had");
        other
    });
    let waits = "SELECT COUNT(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted";
    while db.number(waits).await == 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    db.execute(&format!("SELECT pg_terminate_backend({pid}::int)")).await;
    let other = timeout(SOON, waiting).await.expect("the lock is free").unwrap();
    let why = is_unready_soon(&service).await;
    assert!(why.contains("the claim on") || why.contains("in use by another manager"), "{why}");
    let error = timeout(SOON, write(&service, "lost", 10)).await.expect("at once").unwrap_err();
    assert!(matches!(error, Unavailable::CannotWrite { .. }), "{error}");
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(matches!(service.readiness(), Readiness::NotReady(_)), "however often it tries");
    drop(other);
    timeout(SOON, is_ready_soon(&service)).await.expect("it has it again");
    write(&service, "after", 10).await.unwrap();
    assert_eq!(db.text("SELECT string_agg(id, ' ' ORDER BY id) FROM settings").await, "after before");
    end(db, service, task).await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL: tests/run-all.sh runs it"]
async fn commits_wait_for_the_servers_disk_whatever_its_default_is() {
    let db = Db::postgres().await;
    let name = db.text("SELECT current_database()::text").await;
    db.execute(&format!("ALTER DATABASE {name} SET synchronous_commit = off")).await;
    let mut store = db.open().await;
    db.execute("CREATE TABLE seen (value TEXT)").await;
    db.execute(
        "CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS \
         $$ BEGIN INSERT INTO seen VALUES (current_setting('synchronous_commit')); RETURN NEW; END $$",
    )
    .await;
    db.execute("CREATE TRIGGER see AFTER INSERT ON settings FOR EACH ROW EXECUTE FUNCTION see()").await;
    assert_eq!(db.text("SELECT current_setting('synchronous_commit')").await, "off", "it is what others get");
    store.commit(&put([setting("a", "x")])).await.unwrap();
    assert_eq!(db.text("SELECT string_agg(value, ' ') FROM seen").await, "on");
    store.close().await;
    db.done().await;
}
