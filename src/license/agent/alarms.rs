//! Alarms: a function of the state, so that a restart raises what stood and nothing else.
//!
//! Some follow from the regions and deadlines alone; the others *stand* in the state from the event that raised them to the
//! one that ends them. What must stay true: every text says what is, since when, what it does to calls now, what comes
//! next and when, and what to do.

use std::collections::BTreeMap;

use super::action::{Alarm, AlarmKind, AlarmLevel};
use super::core::Agent;
use super::enforcement::{self, evaluation_left_s};
use super::state::{Authorization, Enforced, Registration, Standing};
use super::text::{effect, on_calls};
use crate::license::HOUR_S;
use crate::license::when::when;
use crate::protocol::TagStatus;
use crate::units::UnixMillis;

/// Evaluation left at which its end is an alarm, in seconds.
const EVALUATION_NEAR_S: u64 = 30 * 24 * HOUR_S;

impl AlarmKind {
    /// How bad it is.
    #[must_use]
    pub const fn level(self) -> AlarmLevel {
        match self {
            Self::IdExpired
            | Self::IdRevoked
            | Self::AuthExpired
            | Self::Enforced
            | Self::EvalExpired
            | Self::GrantRejected
            | Self::AgentInitFailed => AlarmLevel::Critical,
            Self::RegFailed
            | Self::ReregFailed
            | Self::ReregisterNeeded
            | Self::RegDown
            | Self::AuthDown
            | Self::OocImminent
            | Self::Ooc
            | Self::ComputeFailed
            | Self::ClockRollback
            | Self::ClockJump
            | Self::ClockSkew
            | Self::DuplicateUdi
            | Self::AgentStale
            | Self::UnknownCa => AlarmLevel::Major,
            Self::RegRetry
            | Self::HostnameChanged
            | Self::IdRenewFailed
            | Self::AuthRenewFailed
            | Self::OocPending
            | Self::EvalNear
            | Self::ReportFailed
            | Self::InvalidTag
            | Self::TransportLocked
            | Self::DeregOrphan
            | Self::StateRestored => AlarmLevel::Warning,
        }
    }

    /// What to do about it.
    const fn remedy(self) -> &'static str {
        match self {
            Self::RegFailed => "make a new token at the license manager and register with it",
            Self::RegRetry | Self::RegDown | Self::AuthDown | Self::AuthRenewFailed | Self::IdRenewFailed => {
                "check the way to the license manager: `callgate license test-connection` names the step that fails"
            }
            Self::ReregFailed => "register again with a token of the other virtual account, or stay where it is",
            Self::ReregisterNeeded => "register this instance: registrations don't move between machines",
            Self::HostnameChanged => "renew the registration: `callgate license renew id`",
            Self::IdExpired | Self::IdRevoked => "register again with a new token",
            Self::AuthExpired => "restore contact with the license manager; any grant ends this",
            Self::OocPending | Self::OocImminent | Self::Ooc => "buy licenses, transfer them, or request fewer",
            Self::Enforced => "end its cause: see the other alarms",
            Self::EvalNear | Self::EvalExpired => "register with a license manager",
            Self::ReportFailed => "nothing: the report is told once contact is back",
            Self::ComputeFailed | Self::AgentInitFailed | Self::AgentStale => "see the log; restart the sidecar",
            Self::InvalidTag => "check the product profile and the account: the manager doesn't know the tag",
            Self::GrantRejected => {
                "check whether something stands between this host and the manager, and the manager's clock and backups"
            }
            Self::ClockRollback | Self::ClockJump | Self::ClockSkew => "set the clock right, and keep it so with NTP",
            Self::UnknownCa => "add the issuer to the trust store in `[license]`, or remove the proxy that presents it",
            Self::TransportLocked => "deregister, change the transport, register again",
            Self::DuplicateUdi => "two hosts use one identity: register the copy as an instance of its own",
            Self::DeregOrphan => "remove the instance at the license manager, or wait until it is reached",
            Self::StateRestored => "find out what damaged the other copy",
        }
    }
}

impl Agent {
    /// Begins an alarm that an event ends, or changes its text.
    pub(super) fn stand(&mut self, kind: AlarmKind, detail: String) {
        self.stand_since(kind, detail, self.clock.now());
    }

