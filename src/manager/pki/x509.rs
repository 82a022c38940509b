//! Certificates as this manager issues them (X.509, RFC 5280).

use std::net::IpAddr;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData, SanType, SerialNumber, SignatureAlgorithm, SigningKey, date_time_ymd,
};

use super::PkiError;
use crate::protocol::{PublicKey, SecretKey, Udi};
use crate::units::UnixMillis;

/// One day in milliseconds.
pub(super) const DAY_MS: u64 = 86_400_000;

/// How far a certificate's beginning lies before its issue, in milliseconds, so that a clock that is a little slow takes it.
const BACKDATED_MS: u64 = 3_600_000;

/// A certificate's serial number: positive, and of one length.
///
/// RFC 5280 allows twenty octets; sixteen random ones don't meet twice.
#[must_use]
pub fn positive_serial(mut bytes: [u8; 16]) -> [u8; 16] {
    bytes[0] = bytes[0] & 0x7f | 0x40;
    bytes
}

/// A time span.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// From.
    pub not_before: UnixMillis,
    /// To.
    pub not_after: UnixMillis,
}

impl Validity {
    /// So many days from now on, and an hour of the past.
    #[must_use]
    pub const fn days_from(now: UnixMillis, days: u64) -> Self {
        Self {
            not_before: UnixMillis(now.0.saturating_sub(BACKDATED_MS)),
            not_after: UnixMillis(now.0.saturating_add(days.saturating_mul(DAY_MS))),
        }
    }
}

/// What an id certificate shall say.
#[derive(Debug, Clone, Copy)]
pub struct IdOrder<'a> {
    /// Whose.
    pub udi: &'a Udi,
    /// The key that the instance showed to be its own.
    pub key: PublicKey,
    /// At most twenty bytes; the first must be below 0x80 and not 0, as in [`positive_serial`].
    pub serial: &'a [u8],
    /// When it is valid.
    pub validity: Validity,
}

/// An Ed25519 key for rcgen.
pub(super) struct Ed25519<'a>(pub(super) &'a SecretKey, pub(super) PublicKey);

impl<'a> Ed25519<'a> {
    pub(super) fn of(key: &'a SecretKey) -> Self {
        Self(key, key.public())
    }
}

impl PublicKeyData for Ed25519<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.1.as_bytes()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &rcgen::PKCS_ED25519
    }
}

impl SigningKey for Ed25519<'_> {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        Ok(self.0.sign(message).to_vec())
    }
}

/// A public key alone.
struct Subject(PublicKey);

impl PublicKeyData for Subject {
    fn der_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &rcgen::PKCS_ED25519
    }
}

fn failed(error: rcgen::Error) -> PkiError {
    PkiError::Encode(error.to_string())
}

fn params(common_name: &str, serial: &[u8], validity: Validity) -> CertificateParams {
    // The epoch of X.509 times in rcgen is `time`'s; ours are milliseconds, and certificates know seconds alone.
    let at = |time: UnixMillis| date_time_ymd(1970, 1, 1) + Duration::from_secs(time.0 / 1000);
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "callgate");
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.serial_number = Some(SerialNumber::from_slice(serial));
    params.not_before = at(validity.not_before);
    params.not_after = at(validity.not_after);
    params
}

fn authority(common_name: &str, below: u8, serial: &[u8], validity: Validity) -> CertificateParams {
    let mut params = params(common_name, serial, validity);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(below));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
    params
}

fn root_name(root: &PublicKey) -> String {
    format!("callgate signing root {}", root.id())
}

fn issuer_name(issuer: &PublicKey) -> String {
    format!("callgate issuer {}", issuer.id())
}

/// The root's certificate, signed by itself.
pub(super) fn root(key: &SecretKey, serial: [u8; 16], validity: Validity) -> Result<Vec<u8>, PkiError> {
    let params = authority(&root_name(&key.public()), 1, &positive_serial(serial), validity);
    Ok(params.self_signed(&Ed25519::of(key)).map_err(failed)?.der().to_vec())
}

/// An issuer's certificate, signed by the root.
pub(super) fn issuer(
    issuer: &PublicKey,
    root: &SecretKey,
    serial: [u8; 16],
    validity: Validity,
) -> Result<Vec<u8>, PkiError> {
    let serial = positive_serial(serial);
    let above = authority(&root_name(&root.public()), 1, &serial, validity);
    let above = Issuer::from_params(&above, Ed25519::of(root));
    let mut params = authority(&issuer_name(issuer), 0, &serial, validity);
    params.use_authority_key_identifier_extension = true;
    Ok(params.signed_by(&Subject(*issuer), &above).map_err(failed)?.der().to_vec())
}

/// An id certificate, signed by an issuer. The same order gives the same bytes, as Ed25519 draws no random number.
pub(super) fn id(order: &IdOrder<'_>, issuer: &SecretKey) -> Result<Vec<u8>, PkiError> {
    let above = authority(&issuer_name(&issuer.public()), 0, order.serial, order.validity);
    let above = Issuer::from_params(&above, Ed25519::of(issuer));
    let mut params = params(order.udi.serial(), order.serial, order.validity);
    let uri = format!("urn:callgate:udi:{}", order.udi).try_into().map_err(failed)?;
    params.subject_alt_names = vec![SanType::URI(uri)];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    Ok(params.signed_by(&Subject(order.key), &above).map_err(failed)?.der().to_vec())
}

const TLS_CA_NAME: &str = "callgate license manager TLS CA";

/// A new ECDSA P-256 key: what every browser and agent takes.
pub(super) fn tls_key() -> Result<KeyPair, PkiError> {
    KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(failed)
}

/// The same key from its PKCS#8.
pub(super) fn tls_key_of(pkcs8: &[u8]) -> Result<KeyPair, PkiError> {
    let der = rustls::pki_types::PrivatePkcs8KeyDer::from(pkcs8);
    KeyPair::from_pkcs8_der_and_sign_algo(&der, &rcgen::PKCS_ECDSA_P256_SHA256).map_err(failed)
}

/// The TLS authority's certificate.
pub(super) fn tls_ca(key: &KeyPair, serial: [u8; 16], validity: Validity) -> Result<Vec<u8>, PkiError> {
    Ok(authority(TLS_CA_NAME, 0, &positive_serial(serial), validity).self_signed(key).map_err(failed)?.der().to_vec())
}

/// A server certificate for these names and addresses.
pub(super) fn tls_server(
    key: &KeyPair,
    names: &[String],
    ca: &KeyPair,
    serial: [u8; 16],
    validity: Validity,
) -> Result<Vec<u8>, PkiError> {
    let serial = positive_serial(serial);
    let above = authority(TLS_CA_NAME, 0, &serial, validity);
    let above = Issuer::from_params(&above, ca);
    let first = names.first().map_or("localhost", String::as_str);
    // A common name has at most 64 characters; what counts are the alternative names.
    let mut params = params(&first.chars().take(64).collect::<String>(), &serial, validity);
    params.subject_alt_names = names
        .iter()
        .map(|name| {
            Ok(match name.parse::<IpAddr>() {
                Ok(address) => SanType::IpAddress(address),
                Err(_) => SanType::DnsName(name.as_str().try_into().map_err(failed)?),
            })
        })
        .collect::<Result<_, PkiError>>()?;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    Ok(params.signed_by(key, &above).map_err(failed)?.der().to_vec())
}
