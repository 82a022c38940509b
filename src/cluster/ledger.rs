//! What must survive a crash. Records are absolute: each replaces the one with its [`Key`], so a ledger is a map, and what
//! was written twice is as what was written once.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::ids::{Epoch, Incarnation, LedgerId, NodeName, Seq};
use super::message::Anchor;
use super::resource::{Licenses, ResourceId};
use crate::units::UnixMillis;

/// What a record is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Key {
    /// The home count of a resource.
    Home(ResourceId),
    /// The budget of a borrower of a rate.
    Budget(ResourceId, NodeName),
    /// The loan of sessions to a borrower.
    Loan(ResourceId, NodeName),
    /// What a silent borrower of reclaimed sessions may exceed.
    OvershootPossible(ResourceId, NodeName),
    /// A peer that is lost.
    Lost(NodeName),
    /// What is kept in use of a lost peer.
    Kept(NodeName),
    /// The vote for a trustee over a lost peer's licenses.
    Vote(NodeName),
    /// Whether a census of a new ledger is under way.
    Fenced,
    /// What the boot counter is added to.
    IncarnationBase,
    /// What another node can do without, should it be cut off.
    Spare(NodeName),
    /// What this node can do without.
    OwnSpare,
}

/// A durable fact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Record {
    /// What the node holds of a resource by its grant.
    Home {
        /// Of what.
        resource: ResourceId,
        /// Its epoch.
        epoch: Epoch,
        /// The count.
        home: Licenses,
        /// What remains of it when the grant has lapsed (hard resources; 0 elsewhere).
        fixed_share: Licenses,
    },
    /// Rates: an upper bound of what may be out to a borrower, raised before more is lent.
    Budget {
        /// Of what.
        resource: ResourceId,
        /// To whom.
        borrower: NodeName,
        /// At least what is out.
        budget: Licenses,
    },
    /// Sessions: what may be out to a borrower.
    Loan {
        /// Of what.
        resource: ResourceId,
        /// To whom.
        borrower: NodeName,
        /// The newest incarnation seen of the borrower.
        binc: Incarnation,
        /// An upper bound of what the borrower may believe that it holds.
        out: Licenses,
        /// The number of the newest `Lend`.
        seq: Seq,
        /// Its value.
        k: Licenses,
    },
    /// Sessions of the license class that were reclaimed from a borrower long silent: it may still use them. Written before
    /// they are used again; none once the borrower is back and uses none of them.
    OvershootPossible {
        /// Of what.
        resource: ResourceId,
        /// From whom.
        borrower: NodeName,
        /// So many, in all.
        units: Licenses,
    },
    /// A peer is lost, or was: without homes and wall time it is back.
    Lost {
        /// Who.
        peer: NodeName,
        /// What it held at home, as it said last.
        homes: Vec<(ResourceId, Licenses)>,
        /// Since when, by the wall.
        since_wall: Option<UnixMillis>,
        /// For how long this node has seen it lost, in milliseconds of its own running.
        elapsed_ms: u64,
        /// The time for which its licenses are kept is over.
        over: bool,
    },
    /// Session licenses of a lost peer that are in use here; none once they aren't.
    Kept {
        /// Whose.
        peer: NodeName,
        /// How many of each.
        kept: Vec<(ResourceId, Licenses)>,
    },
    /// A vote for a trustee over what a lost peer left: one in each round.
    Vote {
        /// Who is lost.
        about: NodeName,
        /// The round.
        round: u64,
        /// Who has the vote.
        to: NodeName,
        /// Who had it in earlier rounds.
        before: Vec<NodeName>,
    },
    /// The ledger is new, and not every member has said yet what it holds of this node.
    Fenced {
        /// Whether that is so still.
        open: bool,
    },
    /// A new ledger under an old name counts on: this and the boot counter make the incarnation.
    IncarnationBase {
        /// As high as the highest that anybody had seen.
        base: Incarnation,
    },
    /// What another node said that it can do without: durable before it is told so, for a vote is to name no more.
    Spare {
        /// Who.
        node: NodeName,
        /// Its incarnation.
        inc: Incarnation,
        /// Its clock when it said so first.
        anchor: Anchor,
        /// How many of each, and whether that has an end.
        spare: Vec<(ResourceId, Licenses, bool)>,
    },
    /// What this node can do without: of each resource, the most that others may take it for, and what it says or is about to
    /// say.
    OwnSpare {
        /// Each resource.
        spare: Vec<(ResourceId, Licenses, Licenses)>,
    },
}

impl Record {
    /// What it is about: a later record of the same key replaces it.
    #[must_use]
    pub fn key(&self) -> Key {
        match self {
            Self::Home { resource, .. } => Key::Home(resource.clone()),
            Self::Budget { resource, borrower, .. } => Key::Budget(resource.clone(), borrower.clone()),
            Self::Loan { resource, borrower, .. } => Key::Loan(resource.clone(), borrower.clone()),
            Self::OvershootPossible { resource, borrower, .. } => {
                Key::OvershootPossible(resource.clone(), borrower.clone())
            }
            Self::Lost { peer, .. } => Key::Lost(peer.clone()),
            Self::Kept { peer, .. } => Key::Kept(peer.clone()),
            Self::Vote { about, .. } => Key::Vote(about.clone()),
            Self::Fenced { .. } => Key::Fenced,
            Self::IncarnationBase { .. } => Key::IncarnationBase,
            Self::Spare { node, .. } => Key::Spare(node.clone()),
            Self::OwnSpare { .. } => Key::OwnSpare,
        }
    }
}

/// A ledger as it was found at start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ledger {
    /// Which it is.
    pub id: LedgerId,
    /// This life's incarnation: raised by one, and durable already.
    pub inc: Incarnation,
    /// The newest record of each key.
    pub records: BTreeMap<Key, Record>,
}
