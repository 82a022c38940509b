//! The messages, and what each member means. Times are milliseconds since the Unix epoch, counts are licenses.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use super::entropy::Entropy;
use super::envelope::{Envelope, Typ};
use super::grant::Grant;
use super::keys::PublicKey;
use super::token::RegistrationToken;
use super::udi::Udi;
use crate::units::UnixMillis;

/// Sixteen random bytes by which an answer names its request.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Nonce([u8; 16]);

impl Nonce {
    /// A new one.
    #[must_use]
    pub fn generate(entropy: &mut Entropy) -> Self {
        Self(entropy.bytes())
    }
}

impl fmt::Debug for Nonce {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl Serialize for Nonce {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl<'de> Deserialize<'de> for Nonce {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = URL_SAFE_NO_PAD.decode(&text).ok().and_then(|bytes| <[u8; 16]>::try_from(bytes).ok());
        bytes.map(Self).ok_or_else(|| serde::de::Error::custom("not a nonce; accepted: 16 bytes in base64url"))
    }
}

/// Where a request goes, and what it must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Endpoint {
    /// `POST /v1/agent/registration`, authenticated by its token.
    Registration,
    /// `POST /v1/agent/entitlement`.
    Entitlement,
    /// `POST /v1/agent/renew`.
    Renew,
    /// `POST /v1/agent/report`.
    Report,
    /// `POST /v1/agent/deregistration`.
    Deregistration,
    /// `POST /v1/agent/ack`.
    Ack,
}

impl Endpoint {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Registration, Self::Entitlement, Self::Renew, Self::Report, Self::Deregistration, Self::Ack];

    /// Its path below the manager's base address.
    #[must_use]
    pub const fn path(self) -> &'static str {
        match self {
            Self::Registration => "/v1/agent/registration",
            Self::Entitlement => "/v1/agent/entitlement",
            Self::Renew => "/v1/agent/renew",
            Self::Report => "/v1/agent/report",
            Self::Deregistration => "/v1/agent/deregistration",
            Self::Ack => "/v1/agent/ack",
        }
    }

    /// The type of its request.
    #[must_use]
    pub const fn request(self) -> Typ {
        match self {
            Self::Registration => Typ::Registration,
            Self::Entitlement => Typ::Entitlement,
            Self::Renew => Typ::Renew,
            Self::Report => Typ::Report,
            Self::Deregistration => Typ::Deregistration,
            Self::Ack => Typ::Ack,
        }
    }

    /// The type of its answer, unless it is a [`Refusal`].
    #[must_use]
    pub const fn answer(self) -> Typ {
        match self {
            Self::Registration => Typ::RegistrationAnswer,
            Self::Entitlement | Self::Report => Typ::GrantAnswer,
            Self::Renew => Typ::RenewAnswer,
            Self::Deregistration => Typ::DeregistrationAnswer,
            Self::Ack => Typ::AckAnswer,
        }
    }
}

/// What every request begins with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestHeader {
    /// Who asks.
    pub udi: Udi,
    /// Rises by one with each message of this instance key.
    pub seq: u64,
    /// New for each try.
    pub nonce: Nonce,
    /// When it was sent, by the agent's effective time.
    pub sent_at: UnixMillis,
    /// The agent's version.
    pub agent_version: String,
}

/// What every answer begins with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnswerHeader {
    /// The nonce of the request.
    pub in_reply_to: Nonce,
    /// Who asked.
    pub udi: Udi,
    /// The `seq` of the request.
    pub seq: u64,
    /// When it was answered, by the manager's clock.
    pub issued_at: UnixMillis,
    /// The most evaluation seconds that this instance has ever reported as used.
    pub eval_used_s: u64,
    /// When the manager would like to hear from it next, in seconds; it may only extend a schedule.
    pub next_contact_hint_s: Option<u64>,
    /// The version of the manager's policy.
    pub policy_version: u64,
}

/// Which host this is, for people; what privacy withholds is `None`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct InstanceInfo {
    /// The host's name.
    pub hostname: Option<String>,
    /// The product profile's name.
    pub profile: String,
    /// The product's version.
    pub version: String,
    /// The names of the product's entitlement tags.
    pub tags: Vec<String>,
    /// Production or lab.
    pub usage: String,
    /// A keyed hash of the machine's identity; never the identity itself.
    pub fingerprint: String,
    /// What its profile makes of a removal, so that the manager can say so before anybody confirms one.
    #[serde(default)]
    pub removal: Option<RemovalEffect>,
}

