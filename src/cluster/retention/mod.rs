//! What becomes of a lost peer's licenses (10-L): for 14 days they can be kept in use by a trustee. PURE.
//!
//! A peer is lost when it hasn't answered for [`Parameters::lost_after_ms`]. What it lent stays with the borrowers; what it
//! didn't lend, R(x) = its home count less the loans that are known, a trustee may use:
//!
//! - Under [`Retention::Any`] the first reachable node by name, on each side of a partition. If x lives on, R(x) is used once more
//!   on each side that x is not on.
//! - Under [`Retention::Quorum`] a node for which a majority of the configured members voted, for the term of a lease that is
//!   voted for anew. If x lives on, R(x) is used once more.
//! - Under [`Retention::Off`] nobody.
//!
//! Sessions of the license class only: a rate is exact. Each kept count is durable before it is used, and told: it is declared
//! overshoot.
//!
//! Hard resources, under [`Parameters::self_lease`] (10-H): a node does without a part of its own while nobody hears it
//! ([`own`]), so that a trustee with a majority's votes may keep that part ([`heard`]), and nothing is used twice.
//!
//! Where it stops: it changes no limit. [`Retention::kept`](Retained::usable) says what may be used, the engine does it and
//! reports what is still in use when it no longer may be.
//!
//! What must stay true: what a trustee uses was counted by asking, and who didn't answer counts as holding the most that one
//! peer is lent; there is one trustee at a time under [`Retention::Quorum`]; and x takes back only what the trustee no longer
//! uses.

mod heard;
mod lost;
mod own;
mod release;
mod voter;

use std::collections::BTreeSet;

pub(in crate::cluster) use self::lost::Retained;
pub(in crate::cluster) use self::own::SelfLease;
pub(in crate::cluster) use self::release::Withheld;
pub(in crate::cluster) use self::voter::Voter;
use super::action::Event;
use super::ids::{Incarnation, NodeName};
use super::ledger::Record;
use super::message::Message;
use super::params::Parameters;
#[cfg(doc)]
use super::params::Retention;
use super::rules::Rules;
use crate::units::{Tick, UnixMillis};

/// What the parts of retention have at hand.
#[derive(Debug)]
pub(in crate::cluster) struct View<'a> {
    pub(in crate::cluster) now: Tick,
    /// The wall time, as the driver said last.
    pub(in crate::cluster) wall: Option<UnixMillis>,
    pub(in crate::cluster) node: &'a NodeName,
    pub(in crate::cluster) inc: Incarnation,
    /// The configured members, this node left out.
    pub(in crate::cluster) configured: &'a BTreeSet<NodeName>,
    pub(in crate::cluster) reachable: &'a BTreeSet<NodeName>,
    pub(in crate::cluster) params: &'a Parameters,
    pub(in crate::cluster) rules: &'a Rules,
}

impl View<'_> {
    pub(in crate::cluster) fn is_reachable(&self, peer: &NodeName) -> bool {
        self.reachable.contains(peer)
    }

    /// How long a voter counts a trusteeship, and the calls of its last window: longer than any trustee's clock can.
    pub(in crate::cluster) fn trusteeship_nanos(&self) -> u64 {
        self.params.lender_term_nanos(self.params.trustee_term_ms).saturating_add(self.params.window_nanos())
    }

    /// So many votes are a majority of the configured members.
    pub(in crate::cluster) fn majority(&self) -> usize {
        self.configured.len().div_ceil(2) + 1
    }
}

/// What waits for a record to be durable.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::cluster) enum Ticket {
    /// A vote about a node, in a round.
    Vote(NodeName, u64),
    /// A raise of what is kept of a node, by its number.
    Kept(NodeName, u64),
    /// What a node said that it can do without, by the number of the change.
    Spare(NodeName, u64),
    /// What this node can do without, by the number of the change.
    OwnSpare(u64),
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cluster) enum Out {
    /// Send it; drop it if there is no connection.
    Send(NodeName, Message),
    /// To this node itself, as if it had come from it: its own vote.
    ToSelf(Message),
    /// Make it durable, then say so with the ticket.
    Persist(Record, Option<Ticket>),
    /// Something that people want to know.
    Tell(Event),
}

#[cfg(test)]
mod tests;
