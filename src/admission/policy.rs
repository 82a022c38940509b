//! What the operator decided: the settings that a batch of requests is judged by. A snapshot is taken once per batch;
//! a reload swaps the whole.

use std::collections::BTreeMap;

use super::request::{Cause, Kind};
pub use crate::limits::RatePolicy;
use crate::units::Cps;

/// Whether refusals are carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// Refuse what the limits refuse.
    #[default]
    Enforce,
    /// Admit everything, and count by cause what would have been refused.
    Shadow,
}

/// How a refusal of one cause is told to the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RefusalStatus {
    /// The SIP status.
    pub sip_status: u16,
    /// The least Retry-After in seconds; `None` for no such header.
    pub retry_after_s: Option<u16>,
    /// Up to so many seconds more, at random, so that refused callers do not come back together.
    pub retry_spread_s: u16,
}

impl RefusalStatus {
    /// The status that operators expect for this cause, unless configured otherwise.
    #[must_use]
    pub const fn default_for(cause: Cause) -> Self {
        let (sip_status, retry) = match cause {
            Cause::Ok | Cause::Duplicate | Cause::Emergency => (0, false),
            Cause::Cps | Cause::Sessions | Cause::ExportControl | Cause::Capacity => (503, true),
            Cause::TrunkCps
            | Cause::TrunkSessions
            | Cause::TenantCps
            | Cause::TenantSessions
            | Cause::UnknownTrunk
            | Cause::UnknownTenant
            | Cause::UnknownType => (480, false),
            Cause::Webrtc
            | Cause::Unconfigured
            | Cause::EvaluationExpired
            | Cause::AuthorizationExpired
            | Cause::ReservationExpired
            | Cause::Enforced
            | Cause::Revoked
            | Cause::Draining
            | Cause::Deadline
            | Cause::Late => (503, false),
        };
        Self {
            sip_status,
            retry_after_s: if retry { Some(3) } else { None },
            retry_spread_s: if retry { 3 } else { 0 },
        }
    }
}

/// How long a slot is held without news of its call. All in seconds unless named otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leases {
    /// From admission until CONFIRM.
    pub setup_s: u32,
    /// From CONFIRM or REFRESH on.
    pub talk_s: u32,
    /// Added to a registration's Expires.
    pub registration_grace_s: u32,
    /// How long a suspect call of a restarted proxy waits for RESYNC or REFRESH.
    pub suspect_grace_s: u32,
    /// How long an open RESYNC may take.
    pub resync_s: u32,
    /// How long after its admission a live id without SEQ is a retransmission.
    pub retransmission_s: u32,
    /// How often a live id without SEQ may be asked again for free.
    pub retransmissions_max: u8,
    /// How long a refusal is remembered.
    pub refusal_s: u32,
    /// How long a released call is remembered.
    pub released_s: u32,
    /// How long a RELEASE that came before its ADMIT is remembered.
    pub tombstone_s: u32,
}

impl Default for Leases {
    fn default() -> Self {
        Self {
            setup_s: 300,
            talk_s: 12 * 3600 + 60,
            registration_grace_s: 32,
            suspect_grace_s: 60,
            resync_s: 60,
            retransmission_s: 32,
            retransmissions_max: 10,
            refusal_s: 2,
            released_s: 32,
            tombstone_s: 60,
        }
    }
}

/// What counts under export control.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ExportCounts {
    /// Every call and registration.
    #[default]
    All,
    /// What says ENCRYPTED.
    Encrypted,
}

/// The export-control cap. A disabled one is `None` in [`Policy`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExportControl {
    /// Calls and registrations together, with WebRTC off.
    pub limit: u32,
    /// The same with WebRTC on.
    pub limit_with_webrtc: u32,
    /// WebRTC sessions, counted apart.
    pub webrtc_limit: u32,
    /// WebRTC is on.
    pub webrtc: bool,
    /// What counts.
    pub counts: ExportCounts,
}

impl Default for ExportControl {
    fn default() -> Self {
        Self { limit: 2500, limit_with_webrtc: 2244, webrtc_limit: 256, webrtc: false, counts: ExportCounts::All }
    }
}

/// The limits of one trunk or tenant; `None` is not limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GroupLimits {
    /// Calls per second.
    pub cps: Option<Cps>,
    /// Concurrent sessions.
    pub sessions: Option<u32>,
}

