//! Product profiles, the evaluation account, and the licensing agent that makes a verdict of them. PURE.
//!
//! A profile is data: what differs between products is a parameter of its file, never a comparison with its name. What
//! must stay true: nothing here lowers the evaluation time that was used.

pub mod agent;
mod clock;
mod evaluation;
pub mod ports;
mod profile;
pub mod usage;
pub mod view;
pub use crate::units::when;

pub use clock::{EffectiveClock, KeptTime, SKEW_MAX_MS, Skew};
pub use evaluation::{EvaluationAccount, UNCLEAN_STOP_COST_S};
pub use profile::{
    Auth, AuthExpiry, BuiltinProfile, Capability, ClusterRegistration, ClusterRules, Consequence, CountSource, Dereg,
    DeregisteredEvaluation, Effect, Evaluation, EvaluationExpired, ExitBy, ExpiryBasis, HOUR_S, HardCap, Id, IdExpired,
    IdExpiredTo, LicenseWords, LicensedType, OutOfCompliance, Overage, PrivacyItem, Profile, ProfileError, Qualifiers,
    RateCap, ReportCap, ReportValue, Reporting, ReservationExpiry, ReservationKind, ReservationOveruse,
    ReservationRules, Retry, StateWords, SummaryField, TicksIn, TierSpec, TokenRules, Transport, TransportChange,
    TransportWay, TypeKind, TypeUnit, Unconfigured, Words,
};
