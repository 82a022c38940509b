//! What is due when. Deadlines are absolute effective times in the state, so that a restart arms them as they were.
//!
//! What must stay true: an event either moves its own deadline or leaves the state in which that deadline counts; a request
//! on its way keeps its own timer still.

use sha2::{Digest, Sha256};

use super::action::{Action, AlarmLevel, Notice};
use super::core::Agent;
use super::enforcement;
use super::requests::Purpose;
use super::state::{Authorization, Client, Enforced, Registration};
use super::text::effect;
use crate::license::when::when;
use crate::license::{Effect, HOUR_S, Profile};
use crate::units::UnixMillis;

const DAY_S: u64 = 24 * HOUR_S;

/// How long before a deadline people are told, in seconds.
pub(super) const MARKS_S: [u64; 8] =
    [90 * DAY_S, 60 * DAY_S, 30 * DAY_S, 14 * DAY_S, 7 * DAY_S, 3 * DAY_S, DAY_S, HOUR_S];

/// How long compliance must last until the overage deadline is forgotten.
pub(super) const FORGET_OVERAGE_S: u64 = DAY_S;

/// How often a deregistration that the manager hasn't heard of is told again.
pub(super) const GOODBYE_S: u64 = 4 * HOUR_S;

/// In the order in which they go off at one instant: what ends comes before what is begun, and evaluation ends first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    EvaluationOut,
    RevocationOut,
    IdExpired,
    AuthorizationExpired,
    OverageOut,
    OverageForgotten,
    Sample,
    Tolerance,
    RegistrationRetry,
    AuthorizationDue,
    IdDue,
    ReportDue,
    Goodbye,
    /// The driver lost a request.
    Lost,
    /// A deregistration whose end could not be kept.
    Deregistration,
    Warn,
}

pub(super) const fn plus_s(at: UnixMillis, seconds: u64) -> UnixMillis {
    UnixMillis(at.0.saturating_add(seconds.saturating_mul(1000)))
}

impl Agent {
    /// Everything that will go off by itself.
    pub(super) fn timers(&self) -> Vec<(UnixMillis, Timer)> {
        let (state, profile, now) = (&self.state, &*self.setup.profile, self.clock.now());
        let mut timers = Vec::with_capacity(12);
        let mut arm = |at: Option<UnixMillis>, timer| timers.extend(at.map(|at| (at, timer)));
        let registered = enforcement::is_registered(state);
        if enforcement::evaluation_counts(state, profile) {
            arm(Some(self.evaluation_end()), Timer::EvaluationOut);
        }
        if state.client != Client::Disabled {
            arm(Some(state.deadlines.sample_due.unwrap_or(now)), Timer::Sample);
        }
        if state.registration == Registration::Pending && !self.is_sent(Purpose::Registration) {
            arm(Some(state.deadlines.registration_retry.unwrap_or(now)), Timer::RegistrationRetry);
        }
        if registered {
            arm(state.deadlines.revocation_grace_end, Timer::RevocationOut);
            arm(state.deadlines.id_expiry, Timer::IdExpired);
            if state.token.is_some() && !self.is_sent(Purpose::Move) {
                arm(Some(state.deadlines.registration_retry.unwrap_or(now)), Timer::RegistrationRetry);
            }
            if matches!(
                state.authorization,
                Authorization::Waiting | Authorization::Authorized | Authorization::OutOfCompliance
            ) {
                arm(state.deadlines.authorization_expiry, Timer::AuthorizationExpired);
            }
            if state.authorization != Authorization::None && !self.is_sent(Purpose::Entitlement) {
                arm(Some(state.deadlines.authorization_due.unwrap_or(now)), Timer::AuthorizationDue);
            }
            if !self.is_sent(Purpose::Renew) {
                arm(state.deadlines.id_renewal_due, Timer::IdDue);
            }
            if !self.is_sent(Purpose::Report) {
                arm(state.deadlines.report_due, Timer::ReportDue);
            }
        }
        for until in enforcement::overage_ends(state, profile, self.judged_at) {
            arm(Some(until), Timer::OverageOut);
        }
        arm(state.deadlines.overage_forgotten, Timer::OverageForgotten);
        if state.authorization == Authorization::Authorized {
            arm(self.tolerance.poll_timeout(&profile.ooc), Timer::Tolerance);
        }
        if let Some(goodbye) = &state.goodbye
            && !self.is_sent(Purpose::Goodbye)
        {
            arm(Some(goodbye.due), Timer::Goodbye);
        }
        arm(self.exchanges.values().map(|exchange| exchange.lost_at).min(), Timer::Lost);
        if state.leaving.is_some() && !self.is_sent(Purpose::Deregistration) {
            arm(Some(now), Timer::Deregistration);
        }
        let marks = self.dreaded().into_iter().filter_map(|dread| self.next_mark(&dread)).min();
        arm(marks.map(|at| at.max(now)), Timer::Warn);
        timers
    }

    /// When evaluation ends, if it runs until then.
    pub(super) fn evaluation_end(&self) -> UnixMillis {
        let now = self.clock.now();
        if let Some(end) = self.state.deadlines.deregistered_evaluation_end {
            return end;
        }
        let account = &self.state.evaluation;
        let limit_s = account.limit_s.min(self.setup.profile.eval.limit_s());
        let to_come = plus_s(now, limit_s.saturating_sub(account.used_s)).0;
        // What ran beyond the end ended in the past: events of one long step keep their order.
        UnixMillis(to_come.saturating_sub(account.used_s.saturating_sub(limit_s).saturating_mul(1000)))
    }

