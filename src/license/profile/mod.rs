//! Product profiles: what differs between products, as data.
//!
//! The shipped ones are files of `config/profiles`, compiled in; an operator's own file has the same keys and is read
//! by the same parser. Nothing asks a profile for its name to decide anything: a difference between products is a key
//! here. What each key means stands in `config/profiles/open.toml`.

mod builtin;
mod effects;
mod sites;
mod timing;
mod types;
mod validate;
mod words;

use serde::{Deserialize, Serialize};

pub use builtin::BuiltinProfile;
pub use effects::{
    Capability, Consequence, Effect, Evaluation, EvaluationExpired, ExitBy, HardCap, OutOfCompliance, Overage, RateCap,
    TicksIn, Unconfigured,
};
pub use sites::{
    ClusterRegistration, ClusterRules, PrivacyItem, ReportCap, ReservationExpiry, ReservationKind, ReservationOveruse,
    ReservationRules, Transport, TransportChange, TransportWay,
};
pub use timing::{
    Auth, AuthExpiry, Dereg, DeregisteredEvaluation, ExpiryBasis, HOUR_S, Id, IdExpired, IdExpiredTo, ReportValue,
    Reporting, Retry, TokenRules,
};
pub use types::{CountSource, LicensedType, TierSpec, TypeKind, TypeUnit};
pub use words::{LicenseWords, Qualifiers, StateWords, SummaryField, Words};

use super::agent::UsageClass;

/// What lab tags end in.
const LAB_SUFFIX: &str = ".lab";

/// The longest entitlement tag, in bytes, without the lab ending.
const TAG_BYTES_MAX: usize = 128;

/// Everything that differs between products.
///
/// ```
/// use callgate::license::{BuiltinProfile, Profile};
/// let cusp = Profile::builtin(BuiltinProfile::Cusp).unwrap();
/// assert!(!cusp.default_enabled);
/// assert_eq!(cusp.eval.hours, 2160);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// Its name, for people.
    pub name: String,
    /// The product id in the UDI.
    pub pid: String,
    /// Licensing is on unless the configuration says otherwise.
    pub default_enabled: bool,
    /// Once on, it stays on.
    pub irreversible: bool,
    /// Emergency calls pass in every state. Only `true` is accepted: nobody sells a product that refuses them.
    pub emergency_exempt: bool,
    /// Whether a rate above the licensed one is refused.
    pub rate_cap: RateCap,
    /// While licensing is off.
    pub unconfigured: Unconfigured,
    /// The evaluation period.
    pub eval: Evaluation,
    /// When it is used up.
    pub eval_expired: EvaluationExpired,
    /// Deregistration.
    pub dereg: Dereg,
    /// The id certificate.
    pub id: Id,
    /// When it has expired.
    pub id_expired: IdExpired,
    /// Authorization.
    pub auth: Auth,
    /// When authorization expires.
    pub auth_expiry: AuthExpiry,
    /// When it has.
    pub auth_expired: Consequence,
    /// More is used than was bought.
    pub ooc: OutOfCompliance,
    /// How soon failed contacts are tried again.
    pub retry: Retry,
    /// Usage reports.
    pub report: Reporting,
    /// Use above the licensed count.
    pub overage: Overage,
    /// Reservation of licenses.
    pub reservation: ReservationRules,
    /// Several nodes.
    pub cluster: ClusterRules,
    /// The ways to the manager.
    pub transport: Transport,
    /// Whether the way can change while registered.
    pub transport_change: TransportChange,
    /// Registration tokens.
    pub token: TokenRules,
    /// Hours that what a manager takes away goes on working.
    pub revoke_grace_hours: u32,
    /// What the product lets an operator keep from the manager; it is kept back all the same where it doesn't.
    pub privacy: Vec<PrivacyItem>,
    /// The export-control limit.
    pub hard_cap: HardCap,
    /// What is licensed.
    #[serde(rename = "type")]
    pub types: Vec<LicensedType>,
    /// The words that people read.
    pub words: Words,
}

/// Why a text is not a profile. Each message names the key, what was found and what is accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProfileError {
    /// Not TOML, or a key is missing, unknown or of the wrong type.
    #[error("profile {origin}: {key}: {message}")]
    Shape {
        /// The file, or the shipped profile's name.
        origin: String,
        /// The key's path.
        key: String,
        /// What is wrong, with the line.
        message: String,
    },
    /// A value that is well formed and not accepted.
    #[error("profile {origin}: {key}: found {found}; accepted: {accepted}")]
    Value {
        /// The file, or the shipped profile's name.
        origin: String,
        /// The key's path.
        key: String,
        /// What was found.
        found: String,
        /// What is accepted.
        accepted: String,
    },
}

