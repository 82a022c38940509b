//! The ledger of a node on disk (redb): which ledger it is, how often it was opened, and the records of the pure core.
//!
//! | file under `data_dir/cluster` | what | if lost |
//! |---|---|---|
//! | `ledger.redb` | the ledger | what is lent out isn't known any more: refused, with what to do |
//! | `ledger.mark` | which ledger was here last, and its incarnation; a copy lies outside `data_dir` | made again |
//!
//! 1. [`LedgerFile::open`] takes the file for this process, checks every page of it, raises the incarnation and makes that
//!    durable. Before, nothing may be said to a peer.
//! 2. [`LedgerFile::persist`] puts a batch of records into one durable transaction.
//!
//! What must stay true: a ledger that was here and is gone, damaged, older than it was, another machine's or a later
//! version's is never replaced by an empty one: a node that forgot its loans would use what others hold. Only an operator
//! can say that a new ledger begins, by moving the files away; its peers then take the node for a new lender.

mod mark;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use redb::{Database, DatabaseError, Durability, ReadableDatabase, ReadableTable, TableDefinition};

use self::mark::Mark;
use crate::cluster::{Incarnation, Key, Ledger, LedgerId, Record};
use crate::shell::store::{StoreError, make_private_dir};

const FILE: &str = "ledger.redb";
/// A ledger that is being made; one that a crash left is made anew.
const FRESH: &str = "ledger.fresh";
/// The newest layout that this build reads, and the one that it writes.
const FORMAT: u64 = 1;
/// More records than every resource with every peer can have.
const RECORDS_MAX: u64 = 1_000_000;
/// A ledger is small; what redb would take by default isn't.
const CACHE_BYTES: usize = 4 << 20;

const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
const RECORDS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("records");

const META_FORMAT: &str = "format";
const META_ID: &str = "ledger";
const META_INC: &str = "incarnation";
const META_MACHINE: &str = "machine";

/// Where a ledger is, and whose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerPlace {
    /// Its directory, made if it isn't there.
    pub dir: PathBuf,
    /// The machine's fingerprint: a copy of the ledger elsewhere is known by it.
    pub machine: String,
    /// A file outside of the state directory that a restored state directory doesn't take back.
    pub outside: Option<PathBuf>,
}

/// Why a ledger cannot be used. Nothing of it was changed.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// Another process has it.
    #[error("another process uses {}: two nodes cannot share a ledger; stop that one", path.display())]
    Taken {
        /// The file.
        path: PathBuf,
    },
    /// A later version wrote it.
    #[error(
        "{} has format version {found}; this callgate reads up to {FORMAT}. Run the version that wrote it, or a later \
         one; nothing was changed",
        path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version, as it says.
        found: String,
    },
    /// It isn't whole.
    #[error(
        "{} is damaged: {reason}. What this node has lent out is not known without it, so it doesn't begin anew by itself. \
         Put back the disk's own copy if it is of this very moment (an older backup would lend twice); else {BEGIN_ANEW}",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// It was here and is gone.
    #[error(
        "{} is gone, and ledger {ledger} was here before. What this node has lent out is not known without it. Put it \
         back if it was moved; else {BEGIN_ANEW}",
        path.display()
    )]
    Gone {
        /// The file.
        path: PathBuf,
        /// Which it was.
        ledger: String,
    },
    /// It is older than it was.
    #[error(
        "{} was opened {found} times, and this host had opened it {last} times already: it was restored from a backup. Loans \
         made since would be made twice. Put back the newest one; else {BEGIN_ANEW}",
        path.display()
    )]
    Restored {
        /// The file.
        path: PathBuf,
        /// Its incarnation.
        found: u64,
        /// The one that was seen here.
        last: u64,
    },
    /// It is another machine's.
    #[error(
        "{} is the ledger of another machine: two nodes with one ledger would lend everything twice. If this host took the \
         other's place for good, or its machine-id changed, set license.stable_id to what it was; else {BEGIN_ANEW}",
        path.display()
    )]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// The operating system refused something.
    #[error("cannot {what} {}: {source}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// With what.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// A small file of it cannot be written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No random bytes for a new ledger's id.
    #[error("the operating system gives no random bytes: {0}")]
    Random(getrandom::Error),
}

