//! Ed25519 keys, and the key set by which a root says which issuer keys are good.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::envelope::{Envelope, EnvelopeError, Typ};
use crate::units::UnixMillis;

/// The most keys of one set.
const KEYS_MAX: usize = 32;

/// A public Ed25519 key: 32 bytes, base64url in text.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// A key from its bytes; `None` if they are no point of the curve.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes = <[u8; 32]>::try_from(bytes).ok()?;
        VerifyingKey::from_bytes(&bytes).ok()?;
        Some(Self(bytes))
    }

    /// Its bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Its short name.
    #[must_use]
    pub fn id(&self) -> KeyId {
        let digest = Sha256::digest(self.0);
        KeyId(digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect())
    }

    /// Whether `signature` is this key's over `message`. Weak keys and malleable signatures are refused.
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let (Ok(key), Ok(signature)) = (VerifyingKey::from_bytes(&self.0), Signature::from_slice(signature)) else {
            return false;
        };
        key.verify_strict(message, &signature).is_ok()
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "PublicKey({self})")
    }
}

impl Serialize for PublicKey {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PublicKey {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        URL_SAFE_NO_PAD
            .decode(&text)
            .ok()
            .and_then(|bytes| Self::from_bytes(&bytes))
            .ok_or_else(|| serde::de::Error::custom("not an Ed25519 public key; accepted: its 32 bytes in base64url"))
    }
}

/// The short name of a public key: the first eight bytes of its SHA-256, in hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KeyId(pub String);

impl fmt::Display for KeyId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// A secret Ed25519 key. Its `Debug` shows the public key alone; memory is wiped when it goes.
#[derive(Clone)]
pub struct SecretKey(SigningKey);

impl SecretKey {
    /// The key of this seed: 32 random bytes.
    #[must_use]
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self(SigningKey::from_bytes(&seed))
    }

    /// The seed, for a file of mode 0600 and nothing else.
    #[must_use]
    pub fn seed(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes())
    }

    /// Its public half.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key().to_bytes())
    }

    /// The signature over `message`: 64 bytes.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }

    /// The key as PKCS#8 (RFC 8410), which TLS libraries read.
    #[must_use]
    pub fn pkcs8_der(&self) -> Zeroizing<Vec<u8>> {
        // SEQUENCE { 0, { 1.3.101.112 }, OCTET STRING { OCTET STRING seed } }: all lengths are fixed.
        const HEAD: [u8; 16] =
            [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];
        let mut der = Zeroizing::new(Vec::with_capacity(HEAD.len() + 32));
        der.extend_from_slice(&HEAD);
        der.extend_from_slice(self.seed().as_slice());
        der
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "SecretKey(of {})", self.public())
    }
}

/// What a key may sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyUse {
    /// Answers, grants and reservations.
    Issuer,
    /// The same, for the instances of one satellite's virtual account.
    Satellite,
}

/// An issuer key as the root vouches for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedKey {
    /// The key.
    pub key: PublicKey,
    /// What it may sign.
    #[serde(rename = "use")]
    pub key_use: KeyUse,
    /// Messages issued before this are not its.
    pub not_before: UnixMillis,
    /// Messages issued after this are not its.
    pub not_after: UnixMillis,
}

/// Which issuer keys are good. Signed by the root; a set with a higher `seq` replaces one with a lower.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeySet {
    /// Rises with each change.
    pub seq: u64,
    /// When it was signed.
    pub issued_at: UnixMillis,
    /// The keys: the old one stays until its messages have gone (overlapping rotation).
    pub keys: Vec<SignedKey>,
}

/// Why a key set is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeySetError {
    /// Not signed by the root that this side trusts, or not readable.
    #[error("the key set is not the root's: {0}")]
    Envelope(#[from] EnvelopeError),
    /// Older than the one held.
    #[error("the key set has seq {found}, and one with seq {held} is held: an old one was replayed")]
    Old {
        /// Its number.
        found: u64,
        /// The number of the one held.
        held: u64,
    },
    /// None or too many keys.
    #[error("the key set has {found} keys; accepted: 1 to {KEYS_MAX}")]
    Count {
        /// How many.
        found: usize,
    },
}

impl KeySet {
    /// The set of an envelope, if the root signed it and it is not older than `held_seq`.
    ///
    /// # Errors
    /// If it is neither.
    pub fn open(envelope: &Envelope, root: &PublicKey, held_seq: u64) -> Result<Self, KeySetError> {
        let set: Self = envelope.open(Typ::KeySet, root)?;
        if set.seq < held_seq {
            return Err(KeySetError::Old { found: set.seq, held: held_seq });
        }
        if set.keys.is_empty() || set.keys.len() > KEYS_MAX {
            return Err(KeySetError::Count { found: set.keys.len() });
        }
        Ok(set)
    }

    /// The key of that name, if the set has it.
    #[must_use]
    pub fn find(&self, id: &KeyId) -> Option<&SignedKey> {
        self.keys.iter().find(|signed| signed.key.id() == *id)
    }
}
