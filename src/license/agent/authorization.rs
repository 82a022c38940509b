//! Rows 30 to 46: grants, and their absence.

use super::action::{AlarmKind, AlarmLevel};
use super::answers::Reply;
use super::command::{CommandRefused, Done};
use super::core::Agent;
use super::enforcement;
use super::registration::begun;
use super::requests::{InFlight, Purpose};
use super::state::{Authorization, Failure};
use super::timers::{FORGET_OVERAGE_S, plus_s};
use crate::protocol::{Acknowledged, ComplianceStatus, Grant, GrantAnswer};
use crate::units::UnixMillis;

/// Tags of a grant; more than any product has.
const GRANT_TAGS_MAX: usize = 256;

impl Agent {
    /// Row 35, asked for by a person.
    pub(super) fn renew_authorization(&mut self) -> Result<Done, CommandRefused> {
        self.must_be_registered()?;
        self.ask_for_grant();
        Ok(begun("authorization is in progress; its end is told by state and events"))
    }

    /// Rows 35, 40, 42, 43: ask now, whatever was on its way.
    pub(super) fn ask_for_grant(&mut self) {
        self.cancel(|purpose| purpose == Purpose::Entitlement);
        self.send(Purpose::Entitlement);
    }

    /// What the configuration asks for is what the manager was asked for last, answered or not.
    pub(super) fn is_asked(&self) -> bool {
        self.state.asked.as_ref().unwrap_or(&self.state.requested) == &self.wanted()
    }

    /// Row 42, or 43 when nothing is asked for any more: what is asked for has changed.
    pub(super) fn request_changed(&mut self) {
        if !enforcement::is_registered(&self.state) || self.state.leaving.is_some() {
            return;
        }
        if self.asks_nothing() {
            if self.is_authorized() || self.state.authorization == Authorization::Waiting {
                // Give back what is held; the answer is an empty grant.
                self.ask_for_grant();
            }
        } else {
            if self.state.authorization == Authorization::None {
                self.state.authorization = Authorization::Waiting;
                self.state.contact.failures = 0;
                self.state.contact.first_failure = None;
            }
            self.ask_for_grant();
        }
    }

    /// An answer to an entitlement request or a report (row 46): rows 30 to 41 and 44.
    pub(super) fn grant_replied(&mut self, exchange: InFlight, reply: Reply<GrantAnswer>) {
        match reply {
            Reply::Answer(answer) => match self.check_grant(&answer.grant) {
                Ok(()) => {
                    self.contact_succeeded(exchange, &answer.header);
                    self.schedule(exchange.purpose, &answer);
                    let mut changed = false;
                    if exchange.purpose == Purpose::Entitlement {
                        // Asking again cancels what was on its way: this answers the newest request.
                        let answered = self.state.asked.take().unwrap_or_default();
                        changed = !self.state.requested.is_empty() && self.state.requested != answered;
                        self.state.requested = answered;
                    }
                    self.accept(answer.grant);
                    if changed && self.setup.profile.report.on_change {
                        // What was used up to here was used under the old counts.
                        self.report();
                    }
                    let asked = self.state.asked.is_none() && self.is_asked();
                    if !asked && !self.is_sent(Purpose::Entitlement) && self.state.leaving.is_none() {
                        // A report was answered, and what failed to be asked for waits; or the account's export flag is new.
                        self.ask_for_grant();
                    }
                }
                Err(failure) => self.grant_rejected(exchange, failure),
            },
            Reply::Refused(refusal) => self.contact_refused(exchange, &refusal),
            Reply::Doubtful(failure) => self.grant_rejected(exchange, failure),
            Reply::Lost(failure, after) => self.contact_failed(exchange, failure, after),
        }
    }

    /// Row 44.
    fn grant_rejected(&mut self, exchange: InFlight, failure: Failure) {
        self.stand(AlarmKind::GrantRejected, failure.text.clone());
        self.contact_failed(exchange, failure, None);
    }

    fn check_grant(&self, grant: &Grant) -> Result<(), Failure> {
        let now = self.clock.now();
        let bad = |code: &str, text: String| Err(Failure { code: code.to_owned(), text, at: now });
        if grant.udi != self.state.udi {
            return bad("foreign_udi", format!("the grant is for {}; this instance is {}", grant.udi, self.state.udi));
        }
        if grant.seq <= self.state.last_grant_seq {
            let text = format!(
                "the grant has number {}, and number {} was seen before: an old one was replayed, or the manager lost \
                 its memory",
                grant.seq, self.state.last_grant_seq
            );
            return bad("old_grant", text);
        }
        if grant.tags.len() > GRANT_TAGS_MAX {
            let text = format!("the grant has {} tags; accepted: {GRANT_TAGS_MAX} at most", grant.tags.len());
            return bad("too_many_tags", text);
        }
        if grant.expires_at <= now {
            return bad("expired_grant", "the grant has expired already".to_owned());
        }
        Ok(())
    }

