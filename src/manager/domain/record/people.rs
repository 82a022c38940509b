//! Users, API keys, alerts, and what the service itself remembers.

use serde::{Deserialize, Serialize};

use crate::manager::domain::ids::{ApiKeyId, UserId, VirtualAccountId};
use crate::protocol::{KeyUse, PublicKey, TokenHash};
use crate::units::UnixMillis;

/// What somebody may do; each may do what those before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Look.
    Viewer,
    /// Tokens, instances, alerts, reports.
    Operator,
    /// Licenses, tags, virtual accounts.
    LicenseAdmin,
    /// Everything: users, API keys, policy, signing keys.
    Owner,
}

impl Role {
    /// All of them, the least first.
    pub const ALL: [Self; 4] = [Self::Viewer, Self::Operator, Self::LicenseAdmin, Self::Owner];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::LicenseAdmin => "license_admin",
            Self::Owner => "owner",
        }
    }
}

/// A user.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// The id.
    pub id: UserId,
    /// The name to log in with, unique.
    pub name: String,
    /// What the user may do.
    pub role: Role,
    /// The password's hash, as whoever hashes it wrote it.
    pub password_hash: String,
    /// May not log in.
    pub disabled: bool,
    /// When made.
    pub created_at: UnixMillis,
    /// When the password was last set.
    pub password_at: UnixMillis,
}

impl std::fmt::Debug for User {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "User({} {:?} {})", self.id, self.name, self.role.name())
    }
}

/// An API key. The key itself is nowhere; this is its SHA-256.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiKey {
    /// The id.
    pub id: ApiKeyId,
    /// What it is for.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// The beginning of the key, by which people know it.
    pub prefix: String,
    /// The SHA-256 of the whole key.
    pub hash: TokenHash,
    /// Who made it.
    pub created_by: String,
    /// When made.
    pub created_at: UnixMillis,
    /// When it ends.
    pub expires_at: Option<UnixMillis>,
    /// When it was revoked.
    pub revoked_at: Option<UnixMillis>,
}

/// How bad an alert is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// To know.
    Info,
    /// Something will happen unless somebody acts.
    Warning,
    /// Something doesn't work.
    Major,
    /// Calls may be refused.
    Critical,
}

/// What an alert is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlertKind {
    /// More is requested than was bought.
    InsufficientLicenses,
    /// A term ends within 90 days.
    LicensesExpiring,
    /// A term ended.
    LicensesExpired,
    /// An instance was not heard of for 90 days.
    ProductInstanceFailedToConnect,
    /// An instance did not renew its id certificate and was removed.
    FailedToRenew,
    /// A satellite did not synchronize.
    SynchronizationOverdue,
    /// A satellite was removed.
    SatelliteRemoved,
    /// A satellite's authorization file is ready.
    SatelliteAuthorizationFileReady,
    /// Something waits for an operator's permission.
    AuthorizationPending,
    /// A reserved license ended.
    ReservedLicenseExpired,
    /// Reserved licenses came back.
    ReservedLicensesReturned,
    /// Two hosts speak with one identity.
    DuplicateLicenses,
    /// A certificate of this manager is shown for what it doesn't know.
    UnknownProductInstance,
    /// The clock leapt ahead and is not trusted yet.
    ClockDoubtful,
    /// Nearly as many instances are known as may be.
    ProductInstancesNearlyFull,
    /// The key that signs must be replaced, and what is needed for it isn't here.
    SigningKeyRotationDue,
}

impl AlertKind {
    /// Its title, as people know it.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::InsufficientLicenses => "Insufficient Licenses",
            Self::LicensesExpiring => "Licenses Expiring",
            Self::LicensesExpired => "Licenses Expired",
            Self::ProductInstanceFailedToConnect => "Product Instance Failed to Connect",
            Self::FailedToRenew => "Failed to Renew",
            Self::SynchronizationOverdue => "Synchronization Overdue",
            Self::SatelliteRemoved => "Satellite removed",
            Self::SatelliteAuthorizationFileReady => "Satellite Authorization File Ready",
            Self::AuthorizationPending => "Authorization Pending",
            Self::ReservedLicenseExpired => "Reserved License Expired",
            Self::ReservedLicensesReturned => "Reserved Licenses Returned",
            Self::DuplicateLicenses => "Duplicate Licenses",
            Self::UnknownProductInstance => "Unknown Product Instance",
            Self::ClockDoubtful => "Clock Doubtful",
            Self::ProductInstancesNearlyFull => "Product Instances Nearly Full",
            Self::SigningKeyRotationDue => "Signing Key Rotation Due",
        }
    }

    /// Its name in ids.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::InsufficientLicenses => "insufficient_licenses",
            Self::LicensesExpiring => "licenses_expiring",
            Self::LicensesExpired => "licenses_expired",
            Self::ProductInstanceFailedToConnect => "product_instance_failed_to_connect",
            Self::FailedToRenew => "failed_to_renew",
            Self::SynchronizationOverdue => "synchronization_overdue",
            Self::SatelliteRemoved => "satellite_removed",
            Self::SatelliteAuthorizationFileReady => "satellite_authorization_file_ready",
            Self::AuthorizationPending => "authorization_pending",
            Self::ReservedLicenseExpired => "reserved_license_expired",
            Self::ReservedLicensesReturned => "reserved_licenses_returned",
            Self::DuplicateLicenses => "duplicate_licenses",
            Self::UnknownProductInstance => "unknown_product_instance",
            Self::ClockDoubtful => "clock_doubtful",
            Self::ProductInstancesNearlyFull => "product_instances_nearly_full",
            Self::SigningKeyRotationDue => "signing_key_rotation_due",
        }
    }
}

/// Something that somebody should know or do. One per kind and source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alert {
    /// Its id: kind and source.
    pub id: String,
    /// What it is about.
    pub kind: AlertKind,
    /// How bad.
    pub severity: Severity,
    /// Where, as a path below the operator API's base: `/instances/pi-…`.
    pub source: String,
    /// In which virtual account.
    pub virtual_account: Option<VirtualAccountId>,
    /// What is, for people.
    pub text: String,
    /// What to do.
    pub action: String,
    /// Until when.
    pub due: Option<UnixMillis>,
    /// Since when.
    pub raised_at: UnixMillis,
    /// Who said that it is known, and when.
    pub acknowledged: Option<(String, UnixMillis)>,
}

/// What is known of a signing key; never the key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyMeta {
    /// Its short name.
    pub kid: String,
    /// The public key.
    pub key: PublicKey,
    /// What it may sign; `None` is the root.
    pub key_use: Option<KeyUse>,
    /// Good from.
    pub not_before: UnixMillis,
    /// Good to.
    pub not_after: UnixMillis,
    /// Whether it signs.
    pub state: KeyState,
    /// When it was made.
    pub created_at: UnixMillis,
}

/// Whether a key signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyState {
    /// It signs.
    Active,
    /// It signs no more; what it signed is good until it ends.
    Retiring,
    /// Nothing that it signed counts.
    Revoked,
}

/// A setting of the service, opaque here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
}
