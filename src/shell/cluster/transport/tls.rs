//! Judges a peer's certificate: issued by the cluster's authority, in force, of a configured peer; and remembers why not, so
//! that the log can name it together with the address.
//!
//! What must stay true: no session is resumed, because a ticket would carry a certificate past its end.

use std::sync::Arc;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{ClientConfig, ServerConfig, TransportConfig};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::sign::SingleCertAndKey;
use rustls::version::TLS13;
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};

use crate::cluster::NodeName;
use crate::shell::cluster::identity::{Identity, names_of};
use crate::sync::Mutex;

/// What both sides speak: anything else that finds its way here is refused in the first packet.
const ALPN: &[u8] = b"callgate-cluster";

/// Why a peer was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Refusal {
    /// Another authority issued its certificate.
    Foreign,
    /// Its certificate has expired.
    Expired,
    /// Its certificate isn't valid yet: a clock is wrong.
    NotYetValid,
    /// Its certificate is for no purpose of this kind, or can't be read.
    Malformed,
    /// Its name is not among the configured peers.
    Unknown,
    /// It has another name than the one that was dialed.
    OtherName,
    /// It has this node's own name.
    OwnName,
    /// It showed no certificate, or it doesn't speak what a peer speaks.
    Handshake,
    /// It refused this node.
    ByPeer,
}

impl Refusal {
    /// All of them.
    pub const ALL: &'static [Self] = &[
        Self::Foreign,
        Self::Expired,
        Self::NotYetValid,
        Self::Malformed,
        Self::Unknown,
        Self::OtherName,
        Self::OwnName,
        Self::Handshake,
        Self::ByPeer,
    ];

    /// Its name, as a metric's label has it.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Foreign => "foreign",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::Malformed => "malformed",
            Self::Unknown => "unknown",
            Self::OtherName => "other_name",
            Self::OwnName => "own_name",
            Self::Handshake => "handshake",
            Self::ByPeer => "by_peer",
        }
    }

    /// The same for people.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Foreign => "another authority issued its certificate, none in cluster.ca_file",
            Self::Expired => "its certificate has expired: issue a new one with `callgate cluster ca issue`",
            Self::NotYetValid => "its certificate is not valid yet: compare the clocks of both hosts",
            Self::Malformed => "its certificate is not a node's",
            Self::Unknown => "its name is not in cluster.peers",
            Self::OtherName => "its certificate has another name than cluster.peers gives this address",
            Self::OwnName => "it has this node's own name: two nodes must not share one",
            Self::Handshake => "it doesn't speak as a peer does, or showed no certificate",
            Self::ByPeer => "it refuses this node's certificate: look into its log",
        }
    }
}

/// Why the certificate of one attempt was refused, and whose it says it is.
#[derive(Debug, Default)]
pub(super) struct Verdict(Mutex<Option<(Refusal, String)>>);

impl Verdict {
    pub(super) fn take(&self) -> Option<(Refusal, String)> {
        self.0.lock().take()
    }
}

/// Judges one attempt.
#[derive(Debug)]
struct Judge {
    own: NodeName,
    provider: Arc<CryptoProvider>,
    clients: Arc<dyn ClientCertVerifier>,
    servers: Arc<WebPkiServerVerifier>,
    verdict: Arc<Verdict>,
}

impl Judge {
    fn new(identity: &Identity, verdict: Arc<Verdict>) -> Result<Self, String> {
        let (roots, provider) = (&identity.roots, &identity.provider);
        let clients = WebPkiClientVerifier::builder_with_provider(Arc::clone(roots), Arc::clone(provider));
        let servers = WebPkiServerVerifier::builder_with_provider(Arc::clone(roots), Arc::clone(provider));
        Ok(Self {
            own: identity.node.clone(),
            provider: Arc::clone(provider),
            clients: clients.build().map_err(|error| error.to_string())?,
            servers: servers.build().map_err(|error| error.to_string())?,
            verdict,
        })
    }

    /// Remembers why a certificate was refused.
    fn judged<T>(&self, leaf: &CertificateDer<'_>, outcome: Result<T, Error>) -> Result<T, Error> {
        if let Err(error) = &outcome {
            let name = names_of(leaf).map(|names| names.join(", ")).unwrap_or_default();
            let name = name.chars().take(64).collect();
            *self.verdict.0.lock() = Some((refusal_of(error), name));
        }
        outcome
    }
}

fn refusal_of(error: &Error) -> Refusal {
    let Error::InvalidCertificate(reason) = error else { return Refusal::Handshake };
    // The library's list of errors is open: what is not named here is no node's certificate.
    if matches!(reason, CertificateError::Expired | CertificateError::ExpiredContext { .. }) {
        Refusal::Expired
    } else if matches!(reason, CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. }) {
        Refusal::NotYetValid
    } else if matches!(reason, CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }) {
        Refusal::OtherName
    } else if matches!(reason, CertificateError::UnknownIssuer | CertificateError::BadSignature) {
        Refusal::Foreign
    } else if matches!(reason, CertificateError::ApplicationVerificationFailure) {
        Refusal::OwnName
    } else {
        Refusal::Malformed
    }
}

impl ClientCertVerifier for Judge {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.clients.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        above: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let believed = self.clients.verify_client_cert(leaf, above, now).and_then(|verified| {
            // Which peers are configured is looked up when the connection stands; that it is none of them is certain.
            let own = names_of(leaf).is_some_and(|names| names.iter().any(|name| name == self.own.as_str()));
            if own { Err(CertificateError::ApplicationVerificationFailure.into()) } else { Ok(verified) }
        });
        self.judged(leaf, believed)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

impl ServerCertVerifier for Judge {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        above: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.judged(leaf, self.servers.verify_server_cert(leaf, above, name, ocsp, now))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// What the side that waits needs for one attempt.
pub(super) fn server(
    identity: &Identity,
    transport: &Arc<TransportConfig>,
    verdict: Arc<Verdict>,
) -> Result<ServerConfig, String> {
    let judge = Arc::new(Judge::new(identity, verdict)?);
    let mut tls = rustls::ServerConfig::builder_with_provider(Arc::clone(&identity.provider))
        .with_protocol_versions(&[&TLS13])
        .map_err(|error| error.to_string())?
        .with_client_cert_verifier(judge)
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(&identity.certified))));
    tls.alpn_protocols = vec![ALPN.to_vec()];
    tls.send_tls13_tickets = 0;
    let crypto = QuicServerConfig::try_from(tls).map_err(|error| error.to_string())?;
    let mut config = ServerConfig::with_crypto(Arc::new(crypto));
    config.transport_config(Arc::clone(transport));
    Ok(config)
}

/// What the side that dials needs for one attempt.
pub(super) fn client(
    identity: &Identity,
    transport: &Arc<TransportConfig>,
    verdict: Arc<Verdict>,
) -> Result<ClientConfig, String> {
    let judge = Arc::new(Judge::new(identity, verdict)?);
    let mut tls = rustls::ClientConfig::builder_with_provider(Arc::clone(&identity.provider))
        .with_protocol_versions(&[&TLS13])
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(judge)
        .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(&identity.certified))));
    tls.alpn_protocols = vec![ALPN.to_vec()];
    tls.resumption = Resumption::disabled();
    let crypto = QuicClientConfig::try_from(tls).map_err(|error| error.to_string())?;
    let mut config = ClientConfig::new(Arc::new(crypto));
    config.transport_config(Arc::clone(transport));
    Ok(config)
}
