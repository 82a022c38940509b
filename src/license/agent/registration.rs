//! Rows 10 to 27: registering, renewing the id certificate, leaving.

use super::action::{Action, AlarmKind, AlarmLevel, Notice};
use super::answers::Reply;
use super::command::{CommandRefused, Done};
use super::core::Agent;
use super::enforcement;
use super::requests::{InFlight, Purpose};
use super::state::{
    Authorization, Client, Contact, Deadlines, Failure, Goodbye, Leaving, Membership, Registration, Secret,
};
use super::timers::{GOODBYE_S, plus_s};
use crate::license::{IdExpiredTo, SKEW_MAX_MS};
use crate::limits::Verdict;
use crate::protocol::{
    Acknowledged, DeregistrationAnswer, KeySet, PublicKey, Refusal, RefusalCode, RegistrationAnswer, RegistrationToken,
    RenewAnswer, SecretKey, verify_chain,
};
use crate::units::UnixMillis;

/// What a replayed number is answered by: far ahead of anything that a lost state can have sent.
const SEQ_LEAP: u64 = 1 << 32;

pub(super) fn refused(code: &'static str, text: impl Into<String>) -> CommandRefused {
    CommandRefused { code, text: text.into() }
}

pub(super) fn begun(text: impl Into<String>) -> Done {
    Done { in_progress: true, text: text.into() }
}

pub(super) fn done(text: impl Into<String>) -> Done {
    Done { in_progress: false, text: text.into() }
}

impl Agent {
    /// Rows 10, 15a, 16, 17.
    pub(super) fn register(&mut self, token: RegistrationToken, force: bool) -> Result<Done, CommandRefused> {
        match self.state.client {
            Client::Enabled => {}
            Client::Disabled => return Err(refused("disabled", "licensing is off: enable it first")),
            Client::Reservation => {
                return Err(refused("reservation", "licenses are reserved here: return the reservation first"));
            }
        }
        let purpose = match self.state.registration {
            Registration::Registered if !force => {
                return Err(refused(
                    "already_registered",
                    "this instance is registered already; `callgate license register --force` moves it to the token's account",
                ));
            }
            Registration::Registered => Purpose::Move,
            Registration::Unregistered
            | Registration::Pending
            | Registration::Failed { .. }
            | Registration::Expired => Purpose::Registration,
        };
        if self.state.leaving.is_some() {
            return Err(refused("deregistering", "a deregistration is under way: wait for its end"));
        }
        self.cancel(|purpose| matches!(purpose, Purpose::Registration | Purpose::Move));
        self.state.token = Some(token);
        self.state.force = force;
        self.state.deadlines.registration_retry = None;
        if purpose == Purpose::Registration && force {
            self.forget_root();
        }
        if purpose == Purpose::Registration {
            self.state.registration = Registration::Pending;
            self.state.contact.failures = 0;
            self.state.contact.first_failure = None;
        }
        self.unstand(AlarmKind::ReregFailed);
        self.send(purpose);
        Ok(begun("registration is in progress; its end is told by state and events"))
    }

    /// The next registration is a first one again: what it trusts is its own, unless the configuration names a root.
    pub(super) fn forget_root(&mut self) {
        let identity = &mut self.state.identity;
        (identity.root, identity.root_certificate_b64, identity.key_set) = (None, None, None);
    }

    /// Row 15, and the same for a move.
    pub(super) fn cancel_registration(&mut self) -> Result<Done, CommandRefused> {
        if self.state.token.is_none() {
            return Err(refused("not_pending", "no registration is waiting for an answer"));
        }
        self.drop_pending();
        Ok(done("the registration was cancelled and its token is forgotten"))
    }

    fn drop_pending(&mut self) {
        self.cancel(|purpose| matches!(purpose, Purpose::Registration | Purpose::Move));
        self.wipe_token();
        if self.state.registration == Registration::Pending {
            self.state.registration = Registration::Unregistered;
            self.heard();
            self.state.contact.failures = 0;
            self.state.contact.first_failure = None;
        }
    }

    /// The token goes with success, denial and cancel. Its memory is wiped as it drops.
    fn wipe_token(&mut self) {
        self.state.token = None;
        self.state.force = false;
        self.state.deadlines.registration_retry = None;
    }

    /// Row 13.
    pub(super) fn retry_registration(&mut self) {
        let purpose = if enforcement::is_registered(&self.state) { Purpose::Move } else { Purpose::Registration };
        self.state.deadlines.registration_retry = None;
        self.send(purpose);
    }