/// What a product does when the manager ends its registration, as its profile says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemovalEffect {
    /// Seconds of evaluation that the profile grants in all; what of it is used stands in the messages.
    pub evaluation_s: u64,
    /// What happens once no evaluation is left: `reject_new`, `reject_new_registrations`, `config_freeze` or `notify`.
    pub expired_effect: String,
    /// Seconds after the removal before anything is refused.
    pub grace_s: u64,
}

/// `registration`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegistrationRequest {
    /// Who, when.
    pub header: RequestHeader,
    /// By what right.
    pub token: RegistrationToken,
    /// PKCS#10 (RFC 2986) in base64, signed by the instance key, which signs the envelope too.
    pub certificate_request_b64: String,
    /// Which host.
    pub info: InstanceInfo,
    /// Register although the UDI is registered with another key or in another virtual account.
    pub force: bool,
    /// Evaluation seconds used so far.
    pub eval_used_s: u64,
    /// The highest grant `seq` it ever held.
    pub last_grant_seq: u64,
}

/// Answer to `registration`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegistrationAnswer {
    /// To what.
    pub header: AnswerHeader,
    /// The manager's name for the instance.
    pub instance: String,
    /// The smart account's name.
    pub account: String,
    /// The virtual account's name.
    pub virtual_account: String,
    /// The id certificate and those above it up to, without, the root: DER in base64.
    pub certificate_chain_b64: Vec<String>,
    /// The root's certificate, DER in base64. Trusted on first registration, or if it is the one configured.
    pub root_b64: String,
    /// The root's public key.
    pub root: PublicKey,
    /// Which issuer keys are good, signed by the root.
    pub key_set: Envelope,
    /// The token's export flag.
    pub export_allowed: bool,
}

/// So many licenses of a tag.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TagRequest {
    /// The entitlement tag.
    pub tag: String,
    /// Licenses asked for.
    pub requested: u64,
    /// Only if they are there: what isn't is no shortage, and a tag that the manager doesn't know is no fault.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub optional: bool,
}

/// `entitlement`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntitlementRequest {
    /// Who, when.
    pub header: RequestHeader,
    /// What is asked for. It replaces what was asked for before; a tag left out is given back.
    pub tags: Vec<TagRequest>,
    /// Evaluation seconds used so far.
    pub eval_used_s: u64,
    /// The highest grant `seq` it ever held.
    pub last_grant_seq: u64,
}

/// Answer to `entitlement` and to `report`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantAnswer {
    /// To what.
    pub header: AnswerHeader,
    /// What is granted.
    pub grant: Grant,
    /// A key set newer than the one at registration.
    pub key_set: Option<Envelope>,
}

/// Use of one tag since the last report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TagReport {
    /// The entitlement tag.
    pub tag: String,
    /// Licenses asked for.
    pub requested: u64,
    /// What the profile reports as used, in licenses.
    pub reported: u64,
    /// The highest use observed, in licenses; above `reported` only where the profile caps it.
    pub observed_peak: u64,
    /// When that was.
    pub peak_at: Option<UnixMillis>,
    /// The 95th percentile of the samples, in licenses.
    pub p95: u64,
    /// How many samples.
    pub samples: u64,
    /// What is requested after the next change of configuration takes effect (profiles that report current and next).
    pub next: Option<u64>,
    /// Licenses lent to other members of a cluster, and so in use there for all that the lender knows: what they report at most
    /// as their own doesn't hold it.
    #[serde(default, skip_serializing_if = "is_none")]
    pub lent_used: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
const fn is_none(count: &u64) -> bool {
    *count == 0
}

/// `report`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportRequest {
    /// Who, when.
    pub header: RequestHeader,
    /// The beginning of the interval.
    pub from: UnixMillis,
    /// Its end.
    pub until: UnixMillis,
    /// Use by tag.
    pub tags: Vec<TagReport>,
    /// Evaluation seconds used so far.
    pub eval_used_s: u64,
    /// The highest grant `seq` it ever held.
    pub last_grant_seq: u64,
}

/// `renew`: of the id certificate, with a new key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RenewRequest {
    /// Who, when.
    pub header: RequestHeader,
    /// PKCS#10 in base64, signed by the new key; the envelope is signed by the present one.
    pub certificate_request_b64: String,
    /// Which host. What privacy withholds now, the manager erases.
    pub info: InstanceInfo,
}

/// Answer to `renew`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RenewAnswer {
    /// To what.
    pub header: AnswerHeader,
    /// As in [`RegistrationAnswer`].
    pub certificate_chain_b64: Vec<String>,
    /// As in [`RegistrationAnswer`].
    pub key_set: Envelope,
}

