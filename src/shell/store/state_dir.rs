//! The state directory: one sidecar or manager at a time, and where the front ends of that one listen.
//!
//! What must stay true: two processes never share a state directory, whatever it is called by.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use super::{StoreError, make_private_dir, write_atomically};

const LOCK_FILE: &str = "callgate.lock";
const ADDRESSES_FILE: &str = "addresses.json";

/// A state directory that this process holds. Dropping it lets it go.
#[derive(Debug)]
pub struct StateDir {
    path: PathBuf,
    /// Locked as long as it is open; the operating system lets go even on `kill -9`.
    _lock: File,
}

/// The state directory cannot be used. Nothing was changed in it.
#[derive(Debug, thiserror::Error)]
pub enum StateDirError {
    /// Another process holds it.
    #[error(
        "another callgate{} uses the state directory {}: two cannot share one; stop that one, or give this one a directory \
         of its own (data_dir in its configuration)",
        pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default(), path.display()
    )]
    Taken {
        /// The directory.
        path: PathBuf,
        /// Who holds it, if it said so.
        pid: Option<u32>,
    },
    /// The operating system refused something.
    #[error("cannot {what} {}: {source}{hint}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// With what.
        path: PathBuf,
        /// What to look at.
        hint: &'static str,
        /// What it said.
        source: io::Error,
    },
    /// A file in it cannot be written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn io_error<'a>(what: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> StateDirError + 'a {
    move |source| {
        let hint = if source.kind() == io::ErrorKind::PermissionDenied {
            " (set data_dir to a directory that this user may write)"
        } else if source.kind() == io::ErrorKind::StorageFull {
            " (free some space on that file system)"
        } else {
            ""
        };
        StateDirError::Io { what, path: path.to_owned(), hint, source }
    }
}

impl StateDir {
    /// Makes the directory where it doesn't exist (mode 0700), and takes it for this process.
    ///
    /// # Errors
    /// If another process holds it, or it cannot be made or written.
    pub fn open(path: &Path) -> Result<Self, StateDirError> {
        make_private_dir(path)?;
        let lock_path = path.join(LOCK_FILE);
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&lock_path)
            .map_err(io_error("open", &lock_path))?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut text = String::new();
                let pid = lock.read_to_string(&mut text).ok().and_then(|_| text.trim().parse().ok());
                return Err(StateDirError::Taken { path: path.to_owned(), pid });
            }
            Err(error) => return Err(io_error("lock", &lock_path)(error.into())),
        }
        lock.set_len(0).map_err(io_error("write", &lock_path))?;
        writeln!(lock, "{}", std::process::id()).map_err(io_error("write", &lock_path))?;
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Says where the front ends listen, for scripts and tests: ports given as 0 are real ones there.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write_addresses(&self, addresses: &serde_json::Value) -> Result<PathBuf, StateDirError> {
        let path = self.path.join(ADDRESSES_FILE);
        write_atomically(&path, format!("{addresses:#}\n").as_bytes())?;
        Ok(path)
    }

    /// Takes that back: nothing listens any more.
    pub fn remove_addresses(&self) {
        // Not there, or not removable: a reader that connects finds out.
        let _ = fs::remove_file(self.path.join(ADDRESSES_FILE));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_sidecar_on_the_same_directory_is_refused_with_the_pid_of_the_first() {
        let dir = tempfile::tempdir().unwrap();
        let first = StateDir::open(dir.path()).unwrap();
        let error = StateDir::open(dir.path()).unwrap_err().to_string();
        assert!(error.contains(&format!("pid {}", std::process::id())) && error.contains("data_dir"), "{error}");
        drop(first);
        StateDir::open(dir.path()).unwrap();
    }

    #[test]
    fn addresses_are_replaced_whole_and_removed_at_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::open(dir.path()).unwrap();
        let path = state.write_addresses(&serde_json::json!({ "resp": ["127.0.0.1:1"] })).unwrap();
        state.write_addresses(&serde_json::json!({ "resp": [] })).unwrap();
        let value: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        assert_eq!(value, serde_json::json!({ "resp": [] }));
        state.remove_addresses();
        assert!(!path.exists());
    }
}