    /// Rows 11, 12, 14; 17 for a move.
    pub(super) fn registration_replied(&mut self, exchange: InFlight, reply: Reply<RegistrationAnswer>) {
        match reply {
            Reply::Answer(answer) => match self.check_certificate(&answer) {
                Ok((root, key_set, from, to)) => self.registered(exchange, *answer, root, key_set, (from, to)),
                Err(failure) => self.contact_failed(exchange, failure, None),
            },
            Reply::Refused(refusal) if refusal.code.is_passing() => self.refused_for_now(exchange, &refusal),
            Reply::Refused(refusal) => self.registration_denied(exchange, &refusal),
            Reply::Doubtful(failure) => self.contact_failed(exchange, failure, None),
            Reply::Lost(failure, after) => self.contact_failed(exchange, failure, after),
        }
    }

    /// The guard of row 11: the certificate is ours, and its chain leads to the root.
    fn check_certificate(
        &self,
        answer: &RegistrationAnswer,
    ) -> Result<(PublicKey, KeySet, UnixMillis, UnixMillis), Failure> {
        let bad = |text: String| Failure { code: "bad_certificate".to_owned(), text, at: self.clock.now() };
        let root = answer.root;
        let key_set = KeySet::open(&answer.key_set, &root, 0).map_err(|error| bad(error.to_string()))?;
        let (from, to) = self.check_chain(&answer.certificate_chain_b64, &root, &self.state.identity.key_seed)?;
        Ok((root, key_set, from, to))
    }

    fn check_chain(
        &self,
        chain: &[String],
        root: &PublicKey,
        seed: &Secret,
    ) -> Result<(UnixMillis, UnixMillis), Failure> {
        let now = self.clock.now();
        let bad = |text: String| Failure { code: "bad_certificate".to_owned(), text, at: now };
        let certificate = verify_chain(chain, root, now, SKEW_MAX_MS).map_err(|error| bad(error.to_string()))?;
        if certificate.udi != self.state.udi {
            return Err(bad(format!(
                "the certificate is for {}; this instance is {}",
                certificate.udi, self.state.udi
            )));
        }
        if certificate.key != SecretKey::from_seed(seed.0).public() {
            return Err(bad("the certificate is for another key than this instance's".to_owned()));
        }
        Ok((certificate.not_before, certificate.not_after))
    }

    fn registered(
        &mut self,
        exchange: InFlight,
        answer: RegistrationAnswer,
        root: PublicKey,
        key_set: KeySet,
        (valid_from, valid_to): (UnixMillis, UnixMillis),
    ) {
        let now = self.clock.now();
        let moving = exchange.purpose == Purpose::Move;
        self.wipe_token();
        let identity = &mut self.state.identity;
        identity.root = Some(root);
        identity.root_certificate_b64 = Some(answer.root_b64);
        identity.key_set = Some(key_set);
        identity.certificate_chain_b64 = answer.certificate_chain_b64;
        identity.pending = None;
        (identity.valid_from, identity.valid_to) = (Some(valid_from), Some(valid_to));
        let (transport, addresses) = self.way_in_force();
        let addresses = addresses.clone();
        self.state.membership = Some(Membership {
            instance: answer.instance.clone(),
            account: answer.account,
            virtual_account: answer.virtual_account.clone(),
            export_allowed: answer.export_allowed,
            registered_at: now,
            renewed_at: None,
            transport,
            addresses,
            hostname: (!self.setup.withhold_hostname).then(|| self.setup.hostname.clone()),
        });
        // A goodbye to this virtual account would end what has just begun; one to another is still owed.
        if self.state.goodbye.as_ref().is_some_and(|goodbye| goodbye.virtual_account == answer.virtual_account) {
            self.state.goodbye = None;
            self.unstand(AlarmKind::DeregOrphan);
        }
        for kind in [
            AlarmKind::ReregFailed,
            AlarmKind::ReregisterNeeded,
            AlarmKind::HostnameChanged,
            AlarmKind::IdExpired,
            AlarmKind::IdRevoked,
            AlarmKind::DuplicateUdi,
        ] {
            self.unstand(kind);
        }
        self.state.deadlines.revocation_grace_end = None;
        self.arm_id(valid_from, valid_to);
        self.contact_succeeded(exchange, &answer.header);
        if !moving {
            self.state.registration = Registration::Registered;
            self.state.authorization = enforcement::registered_state(&self.state, &self.setup.profile, now);
            if self.state.authorization == Authorization::Waiting {
                self.unstand(AlarmKind::EvalExpired);
            }
            self.state.reported_until = Some(now);
        }
        self.state.deadlines.report_due = Some(self.next_report(None));
        self.state.deadlines.authorization_due = Some(now);
        let text = format!("registered in virtual account {} as {}", answer.virtual_account, answer.instance);
        self.notice("registered", AlarmLevel::Info, text);
        self.acknowledge(Acknowledged::Registration { instance: answer.instance });
        if !moving && self.asks_nothing() && !self.wants_export() {
            self.state.authorization = Authorization::None;
            self.state.deadlines.authorization_due = None;
        } else {
            // What is on its way was said to the account that was left.
            self.cancel(|purpose| matches!(purpose, Purpose::Entitlement | Purpose::Renew | Purpose::Report));
            self.send(Purpose::Entitlement);
        }
    }

