//! Who a node is, and whom it believes: its certificate, its key, and the authorities, read from files together.
//!
//! What must stay true: an identity is whole and checked, or there is none; the key is shown nowhere.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, Error as TlsError, RootCertStore};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::ca::dns_name;
use crate::cluster::NodeName;
use crate::units::UnixMillis;

/// A node with less than this left of its certificate is told so.
pub const NEAR_EXPIRY_MS: u64 = 30 * 86_400_000;

/// No file of certificates is longer.
const FILE_BYTES_MAX: usize = 1 << 20;

/// Where an identity is read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdentityFiles {
    /// The authorities' certificates (PEM): more than one while the authority is changed.
    pub ca: PathBuf,
    /// The node's certificate (PEM).
    pub certificate: PathBuf,
    /// Its key (PEM).
    pub key: PathBuf,
}

/// Who a node is, and whom it believes.
pub struct Identity {
    /// The node.
    pub node: NodeName,
    /// When its certificate ends.
    pub not_after: UnixMillis,
    pub(super) roots: Arc<RootCertStore>,
    pub(super) certified: Arc<CertifiedKey>,
    pub(super) provider: Arc<CryptoProvider>,
}

impl fmt::Debug for Identity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Identity({} until {})", self.node, self.not_after.0)
    }
}

/// Why files make no identity.
#[derive(Debug, thiserror::Error)]
#[error("{key} ({}): {found}; accepted: {accepted}", path.display())]
pub struct IdentityError {
    /// The configuration's key.
    pub key: &'static str,
    /// The file.
    pub path: PathBuf,
    /// What was found.
    pub found: String,
    /// What is accepted.
    pub accepted: &'static str,
}

const CA: &str = "cluster.ca_file";
const CERTIFICATE: &str = "cluster.certificate_file";
const KEY: &str = "cluster.key_file";

impl Identity {
    /// Reads the files, and checks that they belong together and to this node. A certificate that has expired is taken:
    /// peers will refuse it, and an alarm says so.
    ///
    /// # Errors
    /// If a file can't be read, isn't what it should be, or they don't belong together.
    pub fn read(files: &IdentityFiles, node: &NodeName, now: UnixMillis) -> Result<Self, IdentityError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let roots = Arc::new(read_roots(&files.ca)?);
        let wrong = |found: String, accepted| IdentityError {
            key: CERTIFICATE,
            path: files.certificate.clone(),
            found,
            accepted,
        };
        let chain = certificates(CERTIFICATE, &files.certificate)?;
        let (names, not_after) = chain
            .first()
            .and_then(|leaf| Some((names_of(leaf)?, end_of(leaf)?)))
            .ok_or_else(|| wrong("no X.509 certificate".to_owned(), A_NODE))?;
        if names != [node.as_str()] {
            let found = format!("a certificate of {}, while node.name is {node}", said(&names));
            return Err(wrong(found, "a certificate whose one DNS name is this node's name"));
        }
        let key = read_key(&files.key)?;
        let signer = provider.key_provider.load_private_key(key).map_err(|error| IdentityError {
            key: KEY,
            path: files.key.clone(),
            found: error.to_string(),
            accepted: "a private key that TLS knows, such as `callgate cluster ca issue` makes",
        })?;
        let certified = CertifiedKey::new(chain, signer);
        certified
            .keys_match()
            .map_err(|_| wrong(format!("it does not belong to the key in {}", files.key.display()), A_NODE))?;
        let identity = Self { node: node.clone(), not_after, roots, certified: Arc::new(certified), provider };
        identity.check_chain(files, now)?;
        Ok(identity)
    }

    /// Whether this node would believe its own certificate.
    fn check_chain(&self, files: &IdentityFiles, now: UnixMillis) -> Result<(), IdentityError> {
        let wrong = |found: String| IdentityError {
            key: CERTIFICATE,
            path: files.certificate.clone(),
            found,
            accepted: "a certificate that the authority in cluster.ca_file issued",
        };
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::clone(&self.roots), Arc::clone(&self.provider))
            .build()
            .map_err(|error| wrong(error.to_string()))?;
        let name = dns_name(&self.node).map_err(|error| wrong(error.to_string()))?;
        let [leaf, above @ ..] = self.certified.cert.as_slice() else { return Err(wrong("nothing".to_owned())) };
        let time = UnixTime::since_unix_epoch(std::time::Duration::from_millis(now.0));
        match verifier.verify_server_cert(leaf, above, &name, &[], time) {
            Ok(_) => Ok(()),
            Err(TlsError::InvalidCertificate(
                CertificateError::Expired
                | CertificateError::ExpiredContext { .. }
                | CertificateError::NotValidYet
                | CertificateError::NotValidYetContext { .. },
            )) => Ok(()),
            Err(error) => Err(wrong(error.to_string())),
        }
    }

    /// Whether another one proves and believes the same: then no connection needs to be made anew.
    #[must_use]
    pub fn same(&self, other: &Self) -> bool {
        self.certified.cert == other.certified.cert && self.roots.roots == other.roots.roots
    }
}

const A_NODE: &str = "a node's certificate in PEM, as `callgate cluster ca issue` makes it";

