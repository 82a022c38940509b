//! Which database, and a connection to it: SQLite in a file, or PostgreSQL by address.
//!
//! Everything above speaks one SQL to both, through sqlx's `Any` driver: parameters as `$1`, `BIGINT` and `TEXT` columns,
//! `INSERT ... ON CONFLICT ... DO UPDATE`. What differs is here and nowhere else.

use std::fmt;
use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::{AnyConnection, AnyPool};
use sqlx::{ConnectOptions, Connection, Executor};

use super::error::StoreError;

/// How long the database may take for what. Nothing waits for ever: a server that hangs is told like one that is away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// For a connection to come about, and for a free one among the readers.
    pub connect: Duration,
    /// For one transaction of the writer, one query of a reader, one look at the claim.
    pub work: Duration,
    /// For loading everything at the start and after a failure.
    pub load: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { connect: Duration::from_secs(10), work: Duration::from_secs(15), load: Duration::from_secs(120) }
    }
}

impl Patience {
    /// What is set on each session of PostgreSQL. Statements and locks are given up by the server before we give the server
    /// up; a peer that is gone is noticed within a minute. A commit that was answered is on the server's disk, whatever its
    /// default is.
    fn session(self, role: SessionRole) -> String {
        let ms = |part: Duration| part.as_millis().max(1);
        let statement = match role {
            SessionRole::Quick => ms(self.work / 3 * 2),
            SessionRole::Long => 0,
        };
        format!(
            "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') <> 'remote_apply'; \
             SET statement_timeout = {statement}; SET lock_timeout = {}; SET idle_in_transaction_session_timeout = {}; \
             SET tcp_keepalives_idle = 15; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3; \
             SET tcp_user_timeout = 30000;",
            ms(self.work / 3),
            ms(self.load),
        )
    }
}

/// What a session of PostgreSQL is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SessionRole {
    /// Statements that take a moment.
    Quick,
    /// Some that may take minutes: migrations, backups, restoring.
    Long,
}

/// What is set on each connection to SQLite. `synchronous = FULL` with a write-ahead log: a commit that was answered is
/// on the disk, whatever happens to the process or the power.
const SQLITE_PRAGMAS: &str = "PRAGMA busy_timeout = 5000; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; \
     PRAGMA foreign_keys = ON; PRAGMA journal_size_limit = 67108864; PRAGMA temp_store = MEMORY; \
     PRAGMA wal_autocheckpoint = 12000; PRAGMA cache_size = -65536;";

/// The kinds of database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DatabaseKind {
    /// SQLite, in a file of this host.
    Sqlite,
    /// PostgreSQL, 12 and up.
    Postgres,
}

impl DatabaseKind {
    /// Its name, as in addresses and backups.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgres",
        }
    }
}

/// Where the database is. Shows no password.
#[derive(Clone, PartialEq, Eq)]
pub struct DatabaseUrl(Place);

#[derive(Clone, PartialEq, Eq)]
enum Place {
    Sqlite(PathBuf),
    Postgres(url::Url),
}

/// A text that names no database.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{found} names no database; accepted: a file's path, sqlite:PATH, or postgres://USER:PASSWORD@HOST/DATABASE")]
pub struct DatabaseUrlError {
    /// What was found, without what may be secret.
    pub found: String,
}

impl DatabaseUrl {
    /// An SQLite database in this file.
    #[must_use]
    pub fn sqlite(path: impl Into<PathBuf>) -> Self {
        Self(Place::Sqlite(path.into()))
    }

    /// Which kind it is.
    #[must_use]
    pub const fn kind(&self) -> DatabaseKind {
        match self.0 {
            Place::Sqlite(_) => DatabaseKind::Sqlite,
            Place::Postgres(_) => DatabaseKind::Postgres,
        }
    }

