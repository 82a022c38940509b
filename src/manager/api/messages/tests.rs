//! Each schema against its record in the protocol, member by member.

use std::collections::BTreeSet;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::*;
use crate::protocol::{
    AckAnswer, Acknowledged, Acknowledgement, AnswerHeader, ComplianceStatus, DeregistrationAnswer,
    DeregistrationRequest, EntitlementRequest, Entropy, Envelope, Grant, GrantAnswer, InstanceInfo, KeySet, KeyUse,
    Nonce, PoolView, Refusal, RefusalCode, RegistrationAnswer, RegistrationRequest, RegistrationToken, RemovalEffect,
    RenewAnswer, RenewRequest, ReportRequest, RequestHeader, SecretKey, SignedKey, TagGrant, TagReport, TagRequest,
    TagStatus, Udi,
};
use crate::units::UnixMillis;

const NOW: UnixMillis = UnixMillis(1_800_000_000_000);

fn text() -> String {
    "text".to_owned()
}

fn udi() -> Udi {
    Udi::generate("CALLGATE", &mut Entropy::from_seed([1; 32]))
}

fn nonce() -> Nonce {
    Nonce::generate(&mut Entropy::from_seed([2; 32]))
}

fn request() -> RequestHeader {
    RequestHeader { udi: udi(), seq: 7, nonce: nonce(), sent_at: NOW, agent_version: text() }
}

fn answer() -> AnswerHeader {
    AnswerHeader {
        in_reply_to: nonce(),
        udi: udi(),
        seq: 7,
        issued_at: NOW,
        eval_used_s: 1,
        next_contact_hint_s: Some(60),
        policy_version: 1,
    }
}

fn info() -> InstanceInfo {
    InstanceInfo {
        hostname: Some(text()),
        profile: text(),
        version: text(),
        tags: vec![text()],
        usage: text(),
        fingerprint: text(),
        removal: Some(removal()),
    }
}

fn removal() -> RemovalEffect {
    RemovalEffect { evaluation_s: 1, expired_effect: text(), grace_s: 1 }
}

fn tag_report() -> TagReport {
    TagReport {
        tag: text(),
        requested: 1,
        reported: 1,
        observed_peak: 1,
        peak_at: Some(NOW),
        p95: 1,
        samples: 1,
        next: Some(1),
        lent_used: 1,
    }
}

fn tag_grant() -> TagGrant {
    TagGrant { tag: text(), epoch: 1, granted: 1, cap: 1, status: TagStatus::InCompliance, term_end: Some(NOW) }
}

fn grant() -> Grant {
    Grant {
        udi: udi(),
        virtual_account: text(),
        seq: 1,
        issued_at: NOW,
        expires_at: NOW,
        status: ComplianceStatus::InCompliance,
        tags: vec![tag_grant()],
        pools: vec![pool()],
        overage_allowed: true,
        export_allowed: true,
        policy_version: 1,
    }
}

fn pool() -> PoolView {
    PoolView { tag: text(), purchased: 1, in_use: 1 }
}

fn root() -> SecretKey {
    SecretKey::from_seed([3; 32])
}

fn signed_key() -> SignedKey {
    SignedKey { key: root().public(), key_use: KeyUse::Issuer, not_before: NOW, not_after: NOW }
}

fn key_set() -> KeySet {
    KeySet { seq: 1, issued_at: NOW, keys: vec![signed_key()] }
}

fn key_set_envelope() -> Envelope {
    Envelope::seal(Typ::KeySet, &key_set(), &root()).unwrap()
}

/// Whose record it is: what agents may leave out is documented so, and a manager leaves nothing out.
#[derive(Clone, Copy, PartialEq)]
enum Said {
    ByAgents,
    ByManagers,
}

/// The records held so far.
#[derive(Default)]
struct Held(BTreeSet<String>);

impl Held {
    /// `full` has everything that its record may have.
    fn hold<T: Serialize + DeserializeOwned>(&mut self, said: Said, name: &str, full: &T) {
        let schemas = all();
        let schema = &schemas[name];
        let full = serde_json::to_value(full).unwrap();
        let members = full.as_object().unwrap();
        let documented: Vec<&String> = schema["properties"].as_object().unwrap().keys().collect();
        assert_eq!(documented, members.keys().collect::<Vec<_>>(), "{name}: documented, and in the protocol");
        let required = schema["required"].as_array().unwrap();
        for member in members.keys() {
            let is_required = required.iter().any(|one| one == member);
            let mut without = full.clone();
            without.as_object_mut().unwrap().remove(member);
            let may_be_missing = serde_json::from_value::<T>(without).is_ok();
            match said {
                Said::ByAgents => assert_eq!(may_be_missing, !is_required, "{name}.{member} is left out"),
                // What a manager of this version answers is always there.
                Said::ByManagers => assert!(is_required, "{name}.{member} is always there"),
            }
            let mut null = full.clone();
            null[member] = Value::Null;
            let nullable = schema["properties"][member]["anyOf"][1]["type"] == "null";
            assert_eq!(serde_json::from_value::<T>(null).is_ok(), nullable, "{name}.{member} is null");
        }
        self.0.insert(name.to_owned());
    }
}

