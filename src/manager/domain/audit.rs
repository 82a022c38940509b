//! The audit log: every administrative act, each entry holding the hash of the one before it.
//!
//! An entry that is changed, left out or put in between breaks the chain at that place. Who can write the whole database
//! can write a whole new chain: the head's hash, kept elsewhere, shows that too.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::units::UnixMillis;

/// One act.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// Counts from 1.
    pub seq: u64,
    /// When.
    pub at: UnixMillis,
    /// Who: `user:NAME`, `key:PREFIX`, `system`.
    pub actor: String,
    /// From where, if it came over a network.
    pub address: Option<String>,
    /// What, as the command's name.
    pub action: String,
    /// To what, as a path below the operator API's base.
    pub target: String,
    /// With which values, for people; no secrets.
    pub detail: String,
    /// The hash of the entry before, in hexadecimal; 64 zeros for the first.
    pub previous: String,
    /// The SHA-256 of all of the above, in hexadecimal.
    pub hash: String,
}

/// The end of the chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditHead {
    /// `seq` of the last entry; 0 for none.
    pub seq: u64,
    /// Its hash.
    pub hash: String,
}

impl Default for AuditHead {
    fn default() -> Self {
        Self { seq: 0, hash: "0".repeat(64) }
    }
}

/// Where a chain is broken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChainBroken {
    /// An entry is missing or was put in between.
    #[error("audit entry {found} stands where {expected} should be")]
    Order {
        /// The number found.
        found: u64,
        /// The number that should be there.
        expected: u64,
    },
    /// An entry doesn't hold the hash of the one before it.
    #[error("audit entry {seq} does not follow the one before it")]
    Previous {
        /// Which.
        seq: u64,
    },
    /// An entry was changed.
    #[error("audit entry {seq} was changed")]
    Changed {
        /// Which.
        seq: u64,
    },
}

impl AuditEntry {
    /// The hash that it should have. Lengths go in before texts, so that no text can pass for the next member.
    #[must_use]
    pub fn expected_hash(&self) -> String {
        let mut hasher = Sha256::new();
        hasher.update(b"callgate audit\n");
        hasher.update(self.seq.to_be_bytes());
        hasher.update(self.at.0.to_be_bytes());
        let address = self.address.as_ref().map_or_else(String::new, |address| format!("+{address}"));
        for text in [&self.actor, &address, &self.action, &self.target, &self.detail, &self.previous] {
            hasher.update(u64::try_from(text.len()).unwrap_or(u64::MAX).to_be_bytes());
            hasher.update(text.as_bytes());
        }
        hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl AuditHead {
    /// The entry that follows, and moves the head on to it.
    #[must_use]
    pub fn append(
        &mut self,
        at: UnixMillis,
        actor: String,
        address: Option<String>,
        action: &str,
        target: String,
        detail: String,
    ) -> AuditEntry {
        let mut entry = AuditEntry {
            seq: self.seq.saturating_add(1),
            at,
            actor,
            address,
            action: action.to_owned(),
            target,
            detail,
            previous: self.hash.clone(),
            hash: String::new(),
        };
        entry.hash = entry.expected_hash();
        self.seq = entry.seq;
        self.hash.clone_from(&entry.hash);
        entry
    }

    /// The head after these entries, if they follow this one without a break.
    ///
    /// # Errors
    /// The first place where they don't.
    pub fn verify<'a>(mut self, entries: impl IntoIterator<Item = &'a AuditEntry>) -> Result<Self, ChainBroken> {
        for entry in entries {
            let expected = self.seq.saturating_add(1);
            if entry.seq != expected {
                return Err(ChainBroken::Order { found: entry.seq, expected });
            }
            if entry.previous != self.hash {
                return Err(ChainBroken::Previous { seq: entry.seq });
            }
            if entry.hash != entry.expected_hash() {
                return Err(ChainBroken::Changed { seq: entry.seq });
            }
            self = Self { seq: entry.seq, hash: entry.hash.clone() };
        }
        Ok(self)
    }
}
