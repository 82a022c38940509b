//! Requests: what is said to the manager, numbered and signed.
//!
//! What must stay true: a number is in the state, and so on disk, before the request that carries it leaves; at most one
//! request of a kind is on its way, but for acknowledgements.

use super::action::{Action, ClientIdentity, Exchange, ExchangeId, Outgoing, TransportFailure, TransportStep};
use super::core::Agent;
use super::enforcement;
use super::state::{Failure, PendingKey, Requested, Secret, UsageClass};
use super::timers::{GOODBYE_S, plus_s};
use crate::license::Effect;
use crate::license::usage::report::{Reported, licenses, tag_report};
use crate::protocol::{
    Acknowledged, Acknowledgement, DeregistrationRequest, Endpoint, EntitlementRequest, Envelope, InstanceInfo, Nonce,
    RegistrationRequest, RemovalEffect, RenewRequest, ReportRequest, RequestHeader, SecretKey, TagReport, TagRequest,
    certificate_request,
};
use crate::units::UnixMillis;

/// How long an ordinary request may take, in seconds.
const WITHIN_S: u64 = 30;

/// What a driver may take beyond that before its silence counts as a failure, in seconds.
const LOST_S: u64 = 30;

/// Deregistration waits less: it has one try, and a person is waiting.
const DEREGISTRATION_WITHIN_S: u64 = 10;

/// The export entitlement, beside license types; a space is in no type's name.
const EXPORT: &str = "export control";

/// What a request is for. [`Endpoint`] alone doesn't say it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    Registration,
    /// A registration in another virtual account, while registered.
    Move,
    Entitlement,
    Renew,
    Report,
    Deregistration,
    /// A deregistration that the manager hadn't heard of.
    Goodbye,
    Ack,
}

impl Purpose {
    pub(super) const fn endpoint(self) -> Endpoint {
        match self {
            Self::Registration | Self::Move => Endpoint::Registration,
            Self::Entitlement => Endpoint::Entitlement,
            Self::Renew => Endpoint::Renew,
            Self::Report => Endpoint::Report,
            Self::Deregistration | Self::Goodbye => Endpoint::Deregistration,
            Self::Ack => Endpoint::Ack,
        }
    }
}

/// A request on its way.
#[derive(Debug, Clone, Copy)]
pub(super) struct InFlight {
    pub(super) purpose: Purpose,
    pub(super) nonce: Nonce,
    pub(super) seq: u64,
    pub(super) sent_at: UnixMillis,
    /// It is counted as waiting; one that could not be made never was.
    pub(super) queued: bool,
    /// When it is given up, whatever became of it.
    pub(super) lost_at: UnixMillis,
    /// It was handed to the driver.
    pub(super) out: bool,
}

impl Agent {
    pub(super) fn is_sent(&self, purpose: Purpose) -> bool {
        self.exchanges.values().any(|exchange| exchange.purpose == purpose)
    }

    /// Forgets requests of a kind that are on their way.
    pub(super) fn cancel(&mut self, wanted: impl Fn(Purpose) -> bool) {
        let ids: Vec<ExchangeId> =
            self.exchanges.iter().filter(|(_, exchange)| wanted(exchange.purpose)).map(|(id, _)| *id).collect();
        for id in ids {
            if let Some(exchange) = self.exchanges.remove(&id) {
                let counts = self.state.statistics.entry(exchange.purpose.endpoint()).or_default();
                counts.in_queue = counts.in_queue.saturating_sub(1);
                counts.failed += 1;
                self.outbox.push(Action::Cancel(id));
            }
        }
    }

    /// The driver has lost it: a failure like another one, so that what it was sent for goes on.
    pub(super) fn give_up(&mut self) {
        let now = self.clock.now();
        let lost = self.exchanges.iter().find(|(_, exchange)| exchange.lost_at <= now).map(|(id, _)| *id);
        let Some((id, exchange)) = lost.and_then(|id| self.exchanges.remove_entry(&id)) else { return };
        self.outbox.push(Action::Cancel(id));
        let text = "nothing came back from the way to the manager in time".to_owned();
        self.replied(exchange, &Exchange::Failed(TransportFailure { step: TransportStep::Timeout, text }));
    }