    /// The file, if it is SQLite.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match &self.0 {
            Place::Sqlite(path) => Some(path),
            Place::Postgres(_) => None,
        }
    }

    /// Whether it holds a password.
    #[must_use]
    pub fn has_password(&self) -> bool {
        match &self.0 {
            Place::Sqlite(_) => false,
            Place::Postgres(url) => {
                url.password().is_some() || url.query_pairs().any(|(name, _)| name.eq_ignore_ascii_case("password"))
            }
        }
    }

    fn options(&self) -> Result<AnyConnectOptions, StoreError> {
        let url = match &self.0 {
            Place::Postgres(url) => url.clone(),
            Place::Sqlite(path) => {
                // The driver takes the path apart as a URL, so every byte that could mean something there is escaped.
                let text = path.to_str().ok_or_else(|| StoreError::Address {
                    found: path.display().to_string(),
                    why: "the path is not UTF-8".to_owned(),
                })?;
                let mut escaped = String::from("sqlite://");
                for byte in text.bytes() {
                    match byte {
                        b'/' | b'.' | b'-' | b'_' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => {
                            escaped.push(char::from(byte));
                        }
                        other => escaped.push_str(&format!("%{other:02X}")),
                    }
                }
                escaped.push_str("?mode=rwc");
                url::Url::parse(&escaped).map_err(|error| StoreError::Address {
                    found: path.display().to_string(),
                    why: error.to_string(),
                })?
            }
        };
        let options =
            AnyConnectOptions::from_url(&url).map_err(|source| StoreError::database("read the address", source))?;
        Ok(options.disable_statement_logging())
    }
}

impl FromStr for DatabaseUrl {
    type Err = DatabaseUrlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            // Its parse error may not be told: it could repeat the password.
            let url = url::Url::parse(text)
                .map_err(|_| DatabaseUrlError { found: "an address of PostgreSQL that cannot be read".to_owned() })?;
            return Ok(Self(Place::Postgres(url)));
        }
        let path = text.strip_prefix("sqlite://").or_else(|| text.strip_prefix("sqlite:")).unwrap_or(text);
        if path.is_empty() {
            return Err(DatabaseUrlError { found: "an empty path".to_owned() });
        }
        if let Some((scheme, _)) = path.split_once("://") {
            return Err(DatabaseUrlError {
                found: format!("the scheme {:?}", scheme.chars().take(20).collect::<String>()),
            });
        }
        Ok(Self::sqlite(path))
    }
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Place::Sqlite(path) => write!(formatter, "sqlite:{}", path.display()),
            Place::Postgres(url) => {
                let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
                write!(formatter, "postgres://{}{port}{}", url.host_str().unwrap_or(""), url.path())
            }
        }
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// Makes connections.
#[derive(Debug, Clone)]
pub(super) struct Database {
    url: DatabaseUrl,
    options: AnyConnectOptions,
    patience: Patience,
}

impl Database {
    pub(super) fn new(url: DatabaseUrl) -> Result<Self, StoreError> {
        Self::with_patience(url, Patience::default())
    }

    pub(super) fn with_patience(url: DatabaseUrl, patience: Patience) -> Result<Self, StoreError> {
        sqlx::any::install_default_drivers();
        let options = url.options()?;
        Ok(Self { url, options, patience })
    }

    pub(super) fn kind(&self) -> DatabaseKind {
        self.url.kind()
    }

    pub(super) fn url(&self) -> &DatabaseUrl {
        &self.url
    }

    pub(super) const fn patience(&self) -> Patience {
        self.patience
    }

    /// Lets the database take so long for it and no longer.
    pub(super) async fn within<T>(
        &self,
        limit: Duration,
        work: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        match tokio::time::timeout(limit, work).await {
            Ok(done) => done,
            Err(_) => Err(StoreError::Timeout { url: self.url.to_string(), seconds: limit.as_secs() }),
        }
    }

