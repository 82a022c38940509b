//! Committing the changes of a batch: all of them in one transaction, or none.

use std::collections::BTreeMap;

use sqlx::AnyConnection;
use sqlx::Connection;

use super::error::StoreError;
use super::journal::Appended;
use super::rows::{self, Cell, OnConflict};
use super::tables::{row_of, table_of};
use super::{Store, Writer};
use crate::manager::domain::{Change, Record, RecordKey, RecordKind};

impl Store {
    /// Commits changes in one transaction. When it returns `Ok`, they are on the disk.
    ///
    /// # Errors
    /// If they could not be written. Then nothing was changed, but for a connection that was lost or took too long at the very
    /// moment of committing: what is true then, [`load`](Self::load) tells.
    pub async fn commit(&mut self, changes: &[Change]) -> Result<(), StoreError> {
        self.commit_within(changes, false).await
    }

    /// As [`commit`](Self::commit), and notes in the same transaction that the domain was told of the restoration.
    ///
    /// # Errors
    /// As [`commit`](Self::commit).
    pub async fn commit_restored(&mut self, changes: &[Change]) -> Result<(), StoreError> {
        self.commit_within(changes, true).await
    }

    async fn commit_within(&mut self, changes: &[Change], restored: bool) -> Result<(), StoreError> {
        let (database, limit) = (self.database.clone(), self.database.patience().work);
        let result = database.within(limit, self.try_commit(changes, restored)).await;
        self.settle(result).await
    }

    async fn try_commit(&mut self, changes: &[Change], restored: bool) -> Result<(), StoreError> {
        let Writer { connection, number, usage, sequences } = self.writer().await?;
        let number = *number;
        let mut transaction =
            connection.begin().await.map_err(|source| StoreError::database("begin a transaction", source))?;
        Store::fence(&mut transaction, number).await?;
        write_records(&mut transaction, changes).await?;
        let appended = Appended::of(changes);
        usage.append(&mut transaction, &appended.usage).await?;
        sequences.append(&mut transaction, &appended).await?;
        if restored {
            sqlx::query("UPDATE store_state SET restored = 0 WHERE id = 1")
                .execute(&mut *transaction)
                .await
                .map_err(|source| StoreError::database("note the restoration", source))?;
        }
        transaction.commit().await.map_err(|source| StoreError::database("commit", source))
    }
}

async fn write_records(connection: &mut AnyConnection, changes: &[Change]) -> Result<(), StoreError> {
    // The last change of a key is the one that counts; one statement may not touch a row twice.
    let mut last: BTreeMap<RecordKey, Option<&Record>> = BTreeMap::new();
    for change in changes {
        match change {
            Change::Put(record) => {
                last.insert(record.key(), Some(record));
            }
            Change::Remove(key) => {
                last.insert(key.clone(), None);
            }
            Change::Append(_) => {}
        }
    }
    let mut puts: BTreeMap<RecordKind, Vec<Vec<Cell>>> = BTreeMap::new();
    let mut removals: BTreeMap<RecordKind, Vec<Vec<Cell>>> = BTreeMap::new();
    for (key, record) in last {
        match record {
            Some(record) => puts.entry(key.kind).or_default().push(row_of(record)?),
            None => removals.entry(key.kind).or_default().push(vec![Cell::Text(key.id)]),
        }
    }
    for (kind, keys) in removals {
        rows::delete(connection, table_of(kind), keys).await?;
    }
    for (kind, records) in puts {
        rows::insert(connection, table_of(kind), OnConflict::Replace, records).await?;
    }
    Ok(())
}
