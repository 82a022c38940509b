//! Whom to believe: trust stores, pinned keys, and what is proven to the other side.
//!
//! One verifier serves the connection to an HTTPS proxy and the one through it, in this order, and remembers what each
//! presented, so that a failure can name the issuer. It is made anew for each exchange: files of certificates are read
//! when they are needed, and a renewed CA is taken without a restart.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use sha2::{Digest, Sha256};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::license::agent::ClientIdentity;
use crate::protocol::SecretKey;
use crate::sync::{AtomicBool, Mutex, Ordering};

/// Which certificates of servers are believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trust {
    /// Those that lead to a certificate authority of the host's own store.
    System,
    /// Those that lead to a certificate authority of this file (PEM).
    File(PathBuf),
    /// Both.
    SystemAndFile(PathBuf),
    /// Those whose public key has one of these SHA-256 hashes (RFC 7469), whoever issued them.
    PinSpki(Vec<[u8; 32]>),
}

impl Trust {
    /// The key of the configuration that would make an unknown issuer known.
    const fn remedy(&self) -> &'static str {
        match self {
            Self::System => {
                "set license.trust = \"system+file\" and license.ca_file to a PEM file with that issuer's certificate"
            }
            Self::File(_) | Self::SystemAndFile(_) => "add that issuer's certificate to the file of license.ca_file",
            Self::PinSpki(_) => "add the key's hash to license.pin_spki, if it is the manager's",
        }
    }
}

/// What a server presented: for the message that says why it was not believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Presented {
    /// Whose certificate it is.
    pub(super) subject: String,
    /// Who issued the topmost certificate that came.
    pub(super) issuer: String,
    /// SHA-256 of the public key, in hexadecimal.
    pub(super) spki: String,
    /// It came from the proxy, not from the manager.
    pub(super) by_proxy: bool,
    /// What would make it known.
    pub(super) remedy: &'static str,
}

/// Verifies servers, and proves who we are to the manager alone.
#[derive(Debug)]
pub(super) struct Peers {
    manager: Judge,
    remedy: &'static str,
    /// While set, the next server is the proxy.
    proxy: Option<Judge>,
    proxy_next: AtomicBool,
    presented: Mutex<Option<Presented>>,
    identity: Option<Arc<CertifiedKey>>,
    provider: Arc<CryptoProvider>,
}

#[derive(Debug)]
enum Judge {
    Chain(Arc<WebPkiServerVerifier>),
    Pins(Vec<[u8; 32]>),
}

/// Builds what TLS needs for one exchange.
///
/// # Errors
/// If a store cannot be read or holds nothing, or the identity is not one. The text says which key of the configuration
/// to look at.
pub(super) fn client_config(
    trust: &Trust,
    proxy_ca: Option<Option<&Path>>,
    identity: Option<&ClientIdentity>,
) -> Result<(ClientConfig, Arc<Peers>), String> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let manager = judge(trust, &provider)?;
    let proxy = match proxy_ca {
        None => None,
        Some(None) => Some(judge(&Trust::System, &provider)?),
        Some(Some(file)) => Some(
            judge(&Trust::SystemAndFile(file.to_owned()), &provider)
                .map_err(|error| error.replace("license.ca_file", "license.proxy_ca_file"))?,
        ),
    };
    let identity = identity.map(|identity| certified_key(identity, &provider)).transpose()?.map(Arc::new);
    let peers = Arc::new(Peers {
        manager,
        remedy: trust.remedy(),
        proxy_next: AtomicBool::new(proxy.is_some()),
        proxy,
        presented: Mutex::new(None),
        identity,
        provider: Arc::clone(&provider),
    });
    // The protocol versions of rustls are 1.2 and 1.3: there is nothing older to turn off.
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(Arc::<Peers>::clone(&peers))
        .with_client_cert_resolver(Arc::<Peers>::clone(&peers));
    Ok((config, peers))
}

/// The same for a server that is neither a manager nor a proxy, and is shown no identity.
///
/// # Errors
/// As [`client_config`].
pub(in crate::shell) fn server_trust(trust: &Trust) -> Result<ClientConfig, String> {
    client_config(trust, None, None).map(|(config, _)| config)
}

fn judge(trust: &Trust, provider: &Arc<CryptoProvider>) -> Result<Judge, String> {
    let mut roots = RootCertStore::empty();
    match trust {
        Trust::System => add_system(&mut roots)?,
        Trust::File(file) => add_file(&mut roots, file)?,
        Trust::SystemAndFile(file) => {
            // Where the host has no store of its own, the file alone does.
            let system = add_system(&mut roots);
            add_file(&mut roots, file)?;
            if let Err(error) = system {
                tracing::debug!("{error}; the certificates of {} are trusted alone", file.display());
            }
        }
        Trust::PinSpki(pins) => return Ok(Judge::Pins(pins.clone())),
    }
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
        .build()
        .map(Judge::Chain)
        .map_err(|error| error.to_string())
}

fn add_system(roots: &mut RootCertStore) -> Result<(), String> {
    let found = rustls_native_certs::load_native_certs();
    let (added, _) = roots.add_parsable_certificates(found.certs);
    if added > 0 {
        return Ok(());
    }
    let reason = found.errors.first().map_or_else(String::new, |error| format!(" ({error})"));
    Err(format!(
        "this host's store of certificate authorities is empty{reason}; install its ca-certificates, or set license.trust = \
         \"file\" and license.ca_file"
    ))
}

