//! The schema, by versions: what a database has, what this program knows, and the way from one to the other.
//!
//! Each version is a file of SQL for both databases, applied in one transaction with the row that says so. A version that
//! was released never changes. `/*sqlite: ... */` holds what only SQLite is to see.

use std::path::PathBuf;

use sqlx::AnyConnection;
use sqlx::{Connection, Executor};

use super::database::{Database, DatabaseKind, beside};
use super::error::StoreError;
use crate::units::UnixMillis;

/// One step of the schema.
#[derive(Debug, Clone, Copy)]
pub(super) struct Migration {
    /// One more than its predecessor's.
    pub(super) version: i64,
    pub(super) sql: &'static str,
}

/// All of them, in order.
pub(super) const MIGRATIONS: &[Migration] = &[
    Migration { version: 1, sql: include_str!("migrations/0001_initial.sql") },
    Migration { version: 2, sql: include_str!("migrations/0002_usage_by_time.sql") },
];

const VERSIONS_TABLE: &str =
    "CREATE TABLE IF NOT EXISTS schema_versions (version BIGINT NOT NULL PRIMARY KEY, applied_at BIGINT NOT NULL)";

/// The newest version of a list.
pub(super) fn newest(migrations: &[Migration]) -> i64 {
    migrations.last().map_or(0, |migration| migration.version)
}

/// The version that the database has; 0 is an empty one.
pub(super) async fn version(connection: &mut AnyConnection) -> Result<i64, StoreError> {
    connection.execute(VERSIONS_TABLE).await.map_err(|source| StoreError::database("read the schema", source))?;
    let version: Option<i64> = sqlx::query_scalar("SELECT MAX(version) FROM schema_versions")
        .fetch_one(connection)
        .await
        .map_err(|source| StoreError::database("read the schema's version", source))?;
    Ok(version.unwrap_or(0))
}

/// Brings the database to the newest version. An SQLite file that holds something is copied first, beside itself; the
/// copy's path is returned.
pub(super) async fn migrate(
    database: &Database,
    connection: &mut AnyConnection,
    migrations: &[Migration],
    now: UnixMillis,
) -> Result<Option<PathBuf>, StoreError> {
    let (found, known) = (version(connection).await?, newest(migrations));
    if found > known {
        return Err(StoreError::Newer { found, known });
    }
    if found == known {
        return Ok(None);
    }
    let copy = if found == 0 { None } else { copy_before(database, connection, found).await? };
    for migration in migrations.iter().filter(|migration| migration.version > found) {
        let mut transaction =
            connection.begin().await.map_err(|source| StoreError::database("begin a migration", source))?;
        apply(database.kind(), &mut transaction, migration, now).await?;
        transaction.commit().await.map_err(|source| StoreError::database("commit a migration", source))?;
    }
    Ok(copy)
}

/// Applies one version within the caller's transaction.
pub(super) async fn apply(
    kind: DatabaseKind,
    connection: &mut AnyConnection,
    migration: &Migration,
    now: UnixMillis,
) -> Result<(), StoreError> {
    let sql = for_kind(kind, migration.sql);
    connection.execute(sqlx::raw_sql(&sql)).await.map_err(|source| StoreError::database("migrate", source))?;
    sqlx::query("INSERT INTO schema_versions (version, applied_at) VALUES ($1, $2)")
        .bind(migration.version)
        .bind(i64::try_from(now.0).unwrap_or(i64::MAX))
        .execute(connection)
        .await
        .map_err(|source| StoreError::database("note the schema's version", source))?;
    Ok(())
}

async fn copy_before(
    database: &Database,
    connection: &mut AnyConnection,
    found: i64,
) -> Result<Option<PathBuf>, StoreError> {
    let Some(path) = database.url().path() else { return Ok(None) };
    let copy = beside(path, &format!(".before-version-{}", found + 1));
    // Left by a migration that failed: the database is still what it was then.
    match std::fs::remove_file(&copy) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(source) => return Err(StoreError::io("replace the copy", &copy, source)),
    }
    sqlx::query("VACUUM INTO $1")
        .bind(copy.display().to_string())
        .execute(connection)
        .await
        .map_err(|source| StoreError::database("copy the database before migrating it", source))?;
    restrict(&copy)?;
    Ok(Some(copy))
}

fn restrict(path: &std::path::Path) -> Result<(), StoreError> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))
        .map_err(|source| StoreError::io("restrict", path, source))
}

