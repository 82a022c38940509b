//! Starting: rows 1 and 2, what a restart makes of the state it finds, and the rows of section 4.7.

use std::collections::BTreeMap;

use super::action::{AlarmKind, AlarmLevel};
use super::command::{CommandRefused, Done};
use super::core::Agent;
use super::enforcement;
use super::registration::done;
use super::state::{
    AgentState, Authorization, Client, Contact, Deadlines, Enforced, Failure, Identity, Leaving, Registration, Secret,
    Setup,
};
use crate::license::{EvaluationAccount, UNCLEAN_STOP_COST_S};
use crate::protocol::{Endpoint, Entropy, Udi};
use crate::units::{Now, UnixMillis};

/// Rows 1 and 2: the first start. The identity is made here, and never again.
pub(super) fn first(setup: &Setup, now: Now, entropy: &mut Entropy) -> AgentState {
    let enabled = setup.enabled.unwrap_or(setup.profile.default_enabled);
    AgentState {
        udi: Udi::generate(&setup.profile.pid, entropy),
        fingerprint: setup.fingerprint.clone(),
        client: if enabled { Client::Enabled } else { Client::Disabled },
        registration: Registration::Unregistered,
        authorization: if enabled { Authorization::Evaluation } else { Authorization::None },
        enforced: Enforced::Normal,
        evaluation: EvaluationAccount::open(&setup.profile, now.wall),
        high_water: now.wall,
        high_water_tick_ms: 0,
        signed_high_water: UnixMillis(0),
        identity: Identity {
            key_seed: Secret(entropy.bytes()),
            pending: None,
            certificate_chain_b64: Vec::new(),
            root: None,
            root_certificate_b64: None,
            key_set: None,
            valid_from: None,
            valid_to: None,
        },
        membership: None,
        token: None,
        force: false,
        requested: Vec::new(),
        asked: None,
        grant: None,
        last_grant_seq: 0,
        message_seq: 0,
        contact: Contact::default(),
        deadlines: Deadlines::default(),
        statistics: BTreeMap::new(),
        latest_failure: None,
        unexpected: BTreeMap::new(),
        standing: BTreeMap::new(),
        warned: BTreeMap::new(),
        goodbye: None,
        reported_until: None,
        leaving: None,
    }
}

/// What belongs to a registration goes on as it is.
fn keep_registration(state: &mut AgentState, current: &AgentState) {
    state.client = current.client;
    state.registration = current.registration.clone();
    state.authorization = current.authorization;
    state.enforced = current.enforced;
    state.identity = current.identity.clone();
    state.membership.clone_from(&current.membership);
    state.grant.clone_from(&current.grant);
    state.requested.clone_from(&current.requested);
    state.asked.clone_from(&current.asked);
    state.contact = current.contact.clone();
    state.deadlines = current.deadlines;
    state.standing.clone_from(&current.standing);
    state.warned.clone_from(&current.warned);
    state.reported_until = current.reported_until;
    state.goodbye.clone_from(&current.goodbye);
}

