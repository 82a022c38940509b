//! The server's own TLS certificate: made and renewed here by an authority of ours, or the operator's files.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::x509::{self, DAY_MS, Validity};
use super::{CA_FILE, PKI_DIR, PkiError, files, os_entropy};
use crate::shell::store::{make_private_dir, write_atomically};
use crate::units::UnixMillis;

const CA_DAYS: u64 = 3653;
/// Browsers take no more than 398 days.
const SERVER_DAYS: u64 = 365;
/// How long before its end a certificate is renewed, in days.
const RENEW_DAYS: u64 = 60;

/// Where the certificate comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CertificateSource {
    /// An authority of our own signs one for these names and addresses.
    Own {
        /// Names and addresses by which clients reach the manager.
        names: Vec<String>,
    },
    /// The operator's files.
    Files {
        /// PEM, the server's certificate first.
        certificate: PathBuf,
        /// PEM.
        key: PathBuf,
    },
}

/// The certificate that TLS shows now. Another can be put in its place while connections are open.
#[derive(Debug)]
pub struct TlsIdentity {
    source: CertificateSource,
    data_dir: PathBuf,
    shown: ArcSwap<CertifiedKey>,
}

impl ResolvesServerCert for TlsIdentity {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.shown.load_full())
    }
}

impl TlsIdentity {
    /// Reads the certificate, or makes it. `data_dir/ca.pem` is there afterwards, unless the files are the operator's.
    ///
    /// # Errors
    /// If files cannot be read or written, or TLS doesn't take them.
    pub fn open(data_dir: &Path, source: CertificateSource, now: UnixMillis) -> Result<Self, PkiError> {
        let shown = ArcSwap::from_pointee(load(data_dir, &source, now)?);
        Ok(Self { source, data_dir: data_dir.to_owned(), shown })
    }

    /// Reads the files again, and renews our own certificate if its end is near. `true`: another is shown from now on.
    ///
    /// # Errors
    /// As [`TlsIdentity::open`]; then the present one is shown further.
    pub fn refresh(&self, now: UnixMillis) -> Result<bool, PkiError> {
        let fresh = load(&self.data_dir, &self.source, now)?;
        let changed = fresh.cert != self.shown.load().cert;
        if changed {
            self.shown.store(Arc::new(fresh));
        }
        Ok(changed)
    }

    /// When the certificate that is shown ends.
    #[must_use]
    pub fn not_after(&self) -> Option<UnixMillis> {
        self.shown.load().cert.first().and_then(|der| not_after(der))
    }
}

fn load(data_dir: &Path, source: &CertificateSource, now: UnixMillis) -> Result<CertifiedKey, PkiError> {
    match source {
        CertificateSource::Own { names } => own(data_dir, names, now),
        CertificateSource::Files { certificate, key } => {
            let missing = |path: &Path| PkiError::Unreadable {
                path: path.to_owned(),
                reason: "there is no such file".to_owned(),
            };
            let chain = files::read_certificates(certificate)?.ok_or_else(|| missing(certificate))?;
            let secret = files::read_tls_key(key)?.ok_or_else(|| missing(key))?;
            certified(chain, secret, &format!("{} with {}", certificate.display(), key.display()))
        }
    }
}

fn certified(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    what: &str,
) -> Result<CertifiedKey, PkiError> {
    CertifiedKey::from_der(chain, key, &rustls::crypto::aws_lc_rs::default_provider())
        .map_err(|error| PkiError::Tls { what: what.to_owned(), reason: error.to_string() })
}

fn own(data_dir: &Path, names: &[String], now: UnixMillis) -> Result<CertifiedKey, PkiError> {
    let dir = data_dir.join(PKI_DIR);
    make_private_dir(&dir)?;
    let (ca_key_path, ca_path) = (dir.join("tls-ca.key"), dir.join("tls-ca.pem"));
    let (key_path, path) = (dir.join("tls.key"), dir.join("tls.pem"));
    let ca_pem = match (files::read_certificates(&ca_path)?, files::read_tls_key(&ca_key_path)?) {
        (Some(ca), Some(_)) => ca,
        // The authority's key may be taken away; then nothing is renewed.
        (Some(ca), None) => ca,
        (None, Some(_)) if path.exists() => return Err(PkiError::Half { missing: ca_path, there: ca_key_path }),
        (None, _) => {
            let mut entropy = os_entropy()?;
            let key = x509::tls_key()?;
            let der = x509::tls_ca(&key, entropy.bytes(), Validity::days_from(now, CA_DAYS))?;
            // The certificate last: without it the next start begins anew.
            files::write_key(&ca_key_path, key.serialized_der())?;
            files::write_certificates(&ca_path, [der.as_slice()])?;
            vec![CertificateDer::from(der)]
        }
    };
    let exported = files::certificates_pem(ca_pem.iter().map(AsRef::as_ref));
    let exported_path = data_dir.join(CA_FILE);
    if files::read(&exported_path)?.is_none_or(|held| held.as_slice() != exported.as_bytes()) {
        write_atomically(&exported_path, exported.as_bytes())?;
    }
    if let (Some(chain), Some(key)) = (files::read_certificates(&path)?, files::read_tls_key(&key_path)?)
        && chain.first().is_some_and(|der| is_good(der, names, now))
        && let Ok(certified) = certified(chain, key, &path.display().to_string())
    {
        return Ok(certified);
    }
    let Some(PrivateKeyDer::Pkcs8(ca_key)) = files::read_tls_key(&ca_key_path)? else {
        return Err(PkiError::Half { missing: ca_key_path, there: ca_path });
    };
    let ca_key = x509::tls_key_of(ca_key.secret_pkcs8_der())?;
    let key = x509::tls_key()?;
    let mut entropy = os_entropy()?;
    let der = x509::tls_server(&key, names, &ca_key, entropy.bytes(), Validity::days_from(now, SERVER_DAYS))?;
    files::write_key(&key_path, key.serialized_der())?;
    files::write_certificates(&path, [der.as_slice()])?;
    let secret = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialized_der().to_vec()));
    certified(vec![CertificateDer::from(der)], secret, "the certificate made for it")
}

