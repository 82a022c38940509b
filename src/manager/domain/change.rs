//! What a call of the domain changed: what the service must commit before it answers.

use serde::{Deserialize, Serialize};

use super::audit::AuditEntry;
use super::ids::{InstanceId, LotId, VirtualAccountId};
use super::record::{Alert, InstanceState, Record, RecordKey};
use super::report::Report;
use crate::protocol::Udi;
use crate::units::UnixMillis;

/// One change. Those of a call are committed together and in order; a later one of the same key wins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Store the record under its key, in the place of what was there.
    Put(Record),
    /// Nothing is stored under this key any more.
    Remove(RecordKey),
    /// Add to what is only ever added to.
    Append(Journal),
}

/// What is only ever added to and is not held in memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "value", rename_all = "snake_case")]
pub enum Journal {
    /// An administrative act.
    Audit(AuditEntry),
    /// Use of one tag by one instance over one interval.
    Usage(UsageRow),
    /// Licenses that went from one virtual account to another.
    Transfer(TransferRow),
    /// What happened to an instance.
    Event(InstanceEvent),
    /// An alert that ended.
    AlertEnded(AlertEnded),
    /// A report for the archive.
    Report(Box<Report>),
}

/// Use of one tag by one instance over one interval. `(instance, tag, until)` is unique: a report that comes twice says
/// the same, and is stored once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageRow {
    /// Whose.
    pub instance: InstanceId,
    /// Where it was registered then.
    pub virtual_account: VirtualAccountId,
    /// The tag.
    pub tag: String,
    /// The interval's beginning.
    pub from: UnixMillis,
    /// Its end.
    pub until: UnixMillis,
    /// Licenses asked for.
    pub requested: u64,
    /// Licenses reported as used.
    pub reported: u64,
    /// The highest use observed.
    pub observed_peak: u64,
    /// When that was.
    pub peak_at: Option<UnixMillis>,
    /// The 95th percentile.
    pub p95: u64,
    /// How many samples.
    pub samples: u64,
    /// What is requested after the next change of configuration.
    pub next: Option<u64>,
    /// When it was received.
    pub received_at: UnixMillis,
}

/// Licenses that went from one virtual account to another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransferRow {
    /// When.
    pub at: UnixMillis,
    /// By whom.
    pub actor: String,
    /// From where.
    pub from: VirtualAccountId,
    /// To where.
    pub to: VirtualAccountId,
    /// The tag.
    pub tag: String,
    /// How many.
    pub quantity: u64,
    /// The lot that they were taken from.
    pub lot: LotId,
    /// The lot that they are now.
    pub new_lot: LotId,
}

/// What happened to an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceEvent {
    /// When.
    pub at: UnixMillis,
    /// To which.
    pub instance: InstanceId,
    /// Its identity.
    pub udi: Udi,
    /// What.
    pub what: InstanceEventKind,
    /// Where it is registered after it.
    pub virtual_account: VirtualAccountId,
    /// Its state after it.
    pub state: InstanceState,
    /// More, for people.
    pub detail: String,
}

/// What can happen to an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InstanceEventKind {
    /// It registered, or registered again after it was gone.
    Registered,
    /// It registered in another virtual account.
    Moved,
    /// Another key took its identity over.
    TakenOver,
    /// It has a new certificate.
    Renewed,
    /// It said goodbye.
    Deregistered,
    /// An operator removed it.
    Removed,
    /// It was not heard of for 90 days.
    WentStale,
    /// It was heard of again.
    CameBack,
    /// Its certificate ended.
    Expired,
    /// Two hosts speak with its identity.
    Duplicate,
}

/// An alert that ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertEnded {
    /// When.
    pub at: UnixMillis,
    /// As it was.
    pub alert: Alert,
}
