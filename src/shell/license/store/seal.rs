//! Sealing: what is written can be read and changed on this machine alone.
//!
//! AES-256-GCM under a key derived from the machine's identity (its machine-id, or `license.stable_id`). What that is worth:
//!
//! - It protects the token and the private keys in a copy of the files that left the machine: a backup, a support archive, a
//!   disk image without the machine-id. It finds every change, and makes copies of another machine useless here.
//! - It does *not* protect against somebody with root on this host: the identity can be read there, and the derivation is
//!   public. Files are of mode 0600, and that is what keeps other users out.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

use crate::shell::store::MachineKey;

const KEY_LABEL: &[u8] = b"callgate license state key, version 1";
const ID_LABEL: &[u8] = b"callgate license state key id, version 1";
const FINGERPRINT_LABEL: &[u8] = b"callgate machine fingerprint, version 1";

/// Bytes that tell one machine's key from another's.
pub(super) const KEY_ID_BYTES: usize = 8;

/// Bytes that sealing puts before what is sealed: key id, nonce.
pub(super) const SEAL_HEAD_BYTES: usize = KEY_ID_BYTES + NONCE_LEN;

/// Seals and opens. Its `Debug` shows nothing.
#[derive(Clone)]
pub struct Seal {
    machine: MachineKey,
}

impl fmt::Debug for Seal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Seal(..)")
    }
}

/// Why nothing was sealed. Then nothing is written: neither in clear nor empty.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The system gives no random bytes.
    #[error("the system has no random bytes: {0}")]
    Random(getrandom::Error),
    /// The cipher takes no such key.
    #[error("the cipher doesn't take this machine's key")]
    Key,
    /// The cipher refused the content.
    #[error("the cipher doesn't seal {0} bytes at once")]
    Cipher(usize),
}

/// Why sealed bytes are not opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotOpened {
    /// Another machine sealed them.
    Foreign,
    /// They were changed, or are not whole.
    Damaged,
    /// The cipher takes no such key: of the bytes nothing is known.
    Key,
}

impl Seal {
    /// That of a machine.
    #[must_use]
    pub const fn new(machine: MachineKey) -> Self {
        Self { machine }
    }

    /// A keyed hash of the machine's identity, for the license manager and for backups: it tells machines apart and tells
    /// nothing of them.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        hex(&self.machine.mac(FINGERPRINT_LABEL))
    }

    /// A short name that this machine gives to a text, such as a directory's path.
    pub(super) fn name_of(&self, text: &[u8]) -> String {
        hex(self.machine.mac(text).get(..8).unwrap_or_default())
    }

    fn key_id(&self) -> [u8; KEY_ID_BYTES] {
        let mut id = [0; KEY_ID_BYTES];
        for (to, from) in id.iter_mut().zip(self.machine.mac(ID_LABEL)) {
            *to = from;
        }
        id
    }

    fn key(&self) -> Option<LessSafeKey> {
        UnboundKey::new(&AES_256_GCM, &self.machine.mac(KEY_LABEL)).ok().map(LessSafeKey::new)
    }

    /// A short name of the machine that sealed these bytes; the same for all that it sealed.
    pub(super) fn sealer_of(sealed: &[u8]) -> Option<String> {
        sealed.first_chunk::<KEY_ID_BYTES>().map(|id| hex(id))
    }

    /// Seals `plain`; `around` is authenticated with it.
    ///
    /// # Errors
    /// If the system gives no random bytes, or the cipher refuses.
    pub(super) fn close(&self, plain: &[u8], around: &[u8]) -> Result<Vec<u8>, SealError> {
        Self::close_with(self.key(), self.key_id(), plain, around)
    }

    fn close_with(
        key: Option<LessSafeKey>,
        id: [u8; KEY_ID_BYTES],
        plain: &[u8],
        around: &[u8],
    ) -> Result<Vec<u8>, SealError> {
        let key = key.ok_or(SealError::Key)?;
        let mut nonce = [0; NONCE_LEN];
        getrandom::fill(&mut nonce).map_err(SealError::Random)?;
        let mut sealed = Vec::with_capacity(SEAL_HEAD_BYTES + plain.len() + AES_256_GCM.tag_len());
        sealed.extend_from_slice(&id);
        sealed.extend_from_slice(&nonce);
        let mut body = zeroize::Zeroizing::new(plain.to_vec());
        key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(around), &mut *body)
            .map_err(|_| SealError::Cipher(plain.len()))?;
        sealed.extend_from_slice(&body);
        Ok(sealed)
    }

    /// Opens what this machine sealed.
    ///
    /// # Errors
    /// If it didn't, or if a bit of it or of `around` changed.
    pub(super) fn open(&self, sealed: &[u8], around: &[u8]) -> Result<Vec<u8>, NotOpened> {
        let (id, rest) = sealed.split_first_chunk::<KEY_ID_BYTES>().ok_or(NotOpened::Damaged)?;
        if *id != self.key_id() {
            return Err(NotOpened::Foreign);
        }
        let (nonce, body) = rest.split_first_chunk::<NONCE_LEN>().ok_or(NotOpened::Damaged)?;
        let mut body = body.to_vec();
        let key = self.key().ok_or(NotOpened::Key)?;
        let plain = key
            .open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::from(around), &mut body)
            .map_err(|_| NotOpened::Damaged)?;
        Ok(plain.to_vec())
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seal(of: &[u8]) -> Seal {
        Seal::new(MachineKey::derive(of))
    }

    #[test]
    fn what_is_sealed_opens_here_alone_and_only_unchanged() {
        let here = seal(b"here");
        let sealed = here.close(b"the token", b"around").unwrap();
        assert_eq!(here.open(&sealed, b"around").unwrap(), b"the token");
        assert!(!sealed.windows(5).any(|window| window == b"token"));
        assert_eq!(seal(b"there").open(&sealed, b"around"), Err(NotOpened::Foreign));
        assert_eq!(here.open(&sealed, b"elsewhere"), Err(NotOpened::Damaged));
        for place in KEY_ID_BYTES..sealed.len() {
            let mut changed = sealed.clone();
            changed[place] ^= 1;
            assert_eq!(here.open(&changed, b"around"), Err(NotOpened::Damaged), "byte {place}");
        }
        for length in 0..sealed.len() {
            assert!(here.open(&sealed[..length], b"around").is_err(), "{length} bytes");
        }
    }

    #[test]
    fn without_a_key_nothing_is_sealed_rather_than_written_in_clear() {
        let sealed = Seal::close_with(None, [0; KEY_ID_BYTES], b"the token", b"around");
        assert_eq!(sealed, Err(SealError::Key));
    }

    #[test]
    fn the_same_state_is_never_sealed_to_the_same_bytes_and_nothing_is_shown() {
        let here = seal(b"here");
        assert_ne!(here.close(b"x", b"").unwrap(), here.close(b"x", b"").unwrap());
        assert_eq!(format!("{here:?}"), "Seal(..)");
        assert_eq!(here.fingerprint().len(), 64);
        assert_ne!(here.fingerprint(), seal(b"there").fingerprint());
    }
}
