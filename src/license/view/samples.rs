//! States to show pages of. For tests alone.

use std::sync::Arc;

use crate::license::agent::{
    Agent, AgentState, Attempt, Authorization, Client, Enforced, Failure, Membership, MessageStatistics, Registration,
    Requested, Setup, Stored, TransportClass, UsageClass,
};
use crate::license::ports::{DailyCount, Port};
use crate::license::usage::{SAMPLE_S, Usage};
use crate::license::{BuiltinProfile, Effect, EvaluationAccount, Profile};
use crate::protocol::{ComplianceStatus, Endpoint, Grant, PoolView, TagGrant, TagStatus};
use crate::units::{Now, Tick, UnixMillis};

/// 2026-06-01 12:00 UTC.
pub(crate) const NOW: UnixMillis = UnixMillis(1_780_315_200_000);
pub(crate) const DAY: u64 = 86_400_000;

pub(crate) const fn days(from: UnixMillis, count: u64) -> UnixMillis {
    UnixMillis(from.0 + count * DAY)
}

/// Everything that a page is made from.
#[derive(Debug)]
pub(crate) struct Sample {
    pub(crate) state: AgentState,
    pub(crate) setup: Setup,
    pub(crate) usage: Usage,
    pub(crate) ports: Vec<Port>,
}

impl Sample {
    /// Evaluating since ten days ago, registered nowhere.
    pub(crate) fn new(builtin: BuiltinProfile) -> Self {
        let profile = Arc::new(Profile::builtin(builtin).unwrap());
        let requested: Vec<Requested> = profile
            .types
            .iter()
            .enumerate()
            .map(|(place, of)| Requested {
                type_name: of.name.clone(),
                tag: profile.tag(&of.name, UsageClass::Production),
                units: [Some(100), Some(40), None, None][place.min(3)],
                per_license: of.per_license,
                tier: of.tier.clone(),
            })
            .collect();
        let mut usage = Usage::default();
        for (place, of) in requested.iter().enumerate() {
            let used = [61, 12, 3, 0][place.min(3)];
            let at = UnixMillis(NOW.0 - 2 * 3_600_000);
            usage.observe(&of.tag, used, used + 10, at);
            usage.sample(UnixMillis(at.0 + SAMPLE_S * 1000));
            usage.observe(&of.tag, used, used, NOW);
        }
        let port = |name: &str, gbps, features: &[&str], active| Port {
            name: name.to_owned(),
            gbps,
            features: features.iter().map(|feature| (*feature).to_owned()).collect(),
            active,
            card: None,
        };
        let mut ports = Vec::new();
        if profile.types.iter().any(|of| of.unit == crate::license::TypeUnit::Capacity) {
            ports = vec![port("HundredGigE0/0/0/0", 100, &["l3vpn"], true), port("TenGigE0/0/0/1", 10, &[], true)];
            DailyCount::refresh(&mut usage.capacity, &ports, NOW);
            ports.push(port("TwentyFiveGigE0/0/0/2", 25, &["srv6"], true));
            ports.push(port("TenGigE0/0/0/3", 10, &[], false));
        }
        let mut account = EvaluationAccount::open(&profile, UnixMillis(NOW.0 - 10 * DAY));
        account.used_s = 10 * 86_400;
        let setup = Setup {
            profile,
            enabled: Some(true),
            usage: UsageClass::Production,
            requested,
            export_control: false,
            overage_allowed: true,
            overage_of: std::collections::BTreeMap::new(),
            transport: TransportClass::Direct,
            addresses: crate::license::agent::Addresses::default(),
            hostname: "sip-a.example.net".to_owned(),
            withhold_hostname: false,
            renew_on_hostname_change: true,
            retry_jitter: false,
            trusted_root: None,
            version: "0.1.0".to_owned(),
            fingerprint: "fingerprint-never-shown".to_owned(),
        };
        let now = Now { tick: Tick::from_secs(1000), wall: NOW };
        // Through the agent's own first start, so that a sample is a state that there can be.
        let mut state = Agent::start(setup.clone(), Stored::default(), now, [7; 32]).state().clone();
        state.evaluation = account;
        state.identity.certificate_chain_b64 = vec!["certificate-never-shown".to_owned()];
        state.registration = Registration::Unregistered;
        state.authorization = Authorization::Evaluation;
        state.enforced = Enforced::Normal;
        Self { state, setup, usage, ports }
    }

