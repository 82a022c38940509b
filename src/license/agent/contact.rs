//! How contact goes: attempts, failures and when to try again, what a success proves.

use super::action::{AlarmKind, TransportStep};
use super::answers::Reply;
use super::core::Agent;
use super::requests::{InFlight, Purpose};
use super::state::{Attempt, Authorization, Failure, Registration};
use super::timers::plus_s;
use crate::license::ExpiryBasis;
use crate::protocol::{AckAnswer, AnswerHeader, Refusal};
use crate::units::UnixMillis;

/// Attempts that are kept for people.
const ATTEMPTS_MAX: usize = 5;

/// Failures after which it is said that the manager is down.
const DOWN_AFTER: u32 = 3;

/// The wall clock was set if it moved by more than this against the boot clock, in milliseconds. What the accepted skew is
/// exceeded by is far more; what NTP does to a clock that is right is far less.
const CLOCK_SET_MS: u64 = 60_000;

impl Agent {
    /// Notes how a request ended.
    pub(super) fn attempted(&mut self, exchange: &InFlight, failure: Option<Failure>) {
        let endpoint = exchange.purpose.endpoint();
        let counts = self.state.statistics.entry(endpoint).or_default();
        // What could not be made was never in the queue: it is counted as dropped.
        if exchange.queued {
            counts.in_queue = counts.in_queue.saturating_sub(1);
            match &failure {
                None => counts.success += 1,
                Some(failure) if failure.code == TransportStep::Configuration.name() => counts.dropped += 1,
                Some(_) => counts.failed += 1,
            }
        }
        if let Some(failure) = &failure {
            self.state.latest_failure = Some(failure.clone());
        }
        let attempts = &mut self.state.contact.attempts;
        attempts.push(Attempt { at: exchange.sent_at.min(self.clock.now()), endpoint, failure });
        let surplus = attempts.len().saturating_sub(ATTEMPTS_MAX);
        attempts.drain(..surplus);
    }

    /// The manager said something, be it no.
    pub(super) fn heard(&mut self) {
        self.state.contact.unheard = 0;
        self.unstand(AlarmKind::RegDown);
        self.unstand(AlarmKind::AuthDown);
    }

    /// Somebody set the wall clock since the manager's time was refused: perhaps they agree now.
    pub(super) fn clock_was_set(&mut self) -> bool {
        let set = self.skewed_at.is_some_and(|then| {
            let moved = self.clock.offset_ms().wrapping_sub(then);
            moved.min(moved.wrapping_neg()) > CLOCK_SET_MS
        });
        if set {
            self.skewed_at = None;
        }
        set
    }

    /// What failed is tried again now, not only when its time has come.
    pub(super) fn try_again(&mut self) {
        let now = self.clock.now();
        let (deadlines, contact) = (&mut self.state.deadlines, &self.state.contact);
        let sooner = |at: &mut Option<UnixMillis>| *at = at.map(|at| at.min(now));
        sooner(&mut deadlines.registration_retry);
        if contact.failures > 0 {
            sooner(&mut deadlines.authorization_due);
        }
        if contact.id_first_failure.is_some() {
            sooner(&mut deadlines.id_renewal_due);
        }
    }

    /// A signed time took back what the wall clock alone had brought: what was set by that is due as long from now, and
    /// what it ended stays ended.
    pub(super) fn brought_back(&mut self, was: UnixMillis) {
        let now = self.clock.now();
        let back = |at: &mut Option<UnixMillis>| {
            if let Some(at) = at.as_mut().filter(|at| **at > was) {
                at.0 -= was.0 - now.0;
            }
        };
        let deadlines = &mut self.state.deadlines;
        // Evaluation is never given back.
        if let Some(end) = deadlines.deregistered_evaluation_end.as_mut().filter(|end| **end <= was) {
            *end = (*end).min(now);
        }
        for at in [
            &mut deadlines.registration_retry,
            &mut deadlines.authorization_due,
            &mut deadlines.id_renewal_due,
            &mut deadlines.report_due,
            &mut deadlines.sample_due,
            &mut deadlines.deregistered_evaluation_end,
            &mut deadlines.overage_end,
            &mut deadlines.overage_forgotten,
            &mut deadlines.revocation_grace_end,
        ] {
            back(at);
        }
        let contact = &mut self.state.contact;
        for at in [
            &mut contact.first_failure,
            &mut contact.id_first_failure,
            &mut contact.last_attempt,
            &mut contact.last_success,
            &mut contact.last_authorized,
            &mut self.state.reported_until,
            &mut deadlines.over_use_since,
        ] {
            *at = at.map(|at| at.min(now));
        }
        for attempt in &mut contact.attempts {
            attempt.at = attempt.at.min(now);
        }
        // An expiry that counts from a failure began in a time that never was.
        if let (ExpiryBasis::FirstFailure, Some(first)) = (self.setup.profile.auth_expiry.basis, contact.first_failure)
        {
            let latest = plus_s(first, self.setup.profile.auth_expiry.span_s());
            deadlines.authorization_expiry = deadlines.authorization_expiry.map(|at| at.min(latest));
        }
        for standing in self.state.standing.values_mut() {
            standing.since = standing.since.min(now);
        }
        for counts in self.state.statistics.values_mut() {
            counts.last_sent = counts.last_sent.map(|at| at.min(now));
        }
        self.report_asked = self.report_asked.map(|at| at.min(now));
        self.usage.take_back(now);
        if let Some(goodbye) = &mut self.state.goodbye {
            goodbye.due = goodbye.due.min(now);
        }
        for sent in self.exchanges.values_mut() {
            sent.lost_at.0 = sent.lost_at.0.saturating_sub(was.0 - now.0);
            sent.sent_at = sent.sent_at.min(now);
        }
    }

