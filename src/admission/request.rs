//! What a proxy asks, in the terms that every front end shares. A codec borrows these from its read buffer: nothing is
//! copied that needn't be.

use std::fmt;

use crate::units::UnixMillis;

/// The longest call id, in bytes.
pub const ID_BYTES_MAX: usize = 512;

/// The longest name of a trunk, tenant, proxy or license type, in bytes.
pub const NAME_BYTES_MAX: usize = 128;

/// The most units that one request may ask for.
pub const UNITS_MAX: u16 = 1_000;

/// A call's id: any 1 to [`ID_BYTES_MAX`] bytes, normally the Call-ID, or Call-ID and From-tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CallId<'a>(&'a [u8]);

/// An id of 0 bytes, or of more than [`ID_BYTES_MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("id has {found} bytes; accepted are 1 to {ID_BYTES_MAX}")]
pub struct BadCallId {
    /// How many bytes it had.
    pub found: usize,
}

impl<'a> CallId<'a> {
    /// An id of these bytes.
    ///
    /// # Errors
    /// If there are none, or more than [`ID_BYTES_MAX`].
    pub const fn new(bytes: &'a [u8]) -> Result<Self, BadCallId> {
        if bytes.is_empty() || bytes.len() > ID_BYTES_MAX {
            return Err(BadCallId { found: bytes.len() });
        }
        Ok(Self(bytes))
    }

    /// Its bytes.
    #[must_use]
    pub const fn bytes(self) -> &'a [u8] {
        self.0
    }
}

/// A name of a trunk, tenant, proxy or license type: any 1 to [`NAME_BYTES_MAX`] bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Name<'a>(&'a [u8]);

/// A name of 0 bytes, or of more than [`NAME_BYTES_MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a name has {found} bytes; accepted are 1 to {NAME_BYTES_MAX}")]
pub struct BadName {
    /// How many bytes it had.
    pub found: usize,
}

impl<'a> Name<'a> {
    /// A name of these bytes.
    ///
    /// # Errors
    /// If there are none, or more than [`NAME_BYTES_MAX`].
    pub const fn new(bytes: &'a [u8]) -> Result<Self, BadName> {
        if bytes.is_empty() || bytes.len() > NAME_BYTES_MAX {
            return Err(BadName { found: bytes.len() });
        }
        Ok(Self(bytes))
    }

    /// Its bytes.
    #[must_use]
    pub const fn bytes(self) -> &'a [u8] {
        self.0
    }
}

/// What is to be admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Kind {
    /// An out-of-dialog INVITE.
    #[default]
    Call,
    /// A REGISTER: takes no calls-per-second license, and a live id is a refresh.
    Registration,
}

/// `ADMIT`: may this call start?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Admit<'a> {
    /// The call.
    pub id: CallId<'a>,
    /// The attempt's number, normally the CSeq; orders requests that travel on different connections.
    pub seq: Option<u32>,
    /// The trunk it comes from or goes to.
    pub trunk: Option<Name<'a>>,
    /// The tenant it belongs to.
    pub tenant: Option<Name<'a>>,
    /// Call or registration.
    pub kind: Kind,
    /// It is a WebRTC session.
    pub webrtc: bool,
    /// The session-license type; the profile's default for the kind if left out. One that isn't known is refused, not an
    /// error: a proxy takes an error for silence, and would let the call pass without a license.
    pub license_type: Option<Name<'a>>,
    /// How many units of that type, 1 to [`UNITS_MAX`].
    pub units: u16,
    /// An emergency call: never refused, always counted.
    pub emergency: bool,
    /// May use the headroom.
    pub priority: bool,
    /// Lease in seconds, in place of the setup and the talk lease; a registration's Expires.
    pub ttl_s: Option<u32>,
    /// It is encrypted (counts under export control where only encrypted sessions count).
    pub encrypted: bool,
    /// The proxy that asks.
    pub proxy: Option<Name<'a>>,
    /// After this wall time the answer is of no use to the proxy.
    pub deadline: Option<UnixMillis>,
}

impl<'a> Admit<'a> {
    /// An ordinary call of this id, with every option at its default.
    #[must_use]
    pub const fn call(id: CallId<'a>) -> Self {
        Self {
            id,
            seq: None,
            trunk: None,
            tenant: None,
            kind: Kind::Call,
            webrtc: false,
            license_type: None,
            units: 1,
            emergency: false,
            priority: false,
            ttl_s: None,
            encrypted: false,
            proxy: None,
            deadline: None,
        }
    }
}

