//! Whom TLS lets in, and who that is.
//!
//! TLS itself takes any client certificate whose key signed the handshake, or none. Whether it is one of ours is judged per
//! request, here and by the domain, so that an expired or revoked one gets a signed refusal that an agent understands, and
//! not a broken handshake that looks like a bad network.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::protocol::{CertificateError, IdCertificate, PublicKey, parse_certificate, verify_chain};
use crate::units::UnixMillis;

/// The most certificates that a client may show.
const CHAIN_MAX: usize = 4;

/// How far an agent's certificate may be off our clock, in milliseconds.
const SKEW_MS: u64 = 3_600_000;

#[derive(Debug)]
struct AnyCertificate {
    hints: Vec<DistinguishedName>,
    algorithms: WebPkiSupportedAlgorithms,
}

/// Asks clients for a certificate of this root, without insisting. The hint keeps browsers from asking people for one.
#[must_use]
pub fn any_certificate(root_der: &[u8], algorithms: WebPkiSupportedAlgorithms) -> Arc<dyn ClientCertVerifier> {
    let subject = X509Certificate::from_der(root_der)
        .ok()
        .map(|(_, certificate)| DistinguishedName::from(certificate.subject().as_raw().to_vec()));
    Arc::new(AnyCertificate { hints: subject.into_iter().collect(), algorithms })
}

impl ClientCertVerifier for AnyCertificate {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if intermediates.len() >= CHAIN_MAX {
            return Err(Error::General(format!("a chain of more than {CHAIN_MAX} certificates")));
        }
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Who a connection's other side is.
#[derive(Debug, Clone, Default)]
pub struct PeerIdentity {
    /// What it showed, the leaf first; base64 of DER.
    chain_b64: Vec<String>,
}

impl PeerIdentity {
    /// Of the certificates that TLS saw.
    #[must_use]
    pub fn of(certificates: Option<&[CertificateDer<'_>]>) -> Self {
        Self { chain_b64: certificates.unwrap_or_default().iter().map(|der| STANDARD.encode(der)).collect() }
    }

    /// Whether it showed any certificate.
    #[must_use]
    pub fn is_some(&self) -> bool {
        !self.chain_b64.is_empty()
    }

    /// The instance that the certificate names, if it leads to this root and is valid now.
    ///
    /// # Errors
    /// If it doesn't or isn't.
    pub fn verify(&self, root: &PublicKey, now: UnixMillis) -> Result<IdCertificate, CertificateError> {
        verify_chain(&self.chain_b64, root, now, SKEW_MS)
    }

    /// What the certificate says, unverified: for a log line.
    #[must_use]
    pub fn claimed(&self) -> Option<IdCertificate> {
        let der = STANDARD.decode(self.chain_b64.first()?).ok()?;
        parse_certificate(&der).ok()
    }
}