fn add_file(roots: &mut RootCertStore, file: &Path) -> Result<(), String> {
    let told = |what: String| {
        format!("license.ca_file {}: {what}; accepted: a PEM file with one or more CA certificates", file.display())
    };
    let mut added = 0;
    for certificate in CertificateDer::pem_file_iter(file).map_err(|error| told(error.to_string()))? {
        let certificate = certificate.map_err(|error| told(error.to_string()))?;
        roots.add(certificate).map_err(|error| told(format!("certificate {}: {error}", added + 1)))?;
        added += 1;
    }
    if added == 0 { Err(told("it holds no certificate".to_owned())) } else { Ok(()) }
}

fn certified_key(identity: &ClientIdentity, provider: &Arc<CryptoProvider>) -> Result<CertifiedKey, String> {
    let told = |what: String| format!("the id certificate cannot be used: {what}");
    let mut chain = Vec::with_capacity(identity.certificate_chain_b64.len());
    for text in &identity.certificate_chain_b64 {
        chain.push(CertificateDer::from(STANDARD.decode(text).map_err(|error| told(error.to_string()))?));
    }
    let key = SecretKey::from_seed(identity.key_seed.0).pkcs8_der();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.to_vec()));
    let key = provider.key_provider.load_private_key(key).map_err(|error| told(error.to_string()))?;
    Ok(CertifiedKey::new(chain, key))
}

impl Peers {
    /// What the last server that was not believed, or the last one at all, presented.
    pub(super) fn presented(&self) -> Option<Presented> {
        self.presented.lock().clone()
    }
}

impl ServerCertVerifier for Peers {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let by_proxy = self.proxy_next.load(Ordering::Acquire);
        let judge = if by_proxy { self.proxy.as_ref().unwrap_or(&self.manager) } else { &self.manager };
        let remedy = if by_proxy {
            "set license.proxy_ca_file to a PEM file with that issuer's certificate"
        } else {
            self.remedy
        };
        *self.presented.lock() = Some(presented(end_entity, intermediates, by_proxy, remedy));
        let verified = match judge {
            Judge::Chain(chain) => {
                chain.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)?
            }
            Judge::Pins(pins) => {
                let parsed = rustls::server::ParsedCertificate::try_from(end_entity)?;
                rustls::client::verify_server_name(&parsed, server_name)?;
                let spki = spki_hash(end_entity).ok_or(CertificateError::BadEncoding)?;
                if !pins.contains(&spki) {
                    return Err(CertificateError::UnknownIssuer.into());
                }
                ServerCertVerified::assertion()
            }
        };
        self.proxy_next.store(false, Ordering::Release);
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

impl ResolvesClientCert for Peers {
    fn resolve(&self, _: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        // A proxy has no business with who we are.
        if self.proxy_next.load(Ordering::Acquire) {
            return None;
        }
        let identity = self.identity.as_ref()?;
        identity.key.choose_scheme(schemes)?;
        Some(Arc::clone(identity))
    }

    fn has_certs(&self) -> bool {
        self.identity.is_some()
    }
}

fn presented(
    end_entity: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
    by_proxy: bool,
    remedy: &'static str,
) -> Presented {
    let top = intermediates.last().unwrap_or(end_entity);
    let name = |der: &CertificateDer<'_>, of: fn(&X509Certificate<'_>) -> String| {
        X509Certificate::from_der(der)
            .map_or_else(|_| "something unreadable".to_owned(), |(_, parsed)| printable(&of(&parsed)))
    };
    Presented {
        subject: name(end_entity, |certificate| certificate.subject().to_string()),
        issuer: name(top, |certificate| certificate.issuer().to_string()),
        spki: spki_hash(end_entity)
            .map(|hash| hash.iter().map(|byte| format!("{byte:02x}")).collect())
            .unwrap_or_default(),
        by_proxy,
        remedy,
    }
}

/// What a stranger wrote, for a line of the log.
fn printable(text: &str) -> String {
    let clean: String = text.chars().filter(|c| !c.is_control()).take(200).collect();
    if clean.is_empty() { "nobody (it names no issuer)".to_owned() } else { clean }
}

/// SHA-256 of a certificate's public key with its algorithm (RFC 7469, section 2.4).
fn spki_hash(certificate: &CertificateDer<'_>) -> Option<[u8; 32]> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    Some(Sha256::digest(parsed.public_key().raw).into())
}

/// A pinned key as an operator writes it: 64 hexadecimal digits, or base64 as `openssl … | base64` prints it, with or
/// without `sha256/` before it.
#[must_use]
pub fn parse_pin(text: &str) -> Option<[u8; 32]> {
    let text = text.trim();
    let text = text.strip_prefix("sha256/").or_else(|| text.strip_prefix("sha256//")).unwrap_or(text);
    if text.len() == 64 && text.is_ascii() {
        let mut bytes = [0; 32];
        for (place, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(text.get(place * 2..place * 2 + 2)?, 16).ok()?;
        }
        return Some(bytes);
    }
    STANDARD.decode(text).ok()?.try_into().ok()
}
