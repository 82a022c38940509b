//! What can go wrong with the store, and what a caller may conclude from it.

use std::io;
use std::path::{Path, PathBuf};

/// A failure of the store. Unless a variant says otherwise, nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The address cannot be used.
    #[error("the database address {found} cannot be used: {why}")]
    Address {
        /// What was found, without password.
        found: String,
        /// What is wrong with it.
        why: String,
    },
    /// A file operation failed.
    #[error("cannot {what} {path}: {source}", path = path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Another process works on this database.
    #[error("{url} is in use by another manager; stop it first, or give this one another database")]
    InUse {
        /// Which database.
        url: String,
    },
    /// The claim on the database is gone: another manager may begin to work on it, so this one stops until it has it again.
    #[error("the claim on {url} is lost: {why}; nothing is written until it is back")]
    ClaimLost {
        /// Which database.
        url: String,
        /// How.
        why: String,
    },
    /// Another manager took the database over while this one ran. This one must end: its view is of the past.
    #[error("another manager took this database over; this one must not write any more")]
    TakenOver,
    /// The database was made by a newer program.
    #[error(
        "the database has schema version {found}; this program knows versions up to {known}: use the newer program, or \
         restore a backup that this one made"
    )]
    Newer {
        /// The version found.
        found: i64,
        /// The newest one known here.
        known: i64,
    },
    /// No room: the disk, or the quota of the database.
    #[error("the database cannot grow: the disk or its quota is full ({source})")]
    Full {
        /// The database's own words.
        source: sqlx::Error,
    },
    /// No answer in time. After a commit it is not known whether it happened: load again.
    #[error("{url} did not answer within {seconds} s")]
    Timeout {
        /// Which database.
        url: String,
        /// How long it was waited for.
        seconds: u64,
    },
    /// Any other failure of the database. After a failed commit it is not known whether it happened: load again.
    #[error("cannot {what}: {source}")]
    Database {
        /// What was tried.
        what: &'static str,
        /// The database's own words.
        source: sqlx::Error,
    },
    /// The operating system gives no random numbers.
    #[error("no random number: {why}")]
    Random {
        /// Its words.
        why: String,
    },
    /// A row that this program cannot have written.
    #[error("table {table}, row {key}: {why}; restore a backup")]
    Corrupt {
        /// Which table.
        table: &'static str,
        /// Which row.
        key: String,
        /// What is wrong with it.
        why: String,
    },
    /// A number that no column can hold.
    #[error("table {table}: {value} is more than {max}", max = i64::MAX)]
    TooLarge {
        /// Which table.
        table: &'static str,
        /// The number.
        value: u64,
    },
}

/// SQLite's code for "no room", and PostgreSQL's for a full disk and an exceeded quota.
const FULL_CODES: [&str; 3] = ["13", "53100", "53400"];

impl StoreError {
    pub(super) fn io(what: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { what, path: path.to_owned(), source }
    }

    pub(super) fn database(what: &'static str, source: sqlx::Error) -> Self {
        let by_code =
            source.as_database_error().and_then(|error| error.code()).is_some_and(|code| FULL_CODES.contains(&&*code));
        let by_io = matches!(&source, sqlx::Error::Io(error) if error.kind() == io::ErrorKind::StorageFull);
        let full = by_code || by_io;
        if full { Self::Full { source } } else { Self::Database { what, source } }
    }

    /// It is what was to be written that the database does not take: the same will fail again, and others will not.
    #[must_use]
    pub fn is_of_the_data(&self) -> bool {
        match self {
            Self::TooLarge { .. } | Self::Corrupt { .. } => true,
            Self::Database { source, .. } => {
                source.as_database_error().and_then(|error| error.code()).is_some_and(|code| refuses_data(&code))
                    || matches!(source, sqlx::Error::Encode(_))
            }
            Self::Address { .. }
            | Self::Io { .. }
            | Self::InUse { .. }
            | Self::ClaimLost { .. }
            | Self::TakenOver
            | Self::Newer { .. }
            | Self::Full { .. }
            | Self::Timeout { .. }
            | Self::Random { .. } => false,
        }
    }

    /// Room on a disk would help.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        matches!(self, Self::Full { .. })
    }
}

/// PostgreSQL's classes: wrong number of values, wrong values, violated constraints, more than the program takes. SQLite's:
/// too big, constraint, mismatch, range; the primary code is the low byte.
fn refuses_data(code: &str) -> bool {
    if code.len() == 5 {
        return ["21", "22", "23", "54"].iter().any(|class| code.starts_with(class));
    }
    code.parse::<u32>().is_ok_and(|code| matches!(code & 0xff, 18 | 19 | 20 | 25))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_database_says_of_values_is_told_from_what_it_says_of_itself() {
        for of_data in ["23505", "22021", "54000", "2067", "1555", "19", "18"] {
            assert!(refuses_data(of_data), "{of_data}");
        }
        for of_itself in ["57014", "53100", "40001", "55P03", "5", "13", "10", "778", "08006", ""] {
            assert!(!refuses_data(of_itself), "{of_itself}");
        }
        assert!(StoreError::TooLarge { table: "t", value: u64::MAX }.is_of_the_data());
        assert!(!StoreError::TakenOver.is_of_the_data());
    }
}
