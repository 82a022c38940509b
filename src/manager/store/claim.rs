//! The claim on a database: one manager works on it, and says so as long as it lives.
//!
//! SQLite: a locked file beside the database. PostgreSQL: a session of its own that holds an advisory lock. A claim can be
//! lost (the session breaks, somebody removes the file), so it is looked at again and again. It keeps honest managers apart;
//! that a manager which was taken over writes nothing more is the fence's work, in each transaction.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::PathBuf;

use rustix::fs::{FlockOperation, flock};
use sqlx::AnyConnection;

use super::database::{Database, SessionRole, beside};
use super::error::StoreError;

/// The key of PostgreSQL's advisory lock by which a manager says that it works on the database.
const ADVISORY_LOCK: i64 = 0x6361_6c6c_6761_7465;

/// See the module.
#[derive(Debug)]
pub(super) enum Claim {
    /// A locked file beside the database.
    File { locked: File, path: PathBuf },
    /// A session that holds an advisory lock.
    Session(AnyConnection),
}

impl Database {
    /// Says that this process works on the database; refused while another one does.
    pub(super) async fn claim(&self) -> Result<Claim, StoreError> {
        let taken = || StoreError::InUse { url: self.url().to_string() };
        if let Some(path) = self.url().path() {
            let path = beside(path, ".lock");
            let locked = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .open(&path)
                .map_err(|source| StoreError::io("make the lock file", &path, source))?;
            flock(&locked, FlockOperation::NonBlockingLockExclusive).map_err(|_| taken())?;
            return Ok(Claim::File { locked, path });
        }
        let mut session = self.connect(SessionRole::Quick).await?;
        let lock = async {
            sqlx::query_scalar("SELECT pg_try_advisory_lock($1)")
                .bind(ADVISORY_LOCK)
                .fetch_one(&mut session)
                .await
                .map_err(|source| StoreError::database("lock the database", source))
        };
        let got: bool = self.within(self.patience().connect, lock).await?;
        if got { Ok(Claim::Session(session)) } else { Err(taken()) }
    }

    /// Whether the claim still holds.
    pub(super) async fn check(&self, claim: &mut Claim) -> Result<(), StoreError> {
        let lost = |why: String| StoreError::ClaimLost { url: self.url().to_string(), why };
        match claim {
            Claim::File { locked, path } => {
                let ours = locked.metadata().map_err(|error| lost(error.to_string()))?;
                let there = std::fs::metadata(&*path).map_err(|error| lost(format!("{}: {error}", path.display())))?;
                if (ours.dev(), ours.ino()) == (there.dev(), there.ino()) {
                    return Ok(());
                }
                Err(lost(format!("{} is another file now", path.display())))
            }
            Claim::Session(session) => {
                let look = async {
                    sqlx::query_scalar(
                        "SELECT COUNT(*) FROM pg_locks WHERE locktype = 'advisory' AND granted AND pid = pg_backend_pid() \
                         AND objsubid = 1 AND (classid::bigint << 32) + objid::bigint = $1",
                    )
                    .bind(ADVISORY_LOCK)
                    .fetch_one(session)
                    .await
                    .map_err(|source| StoreError::database("look at the lock", source))
                };
                // The one that writes waits for this.
                let held: i64 = self
                    .within(self.patience().work, look)
                    .await
                    .map_err(|error| lost(format!("its session is gone ({error})")))?;
                if held == 1 { Ok(()) } else { Err(lost("its session holds it no more".to_owned())) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manager::store::DatabaseUrl;

    #[tokio::test]
    async fn two_processes_never_work_on_one_database() {
        let dir = tempfile::tempdir().unwrap();
        let database = Database::new(DatabaseUrl::sqlite(dir.path().join("m.db"))).unwrap();
        let claim = database.claim().await.unwrap();
        let error = database.claim().await.unwrap_err();
        assert!(matches!(error, StoreError::InUse { .. }), "{error}");
        drop(claim);
        database.claim().await.unwrap();
    }

    #[tokio::test]
    async fn a_lock_file_that_is_replaced_or_removed_is_a_lost_claim() {
        let dir = tempfile::tempdir().unwrap();
        let database = Database::new(DatabaseUrl::sqlite(dir.path().join("m.db"))).unwrap();
        let mut claim = database.claim().await.unwrap();
        database.check(&mut claim).await.unwrap();
        std::fs::remove_file(dir.path().join("m.db.lock")).unwrap();
        let error = database.check(&mut claim).await.unwrap_err();
        assert!(matches!(error, StoreError::ClaimLost { .. }), "{error}");
        let mut other = database.claim().await.unwrap();
        let error = database.check(&mut claim).await.unwrap_err().to_string();
        assert!(error.contains("is another file now"), "{error}");
        database.check(&mut other).await.unwrap();
    }
}