    /// When to try again what failed at `sent_at`. `asked_s` is what the other side asked for: it may only extend.
    pub(super) fn retry_at(&self, sent_at: UnixMillis, after_s: u64, asked_s: Option<u64>) -> UnixMillis {
        let asked = plus_s(self.clock.now(), asked_s.unwrap_or(0).min(ASKED_MAX_S));
        let sent_at = sent_at.min(self.clock.now());
        UnixMillis(sent_at.0.saturating_add(self.jittered_ms(after_s))).max(asked)
    }

    /// The interval until the next try of an authorization, in seconds.
    pub(super) fn authorization_retry_s(&self, sent_at: UnixMillis, first: Option<UnixMillis>) -> u64 {
        let retry = &self.setup.profile.retry;
        if self.state.authorization == Authorization::AuthorizationExpired {
            return retry.auth_expired_after_s();
        }
        retry.auth_after_s(sent_at.0.saturating_sub(first.unwrap_or(sent_at).0) / 1000)
    }

    /// Spread by 10 % either way, always the same for one UDI: a fleet doesn't come back in step after an outage.
    fn jittered_ms(&self, seconds: u64) -> u64 {
        let ms = seconds.saturating_mul(1000);
        if !self.setup.retry_jitter {
            return ms;
        }
        let digest = Sha256::digest(self.state.udi.to_string());
        let [one, two, ..] = digest.as_slice() else { return ms };
        let part = u64::from(u16::from_le_bytes([*one, *two])) % 2001;
        // From 90 % to 110 %, in steps of a hundredth of a percent.
        ms / 10_000 * (9000 + part)
    }

    /// The deadlines that lead to something being refused, as things stand.
    pub(super) fn dreaded(&self) -> Vec<Dread> {
        let (state, profile) = (&self.state, &*self.setup.profile);
        let mut dreaded = Vec::new();
        let mut add = |name, what, at: Option<UnixMillis>, then: Effect| {
            if let Some(at) = at
                && then != Effect::AllowNotify
            {
                dreaded.push(Dread { name, what, at, then });
            }
        };
        if enforcement::evaluation_counts(state, profile) {
            add("evaluation", "the evaluation period ends", Some(self.evaluation_end()), profile.eval_expired.effect);
        }
        if enforcement::is_registered(state) {
            if state.contact.failures > 0 && state.authorization != Authorization::AuthorizationExpired {
                let at = state.deadlines.authorization_expiry;
                add("authorization", "the authorization expires", at, after(profile, profile.auth_expired.effect));
            }
            if state.contact.id_first_failure.is_some() {
                let at = state.deadlines.id_expiry;
                add("id", "the id certificate expires, then evaluation counts", at, profile.eval_expired.effect);
            }
            let at = state.deadlines.revocation_grace_end;
            add("revocation", "what the manager took away ends", at, profile.eval_expired.effect);
        }
        if let Enforced::Overage { until } = state.enforced {
            let then = [profile.ooc.consequence(), profile.auth_expired].iter().find_map(|what| what.overage());
            add("overage", "the overage period ends", Some(until), then.map_or(Effect::AllowNotify, |(_, then)| then));
        }
        dreaded
    }

    fn next_mark(&self, dread: &Dread) -> Option<UnixMillis> {
        let told = self.state.warned.get(dread.name).copied();
        let left_s = dread.at.0.saturating_sub(self.clock.now().0) / 1000;
        // A deadline that moved away may be told again.
        let told = told.filter(|told| left_s <= *told).unwrap_or(u64::MAX);
        let mark = MARKS_S.into_iter().find(|mark| *mark < told && dread.at.0 > mark * 1000)?;
        Some(UnixMillis(dread.at.0.saturating_sub(mark * 1000)))
    }

    /// Tells of each deadline whose next mark has passed.
    pub(super) fn warn(&mut self) {
        let now = self.clock.now();
        let dreaded = self.dreaded();
        // What was told stays told when contact comes back, or each single failure would tell the first mark again.
        for dread in dreaded {
            if self.next_mark(&dread).is_none_or(|at| at > now) {
                continue;
            }
            let left_s = dread.at.0.saturating_sub(now.0) / 1000;
            let passed = MARKS_S.into_iter().rfind(|mark| left_s <= *mark);
            self.state.warned.insert(dread.name.to_owned(), passed.unwrap_or(MARKS_S[0]));
            let level = if left_s <= 3 * DAY_S { AlarmLevel::Major } else { AlarmLevel::Warning };
            let text = format!("{} at {}; then {}", dread.what, when(dread.at), effect(dread.then));
            self.outbox.push(Action::Notice(Notice { name: "deadline_near", level, text, at: Some(dread.at) }));
        }
    }
}

/// The longest wait that the other side may ask for, in seconds. Contact must come long before authorization expires.
const ASKED_MAX_S: u64 = DAY_S;

/// A deadline that leads to something being refused.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dread {
    pub(super) name: &'static str,
    pub(super) what: &'static str,
    pub(super) at: UnixMillis,
    pub(super) then: Effect,
}

fn after(profile: &Profile, now: Effect) -> Effect {
    profile.auth_expired.overage().map_or(now, |(_, then)| then)
}
