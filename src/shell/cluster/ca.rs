//! The cluster's own certificate authority: `callgate cluster ca init` and `ca issue`.
//!
//! One directory holds the authority's key and certificate. A node gets three files: its certificate, its key, and the
//! authority's certificate. Who holds the authority's key can make members, so it belongs on none of the nodes.
//!
//! What must stay true: nothing is ever overwritten; private keys are written with mode 0600; a node's certificate names
//! that node alone and can sign no other.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData, SanType, SerialNumber, date_time_ymd,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use sha2::{Digest, Sha256};
use x509_parser::prelude::{FromDer, X509Certificate};
use zeroize::Zeroizing;

use crate::cluster::NodeName;
use crate::shell::store::{StoreError, make_private_dir};
use crate::units::UnixMillis;

/// The authority's certificate in its directory.
pub const CA_CERTIFICATE: &str = "ca.pem";
/// The authority's key in its directory.
pub const CA_KEY: &str = "ca.key";

const DAY_MS: u64 = 86_400_000;
/// Ten years: to change the authority is work on every node.
const CA_DAYS: u64 = 3_650;
/// A year: long enough that nobody forgets how it is done between two of them, short enough for a lost key.
const NODE_DAYS: u64 = 365;
/// A node with a clock that is a little slow takes a new certificate all the same.
const BACKDATED_MS: u64 = 3_600_000;

/// What was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    /// The certificate's file.
    pub certificate: PathBuf,
    /// The key's file, of mode 0600.
    pub key: PathBuf,
    /// Valid from.
    pub not_before: UnixMillis,
    /// Valid to.
    pub not_after: UnixMillis,
}

/// Why no certificate was made. No file was changed.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    /// There is one already.
    #[error("{} exists and is not overwritten: {hint}", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
        /// What to do.
        hint: &'static str,
    },
    /// The directory holds no authority.
    #[error(
        "{} does not exist: `callgate cluster ca init {}` makes a certificate authority there",
        path.display(), path.parent().unwrap_or(Path::new(".")).display()
    )]
    NoAuthority {
        /// The file that was looked for.
        path: PathBuf,
    },
    /// A file of the authority isn't what it should be.
    #[error("{} is not usable: {reason}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The name cannot stand in a certificate.
    #[error(
        "{name:?} cannot be a certificate's DNS name: {reason}; accepted: a name such as sip-a or sip-a.example.com"
    )]
    Name {
        /// What was found.
        name: String,
        /// Why.
        reason: &'static str,
    },
    /// The authority has expired, or ends within a day.
    #[error("the authority of {} ends at {end}: make a new one with `callgate cluster ca init`", path.display())]
    Expired {
        /// Its certificate.
        path: PathBuf,
        /// When.
        end: String,
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
    /// A directory cannot be made.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No key or certificate came to be.
    #[error("no certificate could be made: {0}")]
    Make(String),
}

fn make(error: impl std::fmt::Display) -> CaError {
    CaError::Make(error.to_string())
}

/// The name as it stands in certificates, and as a peer is dialed.
///
/// # Errors
/// If TLS takes it for no DNS name: an address, or labels that DNS doesn't know.
pub fn dns_name(node: &NodeName) -> Result<ServerName<'static>, CaError> {
    let refused = |reason| CaError::Name { name: node.as_str().to_owned(), reason };
    match ServerName::try_from(node.as_str().to_owned()) {
        Ok(name @ ServerName::DnsName(_)) => Ok(name),
        Ok(_) => Err(refused("it is an address")),
        Err(_) => Err(refused("each part between dots begins and ends with a letter or digit")),
    }
}

/// Makes a certificate authority in a directory, which is made if it isn't there.
///
/// # Errors
/// If there is one already, or it cannot be made.
pub fn init(dir: &Path, now: UnixMillis) -> Result<Made, CaError> {
    make_private_dir(dir)?;
    let files = Files::new(dir, "ca", "use it, or name another directory")?;
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(make)?;
    let validity = Validity::of_days(now, CA_DAYS);
    let id = hex(Sha256::digest(key.der_bytes()).get(..4).unwrap_or_default());
    let mut params = validity.params(&format!("callgate cluster CA {id}"))?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let certificate = params.self_signed(&key).map_err(make)?;
    files.write(certificate.der(), &key, validity)
}

