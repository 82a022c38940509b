//! Rows of any table as plain cells, and writing many of them with few statements.
//!
//! One statement carries up to [`ROWS_PER_STATEMENT`] rows, in sizes that are powers of four, so that a connection's
//! prepared statements stay few.

use std::collections::HashSet;

use sqlx::AnyConnection;
use sqlx::any::{AnyArguments, AnyRow};
use sqlx::query::Query;
use sqlx::{Any, Row};

use super::error::StoreError;

/// How many rows the largest statement carries. SQLite takes 32,766 parameters, PostgreSQL 65,535.
const ROWS_PER_STATEMENT: usize = 256;

/// What a column holds. There are no other types: both databases have these two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Type {
    /// `BIGINT`.
    Int,
    /// `TEXT`.
    Text,
}

/// One value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Cell {
    Int(i64),
    Text(String),
    Null(Type),
}

impl Cell {
    /// A number, if the database can hold it.
    pub(super) fn number(table: &'static str, value: u64) -> Result<Self, StoreError> {
        i64::try_from(value).map(Self::Int).map_err(|_| StoreError::TooLarge { table, value })
    }

    pub(super) fn optional_number(table: &'static str, value: Option<u64>) -> Result<Self, StoreError> {
        value.map_or(Ok(Self::Null(Type::Int)), |value| Self::number(table, value))
    }

    pub(super) fn flag(value: bool) -> Self {
        Self::Int(i64::from(value))
    }

    pub(super) fn text(value: impl Into<String>) -> Self {
        Self::Text(value.into())
    }

    pub(super) fn optional_text(value: Option<impl Into<String>>) -> Self {
        value.map_or(Self::Null(Type::Text), |value| Self::Text(value.into()))
    }
}

impl From<i64> for Cell {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

/// A table as statements see it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Table {
    pub(super) name: &'static str,
    /// Its columns, the key's first.
    pub(super) columns: &'static [(&'static str, Type)],
    /// How many columns the primary key has.
    pub(super) key: usize,
}

impl Table {
    /// The columns' names with commas between.
    pub(super) fn column_list(&self) -> String {
        names(self.columns)
    }

    /// The key's names with commas between.
    pub(super) fn key_list(&self) -> String {
        names(self.columns.get(..self.key).unwrap_or_default())
    }