impl Profile {
    /// A profile that ships with the program.
    ///
    /// # Errors
    /// Never in a tested build: the shipped files are parsed by a test.
    pub fn builtin(profile: BuiltinProfile) -> Result<Self, ProfileError> {
        Self::parse(profile.text(), profile.name())
    }

    /// A profile from its TOML text; `origin` (a path or a name) appears in errors.
    ///
    /// # Errors
    /// If it is not TOML, if a key is missing or unknown, or if a value is not accepted.
    pub fn parse(text: &str, origin: &str) -> Result<Self, ProfileError> {
        let shape = |key: String, message: String| ProfileError::Shape { origin: origin.to_owned(), key, message };
        let document =
            toml::Deserializer::parse(text).map_err(|error| shape("(syntax)".to_owned(), error.to_string()))?;
        let profile: Self = serde_path_to_error::deserialize(document)
            .map_err(|error| shape(error.path().to_string(), error.inner().to_string().trim_end().to_owned()))?;
        validate::Validation { profile: &profile, origin }.run()?;
        Ok(profile)
    }

    /// The session types, in the order of their ids.
    pub fn session_types(&self) -> impl Iterator<Item = &LicensedType> {
        self.types.iter().filter(|licensed| licensed.unit == TypeUnit::Sessions)
    }

    /// The type that counts calls per second, if the product licenses them.
    #[must_use]
    pub fn rate_type(&self) -> Option<&LicensedType> {
        self.types.iter().find(|licensed| licensed.unit == TypeUnit::CallsPerSecond)
    }

    /// The type of this name.
    #[must_use]
    pub fn type_named(&self, name: &str) -> Option<&LicensedType> {
        self.types.iter().find(|licensed| licensed.name == name)
    }

    /// The entitlement tag of a type: the profile's, or `<profile>.<type>`, for an operator's own types too.
    ///
    /// ```
    /// use callgate::license::{BuiltinProfile, Profile, agent::UsageClass};
    /// let cusp = Profile::builtin(BuiltinProfile::Cusp).unwrap();
    /// assert_eq!(cusp.tag("cps", UsageClass::Production), "cusp.cps");
    /// assert_eq!(cusp.tag("cps", UsageClass::Lab), "cusp.cps.lab");
    /// ```
    #[must_use]
    pub fn tag(&self, type_name: &str, usage: UsageClass) -> String {
        let own = self.type_named(type_name).and_then(|licensed| licensed.tag.clone());
        in_use(own.unwrap_or_else(|| self.derived_tag(type_name)), usage)
    }

    /// The entitlement that lifts export control, together with the token's flag: the profile's, or `<profile>.export`.
    #[must_use]
    pub fn export_tag(&self, usage: UsageClass) -> String {
        in_use(self.hard_cap.entitlement_tag.clone().unwrap_or_else(|| self.derived_tag("export")), usage)
    }

    /// What is used of this type is asked for where no count is configured.
    #[must_use]
    pub fn asks_by_use(&self, type_name: &str) -> bool {
        self.type_named(type_name).is_some_and(|licensed| licensed.by_use)
    }

    /// Characters that a tag may not have become `-`.
    fn derived_tag(&self, type_name: &str) -> String {
        let of = |text: &str| -> String { text.chars().map(|c| if is_tag_char(c) { c } else { '-' }).collect() };
        format!("{}.{}", of(&self.name), of(type_name))
    }

    /// Seconds that what a manager takes away goes on working.
    #[must_use]
    pub fn revoke_grace_s(&self) -> u64 {
        u64::from(self.revoke_grace_hours) * timing::HOUR_S
    }

    /// An instance whose id certificate expired is told to be expired, not as if it had never registered.
    #[must_use]
    pub const fn shows_expired_registration(&self) -> bool {
        matches!(self.id_expired.to, IdExpiredTo::RegistrationExpired)
    }
}

fn in_use(tag: String, usage: UsageClass) -> String {
    match usage {
        UsageClass::Production => tag,
        UsageClass::Lab => tag + LAB_SUFFIX,
    }
}

const fn is_tag_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':')
}

#[cfg(test)]
mod tests;
