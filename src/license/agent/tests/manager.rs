//! A license manager for tests, which really signs. It knows one instance and believes it.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{CertificateParams, Issuer, SanType};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::license::agent::{Exchange, Outgoing};
use crate::protocol::{
    AckAnswer, Acknowledgement, AnswerHeader, ComplianceStatus, DeregistrationAnswer, DeregistrationRequest, Endpoint,
    EntitlementRequest, Envelope, Grant, GrantAnswer, KeySet, KeyUse, PoolView, PublicKey, Refusal, RefusalCode,
    RegistrationAnswer, RegistrationRequest, RenewAnswer, RenewRequest, ReportRequest, RequestHeader, SecretKey,
    SignedKey, TagGrant, TagRequest, TagStatus, Typ, Udi, read_certificate_request,
};
use crate::units::UnixMillis;

pub(super) const DAY_MS: u64 = 86_400_000;

/// rcgen, signing with our keys.
struct Remote(SecretKey, PublicKey);

impl rcgen::PublicKeyData for Remote {
    fn der_bytes(&self) -> &[u8] {
        self.1.as_bytes()
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &rcgen::PKCS_ED25519
    }
}

impl rcgen::SigningKey for Remote {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        Ok(self.0.sign(message).to_vec())
    }
}

fn remote(key: &SecretKey) -> Remote {
    Remote(key.clone(), key.public())
}

pub(super) struct Manager {
    pub(super) root: SecretKey,
    pub(super) issuer: SecretKey,
    /// The number of the key set.
    pub(super) key_set_seq: u64,
    pub(super) virtual_account: String,
    pub(super) grant_seq: u64,
    /// Bought, by tag; a tag that isn't here is unknown.
    pub(super) bought: BTreeMap<String, u64>,
    pub(super) overage_allowed: bool,
    pub(super) export_allowed: bool,
    /// How far its clock is ahead.
    pub(super) clock_ahead_ms: i64,
    /// What it says instead of an answer.
    pub(super) refuses: Option<RefusalCode>,
    pub(super) hint_s: Option<u64>,
    pub(super) id_valid_days: u64,
    pub(super) grant_days: u64,
    pub(super) eval_used_s: u64,
    pub(super) requested: BTreeMap<String, u64>,
    pub(super) heard: Vec<(Endpoint, u64)>,
    pub(super) registrations: Vec<RegistrationRequest>,
    pub(super) renewals: Vec<RenewRequest>,
    pub(super) reports: Vec<ReportRequest>,
    pub(super) acks: Vec<Acknowledgement>,
    pub(super) deregistrations: Vec<DeregistrationRequest>,
    /// The newest answer as it was sent, for replays.
    pub(super) said: Vec<Vec<u8>>,
}

impl Manager {
    pub(super) fn new(seed: u8) -> Self {
        Self {
            root: SecretKey::from_seed([seed; 32]),
            issuer: SecretKey::from_seed([seed + 1; 32]),
            key_set_seq: 1,
            virtual_account: "main".to_owned(),
            grant_seq: 0,
            bought: BTreeMap::new(),
            overage_allowed: true,
            export_allowed: false,
            clock_ahead_ms: 0,
            refuses: None,
            hint_s: None,
            id_valid_days: 365,
            grant_days: 90,
            eval_used_s: 0,
            requested: BTreeMap::new(),
            heard: Vec::new(),
            registrations: Vec::new(),
            renewals: Vec::new(),
            reports: Vec::new(),
            acks: Vec::new(),
            deregistrations: Vec::new(),
            said: Vec::new(),
        }
    }

    pub(super) fn now(&self, now: UnixMillis) -> UnixMillis {
        UnixMillis(now.0.saturating_add_signed(self.clock_ahead_ms))
    }