fn not_after(der: &[u8]) -> Option<UnixMillis> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let seconds = u64::try_from(certificate.validity().not_after.timestamp()).ok()?;
    Some(UnixMillis(seconds.saturating_mul(1000)))
}

/// Whether a certificate of ours can go on: for these names, and not near its end.
fn is_good(der: &[u8], names: &[String], now: UnixMillis) -> bool {
    let Some(end) = not_after(der) else { return false };
    let Ok((_, certificate)) = X509Certificate::from_der(der) else { return false };
    let Ok(Some(named)) = certificate.subject_alternative_name() else { return false };
    let mut held: Vec<String> = named
        .value
        .general_names
        .iter()
        .filter_map(|name| {
            // Other kinds of names this manager never puts in.
            if let GeneralName::DNSName(name) = name {
                return Some((*name).to_owned());
            }
            let GeneralName::IPAddress(bytes) = name else { return None };
            let short = <[u8; 4]>::try_from(*bytes).ok().map(std::net::IpAddr::from);
            let long = || <[u8; 16]>::try_from(*bytes).ok().map(std::net::IpAddr::from);
            short.or_else(long).map(|address| address.to_string())
        })
        .collect();
    let mut wanted = names.to_vec();
    held.sort();
    wanted.sort();
    held == wanted && end.0 > now.0.saturating_add(RENEW_DAYS * DAY_MS)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::client::WebPkiServerVerifier;
    use rustls::client::danger::ServerCertVerifier;
    use rustls::pki_types::{ServerName, UnixTime};

    use super::*;

    const NOW: UnixMillis = UnixMillis(1_800_000_000_000);

    fn names() -> Vec<String> {
        ["localhost", "127.0.0.1", "::1", "license.example.org"].map(str::to_owned).to_vec()
    }

    fn own_of(dir: &Path, names: Vec<String>, now: UnixMillis) -> TlsIdentity {
        TlsIdentity::open(dir, CertificateSource::Own { names }, now).unwrap()
    }

    fn accepts(dir: &Path, identity: &TlsIdentity, name: &str, now: UnixMillis) -> bool {
        let mut roots = rustls::RootCertStore::empty();
        for der in files::read_certificates(&dir.join(CA_FILE)).unwrap().unwrap() {
            roots.add(der).unwrap();
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
        let shown = identity.shown.load();
        let time = UnixTime::since_unix_epoch(std::time::Duration::from_millis(now.0));
        let name = ServerName::try_from(name.to_owned()).unwrap();
        verifier.verify_server_cert(&shown.cert[0], &shown.cert[1..], &name, &[], time).is_ok()
    }

    #[test]
    fn a_client_with_the_exported_authority_takes_the_server_by_each_of_its_names() {
        let dir = tempfile::tempdir().unwrap();
        let identity = own_of(dir.path(), names(), NOW);
        for name in names() {
            assert!(accepts(dir.path(), &identity, &name, NOW), "{name}");
        }
        assert!(!accepts(dir.path(), &identity, "other.example.org", NOW));
    }

    #[test]
    fn the_certificate_stays_until_its_end_is_near_or_its_names_change_and_the_authority_stays_always() {
        let dir = tempfile::tempdir().unwrap();
        let identity = own_of(dir.path(), names(), NOW);
        let ca = std::fs::read(dir.path().join(CA_FILE)).unwrap();
        let first = identity.shown.load().cert.clone();
        assert_eq!(own_of(dir.path(), names(), NOW).shown.load().cert, first);
        let day = |days: u64| UnixMillis(NOW.0 + days * DAY_MS);
        assert!(!identity.refresh(day(304)).unwrap());
        assert!(identity.refresh(day(306)).unwrap());
        assert!(accepts(dir.path(), &identity, "localhost", day(600)));
        let mut more = names();
        more.push("second.example.org".to_owned());
        let second = own_of(dir.path(), more, day(306));
        assert!(accepts(dir.path(), &second, "second.example.org", day(306)));
        assert_eq!(std::fs::read(dir.path().join(CA_FILE)).unwrap(), ca);
    }

    #[test]
    fn the_operators_files_are_shown_and_read_again() {
        let (made, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        drop(own_of(made.path(), names(), NOW));
        let pki = made.path().join(PKI_DIR);
        let source = CertificateSource::Files { certificate: pki.join("tls.pem"), key: pki.join("tls.key") };
        let identity = TlsIdentity::open(dir.path(), source.clone(), NOW).unwrap();
        assert!(!dir.path().join(CA_FILE).exists());
        assert!(!identity.refresh(NOW).unwrap());
        drop(own_of(made.path(), vec!["x.example.org".to_owned()], NOW));
        assert!(identity.refresh(NOW).unwrap());
        std::fs::write(pki.join("tls.key"), "nonsense").unwrap();
        assert!(identity.refresh(NOW).unwrap_err().to_string().contains("tls.key"));
        std::fs::remove_file(pki.join("tls.pem")).unwrap();
        assert!(TlsIdentity::open(dir.path(), source, NOW).unwrap_err().to_string().contains("tls.pem"));
    }
}
