//! The backup's file: lines of JSON, each with a check, that restore into either kind of database.
//!
//! Every line is `["CHECK",PAYLOAD]`. The check is the beginning of a hash over all payloads so far, so that a line that
//! was changed, lost, added or moved is found at its number. The first payload is the header; then for each table its name
//! and columns, and its rows as arrays; the last one says how many rows there are and the whole hash. A file without it is
//! truncated.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::error::StoreError;
use super::rows::{Cell, Table, Type};
use crate::units::UnixMillis;

/// What the header calls the format.
const FORMAT: &str = "callgate manager backup";
/// The newest version of the format.
const VERSION: u32 = 1;
/// The longest line that is read.
const LINE_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// How many digits of the hash stand before a payload.
const CHECK_DIGITS: usize = 8;

/// Why a backup was not made or not restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The file failed.
    #[error("cannot {what} {path}: {source}", path = path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The file is something else.
    #[error("{path} is no backup of a manager: its first line is not the header of one", path = path.display())]
    NotABackup {
        /// Which file.
        path: PathBuf,
    },
    /// The file was made by a newer program.
    #[error(
        "{path} has format {format} and schema {schema}; this program knows format {VERSION} and schemas up to {known}",
        path = path.display()
    )]
    Newer {
        /// Which file.
        path: PathBuf,
        /// Its format's version.
        format: u32,
        /// Its schema's version.
        schema: i64,
        /// The newest schema known here.
        known: i64,
    },
    /// The file is damaged.
    #[error("{path}, line {line}: {why}; nothing was restored", path = path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// The first bad line, from 1.
        line: u64,
        /// What is wrong with it.
        why: String,
    },
    /// The file ends too early.
    #[error("{path} ends after line {line} without its last line: it is truncated; nothing was restored", path = path.display())]
    Truncated {
        /// Which file.
        path: PathBuf,
        /// The last line there is.
        line: u64,
    },
    /// Something is in the database that the backup would replace.
    #[error("{url} is not empty; restoring would replace everything in it, and needs --force")]
    NotEmpty {
        /// Which database.
        url: String,
    },
}

/// What a backup holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BackupSummary {
    /// When it was made, by the manager's clock.
    pub created_at: UnixMillis,
    /// The kind of database it was made from.
    pub database: String,
    /// The schema's version.
    pub schema: i64,
    /// The program's version.
    pub program: String,
    /// Rows by table, in the file's order.
    pub rows: Vec<(String, u64)>,
    /// SHA-256 over all payloads, as hexadecimal digits.
    pub sha256: String,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Header {
    format: String,
    pub(super) version: u32,
    pub(super) schema: i64,
    pub(super) database: String,
    pub(super) created_at: UnixMillis,
    pub(super) program: String,
}

impl Header {
    pub(super) fn new(schema: i64, database: &str, created_at: UnixMillis) -> Self {
        Self {
            format: FORMAT.to_owned(),
            version: VERSION,
            schema,
            database: database.to_owned(),
            created_at,
            program: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }
}

#[derive(Serialize, Deserialize)]
struct TableLine {
    table: String,
    columns: Vec<String>,
}

#[derive(Serialize, Deserialize)]
struct EndLine {
    rows: u64,
    sha256: String,
}

/// The running hash over the payloads.
#[derive(Debug, Clone, Default)]
struct Chain([u8; 32]);

impl Chain {
    fn add(&mut self, payload: &[u8]) {
        self.0 = Sha256::new().chain_update(self.0).chain_update(payload).finalize().into();
    }

    fn hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn check(&self) -> String {
        self.hex().chars().take(CHECK_DIGITS).collect()
    }
}

/// Writes a backup beside its place; [`finish`](Self::finish) puts it there.
#[derive(Debug)]
pub(super) struct Writer {
    path: PathBuf,
    beside: PathBuf,
    file: BufWriter<File>,
    chain: Chain,
    rows: u64,
}

impl Writer {
    pub(super) fn create(path: &Path, header: &Header) -> Result<Self, BackupError> {
        use std::os::unix::fs::OpenOptionsExt;
        let beside = super::database::beside(path, ".part");
        let file = File::options()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&beside)
            .map_err(|source| BackupError::Io { what: "make", path: beside.clone(), source })?;
        let mut writer =
            Self { path: path.to_owned(), beside, file: BufWriter::new(file), chain: Chain::default(), rows: 0 };
        writer.json(header)?;
        Ok(writer)
    }

