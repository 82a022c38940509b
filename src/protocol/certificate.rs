//! Certificate requests and id certificates (PKCS#10, RFC 2986; X.509, RFC 5280; Ed25519 in both, RFC 8410).
//!
//! The UDI stands in the subject alternative name as a URI, `urn:callgate:udi:<UDI>`. Signatures are verified here with the
//! same code as envelopes; names, trust stores and revocation are others' business.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{CertificateParams, DistinguishedName, DnType, PublicKeyData, SanType, SignatureAlgorithm, SigningKey};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::keys::{PublicKey, SecretKey};
use super::udi::Udi;
use crate::units::UnixMillis;

const URI_PREFIX: &str = "urn:callgate:udi:";

/// The most certificates of one chain.
const CHAIN_MAX: usize = 4;

/// The largest certificate that is read, in bytes.
const CERTIFICATE_BYTES_MAX: usize = 16 * 1024;

/// Why a certificate or a request for one is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// Not one at all.
    #[error("the {what} cannot be read: {reason}")]
    Shape {
        /// Which document.
        what: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// Signed by somebody else.
    #[error("the {what} is not signed by {signer}")]
    Signature {
        /// Which document.
        what: &'static str,
        /// Who should have signed it.
        signer: &'static str,
    },
    /// It names another instance.
    #[error("the certificate is for {found}; this instance is {expected}")]
    Udi {
        /// Whom it names.
        found: String,
        /// Who this is.
        expected: String,
    },
    /// It holds another key.
    #[error("the certificate is for another key than this instance's")]
    Key,
    /// Not valid at this time.
    #[error("the certificate is valid from {not_before_s} to {not_after_s} (seconds since 1970), and now is {now_s}")]
    Time {
        /// Valid from.
        not_before_s: u64,
        /// Valid to.
        not_after_s: u64,
        /// Now.
        now_s: u64,
    },
}

/// What an id certificate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdCertificate {
    /// Whose it is.
    pub udi: Udi,
    /// The key it vouches for.
    pub key: PublicKey,
    /// Its serial number, in lower-case hexadecimal.
    pub serial: String,
    /// Valid from.
    pub not_before: UnixMillis,
    /// Valid to.
    pub not_after: UnixMillis,
}

/// Lets rcgen sign with our keys.
struct Signer<'a>(&'a SecretKey, PublicKey);

impl PublicKeyData for Signer<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.1.as_bytes()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &rcgen::PKCS_ED25519
    }
}

impl SigningKey for Signer<'_> {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        Ok(self.0.sign(message).to_vec())
    }
}

/// A request for an id certificate: DER in base64.
///
/// # Errors
/// If it cannot be encoded; a valid UDI always can.
pub fn certificate_request(udi: &Udi, key: &SecretKey) -> Result<String, CertificateError> {
    let shape =
        |error: rcgen::Error| CertificateError::Shape { what: "certificate request", reason: error.to_string() };
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, udi.serial());
    let uri = format!("{URI_PREFIX}{udi}").try_into().map_err(shape)?;
    params.subject_alt_names = vec![SanType::URI(uri)];
    let request = params.serialize_request(&Signer(key, key.public())).map_err(shape)?;
    Ok(STANDARD.encode(request.der()))
}

/// The key of a certificate request, if it is for this UDI and signed by that key itself.
///
/// # Errors
/// If it cannot be read, is for another UDI, or not signed by the key in it.
pub fn read_certificate_request(request_b64: &str, udi: &Udi) -> Result<PublicKey, CertificateError> {
    const WHAT: &str = "certificate request";
    let der = decode(request_b64, WHAT)?;
    let shape = |reason: String| CertificateError::Shape { what: WHAT, reason };
    let (rest, request) = X509CertificationRequest::from_der(&der).map_err(|error| shape(error.to_string()))?;
    if !rest.is_empty() {
        return Err(shape("bytes behind its end".to_owned()));
    }
    let info = &request.certification_request_info;
    let key = PublicKey::from_bytes(&info.subject_pki.subject_public_key.data)
        .ok_or_else(|| shape("its key is not Ed25519".to_owned()))?;
    if !key.verifies(info.raw, &request.signature_value.data) {
        return Err(CertificateError::Signature { what: WHAT, signer: "the key in it" });
    }
    let named = request.requested_extensions().into_iter().flatten().find_map(udi_of);
    match named {
        Some(named) if named == *udi => Ok(key),
        other => Err(CertificateError::Udi {
            found: other.map_or_else(|| "no UDI".to_owned(), |udi| udi.to_string()),
            expected: udi.to_string(),
        }),
    }
}

/// What an id certificate says. Nothing of it is verified.
///
/// # Errors
/// If it cannot be read.
pub fn parse_certificate(der: &[u8]) -> Result<IdCertificate, CertificateError> {
    let certificate = read(der)?;
    id_of(&certificate)
}

