//! The cluster: peers lend each other unused licenses, and never one too many. PURE.
//!
//! A unit is a slot. A session call occupies its slot until it ends, a call against the rate for exactly one second; so both
//! are `used <= limit`. Every unit exists in one place only: free or used at its home node, lent out, or in limbo until it
//! is certain that nobody uses it any more. No decision reads remote state: gossip carries hints about who has units to
//! spare, and [`Message::Req`]/[`Message::Lend`] alone move rights.
//!
//! ```text
//! limit = home - lent out - in limbo + borrowed
//! ```
//!
//! | file | what it holds |
//! |---|---|
//! | `ids` | names of nodes, ledgers, incarnations, sequence numbers |
//! | `resource` | what can be lent: its kind, its class, its licenses |
//! | `params` | every parameter with its unit and default |
//! | `message` | what nodes say to each other |
//! | [`members`] | who is there: membership behind types of our own |
//! | `presence` | members, who they say they are, and their hints, together |
//! | `retention` | lost peers and what is kept of them |
//! | `fence` | a node whose ledger is new asks what it lent |
//! | [`usage`], [`export`] | what is reported; export control over the whole cluster |
//! | `wire` | the same as bytes: envelope, versions, bounds |
//! | `pools` | the seam to the limits that the fast path reads |
//! | `ledger` | what must survive a crash, and how it is put together again |
//! | `share` | one resource at one node: what is lent and borrowed, each rule by its name |
//! | `view` | what people see of it |
//! | `engine` | lending at one node: messages and time in, messages, records and resizes out |
//! | `node` | one node: lending, membership, retention and the census together |
//! | [`chunks`] | where a mesh is outgrown: chunks of licenses that lie in etcd |
//!
//! # Driving it
//!
//! 1. Open the ledger; raise the incarnation and make that durable; hand what was found to [`Cluster::new`].
//!    A ledger that was made just now: [`Cluster::fence`].
//! 2. Hand in what comes: [`Cluster::handle_message`], [`Cluster::handle_datagram`], [`Cluster::handle_grant`],
//!    [`Cluster::handle_low_water`], and time at [`Cluster::poll_timeout`]: [`Cluster::handle_timeout`].
//!    The wall time every few seconds: [`Cluster::handle_wall`]. Connections: [`Cluster::handle_connected`], before anything
//!    that came over them, and [`Cluster::handle_disconnected`].
//! 3. After each, drain [`Cluster::poll_action`]. What must be durable before something else happens is held back inside
//!    until [`Cluster::handle_persisted`] says that it is: the order of actions carries no meaning.
//! 4. Pools are resized while the call runs, through [`Pools`]: lowering is one step with its check.
//!
//! What must stay true: the invariants I1 to I11 that `tests/sim` checks after every step.

mod action;
pub mod chunks;
mod engine;
pub mod export;
mod fence;
mod ids;
mod ledger;
pub mod members;
mod message;
mod node;
mod params;
mod pools;
mod presence;
mod resource;
mod retention;
mod rules;
mod share;
pub mod usage;
mod view;
mod wire;

#[cfg(test)]
mod tests;

pub use self::action::{Action, Event};
#[doc(hidden)]
pub use self::engine::{Engine, PairView, SumsView};
pub use self::engine::{HomeGrant, Setup};
pub use self::ids::{Epoch, Incarnation, LedgerId, NodeName, NodeNameError, Seq};
pub use self::ledger::{Key, Ledger, Record};
pub use self::message::{
    Adopt, Anchor, Ballot, Beat, BeatAck, Census, Counted, Hello, Hint, HintOf, Leave, Lend, Message, Release,
    Released, Req, Spare, Vote,
};
pub use self::node::Cluster;
pub use self::params::{Parameters, Retention};
pub use self::pools::Pools;
pub use self::presence::{HintSum, Refused};
pub use self::resource::{Class, Kind, Licenses, Resource, ResourceId, ResourceIndex};
#[doc(hidden)]
pub use self::rules::{Rule, Rules};
pub use self::view::{ClusterView, LoanView, ShareView};
pub use self::wire::{
    DATAGRAM_BYTES_MAX, Datagram, Frames, LENGTH_BYTES, MESSAGE_BYTES_MAX, PROTOCOL_MAX, PROTOCOL_MIN, WireError,
    decode_datagram, decode_message, encode_datagram, encode_message,
};
pub use crate::limits::{Lease, Offered, Used};