#[test]
fn every_member_of_every_message_is_documented_as_it_is_read_and_written() {
    use Said::{ByAgents, ByManagers};
    let mut held = Held::default();
    let certificate_request_b64 = text();
    held.hold(ByAgents, "RequestHeader", &request());
    held.hold(ByAgents, "InstanceInfo", &info());
    held.hold(ByAgents, "RemovalEffect", &removal());
    let token = RegistrationToken::generate(&mut Entropy::from_seed([4; 32]));
    let (eval_used_s, last_grant_seq) = (1, 1);
    held.hold(
        ByAgents,
        "RegistrationRequest",
        &RegistrationRequest {
            header: request(),
            token,
            certificate_request_b64: certificate_request_b64.clone(),
            info: info(),
            force: true,
            eval_used_s,
            last_grant_seq,
        },
    );
    let tag = TagRequest { tag: text(), requested: 1, optional: true };
    held.hold(ByAgents, "TagRequest", &tag);
    let entitlement = EntitlementRequest { header: request(), tags: vec![tag], eval_used_s, last_grant_seq };
    held.hold(ByAgents, "EntitlementRequest", &entitlement);
    held.hold(ByAgents, "TagReport", &tag_report());
    let tags = vec![tag_report()];
    let report = ReportRequest { header: request(), from: NOW, until: NOW, tags, eval_used_s, last_grant_seq };
    held.hold(ByAgents, "ReportRequest", &report);
    held.hold(ByAgents, "RenewRequest", &RenewRequest { header: request(), certificate_request_b64, info: info() });
    let goodbye = DeregistrationRequest { header: request(), virtual_account: text(), eval_used_s };
    held.hold(ByAgents, "DeregistrationRequest", &goodbye);
    let registered = Acknowledged::Registration { instance: text() };
    held.hold(ByAgents, "AcknowledgedRegistration", &registered);
    held.hold(ByAgents, "AcknowledgedGrant", &Acknowledged::Grant { tag: text(), epoch: 1, effective: 1 });
    held.hold(ByAgents, "Acknowledgement", &Acknowledgement { header: request(), acknowledged: registered });

    held.hold(ByManagers, "AnswerHeader", &answer());
    held.hold(
        ByManagers,
        "RegistrationAnswer",
        &RegistrationAnswer {
            header: answer(),
            instance: text(),
            account: text(),
            virtual_account: text(),
            certificate_chain_b64: vec![text()],
            root_b64: text(),
            root: root().public(),
            key_set: key_set_envelope(),
            export_allowed: true,
        },
    );
    held.hold(ByManagers, "TagGrant", &tag_grant());
    held.hold(ByManagers, "PoolView", &pool());
    held.hold(ByManagers, "Grant", &grant());
    let granted = GrantAnswer { header: answer(), grant: grant(), key_set: Some(key_set_envelope()) };
    held.hold(ByManagers, "GrantAnswer", &granted);
    let certificate_chain_b64 = vec![text()];
    let renewed = RenewAnswer { header: answer(), certificate_chain_b64, key_set: key_set_envelope() };
    held.hold(ByManagers, "RenewAnswer", &renewed);
    held.hold(ByManagers, "DeregistrationAnswer", &DeregistrationAnswer { header: answer() });
    held.hold(ByManagers, "AckAnswer", &AckAnswer { header: answer() });
    held.hold(
        ByManagers,
        "Refusal",
        &Refusal {
            in_reply_to: Some(nonce()),
            udi: Some(udi()),
            issued_at: NOW,
            code: RefusalCode::Busy,
            text: text(),
            retry_after_s: Some(5),
            key_set: Some(key_set_envelope()),
            root: Some(root().public()),
        },
    );
    held.hold(ByManagers, "SignedKey", &signed_key());
    held.hold(ByManagers, "KeySet", &key_set());
    let documented: BTreeSet<String> = RECORDS.iter().map(|(name, ..)| (*name).to_owned()).collect();
    assert_eq!(held.0, documented, "each record of the document is one of the protocol");
}

/// The names that a type accepts, as it says when it refuses another.
fn accepted<T: DeserializeOwned>() -> BTreeSet<String> {
    let error = serde_json::from_value::<T>(json!("no such name")).err().unwrap().to_string();
    error.split('`').skip(3).step_by(2).map(str::to_owned).collect()
}

#[test]
fn every_name_of_a_value_is_documented() {
    let schemas = schemas::all();
    let documented = |name: &str| -> BTreeSet<String> {
        schemas[name]["enum"].as_array().unwrap().iter().map(|value| value.as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(documented("RefusalCode"), accepted::<RefusalCode>());
    assert_eq!(documented("KeyUse"), accepted::<KeyUse>());
    assert_eq!(documented("Compliance"), accepted::<ComplianceStatus>());
    assert_eq!(documented("TagStatus"), accepted::<TagStatus>());
}

#[test]
fn every_member_has_a_meaning_and_every_time_and_duration_its_unit() {
    for (name, meaning, members) in RECORDS {
        assert!(meaning.ends_with('.'), "{name}");
        let schema = &all()[*name];
        for (member, notation, _) in *members {
            let bare = member.trim_end_matches('?');
            let told = schema["properties"][bare]["description"].as_str().unwrap();
            assert!(told.ends_with('.') && told.len() > 5, "{name}.{bare}: {told}");
            assert_eq!(told.contains("milliseconds since 1970"), notation.starts_with('t'), "{name}.{bare}: {told}");
            if bare.ends_with("_s") {
                assert!(told.contains("seconds"), "{name}.{bare}: {told}");
            }
        }
    }
}