fn for_kind(kind: DatabaseKind, sql: &str) -> String {
    const MARK: &str = "/*sqlite:";
    let mut out = String::with_capacity(sql.len());
    let mut rest = sql;
    while let Some((before, after)) = rest.split_once(MARK) {
        let (inside, behind) = after.split_once("*/").unwrap_or((after, ""));
        out.push_str(before);
        if kind == DatabaseKind::Sqlite {
            out.push_str(inside);
        }
        rest = behind;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manager::store::DatabaseUrl;
    use crate::manager::store::database::SessionRole;

    const ONE: Migration =
        Migration { version: 1, sql: "CREATE TABLE t (a BIGINT NOT NULL); INSERT INTO t VALUES (7);" };
    const TWO: Migration = Migration { version: 2, sql: "ALTER TABLE t ADD COLUMN b TEXT; UPDATE t SET b = 'new';" };
    const TORN: Migration = Migration { version: 2, sql: "ALTER TABLE t ADD COLUMN b TEXT; UPDATE missing SET b = 1;" };
    const NOW: UnixMillis = UnixMillis(5_000);

    async fn opened(dir: &tempfile::TempDir) -> (Database, AnyConnection) {
        let database = Database::new(DatabaseUrl::sqlite(dir.path().join("m.db"))).unwrap();
        let connection = database.connect(SessionRole::Long).await.unwrap();
        (database, connection)
    }

    #[tokio::test]
    async fn a_database_is_copied_before_it_is_migrated() {
        let dir = tempfile::tempdir().unwrap();
        let (database, mut connection) = opened(&dir).await;
        assert_eq!(migrate(&database, &mut connection, &[ONE], NOW).await.unwrap(), None, "there was nothing to copy");
        let copy = migrate(&database, &mut connection, &[ONE, TWO], NOW).await.unwrap().unwrap();
        let new: String = sqlx::query_scalar("SELECT b FROM t").fetch_one(&mut connection).await.unwrap();
        assert_eq!(new, "new");

        let mut old = Database::new(DatabaseUrl::sqlite(&copy)).unwrap().connect(SessionRole::Long).await.unwrap();
        assert_eq!(version(&mut old).await.unwrap(), 1);
        let kept: i64 = sqlx::query_scalar("SELECT a FROM t").fetch_one(&mut old).await.unwrap();
        assert_eq!(kept, 7);
    }

    #[tokio::test]
    async fn a_migration_that_fails_leaves_the_version_before() {
        let dir = tempfile::tempdir().unwrap();
        let (database, mut connection) = opened(&dir).await;
        migrate(&database, &mut connection, &[ONE], NOW).await.unwrap();
        migrate(&database, &mut connection, &[ONE, TORN], NOW).await.unwrap_err();
        assert_eq!(version(&mut connection).await.unwrap(), 1);
        sqlx::query("SELECT b FROM t").execute(&mut connection).await.unwrap_err();
        migrate(&database, &mut connection, &[ONE, TWO], NOW).await.unwrap();
        assert_eq!(version(&mut connection).await.unwrap(), 2);
    }

    #[tokio::test]
    async fn an_older_program_refuses_a_newer_database() {
        let dir = tempfile::tempdir().unwrap();
        let (database, mut connection) = opened(&dir).await;
        migrate(&database, &mut connection, &[ONE, TWO], NOW).await.unwrap();
        let error = migrate(&database, &mut connection, &[ONE], NOW).await.unwrap_err();
        assert!(matches!(error, StoreError::Newer { found: 2, known: 1 }), "{error}");
        assert!(error.to_string().contains("use the newer program"), "{error}");
    }

    #[test]
    fn versions_rise_by_one() {
        for (at, migration) in (1..).zip(MIGRATIONS) {
            assert_eq!(migration.version, at);
        }
    }

    #[test]
    fn only_sqlite_sees_what_is_marked_for_it() {
        let sql = "CREATE TABLE a (b BIGINT) /*sqlite: WITHOUT ROWID*/; SELECT 1;";
        assert_eq!(for_kind(DatabaseKind::Sqlite, sql), "CREATE TABLE a (b BIGINT)  WITHOUT ROWID; SELECT 1;");
        assert_eq!(for_kind(DatabaseKind::Postgres, sql), "CREATE TABLE a (b BIGINT) ; SELECT 1;");
    }
}
