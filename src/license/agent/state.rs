//! What the agent knows, and what of it is kept.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::license::usage::Usage;
use crate::license::{Effect, EvaluationAccount, Profile, TierSpec};
use crate::protocol::{Endpoint, Grant, KeySet, PublicKey, RefusalCode, RegistrationToken, Udi};
use crate::units::UnixMillis;

use super::action::{AlarmKind, TransportStep};

/// What the configuration says to the agent. Replaced as a whole by [`Command::Configure`](super::Command::Configure).
#[derive(Debug, Clone)]
pub struct Setup {
    /// The product.
    pub profile: Arc<Profile>,
    /// Licensing is on; `None`: as the profile or an earlier `enable`/`disable` says.
    pub enabled: Option<bool>,
    /// Production or lab.
    pub usage: UsageClass,
    /// What is asked for, by license type.
    pub requested: Vec<Requested>,
    /// The product's export-control limit applies: the entitlement that lifts it is wanted.
    pub export_control: bool,
    /// Overage is admitted, where the profile lets the operator say.
    pub overage_allowed: bool,
    /// The types of which the operator says it otherwise, by name. Not part of what is asked for: no manager is told.
    pub overage_of: BTreeMap<String, bool>,
    /// How the manager is reached.
    pub transport: TransportClass,
    /// Where manager and proxy are.
    pub addresses: Addresses,
    /// This host's name.
    pub hostname: String,
    /// The name is not told to the manager.
    pub withhold_hostname: bool,
    /// A new host name renews the registration by itself.
    pub renew_on_hostname_change: bool,
    /// Retries are spread by 10 % either way, derived from the UDI.
    pub retry_jitter: bool,
    /// The root to trust; `None`: the one of the first registration.
    pub trusted_root: Option<PublicKey>,
    /// The product's version.
    pub version: String,
    /// A keyed hash of the machine's identity.
    pub fingerprint: String,
}

/// So much of one license type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requested {
    /// The type's name in the profile or the configuration.
    pub type_name: String,
    /// Its entitlement tag.
    pub tag: String,
    /// Units (calls per second, sessions, ports); `None`: not limited, and what is used is asked for.
    pub units: Option<u32>,
    /// Units that one license covers.
    pub per_license: u32,
    /// Its place in an ordered family.
    #[serde(default)]
    pub tier: Option<TierSpec>,
}

/// Production or lab, chosen before registration; part of the tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UsageClass {
    /// For real calls.
    #[default]
    Production,
    /// For tests: tags end in `.lab`.
    Lab,
}

/// By which way the manager is reached. Some products must deregister before it changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TransportClass {
    /// Straight to a cloud manager.
    #[default]
    Direct,
    /// To one on the premises.
    OnPrem,
    /// Through an HTTP proxy.
    Proxy,
}

impl TransportClass {
    /// Its name in `license.transport`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::OnPrem => "on_prem",
            Self::Proxy => "proxy",
        }
    }
}

/// Where manager and proxy are, without user and password.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Addresses {
    /// The manager's URL.
    pub url: Option<String>,
    /// The proxy's address.
    pub proxy: Option<String>,
}

/// Region C: whether licensing is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Client {
    /// Off.
    Disabled,
    /// On.
    Enabled,
    /// On, by reservation, without contact.
    Reservation,
}

/// Region R: registration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "is")]
pub enum Registration {
    /// None.
    Unregistered,
    /// Asked for, not answered.
    Pending,
    /// Refused by the manager.
    Failed {
        /// Why.
        failure: Failure,
    },
    /// Registered.
    Registered,
    /// The id certificate expired.
    Expired,
}

/// Region A: authorization.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Authorization {
    /// No licenses in use.
    None,
    /// Evaluation runs.
    Evaluation,
    /// Evaluation is used up.
    EvaluationExpired,
    /// Registered, and no grant yet.
    Waiting,
    /// Granted.
    Authorized,
    /// Granted, and the account is short.
    OutOfCompliance,
    /// No contact for too long.
    AuthorizationExpired,
    /// By reservation.
    Reserved,
    /// A reservation whose terms have ended.
    ReservationExpired,
}

/// Region E: what licensing does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "is")]
pub enum Enforced {
    /// Nothing.
    Normal,
    /// People are told; nothing is refused.
    Notify,
    /// Nothing is refused until a deadline.
    Overage {
        /// When.
        until: UnixMillis,
    },
    /// An effect is in force.
    Enforced {
        /// Which.
        effect: Effect,
        /// Since when.
        since: UnixMillis,
    },
}

/// A failure of a contact or a command, kept for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// A short name: a [`RefusalCode`]'s, a [`TransportStep`]'s, or a verification's.
    pub code: String,
    /// What was found, what is accepted, what to do.
    pub text: String,
    /// When, by effective time.
    pub at: UnixMillis,
}

impl Failure {
    /// One that a manager said.
    #[must_use]
    pub fn refused(code: RefusalCode, text: &str, at: UnixMillis) -> Self {
        Self { code: code.name().to_owned(), text: text.to_owned(), at }
    }

