//! What people see of a node's shares: `callgate cluster loans`, `/v1/cluster`.

use serde::Serialize;

use super::ids::{Epoch, Incarnation, LedgerId, NodeName};
use super::resource::{Licenses, ResourceId};

/// A node of the cluster, as it sees itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ClusterView {
    /// Its name.
    pub node: NodeName,
    /// Its ledger.
    pub ledger: LedgerId,
    /// Its ledger's incarnation.
    pub inc: Incarnation,
    /// The last write of the ledger failed, and none succeeded since: sessions can't be lent.
    pub ledger_failing: bool,
    /// Messages and events that were dropped because nobody fetched them.
    pub dropped: u64,
    /// Each resource.
    pub resources: Vec<ShareView>,
}

/// A resource at a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ShareView {
    /// Which.
    pub resource: ResourceId,
    /// The epoch of its home count.
    pub epoch: Epoch,
    /// The home count in force.
    pub home: Licenses,
    /// The limit for new calls, in units.
    pub limit: u32,
    /// In use, in units.
    pub used: u32,
    /// Calls offered per second, as estimated.
    pub offered_per_second: u32,
    /// Calls are refused for want of units.
    pub starving: bool,
    /// Home licenses that rest until nobody can use them any more.
    pub limbo: Licenses,
    /// In how long the last of them is free, in milliseconds.
    pub limbo_ends_in_ms: Option<u64>,
    /// What is lent, by borrower.
    pub lent: Vec<LoanView>,
    /// What is borrowed, by lender.
    pub borrowed: Vec<LoanView>,
}

/// A loan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LoanView {
    /// The other side.
    pub peer: NodeName,
    /// So many licenses: what the borrower may hold, or holds.
    pub licenses: Licenses,
    /// Of those that are lent: recalled and not back yet.
    pub recalled: Licenses,
    /// Reclaimed from a silent borrower that may still use them (`overshoot_possible`).
    pub reclaimed: Licenses,
    /// For how long something has been lent, in milliseconds, as far as this life of the node knows.
    pub lasts_ms: Option<u64>,
    /// In how long it ends unless it is renewed, in milliseconds; `None`: it has no end.
    pub ends_in_ms: Option<u64>,
}