    fn arm_id(&mut self, valid_from: UnixMillis, valid_to: UnixMillis) {
        let now = self.clock.now();
        let regular = plus_s(now, self.setup.profile.id.renew_after_s());
        // A manager that certifies for less than the profile expects must not leave us without a try.
        let latest = UnixMillis(valid_to.0.saturating_sub(valid_to.0.saturating_sub(valid_from.0) / 10));
        self.state.deadlines.id_renewal_due = Some(regular.min(latest).max(now));
        self.state.deadlines.id_expiry = Some(valid_to);
        self.state.contact.id_first_failure = None;
    }

    /// Row 14; for a move, the end of row 17.
    fn registration_denied(&mut self, exchange: InFlight, refusal: &Refusal) {
        let failure = Failure::refused(refusal.code, &refusal.text, self.clock.now());
        self.attempted(&exchange, Some(failure.clone()));
        self.wipe_token();
        if refusal.code == RefusalCode::Duplicate {
            self.stand(AlarmKind::DuplicateUdi, refusal.text.clone());
        }
        if exchange.purpose == Purpose::Move {
            self.stand(AlarmKind::ReregFailed, failure.text.clone());
        } else {
            self.state.registration = Registration::Failed { failure: failure.clone() };
            self.state.contact.failures = 0;
            self.state.contact.first_failure = None;
        }
        self.notice("registration_refused", AlarmLevel::Major, failure.text);
    }

    /// A no that may become a yes by itself.
    pub(super) fn refused_for_now(&mut self, exchange: InFlight, refusal: &Refusal) {
        self.leap_if_replayed(refusal.code);
        let failure = Failure::refused(refusal.code, &refusal.text, self.clock.now());
        self.contact_failed(exchange, failure, refusal.retry_after_s);
        // It failed, but the manager was there.
        self.heard();
        if refusal.code == RefusalCode::ClockSkew && std::mem::take(&mut self.time_mended) {
            // It refused the time that this very refusal set right.
            self.try_again();
        }
    }

    /// The manager knows a later state of this instance than the disk kept.
    fn leap_if_replayed(&mut self, code: RefusalCode) {
        if code == RefusalCode::Replayed {
            self.state.message_seq = self.state.message_seq.saturating_add(SEQ_LEAP);
        }
    }

    /// Row 20.
    pub(super) fn renew_id(&mut self) -> Result<Done, CommandRefused> {
        self.must_be_registered()?;
        self.cancel(|purpose| purpose == Purpose::Renew);
        self.send(Purpose::Renew);
        Ok(begun("renewal of the registration is in progress"))
    }

    pub(super) fn must_be_registered(&self) -> Result<(), CommandRefused> {
        if !enforcement::is_registered(&self.state) {
            return Err(refused("not_registered", "this instance is not registered: register it first"));
        }
        if self.state.leaving.is_some() {
            return Err(refused("deregistering", "a deregistration is under way: wait for its end"));
        }
        Ok(())
    }

    /// Rows 21, 22, 23.
    pub(super) fn renewal_replied(&mut self, exchange: InFlight, reply: Reply<RenewAnswer>) {
        match reply {
            Reply::Answer(answer) => {
                let checked = match (&self.state.identity.root, &self.state.identity.pending) {
                    (Some(root), Some(pending)) => self.check_chain(&answer.certificate_chain_b64, root, &pending.seed),
                    _ => Err(Failure {
                        code: "bad_certificate".to_owned(),
                        text: "no key was waiting for a certificate".to_owned(),
                        at: self.clock.now(),
                    }),
                };
                match checked {
                    Ok((from, to)) => self.renewed(exchange, *answer, from, to),
                    Err(failure) => self.contact_failed(exchange, failure, None),
                }
            }
            Reply::Refused(refusal) => self.contact_refused(exchange, &refusal),
            Reply::Doubtful(failure) => self.contact_failed(exchange, failure, None),
            Reply::Lost(failure, after) => self.contact_failed(exchange, failure, after),
        }
    }