    pub(crate) fn disabled(mut self) -> Self {
        self.state.client = Client::Disabled;
        self.state.authorization = Authorization::None;
        let effect = self.setup.profile.unconfigured.effect;
        self.enforce(effect);
        self
    }

    pub(crate) fn enforce(&mut self, effect: Effect) {
        self.state.enforced = match effect {
            Effect::AllowNotify => Enforced::Notify,
            Effect::RejectNew | Effect::RejectNewRegistrations | Effect::ConfigFreeze => {
                Enforced::Enforced { effect, since: NOW }
            }
        };
    }

    pub(crate) fn evaluation_expired(mut self) -> Self {
        self.state.evaluation.used_s = self.state.evaluation.limit_s;
        self.state.authorization = Authorization::EvaluationExpired;
        let effect = self.setup.profile.eval_expired.effect;
        self.enforce(effect);
        self
    }

    pub(crate) fn refused(mut self) -> Self {
        let failure = Failure {
            code: "token_expired".to_owned(),
            text: "the token expired on 2026-05-30 12:00 UTC; create a new one at the manager".to_owned(),
            at: NOW,
        };
        self.state.latest_failure = Some(failure.clone());
        self.state.registration = Registration::Failed { failure };
        self
    }

    pub(crate) fn pending(mut self) -> Self {
        self.state.registration = Registration::Pending;
        self.state.deadlines.registration_retry = Some(UnixMillis(NOW.0 + 900_000));
        self.fails(0);
        self.state.contact.attempts[0].endpoint = Endpoint::Registration;
        self.state.enforced = Enforced::Normal;
        self
    }

    /// Contact has failed since so many days.
    pub(crate) fn fails(&mut self, since_days: u64) {
        let failure = Failure {
            code: "dns".to_owned(),
            text: "licenses.example.com cannot be resolved; accepted: a name that this host's resolver knows"
                .to_owned(),
            at: NOW,
        };
        let contact = &mut self.state.contact;
        contact.first_failure = Some(UnixMillis(NOW.0 - since_days * DAY));
        contact.failures = 5;
        contact.last_attempt = Some(NOW);
        contact.attempts.push(Attempt { at: NOW, endpoint: Endpoint::Entitlement, failure: Some(failure.clone()) });
        self.state.latest_failure = Some(failure);
        if self.state.enforced == Enforced::Normal {
            self.state.enforced = Enforced::Notify;
        }
        let statistics = self.state.statistics.entry(Endpoint::Entitlement).or_default();
        *statistics = MessageStatistics { failed: statistics.failed + 5, last_sent: Some(NOW), ..*statistics };
    }

    /// Registered twenty days ago, in touch ten days ago.
    pub(crate) fn registered(mut self) -> Self {
        let (registered, last) = (UnixMillis(NOW.0 - 20 * DAY), UnixMillis(NOW.0 - 10 * DAY));
        let profile = Arc::clone(&self.setup.profile);
        self.state.registration = Registration::Registered;
        self.state.authorization = Authorization::Waiting;
        self.state.membership = Some(Membership {
            instance: "i-4711".to_owned(),
            account: "Example Ltd".to_owned(),
            virtual_account: "Default".to_owned(),
            export_allowed: true,
            registered_at: registered,
            renewed_at: None,
            transport: TransportClass::Direct,
            addresses: crate::license::agent::Addresses::default(),
            hostname: Some("sip-a.example.net".to_owned()),
        });
        self.state.contact.last_success = Some(last);
        self.state.contact.last_attempt = Some(last);
        self.state.contact.attempts = vec![Attempt { at: last, endpoint: Endpoint::Entitlement, failure: None }];
        self.state.statistics.insert(
            Endpoint::Registration,
            MessageStatistics { success: 1, last_sent: Some(registered), ..MessageStatistics::default() },
        );
        let after = |from: UnixMillis, seconds: u64| Some(UnixMillis(from.0 + seconds * 1000));
        self.state.deadlines.id_renewal_due = after(registered, profile.id.renew_after_s());
        self.state.deadlines.id_expiry = after(registered, profile.id.valid_s());
        self.state.deadlines.authorization_due = after(last, profile.auth.renew_s());
        self.state.deadlines.authorization_expiry = after(last, profile.auth_expiry.span_s());
        self.state.deadlines.report_due = Some(UnixMillis(NOW.0 + 3 * 3_600_000));
        self
    }

