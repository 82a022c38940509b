//! Where the manager's records and journals are kept: SQLite in a file, or PostgreSQL, one code for both.
//!
//! | part | what it does |
//! |---|---|
//! | [`Store`] | the one that writes: loads records, commits the changes of a batch in one transaction, rolls usage up |
//! | [`History`] | reads what the domain does not hold (audit log, usage, events, archived reports), and makes backups, while the store writes |
//! | [`restore`] | puts a backup into an empty database of either kind |
//!
//! It decides nothing: what is stored under which key is the domain's. What must stay true: a commit that returned `Ok`
//! survives a kill and a loss of power; one that failed changed nothing, or (a connection lost while it committed) is told
//! by loading again; at most one process writes, and one that was taken over notices at its next commit.
//!
//! A backup of the database holds no private key: the signing keys are files of their own and need a copy of their own.

mod backup;
mod backup_file;
mod claim;
mod commit;
mod database;
mod error;
mod history;
mod journal;
mod rows;
mod schema;
mod tables;
mod usage;

use std::path::PathBuf;
use std::time::Duration;

use sqlx::{AnyConnection, AnyPool};
use sqlx::{Connection, Row};

pub use backup::{restore, verify_backup};
pub use backup_file::{BackupError, BackupSummary};
pub use database::{DatabaseKind, DatabaseUrl, DatabaseUrlError, Patience};
pub use error::StoreError;
pub use history::{EventRow, History, HistoryError, ReportHead};
pub use usage::{
    PoolUsage, PoolUsageQuery, Retention, UsageBy, UsageCursor, UsageCursorError, UsageDay, UsagePage, UsageQuery,
};

use self::claim::Claim;
use self::database::{Database, SessionRole};
use self::journal::Sequences;
use self::tables::table_of;
use self::usage::Usage;
use crate::manager::domain::{Record, RecordKind};
use crate::units::UnixMillis;

/// How many connections may read history at once.
const READERS: u32 = 4;
/// How long a database may take to say goodbye.
const GOODBYE: Duration = Duration::from_secs(5);
/// How much room there must be for the database to count as writable again.
const PROBE_BYTES: usize = 512 * 1024;

/// The one that writes to the database.
#[derive(Debug)]
pub struct Store {
    database: Database,
    /// Held as long as the store lives; `None` once it is lost: the next call claims the database again.
    claim: Option<Claim>,
    /// `None` after a failure: the next call connects again.
    writer: Option<Writer>,
    /// SQLite: the connection before that failure, kept until the next one is there. While one is open, its log and index
    /// are in place: a full disk that could not hold new ones can still be read.
    retired: Option<AnyConnection>,
    readers: AnyPool,
    /// Our number in `store_state`: who finds another one there was taken over.
    number: i64,
    /// The number that we are about to put there: if that is interrupted, either may be there.
    next_number: Option<i64>,
    copied_to: Option<PathBuf>,
}

/// The connection that writes, and what is remembered of the tables that are only added to.
#[derive(Debug)]
struct Writer {
    connection: AnyConnection,
    /// The number that this connection put into `store_state`.
    number: i64,
    usage: Usage,
    sequences: Sequences,
}

/// What is in the database when a manager starts or recovers.
#[derive(Debug)]
pub struct Loaded {
    /// All records.
    pub records: Vec<Record>,
    /// The database was restored from a backup, and the domain has not been told yet: commit what
    /// `Domain::after_restore` changes with [`Store::commit_restored`] before anything else.
    pub restored: bool,
}

impl Store {
    /// Opens the database, makes it or migrates it if need be, and takes it over.
    ///
    /// # Errors
    /// If another process works on it, a newer program made it, or it cannot be reached.
    pub async fn open(url: DatabaseUrl, now: UnixMillis) -> Result<Self, StoreError> {
        Self::open_with(url, now, Patience::default()).await
    }

