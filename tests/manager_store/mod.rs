//! The manager's store and loop on both kinds of database: each scenario runs on SQLite in a file and on a private
//! PostgreSQL. Those with PostgreSQL, kills of processes and a full disk are `ignored`; `tests/run-all.sh` runs them.

mod backups;
mod data;
mod failures;
mod hangs;
mod journals;
mod kill;
mod records;

use std::time::Duration;

use callgate::manager::store::{DatabaseUrl, Store, StoreError};
use callgate::units::UnixMillis;
use sqlx::{AnyConnection, Connection};
use tempfile::TempDir;

use crate::support::postgres::{Frozen, Postgres};

/// Some instant.
pub(crate) const NOW: UnixMillis = UnixMillis(1_800_000_000_000);

/// An empty database of one kind.
pub(crate) struct Db {
    url: String,
    server: Option<Postgres>,
    dir: TempDir,
}

impl Db {
    pub(crate) fn sqlite() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let url = dir.path().join("manager.db").display().to_string();
        Self { url, server: None, dir }
    }

    pub(crate) async fn postgres() -> Self {
        let server = Postgres::start();
        let url = server.database().await;
        Self { url, server: Some(server), dir: tempfile::tempdir().expect("a temporary directory") }
    }

    pub(crate) fn url(&self) -> DatabaseUrl {
        self.url.parse().expect("an address")
    }

    /// A file beside the database.
    pub(crate) fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) const fn is_postgres(&self) -> bool {
        self.server.is_some()
    }

    pub(crate) async fn open(&self) -> Store {
        self.try_open().await.expect("the store opens")
    }

    pub(crate) async fn try_open(&self) -> Result<Store, StoreError> {
        Store::open(self.url(), NOW).await
    }

    /// A connection of our own, as somebody with a database client would have it.
    pub(crate) async fn raw(&self) -> AnyConnection {
        sqlx::any::install_default_drivers();
        let url = if self.is_postgres() { self.url.clone() } else { format!("sqlite://{}", self.url) };
        AnyConnection::connect(&url).await.expect("the database answers")
    }

    pub(crate) async fn execute(&self, sql: &str) {
        let mut raw = self.raw().await;
        sqlx::query(sql).execute(&mut raw).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
        raw.close().await.expect("it closes");
    }

    pub(crate) async fn number(&self, sql: &str) -> i64 {
        let mut raw = self.raw().await;
        let number = sqlx::query_scalar(sql).fetch_one(&mut raw).await;
        raw.close().await.expect("it closes");
        number.unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    pub(crate) async fn text(&self, sql: &str) -> String {
        let mut raw = self.raw().await;
        let text = sqlx::query_scalar(sql).fetch_one(&mut raw).await;
        raw.close().await.expect("it closes");
        text.unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// Another database of the same PostgreSQL, and what drops it.
    pub(crate) async fn another(&self) -> (DatabaseUrl, impl Future<Output = ()>) {
        let server = self.server.as_ref().expect("a PostgreSQL");
        let url = server.database().await;
        (url.parse().expect("an address"), async move { server.drop_database(&url).await })
    }

    /// Breaks all connections and takes no new ones, as a server that is restarted does.
    pub(crate) async fn away(&self) {
        self.server.as_ref().expect("a PostgreSQL").close_database(&self.url, true).await;
    }

    /// Takes connections again.
    pub(crate) async fn back(&self) {
        self.server.as_ref().expect("a PostgreSQL").close_database(&self.url, false).await;
    }

    /// Hangs until the guard is dropped; `None` where it can't.
    pub(crate) fn freeze(&self) -> Option<Frozen> {
        self.server.as_ref().expect("a PostgreSQL").freeze()
    }

    /// To be called at the end of a scenario.
    pub(crate) async fn done(self) {
        if let Some(server) = &self.server {
            server.drop_database(&self.url).await;
        }
    }
}

/// Opens what somebody closed or was killed with a moment ago: PostgreSQL may need another one to notice.
pub(crate) async fn opened(url: &DatabaseUrl) -> Store {
    for _ in 0..200 {
        match Store::open(url.clone(), NOW).await {
            Ok(store) => return store,
            Err(StoreError::InUse { .. }) => tokio::time::sleep(Duration::from_millis(50)).await,
            Err(error) => panic!("{error}"),
        }
    }
    panic!("{url} stays locked");
}

/// Each scenario, a function of a database, becomes a test of each kind.
macro_rules! on_both {
    ($($scenario:ident),+ $(,)?) => {
        mod sqlite {
            $(#[tokio::test]
            async fn $scenario() {
                let db = crate::manager_store::Db::sqlite();
                super::$scenario(&db).await;
                db.done().await;
            })+
        }

        mod postgres {
            $(#[tokio::test]
            #[ignore = "needs PostgreSQL: tests/run-all.sh runs it"]
            async fn $scenario() {
                let db = crate::manager_store::Db::postgres().await;
                super::$scenario(&db).await;
                db.done().await;
            })+
        }
    };
}
use on_both;
