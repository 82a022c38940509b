//! What happens to calls, and when, if nothing changes: the deadlines of the state, carried out in their order.
//!
//! Two futures are told: how things go on as they are now, and, where the manager answers now, how they would without
//! it. The rules are those of the agent's transitions; this is a copy without messages, for looking ahead only.

use serde::{Deserialize, Serialize};

use super::ViewInput;
use super::overview::{effect_in_force, on_calls};
use crate::license::agent::{Authorization, Client, Enforced, Registration};
use crate::license::profile::{Consequence, Effect, ExitBy, ExpiryBasis, Profile};
use crate::units::UnixMillis;

/// The most steps of one future. The rules lead to fewer; the bound keeps a mistake in them from going on for ever.
const STEPS_MAX: usize = 16;

const DAY_MS: u64 = 86_400_000;

/// What happens to calls, and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forecast {
    /// What is now.
    pub overview: Option<super::LicenseView>,
    /// From when.
    pub from: UnixMillis,
    /// Until when.
    pub until: UnixMillis,
    /// How many days these are.
    pub days: u32,
    /// If all goes on as it is now.
    pub as_now: Track,
    /// If the manager cannot be reached from now on; `None` where it isn't reached now either.
    pub without_contact: Option<Track>,
}

/// One future.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Track {
    /// What is taken for granted.
    pub assumes: String,
    /// What happens, in order.
    pub steps: Vec<ForecastStep>,
    /// What calls meet at its end.
    pub at_the_end: String,
}

/// One thing that happens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForecastStep {
    /// When.
    pub at: UnixMillis,
    /// What.
    pub what: String,
    /// What calls meet from then on.
    pub effect: String,
    /// Something is refused from then on that wasn't before, or the other way round.
    pub changes_calls: bool,
}

impl Forecast {
    /// The next `days` days, with what is now.
    #[must_use]
    pub(super) fn page(input: &ViewInput<'_>, days: u32) -> Self {
        Self { overview: Some(super::LicenseView::of(input)), ..Self::of(input, days) }
    }

    /// The next `days` days.
    #[must_use]
    pub fn of(input: &ViewInput<'_>, days: u32) -> Self {
        let until = UnixMillis(input.now.0.saturating_add(u64::from(days) * DAY_MS));
        let registered = input.state.registration == Registration::Registered;
        let reached = registered && input.state.contact.failures == 0;
        let track = |contact: bool, assumes: &str| {
            let mut future = Future::of(input, contact);
            let steps = future.run(until);
            let at_the_end = on_calls(effect_in_force(future.enforced)).to_owned();
            Track { assumes: assumes.to_owned(), steps, at_the_end }
        };
        let as_now = if reached {
            track(
                true,
                "the manager goes on answering, use and counts stay as they are, the sidecar runs without a stop",
            )
        } else if registered {
            track(false, "the manager is not reached, as now; the sidecar runs without a stop")
        } else {
            track(false, "nobody registers or changes anything; the sidecar runs without a stop")
        };
        let without_contact =
            reached.then(|| track(false, "the manager is not reached from now on; the sidecar runs without a stop"));
        Self { overview: None, from: input.now, until, days, as_now, without_contact }
    }
}

/// The state as far as it matters for what is to come.
struct Future<'a> {
    profile: &'a Profile,
    now: UnixMillis,
    contact: bool,
    client: Client,
    registered: bool,
    authorization: Authorization,
    enforced: Enforced,
    evaluation_left_s: u64,
    fixed_evaluation_end: Option<UnixMillis>,
    authorization_expiry: Option<UnixMillis>,
    id_expiry: Option<UnixMillis>,
    /// What follows the overage that runs.
    after_overage: Option<Effect>,
    grace_end: Option<UnixMillis>,
    terms: Vec<(UnixMillis, String)>,
}

/// What is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    // In this order where two are due at one instant, as the agent's timers: evaluation goes first.
    EvaluationOut,
    GraceOut,
    IdExpired,
    AuthorizationExpired,
    OverageOut,
    TermEnd,
}

