//! Registration tokens: what a person copies from the manager to the sidecar.
//!
//! A prefix, 160 random bits in lower-case base32, and four check characters, so that a typing error is found before
//! anything is sent. The manager keeps the SHA-256 alone.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::entropy::Entropy;

const PREFIX: &str = "cgt_";
const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
const BODY_LEN: usize = 32;
const CHECK_LEN: usize = 4;
const LEN: usize = PREFIX.len() + BODY_LEN + CHECK_LEN;

/// A registration token. Its `Debug` shows nothing; memory is wiped when it goes.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct RegistrationToken(String);

/// What the manager keeps of a token: its SHA-256.
#[derive(Clone, Copy, Eq)]
pub struct TokenHash([u8; 32]);

/// A text that is no token. It never repeats the text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not of the form of a token.
    #[error(
        "not a registration token: found {found} characters; accepted: {LEN} characters, `{PREFIX}` and then a-z and 2-7, \
         as the manager showed it once"
    )]
    Shape {
        /// How many characters there are.
        found: usize,
    },
    /// Of the form of a token, with a wrong character somewhere.
    #[error("the registration token has a typing error: its check characters don't fit; copy it again")]
    Check,
}

impl RegistrationToken {
    /// A new one.
    #[must_use]
    pub fn generate(entropy: &mut Entropy) -> Self {
        let mut text = String::with_capacity(LEN);
        text.push_str(PREFIX);
        // 32 characters of 5 bits: 160 bits.
        text.extend(letters(&entropy.bytes::<BODY_LEN>()));
        let check = check_of(&text);
        text.push_str(&check);
        Self(text)
    }

    /// The text, to be shown once or sent over TLS.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// What is kept of it.
    #[must_use]
    pub fn hash(&self) -> TokenHash {
        TokenHash(Sha256::digest(self.0.as_bytes()).into())
    }
}

fn letters(bytes: &[u8]) -> impl Iterator<Item = char> + '_ {
    bytes.iter().filter_map(|byte| ALPHABET.get(usize::from(byte % 32)).copied().map(char::from))
}

fn check_of(text: &str) -> String {
    let digest = Sha256::new().chain_update(b"callgate token check\n").chain_update(text.as_bytes()).finalize();
    letters(&digest).take(CHECK_LEN).collect()
}

impl FromStr for RegistrationToken {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let text = text.trim();
        let body = text
            .strip_prefix(PREFIX)
            .filter(|body| body.len() == BODY_LEN + CHECK_LEN && body.bytes().all(|byte| ALPHABET.contains(&byte)));
        if body.is_none() {
            return Err(TokenError::Shape { found: text.chars().count() });
        }
        let (head, check) = text.split_at(PREFIX.len() + BODY_LEN);
        if check_of(head) != check {
            return Err(TokenError::Check);
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Debug for RegistrationToken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("RegistrationToken(..)")
    }
}

impl Serialize for RegistrationToken {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for RegistrationToken {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut text = String::deserialize(deserializer)?;
        let token = text.parse().map_err(serde::de::Error::custom);
        text.zeroize();
        token
    }
}

impl TokenHash {
    /// The hash from its 64 hexadecimal digits.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        if text.len() != 64 || !text.is_ascii() {
            return None;
        }
        for (place, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(text.get(place * 2..place * 2 + 2)?, 16).ok()?;
        }
        Some(Self(bytes))
    }
}

impl PartialEq for TokenHash {
    /// In constant time.
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl std::hash::Hash for TokenHash {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl fmt::Display for TokenHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "TokenHash({self})")
    }
}

impl Serialize for TokenHash {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TokenHash {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::from_hex(&String::deserialize(deserializer)?)
            .ok_or_else(|| serde::de::Error::custom("not a SHA-256 in 64 hexadecimal digits"))
    }
}