    pub(super) fn table(&mut self, table: &Table) -> Result<(), BackupError> {
        self.json(&TableLine {
            table: table.name.to_owned(),
            columns: table.columns.iter().map(|(name, _)| (*name).to_owned()).collect(),
        })
    }

    pub(super) fn row(&mut self, cells: &[Cell]) -> Result<(), BackupError> {
        let values: Vec<serde_json::Value> = cells
            .iter()
            .map(|cell| match cell {
                Cell::Int(value) => (*value).into(),
                Cell::Text(value) => value.as_str().into(),
                Cell::Null(_) => serde_json::Value::Null,
            })
            .collect();
        self.rows += 1;
        self.json(&values)
    }

    /// Writes the last line, syncs, and puts the file in its place. Returns the whole hash.
    pub(super) fn finish(mut self) -> Result<String, BackupError> {
        let sha256 = self.chain.hex();
        self.json(&EndLine { rows: self.rows, sha256: sha256.clone() })?;
        let Self { path, beside, file, .. } = self;
        let io = |what, path: &Path| {
            let path = path.to_owned();
            move |source| BackupError::Io { what, path, source }
        };
        let file = file.into_inner().map_err(|error| io("write", &beside)(error.into_error()))?;
        file.sync_all().map_err(io("sync", &beside))?;
        std::fs::rename(&beside, &path).map_err(io("put in place", &path))?;
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(dir).and_then(|dir| dir.sync_all()).map_err(io("sync the directory of", &path))?;
        Ok(sha256)
    }

    fn json(&mut self, payload: &impl Serialize) -> Result<(), BackupError> {
        let payload = serde_json::to_vec(payload).map_err(|error| BackupError::Io {
            what: "encode",
            path: self.beside.clone(),
            source: error.into(),
        })?;
        self.chain.add(&payload);
        let mut write = || {
            write!(self.file, "[\"{}\",", self.chain.check())?;
            self.file.write_all(&payload)?;
            self.file.write_all(b"]\n")
        };
        write().map_err(|source| BackupError::Io { what: "write", path: self.beside.clone(), source })
    }
}

/// What comes out of a backup, in order.
#[derive(Debug)]
pub(super) enum Item {
    /// The rows that follow belong to this table (an index into the tables given).
    Table(usize),
    /// A row of it.
    Row(Vec<Cell>),
}

/// Reads a backup and checks every line.
#[derive(Debug)]
pub(super) struct Reader<'t> {
    path: PathBuf,
    file: BufReader<File>,
    tables: &'t [Table],
    current: Option<usize>,
    chain: Chain,
    line: u64,
    rows: u64,
    ended: bool,
    pub(super) header: Header,
    pub(super) sha256: String,
}

impl<'t> Reader<'t> {
    /// Opens it and reads the header.
    pub(super) fn open(path: &Path, tables: &'t [Table], known_schema: i64) -> Result<Self, BackupError> {
        let file =
            File::open(path).map_err(|source| BackupError::Io { what: "open", path: path.to_owned(), source })?;
        let mut reader = Self {
            path: path.to_owned(),
            file: BufReader::with_capacity(1 << 16, file),
            tables,
            current: None,
            chain: Chain::default(),
            line: 0,
            rows: 0,
            ended: false,
            header: Header::new(0, "", UnixMillis(0)),
            sha256: String::new(),
        };
        let not_a_backup = || BackupError::NotABackup { path: path.to_owned() };
        let payload = reader.payload().map_err(|error| match error {
            BackupError::Damaged { .. } | BackupError::Truncated { .. } => not_a_backup(),
            other @ (BackupError::Store(_)
            | BackupError::Io { .. }
            | BackupError::NotABackup { .. }
            | BackupError::Newer { .. }
            | BackupError::NotEmpty { .. }) => other,
        })?;
        let header: Header = serde_json::from_slice(&payload).map_err(|_| not_a_backup())?;
        if header.format != FORMAT {
            return Err(not_a_backup());
        }
        if header.version > VERSION || header.schema > known_schema {
            return Err(BackupError::Newer {
                path: path.to_owned(),
                format: header.version,
                schema: header.schema,
                known: known_schema,
            });
        }
        reader.header = header;
        Ok(reader)
    }

