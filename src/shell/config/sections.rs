//! The configuration's sections, as typed values with their defaults. What each key means to an operator stands in
//! `schema.rs`, which a test holds against these structs.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::values::{Address, Bytes, FileMode, Seconds, Switched};
use crate::admission;
use crate::license::agent::{TransportClass, UsageClass};
use crate::license::{Profile, RateCap};
use crate::units::{Cps, LicensedRate};

/// `[node]`: this host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// Its name in logs, metrics and alarms.
    pub name: String,
    /// The state directory: sockets, journal, evaluation account.
    pub data_dir: PathBuf,
    /// The most calls per second that this host can handle: the ceiling of `license.count`.
    pub max_call_rate: Cps,
}

/// `[license]`: what is licensed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct License {
    /// A shipped profile's name, or the absolute path of one of the operator's own.
    pub profile: String,
    /// Licensing is on.
    pub enabled: bool,
    /// Calls per second to license.
    #[serde(deserialize_with = "licensed_rate")]
    pub count: LicensedRate,
    /// Session licenses of the default type; `None` is not limited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sessions: Option<u32>,
    /// Sessions above their count are admitted and counted as overage.
    pub overage: bool,
    /// Whether a rate above `count` is refused, or only counted.
    pub rate_cap: RateCap,
    /// Where the license manager is; `None`: none is asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// By which way it is reached.
    pub transport: TransportClass,
    /// Which certificates of servers are believed.
    pub trust: TrustChoice,
    /// Certificate authorities of the manager; PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// Hashes of public keys of the manager.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pin_spki: Option<String>,
    /// The proxy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy: Option<String>,
    /// The user that the proxy asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy_user: Option<String>,
    /// A file with that user's password in its first line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy_password_file: Option<PathBuf>,
    /// Certificate authorities of an HTTPS proxy, beside the host's own; PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy_ca_file: Option<PathBuf>,
    /// How long a request may take.
    pub timeout: Seconds,
    /// The host's name is told to the manager.
    pub share_hostname: bool,
    /// A new host name renews the registration by itself.
    pub hostname_auto_renew: bool,
    /// For real calls, or for tests.
    pub usage: UsageClass,
    /// Retries are spread, so that a fleet doesn't come back at once.
    pub retry_jitter: bool,
    /// An identity of the machine, where its own is not stable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stable_id: Option<String>,
    /// The root key of the manager to trust; `None`: the one of the first registration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root_key: Option<String>,
    /// Further session-license types by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub types: BTreeMap<String, LicenseType>,
    /// Ports by name, for products that license configured capacity.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub ports: BTreeMap<String, Port>,
}

/// `license.trust`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum TrustChoice {
    /// The host's own store.
    #[serde(rename = "system")]
    System,
    /// `ca_file` alone.
    #[serde(rename = "file")]
    File,
    /// Both.
    #[serde(rename = "system+file")]
    SystemAndFile,
    /// Keys named by `pin_spki`, whoever certified them.
    #[serde(rename = "pin_spki")]
    PinSpki,
}

/// `[license.ports.<name>]`: one port whose capacity is licensed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Port {
    /// Its speed in gigabits per second.
    #[serde(default = "ten")]
    pub gbps: u32,
    /// The advanced features that are on, with commas between.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub features: Option<String>,
    /// It is in use.
    #[serde(default = "yes")]
    pub active: bool,
    /// The line card that it is on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub card: Option<String>,
}

const fn ten() -> u32 {
    10
}

const fn yes() -> bool {
    true
}

fn licensed_rate<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<LicensedRate, D::Error> {
    LicensedRate::new(u32::deserialize(deserializer)?).map_err(serde::de::Error::custom)
}

/// `[license.types.<name>]`: one more session-license type.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LicenseType {
    /// Units; `None` is not limited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u32>,
    /// As `license.overage`, for this type; `None` is as `license.overage` says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overage: Option<bool>,
    /// Its place in an ordered family; `None` stands alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tier: Option<Tier>,
}

/// `tier` of a license type.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tier {
    /// The family's name.
    #[serde(default)]
    pub family: String,
    /// The place in it: higher serves lower.
    #[serde(default)]
    pub rank: u8,
}

