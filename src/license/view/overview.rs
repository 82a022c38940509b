//! What is, what it does to calls now, what comes next and when, what to do: the beginning of every page.

use serde::{Deserialize, Serialize};

use super::ViewInput;
use super::forecast::{Forecast, Track};
use crate::license::agent::text::{Caps, nothing_granted, up_to};
use crate::license::agent::{Authorization, Client, Enforced, Limits, Registration, TypeCap, enforcement};
use crate::license::profile::{Effect, StateWords, Words};
use crate::license::when::{span, when};
use crate::protocol::TagStatus;
use crate::units::UnixMillis;

/// Licensing as people see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LicenseView {
    /// The node's name.
    pub node: String,
    /// The profile's name.
    pub profile: String,
    /// The state, in neutral terms: `disabled`, `evaluation`, `evaluation_expired`, `waiting`, `authorized`,
    /// `out_of_compliance`, `authorization_expired`, `no_licenses_in_use`, `reserved`, `reservation_expired`.
    pub state: String,
    /// Registration: `unregistered`, `pending`, `failed`, `registered`, `expired`.
    pub registration: String,
    /// The state, in the product's own words.
    pub words: StateWords,
    /// What stands behind the words in brackets; ours, not the product's.
    pub qualifier: Option<String>,
    /// `normal`, `notify`, `overage` or `enforced`.
    pub enforcement: String,
    /// What the counts are capped by: `requested`, `granted` or `uncapped`.
    pub cap: String,
    /// Whole hours of evaluation left, rounded down.
    pub hours_left: u64,
    /// Seconds of evaluation left.
    pub seconds_left: u64,
    /// Hours of evaluation granted.
    pub hours_granted: u64,
    /// Seconds of evaluation used.
    pub used_s: u64,
    /// When the evaluation account was opened.
    pub granted_at: UnixMillis,
    /// What happens to calls now.
    pub effect_now: String,
    /// What is refused now, and why.
    pub refused: Refused,
    /// What comes next.
    pub next: String,
    /// When it comes, if the sidecar runs without a stop until then.
    pub next_at: Option<UnixMillis>,
    /// What to do.
    pub advice: String,
    /// What deregistering would do.
    pub if_deregistered: Would,
    /// What switching licensing off would do.
    pub if_disabled: Would,
    /// Effective time at which this was so.
    pub as_of: UnixMillis,
}

/// What a command would do to calls.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Would {
    /// For people.
    pub what: String,
    /// Something would be refused, at once or later.
    pub refuses: bool,
    /// From when; `None`: never, as far as can be told.
    pub refuses_at: Option<UnixMillis>,
}

/// What is refused, by cause.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Refused {
    /// The cause for which new calls are refused.
    pub calls: Option<String>,
    /// The cause for which new registrations are.
    pub registrations: Option<String>,
    /// The cause for which configuration changes are.
    pub configuration: Option<String>,
}

/// The product's words for a state: `client` follows the registration, `licensing` the authorization.
pub(super) fn words_of(
    words: &Words,
    client: Client,
    registration: &Registration,
    authorization: Authorization,
) -> StateWords {
    if client == Client::Disabled {
        return words.disabled.clone();
    }
    let unregistered = |unregistered: &StateWords| -> StateWords {
        match registration {
            Registration::Unregistered => unregistered.clone(),
            Registration::Pending => words.pending.clone(),
            Registration::Failed { .. } => words.failed.clone(),
            Registration::Expired => words.registration_expired.clone(),
            Registration::Registered => words.waiting.clone(),
        }
    };
    match authorization {
        Authorization::None => words.none.clone(),
        Authorization::Evaluation => unregistered(&words.evaluation),
        Authorization::EvaluationExpired => StateWords {
            client: unregistered(&words.evaluation_expired).client,
            licensing: words.evaluation_expired.licensing.clone(),
        },
        Authorization::Waiting => words.waiting.clone(),
        Authorization::Authorized => words.authorized.clone(),
        Authorization::OutOfCompliance => words.out_of_compliance.clone(),
        Authorization::AuthorizationExpired => words.authorization_expired.clone(),
        Authorization::Reserved => words.reserved.clone().unwrap_or_else(|| words.authorized.clone()),
        Authorization::ReservationExpired => {
            words.reservation_expired.clone().unwrap_or_else(|| words.authorization_expired.clone())
        }
    }
}

