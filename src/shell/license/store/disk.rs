//! The disk, as far as the license state needs one: so that a test can let each step of it fail.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

/// What is done to files.
pub trait Disk: std::fmt::Debug + Send {
    /// A file's content, `None` if there is none; at most `bytes_max + 1` bytes.
    ///
    /// # Errors
    /// If it exists and cannot be read.
    fn read(&self, path: &Path, bytes_max: usize) -> io::Result<Option<Vec<u8>>>;

    /// Makes a directory, and its parents, that only its owner may enter.
    ///
    /// # Errors
    /// If it cannot be made.
    fn make_dir(&self, dir: &Path) -> io::Result<()>;

    /// Writes a file of mode 0600, and waits until the disk has it.
    ///
    /// # Errors
    /// If it cannot; the file is then in any state.
    fn write_durably(&self, path: &Path, bytes: &[u8]) -> io::Result<()>;

    /// Puts a file in another's place, at once.
    ///
    /// # Errors
    /// If it cannot; then nothing happened.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Waits until the disk has the directory's names.
    ///
    /// # Errors
    /// If it cannot.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
}

/// The host's file systems.
#[derive(Debug, Clone, Copy, Default)]
pub struct HostDisk;

impl Disk for HostDisk {
    fn read(&self, path: &Path, bytes_max: usize) -> io::Result<Option<Vec<u8>>> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut bytes = Vec::new();
        file.take(u64::try_from(bytes_max).unwrap_or(u64::MAX).saturating_add(1)).read_to_end(&mut bytes)?;
        Ok(Some(bytes))
    }

    fn make_dir(&self, dir: &Path) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(dir)
    }

    fn write_durably(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }
}
