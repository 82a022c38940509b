//! Replacing a small file as a whole, so that a crash at any instant leaves the old content or the new one.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use super::StoreError;

/// Makes a directory, and its parents, that only its owner may enter. One that exists is left as it is.
///
/// # Errors
/// If it cannot be made.
pub fn make_private_dir(dir: &Path) -> Result<(), StoreError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|source| StoreError::io("make the directory", dir, source))
}

/// Puts `bytes` in place of the file's content: written beside it (mode 0600), synced, renamed over it, and the
/// directory synced, in this order: a name that is durable before its content would survive a power loss empty.
///
/// # Errors
/// If any step fails; then the old content stands.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let dir = path.parent().unwrap_or(Path::new("."));
    // One fixed name: what a crash leaves behind is overwritten by the next save, so that nothing piles up.
    let beside = path.with_extension("new");
    let write = || {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().map_err(|source| StoreError::io("write", &beside, source))?;
    std::fs::rename(&beside, path).map_err(|source| StoreError::io("replace", path, source))?;
    let sync = || File::open(dir)?.sync_all();
    sync().map_err(|source| StoreError::io("sync the directory", dir, source))
}

/// A file's content, `None` if there is no such file. A file above `bytes_max` yields its first `bytes_max + 1` bytes:
/// enough to see that it is too long.
///
/// # Errors
/// If it exists and cannot be read.
pub fn read_bounded(path: &Path, bytes_max: usize) -> Result<Option<Vec<u8>>, StoreError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(StoreError::io("open", path, source)),
    };
    let mut bytes = Vec::new();
    let limit = u64::try_from(bytes_max).unwrap_or(u64::MAX).saturating_add(1);
    file.take(limit).read_to_end(&mut bytes).map_err(|source| StoreError::io("read", path, source))?;
    Ok(Some(bytes))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_replaced_file_holds_the_new_bytes_alone_and_is_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("thing");
        assert_eq!(read_bounded(&path, 10).unwrap(), None);
        write_atomically(&path, b"a long first content").unwrap();
        write_atomically(&path, b"short").unwrap();
        assert_eq!(read_bounded(&path, 10).unwrap().unwrap(), b"short");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn a_crash_between_writing_and_renaming_leaves_the_old_content() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("thing");
        write_atomically(&path, b"old").unwrap();
        std::fs::write(path.with_extension("new"), b"ne").unwrap();
        assert_eq!(read_bounded(&path, 10).unwrap().unwrap(), b"old");
        write_atomically(&path, b"newer").unwrap();
        assert_eq!(read_bounded(&path, 10).unwrap().unwrap(), b"newer");
    }

    #[test]
    fn an_error_names_the_action_and_the_path() {
        let dir = tempfile::tempdir().unwrap();
        let told = write_atomically(&dir.path().join("missing/thing"), b"x").unwrap_err().to_string();
        assert!(told.starts_with("cannot write ") && told.contains("missing/thing.new"), "{told}");
    }
}