    fn schedule(&mut self, purpose: Purpose, answer: &GrantAnswer) {
        let now = self.clock.now();
        if purpose == Purpose::Report {
            self.unstand(AlarmKind::ReportFailed);
            self.state.reported_until = Some(now);
            let regular = self.next_report(answer.header.next_contact_hint_s);
            self.state.deadlines.report_due = Some(if std::mem::take(&mut self.report_owed) { now } else { regular });
        } else if self.state.standing.contains_key(&AlarmKind::ReportFailed) {
            // Contact is back: what could not be told is told now.
            self.state.deadlines.report_due = Some(now);
        }
    }

    /// Row 45, and the regular renewal: not later than the grant ends, or a term of what it grants.
    fn note_grant_expiry(&mut self) {
        let now = self.clock.now();
        let regular = plus_s(now, self.setup.profile.auth.renew_s());
        let ends = self
            .state
            .grant
            .iter()
            .flat_map(|grant| grant.tags.iter().filter_map(|tag| tag.term_end).chain([grant.expires_at]));
        let due = ends.filter(|end| *end > now).fold(regular, UnixMillis::min);
        self.state.deadlines.authorization_due = Some(due);
    }

    /// Rows 30, 31, 32, 36, 37, 41.
    fn accept(&mut self, grant: Grant) {
        let now = self.clock.now();
        let before = self.state.grant.replace(grant.clone());
        self.state.last_grant_seq = grant.seq;
        self.state.contact.last_authorized = Some(now);
        if let Some(membership) = &mut self.state.membership {
            // An instance can be transferred at the manager.
            membership.virtual_account.clone_from(&grant.virtual_account);
            membership.export_allowed = grant.export_allowed;
        }
        self.unstand(AlarmKind::GrantRejected);
        self.unstand(AlarmKind::AuthExpired);
        self.unstand(AlarmKind::EvalExpired);
        self.state.deadlines.authorization_overage_end = None;
        if self.asks_nothing() {
            self.state.authorization = Authorization::None;
            self.state.deadlines.authorization_due = None;
            self.in_compliance();
        } else {
            match grant.status {
                ComplianceStatus::InCompliance => {
                    let was = self.state.authorization;
                    self.state.authorization = Authorization::Authorized;
                    self.in_compliance();
                    if was != Authorization::Authorized {
                        let text = format!("authorized by virtual account {}", grant.virtual_account);
                        self.notice("authorized", AlarmLevel::Info, text);
                    }
                }
                ComplianceStatus::OutOfCompliance => self.out_of_compliance(&grant),
            }
            self.note_grant_expiry();
        }
        // What a smaller grant took away is no longer used once the limits are in force, which is before this is sent.
        for tag in &grant.tags {
            let held = before.as_ref().and_then(|before| before.tags.iter().find(|held| held.tag == tag.tag));
            if held.is_some_and(|held| tag.granted < held.granted || tag.cap < held.cap) {
                self.acknowledge(Acknowledged::Grant {
                    tag: tag.tag.clone(),
                    epoch: tag.epoch,
                    effective: tag.granted,
                });
            }
        }
    }

    /// Compliance ends the effect at once, and the deadline only after a day: flapping doesn't begin it anew.
    fn in_compliance(&mut self) {
        self.unstand(AlarmKind::Ooc);
        if self.state.deadlines.overage_end.is_some() && self.state.deadlines.overage_forgotten.is_none() {
            self.state.deadlines.overage_forgotten = Some(plus_s(self.clock.now(), FORGET_OVERAGE_S));
        }
    }

    fn out_of_compliance(&mut self, grant: &Grant) {
        let now = self.clock.now();
        let was = self.state.authorization;
        self.state.authorization = Authorization::OutOfCompliance;
        self.state.deadlines.overage_forgotten = None;
        if let (Some((hours_s, _)), None) =
            (self.setup.profile.ooc.consequence().overage(), self.state.deadlines.overage_end)
        {
            self.state.deadlines.overage_end = Some(plus_s(now, hours_s));
        }
        let short: Vec<String> = grant
            .pools
            .iter()
            .filter(|pool| pool.in_use > pool.purchased)
            .map(|pool| format!("{}: {} in use, {} bought", pool.tag, pool.in_use, pool.purchased))
            .collect();
        let detail = if short.is_empty() { "more is in use than was bought".to_owned() } else { short.join("; ") };
        self.stand(AlarmKind::Ooc, detail.clone());
        if was != Authorization::OutOfCompliance {
            // The compliance warning report: the shortfalls, not the inventory.
            self.notice("out_of_compliance", AlarmLevel::Warning, detail);
        }
    }

    /// Row 39.
    pub(super) fn authorization_expired(&mut self) {
        let now = self.clock.now();
        let at = self.state.deadlines.authorization_expiry.take().unwrap_or(now);
        self.state.authorization = Authorization::AuthorizationExpired;
        if let Some((hours_s, _)) = self.setup.profile.auth_expired.overage() {
            self.state.deadlines.authorization_overage_end = Some(plus_s(at, hours_s));
        }
        self.unstand(AlarmKind::Ooc);
        let detail = "no contact with the license manager for too long".to_owned();
        self.stand_since(AlarmKind::AuthExpired, detail.clone(), at);
        self.notice("authorization_expired", AlarmLevel::Critical, detail);
    }
}