fn read_bounded(key: &'static str, path: &Path) -> Result<Vec<u8>, IdentityError> {
    let wrong = |found: String, accepted| IdentityError { key, path: path.to_owned(), found, accepted };
    let readable = "a file that this user can read";
    match crate::shell::store::read_bounded(path, FILE_BYTES_MAX) {
        Ok(Some(bytes)) if bytes.len() <= FILE_BYTES_MAX => Ok(bytes),
        Ok(Some(_)) => Err(wrong("a file of more than 1 MiB".to_owned(), "a PEM file")),
        Ok(None) => Err(wrong(io::Error::from(io::ErrorKind::NotFound).to_string(), readable)),
        Err(error) => Err(wrong(error.to_string(), readable)),
    }
}

fn certificates(key: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
    let bytes = read_bounded(key, path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(IdentityError {
            key,
            path: path.to_owned(),
            found: "no certificate".to_owned(),
            accepted: "one or more certificates in PEM",
        }),
        Err(error) => Err(IdentityError {
            key,
            path: path.to_owned(),
            found: error.to_string(),
            accepted: "one or more certificates in PEM",
        }),
    }
}

fn read_roots(path: &Path) -> Result<RootCertStore, IdentityError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(CA, path)? {
        let wrong = |found: String| IdentityError {
            key: CA,
            path: path.to_owned(),
            found,
            accepted: "certificates of authorities (ca.pem, as `callgate cluster ca init` makes it)",
        };
        let is_ca = X509Certificate::from_der(&certificate).is_ok_and(|(_, parsed)| parsed.is_ca());
        if !is_ca {
            return Err(wrong("a certificate that is no authority's".to_owned()));
        }
        roots.add(certificate).map_err(|error| wrong(error.to_string()))?;
    }
    Ok(roots)
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, IdentityError> {
    let bytes = zeroize::Zeroizing::new(read_bounded(KEY, path)?);
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| IdentityError {
        key: KEY,
        path: path.to_owned(),
        found: error.to_string(),
        accepted: "a private key in PEM",
    })
}

/// The DNS names that a certificate is for; `None` if it can't be read.
pub(super) fn names_of(certificate: &CertificateDer<'_>) -> Option<Vec<String>> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let names = parsed.subject_alternative_name().ok()??;
    let mut dns = Vec::new();
    for name in &names.value.general_names {
        if let GeneralName::DNSName(name) = name {
            dns.push((*name).to_owned());
        }
    }
    Some(dns)
}

/// When it ends.
pub(super) fn end_of(certificate: &CertificateDer<'_>) -> Option<UnixMillis> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let seconds = u64::try_from(parsed.validity().not_after.timestamp()).ok()?;
    Some(UnixMillis(seconds.saturating_mul(1000)))
}

fn said(names: &[String]) -> String {
    if names.is_empty() { "no name".to_owned() } else { names.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shell::cluster::ca;

    const NOW: UnixMillis = UnixMillis(1_800_000_000_000);

    fn files(dir: &Path, name: &str) -> IdentityFiles {
        IdentityFiles {
            ca: dir.join(ca::CA_CERTIFICATE),
            certificate: dir.join(format!("{name}.pem")),
            key: dir.join(format!("{name}.key")),
        }
    }

    fn made(names: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        ca::init(dir.path(), NOW).unwrap();
        for name in names {
            ca::issue(dir.path(), &name.parse().unwrap(), NOW).unwrap();
        }
        dir
    }

    fn refused(files: &IdentityFiles, name: &str) -> String {
        Identity::read(files, &name.parse().unwrap(), NOW).unwrap_err().to_string()
    }

    #[test]
    fn what_the_authority_issued_is_an_identity_also_when_it_has_expired() {
        let dir = made(&["sip-a"]);
        let read = |now| Identity::read(&files(dir.path(), "sip-a"), &"sip-a".parse().unwrap(), now).unwrap();
        assert_eq!(read(NOW).node.as_str(), "sip-a");
        assert!(read(UnixMillis(NOW.0 + 400 * 86_400_000)).not_after.0 < NOW.0 + 400 * 86_400_000);
    }

    #[test]
    fn files_that_do_not_belong_together_are_refused_with_the_key_that_names_them() {
        let dir = made(&["sip-a", "sip-b"]);
        let other = made(&["sip-a"]);
        let whole = files(dir.path(), "sip-a");
        assert!(refused(&whole, "sip-c").contains("a certificate of sip-a, while node.name is sip-c"));
        let foreign_key = IdentityFiles { key: dir.path().join("sip-b.key"), ..whole.clone() };
        assert!(refused(&foreign_key, "sip-a").contains("does not belong to the key"));
        let foreign_ca = IdentityFiles { ca: other.path().join(ca::CA_CERTIFICATE), ..whole.clone() };
        assert!(refused(&foreign_ca, "sip-a").starts_with("cluster.certificate_file"));
        let no_ca = IdentityFiles { ca: dir.path().join("sip-b.pem"), ..whole.clone() };
        assert!(refused(&no_ca, "sip-a").starts_with("cluster.ca_file"));
        let missing = IdentityFiles { key: dir.path().join("gone"), ..whole };
        assert!(refused(&missing, "sip-a").starts_with("cluster.key_file"));
    }
}