    /// As [`open`](Self::open), with another patience than the default one.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub async fn open_with(url: DatabaseUrl, now: UnixMillis, patience: Patience) -> Result<Self, StoreError> {
        let database = Database::with_patience(url, patience)?;
        let claim = database.claim().await?;
        let mut connection = database.connect(SessionRole::Long).await?;
        // A migration takes its time: nobody waits for it but the one who starts the program.
        let copied_to = schema::migrate(&database, &mut connection, schema::MIGRATIONS, now).await?;
        database.set_role(&mut connection, SessionRole::Quick).await?;
        let number = fresh_number()?;
        database.within(patience.work, Self::take_over(&mut connection, None, number)).await?;
        let writer = Writer::load(connection, number).await?;
        let readers = database.readers(READERS);
        Ok(Self {
            database,
            claim: Some(claim),
            writer: Some(writer),
            retired: None,
            readers,
            number,
            next_number: None,
            copied_to,
        })
    }

    /// Which kind of database it is.
    #[must_use]
    pub fn kind(&self) -> DatabaseKind {
        self.database.kind()
    }

    /// The copy that was made because the database was migrated.
    #[must_use]
    pub fn copied_to(&self) -> Option<&std::path::Path> {
        self.copied_to.as_deref()
    }

    /// What reads beside this.
    #[must_use]
    pub fn history(&self) -> History {
        History::new(self.database.clone(), self.readers.clone())
    }

    /// All records, and whether they come from a backup. After a failure it connects again first.
    ///
    /// # Errors
    /// If the database cannot be reached or holds what this program cannot have written.
    pub async fn load(&mut self) -> Result<Loaded, StoreError> {
        let (database, limit) = (self.database.clone(), self.database.patience().load);
        let result = database.within(limit, self.try_load()).await;
        self.settle(result).await
    }

    /// Whether this process still has its claim on the database. To be asked every few seconds: what lost it must not go on
    /// until it has it again, which the next call of anything else tries.
    ///
    /// # Errors
    /// [`StoreError::ClaimLost`], if it is gone.
    pub async fn check_claim(&mut self) -> Result<(), StoreError> {
        let Some(claim) = &mut self.claim else { return Ok(()) };
        let result = self.database.check(claim).await;
        if result.is_err() {
            self.claim = None;
        }
        self.settle(result).await
    }

    async fn try_load(&mut self) -> Result<Loaded, StoreError> {
        let database = self.database.clone();
        let connection = &mut self.writer().await?.connection;
        database.set_role(connection, SessionRole::Long).await?;
        let mut records = Vec::new();
        for kind in RecordKind::ALL {
            let table = table_of(kind);
            let sql = format!("SELECT id, body FROM {} ORDER BY id", table.name);
            let rows = sqlx::query(&sql)
                .fetch_all(&mut *connection)
                .await
                .map_err(|source| StoreError::database("load records", source))?;
            records.reserve(rows.len());
            for row in rows {
                let read = || -> Result<(String, String), sqlx::Error> { Ok((row.try_get(0)?, row.try_get(1)?)) };
                let (key, body) = read().map_err(|source| StoreError::database("load a record", source))?;
                let corrupt = |why: String| StoreError::Corrupt { table: table.name, key: key.clone(), why };
                let record = Record::parse(kind, &body).map_err(|error| corrupt(error.to_string()))?;
                if record.key().id != key {
                    return Err(corrupt(format!("it holds {}", record.key())));
                }
                records.push(record);
            }
        }
        let restored: i64 = sqlx::query_scalar("SELECT restored FROM store_state WHERE id = 1")
            .fetch_one(&mut *connection)
            .await
            .map_err(|source| StoreError::database("read the state", source))?;
        database.set_role(connection, SessionRole::Quick).await?;
        Ok(Loaded { records, restored: restored != 0 })
    }

    /// Rolls up one batch of usage and ends what was kept long enough. Says whether everything was gone through; if not,
    /// call it again.
    ///
    /// # Errors
    /// As [`commit`](Self::commit).
    pub async fn retain(&mut self, retention: Retention, now: UnixMillis) -> Result<bool, StoreError> {
        let (database, limit) = (self.database.clone(), self.database.patience().work);
        let result = database.within(limit, self.try_retain(retention, now)).await;
        self.settle(result).await
    }

    async fn try_retain(&mut self, retention: Retention, now: UnixMillis) -> Result<bool, StoreError> {
        let Writer { connection, number, usage, .. } = self.writer().await?;
        let number = *number;
        let mut transaction =
            connection.begin().await.map_err(|source| StoreError::database("begin to roll up", source))?;
        Self::fence(&mut transaction, number).await?;
        let done = usage.roll_up(&mut transaction, retention, now).await?;
        journal::end(&mut transaction, retention, now).await?;
        transaction.commit().await.map_err(|source| StoreError::database("commit rolling up", source))?;
        Ok(done)
    }

    /// Writes something of the size of a batch and takes it away again, to see whether there is room: a last few free
    /// bytes are none.
    ///
    /// # Errors
    /// As [`commit`](Self::commit).
    pub async fn probe(&mut self) -> Result<(), StoreError> {
        let (database, limit) = (self.database.clone(), self.database.patience().work);
        let result = database.within(limit, self.try_probe()).await;
        self.settle(result).await
    }

    async fn try_probe(&mut self) -> Result<(), StoreError> {
        let Writer { connection, number, .. } = self.writer().await?;
        let number = *number;
        let failed = |source| StoreError::database("write", source);
        for padding in ["x".repeat(PROBE_BYTES), String::new()] {
            let mut transaction = connection.begin().await.map_err(failed)?;
            Self::fence(&mut transaction, number).await?;
            sqlx::query("UPDATE store_state SET padding = $1 WHERE id = 1")
                .bind(padding)
                .execute(&mut *transaction)
                .await
                .map_err(failed)?;
            transaction.commit().await.map_err(failed)?;
        }
        Ok(())
    }

    /// Closes it in order. A store that is dropped instead loses nothing.
    pub async fn close(mut self) {
        // Nothing to be done about a database that doesn't say goodbye: what was committed is safe.
        let _said = tokio::time::timeout(GOODBYE, async {
            self.readers.close().await;
            if let Some(writer) = self.writer.take() {
                let _said = writer.connection.close().await;
            }
        })
        .await;
    }

    /// The connection that writes; made again after a failure.
    async fn writer(&mut self) -> Result<&mut Writer, StoreError> {
        if self.claim.is_none() {
            self.claim = Some(self.database.claim().await?);
            // Whoever wrote meanwhile put another number there: that is found below.
            self.writer = None;
        }
        if self.writer.is_none() {
            // What it was told last may still be under way: only when it answers again is known what became of it.
            if let Some(retired) = &mut self.retired {
                let _ended = retired.ping().await;
            }
            let mut connection = self.database.connect(SessionRole::Quick).await?;
            self.take_over_again(&mut connection).await?;
            if let Some(retired) = self.retired.take() {
                let _closed = retired.close_hard().await;
            }
            self.writer = Some(Writer::load(connection, self.number).await?);
        }
        self.writer.as_mut().ok_or(StoreError::TakenOver)
    }

    /// After a failure the connection and what is remembered of the tables are worth nothing.
    async fn settle<T>(&mut self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        if result.is_err()
            && let Some(writer) = self.writer.take()
        {
            match self.database.kind() {
                DatabaseKind::Sqlite => self.retired = Some(writer.connection),
                DatabaseKind::Postgres => {
                    drop(tokio::time::timeout(Duration::from_secs(1), writer.connection.close_hard()).await);
                }
            }
        }
        result
    }

    /// Makes sure that nothing of our last connection can happen any more, and that nobody else took over.
    async fn take_over_again(&mut self, connection: &mut AnyConnection) -> Result<(), StoreError> {
        match self.database.kind() {
            // A transaction that failed here is rolled back, and the lock file keeps others out. It must not write: it
            // may be for lack of room that it is here.
            DatabaseKind::Sqlite => {
                let found: i64 = sqlx::query_scalar("SELECT writer FROM store_state WHERE id = 1")
                    .fetch_one(connection)
                    .await
                    .map_err(|source| StoreError::database("read who writes", source))?;
                if found == self.number { Ok(()) } else { Err(StoreError::TakenOver) }
            }
            // Whatever our last connection may still be committing holds this row, or finds it changed.
            DatabaseKind::Postgres => {
                let next = match self.next_number {
                    Some(next) => next,
                    None => *self.next_number.insert(fresh_number()?),
                };
                Self::take_over(connection, Some(self.number), next).await?;
                self.number = next;
                self.next_number = None;
                Ok(())
            }
        }
    }

    /// Puts our number in place of anybody's, or of our last one alone.
    async fn take_over(connection: &mut AnyConnection, last: Option<i64>, next: i64) -> Result<(), StoreError> {
        // A transaction of its own: an UPDATE outside of one may be told as done before it is on the disk.
        let failed = |source| StoreError::database("take the database over", source);
        let mut transaction = connection.begin().await.map_err(failed)?;
        let found: i64 = sqlx::query_scalar("SELECT writer FROM store_state WHERE id = 1")
            .fetch_one(&mut *transaction)
            .await
            .map_err(failed)?;
        let expected = last.unwrap_or(found);
        let result = sqlx::query("UPDATE store_state SET writer = $1 WHERE id = 1 AND (writer = $2 OR writer = $1)")
            .bind(next)
            .bind(expected)
            .execute(&mut *transaction)
            .await
            .map_err(failed)?;
        transaction.commit().await.map_err(failed)?;
        if result.rows_affected() == 1 { Ok(()) } else { Err(StoreError::TakenOver) }
    }

    /// Fails the transaction if another manager took the database over, and keeps others from doing so until it ends.
    async fn fence(connection: &mut AnyConnection, number: i64) -> Result<(), StoreError> {
        let result = sqlx::query("UPDATE store_state SET commits = commits + 1 WHERE id = 1 AND writer = $1")
            .bind(number)
            .execute(connection)
            .await
            .map_err(|source| StoreError::database("begin to write", source))?;
        if result.rows_affected() == 1 { Ok(()) } else { Err(StoreError::TakenOver) }
    }
}

/// A number that no other manager has.
fn fresh_number() -> Result<i64, StoreError> {
    let random = getrandom::u64().map_err(|error| StoreError::Random { why: error.to_string() })?;
    Ok(i64::try_from(random >> 2).unwrap_or(0))
}

impl Writer {
    async fn load(mut connection: AnyConnection, number: i64) -> Result<Self, StoreError> {
        let usage = Usage::load(&mut connection).await?;
        let sequences = Sequences::load(&mut connection).await?;
        Ok(Self { connection, number, usage, sequences })
    }
}

#[cfg(test)]
impl Store {
    /// How many pages an SQLite database has.
    pub(crate) async fn pages(&mut self) -> i64 {
        let writer = self.writer.as_mut().unwrap();
        sqlx::query_scalar("PRAGMA page_count").fetch_one(&mut writer.connection).await.unwrap()
    }

    /// A disk that has room for so many pages, until the next failure.
    pub(crate) async fn limit_pages(&mut self, pages: i64) {
        let writer = self.writer.as_mut().unwrap();
        let sql = format!("PRAGMA max_page_count = {pages}");
        sqlx::query(&sql).execute(&mut writer.connection).await.unwrap();
    }
}
