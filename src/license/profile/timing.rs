//! When things are due: certificates, authorization, retries, reports. Files say days and hours, the methods seconds.

use serde::{Deserialize, Serialize};

/// Seconds in an hour.
pub const HOUR_S: u64 = 3600;

/// Seconds in a day.
pub(super) const DAY_S: u64 = 86_400;

/// Deregistration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dereg {
    /// The evaluation that is left after it.
    pub eval: DeregisteredEvaluation,
}

/// What evaluation there is after deregistration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeregisteredEvaluation {
    /// What was left before registration.
    Remaining,
    /// So many hours. They never add up.
    Fixed(u32),
}

impl Dereg {
    /// Seconds of a fixed evaluation; `None`: what remains.
    #[must_use]
    pub fn fixed_s(&self) -> Option<u64> {
        match self.eval {
            DeregisteredEvaluation::Remaining => None,
            DeregisteredEvaluation::Fixed(hours) => Some(u64::from(hours) * HOUR_S),
        }
    }
}

/// The id certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Id {
    /// How long it is valid: what the manager is asked for, and what `show` counts with.
    pub valid_days: u32,
    /// How long after it was made it is renewed.
    pub renew_after_days: u32,
}

impl Id {
    /// Seconds of validity.
    #[must_use]
    pub fn valid_s(&self) -> u64 {
        u64::from(self.valid_days) * DAY_S
    }

    /// Seconds from its making to its renewal.
    #[must_use]
    pub fn renew_after_s(&self) -> u64 {
        u64::from(self.renew_after_days) * DAY_S
    }
}

/// When the id certificate has expired.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IdExpired {
    /// What the instance is then.
    pub to: IdExpiredTo,
}

/// What an instance is whose id certificate has expired.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IdExpiredTo {
    /// As if it had never registered.
    UnIdentified,
    /// Registered once, and expired.
    RegistrationExpired,
}

/// Authorization.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Auth {
    /// It is renewed so many days after the last success.
    pub renew_days: u32,
}

impl Auth {
    /// Seconds from a success to the next renewal.
    #[must_use]
    pub fn renew_s(&self) -> u64 {
        u64::from(self.renew_days) * DAY_S
    }
}

/// When authorization expires for want of contact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthExpiry {
    /// So many days after `basis`.
    pub days: u32,
    /// From when they count.
    pub basis: ExpiryBasis,
}

impl AuthExpiry {
    /// Seconds from the basis to expiry.
    #[must_use]
    pub fn span_s(&self) -> u64 {
        u64::from(self.days) * DAY_S
    }
}

/// From when the days to expiry count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExpiryBasis {
    /// The last successful contact.
    LastSuccess,
    /// The first failed one after it.
    FirstFailure,
}

/// How soon failed contacts are tried again, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retry {
    /// A registration.
    pub registration_s: u32,
    /// Authorization, renewal and reports, at first.
    pub auth_s: u32,
    /// Until so long after the first failure.
    pub auth_until_s: u32,
    /// And from then on.
    pub auth_then_s: u32,
    /// Once authorization has expired.
    pub auth_expired_s: u32,
}

impl Retry {
    /// Seconds to the next try of an authorization, a renewal or a report that has been failing for `failing_s`.
    #[must_use]
    pub fn auth_after_s(&self, failing_s: u64) -> u64 {
        if failing_s < u64::from(self.auth_until_s) { u64::from(self.auth_s) } else { u64::from(self.auth_then_s) }
    }

    /// Seconds to the next try of a registration.
    #[must_use]
    pub fn registration_after_s(&self) -> u64 {
        u64::from(self.registration_s)
    }

    /// Seconds between tries once authorization has expired.
    #[must_use]
    pub fn auth_expired_after_s(&self) -> u64 {
        u64::from(self.auth_expired_s)
    }
}

/// Usage reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reporting {
    /// What is asked for is asked for at once in every product; with this, a report of what was used up to then goes with it.
    pub on_change: bool,
    /// Hours between reports.
    pub interval_hours: u32,
    /// What is reported as used.
    pub value: ReportValue,
}

impl Reporting {
    /// Seconds between reports.
    #[must_use]
    pub fn interval_s(&self) -> u64 {
        u64::from(self.interval_hours) * HOUR_S
    }
}

/// What a report says was used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReportValue {
    /// What the configuration requests.
    Requested,
    /// What is used when the report is made.
    Current,
    /// The highest use of the interval.
    Peak,
    /// The count of this day, and that of the next.
    CurrentAndNext,
}

/// Registration tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenRules {
    /// How long a token is good that is made without saying so.
    pub default_days: u32,
}