/// `[admission]`: how calls are decided.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Admission {
    /// Whether refusals are carried out.
    pub mode: Mode,
    /// Exact, or with bursts.
    pub rate_policy: RatePolicy,
    /// Refuse trunks and tenants that are not listed.
    pub strict_trunks: bool,
    /// How long calls of a restarted proxy stay in doubt.
    pub suspect_grace: Seconds,
    /// The share of each node limit that only PRIORITY calls may use.
    pub headroom_percent: u8,
    /// Live calls and registrations that the table holds.
    pub calls_max: u32,
    /// Remembered refusals, released calls and tombstones together.
    pub memories_max: u32,
    /// Call ids whose text is kept.
    pub id_texts_max: u32,
    /// What a trunk gets that is not listed.
    pub trunk_default: GroupLimits,
    /// What a tenant gets that is not listed.
    pub tenant_default: GroupLimits,
    /// How long a slot is held, and how long things are remembered.
    pub leases: Leases,
    /// The export-control cap.
    pub export_control: ExportControl,
    /// How refusals are told, by the cause's name; every cause that refuses is in it.
    pub status: BTreeMap<String, RefusalStatus>,
}

/// `admission.mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Refuse what the limits refuse.
    Enforce,
    /// Admit everything, and count what would have been refused.
    Shadow,
}

/// `admission.rate_policy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RatePolicy {
    /// In any window of one second at most the limit.
    Strict,
    /// A token bucket: the limit as a rate, and up to so many calls at once.
    Burst(u32),
}

/// `[admission.trunk_default]`, `[admission.tenant_default]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupLimits {
    /// Calls per second; `None` is not limited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cps: Option<Cps>,
    /// Concurrent sessions; `None` is not limited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sessions: Option<u32>,
}

/// `[admission.leases]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Leases {
    /// From admission until CONFIRM.
    pub setup: Seconds,
    /// From CONFIRM or REFRESH on.
    pub talk: Seconds,
    /// Added to a registration's Expires.
    pub registration_grace: Seconds,
    /// How long an open RESYNC may take.
    pub resync: Seconds,
    /// How long a live id without SEQ is a retransmission.
    pub retransmission: Seconds,
    /// How often a live id without SEQ may be asked again for free.
    pub retransmissions_max: u8,
    /// How long a refusal is remembered.
    pub refusal: Seconds,
    /// How long a released call is remembered.
    pub released: Seconds,
    /// How long a RELEASE that came before its ADMIT is remembered.
    pub tombstone: Seconds,
}

/// `[admission.export_control]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExportControl {
    /// The cap is on.
    pub enabled: bool,
    /// WebRTC sessions are let in, and the limit is the lower one.
    pub webrtc: bool,
    /// Calls and registrations together, with WebRTC off.
    pub limit: u32,
    /// The same with WebRTC on.
    pub limit_with_webrtc: u32,
    /// WebRTC sessions, counted apart.
    pub webrtc_limit: u32,
    /// What counts.
    pub counts: ExportCounts,
    /// Over which nodes it counts.
    pub scope: ExportScope,
    /// This node's part of `limit`, where it counts over a cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<u32>,
}

/// `admission.export_control.counts`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ExportCounts {
    /// Every call and registration.
    All,
    /// What says ENCRYPTED.
    Encrypted,
}

/// `admission.export_control.scope`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ExportScope {
    /// Each node counts for itself.
    Node,
    /// The members of the cluster count together.
    Cluster,
}

/// `[admission.status.<cause>]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RefusalStatus {
    /// The SIP status.
    pub sip_status: u16,
    /// The least Retry-After; 0 for no such header.
    pub retry_after: Seconds,
    /// Up to so much more, at random.
    pub spread: Seconds,
}

/// `[[trunk]]`, `[[tenant]]`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// Its name, as `TRUNK` or `TENANT` says it.
    #[serde(default)]
    pub name: String,
    /// Calls per second; `None` is not limited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cps: Option<Cps>,
    /// Concurrent sessions; `None` is not limited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sessions: Option<u32>,
}