/// What stands behind the words in brackets.
fn qualifier(words: &Words, authorization: Authorization, enforced: Enforced) -> Option<String> {
    let of = &words.qualifiers;
    let by_state = match authorization {
        Authorization::Reserved if words.reserved.is_none() => Some(of.reserved.clone()),
        Authorization::ReservationExpired if words.reservation_expired.is_none() => Some(of.reservation.clone()),
        Authorization::None
        | Authorization::Evaluation
        | Authorization::EvaluationExpired
        | Authorization::Waiting
        | Authorization::Authorized
        | Authorization::OutOfCompliance
        | Authorization::AuthorizationExpired
        | Authorization::Reserved
        | Authorization::ReservationExpired => None,
    };
    let by_effect = match enforced {
        Enforced::Normal | Enforced::Notify => None,
        Enforced::Overage { until } => Some(of.overage.replace("{until}", &when(until))),
        Enforced::Enforced { effect, .. } => Some(of.enforced.replace("{effect}", effect_name(effect))),
    };
    match (by_state, by_effect) {
        (Some(state), Some(effect)) => Some(format!("{state}; {effect}")),
        (state, effect) => state.or(effect),
    }
}

const fn effect_name(effect: Effect) -> &'static str {
    match effect {
        Effect::RejectNew => "new calls refused",
        Effect::RejectNewRegistrations => "new registrations refused",
        Effect::ConfigFreeze => "configuration frozen",
        Effect::AllowNotify => "notice only",
    }
}

/// What an effect does to calls; `None` is nothing at all.
pub(crate) const fn on_calls(effect: Option<Effect>) -> &'static str {
    match effect {
        None => "new calls are admitted",
        Some(Effect::RejectNew) => {
            "new calls and registrations are refused; emergency calls and calls in progress are not affected"
        }
        Some(Effect::RejectNewRegistrations) => "new registrations are refused; calls are admitted",
        Some(Effect::ConfigFreeze) => "calls are admitted; changes of trunks, tenants and license types are refused",
        Some(Effect::AllowNotify) => "new calls are admitted, with an alarm",
    }
}

/// The effect in force; `AllowNotify` while people are told.
pub(crate) const fn effect_in_force(enforced: Enforced) -> Option<Effect> {
    match enforced {
        Enforced::Normal => None,
        Enforced::Notify | Enforced::Overage { .. } => Some(Effect::AllowNotify),
        Enforced::Enforced { effect, .. } => Some(effect),
    }
}

/// The cause that refusals carry in this state.
const fn cause(client: Client, authorization: Authorization) -> &'static str {
    if matches!(client, Client::Disabled) {
        return "unconfigured";
    }
    match authorization {
        Authorization::Evaluation | Authorization::EvaluationExpired | Authorization::Waiting => "evaluation-expired",
        Authorization::AuthorizationExpired => "authorization-expired",
        Authorization::ReservationExpired => "reservation-expired",
        Authorization::None | Authorization::Authorized | Authorization::OutOfCompliance | Authorization::Reserved => {
            "enforced"
        }
    }
}

impl Refused {
    fn of(client: Client, authorization: Authorization, enforced: Enforced) -> Self {
        let cause = || Some(cause(client, authorization).to_owned());
        match effect_in_force(enforced) {
            None | Some(Effect::AllowNotify) => Self::default(),
            Some(Effect::RejectNew) => Self { calls: cause(), registrations: cause(), configuration: None },
            Some(Effect::RejectNewRegistrations) => Self { registrations: cause(), ..Self::default() },
            Some(Effect::ConfigFreeze) => Self { configuration: cause(), ..Self::default() },
        }
    }
}

/// The hardest of the caps in force.
fn cap(limits: &Limits) -> &'static str {
    let any = |wanted: fn(&TypeCap) -> bool| limits.types.iter().any(|(_, cap)| wanted(cap));
    if any(|cap| matches!(cap, TypeCap::Units(_))) {
        "granted"
    } else if any(|cap| matches!(cap, TypeCap::Requested)) {
        "requested"
    } else {
        "uncapped"
    }
}

