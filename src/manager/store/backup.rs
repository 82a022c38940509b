//! Making a backup while the manager runs, and restoring one.
//!
//! A backup is read in one transaction that sees the database as it was when it began. Restoring verifies the whole file
//! first, then fills an empty database in one transaction, which also notes that the domain must be told: its `seq`
//! numbers jump, so that agents that heard of later grants than the backup knows accept the new ones.

use std::path::Path;

use futures_util::TryStreamExt;
use sqlx::AnyConnection;
use sqlx::{Connection, Executor};

use super::backup_file::{self, BackupError, BackupSummary, Header, Item, Reader, Writer};
use super::database::{Database, DatabaseKind, DatabaseUrl, SessionRole};
use super::error::StoreError;
use super::rows::{self, Cell, OnConflict};
use super::schema::{self, MIGRATIONS};
use super::tables::TABLES;
use crate::units::UnixMillis;

/// How many rows are written at once.
const CHUNK: usize = 1_024;

/// Verifies a backup's file and says what is in it.
///
/// # Errors
/// What is wrong with it, and in which line.
pub fn verify_backup(path: &Path) -> Result<BackupSummary, BackupError> {
    backup_file::verify(path, TABLES, schema::newest(MIGRATIONS))
}

pub(super) async fn backup(database: &Database, path: &Path, now: UnixMillis) -> Result<BackupSummary, BackupError> {
    let mut connection = database.connect(SessionRole::Long).await?;
    // In SQLite with a write-ahead log, the first read fixes what the transaction sees.
    let begin = match database.kind() {
        DatabaseKind::Sqlite => "BEGIN",
        DatabaseKind::Postgres => "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY",
    };
    connection.execute(begin).await.map_err(|source| StoreError::database("begin a backup", source))?;
    let schema: i64 = sqlx::query_scalar("SELECT MAX(version) FROM schema_versions")
        .fetch_one(&mut connection)
        .await
        .map_err(|source| StoreError::database("read the schema's version", source))?;
    let header = Header::new(schema, database.kind().name(), now);
    let mut writer = Writer::create(path, &header)?;
    let mut counts = Vec::new();
    for table in TABLES {
        writer.table(table)?;
        let sql = format!("SELECT {} FROM {} ORDER BY {}", table.column_list(), table.name, table.key_list());
        let mut stream = sqlx::query(&sql).fetch(&mut connection);
        let mut count = 0;
        loop {
            let next = async {
                stream.try_next().await.map_err(|source| StoreError::database("read rows for the backup", source))
            };
            let Some(row) = database.within(database.patience().work, next).await? else { break };
            writer.row(&table.read(&row)?)?;
            count += 1;
        }
        counts.push((table.name.to_owned(), count));
    }
    let sha256 = writer.finish()?;
    // It read; whether it ends well changes nothing.
    let _ended = connection.close().await;
    Ok(BackupSummary {
        created_at: now,
        database: header.database,
        schema,
        program: header.program,
        rows: counts,
        sha256,
    })
}

/// Puts a backup into a database, of either kind. With `force` it replaces whatever the manager had there.
///
/// # Errors
/// If the file is damaged, from a newer program, or something else; if the database is in use, or not empty without
/// `force`. Then the database is as it was.
pub async fn restore(
    url: DatabaseUrl,
    path: &Path,
    force: bool,
    now: UnixMillis,
) -> Result<BackupSummary, BackupError> {
    let summary = verify_backup(path)?;
    let database = Database::new(url)?;
    let _claim = database.claim().await?;
    let mut connection = database.connect(SessionRole::Long).await?;
    let found = schema::version(&mut connection).await?;
    let known = schema::newest(MIGRATIONS);
    if found > known {
        return Err(StoreError::Newer { found, known }.into());
    }
    if found > 0 && !force && !is_empty(&mut connection).await? {
        return Err(BackupError::NotEmpty { url: database.url().to_string() });
    }
    let mut transaction =
        connection.begin().await.map_err(|source| StoreError::database("begin to restore", source))?;
    if found > 0 {
        clear(&mut transaction).await?;
    }
    let (before, after): (Vec<_>, Vec<_>) =
        MIGRATIONS.iter().partition(|migration| migration.version <= summary.schema);
    for migration in before {
        schema::apply(database.kind(), &mut transaction, migration, now).await?;
    }
    fill(&mut transaction, path, &summary).await?;
    for migration in after {
        schema::apply(database.kind(), &mut transaction, migration, now).await?;
    }
    // Whoever wrote here before finds another number than its own, and stops.
    sqlx::query("UPDATE store_state SET writer = $1, restored = 1 WHERE id = 1")
        .bind(super::fresh_number()?)
        .execute(&mut *transaction)
        .await
        .map_err(|source| StoreError::database("note the restoration", source))?;
    transaction.commit().await.map_err(|source| StoreError::database("commit the restoration", source))?;
    let _ended = connection.close().await;
    Ok(summary)
}

async fn is_empty(connection: &mut AnyConnection) -> Result<bool, StoreError> {
    for table in TABLES {
        let sql = format!("SELECT 1 FROM {} LIMIT 1", table.name);
        let row = sqlx::query(&sql)
            .fetch_optional(&mut *connection)
            .await
            .map_err(|source| StoreError::database("look whether the database is empty", source))?;
        if row.is_some() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Removes all tables of the manager.
async fn clear(connection: &mut AnyConnection) -> Result<(), StoreError> {
    for name in TABLES.iter().map(|table| table.name).chain(["store_state"]) {
        // A table of a later version than the database's is not there yet.
        let sql = format!("DROP TABLE IF EXISTS {name}");
        connection
            .execute(sqlx::raw_sql(&sql))
            .await
            .map_err(|source| StoreError::database("remove the old tables", source))?;
    }
    connection
        .execute("DELETE FROM schema_versions")
        .await
        .map_err(|source| StoreError::database("remove the old schema's version", source))?;
    Ok(())
}

async fn fill(connection: &mut AnyConnection, path: &Path, summary: &BackupSummary) -> Result<(), BackupError> {
    let mut reader = Reader::open(path, TABLES, summary.schema)?;
    let mut table = None;
    let mut rows: Vec<Vec<Cell>> = Vec::with_capacity(CHUNK);
    loop {
        let item = reader.next()?;
        let full = rows.len() >= CHUNK || !matches!(item, Some(Item::Row(_)));
        if full && let Some(table) = table {
            rows::insert(connection, table, OnConflict::Fail, std::mem::take(&mut rows)).await?;
        }
        match item {
            Some(Item::Table(at)) => table = TABLES.get(at),
            Some(Item::Row(row)) => rows.push(row),
            None => break,
        }
    }
    // It was verified before, but a file may change between two looks at it.
    if reader.sha256 == summary.sha256 {
        Ok(())
    } else {
        Err(BackupError::Damaged { path: path.to_owned(), line: 0, why: "it changed while it was read".to_owned() })
    }
}