impl Agent {
    /// What the time between two runs, and the new configuration, make of the state.
    pub(super) fn resume(&mut self, found: bool, account: Option<EvaluationAccount>, restored: Option<String>) {
        let now = self.clock.now();
        let (wall, profile) = (self.clock.wall(), self.setup.profile.clone());
        if let Some(account) = account {
            let own = &mut self.state.evaluation;
            own.used_s = own.used_s.max(account.used_s);
            if !found {
                // The account is older than the state: what it says of its last stop holds for this start.
                own.clean_stop = account.clean_stop;
                own.saved_at = account.saved_at;
                own.granted_at = account.granted_at;
                own.limit_s = own.limit_s.min(account.limit_s);
            }
        }
        if enforcement::evaluation_runs(&self.state, &profile) && (found || account.is_some()) {
            let own = &mut self.state.evaluation;
            let offline_s = if profile.eval.count_offline { wall.0.saturating_sub(own.saved_at.0) / 1000 } else { 0 };
            // The time after the last save is inside the offline time, if that counts.
            let unclean_s = if own.clean_stop { 0 } else { UNCLEAN_STOP_COST_S.saturating_sub(offline_s) };
            own.used_s = own.used_s.saturating_add(offline_s).saturating_add(unclean_s);
        }
        self.state.evaluation.clean_stop = false;
        match restored {
            Some(why) => self.stand(AlarmKind::StateRestored, why),
            None => self.unstand(AlarmKind::StateRestored),
        }
        if !found {
            return;
        }
        // What was on its way when the process ended got no answer.
        let unanswered = self.state.statistics.get(&Endpoint::Entitlement).is_some_and(|counts| counts.in_queue > 0);
        for counts in self.state.statistics.values_mut() {
            counts.failed += std::mem::take(&mut counts.in_queue);
        }
        if self.state.fingerprint != self.setup.fingerprint {
            self.another_machine();
            return;
        }
        if self.state.leaving.is_some() {
            // Row 19: whether the manager heard of it, nobody knows.
            let text = "the process ended before an answer came".to_owned();
            self.deregistered(Some(Failure { code: "restart".to_owned(), text, at: now }));
        }
        self.apply_enabled();
        if enforcement::transport_locked(&self.state, &self.setup) {
            let text = "the way to the manager changed while registered, which this product doesn't allow".to_owned();
            self.stand(AlarmKind::TransportLocked, text);
        }
        self.follow_addresses();
        if self.state.standing.contains_key(&AlarmKind::ClockSkew) {
            // The clock may have been set meanwhile.
            self.try_again();
        }
        self.hostname_changed();
        if unanswered || !self.is_asked() {
            self.request_changed();
        }
    }

    /// What the configuration says of licensing, where the tables let it.
    fn apply_enabled(&mut self) {
        match (self.setup.enabled, self.state.client) {
            (Some(true), Client::Disabled) => self.enable_now(),
            (Some(false), Client::Enabled) => {
                if let Err(refused) = self.disable() {
                    self.notice("stays_enabled", AlarmLevel::Warning, refused.text);
                }
            }
            _ => {}
        }
    }

    /// Row 91: the configuration came along; identity, registration and keys stay where they were made.
    fn another_machine(&mut self) {
        let now = self.clock.now();
        let old = self.state.clone();
        let at = Now { wall: self.clock.wall(), ..Now::default() };
        let mut state = first(&self.setup, at, &mut self.entropy);
        state.client = Client::Enabled;
        state.high_water = old.high_water;
        (state.high_water_tick_ms, state.signed_high_water) = (old.high_water_tick_ms, old.signed_high_water);
        state.evaluation = EvaluationAccount { clean_stop: false, ..old.evaluation };
        state.deadlines.overage_end = old.deadlines.overage_end;
        state.deadlines.deregistered_evaluation_end = old.deadlines.deregistered_evaluation_end;
        self.state = state;
        self.state.authorization = enforcement::evaluation_state(&self.state, &self.setup.profile, now);
        self.note_evaluation_expired();
        let text = format!("this state is another machine's: its identity {} was not taken", old.udi);
        self.stand(AlarmKind::ReregisterNeeded, text);
    }