/// `deregistration`: gives everything back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeregistrationRequest {
    /// Who, when.
    pub header: RequestHeader,
    /// The virtual account to leave; in another one the instance stays registered.
    pub virtual_account: String,
    /// Evaluation seconds used so far.
    pub eval_used_s: u64,
}

/// Answer to `deregistration`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeregistrationAnswer {
    /// To what.
    pub header: AnswerHeader,
}

/// What an acknowledgement says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum Acknowledged {
    /// The registration's answer was stored.
    Registration {
        /// The instance's name in it.
        instance: String,
    },
    /// A grant of this epoch is in force: what it took away is no longer used.
    Grant {
        /// The entitlement tag.
        tag: String,
        /// The grant's epoch for it.
        epoch: u64,
        /// Licenses that are in force.
        effective: u64,
    },
}

/// `ack`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledgement {
    /// Who, when.
    pub header: RequestHeader,
    /// What happened.
    pub acknowledged: Acknowledged,
}

/// Answer to `ack`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AckAnswer {
    /// To what.
    pub header: AnswerHeader,
}

/// Why a manager says no. It is signed like any answer: what is not signed is a failure of the way, not a no.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefusalCode {
    /// No such token.
    TokenUnknown,
    /// Its time is over.
    TokenExpired,
    /// Somebody revoked it.
    TokenRevoked,
    /// It registered as many instances as it may.
    TokenUsedUp,
    /// It is for other products.
    TokenNotForProduct,
    /// It is for other networks.
    TokenNotFromHere,
    /// The UDI is registered with another key or in another virtual account; `force` would take it over.
    AlreadyRegistered,
    /// The account doesn't hold this product.
    ProductNotAllowed,
    /// A second identity of the same machine, and the account doesn't allow another evaluation for it.
    MachineKnown,
    /// The manager doesn't know the instance, or removed it.
    InstanceRemoved,
    /// Another host registered with the same identity after this one.
    Duplicate,
    /// The id certificate was revoked or replaced, or has expired.
    CertificateRevoked,
    /// A `seq` or a nonce that was used before.
    Replayed,
    /// `sent_at` is too far from the manager's clock.
    ClockSkew,
    /// The signature is not the instance's.
    BadSignature,
    /// The request cannot be understood.
    BadRequest,
    /// Too many requests; `retry_after_s` says when.
    Busy,
}

impl RefusalCode {
    /// The registration is over: the instance was removed or revoked.
    #[must_use]
    pub const fn ends_registration(self) -> bool {
        matches!(self, Self::InstanceRemoved | Self::Duplicate | Self::CertificateRevoked)
    }

    /// The same request may succeed later without anybody changing anything.
    #[must_use]
    pub const fn is_passing(self) -> bool {
        matches!(self, Self::Busy | Self::ClockSkew | Self::Replayed)
    }

    /// Its name, as in messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::TokenUnknown => "token_unknown",
            Self::TokenExpired => "token_expired",
            Self::TokenRevoked => "token_revoked",
            Self::TokenUsedUp => "token_used_up",
            Self::TokenNotForProduct => "token_not_for_product",
            Self::TokenNotFromHere => "token_not_from_here",
            Self::AlreadyRegistered => "already_registered",
            Self::ProductNotAllowed => "product_not_allowed",
            Self::MachineKnown => "machine_known",
            Self::InstanceRemoved => "instance_removed",
            Self::Duplicate => "duplicate",
            Self::CertificateRevoked => "certificate_revoked",
            Self::Replayed => "replayed",
            Self::ClockSkew => "clock_skew",
            Self::BadSignature => "bad_signature",
            Self::BadRequest => "bad_request",
            Self::Busy => "busy",
        }
    }
}

/// A signed no, with an HTTP status of 4xx or 503.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The nonce of the request, if it could be read.
    pub in_reply_to: Option<Nonce>,
    /// Who asked, if it could be read.
    pub udi: Option<Udi>,
    /// When, by the manager's clock.
    pub issued_at: UnixMillis,
    /// Why.
    pub code: RefusalCode,
    /// The same for people, with what was found and what is accepted.
    pub text: String,
    /// Not before so many seconds.
    pub retry_after_s: Option<u64>,
    /// For an agent that holds no key set yet: which keys are good.
    pub key_set: Option<Envelope>,
    /// The root's public key, for an agent that holds none yet.
    pub root: Option<PublicKey>,
}