/// What an operator does to begin anew.
const BEGIN_ANEW: &str = "move ledger.redb and ledger.mark away: the node then begins as a new lender, and uses its \
                          licenses once its peers have said what they hold of it, or the license manager grants them again";

/// An open ledger.
#[derive(Debug)]
pub struct LedgerFile {
    path: PathBuf,
    id: LedgerId,
    inc: Incarnation,
    machine: String,
    /// `None` after a failure: redb takes no more of a file that failed once, so it is opened again.
    database: Option<Database>,
}

/// A ledger that was opened.
#[derive(Debug)]
pub struct Opened {
    /// To write to.
    pub file: LedgerFile,
    /// What was in it; the incarnation is raised, and durable.
    pub ledger: Ledger,
    /// What an operator should know, such as a copy that could not be written.
    pub warnings: Vec<String>,
}

impl LedgerFile {
    /// Opens the ledger of a place, or begins one where none ever was. Waits for the disk.
    ///
    /// # Errors
    /// If it is there and cannot be used, or was there.
    pub fn open(place: &LedgerPlace) -> Result<Opened, LedgerError> {
        make_private_dir(&place.dir)?;
        let path = place.dir.join(FILE);
        let marks = Mark::read_all(place);
        if path.symlink_metadata().is_err() {
            // The mark beside it alone: the copy outside outlives a state directory that was removed on purpose.
            if let Some(mark) = marks.beside.as_ref() {
                return Err(LedgerError::Gone { path, ledger: format!("{:032x}", mark.ledger) });
            }
            create(place, &path)?;
        }
        let database = open_database(&path)?;
        let found = read(&database, &path)?;
        if found.machine != place.machine {
            return Err(LedgerError::Foreign { path });
        }
        let last = marks.of(found.id).map_or(0, |mark| mark.incarnation);
        if last > found.inc.0 {
            return Err(LedgerError::Restored { path, found: found.inc.0, last });
        }
        let inc = Incarnation(found.inc.0.saturating_add(1));
        raise(&database, inc).map_err(|error| failed("write", &path, error))?;
        // Behind the ledger: a mark is never ahead of the file that it speaks of.
        let warnings = Mark::of(found.id, inc).write_all(place)?;
        let ledger = Ledger { id: found.id, inc, records: found.records };
        let file = Self { path, id: found.id, inc, machine: place.machine.clone(), database: Some(database) };
        Ok(Opened { file, ledger, warnings })
    }

    /// Puts records in place of those with their keys, all or none, and returns when the disk has them.
    ///
    /// # Errors
    /// If that can't be said. The same batch can be tried again: records are absolute.
    pub fn persist(&mut self, records: &[Record]) -> Result<(), LedgerError> {
        let database = match self.database.take() {
            Some(database) => database,
            None => self.reopen()?,
        };
        write(&database, records).map_err(|error| failed("write", &self.path, error))?;
        self.database = Some(database);
        Ok(())
    }

    /// Which it is.
    #[must_use]
    pub const fn id(&self) -> LedgerId {
        self.id
    }

    /// How often it was opened.
    #[must_use]
    pub const fn incarnation(&self) -> Incarnation {
        self.inc
    }

    /// The same file again, if it is the same.
    fn reopen(&self) -> Result<Database, LedgerError> {
        let database = open_database(&self.path)?;
        let found = read(&database, &self.path)?;
        if (found.id, found.inc) != (self.id, self.inc) || found.machine != self.machine {
            let reason = "while it was open, another one took its place".to_owned();
            return Err(LedgerError::Damaged { path: self.path.clone(), reason });
        }
        Ok(database)
    }
}

