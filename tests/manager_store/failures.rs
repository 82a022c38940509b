//! What the loop does when the database fails: a full disk, a connection that breaks, a server that is away.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use callgate::manager::domain::{Change, Journal};
use callgate::manager::service::{Readiness, Service, ServiceConfig, Unavailable};
use callgate::manager::store::{DatabaseUrl, StoreError};

use super::data::{entropy, put, report, setting};
use super::{Db, NOW, on_both};

on_both!(one_bad_request_fails_alone_whoever_shares_its_commit, many_bad_requests_fail_their_batch_and_no_more);

pub(super) async fn service(url: &DatabaseUrl) -> (Service, tokio::task::JoinHandle<Result<(), StoreError>>) {
    let store = super::opened(url).await;
    let config = ServiceConfig { probe_every: Duration::from_millis(50), ..ServiceConfig::default() };
    Service::start(store, config, Arc::new(|| NOW), entropy(2)).await.expect("it starts")
}

pub(super) async fn write(service: &Service, name: &str, bytes: usize) -> Result<(), Unavailable> {
    let changes = put([setting(name, "x".repeat(bytes))]);
    service.write(move |_, _, _| ((), changes.clone())).await
}

pub(super) async fn is_ready_soon(service: &Service) {
    for _ in 0..200 {
        if service.readiness() == Readiness::Ready {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{:?}", service.readiness());
}

/// A small disk of its own, gone with its guard.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: &Path, bytes: usize) -> Self {
        std::fs::create_dir(at).expect("a directory");
        let done = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={bytes}"), "tmpfs"])
            .arg(at)
            .status()
            .expect("mount starts");
        assert!(done.success(), "a tmpfs can be mounted: these tests run as root");
        Self(at.to_owned())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a database that is still being closed must not keep it.
        let _done = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[tokio::test]
#[ignore = "mounts a tmpfs, as root: tests/run-all.sh runs it"]
async fn a_full_disk_refuses_writes_and_goes_on_when_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let disk = SmallDisk::mount(&dir.path().join("disk"), 8 << 20);
    let url = DatabaseUrl::sqlite(disk.0.join("manager.db"));
    let (service, task) = service(&url).await;
    write(&service, "before", 1_000).await.unwrap();

    let ballast = disk.0.join("ballast");
    let filled = std::fs::write(&ballast, vec![1; 9 << 20]);
    assert!(filled.is_err(), "the disk is full now");
    let mut refused = None;
    for at in 0..20 {
        // Bigger than what may be left within the log's file.
        if let Err(error) = write(&service, &format!("full-{at}"), 300_000).await {
            refused = Some(error);
            break;
        }
    }
    let error = refused.expect("a write on a full disk is refused");
    assert!(matches!(&error, Unavailable::CannotWrite { disk_full: true, .. }), "{error}");
    assert!(error.to_string().contains("the disk or its quota is full"), "{error}");
    assert_eq!(service.read(|domain, _| domain.account().name).await.unwrap(), "callgate", "reads go on");

    // However often it looks, it finds no room.
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(matches!(service.readiness(), Readiness::NotReady(Unavailable::CannotWrite { disk_full: true, .. })));
    std::fs::remove_file(&ballast).unwrap();
    is_ready_soon(&service).await;
    write(&service, "after", 1_000).await.unwrap();
    service.stop().await;
    task.await.unwrap().unwrap();
    drop(service);
    let mut store = super::opened(&url).await;
    let names: Vec<String> =
        store.load().await.unwrap().records.iter().map(|record| record.key().to_string()).collect();
    assert!(names.contains(&"setting/before".to_owned()) && names.contains(&"setting/after".to_owned()), "{names:?}");
    store.close().await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL: tests/run-all.sh runs it"]
async fn a_connection_that_breaks_is_mended() {
    let db = Db::postgres().await;
    let (service, task) = service(&db.url()).await;
    write(&service, "before", 10).await.unwrap();
    let cut = "SELECT COUNT(pg_terminate_backend(pid)) FROM pg_stat_activity \
               WHERE pid <> pg_backend_pid() AND datname = current_database()";
    assert!(db.number(cut).await >= 1);
    // The loop's own work may have met the break before us, and mended it.
    let lost = write(&service, "lost", 10).await;
    if let Err(error) = &lost {
        assert!(matches!(error, Unavailable::CannotWrite { disk_full: false, .. }), "{error}");
    }
    is_ready_soon(&service).await;
    write(&service, "after", 10).await.unwrap();
    service.stop().await;
    task.await.unwrap().unwrap();
    let settings = db.text("SELECT string_agg(id, ' ' ORDER BY id) FROM settings").await;
    assert_eq!(settings, if lost.is_ok() { "after before lost" } else { "after before" });
    drop(service);
    db.done().await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL: tests/run-all.sh runs it"]
async fn a_server_that_is_away_makes_the_manager_unready_until_it_is_back() {
    let db = Db::postgres().await;
    let (service, task) = service(&db.url()).await;
    write(&service, "before", 10).await.unwrap();
    db.away().await;
    write(&service, "lost", 10).await.unwrap_err();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(matches!(service.readiness(), Readiness::NotReady(Unavailable::CannotWrite { .. })));
    write(&service, "lost", 10).await.unwrap_err();
    db.back().await;
    is_ready_soon(&service).await;
    write(&service, "after", 10).await.unwrap();
    assert_eq!(service.read(|domain, _| domain.account().name).await.unwrap(), "callgate");
    service.stop().await;
    task.await.unwrap().unwrap();
    let settings = db.text("SELECT string_agg(id, ' ' ORDER BY id) FROM settings").await;
    assert_eq!(settings, "after before");
    drop(service);
    db.done().await;
}

/// A report that is in the archive already: the database refuses a second one of its id.
async fn archive(service: &Service, name: &str, seed: u8) -> Result<(), Unavailable> {
    let mut changes = put([setting(name, "x")]);
    changes.push(Change::Append(Journal::Report(Box::new(report(seed, NOW)))));
    service.write(move |_, _, _| ((), changes.clone())).await
}

/// Names of the settings that are stored.
async fn settings(db: &Db) -> String {
    let mut store = super::opened(&db.url()).await;
    let records = store.load().await.expect("it loads").records;
    store.close().await;
    let names = records.iter().map(|record| record.key().to_string());
    names.filter_map(|key| Some(key.strip_prefix("setting/")?.to_owned())).collect::<Vec<_>>().join(" ")
}

async fn one_bad_request_fails_alone_whoever_shares_its_commit(db: &Db) {
    let (service, task) = service(&db.url()).await;
    archive(&service, "first", 1).await.unwrap();
    let before = service.metrics().commits().view().count;
    // One thread: all three wait before the loop takes any.
    let (good, bad, better) =
        tokio::join!(write(&service, "good", 10), archive(&service, "bad", 1), write(&service, "better", 10));
    good.unwrap();
    better.unwrap();
    let error = bad.unwrap_err();
    assert!(matches!(error, Unavailable::Unstorable { .. }), "{error}");
    let commits = service.metrics().commits().view().count - before;
    assert!(commits >= 4, "{commits}: together, and then each alone");
    assert_eq!((service.metrics().unstorable_total(), service.metrics().cannot_write_total()), (1, 0));
    assert_eq!(service.readiness(), Readiness::Ready);
    let error = archive(&service, "bad", 1).await.unwrap_err();
    assert!(matches!(error, Unavailable::Unstorable { .. }), "alone it fails too: {error}");
    archive(&service, "last", 2).await.unwrap();
    service.stop().await;
    task.await.unwrap().unwrap();
    drop(service);
    assert_eq!(settings(db).await, "better first good last");
}

async fn many_bad_requests_fail_their_batch_and_no_more(db: &Db) {
    let (service, task) = service(&db.url()).await;
    archive(&service, "first", 1).await.unwrap();
    let many = futures_util::future::join_all((0..20).map(|at| {
        let service = service.clone();
        async move { archive(&service, &format!("bad-{at}"), 1).await }
    }));
    for outcome in many.await {
        assert!(matches!(outcome, Err(Unavailable::Unstorable { .. })), "{outcome:?}");
    }
    // Each time one is found, everything is loaded again: that has an end.
    assert!(service.metrics().reloads_total() <= 6, "{}", service.metrics().reloads_total());
    assert_eq!(service.readiness(), Readiness::Ready);
    write(&service, "after", 10).await.unwrap();
    service.stop().await;
    task.await.unwrap().unwrap();
    drop(service);
    assert_eq!(settings(db).await, "after first");
}