    /// What every believed answer proves.
    pub(super) fn contact_succeeded(&mut self, exchange: InFlight, header: &AnswerHeader) {
        let now = self.clock.now();
        self.attempted(&exchange, None);
        // The manager remembers what a lost disk forgot.
        let account = &mut self.state.evaluation;
        account.used_s = account.used_s.max(header.eval_used_s);
        for kind in [AlarmKind::RegDown, AlarmKind::AuthDown, AlarmKind::UnknownCa] {
            self.unstand(kind);
        }
        match exchange.purpose {
            Purpose::Registration | Purpose::Entitlement | Purpose::Renew | Purpose::Report => {}
            // The old account may have gone silent: its authorization is the first grant's to renew.
            Purpose::Move | Purpose::Deregistration | Purpose::Goodbye | Purpose::Ack => return,
        }
        self.state.contact.failures = 0;
        self.state.contact.first_failure = None;
        self.state.contact.last_success = Some(now);
        self.state.deadlines.authorization_expiry = match self.setup.profile.auth_expiry.basis {
            ExpiryBasis::LastSuccess => Some(plus_s(now, self.setup.profile.auth_expiry.span_s())),
            ExpiryBasis::FirstFailure => None,
        };
        if exchange.purpose != Purpose::Registration && self.state.deadlines.revocation_grace_end.take().is_some() {
            self.unstand(AlarmKind::IdRevoked);
        }
        if self.state.authorization == Authorization::AuthorizationExpired {
            // Contact is back: a grant is asked for at once.
            self.state.deadlines.authorization_due = Some(now);
        }
    }

    /// Rows 12, 22, 33, 38 and 40: contact failed, and is tried again in time.
    pub(super) fn contact_failed(&mut self, exchange: InFlight, failure: Failure, asked_s: Option<u64>) {
        let unknown_ca = failure.code == TransportStep::TlsIssuer.name();
        self.attempted(&exchange, Some(failure.clone()));
        if unknown_ca {
            self.stand(AlarmKind::UnknownCa, failure.text.clone());
        } else {
            self.unstand(AlarmKind::UnknownCa);
        }
        if exchange.purpose == Purpose::Ack {
            return;
        }
        let sent_at = exchange.sent_at.min(self.clock.now());
        let contact = &mut self.state.contact;
        contact.failures = contact.failures.saturating_add(1);
        contact.unheard = contact.unheard.saturating_add(1);
        let first = *contact.first_failure.get_or_insert(sent_at);
        if contact.unheard >= DOWN_AFTER {
            self.stand(AlarmKind::RegDown, failure.text.clone());
            if self.state.registration == Registration::Registered {
                self.stand(AlarmKind::AuthDown, failure.text.clone());
            }
        }
        if self.setup.profile.auth_expiry.basis == ExpiryBasis::FirstFailure
            && self.state.registration == Registration::Registered
            && self.state.deadlines.authorization_expiry.is_none()
        {
            self.state.deadlines.authorization_expiry = Some(plus_s(first, self.setup.profile.auth_expiry.span_s()));
        }
        let retry = &self.setup.profile.retry;
        match exchange.purpose {
            Purpose::Registration | Purpose::Move => {
                let after_s = retry.registration_after_s();
                self.state.deadlines.registration_retry = Some(self.retry_at(sent_at, after_s, asked_s));
                if exchange.purpose == Purpose::Move {
                    self.stand(AlarmKind::ReregFailed, failure.text);
                }
            }
            Purpose::Entitlement => {
                let after_s = self.authorization_retry_s(sent_at, Some(first));
                self.state.deadlines.authorization_due = Some(self.retry_at(sent_at, after_s, asked_s));
            }
            Purpose::Renew => {
                let first = *self.state.contact.id_first_failure.get_or_insert(sent_at);
                let after_s = self.authorization_retry_s(sent_at, Some(first));
                self.state.deadlines.id_renewal_due = Some(self.retry_at(sent_at, after_s, asked_s));
            }
            Purpose::Report => {
                self.stand(AlarmKind::ReportFailed, failure.text);
                // The report waits for contact; contact is tried like any authorization.
                let after_s = self.authorization_retry_s(sent_at, Some(first));
                let retry_at = self.retry_at(sent_at, after_s, asked_s);
                let due = self.state.deadlines.authorization_due.map_or(retry_at, |due| due.min(retry_at));
                self.state.deadlines.authorization_due = Some(due);
                self.state.deadlines.report_due = Some(self.next_report(asked_s));
            }
            Purpose::Deregistration | Purpose::Goodbye | Purpose::Ack => {}
        }
    }

    /// A registered instance was told no.
    pub(super) fn contact_refused(&mut self, exchange: InFlight, refusal: &Refusal) {
        self.refused_for_now(exchange, refusal);
        if refusal.code.ends_registration() {
            self.revoked(refusal);
        }
    }

    pub(super) fn ack_replied(&mut self, exchange: InFlight, reply: Reply<AckAnswer>) {
        match reply {
            Reply::Answer(answer) => self.contact_succeeded(exchange, &answer.header),
            Reply::Refused(refusal) => self.refused_for_now(exchange, &refusal),
            Reply::Doubtful(failure) => self.contact_failed(exchange, failure, None),
            Reply::Lost(failure, after) => self.contact_failed(exchange, failure, after),
        }
    }

    /// A grant is in force, and contact is not lost.
    pub(super) fn is_authorized(&self) -> bool {
        matches!(self.state.authorization, Authorization::Authorized | Authorization::OutOfCompliance)
    }
}