    /// One of the way there.
    #[must_use]
    pub fn transport(step: TransportStep, text: &str, at: UnixMillis) -> Self {
        Self { code: step.name().to_owned(), text: text.to_owned(), at }
    }
}

/// The instance's identity. The keys are secret: the store encrypts, `Debug` shows none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The seed of the instance key.
    pub key_seed: Secret,
    /// A key that a renewal asked a certificate for.
    pub pending: Option<PendingKey>,
    /// The id certificate and those above it, DER in base64; empty while unregistered.
    pub certificate_chain_b64: Vec<String>,
    /// The root that is trusted since the first registration.
    pub root: Option<PublicKey>,
    /// Its certificate, DER in base64, as the registration's answer brought it.
    pub root_certificate_b64: Option<String>,
    /// Which issuer keys are good.
    pub key_set: Option<KeySet>,
    /// When the certificate became valid.
    pub valid_from: Option<UnixMillis>,
    /// When it ends.
    pub valid_to: Option<UnixMillis>,
}

/// A key that is not certified yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingKey {
    /// Its seed.
    pub seed: Secret,
}

/// Thirty-two secret bytes. `Debug` shows nothing.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, zeroize::Zeroize, zeroize::ZeroizeOnDrop)]
#[serde(transparent)]
pub struct Secret(pub [u8; 32]);

impl std::fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Secret(..)")
    }
}

/// Where it is registered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    /// The manager's name for this instance.
    pub instance: String,
    /// The smart account.
    pub account: String,
    /// The virtual account.
    pub virtual_account: String,
    /// The export flag of the token, or of the newest grant.
    pub export_allowed: bool,
    /// When it was registered first.
    pub registered_at: UnixMillis,
    /// When the registration was renewed last.
    pub renewed_at: Option<UnixMillis>,
    /// By which way.
    pub transport: TransportClass,
    /// The addresses on that way, as the configuration said last while it said that way.
    #[serde(default)]
    pub addresses: Addresses,
    /// Under which host name; `None` if it was withheld.
    pub hostname: Option<String>,
}

/// A try to reach the manager.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// When.
    pub at: UnixMillis,
    /// What was sent.
    pub endpoint: Endpoint,
    /// `None`: it succeeded.
    pub failure: Option<Failure>,
}

/// How contact with the manager goes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Contact {
    /// The newest verified answer to an entitlement request, a report or a renewal.
    pub last_success: Option<UnixMillis>,
    /// The newest authorization that succeeded.
    pub last_authorized: Option<UnixMillis>,
    /// The newest try.
    pub last_attempt: Option<UnixMillis>,
    /// The first of the failures since the last success.
    pub first_failure: Option<UnixMillis>,
    /// How many there are.
    pub failures: u32,
    /// How many of the newest contacts the manager didn't answer at all.
    #[serde(default)]
    pub unheard: u32,
    /// The first failure of a renewal of the id certificate since the last that succeeded.
    pub id_first_failure: Option<UnixMillis>,
    /// The last five tries, newest last.
    pub attempts: Vec<Attempt>,
}

/// Absolute effective times. Stored, and armed again at start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Deadlines {
    /// Registration is tried again.
    pub registration_retry: Option<UnixMillis>,
    /// Authorization is renewed, or tried again.
    pub authorization_due: Option<UnixMillis>,
    /// Authorization expires.
    pub authorization_expiry: Option<UnixMillis>,
    /// The id certificate is renewed, or tried again.
    pub id_renewal_due: Option<UnixMillis>,
    /// It expires.
    pub id_expiry: Option<UnixMillis>,
    /// Overage that being out of compliance began ends. Set at the first time, and kept.
    pub overage_end: Option<UnixMillis>,
    /// Overage that an expired authorization began ends.
    pub authorization_overage_end: Option<UnixMillis>,
    /// The overage deadline is forgotten, if it stays in compliance until then.
    pub overage_forgotten: Option<UnixMillis>,
    /// The next report.
    pub report_due: Option<UnixMillis>,
    /// The next sample.
    pub sample_due: Option<UnixMillis>,
    /// Over-use began.
    pub over_use_since: Option<UnixMillis>,
    /// A fixed evaluation after deregistration ends.
    pub deregistered_evaluation_end: Option<UnixMillis>,
    /// What the manager took away takes effect.
    pub revocation_grace_end: Option<UnixMillis>,
}

/// Counts of one kind of message. Created = success + failed + in queue + dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct MessageStatistics {
    /// Sent, and the answer was accepted.
    pub success: u64,
    /// Not sent, or answered with an error.
    pub failed: u64,
    /// Waiting.
    pub in_queue: u64,
    /// Not sent because of the configuration.
    pub dropped: u64,
    /// When one was sent last.
    pub last_sent: Option<UnixMillis>,
}