/// What a ledger says.
struct Found {
    id: LedgerId,
    inc: Incarnation,
    machine: String,
    records: BTreeMap<Key, Record>,
}

/// Makes a ledger beside its place, whole, and moves it there: a crash leaves none or a whole one.
fn create(place: &LedgerPlace, path: &Path) -> Result<(), LedgerError> {
    let fresh = place.dir.join(FRESH);
    let io = |what, path: &Path| {
        let path = path.to_owned();
        move |source| LedgerError::Io { what, path, source }
    };
    match std::fs::remove_file(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io("remove", &fresh)(error)),
        Ok(()) | Err(_) => {}
    }
    let mut id = [0; 16];
    getrandom::fill(&mut id).map_err(LedgerError::Random)?;
    private(&fresh).map_err(io("make", &fresh))?;
    let make = || -> Result<(), redb::Error> {
        let database = Database::builder().set_cache_size(CACHE_BYTES).create(&fresh)?;
        let transaction = durable(&database)?;
        {
            let mut meta = transaction.open_table(META)?;
            meta.insert(META_FORMAT, FORMAT.to_le_bytes().as_slice())?;
            meta.insert(META_ID, id.as_slice())?;
            meta.insert(META_INC, 0_u64.to_le_bytes().as_slice())?;
            meta.insert(META_MACHINE, place.machine.as_bytes())?;
            transaction.open_table(RECORDS)?;
        }
        transaction.commit()?;
        Ok(())
    };
    make().map_err(|error| failed("make", &fresh, error))?;
    File::open(&fresh).and_then(|file| file.sync_all()).map_err(io("sync", &fresh))?;
    std::fs::rename(&fresh, path).map_err(io("name", path))?;
    File::open(&place.dir).and_then(|dir| dir.sync_all()).map_err(io("sync", &place.dir))
}

/// An empty file that its owner alone reads.
fn private(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map(drop)
}

/// Opens with every page checked.
fn open_database(path: &Path) -> Result<Database, LedgerError> {
    let damaged = |reason: String| LedgerError::Damaged { path: path.to_owned(), reason };
    // redb fills an empty file with a new database, and that is what must not happen.
    match std::fs::metadata(path) {
        Ok(about) if about.len() == 0 => return Err(damaged("it is empty".to_owned())),
        Ok(_) => {}
        Err(source) => return Err(LedgerError::Io { what: "open", path: path.to_owned(), source }),
    }
    let open = || Database::builder().set_cache_size(CACHE_BYTES).set_check_integrity_on_open(true).open(path);
    // Its own checks are thorough, and where they are not, a defect there must end in an error here.
    match catch_unwind(AssertUnwindSafe(open)) {
        Ok(Ok(database)) => Ok(database),
        Ok(Err(DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch)) => {
            Err(LedgerError::Taken { path: path.to_owned() })
        }
        Ok(Err(DatabaseError::UpgradeRequired(version))) => {
            Err(damaged(format!("its engine's file format is {version}, which this version doesn't read")))
        }
        Ok(Err(error)) => Err(failed("open", path, error.into())),
        Err(_) => Err(damaged("reading it failed inside the storage engine".to_owned())),
    }
}

/// A failure of the engine: damage, or the operating system's.
fn failed(what: &'static str, path: &Path, error: redb::Error) -> LedgerError {
    let path = path.to_owned();
    // What ends too early was cut; what fails otherwise may succeed later.
    let cut = |kind| matches!(kind, io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData);
    if let redb::Error::Io(source) = error {
        if !cut(source.kind()) {
            return LedgerError::Io { what, path, source };
        }
        return LedgerError::Damaged { path, reason: source.to_string() };
    }
    LedgerError::Damaged { path, reason: error.to_string() }
}