    /// Reads a row of [`column_list`](Self::column_list).
    pub(super) fn read(&self, row: &AnyRow) -> Result<Vec<Cell>, StoreError> {
        let read = |(at, (_, kind)): (usize, &(&'static str, Type))| -> Result<Cell, sqlx::Error> {
            Ok(match kind {
                Type::Int => row.try_get::<Option<i64>, _>(at)?.map_or(Cell::Null(Type::Int), Cell::Int),
                Type::Text => row.try_get::<Option<String>, _>(at)?.map_or(Cell::Null(Type::Text), Cell::Text),
            })
        };
        self.columns.iter().enumerate().map(read).collect::<Result<_, _>>().map_err(|source| StoreError::Corrupt {
            table: self.name,
            key: "?".to_owned(),
            why: source.to_string(),
        })
    }
}

fn names(columns: &[(&'static str, Type)]) -> String {
    columns.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}

/// How a statement names its parameters.
///
/// SQLite takes `$1` for a name, and looks names up one after the other, both when it prepares and when it binds: a statement
/// of 3,000 parameters costs a hundred milliseconds. Bare marks have no names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Marks {
    Bare,
    Numbered,
}

impl Marks {
    fn of(connection: &AnyConnection) -> Self {
        if connection.backend_name() == "SQLite" { Self::Bare } else { Self::Numbered }
    }

    fn write(self, sql: &mut String, number: usize) {
        match self {
            Self::Bare => sql.push('?'),
            Self::Numbered => {
                sql.push('$');
                sql.push_str(&number.to_string());
            }
        }
    }
}

/// `(?,?),(?,?)`, or the same with numbers.
fn values(sql: &mut String, rows: usize, width: usize, marks: Marks) {
    for row in 0..rows {
        sql.push_str(if row == 0 { "(" } else { ",(" });
        for column in 1..=width {
            if column > 1 {
                sql.push(',');
            }
            marks.write(sql, row * width + column);
        }
        sql.push(')');
    }
}

/// What happens to a row whose key is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OnConflict {
    /// The new one takes its place.
    Replace,
    /// It is a failure.
    Fail,
    /// The numbers behind the key are added to those that are there.
    Add,
}

/// Writes rows, each with all columns of the table. No two rows may have one key unless they are to fail.
pub(super) async fn insert(
    connection: &mut AnyConnection,
    table: &Table,
    conflict: OnConflict,
    rows: Vec<Vec<Cell>>,
) -> Result<(), StoreError> {
    let mut rows = rows.into_iter();
    while rows.len() > 0 {
        let size = size_of(rows.len());
        let sql = insert_sql(table, conflict, size, Marks::of(connection));
        let query = rows.by_ref().take(size).fold(sqlx::query(&sql), bind);
        query.execute(&mut *connection).await.map_err(|source| StoreError::database("write rows", source))?;
    }
    Ok(())
}

/// Writes rows whose key, all of numbers, is not there yet, and returns those keys. No two may have one key.
pub(super) async fn insert_new<const KEY: usize>(
    connection: &mut AnyConnection,
    table: &Table,
    rows: Vec<Vec<Cell>>,
) -> Result<HashSet<[i64; KEY]>, StoreError> {
    let failed = |source| StoreError::database("write new rows", source);
    let mut new = HashSet::with_capacity(rows.len());
    let mut rows = rows.into_iter();
    while rows.len() > 0 {
        let size = size_of(rows.len());
        let mut sql = insert_sql(table, OnConflict::Fail, size, Marks::of(connection));
        sql.push_str(&format!(" ON CONFLICT DO NOTHING RETURNING {}", table.key_list()));
        let query = rows.by_ref().take(size).fold(sqlx::query(&sql), bind);
        for row in query.fetch_all(&mut *connection).await.map_err(failed)? {
            let mut key = [0; KEY];
            for (at, part) in key.iter_mut().enumerate() {
                *part = row.try_get(at).map_err(failed)?;
            }
            new.insert(key);
        }
    }
    Ok(new)
}

/// How many of so many rows the next statement carries.
fn size_of(rows: usize) -> usize {
    let mut size = ROWS_PER_STATEMENT;
    while size > rows.max(1) {
        size /= 4;
    }
    size
}

/// Removes rows by key.
pub(super) async fn delete(
    connection: &mut AnyConnection,
    table: &Table,
    keys: Vec<Vec<Cell>>,
) -> Result<(), StoreError> {
    let mut keys = keys.into_iter();
    while keys.len() > 0 {
        let size = size_of(keys.len());
        let mut sql = format!("DELETE FROM {} WHERE ({}) IN (VALUES ", table.name, table.key_list());
        values(&mut sql, size, table.key, Marks::of(connection));
        sql.push(')');
        let query = keys.by_ref().take(size).fold(sqlx::query(&sql), bind);
        query.execute(&mut *connection).await.map_err(|source| StoreError::database("remove rows", source))?;
    }
    Ok(())
}

pub(super) fn bind<'q>(query: Query<'q, Any, AnyArguments<'q>>, cells: Vec<Cell>) -> Query<'q, Any, AnyArguments<'q>> {
    cells.into_iter().fold(query, |query, cell| match cell {
        Cell::Int(value) => query.bind(value),
        Cell::Text(value) => query.bind(value),
        Cell::Null(Type::Int) => query.bind(None::<i64>),
        Cell::Null(Type::Text) => query.bind(None::<String>),
    })
}

fn insert_sql(table: &Table, conflict: OnConflict, rows: usize, marks: Marks) -> String {
    let width = table.columns.len();
    let mut sql = format!("INSERT INTO {} ({}) VALUES ", table.name, table.column_list());
    values(&mut sql, rows, width, marks);
    let others = table.columns.iter().skip(table.key).map(|(name, _)| name);
    let set: Vec<String> = match conflict {
        OnConflict::Fail => return sql,
        OnConflict::Replace => others.map(|name| format!("{name} = excluded.{name}")).collect(),
        OnConflict::Add => others.map(|name| format!("{name} = {}.{name} + excluded.{name}", table.name)).collect(),
    };
    let then = if set.is_empty() { "NOTHING".to_owned() } else { format!("UPDATE SET {}", set.join(", ")) };
    sql.push_str(&format!(" ON CONFLICT ({}) DO {then}", table.key_list()));
    sql
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: Table =
        Table { name: "t", columns: &[("a", Type::Int), ("b", Type::Text), ("c", Type::Text)], key: 2 };

    #[test]
    fn a_statement_replaces_by_key_or_fails() {
        assert_eq!(
            insert_sql(&TABLE, OnConflict::Replace, 2, Marks::Numbered),
            "INSERT INTO t (a, b, c) VALUES ($1,$2,$3),($4,$5,$6) ON CONFLICT (a, b) DO UPDATE SET c = excluded.c"
        );
        assert_eq!(
            insert_sql(&TABLE, OnConflict::Fail, 1, Marks::Numbered),
            "INSERT INTO t (a, b, c) VALUES ($1,$2,$3)"
        );
        assert_eq!(
            insert_sql(&TABLE, OnConflict::Add, 2, Marks::Bare),
            "INSERT INTO t (a, b, c) VALUES (?,?,?),(?,?,?) ON CONFLICT (a, b) DO UPDATE SET c = t.c + excluded.c"
        );
    }

    #[test]
    fn a_number_that_no_column_holds_is_refused() {
        assert_eq!(Cell::number("t", 7).unwrap(), Cell::Int(7));
        let error = Cell::number("t", u64::MAX).unwrap_err().to_string();
        assert_eq!(error, "table t: 18446744073709551615 is more than 9223372036854775807");
    }
}
