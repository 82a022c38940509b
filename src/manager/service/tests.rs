//! The loop, step by step, on a database in a file that can be made to fail.

use std::path::Path;

use sqlx::Connection;

use super::*;
use crate::manager::domain::{Record, Setting};
use crate::manager::store::DatabaseUrl;

const NOW: UnixMillis = UnixMillis(1_800_000_000_000);

fn entropy() -> Entropy {
    Entropy::from_seed([3; 32])
}

fn clock() -> WallClock {
    Arc::new(|| NOW)
}

fn setting(name: &str) -> Vec<Change> {
    vec![Change::Put(Record::Setting(Setting { name: name.to_owned(), value: "v".repeat(2_000) }))]
}

async fn store(dir: &Path) -> Store {
    Store::open(DatabaseUrl::sqlite(dir.join("m.db")), NOW).await.unwrap()
}

async fn stored_settings(dir: &Path) -> Vec<String> {
    let mut store = store(dir).await;
    let records = store.load().await.unwrap().records;
    records
        .into_iter()
        .filter_map(|record| if let Record::Setting(setting) = record { Some(setting.name) } else { None })
        .collect()
}

async fn core(store: Store) -> (Core, watch::Receiver<Readiness>, Arc<ServiceMetrics>) {
    let mut store = store;
    let domain = super::core::load_or_found(&mut store, "test", NOW, &mut entropy()).await.unwrap();
    let (ready, readiness) = watch::channel(Readiness::Ready);
    let metrics = Arc::new(ServiceMetrics::default());
    let core = Core::new(store, domain, ServiceConfig::default(), clock(), entropy(), Arc::clone(&metrics), ready);
    (core, readiness, metrics)
}

fn write(name: &str) -> (Job, oneshot::Receiver<Result<String, Unavailable>>) {
    let (reply, answer) = oneshot::channel();
    let name = name.to_owned();
    let apply = move |_: &mut Domain, _: UnixMillis, _: &mut Entropy| (name.clone(), setting(&name));
    (Job::Write(Box::new(WriteWith { apply, value: None, reply })), answer)
}

fn read() -> (Job, oneshot::Receiver<Result<u64, Unavailable>>) {
    let (reply, answer) = oneshot::channel();
    let look = |domain: &Domain, _: UnixMillis| domain.account().policy_version;
    (Job::Read(Box::new(ReadWith { look, reply })), answer)
}

#[tokio::test]
async fn many_requests_share_one_commit_and_are_answered_after_it() {
    let dir = tempfile::tempdir().unwrap();
    let (mut core, _, metrics) = core(store(dir.path()).await).await;
    let (jobs, answers): (Vec<_>, Vec<_>) = (0..100).map(|number| write(&format!("s{number:03}"))).unzip();
    core.batch(jobs).await;
    for (number, mut answer) in answers.into_iter().enumerate() {
        assert_eq!(answer.try_recv().unwrap().unwrap(), format!("s{number:03}"));
    }
    assert_eq!(metrics.commits().view().count, 1);
    assert_eq!(metrics.changes_total(), 100);
    drop(core);
    assert_eq!(stored_settings(dir.path()).await.len(), 100);
}

#[tokio::test]
async fn a_commit_that_fails_is_told_to_all_its_requests_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = store(dir.path()).await;
    let domain_pages = store.pages().await;
    store.limit_pages(domain_pages + 4).await;
    let (mut core, readiness, metrics) = core(store).await;
    let (mut jobs, answers): (Vec<_>, Vec<_>) = (0..100).map(|number| write(&format!("s{number}"))).unzip();
    let (look, mut looked) = read();
    jobs.push(look);
    core.batch(jobs).await;
    for mut answer in answers {
        let error = answer.try_recv().unwrap().unwrap_err();
        assert!(matches!(&error, Unavailable::CannotWrite { disk_full: true, .. }), "{error}");
        assert!(error.to_string().contains("the disk or its quota is full"), "{error}");
    }
    assert_eq!(looked.try_recv().unwrap(), Ok(1), "reads see the domain as it was committed");
    assert!(matches!(&*readiness.borrow(), Readiness::NotReady(Unavailable::CannotWrite { disk_full: true, .. })));
    assert_eq!((metrics.commit_failures_total(), metrics.reloads_total(), metrics.cannot_write_total()), (1, 1, 100));

    // Refused without being tried, until writing works.
    let (job, mut answer) = write("late");
    core.batch([job]).await;
    assert!(answer.try_recv().unwrap().is_err());
    assert_eq!(metrics.commit_failures_total(), 1);
    core.recover().await;
    assert_eq!(*readiness.borrow(), Readiness::Ready);
    let (job, mut answer) = write("again");
    core.batch([job]).await;
    assert_eq!(answer.try_recv().unwrap().unwrap(), "again");
    drop(core);
    assert_eq!(stored_settings(dir.path()).await, ["again"]);
}