    pub(super) fn stand_since(&mut self, kind: AlarmKind, detail: String, since: UnixMillis) {
        self.state.standing.entry(kind).or_insert(Standing { since, detail: String::new() }).detail = detail;
    }

    pub(super) fn unstand(&mut self, kind: AlarmKind) {
        self.state.standing.remove(&kind);
    }

    /// Everything that is to be told now.
    pub(super) fn due_alarms(&self) -> BTreeMap<AlarmKind, Alarm> {
        let mut told: BTreeMap<AlarmKind, Standing> = self.state.standing.clone();
        self.derive(&mut told);
        let calls = on_calls(&enforcement::limits(&self.state, &self.setup, self.clock.now()), &self.setup);
        told.into_iter()
            .map(|(kind, Standing { since, detail })| {
                let (next, next_at) = self.next_of(kind);
                let alarm = Alarm {
                    kind,
                    level: kind.level(),
                    what: detail,
                    since,
                    effect: calls.clone(),
                    next,
                    next_at,
                    remedy: kind.remedy().to_owned(),
                };
                (kind, alarm)
            })
            .collect()
    }

    /// Alarms that follow from the state itself.
    fn derive(&self, told: &mut BTreeMap<AlarmKind, Standing>) {
        let (state, profile, now) = (&self.state, &*self.setup.profile, self.clock.now());
        let mut tell = |kind, since: Option<UnixMillis>, detail: String| {
            told.entry(kind).or_insert(Standing { since: since.unwrap_or(now), detail });
        };
        let reason = || state.latest_failure.as_ref().map_or_else(String::new, |failure| failure.text.clone());
        let first_failure = state.contact.first_failure;
        match &state.registration {
            Registration::Failed { failure } => {
                tell(AlarmKind::RegFailed, Some(failure.at), format!("registration was refused: {}", failure.text));
            }
            Registration::Pending if state.contact.failures > 0 => {
                tell(AlarmKind::RegRetry, first_failure, format!("registration gets no answer: {}", reason()));
            }
            Registration::Unregistered | Registration::Pending | Registration::Registered | Registration::Expired => {}
        }
        if self.is_authorized() && state.contact.failures > 0 {
            tell(AlarmKind::AuthRenewFailed, first_failure, format!("authorization cannot be renewed: {}", reason()));
        }
        if let Some(since) = state.contact.id_first_failure {
            let what = format!("the id certificate cannot be renewed: {}", reason());
            tell(AlarmKind::IdRenewFailed, Some(since), what);
        }
        if let Enforced::Enforced { effect: in_force, since } = state.enforced {
            tell(AlarmKind::Enforced, Some(since), effect(in_force).to_owned());
        }
        let left_s = evaluation_left_s(state, profile, now);
        if enforcement::evaluation_counts(state, profile) && left_s <= EVALUATION_NEAR_S && left_s > 0 {
            let near = UnixMillis(self.evaluation_end().0.saturating_sub(EVALUATION_NEAR_S * 1000));
            let since = self.alarm_since(AlarmKind::EvalNear).unwrap_or(near);
            let what = format!("{} hours of evaluation are left", left_s / HOUR_S);
            tell(AlarmKind::EvalNear, Some(since), what);
        }
        if state.authorization == Authorization::EvaluationExpired {
            tell(
                AlarmKind::EvalExpired,
                self.alarm_since(AlarmKind::EvalExpired),
                "the evaluation period is used up".to_owned(),
            );
        }
        let unknown: Vec<&str> = state
            .grant
            .iter()
            .flat_map(|grant| &grant.tags)
            .filter(|tag| tag.status == TagStatus::Invalid)
            .map(|tag| tag.tag.as_str())
            .collect();
        if !unknown.is_empty() {
            let since = state.grant.as_ref().map(|grant| grant.issued_at);
            let since = self.alarm_since(AlarmKind::InvalidTag).or(since);
            tell(AlarmKind::InvalidTag, since, format!("the manager doesn't know {}", unknown.join(", ")));
        }
        if self.clock.rolled_back() {
            let since = self.alarm_since(AlarmKind::ClockRollback);
            tell(
                AlarmKind::ClockRollback,
                since,
                "the wall clock went back; time goes on by the boot clock".to_owned(),
            );
        }
        if self.clock.leapt() {
            let since = self.alarm_since(AlarmKind::ClockJump);
            let what = "the wall clock leapt ahead; deadlines wait for a signed time, for 72 hours at most";
            tell(AlarmKind::ClockJump, since, what.to_owned());
        }
    }