    /// The next item; `None` after a last line that fits.
    pub(super) fn next(&mut self) -> Result<Option<Item>, BackupError> {
        if self.ended {
            return Ok(None);
        }
        let before = self.chain.hex();
        let payload = self.payload()?;
        if payload.first() == Some(&b'[') {
            let values: Vec<serde_json::Value> =
                serde_json::from_slice(&payload).map_err(|error| self.damaged(error.to_string()))?;
            self.rows += 1;
            return self.row(values).map(|row| Some(Item::Row(row)));
        }
        if let Ok(end) = serde_json::from_slice::<EndLine>(&payload) {
            if end.rows != self.rows || end.sha256 != before {
                return Err(self.damaged("the last line does not fit what stands before it".to_owned()));
            }
            self.sha256 = before;
            self.ended = true;
            return self.nothing_more().map(|()| None);
        }
        let table: TableLine = serde_json::from_slice(&payload).map_err(|error| self.damaged(error.to_string()))?;
        let found = self.tables.iter().position(|known| known.name == table.table);
        let at = found.ok_or_else(|| self.damaged(format!("there is no table {:?}", table.table)))?;
        let known = self.tables.get(at).map(|known| known.columns).unwrap_or_default();
        if !known.iter().map(|(name, _)| *name).eq(table.columns.iter().map(String::as_str)) {
            return Err(self.damaged(format!("table {} has other columns", table.table)));
        }
        self.current = Some(at);
        Ok(Some(Item::Table(at)))
    }

    fn row(&self, values: Vec<serde_json::Value>) -> Result<Vec<Cell>, BackupError> {
        let table = self.current.and_then(|at| self.tables.get(at));
        let table = table.ok_or_else(|| self.damaged("a row before any table".to_owned()))?;
        if values.len() != table.columns.len() {
            return Err(self.damaged(format!("{} values for {} columns", values.len(), table.columns.len())));
        }
        let cell = |((name, kind), value): (&(&str, Type), serde_json::Value)| match (kind, value) {
            (kind, serde_json::Value::Null) => Ok(Cell::Null(*kind)),
            (Type::Text, serde_json::Value::String(text)) => Ok(Cell::Text(text)),
            (Type::Int, serde_json::Value::Number(number)) => {
                number.as_i64().map(Cell::Int).ok_or_else(|| self.damaged(format!("{name} is no whole number")))
            }
            (_, other) => Err(self.damaged(format!("{name} is of another type: {other}"))),
        };
        table.columns.iter().zip(values).map(cell).collect()
    }

    /// Reads a line, checks it, and returns its payload.
    fn payload(&mut self) -> Result<Vec<u8>, BackupError> {
        let line = self.raw_line()?;
        if line.is_empty() {
            return Err(BackupError::Truncated { path: self.path.clone(), line: self.line });
        }
        self.line += 1;
        if line.last() != Some(&b'\n') {
            return Err(if u64::try_from(line.len()).is_ok_and(|len| len >= LINE_BYTES_MAX) {
                self.damaged(format!("it is longer than {LINE_BYTES_MAX} bytes"))
            } else {
                BackupError::Truncated { path: self.path.clone(), line: self.line }
            });
        }
        let inside = line.strip_prefix(b"[\"").and_then(|rest| rest.strip_suffix(b"]\n"));
        let parts = inside.and_then(|rest| rest.split_at_checked(CHECK_DIGITS));
        let parts = parts.and_then(|(check, rest)| Some((check, rest.strip_prefix(b"\",")?)));
        let (check, payload) = parts.ok_or_else(|| self.damaged("it is no line of a backup".to_owned()))?;
        self.chain.add(payload);
        if self.chain.check().as_bytes() != check {
            return Err(self.damaged(
                "its check does not fit: it was changed, or a line before it was lost, added or moved".to_owned(),
            ));
        }
        Ok(payload.to_vec())
    }

    fn raw_line(&mut self) -> Result<Vec<u8>, BackupError> {
        let mut line = Vec::new();
        let read = (&mut self.file).take(LINE_BYTES_MAX).read_until(b'\n', &mut line);
        read.map_err(|source| BackupError::Io { what: "read", path: self.path.clone(), source })?;
        Ok(line)
    }

    fn nothing_more(&mut self) -> Result<(), BackupError> {
        let line = self.raw_line()?;
        if line.is_empty() {
            return Ok(());
        }
        self.line += 1;
        Err(self.damaged("something stands behind the last line".to_owned()))
    }

    fn damaged(&self, why: String) -> BackupError {
        BackupError::Damaged { path: self.path.clone(), line: self.line, why }
    }
}