/// A request that the gate decides. Front ends make these, [`Gate::run`](super::Gate::run) answers them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request<'a> {
    /// May this call start?
    Admit(Admit<'a>),
    /// It was answered: the setup lease becomes a talk lease.
    Confirm {
        /// The call.
        id: CallId<'a>,
        /// Ignored if lower than the live call's.
        seq: Option<u32>,
        /// The talk lease in seconds, in place of the configured one.
        ttl_s: Option<u32>,
    },
    /// It ended.
    Release {
        /// The call.
        id: CallId<'a>,
        /// Ignored if lower than the live call's.
        seq: Option<u32>,
    },
    /// It still lives: its lease starts again, and it is no longer suspect.
    Refresh {
        /// The call.
        id: CallId<'a>,
    },
}

impl<'a> Request<'a> {
    /// The call it is about.
    #[must_use]
    pub const fn id(&self) -> CallId<'a> {
        match self {
            Self::Admit(admit) => admit.id,
            Self::Confirm { id, .. } | Self::Release { id, .. } | Self::Refresh { id } => *id,
        }
    }
}

/// The gate's answer to one [`Request`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// To an `ADMIT`.
    Decision(Decision),
    /// To a `CONFIRM`, `RELEASE` or `REFRESH`: whether the call was known (or released).
    Known(bool),
}

/// Whether a call may start, why, and what to tell the caller if not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// It may start.
    pub admitted: bool,
    /// Why.
    pub cause: Cause,
    /// The SIP status to refuse with; 0 if admitted.
    pub sip_status: u16,
    /// Seconds for a Retry-After header; 0 for none.
    pub retry_after_s: u16,
    /// Seconds until the slot is freed unless the call is confirmed or refreshed; 0 if refused.
    pub lease_s: u32,
}

macro_rules! causes {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// Why a request was answered as it was. The names are part of the interface.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Cause {
            $($(#[$doc])* $variant,)*
        }

        impl Cause {
            /// Every cause, in the order of their codes.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The name that proxies, metrics and logs see.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

causes! {
    /// Admitted.
    Ok = "ok",
    /// Admitted before: a retransmission, which consumes nothing.
    Duplicate = "duplicate",
    /// Admitted as an emergency call, whatever the limits say.
    Emergency = "emergency",
    /// The node's calls per second.
    Cps = "cps",
    /// The node's concurrent session licenses.
    Sessions = "sessions",
    /// The trunk's calls per second.
    TrunkCps = "trunk-cps",
    /// The trunk's concurrent sessions.
    TrunkSessions = "trunk-sessions",
    /// The tenant's calls per second.
    TenantCps = "tenant-cps",
    /// The tenant's concurrent sessions.
    TenantSessions = "tenant-sessions",
    /// Export control's limit was reached.
    ExportControl = "export-control",
    /// WebRTC sessions: their limit was reached, or they are off under export control.
    Webrtc = "webrtc",
    /// Licensing is off, and the profile admits nothing without it.
    Unconfigured = "unconfigured",
    /// The evaluation period is used up.
    EvaluationExpired = "evaluation-expired",
    /// The authorization expired.
    AuthorizationExpired = "authorization-expired",
    /// The reservation expired.
    ReservationExpired = "reservation-expired",
    /// The profile's enforcement after a grace period.
    Enforced = "enforced",
    /// The license manager revoked this instance.
    Revoked = "revoked",
    /// The sidecar is shutting down, or was drained by its operator.
    Draining = "draining",
    /// The request came after its own deadline.
    Deadline = "deadline",
    /// A later message about this call was already handled.
    Late = "late",
    /// A table is full.
    Capacity = "capacity",
    /// An unknown trunk, under `strict_trunks`.
    UnknownTrunk = "unknown-trunk",
    /// An unknown tenant, under `strict_trunks`.
    UnknownTenant = "unknown-tenant",
    /// A license type that neither the profile nor the configuration has.
    UnknownType = "unknown-type",
}

impl Cause {
    /// How many there are.
    pub const COUNT: usize = Self::ALL.len();

    /// Its code: its place in [`Cause::ALL`].
    #[must_use]
    #[expect(clippy::as_conversions, reason = "a fieldless repr(u8) enum's discriminant")]
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The cause with this code.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code)).copied()
    }

    /// The cause of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|cause| cause.name() == name)
    }

    /// Whether a call with this cause was admitted (outside shadow mode).
    #[must_use]
    pub const fn admits(self) -> bool {
        matches!(self, Self::Ok | Self::Duplicate | Self::Emergency)
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