    pub(crate) fn authorized(self) -> Self {
        let mut of = self.registered();
        of.state.authorization = Authorization::Authorized;
        of.state.contact.last_authorized = of.state.contact.last_success;
        of.state.reported_until = Some(UnixMillis(NOW.0 - 3 * 3_600_000));
        of.grant(TagStatus::InCompliance);
        of
    }

    fn grant(&mut self, status: TagStatus) {
        let short = status == TagStatus::OutOfCompliance;
        let tags = self.setup.requested.iter().map(|of| {
            let count = u64::from(of.units.unwrap_or(3).div_ceil(of.per_license));
            TagGrant { tag: of.tag.clone(), epoch: 1, granted: count, cap: count, status, term_end: None }
        });
        let tags: Vec<TagGrant> = tags.collect();
        let pools = tags.iter().map(|of| PoolView {
            tag: of.tag.clone(),
            purchased: if short { of.granted } else { of.granted * 4 },
            in_use: of.granted * 2,
        });
        let pools = pools.collect();
        let issued_at = self.state.contact.last_success.unwrap();
        self.state.grant = Some(Grant {
            udi: self.state.udi.clone(),
            virtual_account: "Default".to_owned(),
            seq: 3,
            issued_at,
            expires_at: days(issued_at, 90),
            status: if short { ComplianceStatus::OutOfCompliance } else { ComplianceStatus::InCompliance },
            tags,
            pools,
            overage_allowed: true,
            export_allowed: true,
            policy_version: 1,
        });
        self.state.last_grant_seq = 3;
    }

    /// Short since five days.
    pub(crate) fn out_of_compliance(self) -> Self {
        let mut of = self.authorized();
        of.state.authorization = Authorization::OutOfCompliance;
        of.grant(TagStatus::OutOfCompliance);
        let until = of.setup.profile.ooc.consequence().overage().map(|(s, _)| UnixMillis(NOW.0 - 5 * DAY + s * 1000));
        of.state.deadlines.overage_end = until;
        of.state.enforced = until.map_or(Enforced::Notify, |until| Enforced::Overage { until });
        of
    }

    /// No contact for ninety days and one.
    pub(crate) fn authorization_expired(self) -> Self {
        let mut of = self.authorized();
        of.state.authorization = Authorization::AuthorizationExpired;
        let expired = UnixMillis(NOW.0 - DAY);
        of.fails(91);
        of.state.deadlines.authorization_expiry = None;
        of.state.deadlines.authorization_due = Some(UnixMillis(NOW.0 + 14_400_000));
        match of.setup.profile.auth_expired.overage() {
            Some((seconds, _)) => {
                let until = UnixMillis(expired.0 + seconds * 1000);
                of.state.deadlines.authorization_overage_end = Some(until);
                of.state.enforced = Enforced::Overage { until };
            }
            None => {
                let effect = of.setup.profile.auth_expired.effect;
                of.enforce(effect);
            }
        }
        of
    }

    pub(crate) fn input(&self) -> super::ViewInput<'_> {
        super::ViewInput {
            node: "sip-a",
            state: &self.state,
            setup: &self.setup,
            usage: &self.usage,
            ports: &self.ports,
            alarms: &[],
            server: Some("https://licenses.example.com:7510"),
            proxy: None,
            now: NOW,
        }
    }
}
