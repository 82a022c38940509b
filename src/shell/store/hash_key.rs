//! The secret that call ids are hashed with.
//!
//! It keeps outsiders from choosing ids that collide in the session table. It is no protection of what the journal
//! holds: whoever reads `data_dir` reads the key too.

use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::xxh3_64;

use super::{StoreError, make_private_dir, read_bounded, write_atomically};
use crate::units::HashKey;

const MAGIC: &[u8; 6] = b"CGHKEY";
const VERSION: u16 = 1;
/// magic 6, version u16, key 16, checksum of all before u64.
const FILE_BYTES: usize = 32;

/// Where a hash key came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyOrigin {
    /// Its file.
    Loaded,
    /// It is new: there was no file.
    Created,
    /// It is new: the file was damaged, and is kept under the name given. Calls of the journal cannot be named any more
    /// and stay counted until their lease ends.
    Replaced {
        /// What was wrong.
        reason: String,
        /// Where the damaged file is now.
        kept_as: PathBuf,
    },
}

/// The hash key of this `data_dir`; makes one on first start.
///
/// # Errors
/// If the file cannot be read or written, or if a later version wrote it.
pub fn load_hash_key(data_dir: &Path) -> Result<(HashKey, KeyOrigin), StoreError> {
    let path = data_dir.join("hash.key");
    let origin = match read_bounded(&path, FILE_BYTES)? {
        None => KeyOrigin::Created,
        Some(bytes) => match parse(&bytes, &path)? {
            Ok(key) => return Ok((key, KeyOrigin::Loaded)),
            Err(reason) => {
                let kept_as = path.with_extension("key.damaged");
                std::fs::rename(&path, &kept_as).map_err(|source| StoreError::io("set aside", &path, source))?;
                KeyOrigin::Replaced { reason, kept_as }
            }
        },
    };
    let mut secret = [0; 16];
    getrandom::fill(&mut secret).map_err(StoreError::Random)?;
    make_private_dir(data_dir)?;
    write_atomically(&path, &format(&secret))?;
    Ok((HashKey::from_bytes(secret), origin))
}

fn format(secret: &[u8; 16]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(FILE_BYTES);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(secret);
    bytes.extend_from_slice(&xxh3_64(&bytes).to_le_bytes());
    bytes
}

fn parse(bytes: &[u8], path: &Path) -> Result<Result<HashKey, String>, StoreError> {
    let damaged = |reason: String| Ok(Err(reason));
    let Ok(whole): Result<&[u8; FILE_BYTES], _> = bytes.try_into() else {
        return damaged(format!("it has {} bytes; it needs {FILE_BYTES}", bytes.len()));
    };
    let (content, checksum) = whole.split_at(FILE_BYTES - 8);
    if xxh3_64(content).to_le_bytes() != checksum {
        return damaged("its checksum does not match".to_owned());
    }
    let Some((found, secret)) = content.strip_prefix(MAGIC).and_then(|rest| rest.split_first_chunk::<2>()) else {
        return damaged("it is not a hash key file".to_owned());
    };
    let found = u16::from_le_bytes(*found);
    if found > VERSION {
        return Err(StoreError::NewerVersion { path: path.to_owned(), found, supported: VERSION });
    }
    match secret.try_into() {
        Ok(secret) => Ok(Ok(HashKey::from_bytes(secret))),
        Err(_) => damaged("its key is not 16 bytes long".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_of_the_first_start_is_the_key_of_every_later_one() {
        let dir = tempfile::tempdir().unwrap();
        let data_dir = dir.path().join("state");
        let (first, origin) = load_hash_key(&data_dir).unwrap();
        assert_eq!(origin, KeyOrigin::Created);
        let (again, origin) = load_hash_key(&data_dir).unwrap();
        assert_eq!(origin, KeyOrigin::Loaded);
        assert_eq!(first.hash(b"call"), again.hash(b"call"));
        let (other, _) = load_hash_key(&dir.path().join("other")).unwrap();
        assert_ne!(first.hash(b"call"), other.hash(b"call"));
    }

    #[test]
    fn any_damage_is_seen_set_aside_and_told() {
        let dir = tempfile::tempdir().unwrap();
        load_hash_key(dir.path()).unwrap();
        let good = std::fs::read(dir.path().join("hash.key")).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            for bytes in [&bad[..], &good[..at]] {
                std::fs::write(dir.path().join("hash.key"), bytes).unwrap();
                let (_, origin) = load_hash_key(dir.path()).unwrap();
                let KeyOrigin::Replaced { kept_as, .. } = origin else { panic!("byte {at}: {origin:?}") };
                assert_eq!(std::fs::read(kept_as).unwrap(), bytes);
            }
        }
    }

    #[test]
    fn a_key_of_a_later_version_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let mut bytes = format(&[7; 16]);
        bytes.truncate(FILE_BYTES - 8);
        bytes[6] = 2;
        let checksum = xxh3_64(&bytes).to_le_bytes();
        bytes.extend_from_slice(&checksum);
        std::fs::write(dir.path().join("hash.key"), &bytes).unwrap();
        let told = load_hash_key(dir.path()).unwrap_err().to_string();
        assert!(told.contains("format version 2") && told.contains("up to 1"), "{told}");
        assert_eq!(std::fs::read(dir.path().join("hash.key")).unwrap(), bytes);
    }
}
