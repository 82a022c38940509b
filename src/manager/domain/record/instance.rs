//! A product instance as the manager knows it, and what is remembered of its machine.

use core::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::manager::domain::ids::{InstanceId, TokenId, VirtualAccountId};
use crate::protocol::{Nonce, PublicKey, RemovalEffect, TagStatus, Udi};
use crate::units::UnixMillis;

/// A product instance. One that is gone is kept: its `seq` numbers and its evaluation must never go back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// Its id.
    pub id: InstanceId,
    /// Its identity.
    pub udi: Udi,
    /// Where it is registered, or was last.
    pub virtual_account: VirtualAccountId,
    /// What it is now.
    pub state: InstanceState,
    /// When it came to be in this state.
    pub state_since: UnixMillis,
    /// The key that it signs with.
    pub key: PublicKey,
    /// A key that was certified and not used yet.
    pub pending: Option<Box<PendingKey>>,
    /// Keys that it signs with no more, the newest last; bounded.
    pub retired: Vec<RetiredKey>,
    /// The id certificate of `key`.
    pub certificate: Certificate,
    /// The registration's answer was acknowledged, or another message came after it.
    pub acknowledged: bool,
    /// The token that it registered with.
    pub token: Option<TokenId>,
    /// The export flag of that token.
    pub export_allowed: bool,
    /// The host's name, if shared.
    pub hostname: Option<String>,
    /// Where it last called from, if the name is shared too.
    pub address: Option<IpAddr>,
    /// The product profile.
    pub profile: String,
    /// The product's version.
    pub version: String,
    /// The agent's version.
    pub agent_version: String,
    /// Production or lab.
    pub usage: String,
    /// The tags that its profile names.
    pub tags: Vec<String>,
    /// The keyed hash of its machine's identity; empty where it has none.
    pub fingerprint: String,
    /// What its profile makes of a removal.
    pub removal: Option<RemovalEffect>,
    /// The higher, the later a shortage is charged to it.
    pub priority: u8,
    /// What an operator noted.
    pub note: String,
    /// When it registered in this virtual account; its place among the others.
    pub registered_at: UnixMillis,
    /// When it last said anything.
    pub last_contact: UnixMillis,
    /// When it last reported use.
    pub last_report: Option<UnixMillis>,
    /// `seq` of the last message taken from `key`.
    pub message_seq: u64,
    /// `sent_at` of the last message taken.
    pub last_sent_at: UnixMillis,
    /// Nonces of the last messages; bounded.
    pub nonces: Vec<Nonce>,
    /// Messages in a row that came with an old `seq` though newly made: another host with the same identity, or an agent
    /// that was restored.
    pub forks: u32,
    /// When such rows began; bounded.
    #[serde(default)]
    pub forked_at: Vec<UnixMillis>,
    /// `seq` of the last grant.
    pub grant_seq: u64,
    /// When the last grant ends.
    pub grant_expires_at: Option<UnixMillis>,
    /// What it asked for and was given, by tag, in the order of its last request.
    pub entitlements: Vec<Entitlement>,
    /// Virtual accounts that it is leaving, until it shows that it knows; bounded, one entry for each.
    pub leaving: Vec<Leaving>,
    /// Hard resources that a host which had this identity before may still hold; bounded.
    #[serde(default)]
    pub fenced: Vec<Fenced>,
    /// Evaluation seconds used; never lower.
    pub eval_used_s: u64,
    /// A replacement is being prepared since.
    #[serde(default)]
    pub rehost_prepared_at: Option<UnixMillis>,
}

/// What an instance is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InstanceState {
    /// Registered and heard of.
    Registered,
    /// Registered, and not heard of for 90 days. Its licenses are kept.
    Stale,
    /// Registered, and another host speaks with its identity.
    Duplicate,
    /// It said goodbye.
    Deregistered,
    /// An operator removed it.
    Removed,
    /// Its id certificate ended without renewal.
    Expired,
}

impl InstanceState {
    /// It is registered.
    #[must_use]
    pub const fn is_registered(self) -> bool {
        match self {
            Self::Registered | Self::Stale | Self::Duplicate => true,
            Self::Deregistered | Self::Removed | Self::Expired => false,
        }
    }

    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Registered, Self::Stale, Self::Duplicate, Self::Deregistered, Self::Removed, Self::Expired];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Registered => "registered",
            Self::Stale => "stale",
            Self::Duplicate => "duplicate",
            Self::Deregistered => "deregistered",
            Self::Removed => "removed",
            Self::Expired => "expired",
        }
    }
}

/// An id certificate. From these facts and the issuer's key it is made again exactly: Ed25519 is deterministic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    /// Its serial number: 32 lower-case hexadecimal digits, the first below 8, not zero.
    pub serial: String,
    /// Valid from.
    pub not_before: UnixMillis,
    /// Valid to.
    pub not_after: UnixMillis,
}

/// A key that was certified by a renewal and not used yet. Until it is, the old one counts: the answer may be lost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingKey {
    /// The key.
    pub key: PublicKey,
    /// Its certificate.
    pub certificate: Certificate,
}

/// A key that an instance signs with no more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetiredKey {
    /// The key.
    pub key: PublicKey,
    /// Why.
    pub reason: RetiredReason,
    /// Since when.
    pub at: UnixMillis,
}

/// Why a key is no longer taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RetiredReason {
    /// A renewal replaced it.
    Renewed,
    /// Another registration of the same UDI took over.
    Superseded,
}

/// What an instance asked for of one tag, and what it was given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entitlement {
    /// The tag.
    pub tag: String,
    /// Licenses asked for; what counts as in use.
    pub requested: u64,
    /// Licenses granted by the last answer.
    pub granted: u64,
    /// Licenses that may be used by the last answer.
    pub cap: u64,
    /// Hard resources: the most that it may still believe to hold. At least `granted`.
    pub held: u64,
    /// Until when what is beyond `granted` counts as held, if no acknowledgement comes.
    pub held_until: UnixMillis,
    /// Rises whenever `granted` or `cap` changes.
    pub epoch: u64,
    /// What the last answer said.
    pub status: TagStatus,
    /// What was last reported.
    pub last_use: Option<LastUse>,
}

/// The last report of a tag.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastUse {
    /// When.
    pub at: UnixMillis,
    /// As the profile reports it.
    pub reported: u64,
    /// The highest use observed.
    pub observed_peak: u64,
    /// The 95th percentile.
    pub p95: u64,
    /// What is requested after the next change of configuration.
    pub next: Option<u64>,
}

/// A virtual account that an instance is leaving: what it had there counts until it shows that it knows of the new one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leaving {
    /// Which.
    pub virtual_account: VirtualAccountId,
    /// When it registered there.
    pub registered_at: UnixMillis,
    /// Since when it leaves.
    pub since: UnixMillis,
    /// What it had.
    pub entitlements: Vec<Entitlement>,
}

/// A hard resource that a host which cannot acknowledge may still hold, until its grant has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fenced {
    /// Of which virtual account.
    pub virtual_account: VirtualAccountId,
    /// The tag.
    pub tag: String,
    /// How many.
    pub held: u64,
    /// Until when.
    pub held_until: UnixMillis,
}

/// What is remembered of a machine, whichever identities it had.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// The keyed hash that its agents send.
    pub fingerprint: String,
    /// Evaluation seconds used by the identity that used the most; never lower.
    pub eval_used_s: u64,
    /// Its identities, the newest last; bounded.
    pub instances: Vec<InstanceId>,
    /// An operator allows further identities.
    pub allowed: bool,
}
