//! The parts that pages are put together from.

use serde::{Deserialize, Serialize};

use super::ViewInput;
use super::overview::words_of;
use crate::license::agent::{
    Authorization, Client, Enforced, Failure, Registration, Requested, UsageClass, enforcement::transport_in_force,
};
use crate::license::usage::report::licenses;
use crate::protocol::{TagGrant, TagStatus};
use crate::units::UnixMillis;

const DAY_MS: u64 = 86_400_000;

/// A failure, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailureLine {
    /// A short name.
    pub code: String,
    /// What was found, what is accepted, what to do.
    pub text: String,
    /// When.
    pub at: UnixMillis,
}

impl FailureLine {
    fn of(failure: &Failure) -> Self {
        Self { code: failure.code.clone(), text: failure.text.clone(), at: failure.at }
    }
}

/// A try to reach the manager.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptLine {
    /// When.
    pub at: UnixMillis,
    /// What was sent.
    pub message: String,
    /// Why it failed; `None`: it didn't.
    pub failure: Option<FailureLine>,
}

/// Registration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegistrationSection {
    /// The product's word for it.
    pub status: String,
    /// Registered.
    pub registered: bool,
    /// The smart account.
    pub account: Option<String>,
    /// The virtual account.
    pub virtual_account: Option<String>,
    /// The manager's name for this instance.
    pub instance: Option<String>,
    /// Export-controlled functionality, by the token's flag; `None` while unregistered.
    pub export_allowed: Option<bool>,
    /// When it was registered first.
    pub registered_at: Option<UnixMillis>,
    /// When the registration was renewed last.
    pub renewed_at: Option<UnixMillis>,
    /// When it is renewed, or tried, next.
    pub next_attempt: Option<UnixMillis>,
    /// When it expires unless it is renewed.
    pub expires_at: Option<UnixMillis>,
    /// Why the manager refused it.
    pub refused: Option<FailureLine>,
}

impl RegistrationSection {
    pub(super) fn of(input: &ViewInput<'_>) -> Self {
        let state = input.state;
        let words = words_of(&input.profile().words, state.client, &state.registration, state.authorization);
        let member = state.membership.as_ref();
        let registered = state.registration == Registration::Registered;
        let refused = match &state.registration {
            Registration::Failed { failure } => Some(FailureLine::of(failure)),
            Registration::Unregistered | Registration::Pending | Registration::Registered | Registration::Expired => {
                None
            }
        };
        Self {
            status: words.client,
            registered,
            account: member.map(|member| member.account.clone()),
            virtual_account: member.map(|member| member.virtual_account.clone()),
            instance: member.map(|member| member.instance.clone()),
            export_allowed: member.map(|member| member.export_allowed),
            registered_at: member.map(|member| member.registered_at),
            renewed_at: member.and_then(|member| member.renewed_at),
            next_attempt: if registered { state.deadlines.id_renewal_due } else { state.deadlines.registration_retry },
            expires_at: state.deadlines.id_expiry.filter(|_| registered),
            refused,
        }
    }
}

/// Authorization.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthorizationSection {
    /// The product's word for it.
    pub status: String,
    /// When it was authorized last.
    pub authorized_at: Option<UnixMillis>,
    /// The last try, and whether it succeeded.
    pub last_attempt: Option<AttemptLine>,
    /// When the next one is due.
    pub next_attempt: Option<UnixMillis>,
    /// Without contact until then, authorization expires.
    pub communication_deadline: Option<UnixMillis>,
    /// When overage ends.
    pub overage_until: Option<UnixMillis>,
    /// Failed contacts since the last that succeeded.
    pub failures: u32,
}

impl AuthorizationSection {
    pub(super) fn of(input: &ViewInput<'_>) -> Self {
        let state = input.state;
        let words = words_of(&input.profile().words, state.client, &state.registration, state.authorization);
        Self {
            status: words.licensing,
            authorized_at: state.contact.last_authorized,
            last_attempt: attempts(input).pop(),
            next_attempt: state.deadlines.authorization_due,
            communication_deadline: state.deadlines.authorization_expiry,
            overage_until: match state.enforced {
                Enforced::Overage { until } => Some(until),
                Enforced::Normal | Enforced::Notify | Enforced::Enforced { .. } => None,
            },
            failures: state.contact.failures,
        }
    }
}