/// Reads the whole file and says what is in it.
pub(super) fn verify(path: &Path, tables: &[Table], known_schema: i64) -> Result<BackupSummary, BackupError> {
    let mut reader = Reader::open(path, tables, known_schema)?;
    let mut rows: Vec<(String, u64)> = Vec::new();
    while let Some(item) = reader.next()? {
        match item {
            Item::Table(at) => {
                rows.push((tables.get(at).map_or_else(String::new, |table| table.name.to_owned()), 0));
            }
            Item::Row(_) => {
                if let Some((_, count)) = rows.last_mut() {
                    *count += 1;
                }
            }
        }
    }
    let Header { schema, database, created_at, program, .. } = reader.header;
    Ok(BackupSummary { created_at, database, schema, program, rows, sha256: reader.sha256 })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLES: &[Table] = &[
        Table { name: "numbers", columns: &[("a", Type::Int), ("b", Type::Text)], key: 1 },
        Table { name: "names", columns: &[("c", Type::Text)], key: 1 },
    ];

    fn write(path: &Path) {
        let mut writer = Writer::create(path, &Header::new(1, "sqlite", UnixMillis(5))).unwrap();
        writer.table(&TABLES[0]).unwrap();
        for a in 0..20 {
            writer.row(&[Cell::Int(a), Cell::text("größe \" \n")]).unwrap();
        }
        writer.table(&TABLES[1]).unwrap();
        writer.row(&[Cell::Null(Type::Text)]).unwrap();
        writer.finish().unwrap();
    }

    #[test]
    fn what_was_written_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("b");
        write(&path);
        let summary = verify(&path, TABLES, 1).unwrap();
        assert_eq!(summary.rows, [("numbers".to_owned(), 20), ("names".to_owned(), 1)]);
        let mut reader = Reader::open(&path, TABLES, 1).unwrap();
        assert!(matches!(reader.next().unwrap(), Some(Item::Table(0))));
        let Some(Item::Row(row)) = reader.next().unwrap() else { panic!("a row") };
        assert_eq!(row, [Cell::Int(0), Cell::text("größe \" \n")]);
    }

    #[test]
    fn a_file_cut_anywhere_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("b");
        write(&path);
        let whole = std::fs::read(&path).unwrap();
        for length in 0..whole.len() {
            std::fs::write(&path, &whole[..length]).unwrap();
            verify(&path, TABLES, 1).expect_err("a truncated file");
        }
        let lines: Vec<&[u8]> = whole.split_inclusive(|byte| *byte == b'\n').collect();
        std::fs::write(&path, lines[..9].concat()).unwrap();
        let error = verify(&path, TABLES, 1).unwrap_err().to_string();
        assert!(error.contains("ends after line 9 without its last line"), "{error}");
    }

    #[test]
    fn a_changed_line_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("b");
        write(&path);
        let whole = std::fs::read_to_string(&path).unwrap();
        for (at, line) in (1..).zip(whole.lines()).skip(1) {
            // A digit changed within the payload: still JSON, and wrong.
            let changed = whole.replacen(line, &line.replace("2", "3").replace("1,", "4,").replace('0', "5"), 1);
            if changed == whole {
                continue;
            }
            std::fs::write(&path, &changed).unwrap();
            let error = verify(&path, TABLES, 1).unwrap_err();
            assert!(matches!(&error, BackupError::Damaged { line, .. } if *line == at), "line {at}: {error}");
        }
    }

    #[test]
    fn lines_lost_moved_or_added_are_found() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("b");
        write(&path);
        let whole = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = whole.split_inclusive('\n').collect();
        let lost = [&lines[..5], &lines[6..]].concat();
        let moved = [&lines[..5], &[lines[6], lines[5]], &lines[7..]].concat();
        let twice = [&lines[..6], &lines[5..]].concat();
        let behind = [&lines[..], &lines[5..6]].concat();
        for (what, lines, line) in [("lost", lost, 6), ("moved", moved, 6), ("twice", twice, 7), ("behind", behind, 26)]
        {
            std::fs::write(&path, lines.concat()).unwrap();
            let error = verify(&path, TABLES, 1).unwrap_err();
            assert!(matches!(&error, BackupError::Damaged { line: found, .. } if *found == line), "{what}: {error}");
        }
    }

    #[test]
    fn something_else_and_something_newer_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("b");
        for other in ["", "hello\n", "[\"00000000\",{}]\n", "{\"format\":\"other\"}\n"] {
            std::fs::write(&path, other).unwrap();
            assert!(matches!(verify(&path, TABLES, 1).unwrap_err(), BackupError::NotABackup { .. }), "{other:?}");
        }
        let writer = Writer::create(&path, &Header::new(9, "postgres", UnixMillis(5))).unwrap();
        writer.finish().unwrap();
        assert!(matches!(verify(&path, TABLES, 1).unwrap_err(), BackupError::Newer { schema: 9, known: 1, .. }));
    }
}
