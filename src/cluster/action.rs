//! What a node wants done.

use super::ids::{Epoch, Incarnation, LedgerId, NodeName};
use super::ledger::Record;
use super::message::Message;
use super::resource::{Licenses, ResourceId};

/// Something for the driver to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Make these durable, all or none, then say so with `Cluster::handle_persisted`, or that it failed with
    /// `Cluster::handle_persist_failed`. One batch is under way at a time.
    Persist {
        /// Its number.
        batch: u64,
        /// One for each key; each replaces an earlier one of the same key.
        records: Vec<Record>,
    },
    /// Send on the stream to a node. If there is no connection, drop it: it is said again.
    Send {
        /// To whom.
        to: NodeName,
        /// What.
        message: Message,
    },
    /// Send as a datagram. It may be lost.
    Gossip {
        /// To whom.
        to: NodeName,
        /// The whole datagram, at most [`DATAGRAM_BYTES_MAX`](super::DATAGRAM_BYTES_MAX) long.
        bytes: Vec<u8>,
    },
    /// A grant holds, durably, and nothing beyond it is in use: its answer to the licensing backend, which may now give what it
    /// left out to others.
    GrantAck {
        /// Of what.
        resource: ResourceId,
        /// The grant's epoch.
        epoch: Epoch,
        /// The count that holds.
        effective: Licenses,
    },
    /// Something to tell people: alarms, the log, metrics.
    Tell(Event),
}

/// Something that people want to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A message was ignored, with the reason; counted by it.
    Ignored {
        /// From whom.
        from: NodeName,
        /// Why.
        reason: &'static str,
    },
    /// A batch of records could not be made durable. Nothing that needs it happens until a later one was; it is tried again.
    LedgerFailed {
        /// Its number.
        batch: u64,
    },
    /// Records become durable again.
    LedgerWritable,
    /// A grant was ignored: its epoch is old, or it names more than can be.
    GrantIgnored {
        /// Of what.
        resource: ResourceId,
        /// Its epoch.
        epoch: Epoch,
    },
    /// Sessions were reclaimed from a borrower that is long silent, and may still use them.
    OvershootPossible {
        /// Of what.
        resource: ResourceId,
        /// From whom.
        borrower: NodeName,
        /// So many in all.
        units: Licenses,
    },
    /// That borrower is back, and uses none of them any more.
    OvershootClosed {
        /// Of what.
        resource: ResourceId,
        /// From whom.
        borrower: NodeName,
        /// So many could have been exceeded.
        units: Licenses,
    },
    /// A node answers.
    PeerUp {
        /// Which.
        node: NodeName,
    },
    /// A node doesn't answer; it is given a few seconds.
    PeerSuspect {
        /// Which.
        node: NodeName,
    },
    /// A node answers no more.
    PeerDown {
        /// Which.
        node: NodeName,
    },
    /// A node is back in a new life.
    PeerRejoined {
        /// Which.
        node: NodeName,
    },
    /// The list of members is full: a node was left out.
    MembersFull {
        /// Who.
        refused: NodeName,
    },
    /// A node speaks no version of the protocol that this one speaks: nothing is lent to it or borrowed of it.
    OtherVersion {
        /// Which.
        node: NodeName,
        /// The lowest and the highest version that it speaks.
        found: [u16; 2],
        /// Those that this node speaks.
        accepted: [u16; 2],
    },
    /// Two nodes are alive under one name.
    NameUsedTwice {
        /// The name.
        node: NodeName,
        /// Their ledgers: the one that was known, and the one that came.
        ledgers: [LedgerId; 2],
    },
    /// A ledger is in use twice: it was copied.
    LedgerUsedTwice {
        /// Which.
        ledger: LedgerId,
        /// By whom; one name twice if two processes have it.
        nodes: [NodeName; 2],
    },
    /// A ledger is older than it was: a copy was put in its place.
    LedgerWentBack {
        /// Whose.
        node: NodeName,
        /// Which.
        ledger: LedgerId,
        /// The incarnation that was seen.
        seen: Incarnation,
        /// The lower one that it has now.
        found: Incarnation,
    },
    /// A name has a new ledger: a replaced node, or one with an empty disk.
    Replaced {
        /// The name.
        node: NodeName,
        /// The ledger that fell silent.
        before: LedgerId,
        /// The new one.
        now: LedgerId,
    },
    /// Every member has said what it holds of this node, or the backend's word made that needless: its home counts again.
    CensusOver,
    /// Nothing is lent and nothing held: the node may go.
    Drained,
    /// A node hasn't answered for so long that it is lost.
    PeerLost {
        /// Which.
        node: NodeName,
    },
    /// A node that was lost is back.
    PeerBack {
        /// Which.
        node: NodeName,
    },
    /// The time is over for which a lost node's licenses are kept.
    RetentionEnded {
        /// Whose.
        node: NodeName,
    },
    /// A majority voted for this node as the trustee over what a lost node left.
    Trustee {
        /// Who is lost.
        about: NodeName,
        /// In which round.
        round: u64,
    },
    /// Licenses of a lost node are in use here: so many more may be in use than are held, should that node live on. For the
    /// audit.
    RetainedUse {
        /// Whose.
        node: NodeName,
        /// Of what.
        resource: ResourceId,
        /// How many; none: no longer.
        licenses: Licenses,
    },
}