    pub(super) fn key_set(&self) -> Envelope {
        let keys = vec![SignedKey {
            key: self.issuer.public(),
            key_use: KeyUse::Issuer,
            not_before: UnixMillis(0),
            not_after: UnixMillis(u64::MAX),
        }];
        let set = KeySet { seq: self.key_set_seq, issued_at: UnixMillis(0), keys };
        Envelope::seal(Typ::KeySet, &set, &self.root).unwrap()
    }

    fn chain(&self, udi: &Udi, request_b64: &str, now: UnixMillis) -> Vec<String> {
        let key = read_certificate_request(request_b64, udi).unwrap();
        let at = |ms: u64| rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(ms / 1000);
        let mut params = CertificateParams::default();
        params.not_before = at(now.0);
        params.not_after = at(now.0 + self.id_valid_days * DAY_MS);
        params.serial_number = Some(rcgen::SerialNumber::from(7_u64));
        params.subject_alt_names = vec![SanType::URI(format!("urn:callgate:udi:{udi}").try_into().unwrap())];
        let issuer = Issuer::new(CertificateParams::default(), remote(&self.root));
        let subject = Remote(self.root.clone(), key);
        vec![STANDARD.encode(params.signed_by(&subject, &issuer).unwrap().der())]
    }

    pub(super) fn header(&self, request: &RequestHeader, now: UnixMillis) -> AnswerHeader {
        AnswerHeader {
            in_reply_to: request.nonce,
            udi: request.udi.clone(),
            seq: request.seq,
            issued_at: self.now(now),
            eval_used_s: self.eval_used_s,
            next_contact_hint_s: self.hint_s,
            policy_version: 1,
        }
    }

    /// A grant for what was requested last.
    pub(super) fn grant(&mut self, udi: &Udi, now: UnixMillis) -> Grant {
        self.grant_seq += 1;
        let mut tags = Vec::new();
        let mut pools = Vec::new();
        let mut status = ComplianceStatus::InCompliance;
        for (tag, requested) in &self.requested {
            let (granted, tag_status) = match self.bought.get(tag) {
                None => (0, TagStatus::Invalid),
                Some(bought) if bought < requested => (*bought, TagStatus::OutOfCompliance),
                Some(_) => (*requested, TagStatus::InCompliance),
            };
            if tag_status == TagStatus::OutOfCompliance {
                status = ComplianceStatus::OutOfCompliance;
            }
            if let Some(bought) = self.bought.get(tag) {
                pools.push(PoolView { tag: tag.clone(), purchased: *bought, in_use: *requested });
            }
            let cap = if self.overage_allowed { *requested } else { granted };
            let epoch = self.grant_seq;
            tags.push(TagGrant { tag: tag.clone(), epoch, granted, cap, status: tag_status, term_end: None });
        }
        let now = self.now(now);
        Grant {
            udi: udi.clone(),
            virtual_account: self.virtual_account.clone(),
            seq: self.grant_seq,
            issued_at: now,
            expires_at: UnixMillis(now.0 + self.grant_days * DAY_MS),
            status,
            tags,
            pools,
            overage_allowed: self.overage_allowed,
            export_allowed: self.export_allowed,
            policy_version: 1,
        }
    }

    pub(super) fn sign<T: Serialize>(&mut self, typ: Typ, message: &T) -> Exchange {
        let body = Envelope::seal(typ, message, &self.issuer).unwrap().to_bytes();
        self.said.push(body.clone());
        Exchange::Answered { status: 200, retry_after_s: None, body }
    }

    fn read<T: DeserializeOwned>(outgoing: &Outgoing) -> T {
        let envelope = Envelope::parse(&outgoing.body).unwrap();
        let key = match &outgoing.client {
            Some(client) => SecretKey::from_seed(client.key_seed.0).public(),
            None => {
                let request: RegistrationRequest = envelope.peek().unwrap();
                read_certificate_request(&request.certificate_request_b64, &request.header.udi).unwrap()
            }
        };
        envelope.open(outgoing.endpoint.request(), &key).unwrap()
    }