    fn renewed(&mut self, exchange: InFlight, answer: RenewAnswer, from: UnixMillis, to: UnixMillis) {
        let now = self.clock.now();
        let identity = &mut self.state.identity;
        if let Some(pending) = identity.pending.take() {
            identity.key_seed = pending.seed;
        }
        identity.certificate_chain_b64 = answer.certificate_chain_b64;
        (identity.valid_from, identity.valid_to) = (Some(from), Some(to));
        let hostname = (!self.setup.withhold_hostname).then(|| self.setup.hostname.clone());
        if let Some(membership) = &mut self.state.membership {
            membership.renewed_at = Some(now);
            membership.hostname = hostname;
        }
        self.unstand(AlarmKind::HostnameChanged);
        self.arm_id(from, to);
        self.contact_succeeded(exchange, &answer.header);
        self.notice("id_renewed", AlarmLevel::Info, "the id certificate was renewed".to_owned());
    }

    /// Row 24.
    pub(super) fn id_expired(&mut self) {
        let to = match self.setup.profile.id_expired.to {
            IdExpiredTo::UnIdentified => Registration::Unregistered,
            IdExpiredTo::RegistrationExpired => Registration::Expired,
        };
        let detail = "the id certificate expired without having been renewed".to_owned();
        self.leave(to);
        self.stand(AlarmKind::IdExpired, detail.clone());
        self.notice("id_expired", AlarmLevel::Critical, detail);
    }

    /// Row 23: the manager's no to a registered instance, at once or after the grace that the profile gives.
    pub(super) fn revoked(&mut self, refusal: &Refusal) {
        let now = self.clock.now();
        if refusal.code == RefusalCode::Duplicate {
            self.stand(AlarmKind::DuplicateUdi, refusal.text.clone());
        }
        let grace_s = self.setup.profile.revoke_grace_s();
        let mut after = self.state.clone();
        after.registration = Registration::Unregistered;
        after.authorization = enforcement::evaluation_state(&after, &self.setup.profile, now);
        let harms = enforcement::verdict(&after, &self.setup.profile, now) != Verdict::default();
        if self.state.deadlines.revocation_grace_end.is_none() {
            self.stand(AlarmKind::IdRevoked, refusal.text.clone());
            self.notice("id_revoked", AlarmLevel::Critical, refusal.text.clone());
            self.state.deadlines.revocation_grace_end = Some(plus_s(now, grace_s));
        }
        if !harms || grace_s == 0 {
            self.leave(Registration::Unregistered);
        }
    }

    /// Rows 18, 23, 24: what leaving a registration leaves behind: the key pair, the evaluation, the numbers.
    pub(super) fn leave(&mut self, to: Registration) {
        let now = self.clock.now();
        self.cancel(|purpose| purpose != Purpose::Goodbye);
        self.wipe_token();
        self.state.registration = to;
        self.state.membership = None;
        self.state.grant = None;
        (self.state.requested, self.state.asked) = (Vec::new(), None);
        self.state.leaving = None;
        self.state.reported_until = None;
        let identity = &mut self.state.identity;
        identity.certificate_chain_b64.clear();
        identity.pending = None;
        (identity.valid_from, identity.valid_to) = (None, None);
        let deadlines = self.state.deadlines;
        self.state.deadlines = Deadlines {
            // Coming back must not begin a new overage, nor a new evaluation.
            overage_end: deadlines.overage_end,
            overage_forgotten: None,
            deregistered_evaluation_end: deadlines.deregistered_evaluation_end,
            sample_due: deadlines.sample_due,
            ..Deadlines::default()
        };
        let contact = std::mem::take(&mut self.state.contact);
        self.state.contact = Contact {
            attempts: contact.attempts,
            last_attempt: contact.last_attempt,
            last_success: contact.last_success,
            last_authorized: contact.last_authorized,
            ..Contact::default()
        };
        for kind in [
            AlarmKind::Ooc,
            AlarmKind::AuthExpired,
            AlarmKind::HostnameChanged,
            AlarmKind::ReregFailed,
            AlarmKind::ReportFailed,
            AlarmKind::GrantRejected,
            AlarmKind::TransportLocked,
            AlarmKind::RegDown,
            AlarmKind::AuthDown,
        ] {
            self.unstand(kind);
        }
        self.tolerance = crate::license::usage::tolerance::Tolerance::default();
        self.state.authorization = enforcement::evaluation_state(&self.state, &self.setup.profile, now);
        self.note_evaluation_expired();
    }

