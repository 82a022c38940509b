//! What a manager grants to one instance.

use serde::{Deserialize, Serialize};

use super::udi::Udi;
use crate::units::UnixMillis;

/// Whether what is requested of a virtual account is within what it bought.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ComplianceStatus {
    /// It is.
    InCompliance,
    /// More is requested than was bought.
    OutOfCompliance,
}

/// What became of one tag of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TagStatus {
    /// Granted.
    InCompliance,
    /// Granted, and the pool is short.
    OutOfCompliance,
    /// The manager doesn't know the tag. The others are not affected.
    Invalid,
}

/// What was granted of one tag.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TagGrant {
    /// The entitlement tag, as the profile names it.
    pub tag: String,
    /// Rises whenever `granted` or `cap` changes.
    pub epoch: u64,
    /// Licenses granted.
    pub granted: u64,
    /// Licenses that may be used: the requested count where overage is allowed, the granted one where it isn't.
    pub cap: u64,
    /// What became of it.
    pub status: TagStatus,
    /// When the term of what was granted ends; `None` is perpetual.
    pub term_end: Option<UnixMillis>,
}

/// The state of a pool, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolView {
    /// The entitlement tag.
    pub tag: String,
    /// Licenses bought and not expired.
    pub purchased: u64,
    /// Licenses requested by all instances.
    pub in_use: u64,
}

/// What a manager grants to one instance: the answer to an entitlement request and to a report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// To whom.
    pub udi: Udi,
    /// From which virtual account.
    pub virtual_account: String,
    /// Rises with every grant to this instance; an agent takes no grant that is not above its last.
    pub seq: u64,
    /// When it was made.
    pub issued_at: UnixMillis,
    /// When it ends unless another comes.
    pub expires_at: UnixMillis,
    /// The account's compliance, as far as it concerns this instance.
    pub status: ComplianceStatus,
    /// Each tag that was asked for, in that order; then those that the instance gave back and has not acknowledged yet, or
    /// that a report did not repeat.
    pub tags: Vec<TagGrant>,
    /// The pools behind them.
    pub pools: Vec<PoolView>,
    /// More may be used than granted, and is billed.
    pub overage_allowed: bool,
    /// The token's flag, as the account holds it. Export control is lifted by this *and* a granted export entitlement.
    pub export_allowed: bool,
    /// The version of the manager's policy.
    pub policy_version: u64,
}