/// Makes a node's certificate with the authority of a directory, and puts it there.
///
/// # Errors
/// If there is one already, the name can't be one, or the authority isn't whole.
pub fn issue(dir: &Path, node: &NodeName, now: UnixMillis) -> Result<Made, CaError> {
    dns_name(node)?;
    if node.as_str() == "ca" {
        return Err(CaError::Name { name: "ca".to_owned(), reason: "the authority's own files are called so" });
    }
    let authority = Authority::read(dir)?;
    let hint = "to renew it, move it away first; the node goes on with its copy";
    let files = Files::new(dir, node.as_str(), hint)?;
    let mut validity = Validity::of_days(now, NODE_DAYS);
    // What outlives its authority is worth nothing.
    validity.not_after = validity.not_after.min(authority.not_after);
    if validity.not_after.0 < now.0.saturating_add(DAY_MS) {
        return Err(CaError::Expired { path: dir.join(CA_CERTIFICATE), end: date(authority.not_after) });
    }
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(make)?;
    let mut params = validity.params(node.as_str())?;
    params.subject_alt_names = vec![SanType::DnsName(node.as_str().try_into().map_err(make)?)];
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    let certificate = params.signed_by(&key, &authority.issuer).map_err(make)?;
    files.write(certificate.der(), &key, validity)
}

/// A wall time as people read it.
#[must_use]
pub fn date(time: UnixMillis) -> String {
    i64::try_from(time.0 / 1000)
        .ok()
        .and_then(|seconds| jiff::Timestamp::from_second(seconds).ok())
        .map_or_else(|| format!("{} ms", time.0), |stamp| stamp.to_string())
}

/// An authority as it lies in its directory.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    not_after: UnixMillis,
}

impl Authority {
    fn read(dir: &Path) -> Result<Self, CaError> {
        let (certificate_path, key_path) = (dir.join(CA_CERTIFICATE), dir.join(CA_KEY));
        let certificate = read(&certificate_path)?;
        let key = Zeroizing::new(read(&key_path)?);
        let unusable = |path: &Path, reason: String| CaError::Unusable { path: path.to_owned(), reason };
        let certificate = CertificateDer::from_pem_slice(&certificate)
            .map_err(|error| unusable(&certificate_path, format!("no certificate in PEM ({error})")))?;
        let key = PrivateKeyDer::from_pem_slice(&key)
            .map_err(|error| unusable(&key_path, format!("no private key in PEM ({error})")))?;
        let key = KeyPair::from_der_and_sign_algo(&key, &PKCS_ECDSA_P256_SHA256)
            .map_err(|error| unusable(&key_path, error.to_string()))?;
        let (_, parsed) = X509Certificate::from_der(&certificate)
            .map_err(|error| unusable(&certificate_path, format!("no X.509 certificate ({error})")))?;
        if !parsed.is_ca() {
            return Err(unusable(&certificate_path, "it is a node's certificate, not an authority's".to_owned()));
        }
        if parsed.public_key().subject_public_key.data != key.der_bytes() {
            let reason = format!("it does not belong to the key in {}", key_path.display());
            return Err(unusable(&certificate_path, reason));
        }
        let seconds = u64::try_from(parsed.validity().not_after.timestamp()).unwrap_or(0);
        let not_after = UnixMillis(seconds.saturating_mul(1000));
        // An issuer is known by its subject's name, which `init` chose: an organization and a common name.
        let name = parsed.subject().iter_common_name().next().and_then(|name| name.as_str().ok());
        let name = name.ok_or_else(|| unusable(&certificate_path, "its subject has no common name".to_owned()))?;
        let issuer_params = Validity { not_before: not_after, not_after }.params(name)?;
        let probe = issuer_params.self_signed(&key).map_err(make)?;
        let same = X509Certificate::from_der(probe.der())
            .is_ok_and(|(_, probe)| probe.subject().as_raw() == parsed.subject().as_raw());
        if !same {
            let reason = "`callgate cluster ca init` did not make it: issue certificates where it was made".to_owned();
            return Err(unusable(&certificate_path, reason));
        }
        Ok(Self { issuer: Issuer::new(issuer_params, key), not_after })
    }
}