impl LicenseView {
    /// What is.
    #[must_use]
    pub fn of(input: &ViewInput<'_>) -> Self {
        let state = input.state;
        let words = &input.profile().words;
        let (next, next_at) = next(input);
        let limits = enforcement::limits(input.state, input.setup, input.now);
        let account = &state.evaluation;
        let left = input.evaluation_left_s();
        Self {
            node: input.node.to_owned(),
            profile: input.profile().name.clone(),
            state: state.name().to_owned(),
            registration: state.registration.name().to_owned(),
            words: words_of(words, state.client, &state.registration, state.authorization),
            qualifier: qualifier(words, state.authorization, state.enforced),
            enforcement: match state.enforced {
                Enforced::Normal => "normal",
                Enforced::Notify => "notify",
                Enforced::Overage { .. } => "overage",
                Enforced::Enforced { .. } => "enforced",
            }
            .to_owned(),
            cap: cap(&limits).to_owned(),
            hours_left: left / 3600,
            seconds_left: left,
            hours_granted: account.limit_s / 3600,
            used_s: account.used_s,
            granted_at: account.granted_at,
            effect_now: effect_now(input, &limits),
            refused: Refused::of(state.client, state.authorization, state.enforced),
            next,
            next_at,
            advice: advice(input),
            if_deregistered: if_deregistered(input),
            if_disabled: if_disabled(input),
            as_of: input.now,
        }
    }

    /// The words in one line: `Registered / Authorized (qualifier)`; once where both are the same.
    #[must_use]
    pub fn heading(&self) -> String {
        let StateWords { client, licensing } = &self.words;
        let words = if client == licensing { client.clone() } else { format!("{client} / {licensing}") };
        self.qualifier.as_ref().map_or(words.clone(), |qualifier| format!("{words} ({qualifier})"))
    }
}

fn effect_now(input: &ViewInput<'_>, limits: &Limits) -> String {
    let in_force = effect_in_force(input.state.enforced);
    let (calls, beside) = match in_force {
        Some(Effect::RejectNew) => return on_calls(in_force).to_owned(),
        Some(Effect::RejectNewRegistrations) => (on_calls(None), Some("new registrations are refused")),
        Some(Effect::ConfigFreeze) => {
            (on_calls(None), Some("changes of trunks, tenants and license types are refused"))
        }
        None | Some(Effect::AllowNotify) => (on_calls(in_force), None),
    };
    let caps = Caps::of(limits, input.setup);
    let with = |told: String| match beside {
        Some(beside) => format!("{told}; {beside}"),
        None => told,
    };
    if !caps.nothing.is_empty() {
        return with(nothing_granted(&caps.nothing));
    }
    let capped = if !caps.granted.is_empty() {
        up_to(&caps.granted)
    } else if caps.requested {
        ", up to what the configuration requests".to_owned()
    } else if caps.counted_above_grant {
        "; use beyond what was granted is counted".to_owned()
    } else if caps.counted_above_request {
        "; use beyond what the configuration requests is counted".to_owned()
    } else {
        return on_calls(in_force).to_owned();
    };
    with(format!("{calls}{capped}"))
}

/// What comes next: the next contact, and what the forecast says of how things are, else of how they are without contact.
fn next(input: &ViewInput<'_>) -> (String, Option<UnixMillis>) {
    let forecast = Forecast::of(input, super::FORECAST_DAYS_MAX);
    let registered = input.state.registration == Registration::Registered;
    let due = input.state.deadlines.authorization_due.filter(|_| registered);
    let mut parts: Vec<String> = Vec::new();
    if let Some(due) = due {
        let failing = input.state.contact.failures > 0;
        let what = if failing { "the manager is tried again" } else { "authorization is renewed" };
        parts.push(format!("{what} on {}", when(due)));
    }
    parts.extend(told(&forecast.as_now, input.now, ""));
    let first = forecast.as_now.steps.first().map(|step| step.at);
    if first.is_none() {
        parts.extend(forecast.without_contact.as_ref().and_then(|track| told(track, input.now, " without contact")));
    }
    if parts.is_empty() {
        return (unchanging(input).to_owned(), None);
    }
    (parts.join("; "), first.or(due))
}

/// The first thing that happens, and the first that changes what is refused.
fn told(track: &Track, now: UnixMillis, condition: &str) -> Option<String> {
    let one = |step: &super::ForecastStep| {
        let after = span(step.at.0.saturating_sub(now.0) / 1000);
        format!("in {after}{condition}: {}, then {}", step.what, step.effect)
    };
    let first = track.steps.first()?;
    let later = track.steps.iter().skip(1).find(|step| step.changes_calls).filter(|_| !first.changes_calls);
    Some(later.map_or_else(|| one(first), |later| format!("{}; {}", one(first), one(later))))
}