#[tokio::test]
async fn a_loop_whose_database_was_taken_over_ends() {
    let dir = tempfile::tempdir().unwrap();
    let (service, task) =
        Service::start(store(dir.path()).await, ServiceConfig::default(), clock(), entropy()).await.unwrap();
    let mut other = sqlx::SqliteConnection::connect_with(
        &sqlx::sqlite::SqliteConnectOptions::new().filename(dir.path().join("m.db")),
    )
    .await
    .unwrap();
    sqlx::query("UPDATE store_state SET writer = writer + 1").execute(&mut other).await.unwrap();
    let error = service.write(|_, _, _| ((), setting("lost"))).await.unwrap_err();
    // Housekeeping may have found it out before.
    let told = matches!(error, Unavailable::CannotWrite { disk_full: false, .. } | Unavailable::Stopped);
    assert!(told, "{error}");
    assert!(matches!(task.await.unwrap(), Err(StoreError::TakenOver)));
    assert_eq!(service.read(|_, _| ()).await, Err(Unavailable::Stopped));
    drop(service);
    assert!(stored_settings(dir.path()).await.is_empty());
}

#[tokio::test]
async fn a_queue_that_is_full_refuses_and_counts() {
    let dir = tempfile::tempdir().unwrap();
    let config = ServiceConfig { queue_max: 2, ..ServiceConfig::default() };
    let (service, task) = Service::start(store(dir.path()).await, config, clock(), entropy()).await.unwrap();
    // One thread: the loop does not run before this test waits.
    let (first, _first_answer) = write("first");
    let (second, _second_answer) = write("second");
    let (third, _third_answer) = write("third");
    service.send(first).unwrap();
    service.send(second).unwrap();
    assert_eq!(service.send(third), Err(Unavailable::Busy { waiting: 2 }));
    assert_eq!(service.metrics().busy_total(), 1);
    service.stop().await;
    task.await.unwrap().unwrap();
}

#[tokio::test]
async fn what_waits_is_served_before_the_loop_stops() {
    let dir = tempfile::tempdir().unwrap();
    let (service, task) =
        Service::start(store(dir.path()).await, ServiceConfig::default(), clock(), entropy()).await.unwrap();
    let (job, answer) = write("last");
    service.send(job).unwrap();
    service.stop().await;
    task.await.unwrap().unwrap();
    assert_eq!(answer.await.unwrap().unwrap(), "last");
    assert_eq!(service.write(|_, _, _| ((), Vec::new())).await, Err(Unavailable::Stopped));
    drop(service);
    assert_eq!(stored_settings(dir.path()).await, ["last"]);
}

#[tokio::test]
async fn a_second_start_finds_the_account_that_the_first_founded() {
    let dir = tempfile::tempdir().unwrap();
    let start = async |seed: u8| {
        let config = ServiceConfig { account_name: format!("account {seed}"), ..ServiceConfig::default() };
        let entropy = Entropy::from_seed([seed; 32]);
        let (service, task) = Service::start(store(dir.path()).await, config, clock(), entropy).await.unwrap();
        let name = service.read(|domain, _| domain.account().name).await.unwrap();
        service.stop().await;
        task.await.unwrap().unwrap();
        name
    };
    assert_eq!(start(1).await, "account 1");
    assert_eq!(start(2).await, "account 1");
}

#[tokio::test]
async fn a_restored_manager_tells_its_domain_once() {
    let dir = tempfile::tempdir().unwrap();
    let restores = async || {
        let (service, task) =
            Service::start(store(dir.path()).await, ServiceConfig::default(), clock(), entropy()).await.unwrap();
        let restores = service.read(|domain, _| domain.account().restores).await.unwrap();
        service.history().backup(&dir.path().join("backup"), NOW).await.unwrap();
        service.stop().await;
        task.await.unwrap().unwrap();
        restores
    };
    assert_eq!(restores().await, 0);
    let url = DatabaseUrl::sqlite(dir.path().join("m.db"));
    crate::manager::store::restore(url, &dir.path().join("backup"), true, NOW).await.unwrap();
    assert_eq!(restores().await, 1);
    assert_eq!(restores().await, 1, "it is told once");
}