    /// What happens next, and when.
    fn next_of(&self, kind: AlarmKind) -> (String, Option<UnixMillis>) {
        let (state, profile) = (&self.state, &*self.setup.profile);
        let deadlines = &state.deadlines;
        let again = |what: &str, at: Option<UnixMillis>| match at {
            Some(at) => (format!("{what} at {}", when(at)), Some(at)),
            None => ("an answer is awaited".to_owned(), None),
        };
        let expiry = || {
            let (text, at) = again("tried again", deadlines.authorization_due);
            let then = profile.auth_expired.overage().map_or(profile.auth_expired.effect, |(_, then)| then);
            match deadlines.authorization_expiry {
                Some(ends) => (
                    format!("{text}; authorization expires at {}, in the end: {}", when(ends), effect(then)),
                    Some(ends),
                ),
                None => (text, at),
            }
        };
        let overage = || match state.enforced {
            Enforced::Overage { until } => {
                let then = profile.ooc.consequence().overage().or(profile.auth_expired.overage());
                let then = then.map_or("", |(_, then)| effect(then));
                (format!("overage ends at {}; then {then}", when(until)), Some(until))
            }
            Enforced::Normal | Enforced::Notify | Enforced::Enforced { .. } => {
                ("nothing changes by itself".to_owned(), None)
            }
        };
        match kind {
            AlarmKind::RegRetry | AlarmKind::ReregFailed if state.token.is_some() => {
                again("tried again", deadlines.registration_retry)
            }
            AlarmKind::RegDown if state.registration == Registration::Pending => {
                again("tried again", deadlines.registration_retry)
            }
            AlarmKind::RegDown | AlarmKind::AuthDown | AlarmKind::AuthRenewFailed | AlarmKind::GrantRejected => {
                expiry()
            }
            AlarmKind::IdRenewFailed => {
                let (text, _) = again("tried again", deadlines.id_renewal_due);
                match deadlines.id_expiry {
                    Some(ends) => (format!("{text}; the certificate expires at {}", when(ends)), Some(ends)),
                    None => (text, None),
                }
            }
            AlarmKind::IdRevoked => match deadlines.revocation_grace_end {
                Some(at) => {
                    let text =
                        format!("at {} the registration ends; then {}", when(at), effect(profile.eval_expired.effect));
                    (text, Some(at))
                }
                None => ("the product is judged by its evaluation".to_owned(), None),
            },
            AlarmKind::AuthExpired => {
                let (text, at) = again("tried again", deadlines.authorization_due);
                let (then, until) = overage();
                (format!("{text}; {then}"), until.or(at))
            }
            AlarmKind::OocPending | AlarmKind::OocImminent => {
                let at = deadlines.over_use_since.zip(profile.ooc.tolerance_s());
                let at = at.map(|(since, tolerance_s)| super::timers::plus_s(since, tolerance_s));
                again("reported to the manager, whose answer decides,", at)
            }
            AlarmKind::Ooc => overage(),
            AlarmKind::EvalNear => {
                // Running time: the date would change with each stop, the effect doesn't.
                (format!("then {}", effect(profile.eval_expired.effect)), None)
            }
            AlarmKind::ReportFailed => again("tried again", deadlines.authorization_due),
            AlarmKind::DeregOrphan => again("told again", state.goodbye.as_ref().map(|goodbye| goodbye.due)),
            AlarmKind::ClockRollback | AlarmKind::ClockJump | AlarmKind::ClockSkew => {
                ("ends an hour after the clock is right".to_owned(), None)
            }
            AlarmKind::RegRetry
            | AlarmKind::ReregFailed
            | AlarmKind::RegFailed
            | AlarmKind::ReregisterNeeded
            | AlarmKind::HostnameChanged
            | AlarmKind::IdExpired
            | AlarmKind::Enforced
            | AlarmKind::EvalExpired
            | AlarmKind::ComputeFailed
            | AlarmKind::AgentInitFailed
            | AlarmKind::InvalidTag
            | AlarmKind::UnknownCa
            | AlarmKind::TransportLocked
            | AlarmKind::DuplicateUdi
            | AlarmKind::AgentStale
            | AlarmKind::StateRestored => ("nothing changes by itself".to_owned(), None),
        }
    }
}
