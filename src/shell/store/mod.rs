//! Small durable files: the evaluation account and the hash key. Calls are kept elsewhere (`shell/journal`).
//!
//! | file under `data_dir` | what | if lost |
//! |---|---|---|
//! | `hash.key` | the secret that call ids are hashed with | a new one; journaled calls stay counted until their lease ends |
//! | `license/evaluation`, `node/evaluation` | two copies of the evaluation account | the other copy, or the one that the user has outside `data_dir`; all: evaluation starts anew |
//!
//! What must stay true: a file is replaced as a whole (write beside, fsync, rename, fsync of the directory), so that a
//! crash leaves the old content or the new one; files are readable by their owner alone.

mod atomic_file;
mod evaluation_store;
mod hash_key;
mod machine_key;
mod state_dir;

pub use atomic_file::{make_private_dir, read_bounded, write_atomically};
pub use evaluation_store::{CopyState, EvaluationStore, Loaded, SaveError};
pub use hash_key::{KeyOrigin, load_hash_key};
pub use machine_key::MachineKey;
pub use state_dir::{StateDir, StateDirError};

use std::path::PathBuf;

/// Why a durable file could not be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The operating system said no.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// What it said.
        source: std::io::Error,
    },
    /// A later version of callgate wrote it. Nothing was changed.
    #[error(
        "{} has format version {found}; this callgate reads up to {supported}. Run the version that wrote it, or a \
         later one; nothing was changed",
        path.display()
    )]
    NewerVersion {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u16,
        /// The newest that this build reads.
        supported: u16,
    },
    /// The evaluation account is there but cannot be read, and no other copy can stand in. Nothing was changed.
    #[error(
        "{} cannot be used and there is no other copy of the evaluation account: {reason}. Mend that, or delete the \
         file to start evaluation with what the remaining copies say",
        path.display()
    )]
    NoGoodCopy {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        reason: String,
    },
    /// The newest license state is whole and authentic, and this version doesn't understand it. Nothing was changed.
    #[error(
        "{} is whole, and callgate {version} does not understand it ({reason}): another version, a newer one most likely, \
         wrote it. Run that version or a later one, or move every copy away to start unregistered; nothing was changed",
        path.display()
    )]
    UnknownState {
        /// The file.
        path: PathBuf,
        /// Where it is not understood.
        reason: String,
        /// This version.
        version: &'static str,
    },
    /// The license state is there but cannot be read, and no other copy can stand in. Nothing was changed.
    #[error(
        "{} cannot be read and there is no other copy of the license state: {reason}. Mend that, or move the file away to \
         start unregistered; evaluation time is kept apart and stays",
        path.display()
    )]
    NoGoodState {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        reason: String,
    },
    /// No random bytes.
    #[error("the system has no random bytes to make a key of: {0}")]
    Random(getrandom::Error),
}

impl StoreError {
    fn io(action: &'static str, path: &std::path::Path, source: std::io::Error) -> Self {
        Self::Io { action, path: path.to_owned(), source }
    }
}
