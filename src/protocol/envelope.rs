//! The signed envelope that every body between agent and manager is.
//!
//! The signature covers `typ`, a line feed and the payload exactly as carried: nothing is encoded anew to be verified. One
//! algorithm exists, Ed25519; the `alg` member is there for people and must say so.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::keys::{KeyId, PublicKey, SecretKey};

/// The largest envelope that either side reads, in bytes.
pub const ENVELOPE_BYTES_MAX: usize = 256 * 1024;

const ALGORITHM: &str = "Ed25519";

/// What an envelope holds. The name is part of what is signed, so that one kind can never pass for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Typ {
    /// [`RegistrationRequest`](super::RegistrationRequest).
    Registration,
    /// [`EntitlementRequest`](super::EntitlementRequest).
    Entitlement,
    /// [`RenewRequest`](super::RenewRequest).
    Renew,
    /// [`ReportRequest`](super::ReportRequest).
    Report,
    /// [`DeregistrationRequest`](super::DeregistrationRequest).
    Deregistration,
    /// [`Acknowledgement`](super::Acknowledgement).
    Ack,
    /// [`RegistrationAnswer`](super::RegistrationAnswer).
    RegistrationAnswer,
    /// [`GrantAnswer`](super::GrantAnswer).
    GrantAnswer,
    /// [`RenewAnswer`](super::RenewAnswer).
    RenewAnswer,
    /// [`DeregistrationAnswer`](super::DeregistrationAnswer).
    DeregistrationAnswer,
    /// [`AckAnswer`](super::AckAnswer).
    AckAnswer,
    /// [`Refusal`](super::Refusal).
    Refusal,
    /// [`KeySet`](super::KeySet).
    KeySet,
}

impl Typ {
    /// Its name, as signed.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Registration => "registration",
            Self::Entitlement => "entitlement",
            Self::Renew => "renew",
            Self::Report => "report",
            Self::Deregistration => "deregistration",
            Self::Ack => "ack",
            Self::RegistrationAnswer => "registration_answer",
            Self::GrantAnswer => "grant_answer",
            Self::RenewAnswer => "renew_answer",
            Self::DeregistrationAnswer => "deregistration_answer",
            Self::AckAnswer => "ack_answer",
            Self::Refusal => "refusal",
            Self::KeySet => "key_set",
        }
    }
}

/// A signed message. Its content is reached by [`Envelope::open`] alone, which verifies first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Envelope {
    alg: String,
    /// The name of the key that signed; says which key to verify with, not that it is good.
    pub kid: KeyId,
    /// What it says it holds.
    pub typ: Typ,
    payload_b64: String,
    sig: String,
}

/// Why an envelope is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// Not an envelope at all.
    #[error("not a signed message: {0}")]
    Shape(String),
    /// Larger than [`ENVELOPE_BYTES_MAX`].
    #[error("a message of {found} bytes; at most {ENVELOPE_BYTES_MAX} are read")]
    TooLarge {
        /// Its size.
        found: usize,
    },
    /// Another algorithm.
    #[error("signed with {found:?}; accepted: {ALGORITHM}")]
    Algorithm {
        /// Which.
        found: String,
    },
    /// Another kind of message.
    #[error("a message of type {found}; expected {expected}")]
    Typ {
        /// What came.
        found: &'static str,
        /// What should have come.
        expected: &'static str,
    },
    /// Signed by nobody that counts, or changed on its way.
    #[error("the signature is not that of key {kid}")]
    Signature {
        /// The key it names.
        kid: KeyId,
    },
    /// Authentic, and not what its type says.
    #[error("an authentic message that cannot be read: {0}")]
    Payload(String),
}

impl Envelope {
    /// Signs a message.
    ///
    /// # Errors
    /// If it cannot be written as JSON, or is too large.
    pub fn seal<T: Serialize>(typ: Typ, message: &T, key: &SecretKey) -> Result<Self, EnvelopeError> {
        let payload = serde_json::to_vec(message).map_err(|error| EnvelopeError::Payload(error.to_string()))?;
        if payload.len() > ENVELOPE_BYTES_MAX / 4 * 3 - 1024 {
            return Err(EnvelopeError::TooLarge { found: payload.len() });
        }
        let payload_b64 = URL_SAFE_NO_PAD.encode(payload);
        let sig = URL_SAFE_NO_PAD.encode(key.sign(&signed_bytes(typ, &payload_b64)));
        Ok(Self { alg: ALGORITHM.to_owned(), kid: key.public().id(), typ, payload_b64, sig })
    }

    /// An envelope from a body. Nothing of it is believed yet.
    ///
    /// # Errors
    /// If it is none.
    pub fn parse(body: &[u8]) -> Result<Self, EnvelopeError> {
        if body.len() > ENVELOPE_BYTES_MAX {
            return Err(EnvelopeError::TooLarge { found: body.len() });
        }
        serde_json::from_slice(body).map_err(|error| EnvelopeError::Shape(error.to_string()))
    }

    /// Its body.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        // A struct of strings is always written.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// The message, if `key` signed it as a message of that type.
    ///
    /// # Errors
    /// If it didn't, or the message is not of that shape.
    pub fn open<T: DeserializeOwned>(&self, expected: Typ, key: &PublicKey) -> Result<T, EnvelopeError> {
        if self.typ != expected {
            return Err(EnvelopeError::Typ { found: self.typ.name(), expected: expected.name() });
        }
        self.verify(key)?;
        self.peek()
    }

    /// Whether `key` signed it.
    ///
    /// # Errors
    /// If it didn't.
    pub fn verify(&self, key: &PublicKey) -> Result<(), EnvelopeError> {
        if self.alg != ALGORITHM {
            return Err(EnvelopeError::Algorithm { found: self.alg.clone() });
        }
        let bad = || EnvelopeError::Signature { kid: self.kid.clone() };
        let sig = URL_SAFE_NO_PAD.decode(&self.sig).map_err(|_| bad())?;
        if key.verifies(&signed_bytes(self.typ, &self.payload_b64), &sig) { Ok(()) } else { Err(bad()) }
    }

    /// The message without verifying anything: for finding out whose key to verify with, and nothing else.
    ///
    /// # Errors
    /// If the message is not of that shape.
    pub fn peek<T: DeserializeOwned>(&self) -> Result<T, EnvelopeError> {
        let payload =
            URL_SAFE_NO_PAD.decode(&self.payload_b64).map_err(|error| EnvelopeError::Payload(error.to_string()))?;
        serde_json::from_slice(&payload).map_err(|error| EnvelopeError::Payload(error.to_string()))
    }
}

fn signed_bytes(typ: Typ, payload_b64: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(typ.name().len() + 1 + payload_b64.len());
    bytes.extend_from_slice(typ.name().as_bytes());
    bytes.push(b'\n');
    bytes.extend_from_slice(payload_b64.as_bytes());
    bytes
}
