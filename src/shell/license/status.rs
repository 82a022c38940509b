//! What licensing is, in figures: for `/v1/status` and `/metrics`. Taken by the driver once a second, so that no scrape waits
//! for it.

use crate::license::agent::{Agent, AgentState, Deadlines, MessageStatistics, enforcement};
use crate::limits::Verdict;
use crate::protocol::Endpoint;
use crate::units::UnixMillis;

/// Every name of a state.
pub const STATES: [&str; 10] = [
    "disabled",
    "evaluation",
    "evaluation_expired",
    "waiting",
    "authorized",
    "out_of_compliance",
    "authorization_expired",
    "no_licenses_in_use",
    "reserved",
    "reservation_expired",
];

/// Every name of a registration's state.
pub const REGISTRATIONS: [&str; 5] = ["unregistered", "pending", "failed", "registered", "expired"];

/// Licensing in figures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LicenseStatus {
    /// The profile's name.
    pub profile: String,
    /// The state: one of [`STATES`].
    pub state: &'static str,
    /// Registration: one of [`REGISTRATIONS`].
    pub registration: &'static str,
    /// What is refused.
    pub verdict: Verdict,
    /// Seconds of evaluation left.
    pub evaluation_left_s: u64,
    /// Seconds of evaluation used.
    pub evaluation_used_s: u64,
    /// Evaluation time runs.
    pub evaluation_runs: bool,
    /// What is due when, by name.
    pub deadlines: Vec<(&'static str, UnixMillis)>,
    /// Messages by kind.
    pub messages: Vec<(Endpoint, MessageStatistics)>,
    /// Licenses by type.
    pub types: Vec<TypeFigures>,
    /// Failed contacts since the last that succeeded.
    pub failures: u32,
    /// The newest contact that succeeded.
    pub last_success: Option<UnixMillis>,
    /// Events that no rule names.
    pub unexpected_total: u64,
    /// Effective time of all this.
    pub as_of: UnixMillis,
}

/// One license type in figures: units, not licenses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TypeFigures {
    /// Its name.
    pub type_name: String,
    /// Its entitlement tag.
    pub tag: String,
    /// Units asked for; `None`: as many as are used.
    pub requested: Option<u32>,
    /// Units granted; `None`: there is no grant.
    pub granted: Option<u32>,
    /// Units in use.
    pub used: u32,
}

fn deadlines(state: &AgentState) -> impl Iterator<Item = (&'static str, UnixMillis)> {
    let Deadlines {
        registration_retry,
        authorization_due,
        authorization_expiry,
        id_renewal_due,
        id_expiry,
        overage_end,
        authorization_overage_end,
        overage_forgotten: _,
        report_due,
        sample_due: _,
        over_use_since: _,
        deregistered_evaluation_end,
        revocation_grace_end,
    } = state.deadlines;
    [
        ("registration_retry", registration_retry),
        ("authorization_due", authorization_due),
        ("authorization_expiry", authorization_expiry),
        ("id_renewal_due", id_renewal_due),
        ("id_expiry", id_expiry),
        ("overage_end", overage_end),
        ("authorization_overage_end", authorization_overage_end),
        ("report_due", report_due),
        ("deregistered_evaluation_end", deregistered_evaluation_end),
        ("revocation_grace_end", revocation_grace_end),
    ]
    .into_iter()
    .filter_map(|(name, at)| Some((name, at?)))
}

impl LicenseStatus {
    /// How it is now.
    #[must_use]
    pub fn of(agent: &Agent) -> Self {
        let (state, setup, now) = (agent.state(), agent.setup(), agent.effective_now());
        let left = enforcement::evaluation_left_s(state, &setup.profile, now);
        let runs = enforcement::evaluation_runs(state, &setup.profile);
        // If the sidecar runs without a stop until then.
        let end = runs.then(|| UnixMillis(now.0.saturating_add(left.saturating_mul(1000))));
        let types = setup.requested.iter().map(|requested| TypeFigures {
            type_name: requested.type_name.clone(),
            tag: requested.tag.clone(),
            requested: requested.units,
            granted: state.grant.is_some().then(|| enforcement::granted_units(state, requested)),
            used: agent.usage().current(&requested.tag),
        });
        Self {
            profile: setup.profile.name.clone(),
            state: state.name(),
            registration: state.registration.name(),
            verdict: agent.limits().map(|limits| limits.verdict).unwrap_or_default(),
            evaluation_left_s: left,
            evaluation_used_s: state.evaluation.used_s,
            evaluation_runs: runs,
            deadlines: end.map(|end| ("evaluation_end", end)).into_iter().chain(deadlines(state)).collect(),
            messages: state.statistics.iter().map(|(endpoint, counts)| (*endpoint, *counts)).collect(),
            types: types.collect(),
            failures: state.contact.failures,
            last_success: state.contact.last_success,
            unexpected_total: state.unexpected.values().fold(0, |sum, count| sum.saturating_add(*count)),
            as_of: now,
        }
    }
}
