//! Files that commands read and write: tokens, backups, exports.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use serde_json::Value;

use crate::cli::Failure;
use crate::protocol::RegistrationToken;

/// The largest file of a token, in bytes.
const TOKEN_BYTES_MAX: u64 = 4096;

/// The largest backup, in bytes.
const BACKUP_BYTES_MAX: u64 = 16 * 1024 * 1024;

fn failed(what: &str, path: &Path, why: impl std::fmt::Display) -> Failure {
    Failure::Refused(format!("{what} {}: {why}", path.display()))
}

fn bounded(reader: impl Read, max: u64) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    reader.take(max + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length <= max) {
        Ok(bytes)
    } else {
        Err(format!("found more than {max} bytes; accepted: at most so many"))
    }
}

/// The token in a file, or in what comes in.
pub(super) fn token(path: &Path, input: &mut impl BufRead) -> Result<RegistrationToken, Failure> {
    let bytes = if path == Path::new("-") {
        bounded(input, TOKEN_BYTES_MAX)
    } else {
        File::open(path).map_err(|error| error.to_string()).and_then(|file| bounded(file, TOKEN_BYTES_MAX))
    };
    let bytes = zeroize::Zeroizing::new(bytes.map_err(|why| failed("cannot read the token from", path, why))?);
    let text = std::str::from_utf8(&bytes).map_err(|_| failed("no token in", path, "found bytes that are not text"))?;
    text.parse().map_err(|error| failed("no token in", path, error))
}

/// The backup in a file.
pub(super) fn backup(path: &Path) -> Result<Value, Failure> {
    let bytes = File::open(path).map_err(|error| error.to_string()).and_then(|file| bounded(file, BACKUP_BYTES_MAX));
    let bytes = bytes.map_err(|why| failed("cannot read the backup", path, why))?;
    serde_json::from_slice(&bytes).map_err(|error| {
        failed("not a backup:", path, format!("{error}; accepted: a file that `callgate license backup` wrote"))
    })
}

/// Writes a new file that only its owner can read. One that is there already is not touched.
pub(super) fn write_new(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(|error| {
        let why = if error.kind() == std::io::ErrorKind::AlreadyExists {
            "it is there already; name a new file".to_owned()
        } else {
            error.to_string()
        };
        failed("cannot write", path, why)
    })?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(|error| failed("cannot write", path, error))
}