const fn unchanging(input: &ViewInput<'_>) -> &'static str {
    if matches!(input.state.client, Client::Disabled) {
        return "nothing changes until licensing is enabled";
    }
    match input.state.authorization {
        Authorization::EvaluationExpired => "nothing changes by itself: used evaluation time cannot be given back",
        Authorization::AuthorizationExpired => "nothing changes until the manager answers",
        Authorization::OutOfCompliance => "nothing changes until the manager grants what is asked for",
        Authorization::Waiting => "the manager's first grant ends the wait",
        Authorization::None
        | Authorization::Evaluation
        | Authorization::Authorized
        | Authorization::Reserved
        | Authorization::ReservationExpired => "nothing changes by itself",
    }
}

/// Evaluation judges what is not registered: what is left of it, or what the profile gives then.
fn if_deregistered(input: &ViewInput<'_>) -> Would {
    let expired = input.profile().eval_expired.effect;
    let refuses = expired != Effect::AllowNotify;
    let given_s = input.profile().dereg.fixed_s().unwrap_or_else(|| input.evaluation_left_s());
    if given_s == 0 {
        let what = format!("no evaluation is left: at once {}", on_calls(Some(expired)));
        return Would { what, refuses, refuses_at: refuses.then_some(input.now) };
    }
    let at = UnixMillis(input.now.0.saturating_add(given_s.saturating_mul(1000)));
    let what = format!(
        "evaluation then runs for {} h, until {}; after that {}",
        given_s / 3600,
        when(at),
        on_calls(Some(expired))
    );
    Would { what, refuses, refuses_at: refuses.then_some(at) }
}

fn if_disabled(input: &ViewInput<'_>) -> Would {
    let effect = input.profile().unconfigured.effect;
    let refuses = effect != Effect::AllowNotify;
    let what = format!("switches licensing off; at once {}", on_calls(Some(effect)));
    Would { what, refuses, refuses_at: refuses.then_some(input.now) }
}

const REGISTER: &str = "`callgate license register --token-file FILE`";
const TEST: &str = "`callgate license test-connection` names the step that fails";

fn advice(input: &ViewInput<'_>) -> String {
    let state = input.state;
    if state.client == Client::Disabled {
        return "`callgate license enable` switches licensing on".to_owned();
    }
    if let Registration::Failed { failure } = &state.registration {
        return format!("{}; then register again: {REGISTER}", failure.text.trim_end_matches(['.', ';']));
    }
    if state.registration == Registration::Pending {
        return format!("nothing if the manager comes back; {TEST}");
    }
    let invalid: Vec<&str> = state
        .grant
        .iter()
        .flat_map(|grant| &grant.tags)
        .filter(|tag| tag.status == TagStatus::Invalid)
        .map(|tag| tag.tag.as_str())
        .collect();
    let failing = state.contact.first_failure.map(|since| format!("contact fails since {}: {TEST}", when(since)));
    match state.authorization {
        Authorization::Evaluation => format!("register with a license manager before evaluation ends: {REGISTER}"),
        Authorization::EvaluationExpired if state.registration == Registration::Registered => {
            failing.unwrap_or_else(|| "wait for the manager's grant; calls in progress are not affected".to_owned())
        }
        Authorization::EvaluationExpired => {
            format!("register with a license manager: {REGISTER}; calls in progress are not affected")
        }
        Authorization::Waiting => failing.unwrap_or_else(|| "wait for the manager's first grant".to_owned()),
        Authorization::OutOfCompliance => {
            "buy or free licenses, or ask for less (`callgate license count N`, `sessions N`); `callgate license usage` shows which are short"
                .to_owned()
        }
        Authorization::AuthorizationExpired => {
            format!("let the manager be reached: {TEST}; then `callgate license renew auth`")
        }
        Authorization::None | Authorization::Authorized => failing.unwrap_or_else(|| {
            if invalid.is_empty() {
                "nothing".to_owned()
            } else {
                format!("the manager doesn't know {}: ask for a tag that the account has", invalid.join(", "))
            }
        }),
        Authorization::Reserved => "nothing".to_owned(),
        Authorization::ReservationExpired => "install a new authorization code, or return the reservation".to_owned(),
    }
}