    /// Makes the file, readable by its owner alone, if there is none. It holds signing keys' certificates, password hashes
    /// and the names of hosts.
    fn prepare(&self) -> Result<(), StoreError> {
        let Some(path) = self.url.path() else { return Ok(()) };
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
            Err(source) => Err(StoreError::io("make the database file", path, source)),
        }
    }

    /// One connection that may write.
    pub(super) async fn connect(&self, role: SessionRole) -> Result<AnyConnection, StoreError> {
        self.prepare()?;
        let connect = async {
            let mut connection = AnyConnection::connect_with(&self.options).await?;
            match self.kind() {
                DatabaseKind::Sqlite => connection.execute(sqlx::raw_sql(SQLITE_PRAGMAS)).await?,
                DatabaseKind::Postgres => connection.execute(sqlx::raw_sql(&self.patience.session(role))).await?,
            };
            Ok::<_, sqlx::Error>(connection)
        };
        let connect = async { connect.await.map_err(|source| StoreError::database("connect", source)) };
        self.within(self.patience.connect, connect).await
    }

    /// From now on the session is for this.
    pub(super) async fn set_role(&self, connection: &mut AnyConnection, role: SessionRole) -> Result<(), StoreError> {
        if self.kind() == DatabaseKind::Postgres {
            connection
                .execute(sqlx::raw_sql(&self.patience.session(role)))
                .await
                .map_err(|source| StoreError::database("prepare the session", source))?;
        }
        Ok(())
    }

    /// Connections that only read, made as they are needed.
    pub(super) fn readers(&self, connections_max: u32) -> AnyPool {
        let sql = match self.kind() {
            DatabaseKind::Sqlite => "PRAGMA busy_timeout = 5000; PRAGMA query_only = ON;".to_owned(),
            DatabaseKind::Postgres => {
                format!("{} SET default_transaction_read_only = on;", self.patience.session(SessionRole::Quick))
            }
        };
        AnyPoolOptions::new()
            .max_connections(connections_max)
            .acquire_timeout(self.patience.connect)
            .after_connect(move |connection, _| {
                let sql = sql.clone();
                Box::pin(async move { connection.execute(sqlx::raw_sql(&sql)).await.map(|_| ()) })
            })
            .connect_lazy_with(self.options.clone())
    }
}

/// The path with something behind its last name.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_path_or_a_url_and_never_shows_its_password() {
        let sqlite: DatabaseUrl = "/var/lib/callgate/manager.db".parse().unwrap();
        assert_eq!(sqlite.to_string(), "sqlite:/var/lib/callgate/manager.db");
        assert_eq!(sqlite, "sqlite:/var/lib/callgate/manager.db".parse().unwrap());
        let postgres: DatabaseUrl = "postgres://callgate:sesame@db.example:5433/licenses".parse().unwrap();
        assert_eq!(postgres.to_string(), "postgres://db.example:5433/licenses");
        assert!(!format!("{postgres:?}").contains("sesame"));
        for wrong in ["", "sqlite:", "mysql://root:sesame@host/db", "postgres://callgate:sesame@ho st/db"] {
            let error = wrong.parse::<DatabaseUrl>().unwrap_err().to_string();
            assert!(error.contains("accepted: a file's path"), "{error}");
            assert!(!error.contains("sesame"), "{error}");
        }
    }

    #[tokio::test]
    async fn a_path_with_the_signs_of_a_url_is_just_a_path() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a b?mode=ro#%41.db");
        let database = Database::new(DatabaseUrl::sqlite(&path)).unwrap();
        let mut connection = database.connect(SessionRole::Quick).await.unwrap();
        connection.execute("CREATE TABLE t (a BIGINT)").await.unwrap();
        let mode: String = sqlx::query_scalar("PRAGMA journal_mode").fetch_one(&mut connection).await.unwrap();
        assert_eq!(mode, "wal");
        let synchronous: i64 = sqlx::query_scalar("PRAGMA synchronous").fetch_one(&mut connection).await.unwrap();
        assert_eq!(synchronous, 2, "FULL");
        let mut names: Vec<_> =
            std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names.first().unwrap(), "a b?mode=ro#%41.db");
    }
}