    /// Rows 18 and 19 begin.
    pub(super) fn deregister(&mut self, why: Leaving) -> Result<Done, CommandRefused> {
        self.must_be_registered()?;
        self.cancel(|_| true);
        self.state.leaving = Some(why);
        self.send(Purpose::Deregistration);
        Ok(begun("deregistration is in progress; it ends within ten seconds"))
    }

    pub(super) fn deregistration_replied(&mut self, exchange: InFlight, reply: Reply<DeregistrationAnswer>) {
        match reply {
            Reply::Answer(answer) => {
                self.contact_succeeded(exchange, &answer.header);
                self.deregistered(None);
            }
            Reply::Refused(refusal) => {
                self.leap_if_replayed(refusal.code);
                let failure = Failure::refused(refusal.code, &refusal.text, self.clock.now());
                self.attempted(&exchange, Some(failure.clone()));
                // Nothing is registered there any more: that is what was wanted.
                self.deregistered((!refusal.code.ends_registration()).then_some(failure));
            }
            Reply::Doubtful(failure) | Reply::Lost(failure, _) => {
                self.attempted(&exchange, Some(failure.clone()));
                self.deregistered(Some(failure));
            }
        }
    }

    /// Row 18; with a failure, row 19: done here, and the manager is told once it is seen again.
    pub(super) fn deregistered(&mut self, orphaned: Option<Failure>) {
        let now = self.clock.now();
        let why = self.state.leaving;
        if let (Some(failure), Some(membership), Some(key_set), Some(until)) =
            (&orphaned, &self.state.membership, &self.state.identity.key_set, self.state.identity.valid_to)
        {
            self.state.goodbye = Some(Goodbye {
                virtual_account: membership.virtual_account.clone(),
                certificate_chain_b64: self.state.identity.certificate_chain_b64.clone(),
                key_seed: self.state.identity.key_seed.clone(),
                root: self.state.identity.root,
                key_set: key_set.clone(),
                due: plus_s(now, GOODBYE_S),
                until,
            });
            let detail = format!("the manager was not reached ({}): remove this instance there", failure.text);
            self.stand(AlarmKind::DeregOrphan, detail);
        }
        // A fixed evaluation is given once, and never again: leaving and coming back adds nothing.
        if let (Some(fixed_s), None) =
            (self.setup.profile.dereg.fixed_s(), self.state.deadlines.deregistered_evaluation_end)
        {
            self.state.deadlines.deregistered_evaluation_end = Some(plus_s(now, fixed_s));
        }
        self.leave(Registration::Unregistered);
        self.forget_root();
        let text = match orphaned {
            None => "deregistered: the licenses were given back".to_owned(),
            Some(_) => "deregistered here; the manager was not reached and still counts the licenses".to_owned(),
        };
        self.notice("deregistered", AlarmLevel::Warning, text);
        if why == Some(Leaving::FactoryReset) {
            self.reset_client();
        }
    }

    /// Row 19, later: the manager is tried again, until it has heard or the certificate has ended.
    pub(super) fn say_goodbye(&mut self) {
        let now = self.clock.now();
        if self.state.goodbye.as_ref().is_some_and(|goodbye| now >= goodbye.until) {
            self.state.goodbye = None;
            return;
        }
        self.send(Purpose::Goodbye);
    }

    pub(super) fn goodbye_replied(&mut self, exchange: InFlight, reply: Reply<DeregistrationAnswer>) {
        let failure = match reply {
            Reply::Answer(_) => None,
            Reply::Refused(refusal) if refusal.code.ends_registration() => None,
            Reply::Refused(refusal) => {
                self.leap_if_replayed(refusal.code);
                Some(Failure::refused(refusal.code, &refusal.text, self.clock.now()))
            }
            Reply::Doubtful(failure) | Reply::Lost(failure, _) => Some(failure),
        };
        self.attempted(&exchange, failure.clone());
        if failure.is_none() {
            self.state.goodbye = None;
            self.unstand(AlarmKind::DeregOrphan);
            self.notice("goodbye_told", AlarmLevel::Info, "the manager has heard of the deregistration".to_owned());
        } else if let Some(goodbye) = &mut self.state.goodbye {
            goodbye.due = plus_s(exchange.sent_at.min(self.clock.now()), GOODBYE_S);
        }
    }

    pub(super) fn notice(&mut self, name: &'static str, level: AlarmLevel, text: String) {
        self.outbox.push(Action::Notice(Notice { name, level, text, at: None }));
    }
}