/// The last tries, newest last.
pub(super) fn attempts(input: &ViewInput<'_>) -> Vec<AttemptLine> {
    let lines = input.state.contact.attempts.iter().map(|attempt| AttemptLine {
        at: attempt.at,
        message: attempt.endpoint.request().name().to_owned(),
        failure: attempt.failure.as_ref().map(FailureLine::of),
    });
    lines.collect()
}

pub(super) fn latest_failure(input: &ViewInput<'_>) -> Option<FailureLine> {
    input.state.latest_failure.as_ref().map(FailureLine::of)
}

/// The evaluation period.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EvaluationSection {
    /// Its time runs now.
    pub in_use: bool,
    /// Whole hours left, rounded down.
    pub hours_left: u64,
    /// Hours granted.
    pub hours_granted: u64,
    /// Seconds used.
    pub used_s: u64,
    /// A fixed evaluation after deregistration ends then.
    pub fixed_until: Option<UnixMillis>,
}

impl EvaluationSection {
    pub(super) fn of(input: &ViewInput<'_>) -> Self {
        let state = input.state;
        let eval = &input.profile().eval;
        Self {
            in_use: match state.authorization {
                Authorization::Evaluation => eval.runs_unregistered(),
                Authorization::Waiting => eval.runs_unauthorized(),
                Authorization::None
                | Authorization::EvaluationExpired
                | Authorization::Authorized
                | Authorization::OutOfCompliance
                | Authorization::AuthorizationExpired
                | Authorization::Reserved
                | Authorization::ReservationExpired => false,
            },
            hours_left: input.evaluation_left_s() / 3600,
            hours_granted: state.evaluation.limit_s / 3600,
            used_s: state.evaluation.used_s,
            fixed_until: state.deadlines.deregistered_evaluation_end,
        }
    }
}

/// What is kept from the manager.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrivacySection {
    /// The host's name is sent.
    pub sends_hostname: bool,
    /// The version is sent; always.
    pub sends_version: bool,
}

/// The way to the manager.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransportSection {
    /// `direct`, `on_prem` or `proxy`.
    pub mode: String,
    /// The manager's address, without user and password.
    pub server: Option<String>,
    /// The proxy's, likewise.
    pub proxy: Option<String>,
    /// It can't change while registered.
    pub locked: bool,
}

impl PrivacySection {
    pub(super) const fn of(input: &ViewInput<'_>) -> Self {
        Self { sends_hostname: !input.setup.withhold_hostname, sends_version: true }
    }
}

impl TransportSection {
    pub(super) fn of(input: &ViewInput<'_>) -> Self {
        use crate::license::profile::TransportChange::RequiresDeregister;
        Self {
            mode: transport_in_force(input.state, input.setup).name().to_owned(),
            server: input.server.map(str::to_owned),
            proxy: input.proxy.map(str::to_owned),
            locked: input.profile().transport_change == RequiresDeregister
                && input.state.registration == Registration::Registered,
        }
    }
}

/// The product.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProductSection {
    /// The unique device identifier.
    pub udi: String,
    /// The product id in it.
    pub pid: String,
    /// The serial number in it.
    pub serial: String,
    /// The product's version, which is the agent's.
    pub version: String,
    /// `production` or `lab`.
    pub usage: String,
    /// Licensing is by reservation.
    pub reservation: bool,
}

impl ProductSection {
    pub(super) fn of(input: &ViewInput<'_>) -> Self {
        let udi = &input.state.udi;
        Self {
            udi: udi.to_string(),
            pid: udi.pid().to_owned(),
            serial: udi.serial().to_owned(),
            version: input.setup.version.clone(),
            usage: match input.setup.usage {
                UsageClass::Production => "production",
                UsageClass::Lab => "lab",
            }
            .to_owned(),
            reservation: input.state.client == Client::Reservation,
        }
    }
}