fn read(path: &Path) -> Result<Vec<u8>, CaError> {
    std::fs::read(path).map_err(|source| {
        if source.kind() == io::ErrorKind::NotFound {
            return CaError::NoAuthority { path: path.to_owned() };
        }
        CaError::Io { what: "read", path: path.to_owned(), source }
    })
}

#[derive(Debug, Clone, Copy)]
struct Validity {
    not_before: UnixMillis,
    not_after: UnixMillis,
}

impl Validity {
    /// Certificates know whole seconds.
    fn of_days(now: UnixMillis, days: u64) -> Self {
        let seconds = |ms: u64| UnixMillis(ms / 1000 * 1000);
        Self {
            not_before: seconds(now.0.saturating_sub(BACKDATED_MS)),
            not_after: seconds(now.0.saturating_add(days * DAY_MS)),
        }
    }

    fn params(self, name: &str) -> Result<CertificateParams, CaError> {
        let mut serial = [0; 16];
        getrandom::fill(&mut serial).map_err(make)?;
        // Positive, and of one length (RFC 5280, 4.1.2.2).
        serial[0] = serial[0] & 0x7f | 0x40;
        let at = |time: UnixMillis| date_time_ymd(1970, 1, 1) + Duration::from_millis(time.0);
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "callgate");
        params.distinguished_name.push(DnType::CommonName, name);
        params.serial_number = Some(SerialNumber::from_slice(&serial));
        params.not_before = at(self.not_before);
        params.not_after = at(self.not_after);
        Ok(params)
    }
}

/// Where a certificate and its key go.
struct Files {
    certificate: PathBuf,
    key: PathBuf,
}

impl Files {
    /// # Errors
    /// If either is there.
    fn new(dir: &Path, name: &str, hint: &'static str) -> Result<Self, CaError> {
        let files = Self { certificate: dir.join(format!("{name}.pem")), key: dir.join(format!("{name}.key")) };
        for path in [&files.certificate, &files.key] {
            if path.symlink_metadata().is_ok() {
                return Err(CaError::Exists { path: path.clone(), hint });
            }
        }
        Ok(files)
    }

    /// The key first: a certificate without one looks like one that can be used.
    fn write(self, certificate: &CertificateDer<'_>, key: &KeyPair, validity: Validity) -> Result<Made, CaError> {
        let secret = Zeroizing::new(key.serialize_der());
        write_new(&self.key, 0o600, &pem("PRIVATE KEY", &secret))?;
        if let Err(error) = write_new(&self.certificate, 0o644, &pem("CERTIFICATE", certificate)) {
            // Made a moment ago, and of no use alone; where it can't go, the next try says that it is there.
            let _ = std::fs::remove_file(&self.key);
            return Err(error);
        }
        let Validity { not_before, not_after } = validity;
        Ok(Made { certificate: self.certificate, key: self.key, not_before, not_after })
    }
}

fn write_new(path: &Path, mode: u32, text: &str) -> Result<(), CaError> {
    let failed = |what| move |source| CaError::Io { what, path: path.to_owned(), source };
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path).map_err(failed("make"))?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed("write"))?;
    let dir = path.parent().unwrap_or(Path::new("."));
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed("sync the directory of"))
}