    fn header(&mut self) -> RequestHeader {
        self.state.message_seq += 1;
        RequestHeader {
            udi: self.state.udi.clone(),
            seq: self.state.message_seq,
            nonce: Nonce::generate(&mut self.entropy),
            sent_at: self.clock.told(),
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }

    fn info(&self) -> InstanceInfo {
        let profile = &self.setup.profile;
        InstanceInfo {
            hostname: (!self.setup.withhold_hostname).then(|| self.setup.hostname.clone()),
            profile: profile.name.clone(),
            version: self.setup.version.clone(),
            tags: self.setup.requested.iter().map(|requested| requested.tag.clone()).collect(),
            usage: match self.setup.usage {
                UsageClass::Production => "production".to_owned(),
                UsageClass::Lab => "lab".to_owned(),
            },
            fingerprint: self.setup.fingerprint.clone(),
            removal: Some(RemovalEffect {
                evaluation_s: profile.eval.limit_s(),
                expired_effect: match profile.eval_expired.effect {
                    Effect::RejectNew => "reject_new",
                    Effect::RejectNewRegistrations => "reject_new_registrations",
                    Effect::ConfigFreeze => "config_freeze",
                    Effect::AllowNotify => "notify",
                }
                .to_owned(),
                grace_s: profile.revoke_grace_s(),
            }),
        }
    }

    /// What the configuration asks for, and the export entitlement where it can lift the limit: under export control, with
    /// the account's flag.
    pub(super) fn wanted(&self) -> Vec<Requested> {
        let mut wanted = self.setup.requested.clone();
        wanted.extend(self.wants_export().then(|| Requested {
            type_name: EXPORT.to_owned(),
            tag: self.setup.profile.export_tag(self.setup.usage),
            units: Some(1),
            per_license: 1,
            tier: None,
        }));
        wanted
    }

    pub(super) fn wants_export(&self) -> bool {
        self.setup.export_control && self.state.membership.as_ref().is_some_and(|membership| membership.export_allowed)
    }

    /// What is asked for now, in licenses; what is 0 is left out.
    fn asked(&self) -> Vec<TagRequest> {
        let mut tags: Vec<TagRequest> = Vec::with_capacity(self.setup.requested.len());
        for requested in &self.wanted() {
            let (licenses, optional) = (self.licenses_asked(requested), requested.type_name == EXPORT);
            match tags.iter_mut().find(|tag| tag.tag == requested.tag) {
                Some(tag) => tag.requested = tag.requested.saturating_add(licenses),
                None if licenses > 0 => {
                    tags.push(TagRequest { tag: requested.tag.clone(), requested: licenses, optional });
                }
                None => {}
            }
        }
        tags
    }

    fn licenses_asked(&self, requested: &Requested) -> u64 {
        let used = || {
            let now = self.clock.now();
            let peak = self.usage.interval(&requested.tag, self.report_from(now), now).peak;
            peak.max(self.usage.current(&requested.tag))
        };
        let by_use = self.setup.profile.asks_by_use(&requested.type_name);
        let units = requested.units.unwrap_or_else(|| if by_use { used() } else { 0 });
        licenses(units, requested.per_license)
    }

    /// It is licensed: a count is configured, or what is used is asked for.
    pub(super) fn is_licensed(&self, requested: &Requested) -> bool {
        requested.units.is_some() || self.setup.profile.asks_by_use(&requested.type_name)
    }

    /// Sends a request of this kind. One that cannot be made counts as dropped.
    pub(super) fn send(&mut self, purpose: Purpose) {
        self.send_with(purpose, None);
    }

    /// Acknowledges something.
    pub(super) fn acknowledge(&mut self, what: Acknowledged) {
        self.send_with(Purpose::Ack, Some(what));
    }

    fn send_with(&mut self, purpose: Purpose, what: Option<Acknowledged>) {
        let header = self.header();
        let (nonce, seq) = (header.nonce, header.seq);
        let endpoint = purpose.endpoint();
        let now = self.clock.now();
        self.state.contact.last_attempt = Some(now);
        match self.body(purpose, header, what) {
            Ok(body) => {
                if purpose == Purpose::Entitlement {
                    self.state.asked = Some(self.wanted());
                }
                let counts = self.state.statistics.entry(endpoint).or_default();
                counts.in_queue += 1;
                counts.last_sent = Some(now);
                self.next_exchange += 1;
                let exchange = ExchangeId(self.next_exchange);
                let within_s = match purpose {
                    Purpose::Deregistration | Purpose::Goodbye => DEREGISTRATION_WITHIN_S,
                    Purpose::Registration
                    | Purpose::Move
                    | Purpose::Entitlement
                    | Purpose::Renew
                    | Purpose::Report
                    | Purpose::Ack => WITHIN_S,
                };
                let lost_at = plus_s(now, within_s + LOST_S);
                let sent = InFlight { purpose, nonce, seq, sent_at: now, queued: true, lost_at, out: false };
                self.exchanges.insert(exchange, sent);
                let client = self.client_identity(purpose);
                self.outbox.push(Action::Send(Outgoing { exchange, endpoint, body, client, within_s }));
            }
            Err(reason) => {
                self.state.statistics.entry(endpoint).or_default().dropped += 1;
                let failure = Failure::transport(TransportStep::Configuration, &reason, now);
                let exchange = InFlight { purpose, nonce, seq, sent_at: now, queued: false, lost_at: now, out: true };
                if let (Purpose::Goodbye, Some(goodbye)) = (purpose, &mut self.state.goodbye) {
                    goodbye.due = plus_s(now, GOODBYE_S);
                    self.attempted(&exchange, Some(failure));
                    return;
                }
                self.contact_failed(exchange, failure.clone(), None);
                if purpose == Purpose::Deregistration {
                    self.deregistered(Some(failure));
                }
            }
        }
    }

    fn client_identity(&self, purpose: Purpose) -> Option<ClientIdentity> {
        let (chain, key_seed) = match purpose {
            Purpose::Registration | Purpose::Move => return None,
            Purpose::Goodbye => {
                let goodbye = self.state.goodbye.as_ref()?;
                (&goodbye.certificate_chain_b64, &goodbye.key_seed)
            }
            Purpose::Entitlement | Purpose::Renew | Purpose::Report | Purpose::Deregistration | Purpose::Ack => {
                (&self.state.identity.certificate_chain_b64, &self.state.identity.key_seed)
            }
        };
        Some(ClientIdentity { certificate_chain_b64: chain.clone(), key_seed: key_seed.clone() })
    }

    fn body(&mut self, purpose: Purpose, header: RequestHeader, what: Option<Acknowledged>) -> Result<Vec<u8>, String> {
        let eval_used_s = self.state.evaluation.used_s;
        let last_grant_seq = self.state.last_grant_seq;
        let key = SecretKey::from_seed(self.state.identity.key_seed.0);
        let typ = purpose.endpoint().request();
        let sealed = match purpose {
            Purpose::Registration | Purpose::Move => {
                let token = self.state.token.clone().ok_or("no registration token is held")?;
                let certificate_request_b64 =
                    certificate_request(&self.state.udi, &key).map_err(|error| error.to_string())?;
                let (info, force) = (self.info(), self.state.force);
                let message = RegistrationRequest {
                    header,
                    token,
                    certificate_request_b64,
                    info,
                    force,
                    eval_used_s,
                    last_grant_seq,
                };
                Envelope::seal(typ, &message, &key)
            }
            Purpose::Entitlement => {
                let message = EntitlementRequest { header, tags: self.asked(), eval_used_s, last_grant_seq };
                Envelope::seal(typ, &message, &key)
            }
            Purpose::Renew => {
                // A new key for each renewal; the old one stays until its certificate has come.
                let seed = match &self.state.identity.pending {
                    Some(pending) => pending.seed.clone(),
                    None => Secret(self.entropy.bytes()),
                };
                let new_key = SecretKey::from_seed(seed.0);
                self.state.identity.pending = Some(PendingKey { seed });
                let certificate_request_b64 =
                    certificate_request(&self.state.udi, &new_key).map_err(|error| error.to_string())?;
                let message = RenewRequest { header, certificate_request_b64, info: self.info() };
                Envelope::seal(typ, &message, &key)
            }
            Purpose::Report => {
                let until = self.clock.now();
                let from = self.report_from(until);
                let tags = self.tag_reports(from, until);
                let message = ReportRequest { header, from, until, tags, eval_used_s, last_grant_seq };
                Envelope::seal(typ, &message, &key)
            }
            Purpose::Deregistration => {
                let virtual_account =
                    self.state.membership.as_ref().map(|member| member.virtual_account.clone()).unwrap_or_default();
                Envelope::seal(typ, &DeregistrationRequest { header, virtual_account, eval_used_s }, &key)
            }
            Purpose::Goodbye => {
                let goodbye = self.state.goodbye.as_ref().ok_or("nothing is left to say")?;
                let key = SecretKey::from_seed(goodbye.key_seed.0);
                let virtual_account = goodbye.virtual_account.clone();
                Envelope::seal(typ, &DeregistrationRequest { header, virtual_account, eval_used_s }, &key)
            }
            Purpose::Ack => {
                let acknowledged = what.ok_or("nothing to acknowledge")?;
                Envelope::seal(typ, &Acknowledgement { header, acknowledged }, &key)
            }
        };
        sealed.map(|envelope| envelope.to_bytes()).map_err(|error| error.to_string())
    }

    fn report_from(&self, until: UnixMillis) -> UnixMillis {
        let registered = self.state.membership.as_ref().map(|member| member.registered_at);
        self.state.reported_until.or(registered).unwrap_or(until).min(until)
    }

    /// Row 55.
    fn tag_reports(&self, from: UnixMillis, until: UnixMillis) -> Vec<TagReport> {
        let profile = &self.setup.profile;
        let reported = |of: &Requested| profile.type_named(&of.type_name).is_none_or(|licensed| licensed.reported);
        let granted =
            |tag: &str| self.state.grant.iter().flat_map(|grant| &grant.tags).any(|granted| granted.tag == tag);
        let told = self.setup.requested.iter().filter(|of| reported(of) && self.is_licensed(of));
        let told = told.map(|requested| {
            let of = Reported {
                requested,
                installed: Some(self.installed(requested)),
                next_units: self.usage.next(&requested.tag).or(requested.units),
                from,
                until,
            };
            TagReport { requested: self.licenses_asked(requested), ..tag_report(&self.usage, profile, of) }
        });
        // What was neither asked for nor used is nobody's news; the manager may not even know the tag.
        told.filter(|tag| tag.requested > 0 || tag.observed_peak > 0 || granted(&tag.tag)).collect()
    }

    /// Licenses that the grant in force holds.
    fn installed(&self, requested: &Requested) -> u64 {
        let units = enforcement::granted_units(&self.state, requested);
        licenses(units, requested.per_license)
    }

    /// Row 43: nothing is asked for.
    pub(super) fn asks_nothing(&self) -> bool {
        !enforcement::holds_export(&self.state, &self.setup)
            && self.setup.requested.iter().all(|requested| self.licenses_asked(requested) == 0)
    }

    /// The next regular report.
    pub(super) fn next_report(&self, hint_s: Option<u64>) -> UnixMillis {
        let now = self.clock.now();
        plus_s(now, self.setup.profile.report.interval_s()).max(plus_s(now, hint_s.unwrap_or(0).min(HINT_MAX_S)))
    }
}

/// The longest wait for the next report that a manager may ask for, in seconds.
const HINT_MAX_S: u64 = 7 * 86_400;