/// `[listen]`: front ends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listen {
    /// RESP over TCP and Unix sockets; empty is off.
    pub resp: Vec<Address>,
    /// Datagrams over UDP and Unix datagram sockets; empty is off.
    pub datagram: Vec<Address>,
    /// HTTP over TCP.
    pub http: Switched,
    /// Admission threads.
    pub reactors: u16,
    /// Open connections of each front end.
    pub connections_max: u32,
    /// A connection that says nothing for so long is closed; 0 is never.
    pub idle_timeout: Seconds,
    /// At a stop, new calls are refused for so long before the front ends close.
    pub drain_time: Seconds,
    /// The mode of the Unix sockets of RESP and datagrams. The admin socket is always 0600.
    pub unix_mode: FileMode,
    /// The file of the RESP password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    /// The file of the HTTP tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens_file: Option<PathBuf>,
}

/// `[journal]`: what survives the sidecar.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Journal {
    /// Calls survive the sidecar.
    pub enabled: bool,
    /// The size of one segment.
    pub segment_size: Bytes,
    /// How often the journal is pushed to the disk itself.
    pub fsync_interval: Seconds,
}

/// `[alarms]`: where alarms go.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Alarms {
    /// Raised and cleared alarms are logged.
    pub log: bool,
    /// An alarm that flaps is told once in this time; 0 is always.
    pub damping: Seconds,
    /// Where else they go.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub destination: Vec<super::Destination>,
}

/// `[telemetry]`: logs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Telemetry {
    /// The least severe level that is logged.
    pub log_level: LogLevel,
    /// Lines of text, or JSON documents.
    pub log_format: LogFormat,
    /// Call ids may be logged above debug.
    pub log_call_ids: bool,
    /// Each trunk and tenant is shown in `/metrics`.
    pub group_metrics: bool,
}

/// `telemetry.log_level`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// What failed.
    Error,
    /// And what needs a look.
    Warn,
    /// And what happened.
    Info,
    /// And why.
    Debug,
    /// And every step.
    Trace,
}

impl LogLevel {
    /// Its name, as a filter directive.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

/// `telemetry.log_format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines.
    Json,
}

impl Admission {
    /// The defaults under this profile.
    pub(super) fn defaults(profile: &Profile) -> Self {
        let leases = admission::Leases::default();
        let bounds = admission::Bounds::default();
        Self {
            mode: Mode::Enforce,
            rate_policy: RatePolicy::Strict,
            strict_trunks: false,
            suspect_grace: Seconds(leases.suspect_grace_s),
            headroom_percent: 0,
            calls_max: bounds.calls_max,
            memories_max: bounds.memories_max,
            id_texts_max: bounds.id_texts_max,
            trunk_default: GroupLimits::default(),
            tenant_default: GroupLimits::default(),
            leases: Leases {
                setup: Seconds(leases.setup_s),
                talk: Seconds(leases.talk_s),
                registration_grace: Seconds(leases.registration_grace_s),
                resync: Seconds(leases.resync_s),
                retransmission: Seconds(leases.retransmission_s),
                retransmissions_max: leases.retransmissions_max,
                refusal: Seconds(leases.refusal_s),
                released: Seconds(leases.released_s),
                tombstone: Seconds(leases.tombstone_s),
            },
            export_control: ExportControl {
                enabled: profile.hard_cap.enabled,
                webrtc: false,
                limit: profile.hard_cap.limit,
                limit_with_webrtc: profile.hard_cap.limit_with_webrtc,
                webrtc_limit: profile.hard_cap.webrtc_limit,
                counts: ExportCounts::All,
                scope: ExportScope::Node,
                share: None,
            },
            status: refusing_causes().map(|cause| (cause.name().to_owned(), default_status(cause))).collect(),
        }
    }
}

/// The causes that refuse, in the order of their codes: those that `[admission.status]` takes.
pub fn refusing_causes() -> impl Iterator<Item = admission::Cause> {
    admission::Cause::ALL.iter().copied().filter(|cause| !cause.admits())
}

fn default_status(cause: admission::Cause) -> RefusalStatus {
    let default = admission::RefusalStatus::default_for(cause);
    RefusalStatus {
        sip_status: default.sip_status,
        retry_after: Seconds(u32::from(default.retry_after_s.unwrap_or(0))),
        spread: Seconds(u32::from(default.retry_spread_s)),
    }
}