/// The id certificate of a chain (id certificate first, root not included), if the chain leads to `root` and every
/// certificate of it is valid at `now`, which may be off by `skew_ms`.
///
/// # Errors
/// If it doesn't or isn't.
pub fn verify_chain(
    chain_b64: &[String],
    root: &PublicKey,
    now: UnixMillis,
    skew_ms: u64,
) -> Result<IdCertificate, CertificateError> {
    const WHAT: &str = "certificate";
    let shape = |reason: String| CertificateError::Shape { what: WHAT, reason };
    if chain_b64.is_empty() || chain_b64.len() > CHAIN_MAX {
        return Err(shape(format!("a chain of {} certificates; accepted: 1 to {CHAIN_MAX}", chain_b64.len())));
    }
    let ders = chain_b64.iter().map(|text| decode(text, WHAT)).collect::<Result<Vec<_>, _>>()?;
    let mut id = None;
    for (place, der) in ders.iter().enumerate() {
        let certificate = read(der)?;
        let signer = match ders.get(place + 1) {
            Some(above) => {
                let above = read(above)?;
                if !above.is_ca() {
                    return Err(shape("an issuer in the chain is no certificate authority".to_owned()));
                }
                key_of(&above)?
            }
            None => *root,
        };
        if !signer.verifies(certificate.tbs_certificate.as_ref(), &certificate.signature_value.data) {
            return Err(CertificateError::Signature { what: WHAT, signer: "the certificate above it" });
        }
        let (not_before, not_after) = validity(&certificate);
        if now.0.saturating_add(skew_ms) < not_before.0 || now.0.saturating_sub(skew_ms) > not_after.0 {
            return Err(CertificateError::Time {
                not_before_s: not_before.0 / 1000,
                not_after_s: not_after.0 / 1000,
                now_s: now.0 / 1000,
            });
        }
        if place == 0 {
            id = Some(id_of(&certificate)?);
        }
    }
    id.ok_or_else(|| shape("an empty chain".to_owned()))
}

fn decode(text: &str, what: &'static str) -> Result<Vec<u8>, CertificateError> {
    let shape = |reason: String| CertificateError::Shape { what, reason };
    if text.len() > CERTIFICATE_BYTES_MAX {
        return Err(shape(format!("{} bytes; at most {CERTIFICATE_BYTES_MAX} are read", text.len())));
    }
    STANDARD.decode(text).map_err(|error| shape(error.to_string()))
}

fn read(der: &[u8]) -> Result<X509Certificate<'_>, CertificateError> {
    let shape = |reason: String| CertificateError::Shape { what: "certificate", reason };
    let (rest, certificate) = X509Certificate::from_der(der).map_err(|error| shape(error.to_string()))?;
    if !rest.is_empty() {
        return Err(shape("bytes behind its end".to_owned()));
    }
    if !is_ed25519(der, certificate.tbs_certificate.as_ref()) {
        return Err(shape("it is not signed with Ed25519".to_owned()));
    }
    Ok(certificate)
}

/// What stands behind the signed part is not signed itself: it must be Ed25519's identifier and a signature of 64 bytes, byte
/// for byte as DER has it (RFC 8410, section 3), and nothing that a lenient parser takes for the same.
fn is_ed25519(der: &[u8], signed: &[u8]) -> bool {
    const TAIL: [u8; 10] = [0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x41, 0x00];
    const SIGNATURE_LEN: usize = 64;
    let Some(head) = der.len().checked_sub(signed.len() + TAIL.len() + SIGNATURE_LEN) else { return false };
    der.get(head..).and_then(|rest| rest.strip_prefix(signed)).is_some_and(|rest| rest.starts_with(&TAIL))
}

fn key_of(certificate: &X509Certificate<'_>) -> Result<PublicKey, CertificateError> {
    PublicKey::from_bytes(&certificate.public_key().subject_public_key.data)
        .ok_or_else(|| CertificateError::Shape { what: "certificate", reason: "its key is not Ed25519".to_owned() })
}

fn validity(certificate: &X509Certificate<'_>) -> (UnixMillis, UnixMillis) {
    let millis = |seconds: i64| UnixMillis(u64::try_from(seconds).unwrap_or(0).saturating_mul(1000));
    let validity = certificate.validity();
    (millis(validity.not_before.timestamp()), millis(validity.not_after.timestamp()))
}

fn id_of(certificate: &X509Certificate<'_>) -> Result<IdCertificate, CertificateError> {
    let udi = certificate.extensions().iter().find_map(|extension| udi_of(extension.parsed_extension()));
    let udi =
        udi.ok_or_else(|| CertificateError::Shape { what: "certificate", reason: "it names no UDI".to_owned() })?;
    let (not_before, not_after) = validity(certificate);
    let serial = certificate.raw_serial().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(IdCertificate { udi, key: key_of(certificate)?, serial, not_before, not_after })
}

fn udi_of(extension: &ParsedExtension<'_>) -> Option<Udi> {
    let ParsedExtension::SubjectAlternativeName(names) = extension else { return None };
    names.general_names.iter().find_map(|name| {
        let GeneralName::URI(uri) = name else { return None };
        uri.strip_prefix(URI_PREFIX)?.parse().ok()
    })
}