/// One session-license type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LicenseType {
    /// Its name, as `TYPE` says it.
    pub name: String,
    /// Units held; `None` is not limited.
    pub count: Option<u32>,
    /// Units above the count are admitted, and counted as overage.
    pub overage: bool,
    /// The ordered family it belongs to: a higher tier of the same family can serve a lower one. `None` stands alone.
    pub tier: Option<Tier>,
}

/// A place in an ordered family of license types.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tier {
    /// The family's name.
    pub family: String,
    /// The place in it; higher serves lower.
    pub rank: u8,
}

/// Every setting that the gate reads. Built by the shell from the configuration, the profile and, later, the grants.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// Whether refusals are carried out.
    pub mode: Mode,
    /// The node's calls per second. `None` is not limited.
    pub rate: Option<Cps>,
    /// Strict or burst; trunks and tenants use it too.
    pub rate_policy: RatePolicy,
    /// Whether the node's rate is enforced, or only counted (`rate_cap = "observe"`).
    pub rate_enforced: bool,
    /// The share of each node limit, in percent, that only PRIORITY calls may use.
    pub headroom_percent: u8,
    /// The session-license types, in the order of their ids.
    pub license_types: Vec<LicenseType>,
    /// Which type a call draws on that names none: an index into `license_types`.
    pub default_type_call: Option<u16>,
    /// The same for a registration.
    pub default_type_registration: Option<u16>,
    /// Export control, if enabled.
    pub export_control: Option<ExportControl>,
    /// Trunks by name.
    pub trunks: BTreeMap<String, GroupLimits>,
    /// Tenants by name.
    pub tenants: BTreeMap<String, GroupLimits>,
    /// What a trunk gets that isn't listed.
    pub trunk_default: GroupLimits,
    /// What a tenant gets that isn't listed.
    pub tenant_default: GroupLimits,
    /// Refuse trunks and tenants that aren't listed.
    pub strict_trunks: bool,
    /// Leases and memories.
    pub leases: Leases,
    /// How refusals are told, by [`Cause::code`].
    pub refusals: [RefusalStatus; Cause::COUNT],
}

impl Default for Policy {
    fn default() -> Self {
        let mut refusals = [RefusalStatus::default_for(Cause::Ok); Cause::COUNT];
        for (slot, cause) in refusals.iter_mut().zip(Cause::ALL) {
            *slot = RefusalStatus::default_for(*cause);
        }
        Self {
            mode: Mode::Enforce,
            rate: Some(Cps::saturating(100)),
            rate_policy: RatePolicy::Strict,
            rate_enforced: true,
            headroom_percent: 0,
            license_types: Vec::new(),
            default_type_call: None,
            default_type_registration: None,
            export_control: None,
            trunks: BTreeMap::new(),
            tenants: BTreeMap::new(),
            trunk_default: GroupLimits::default(),
            tenant_default: GroupLimits::default(),
            strict_trunks: false,
            leases: Leases::default(),
            refusals,
        }
    }
}

impl Policy {
    /// How a refusal of this cause is told.
    #[must_use]
    pub fn refusal(&self, cause: Cause) -> RefusalStatus {
        self.refusals.get(usize::from(cause.code())).copied().unwrap_or(RefusalStatus::default_for(cause))
    }

    /// The default license type for this kind.
    #[must_use]
    pub const fn default_type(&self, kind: Kind) -> Option<u16> {
        match kind {
            Kind::Call => self.default_type_call,
            Kind::Registration => self.default_type_registration,
        }
    }
}

/// The bounds that are fixed for the life of the process: they size what is allocated at start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Live calls and registrations.
    pub calls_max: u32,
    /// Remembered refusals, released calls and tombstones together.
    pub memories_max: u32,
    /// Id texts kept for `calls list`.
    pub id_texts_max: u32,
    /// The highest calls per second that the node's limit can be raised to (`max_call_rate`).
    pub rate_max: Cps,
    /// Trunks, and as many tenants.
    pub groups_max: u16,
    /// Proxies known by name.
    pub proxies_max: u16,
    /// Shards of the session table; one per reactor. A power of two.
    pub shards: u16,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            calls_max: 1_048_576,
            memories_max: 262_144,
            id_texts_max: 65_536,
            rate_max: Cps::saturating(crate::units::CALL_RATE_MAX),
            groups_max: 10_000,
            proxies_max: 1_024,
            shards: 1,
        }
    }
}