/// Everything the agent keeps between starts, but the usage samples. A field that came later has a default (an `Option` is
/// one): a state of an earlier version is understood.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentState {
    /// Who this is.
    pub udi: Udi,
    /// A keyed hash of the machine that this identity was made on.
    pub fingerprint: String,
    /// Region C.
    pub client: Client,
    /// Region R.
    pub registration: Registration,
    /// Region A.
    pub authorization: Authorization,
    /// Region E.
    pub enforced: Enforced,
    /// The evaluation account.
    pub evaluation: EvaluationAccount,
    /// The largest effective time. What only the wall clock brought can be taken back by signed time.
    pub high_water: UnixMillis,
    /// The boot clock then, in milliseconds: in the same boot it says how much time passed between two runs.
    #[serde(default)]
    pub high_water_tick_ms: u64,
    /// The highest signed time, and what ran since. Effective time never goes below.
    #[serde(default)]
    pub signed_high_water: UnixMillis,
    /// Keys and certificates.
    pub identity: Identity,
    /// Where it is registered.
    pub membership: Option<Membership>,
    /// The token of a registration that is not answered yet.
    pub token: Option<RegistrationToken>,
    /// The pending registration takes over what is registered otherwise.
    #[serde(default)]
    pub force: bool,
    /// What was asked for in the newest request that was answered: what the grant in force speaks of.
    #[serde(default)]
    pub requested: Vec<Requested>,
    /// What was asked for since, and is not answered: the manager may have heard it or not.
    #[serde(default)]
    pub asked: Option<Vec<Requested>>,
    /// The grant in force.
    pub grant: Option<Grant>,
    /// The highest grant number ever seen.
    pub last_grant_seq: u64,
    /// The number of the newest message sent.
    pub message_seq: u64,
    /// Contact with the manager.
    #[serde(default)]
    pub contact: Contact,
    /// What is due when.
    #[serde(default)]
    pub deadlines: Deadlines,
    /// Messages by kind.
    #[serde(default)]
    pub statistics: BTreeMap<Endpoint, MessageStatistics>,
    /// The newest failure of any kind.
    pub latest_failure: Option<Failure>,
    /// Events that no rule names, by state and event.
    #[serde(default)]
    pub unexpected: BTreeMap<String, u64>,
    /// Alarms that an event raised and another ends: since when, and what was found.
    #[serde(default)]
    pub standing: BTreeMap<AlarmKind, Standing>,
    /// Deadlines that people were told of: the smallest mark told, in seconds before the deadline.
    #[serde(default)]
    pub warned: BTreeMap<String, u64>,
    /// Deregistration that the manager hasn't heard of.
    pub goodbye: Option<Goodbye>,
    /// The end of the interval of the last report that was answered.
    pub reported_until: Option<UnixMillis>,
    /// A deregistration is under way.
    pub leaving: Option<Leaving>,
}

/// Why a deregistration was begun, and so what follows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Leaving {
    /// The operator gave the licenses back.
    Deregister,
    /// Factory reset: licensing is then as the profile sets it.
    FactoryReset,
}

/// What the store found. Everything of it may be missing.
#[derive(Debug, Default)]
pub struct Stored {
    /// The state.
    pub state: Option<Box<AgentState>>,
    /// An evaluation account that was kept apart from it. The higher time used counts.
    pub account: Option<EvaluationAccount>,
    /// What was used before.
    pub usage: Option<Usage>,
    /// One of the copies was missing or damaged, and another was taken: why, for people.
    pub restored: Option<String>,
}

/// An alarm that stands until an event ends it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// Since when.
    pub since: UnixMillis,
    /// What was found.
    pub detail: String,
}

/// A deregistration to be told to the manager once it is seen again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Goodbye {
    /// The virtual account that was left.
    pub virtual_account: String,
    /// The id certificate that it is told with, and those above it.
    pub certificate_chain_b64: Vec<String>,
    /// Its key.
    pub key_seed: Secret,
    /// The root that those keys are trusted by.
    #[serde(default)]
    pub root: Option<PublicKey>,
    /// The keys that may sign the answer.
    pub key_set: KeySet,
    /// When it is tried next.
    pub due: UnixMillis,
    /// When it is given up: the certificate ends.
    pub until: UnixMillis,
}

impl AgentState {
    /// The state's name, in neutral terms: what JSON, metrics and events say.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        if matches!(self.client, Client::Disabled) {
            return "disabled";
        }
        match self.authorization {
            Authorization::None => "no_licenses_in_use",
            Authorization::Evaluation => "evaluation",
            Authorization::EvaluationExpired => "evaluation_expired",
            Authorization::Waiting => "waiting",
            Authorization::Authorized => "authorized",
            Authorization::OutOfCompliance => "out_of_compliance",
            Authorization::AuthorizationExpired => "authorization_expired",
            Authorization::Reserved => "reserved",
            Authorization::ReservationExpired => "reservation_expired",
        }
    }
}

impl Registration {
    /// Its name, in neutral terms.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Unregistered => "unregistered",
            Self::Pending => "pending",
            Self::Failed { .. } => "failed",
            Self::Registered => "registered",
            Self::Expired => "expired",
        }
    }
}
