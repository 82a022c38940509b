//! Key and certificate files: PEM (RFC 7468), mode 0600, replaced as a whole.

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use zeroize::Zeroizing;

use super::PkiError;
use crate::protocol::SecretKey;
use crate::shell::store::{read_bounded, write_atomically};

/// The largest file that is read, in bytes: chains of public authorities have a few kilobytes.
const FILE_BYTES_MAX: usize = 256 * 1024;

const CERTIFICATE: &str = "CERTIFICATE";
const PRIVATE_KEY: &str = "PRIVATE KEY";

fn armored(label: &str, der: &[u8]) -> Zeroizing<String> {
    let body = Zeroizing::new(STANDARD.encode(der));
    let mut text = Zeroizing::new(String::with_capacity(body.len() + body.len() / 64 + 64));
    text.push_str(&format!("-----BEGIN {label}-----\n"));
    let mut rest = body.as_str();
    while !rest.is_empty() {
        // Base64 is ASCII: every place is a boundary.
        let (line, after) = rest.split_at(rest.len().min(64));
        text.push_str(line);
        text.push('\n');
        rest = after;
    }
    text.push_str(&format!("-----END {label}-----\n"));
    text
}

/// These certificates as one PEM text.
pub(super) fn certificates_pem<'a>(ders: impl IntoIterator<Item = &'a [u8]>) -> String {
    ders.into_iter().map(|der| armored(CERTIFICATE, der).to_string()).collect()
}

/// Writes a secret key.
pub(super) fn write_key(path: &Path, pkcs8: &[u8]) -> Result<(), PkiError> {
    Ok(write_atomically(path, armored(PRIVATE_KEY, pkcs8).as_bytes())?)
}

/// Writes certificates, the leaf first.
pub(super) fn write_certificates<'a>(path: &Path, ders: impl IntoIterator<Item = &'a [u8]>) -> Result<(), PkiError> {
    Ok(write_atomically(path, certificates_pem(ders).as_bytes())?)
}

fn unreadable(path: &Path, reason: impl Into<String>) -> PkiError {
    PkiError::Unreadable { path: path.to_owned(), reason: reason.into() }
}

/// The file's bytes, `None` if there is none.
pub(super) fn read(path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, PkiError> {
    let Some(bytes) = read_bounded(path, FILE_BYTES_MAX)? else { return Ok(None) };
    if bytes.len() > FILE_BYTES_MAX {
        return Err(unreadable(path, format!("it is larger than {FILE_BYTES_MAX} bytes")));
    }
    Ok(Some(Zeroizing::new(bytes)))
}

/// The certificates of a file, in its order; `None` if there is no file.
pub(super) fn read_certificates(path: &Path) -> Result<Option<Vec<CertificateDer<'static>>>, PkiError> {
    let Some(bytes) = read(path)? else { return Ok(None) };
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(&bytes)
        .collect::<Result<_, _>>()
        .map_err(|error| unreadable(path, format!("it is no PEM file of certificates: {error}")))?;
    if certificates.is_empty() {
        return Err(unreadable(path, "it holds no certificate; accepted: PEM, the server's own certificate first"));
    }
    Ok(Some(certificates))
}

/// A private key of any kind that TLS takes; `None` if there is no file.
pub(super) fn read_tls_key(path: &Path) -> Result<Option<PrivateKeyDer<'static>>, PkiError> {
    let Some(bytes) = read(path)? else { return Ok(None) };
    PrivateKeyDer::from_pem_slice(&bytes)
        .map(Some)
        .map_err(|error| unreadable(path, format!("it holds no private key in PEM (PKCS#8, SEC1 or PKCS#1): {error}")))
}

/// An Ed25519 key as [`write_key`] wrote it; `None` if there is no file.
pub(super) fn read_signing_key(path: &Path) -> Result<Option<SecretKey>, PkiError> {
    let Some(bytes) = read(path)? else { return Ok(None) };
    let key = PrivatePkcs8KeyDer::from_pem_slice(&bytes)
        .map_err(|error| unreadable(path, format!("it holds no private key in PEM: {error}")))?;
    let der = key.secret_pkcs8_der();
    // Our own encoding puts the seed at the end; whatever else encodes to the same bytes is the same key.
    let key = der
        .len()
        .checked_sub(32)
        .and_then(|at| der.get(at..))
        .and_then(|seed| <[u8; 32]>::try_from(seed).ok())
        .map(SecretKey::from_seed)
        .filter(|key| key.pkcs8_der().as_slice() == der);
    key.map(Some).ok_or_else(|| unreadable(path, "its key is not Ed25519 in PKCS#8 (RFC 8410, version 1)"))
}

/// Names of files in a directory that begin and end so.
pub(super) fn list(dir: &Path, prefix: &str, suffix: &str) -> Result<Vec<PathBuf>, PkiError> {
    let io = |source| PkiError::List { path: dir.to_owned(), source };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(io)? {
        let entry = entry.map_err(io)?;
        if entry.file_name().to_str().is_some_and(|name| name.starts_with(prefix) && name.ends_with(suffix)) {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_reads_back_and_its_file_is_private() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.key");
        let key = SecretKey::from_seed([3; 32]);
        assert!(read_signing_key(&path).unwrap().is_none());
        write_key(&path, &key.pkcs8_der()).unwrap();
        assert_eq!(read_signing_key(&path).unwrap().unwrap().public(), key.public());
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn what_is_no_key_is_refused_with_its_path_and_without_its_content() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.key");
        for text in ["", "secret stuff", "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n"] {
            std::fs::write(&path, text).unwrap();
            let told = read_signing_key(&path).unwrap_err().to_string();
            assert!(told.contains("x.key") && !told.contains("c2VjcmV0"), "{told}");
        }
        std::fs::write(&path, vec![b'x'; FILE_BYTES_MAX + 1]).unwrap();
        assert!(read_signing_key(&path).unwrap_err().to_string().contains("larger"));
    }
}
