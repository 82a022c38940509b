//! What the gate shows of itself: plain data for status pages, metrics and commands.

use serde::Serialize;

use super::policy::Mode;
use super::request::Cause;
pub use crate::limits::Level;
use crate::units::{CallKey, Tick};

/// A limit's state at one instant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LimitView {
    /// Its name: `cps`, `export-control`, `webrtc`, `sessions:<type>`, `trunk-cps:<name>`, `trunk-sessions:<name>`, `tenant-...`,
    /// `calls` (the table) or `memories`.
    pub name: String,
    /// Units; `None` is not limited.
    pub limit: Option<u32>,
    /// Units in use.
    pub used: u32,
    /// The most in use since start.
    pub peak: u32,
}

/// A change of a limit's [`Level`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LevelChange {
    /// The limit's name, as in [`LimitView`].
    pub limit_name: String,
    /// What it was.
    pub from: Level,
    /// What it is.
    pub to: Level,
    /// The limit, in units.
    pub limit: u32,
    /// The most in use since the last look.
    pub used: u32,
}

/// Counters since start, and what is live now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Status {
    /// Enforce or shadow.
    pub mode: Mode,
    /// Draining: every new call is refused.
    pub draining: bool,
    /// Live calls.
    pub calls_live: u32,
    /// Live registrations.
    pub registrations_live: u32,
    /// Of both, those that a restart of their proxy or of the sidecar left in doubt. Counted by
    /// [`Gate::full_status`](super::Gate::full_status) alone: it takes a walk over all calls.
    pub suspect_live: u32,
    /// Calls and registrations admitted, retransmissions not counted.
    pub admitted_total: u64,
    /// Of those, emergency calls.
    pub emergency_total: u64,
    /// Of those, admitted past a limit (emergency, overage, observe, shadow, adopted).
    pub forced_total: u64,
    /// Emergency calls admitted while the table was full: counted, not tracked.
    pub untracked_total: u64,
    /// Refusals by [`Cause::code`].
    pub refused_total: [u64; Cause::COUNT],
    /// In shadow mode: what would have been refused, by [`Cause::code`].
    pub would_refuse_total: [u64; Cause::COUNT],
    /// Retransmissions answered from the table.
    pub duplicates_total: u64,
    /// Refusals repeated from memory.
    pub refusals_repeated_total: u64,
    /// Later attempts of a live id that paid the rates again.
    pub reattempts_total: u64,
    /// Calls confirmed.
    pub confirmed_total: u64,
    /// Calls released by their proxy.
    pub released_total: u64,
    /// Releases of ids that were not known: they left a tombstone.
    pub released_unknown_total: u64,
    /// Leases that ended without a release.
    pub lapsed_total: u64,
    /// Suspect calls freed after their grace.
    pub suspects_freed_total: u64,
    /// Calls released by a RESYNC, adopted by one.
    pub resync_released_total: u64,
    /// Calls adopted by a RESYNC.
    pub resync_adopted_total: u64,
    /// Session-license units admitted above their count.
    pub overage_total: u64,
    /// Memories dropped early because their table was full.
    pub memories_evicted_total: u64,
    /// Id texts not kept because their table was full.
    pub id_texts_dropped_total: u64,
    /// Trunk, tenant and proxy names not kept because their table was full.
    pub names_refused_total: u64,
    /// Every limit.
    pub limits: Vec<LimitView>,
}

/// Where a live call is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Admitted, not yet confirmed.
    Setup,
    /// Confirmed, or a registration.
    Talk,
}

/// One live call, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallView {
    /// Its key.
    pub key: CallKey,
    /// Its id's text, if kept.
    pub id: Option<Vec<u8>>,
    /// It is a registration.
    pub registration: bool,
    /// Setup or talk.
    pub phase: Phase,
    /// In doubt since a restart of its proxy or of the sidecar.
    pub suspect: bool,
    /// Emergency.
    pub emergency: bool,
    /// Admitted past a limit.
    pub forced: bool,
    /// WebRTC.
    pub webrtc: bool,
    /// The attempt's number.
    pub seq: Option<u32>,
    /// Trunk name.
    pub trunk: Option<String>,
    /// Tenant name.
    pub tenant: Option<String>,
    /// Proxy name.
    pub proxy: Option<String>,
    /// License type asked for.
    pub license_type: Option<String>,
    /// The tier that was drawn on, where a higher one served it.
    pub license_tier: Option<String>,
    /// Units.
    pub units: u16,
    /// When it was admitted (to 64 ms).
    pub admitted_at: Tick,
    /// When its lease ends (to 64 ms).
    pub lease_ends_at: Tick,
}
