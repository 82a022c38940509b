//! The demo's directory: for this user alone, gone when the demo ends.
//!
//! A demo that was killed leaves its directory; the next one removes it. A held lock tells a live one apart.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

const PREFIX: &str = "callgate-demo-";
const LOCK_FILE: &str = "lock";

/// The directory. Dropping it removes it.
#[derive(Debug)]
pub(super) struct Workspace {
    path: PathBuf,
    _lock: File,
}

impl Workspace {
    /// Makes one below `parent`, after it removed what killed demos left there.
    ///
    /// # Errors
    /// If `parent` takes no directory.
    pub(super) fn make(parent: &Path) -> io::Result<Self> {
        sweep(parent);
        let mut name = [0; 4];
        getrandom::fill(&mut name).map_err(|error| io::Error::other(error.to_string()))?;
        let name: String = name.iter().map(|byte| format!("{byte:02x}")).collect();
        let path = parent.join(format!("{PREFIX}{name}"));
        DirBuilder::new().mode(0o700).create(&path)?;
        // Locked before it has the name by which a sweep looks.
        let unnamed = path.join("lock.new");
        let lock = File::create_new(&unnamed)?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
        fs::rename(&unnamed, path.join(LOCK_FILE))?;
        Ok(Self { path, _lock: lock })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// A file in it.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Writes a new file that its owner alone can read.
    ///
    /// # Errors
    /// If it is there already, or can't be written.
    pub(super) fn write(&self, name: &str, text: &str) -> io::Result<PathBuf> {
        let path = self.file(name);
        self.private(name)?.write_all(text.as_bytes())?;
        Ok(path)
    }

    /// A new, empty file that its owner alone can read.
    ///
    /// # Errors
    /// If it is there already, or can't be made.
    pub(super) fn private(&self, name: &str) -> io::Result<File> {
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(self.file(name))
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        // What can't be removed stays for the next demo.
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// Removes the directories of this user's demos that nobody holds any more.
fn sweep(parent: &Path) {
    let user = rustix::process::geteuid().as_raw();
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        let ours = entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX));
        let path = entry.path();
        let plain = fs::symlink_metadata(&path).is_ok_and(|found| found.is_dir() && found.uid() == user);
        if !ours || !plain {
            continue;
        }
        let Ok(lock) = File::open(path.join(LOCK_FILE)) else { continue };
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok() {
            // Two that sweep at once: the other one removes it.
            let _ = fs::remove_dir_all(&path);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn it_is_private_and_goes_with_its_files() {
        let parent = tempfile::tempdir().unwrap();
        let workspace = Workspace::make(parent.path()).unwrap();
        let secret = workspace.write("token", "secret").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(workspace.path()), mode(&secret)), (0o700, 0o600));
        drop(workspace);
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_a_killed_demo_left_is_removed_and_a_live_one_is_not() {
        let parent = tempfile::tempdir().unwrap();
        let live = Workspace::make(parent.path()).unwrap();
        let dead = parent.path().join(format!("{PREFIX}dead"));
        fs::create_dir(&dead).unwrap();
        fs::write(dead.join(LOCK_FILE), "").unwrap();
        let other = Workspace::make(parent.path()).unwrap();
        assert!(!dead.exists() && live.path().exists() && other.path().exists());
    }
}
