//! What passes between a sidecar's licensing agent and a license manager: identities, tokens, signed envelopes, messages,
//! grants, certificates. PURE.
//!
//! Both ends import this and nothing of each other. Here end meaning and policy: a message that verifies is authentic and
//! well formed, no more; what it does is the agent's or the manager's. What must stay true: a signature is checked over the
//! exact bytes that were carried, before any of them is parsed, and the algorithm is never taken from the message.
//!
//! | step | who | what |
//! |---|---|---|
//! | 1 | agent | `POST /v1/agent/registration`: [`RegistrationRequest`], signed by the instance key, with a token |
//! | 2 | manager | [`RegistrationAnswer`]: the id certificate, the key set, where it was registered |
//! | 3 | agent | `POST /v1/agent/ack`: [`Acknowledgement`] |
//! | 4 | agent | `POST /v1/agent/entitlement`: [`EntitlementRequest`]: so many units of each tag |
//! | 5 | manager | [`GrantAnswer`]: what was granted, until when |
//! | 6 | agent | `POST /v1/agent/report`, `/v1/agent/renew`, `/v1/agent/deregistration`, as time goes on |
//!
//! All but the first come over TLS with the id certificate. Every body is an [`Envelope`].

mod certificate;
mod entropy;
mod envelope;
mod grant;
mod keys;
mod messages;
mod token;
mod udi;

pub use certificate::{
    CertificateError, IdCertificate, certificate_request, parse_certificate, read_certificate_request, verify_chain,
};
pub use entropy::Entropy;
pub use envelope::{ENVELOPE_BYTES_MAX, Envelope, EnvelopeError, Typ};
pub use grant::{ComplianceStatus, Grant, PoolView, TagGrant, TagStatus};
pub use keys::{KeyId, KeySet, KeySetError, KeyUse, PublicKey, SecretKey, SignedKey};
pub use messages::{
    AckAnswer, Acknowledged, Acknowledgement, AnswerHeader, DeregistrationAnswer, DeregistrationRequest, Endpoint,
    EntitlementRequest, GrantAnswer, InstanceInfo, Nonce, Refusal, RefusalCode, RegistrationAnswer,
    RegistrationRequest, RemovalEffect, RenewAnswer, RenewRequest, ReportRequest, RequestHeader, TagReport, TagRequest,
};
pub use token::{RegistrationToken, TokenError, TokenHash};
pub use udi::{Udi, UdiError};

#[cfg(test)]
mod tests;