fn read(database: &Database, path: &Path) -> Result<Found, LedgerError> {
    match catch_unwind(AssertUnwindSafe(|| read_tables(database, path))) {
        Ok(found) => found,
        Err(_) => Err(LedgerError::Damaged {
            path: path.to_owned(),
            reason: "reading it failed inside the storage engine".to_owned(),
        }),
    }
}

fn read_tables(database: &Database, path: &Path) -> Result<Found, LedgerError> {
    let damaged = |reason: &str| LedgerError::Damaged { path: path.to_owned(), reason: reason.to_owned() };
    let engine = |error: redb::Error| failed("read", path, error);
    let transaction = database.begin_read().map_err(|error| engine(error.into()))?;
    let meta = transaction.open_table(META).map_err(|error| engine(error.into()))?;
    let entry = |name: &str| -> Result<Vec<u8>, LedgerError> {
        let found = meta.get(name).map_err(|error| engine(error.into()))?;
        found.map(|found| found.value().to_vec()).ok_or_else(|| damaged("a part of its head is missing"))
    };
    let number = |bytes: Vec<u8>| <[u8; 8]>::try_from(bytes).map(u64::from_le_bytes);
    // The version before everything else: what stands behind it, a later one may have changed.
    match number(entry(META_FORMAT)?) {
        Ok(FORMAT) => {}
        Ok(later) if later > FORMAT => {
            return Err(LedgerError::Newer { path: path.to_owned(), found: later.to_string() });
        }
        Ok(_) | Err(_) => return Err(damaged("its format version is none that ever was")),
    }
    let id = <[u8; 16]>::try_from(entry(META_ID)?).map_err(|_| damaged("its id has another length"))?;
    let inc = number(entry(META_INC)?).map_err(|_| damaged("its incarnation has another length"))?;
    let machine = String::from_utf8(entry(META_MACHINE)?).map_err(|_| damaged("its machine is no text"))?;
    let table = transaction.open_table(RECORDS).map_err(|error| engine(error.into()))?;
    let mut records = BTreeMap::new();
    for (read, row) in (0_u64..).zip(table.iter().map_err(|error| engine(error.into()))?) {
        if read >= RECORDS_MAX {
            return Err(damaged("it has more records than it can have"));
        }
        let (key, value) = row.map_err(|error| engine(error.into()))?;
        let (record, rest) = postcard::take_from_bytes::<Record>(value.value())
            .map_err(|_| damaged("it holds a record that is not understood"))?;
        if !rest.is_empty() || encoded_key(&record.key()).as_deref() != Some(key.value()) {
            return Err(damaged("it holds a record that is not understood"));
        }
        records.insert(record.key(), record);
    }
    Ok(Found { id: LedgerId(u128::from_le_bytes(id)), inc: Incarnation(inc), machine, records })
}

fn encoded_key(key: &Key) -> Option<Vec<u8>> {
    postcard::to_allocvec(key).ok()
}

fn durable(database: &Database) -> Result<redb::WriteTransaction, redb::Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_durability(Durability::Immediate)?;
    Ok(transaction)
}

fn raise(database: &Database, inc: Incarnation) -> Result<(), redb::Error> {
    let transaction = durable(database)?;
    transaction.open_table(META)?.insert(META_INC, inc.0.to_le_bytes().as_slice())?;
    transaction.commit()?;
    Ok(())
}

fn write(database: &Database, records: &[Record]) -> Result<(), redb::Error> {
    let transaction = durable(database)?;
    {
        let mut table = transaction.open_table(RECORDS)?;
        for record in records {
            let (Some(key), Ok(value)) = (encoded_key(&record.key()), postcard::to_allocvec(record)) else {
                // Memory is all that an encoding into memory can lack.
                return Err(redb::Error::Io(io::Error::other("a record cannot be encoded")));
            };
            table.insert(key.as_slice(), value.as_slice())?;
        }
    }
    transaction.commit()?;
    Ok(())
}
