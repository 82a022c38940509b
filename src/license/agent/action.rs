//! What the agent wants done, in the order in which it must happen.

use crate::limits::Verdict;
use crate::protocol::Endpoint;
use crate::units::UnixMillis;

use super::state::{AgentState, Secret};

/// One effect.
#[derive(Debug)]
pub enum Action {
    /// Keep this, on disk, before anything that follows.
    Persist(Box<AgentState>),
    /// Put these limits and this verdict in force.
    SetLimits(Limits),
    /// Send a request; answer with [`Agent::handle_response`](super::Agent).
    Send(Outgoing),
    /// Forget a request that was sent: its answer no longer matters.
    Cancel(ExchangeId),
    /// An alarm begins, or changes its text.
    Raise(Alarm),
    /// An alarm ends.
    Clear(AlarmKind),
    /// Something happened that people may want to know.
    Notice(Notice),
}

/// The number of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ExchangeId(pub u64);

/// A request for the manager. `Debug` doesn't show the body: a registration's carries the token.
pub struct Outgoing {
    /// Names it in the answer.
    pub exchange: ExchangeId,
    /// Where to.
    pub endpoint: Endpoint,
    /// The body: a signed envelope.
    pub body: Vec<u8>,
    /// For TLS; `None` before registration.
    pub client: Option<ClientIdentity>,
    /// How long it may take, in seconds.
    pub within_s: u64,
}

impl std::fmt::Debug for Outgoing {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { exchange, endpoint, body, client, within_s } = self;
        formatter
            .debug_struct("Outgoing")
            .field("exchange", exchange)
            .field("endpoint", endpoint)
            .field("body_bytes", &body.len())
            .field("client", client)
            .field("within_s", within_s)
            .finish()
    }
}

/// What the driver proves to the manager in TLS.
#[derive(Debug, Clone)]
pub struct ClientIdentity {
    /// The chain, DER in base64, id certificate first.
    pub certificate_chain_b64: Vec<String>,
    /// The seed of the key.
    pub key_seed: Secret,
}

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exchange {
    /// Something answered. Whether it was the manager, the signature says.
    Answered {
        /// The HTTP status.
        status: u16,
        /// `Retry-After`, in seconds.
        retry_after_s: Option<u64>,
        /// The body, whole; too large a one is a [`TransportFailure`].
        body: Vec<u8>,
    },
    /// Nothing did.
    Failed(TransportFailure),
}

/// Where on the way to the manager it failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransportFailure {
    /// The step.
    pub step: TransportStep,
    /// What was found and what is accepted, without secrets.
    pub text: String,
}

/// The steps of reaching a manager, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TransportStep {
    /// The configuration names no manager, or one that cannot be.
    Configuration,
    /// The name cannot be resolved.
    Dns,
    /// No connection.
    Tcp,
    /// The proxy refuses.
    Proxy,
    /// The certificate's issuer is not trusted.
    TlsIssuer,
    /// TLS fails otherwise.
    Tls,
    /// Not HTTP, a redirect, too much, cut short.
    Http,
    /// An HTTP error that nobody signed.
    Status,
    /// Nothing came in time.
    Timeout,
    /// The sidecar itself failed while it asked.
    Internal,
}

impl TransportStep {
    /// Its name in messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Configuration => "configuration",
            Self::Dns => "dns",
            Self::Tcp => "tcp",
            Self::Proxy => "proxy",
            Self::TlsIssuer => "tls_issuer",
            Self::Tls => "tls",
            Self::Http => "http",
            Self::Status => "status",
            Self::Timeout => "timeout",
            Self::Internal => "internal",
        }
    }
}

/// What calls are judged by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// What may start, and why not.
    pub verdict: Verdict,
    /// What caps each license type.
    pub types: Vec<(String, TypeCap)>,
    /// More units than the cap may be used, of each type of which the operator doesn't say otherwise.
    pub overage_allowed: bool,
    /// Export control is lifted: by the token's flag and an export entitlement together.
    pub export_lifted: bool,
}

/// What caps one license type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TypeCap {
    /// What the configuration requests.
    Requested,
    /// Nothing.
    Uncapped,
    /// So many units.
    Units(u32),
}

/// How bad an alarm is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlarmLevel {
    /// To know.
    Info,
    /// To look at.
    Warning,
    /// To act upon.
    Major,
    /// Calls are affected, or will be.
    Critical,
}

/// What an alarm is about. The names are part of the interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[expect(missing_docs, reason = "the names are those of the alarm table")]
pub enum AlarmKind {
    RegFailed,
    RegRetry,
    ReregFailed,
    ReregisterNeeded,
    HostnameChanged,
    RegDown,
    AuthDown,
    IdRenewFailed,
    IdExpired,
    IdRevoked,
    AuthRenewFailed,
    AuthExpired,
    OocPending,
    OocImminent,
    Ooc,
    Enforced,
    EvalNear,
    EvalExpired,
    ReportFailed,
    ComputeFailed,
    AgentInitFailed,
    InvalidTag,
    GrantRejected,
    ClockRollback,
    ClockJump,
    ClockSkew,
    UnknownCa,
    TransportLocked,
    DuplicateUdi,
    DeregOrphan,
    AgentStale,
    StateRestored,
}

/// An alarm, with all that a person needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alarm {
    /// About what.
    pub kind: AlarmKind,
    /// How bad.
    pub level: AlarmLevel,
    /// What is.
    pub what: String,
    /// Since when.
    pub since: UnixMillis,
    /// What it does to calls now.
    pub effect: String,
    /// What happens next, and when.
    pub next: String,
    /// When that is, if it is known.
    pub next_at: Option<UnixMillis>,
    /// What to do.
    pub remedy: String,
}

/// What is used of one license type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageNow {
    /// The type's name.
    pub type_name: String,
    /// Units now (for calls per second: of the last second).
    pub current: u32,
    /// The most units at any moment since the last call.
    pub peak: u32,
    /// Units that count from the next day on, where capacity is counted by the day.
    pub next: Option<u32>,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// A short name, such as `authorized` or `deadline_near`.
    pub name: &'static str,
    /// How bad.
    pub level: AlarmLevel,
    /// For people.
    pub text: String,
    /// The deadline that it is about.
    pub at: Option<UnixMillis>,
}