    /// Rows 90 and 91.
    pub(super) fn restore(&mut self, backup: AgentState) -> Result<Done, CommandRefused> {
        let now = self.clock.now();
        self.cancel(|_| true);
        let current = std::mem::replace(&mut self.state, backup);
        let own = &mut self.state;
        let lives = current.udi == own.udi && enforcement::is_registered(&current) && current.leaving.is_none();
        if lives {
            // The registration that lives is newer than the backup's, whose key may have been renewed away since.
            keep_registration(own, &current);
        }
        own.evaluation.used_s = own.evaluation.used_s.max(current.evaluation.used_s);
        own.evaluation.limit_s = own.evaluation.limit_s.min(current.evaluation.limit_s);
        own.evaluation.clean_stop = false;
        own.high_water = own.high_water.max(current.high_water).max(now);
        own.high_water_tick_ms = current.high_water_tick_ms;
        own.signed_high_water = own.signed_high_water.max(current.signed_high_water);
        own.last_grant_seq = own.last_grant_seq.max(current.last_grant_seq);
        own.message_seq = own.message_seq.max(current.message_seq);
        if current.deadlines.overage_end.is_some() {
            own.deadlines.overage_end = current.deadlines.overage_end;
            own.deadlines.overage_forgotten = current.deadlines.overage_forgotten;
        }
        own.deadlines.deregistered_evaluation_end =
            current.deadlines.deregistered_evaluation_end.or(own.deadlines.deregistered_evaluation_end);
        // A deregistration that the manager hasn't heard of is owed still, unless the backup is of that registration.
        let joined = own.membership.as_ref().map(|membership| &membership.virtual_account);
        own.goodbye = current.goodbye.or(own.goodbye.take()).filter(|goodbye| joined != Some(&goodbye.virtual_account));
        match (&own.goodbye, current.standing.get(&AlarmKind::DeregOrphan)) {
            (Some(_), Some(standing)) => drop(own.standing.insert(AlarmKind::DeregOrphan, standing.clone())),
            (Some(_), None) => {}
            (None, _) => drop(own.standing.remove(&AlarmKind::DeregOrphan)),
        }
        // What was running when the backup was made is not running now; a token is in no backup.
        (own.token, own.leaving) = (None, None);
        if own.registration == Registration::Pending {
            own.registration = Registration::Unregistered;
        }
        for counts in own.statistics.values_mut() {
            counts.failed += std::mem::take(&mut counts.in_queue);
        }
        let same = own.fingerprint == self.setup.fingerprint;
        if !same {
            self.another_machine();
            return Ok(done("the backup is another machine's: its registration was not taken; register this instance"));
        }
        let kept_on = current.client == Client::Enabled && self.setup.profile.irreversible;
        if kept_on && self.state.client == Client::Disabled {
            self.enable_now();
        }
        self.apply_enabled();
        if self.state.client == Client::Enabled {
            self.state.authorization = match (enforcement::is_registered(&self.state), self.state.authorization) {
                (true, Authorization::Waiting | Authorization::EvaluationExpired | Authorization::Evaluation) => {
                    enforcement::registered_state(&self.state, &self.setup.profile, now)
                }
                (false, _) => enforcement::evaluation_state(&self.state, &self.setup.profile, now),
                (
                    true,
                    other @ (Authorization::None
                    | Authorization::Authorized
                    | Authorization::OutOfCompliance
                    | Authorization::AuthorizationExpired
                    | Authorization::Reserved
                    | Authorization::ReservationExpired),
                ) => other,
            };
            self.note_evaluation_expired();
        }
        if enforcement::is_registered(&self.state) {
            self.ask_for_grant();
        }
        if lives {
            let text = "the backup was restored, but for the registration: this instance is registered, and stays so";
            return Ok(done(text));
        }
        Ok(done("the backup was restored; evaluation time that was used stays used"))
    }

    /// Rows 93 and 94.
    pub(super) fn factory_reset(&mut self, keep_licensing: bool) -> Result<Done, CommandRefused> {
        if keep_licensing {
            if !enforcement::is_registered(&self.state) {
                return Ok(done("this instance is not registered: there is nothing to keep, and nothing was changed"));
            }
            let text = "not in contact since the factory reset".to_owned();
            self.stand(AlarmKind::RegDown, text.clone());
            self.stand(AlarmKind::AuthDown, text);
            return Ok(done("the registration stays; contact is needed before it is renewed"));
        }
        if enforcement::is_registered(&self.state) {
            return self.deregister(Leaving::FactoryReset);
        }
        if self.state.token.is_some() {
            self.cancel_registration()?;
        }
        self.forget_root();
        self.reset_client();
        Ok(done("licensing is as the product is delivered; evaluation time that was used stays used"))
    }

    /// Region C as the profile sets it.
    pub(super) fn reset_client(&mut self) {
        self.state.registration = Registration::Unregistered;
        if self.setup.profile.default_enabled {
            self.state.client = Client::Disabled;
            self.enable_now();
        } else {
            self.switch_off();
        }
    }
}