impl<'a> Future<'a> {
    fn of(input: &ViewInput<'a>, contact: bool) -> Self {
        let state = input.state;
        let profile: &'a Profile = &input.setup.profile;
        let registered = state.registration == Registration::Registered;
        let authorized = matches!(
            state.authorization,
            Authorization::Authorized | Authorization::OutOfCompliance | Authorization::Waiting
        );
        // By first failure nothing is armed while contact works: the first failure would be the next message.
        let by_failure = || {
            let deadlines = &state.deadlines;
            let messages = [deadlines.authorization_due, deadlines.report_due, deadlines.id_renewal_due];
            let first = state.contact.first_failure.or_else(|| messages.into_iter().flatten().min())?;
            Some(UnixMillis(first.0.saturating_add(profile.auth_expiry.span_s() * 1000)))
        };
        let expiry = match profile.auth_expiry.basis {
            ExpiryBasis::LastSuccess => state.deadlines.authorization_expiry,
            ExpiryBasis::FirstFailure => state.deadlines.authorization_expiry.or_else(by_failure),
        };
        let of_compliance = state.deadlines.overage_end;
        let after_overage = match state.enforced {
            Enforced::Overage { until } if of_compliance == Some(until) => profile.ooc.then,
            Enforced::Overage { .. } => profile.auth_expired.then,
            Enforced::Normal | Enforced::Notify | Enforced::Enforced { .. } => None,
        };
        let mut terms: Vec<(UnixMillis, String)> = state
            .grant
            .iter()
            .flat_map(|grant| &grant.tags)
            .filter_map(|tag| Some((tag.term_end?, tag.tag.clone())))
            .filter(|(end, _)| *end > input.now)
            .collect();
        terms.sort_unstable_by_key(|(end, _)| std::cmp::Reverse(*end));
        Self {
            profile,
            now: input.now,
            contact,
            client: state.client,
            registered,
            authorization: state.authorization,
            enforced: state.enforced,
            evaluation_left_s: input.evaluation_left_s(),
            fixed_evaluation_end: state.deadlines.deregistered_evaluation_end,
            authorization_expiry: expiry.filter(|_| registered && authorized),
            id_expiry: state.deadlines.id_expiry.filter(|_| registered),
            after_overage,
            grace_end: state.deadlines.revocation_grace_end,
            terms,
        }
    }

    fn run(&mut self, until: UnixMillis) -> Vec<ForecastStep> {
        let mut steps = Vec::new();
        while self.client == Client::Enabled && steps.len() < STEPS_MAX {
            let Some((at, due)) = self.next().filter(|(at, _)| *at <= until) else { break };
            let at = at.max(self.now);
            self.pass_time(at);
            let before = effect_in_force(self.enforced);
            let what = self.carry_out(due);
            let after = effect_in_force(self.enforced);
            let refuses = |effect| !matches!(effect, None | Some(Effect::AllowNotify));
            steps.push(ForecastStep {
                at,
                what,
                effect: on_calls(after).to_owned(),
                changes_calls: before != after && (refuses(before) || refuses(after)),
            });
        }
        steps
    }

    fn evaluation_runs(&self) -> bool {
        match self.authorization {
            Authorization::Evaluation => true,
            Authorization::Waiting => self.profile.eval.runs_unauthorized(),
            Authorization::None
            | Authorization::EvaluationExpired
            | Authorization::Authorized
            | Authorization::OutOfCompliance
            | Authorization::AuthorizationExpired
            | Authorization::Reserved
            | Authorization::ReservationExpired => false,
        }
    }

    /// Evaluation runs, and its end matters: where registering ended what evaluation does, it no longer does.
    fn evaluation_counts(&self) -> bool {
        let ended =
            self.authorization == Authorization::Waiting && self.profile.eval_expired.exit == ExitBy::Registered;
        self.evaluation_runs() && !ended
    }

