//! The cluster in figures, as this node sees it: for `/v1/cluster`, `callgate cluster` and `/metrics`. Taken by the driver
//! once a second, so that nobody who looks waits for it.

use std::collections::BTreeMap;

use serde::Serialize;

use super::transport::Figures;
use crate::cluster::{Class, Kind, Licenses};
use crate::units::UnixMillis;

/// The cluster as this node sees it.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct ClusterStatus {
    /// This node.
    pub node: String,
    /// Where it is heard.
    pub listen: String,
    /// Its ledger.
    pub ledger: String,
    /// How often that was opened.
    pub incarnation: u64,
    /// It returns what it borrowed, recalls what it lent, and takes no part.
    pub draining: bool,
    /// Nothing is lent and nothing held: it may go.
    pub drained: bool,
    /// Its ledger is new: the members that haven't said yet what they hold of it. `None`: all did.
    pub census_waits_for: Option<Vec<String>>,
    /// The last write of the ledger failed.
    pub ledger_failing: bool,
    /// When its certificate ends, in milliseconds since the Unix epoch.
    pub certificate_expires: UnixMillis,
    /// The other configured members.
    pub members: Vec<Member>,
    /// What is shared.
    pub resources: Vec<Share>,
    /// When this was taken.
    pub as_of: UnixMillis,
    /// Figures for `/metrics` alone.
    #[serde(skip)]
    pub figures: ClusterFigures,
}

/// The names of a member's states.
pub const MEMBER_STATES: [&str; 3] = ["connected", "disconnected", "lost"];

/// Another member.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// Its configured host and port.
    pub address: String,
    /// One of [`MEMBER_STATES`].
    pub state: &'static str,
    /// Which life of it this is, as far as it said.
    pub incarnation: Option<u64>,
    /// Seconds for which it has been connected, or not.
    pub for_s: u64,
    /// The other end of the connection.
    pub connected_to: Option<String>,
    /// A round trip, in microseconds.
    pub round_trip_us: Option<u64>,
    /// When its certificate ends.
    pub certificate_expires: Option<UnixMillis>,
    /// Why it isn't connected.
    pub failure: Option<String>,
    /// Why nothing is lent to it and nothing borrowed of it, though it may be connected.
    pub refused: Option<&'static str>,
}

/// A shared resource. Counts are licenses, of five calls per second or one session each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Share {
    /// Its name.
    pub resource: String,
    /// Calls per second, or sessions.
    pub kind: Kind,
    /// Bought, or capped by law.
    pub class: Class,
    /// What this node holds by its grant.
    pub granted: Licenses,
    /// What of it counts now, and what is kept of lost members: less while a census runs, or a smaller grant takes hold.
    pub home: Licenses,
    /// The limit for new calls, in units: home, less what is lent and what rests, and what is borrowed.
    pub limit_units: u32,
    /// Units in use here.
    pub used_units: u32,
    /// Calls offered per second, as estimated.
    pub offered_per_second: u32,
    /// Calls are refused for want of units.
    pub starving: bool,
    /// Home licenses that rest until nobody can use them any more.
    pub limbo: Licenses,
    /// In how long the last of them is free, in milliseconds.
    pub limbo_ends_in_ms: Option<u64>,
    /// To whom how much is lent: what each may hold, as far as this node knows.
    pub lent: BTreeMap<String, Licenses>,
    /// Of that, wanted back and not back yet.
    pub recalled: BTreeMap<String, Licenses>,
    /// Taken back from members that are long silent and may use it still.
    pub reclaimed: BTreeMap<String, Licenses>,
    /// From whom how much is borrowed.
    pub borrowed: BTreeMap<String, Licenses>,
}

/// Figures of the driver.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ClusterFigures {
    /// Of the way to the peers.
    pub transport: Figures,
    /// Messages that the rules ignored, by reason.
    pub ignored: BTreeMap<&'static str, u64>,
    /// Batches of records made durable.
    pub persisted_total: u64,
    /// Batches that could not be, tries counted.
    pub persist_failures_total: u64,
    /// Seconds spent on making them durable.
    pub persist_seconds_total: f64,
    /// The longest, in seconds.
    pub persist_seconds_max: f64,
}