/// Textual encoding (RFC 7468).
fn pem(label: &str, der: &[u8]) -> Zeroizing<String> {
    let encoded = Zeroizing::new(STANDARD.encode(der));
    let mut text = Zeroizing::new(String::with_capacity(encoded.len() * 65 / 64 + 128));
    text.push_str(&format!("-----BEGIN {label}-----\n"));
    let mut rest = encoded.as_str();
    while !rest.is_empty() {
        let (line, further) = rest.split_at(rest.len().min(64));
        text.push_str(line);
        text.push('\n');
        rest = further;
    }
    text.push_str(&format!("-----END {label}-----\n"));
    text
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const NOW: UnixMillis = UnixMillis(1_800_000_000_000);

    fn node(name: &str) -> NodeName {
        name.parse().unwrap()
    }

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn keys_are_private_and_a_node_has_a_year_from_an_authority_of_ten() {
        let dir = tempfile::tempdir().unwrap();
        let ca = init(dir.path(), NOW).unwrap();
        assert_eq!((mode(&ca.key), mode(&ca.certificate)), (0o600, 0o644));
        assert_eq!((ca.not_after.0 - NOW.0) / DAY_MS, CA_DAYS);
        let made = issue(dir.path(), &node("sip-a"), NOW).unwrap();
        assert_eq!((mode(&made.key), mode(&made.certificate)), (0o600, 0o644));
        assert_eq!((made.not_after.0 - NOW.0) / DAY_MS, NODE_DAYS);
        let der = CertificateDer::from_pem_file(&made.certificate).unwrap();
        let (_, parsed) = X509Certificate::from_der(&der).unwrap();
        assert!(!parsed.is_ca());
        assert_eq!(parsed.validity().not_after.timestamp(), i64::try_from(made.not_after.0 / 1000).unwrap());
    }

    #[test]
    fn nothing_is_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        init(dir.path(), NOW).unwrap();
        let before = std::fs::read(dir.path().join(CA_KEY)).unwrap();
        let told = init(dir.path(), NOW).unwrap_err().to_string();
        assert!(told.contains("ca.pem exists and is not overwritten"), "{told}");
        assert_eq!(std::fs::read(dir.path().join(CA_KEY)).unwrap(), before);
        issue(dir.path(), &node("sip-a"), NOW).unwrap();
        let told = issue(dir.path(), &node("sip-a"), NOW).unwrap_err().to_string();
        assert!(told.contains("sip-a.pem exists") && told.contains("move it away"), "{told}");
    }

    #[test]
    fn a_certificate_never_outlives_its_authority_and_a_dead_authority_issues_none() {
        let dir = tempfile::tempdir().unwrap();
        let ca = init(dir.path(), NOW).unwrap();
        let late = UnixMillis(ca.not_after.0 - 30 * DAY_MS);
        assert_eq!(issue(dir.path(), &node("sip-a"), late).unwrap().not_after, ca.not_after);
        let told = issue(dir.path(), &node("sip-b"), UnixMillis(ca.not_after.0 - DAY_MS / 2)).unwrap_err();
        assert!(matches!(told, CaError::Expired { .. }), "{told}");
    }

    #[test]
    fn what_is_no_authority_is_said_with_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let told = issue(dir.path(), &node("sip-a"), NOW).unwrap_err().to_string();
        assert!(told.contains("ca.pem does not exist") && told.contains("ca init"), "{told}");
        init(dir.path(), NOW).unwrap();
        let other = tempfile::tempdir().unwrap();
        init(other.path(), NOW).unwrap();
        std::fs::copy(other.path().join(CA_KEY), dir.path().join(CA_KEY)).unwrap();
        let told = issue(dir.path(), &node("sip-a"), NOW).unwrap_err().to_string();
        assert!(told.contains("does not belong to the key"), "{told}");
    }

    #[test]
    fn names_that_tls_takes_for_no_dns_name_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        init(dir.path(), NOW).unwrap();
        for name in ["10.0.0.1", "a..b", "a-", "ca"] {
            let told = issue(dir.path(), &node(name), NOW).unwrap_err();
            assert!(matches!(told, CaError::Name { .. }), "{name}: {told}");
        }
    }
}