    fn next(&self) -> Option<(UnixMillis, Due)> {
        let evaluation = self.evaluation_counts().then(|| {
            let running = UnixMillis(self.now.0.saturating_add(self.evaluation_left_s.saturating_mul(1000)));
            self.fixed_evaluation_end.unwrap_or(running)
        });
        let overage = match self.enforced {
            Enforced::Overage { until } => Some(until),
            Enforced::Normal | Enforced::Notify | Enforced::Enforced { .. } => None,
        };
        let lost = !self.contact;
        [
            (evaluation, Due::EvaluationOut),
            (self.authorization_expiry.filter(|_| lost), Due::AuthorizationExpired),
            (self.id_expiry.filter(|_| lost), Due::IdExpired),
            (overage, Due::OverageOut),
            (self.grace_end, Due::GraceOut),
            (self.terms.last().map(|(end, _)| *end).filter(|_| self.registered), Due::TermEnd),
        ]
        .into_iter()
        .filter_map(|(at, due)| Some((at?, due)))
        .min()
    }

    fn pass_time(&mut self, at: UnixMillis) {
        let passed_s = at.0.saturating_sub(self.now.0) / 1000;
        if self.evaluation_runs() {
            self.evaluation_left_s = self.evaluation_left_s.saturating_sub(passed_s);
        }
        self.now = at;
    }

    fn carry_out(&mut self, due: Due) -> String {
        match due {
            Due::EvaluationOut => {
                self.evaluation_left_s = 0;
                self.fixed_evaluation_end = None;
                // What has no authorization cannot lose it.
                self.authorization_expiry = None;
                self.authorization = Authorization::EvaluationExpired;
                self.enforce(self.profile.eval_expired.effect);
                "evaluation is used up".to_owned()
            }
            Due::AuthorizationExpired => {
                self.authorization_expiry = None;
                self.authorization = Authorization::AuthorizationExpired;
                self.consequence(self.profile.auth_expired);
                format!("authorization expires after {} days", self.profile.auth_expiry.days)
            }
            Due::IdExpired => {
                self.by_evaluation();
                "the registration's certificate expires".to_owned()
            }
            Due::OverageOut => {
                self.enforce(self.after_overage.unwrap_or(Effect::AllowNotify));
                "the overage period ends".to_owned()
            }
            Due::GraceOut => {
                self.by_evaluation();
                "the grace after the manager's removal ends".to_owned()
            }
            Due::TermEnd => {
                let tag = self.terms.pop().map_or_else(String::new, |(_, tag)| tag);
                format!("the term of {tag} ends")
            }
        }
    }

    /// Leaving the registration ends what it had enforced: evaluation judges.
    fn by_evaluation(&mut self) {
        self.registered = false;
        (self.id_expiry, self.authorization_expiry, self.grace_end) = (None, None, None);
        self.after_overage = None;
        if self.fixed_evaluation_end.map_or(self.evaluation_left_s > 0, |end| end > self.now) {
            self.authorization = Authorization::Evaluation;
            self.enforced = Enforced::Normal;
        } else {
            self.authorization = Authorization::EvaluationExpired;
            self.enforce(self.profile.eval_expired.effect);
        }
    }

    fn enforce(&mut self, effect: Effect) {
        self.enforced = match effect {
            Effect::AllowNotify => Enforced::Notify,
            Effect::RejectNew | Effect::RejectNewRegistrations | Effect::ConfigFreeze => {
                Enforced::Enforced { effect, since: self.now }
            }
        };
    }

    /// What is in force already is not lifted, and an overage that runs keeps its deadline.
    fn consequence(&mut self, of: Consequence) {
        match (of.overage(), self.enforced) {
            (Some(_), Enforced::Overage { .. } | Enforced::Enforced { .. }) => {}
            (Some((seconds, then)), Enforced::Normal | Enforced::Notify) => {
                self.enforced = Enforced::Overage { until: UnixMillis(self.now.0.saturating_add(seconds * 1000)) };
                self.after_overage = Some(then);
            }
            (None, Enforced::Enforced { .. }) => {}
            (None, Enforced::Overage { .. }) if of.effect == Effect::AllowNotify => {}
            (None, Enforced::Normal | Enforced::Notify | Enforced::Overage { .. }) => self.enforce(of.effect),
        }
    }
}