/// One license.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageLine {
    /// The type's name.
    pub name: String,
    /// What it is.
    pub description: String,
    /// Its entitlement tag.
    pub tag: String,
    /// Units that one license covers.
    pub per_license: u32,
    /// Units requested; `None`: what is used is asked for.
    pub requested_units: Option<u32>,
    /// Licenses requested.
    pub requested: u64,
    /// Licenses granted; `None` without a grant.
    pub granted: Option<u64>,
    /// Licenses that may be used.
    pub cap: Option<u64>,
    /// Units used now.
    pub current_units: u32,
    /// The highest use of the last 24 hours, in units.
    pub peak_day_units: u32,
    /// The highest use of the last 30 days, in units.
    pub peak_month_units: u32,
    /// When that was.
    pub peak_month_at: Option<UnixMillis>,
    /// The 95th percentile of the last 30 days' samples, in units.
    pub p95_month_units: u32,
    /// How many samples these are.
    pub samples_month: u64,
    /// Reported to the manager.
    pub reported: bool,
    /// The product's word for its state.
    pub status: String,
    /// When the term of what was granted ends; `None` is perpetual, or not granted.
    pub term_end: Option<UnixMillis>,
    /// The account's pool.
    pub pool: Option<PoolLine>,
}

/// An account's pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolLine {
    /// Licenses bought.
    pub purchased: u64,
    /// Licenses in use by all instances.
    pub in_use: u64,
    /// What is left; negative is a shortage.
    pub balance: i64,
}

fn license_word(input: &ViewInput<'_>, granted: Option<&TagGrant>) -> String {
    if input.state.client == Client::Disabled {
        return input.profile().words.disabled.licensing.clone();
    }
    let words = &input.profile().words.license;
    if granted.is_some_and(|tag| tag.status == TagStatus::Invalid) {
        return words.invalid.clone();
    }
    let word = match input.state.authorization {
        Authorization::Evaluation => &words.evaluation,
        Authorization::EvaluationExpired => &words.evaluation_expired,
        Authorization::Waiting => &words.waiting,
        Authorization::AuthorizationExpired | Authorization::ReservationExpired => &words.authorization_expired,
        Authorization::None | Authorization::Reserved => &words.authorized,
        Authorization::Authorized | Authorization::OutOfCompliance => match granted.map(|tag| tag.status) {
            // Asked for after the grant.
            None => &words.waiting,
            Some(TagStatus::OutOfCompliance) => &words.out_of_compliance,
            Some(TagStatus::InCompliance | TagStatus::Invalid) => &words.authorized,
        },
    };
    word.clone()
}

fn usage_line(input: &ViewInput<'_>, of: &Requested) -> UsageLine {
    let Requested { type_name, tag, units, per_license, tier: _ } = of;
    let grant = input.state.grant.as_ref();
    let granted = grant.and_then(|grant| grant.tags.iter().find(|granted| granted.tag == *tag));
    let pool = grant.and_then(|grant| grant.pools.iter().find(|pool| pool.tag == *tag));
    let signed = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    let licensed = input.profile().type_named(type_name);
    let current = input.usage.current(tag);
    let by_use = input.profile().asks_by_use(type_name);
    let back = |days: u64| UnixMillis(input.now.0.saturating_sub(days * DAY_MS));
    let day = input.usage.interval(tag, back(1), input.now);
    let month = input.usage.interval(tag, back(30), input.now);
    UsageLine {
        name: type_name.clone(),
        description: licensed
            .map(|licensed| licensed.description.clone())
            .filter(|text| !text.is_empty())
            .unwrap_or_else(|| type_name.clone()),
        tag: tag.clone(),
        per_license: *per_license,
        requested_units: *units,
        requested: licenses(units.unwrap_or(if by_use { current } else { 0 }), *per_license),
        granted: granted.map(|granted| granted.granted),
        cap: granted.map(|granted| granted.cap),
        current_units: current,
        peak_day_units: day.peak.max(current),
        peak_month_units: month.peak.max(current),
        peak_month_at: month.peak_at,
        p95_month_units: month.p95,
        samples_month: month.samples,
        reported: licensed.is_none_or(|licensed| licensed.reported),
        status: if units.is_none() && !by_use && granted.is_none() {
            input.profile().words.none.licensing.clone()
        } else {
            license_word(input, granted)
        },
        term_end: granted.and_then(|granted| granted.term_end),
        pool: pool.map(|pool| PoolLine {
            purchased: pool.purchased,
            in_use: pool.in_use,
            balance: signed(pool.purchased).saturating_sub(signed(pool.in_use)),
        }),
    }
}

/// Every license that is asked for, granted or used; types not in use are left out.
pub(super) fn usage_lines(input: &ViewInput<'_>) -> Vec<UsageLine> {
    let lines = input.setup.requested.iter().map(|of| usage_line(input, of));
    lines
        .filter(|line| line.requested > 0 || line.peak_month_units > 0 || line.granted.is_some_and(|n| n > 0))
        .collect()
}