    pub(super) fn refusal(&mut self, header: &RequestHeader, code: RefusalCode, now: UnixMillis) -> Exchange {
        let refusal = Refusal {
            in_reply_to: Some(header.nonce),
            udi: Some(header.udi.clone()),
            issued_at: self.now(now),
            code,
            text: format!("refused: {}", code.name()),
            retry_after_s: None,
            key_set: Some(self.key_set()),
            root: Some(self.root.public()),
        };
        let Exchange::Answered { body, .. } = self.sign(Typ::Refusal, &refusal) else { unreachable!("it answers") };
        Exchange::Answered { status: 403, retry_after_s: None, body }
    }

    pub(super) fn answer(&mut self, outgoing: &Outgoing, now: UnixMillis) -> Exchange {
        #[derive(serde::Deserialize)]
        struct Any {
            header: RequestHeader,
        }
        let any: Any = Envelope::parse(&outgoing.body).unwrap().peek().unwrap();
        self.heard.push((outgoing.endpoint, any.header.seq));
        if let Some(code) = self.refuses {
            return self.refusal(&any.header, code, now);
        }
        match outgoing.endpoint {
            Endpoint::Registration => {
                let request: RegistrationRequest = Self::read(outgoing);
                let chain = self.chain(&request.header.udi, &request.certificate_request_b64, self.now(now));
                self.grant_seq = self.grant_seq.max(request.last_grant_seq);
                self.eval_used_s = self.eval_used_s.max(request.eval_used_s);
                let answer = RegistrationAnswer {
                    header: self.header(&request.header, now),
                    instance: "instance-1".to_owned(),
                    account: "acme".to_owned(),
                    virtual_account: self.virtual_account.clone(),
                    certificate_chain_b64: chain,
                    root_b64: STANDARD.encode(b"root"),
                    root: self.root.public(),
                    key_set: self.key_set(),
                    export_allowed: self.export_allowed,
                };
                self.registrations.push(request);
                self.sign(Typ::RegistrationAnswer, &answer)
            }
            Endpoint::Entitlement => {
                let request: EntitlementRequest = Self::read(outgoing);
                self.eval_used_s = self.eval_used_s.max(request.eval_used_s);
                let there = |tag: &TagRequest| {
                    !tag.optional || self.bought.get(&tag.tag).is_some_and(|bought| *bought >= tag.requested)
                };
                self.requested =
                    request.tags.iter().filter(|tag| there(tag)).map(|tag| (tag.tag.clone(), tag.requested)).collect();
                self.granted(&request.header, now)
            }
            Endpoint::Report => {
                let request: ReportRequest = Self::read(outgoing);
                let header = request.header.clone();
                self.reports.push(request);
                self.granted(&header, now)
            }
            Endpoint::Renew => {
                let request: RenewRequest = Self::read(outgoing);
                let answer = RenewAnswer {
                    header: self.header(&request.header, now),
                    certificate_chain_b64: self.chain(
                        &request.header.udi,
                        &request.certificate_request_b64,
                        self.now(now),
                    ),
                    key_set: self.key_set(),
                };
                self.renewals.push(request);
                self.sign(Typ::RenewAnswer, &answer)
            }
            Endpoint::Deregistration => {
                let request: DeregistrationRequest = Self::read(outgoing);
                let answer = DeregistrationAnswer { header: self.header(&request.header, now) };
                self.deregistrations.push(request);
                self.sign(Typ::DeregistrationAnswer, &answer)
            }
            Endpoint::Ack => {
                let request: Acknowledgement = Self::read(outgoing);
                let answer = AckAnswer { header: self.header(&request.header, now) };
                self.acks.push(request);
                self.sign(Typ::AckAnswer, &answer)
            }
        }
    }

    fn granted(&mut self, header: &RequestHeader, now: UnixMillis) -> Exchange {
        let grant = self.grant(&header.udi, now);
        let answer = GrantAnswer { header: self.header(header, now), grant, key_set: Some(self.key_set()) };
        self.sign(Typ::GrantAnswer, &answer)
    }
}
