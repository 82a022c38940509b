//! An agent's life, and every no that a manager has for one.

use callgate::protocol::{
    Acknowledged, Acknowledgement, ComplianceStatus, Endpoint, Envelope, RefusalCode, SecretKey, Typ,
};
use serde_json::{Value, json};

use super::documented;
use super::rig::{Agent, Manager, now};

#[test]
fn an_agent_registers_is_granted_falls_out_of_compliance_recovers_renews_reports_and_leaves() {
    let mut manager = Manager::start();
    manager.says(&["pool", "add", "cps", "20"]);
    let token = manager.token(&["--uses", "2"]);
    let (mut one, mut two) = (Agent::new(1), Agent::new(2));
    let keys = one.register(&manager, &token).key_set;
    let grant = one.entitle(&manager, &keys, 15).grant;
    assert_eq!((grant.status, grant.tags[0].granted), (ComplianceStatus::InCompliance, 15));

    // The second one makes it too many, for both.
    two.register(&manager, &token);
    assert_eq!(two.entitle(&manager, &keys, 10).grant.status, ComplianceStatus::OutOfCompliance);
    assert_eq!(one.report(&manager, &keys, 15, 12).grant.status, ComplianceStatus::OutOfCompliance);
    let pools = manager.says(&["pool", "list"]);
    assert!(pools.contains("OUT OF COMPLIANCE") && pools.contains("-5"), "{pools}");

    // A purchase mends it with the next message.
    manager.says(&["pool", "add", "cps", "5", "--note", "order 7"]);
    assert_eq!(two.report(&manager, &keys, 10, 3).grant.status, ComplianceStatus::InCompliance);
    assert_eq!(one.entitle(&manager, &keys, 15).grant.status, ComplianceStatus::InCompliance);

    // A new key and certificate; a rotation of the issuer key; a restart: nobody notices.
    one.renew(&manager);
    manager.says(&["key", "rotate"]);
    assert_eq!(one.entitle(&manager, &keys, 15).grant.tags[0].granted, 15);
    two.renew(&manager);
    manager.restart();
    assert_eq!(two.entitle(&manager, &keys, 10).grant.status, ComplianceStatus::InCompliance);

    let shown = manager.says(&["instance", "show", &one.udi.to_string()]);
    assert!(shown.contains(&one.udi.to_string()) && shown.contains("registered"), "{shown}");
    let usage = manager.ask("GET", "/v1/usage", Some(&manager.owner_key()), "").json();
    assert_eq!(usage["items"].as_array().unwrap().len(), 2, "{usage}");

    let goodbye = one.goodbye();
    assert_eq!(one.send(&manager, Endpoint::Deregistration, &goodbye).0, 200);
    let late = one.entitlement(&[("cps", 15)]);
    assert_eq!(one.refusal(&manager, Endpoint::Entitlement, &late), (403, RefusalCode::InstanceRemoved));
    let pools = manager.says(&["pool", "list", "--format", "json"]);
    let pools: serde_json::Value = serde_json::from_str(&pools).unwrap();
    assert_eq!(pools["items"][0]["in_use"], 10, "{pools}");
    assert!(manager.says(&["audit", "verify"]).starts_with("Whole"));
}

#[test]
fn every_token_that_does_not_fit_is_refused_by_name_and_the_no_is_signed() {
    let manager = Manager::start();
    let mut agent = Agent::new(1);
    let fits = manager.token(&[]);

    // Of the right form, and of another manager.
    let foreign = callgate::protocol::RegistrationToken::generate(&mut callgate::protocol::Entropy::from_seed([9; 32]));
    let request = agent.registration(&foreign);
    assert_eq!(agent.refusal(&manager, Endpoint::Registration, &request), (403, RefusalCode::TokenUnknown));

    for (words, code) in [
        (["--product", "ccx"], RefusalCode::TokenNotForProduct),
        (["--network", "192.0.2.0/24"], RefusalCode::TokenNotFromHere),
    ] {
        let token = manager.token(&words);
        let request = agent.registration(&token);
        assert_eq!(agent.refusal(&manager, Endpoint::Registration, &request), (403, code));
    }

    let revoked = manager.token(&["--note", "revoked"]);
    let list: serde_json::Value = serde_json::from_str(&manager.says(&["token", "list", "--format", "json"])).unwrap();
    let id = list["items"].as_array().unwrap().iter().find(|token| token["note"] == "revoked").unwrap()["id"].clone();
    manager.says(&["token", "revoke", id.as_str().unwrap()]);
    let request = agent.registration(&revoked);
    assert_eq!(agent.refusal(&manager, Endpoint::Registration, &request), (403, RefusalCode::TokenRevoked));

    // Lost answers cost no second use: the same key may come again; another instance may not.
    agent.register(&manager, &fits);
    agent.identity = None;
    agent.register(&manager, &fits);
    let mut other = Agent::new(2);
    let request = other.registration(&fits);
    assert_eq!(other.refusal(&manager, Endpoint::Registration, &request), (403, RefusalCode::TokenUsedUp));

    // The same identity with another key is somebody else's, unless force is said.
    let again = manager.token(&[]);
    let mut thief = Agent::new(1);
    thief.seq = 1_000;
    thief.key = SecretKey::from_seed([77; 32]);
    let mut request = thief.registration(&again);
    assert_eq!(thief.refusal(&manager, Endpoint::Registration, &request), (409, RefusalCode::AlreadyRegistered));
    request = thief.registration(&again);
    request.force = true;
    assert_eq!(thief.send(&manager, Endpoint::Registration, &request).0, 200);
}

#[test]
fn a_token_that_is_revoked_ends_no_registration() {
    let manager = Manager::start();
    manager.says(&["pool", "add", "cps", "20"]);
    let mut agent = Agent::new(1);
    let keys = agent.register(&manager, &manager.token(&["--uses", "5"])).key_set;
    let list: serde_json::Value = serde_json::from_str(&manager.says(&["token", "list", "--format", "json"])).unwrap();
    manager.says(&["token", "revoke", list["items"][0]["id"].as_str().unwrap()]);
    assert_eq!(agent.entitle(&manager, &keys, 15).grant.tags[0].granted, 15);
    agent.renew(&manager);
}

#[test]
fn an_instance_that_was_removed_is_told_so_and_the_effect_was_shown_first() {
    let manager = Manager::start();
    manager.says(&["pool", "add", "cps", "20"]);
    let mut agent = Agent::new(1);
    let keys = agent.register(&manager, &manager.token(&[])).key_set;
    agent.entitle(&manager, &keys, 15);

    let refused = manager.cli(&["instance", "remove", &agent.udi.to_string()]);
    let told = String::from_utf8_lossy(&refused.stdout).into_owned();
    assert_eq!(refused.status.code(), Some(1), "nobody can be asked: {told}");
    assert!(told.contains("Gives back") && told.contains("15 cps") && told.contains("Effect"), "{told}");
    agent.entitle(&manager, &keys, 15);

    manager.says(&["instance", "remove", "--yes", &agent.udi.to_string()]);
    let request = agent.entitlement(&[("cps", 15)]);
    assert_eq!(agent.refusal(&manager, Endpoint::Entitlement, &request), (403, RefusalCode::InstanceRemoved));
}

#[test]
fn a_message_out_of_its_time_or_twice_is_refused_and_a_lost_answer_can_be_asked_for_again() {
    let manager = Manager::start();
    manager.says(&["pool", "add", "cps", "20"]);
    let mut agent = Agent::new(1);
    let keys = agent.register(&manager, &manager.token(&[])).key_set;
    let request = agent.entitlement(&[("cps", 5)]);
    assert_eq!(agent.send(&manager, Endpoint::Entitlement, &request).0, 200);
    // The very same message: whatever the domain makes of it, it is no second grant of the same number.
    let (status, envelope) = agent.send(&manager, Endpoint::Entitlement, &request);
    assert_eq!((status, agent.refused(&envelope).code), (409, RefusalCode::Replayed));

    for off in [-2_i64, 2] {
        let mut request = agent.entitlement(&[("cps", 5)]);
        request.header.sent_at.0 = now().0.checked_add_signed(off * 3_600_000).unwrap();
        assert_eq!(agent.refusal(&manager, Endpoint::Entitlement, &request), (400, RefusalCode::ClockSkew), "{off} h");
    }
    agent.entitle(&manager, &keys, 5);
}

#[test]
fn every_message_and_every_answer_is_as_the_document_says() {
    let manager = Manager::start();
    manager.says(&["pool", "add", "cps", "20"]);
    let mut agent = Agent::new(1);
    let keys = agent.register(&manager, &manager.token(&["--uses", "2"])).key_set;
    let grant = agent.entitle(&manager, &keys, 15).grant;
    agent.report(&manager, &keys, 15, 3);
    let acknowledged = Acknowledged::Grant { tag: "cps".to_owned(), epoch: grant.tags[0].epoch, effective: 15 };
    let ack = Acknowledgement { header: agent.header(), acknowledged };
    assert_eq!(agent.send(&manager, Endpoint::Ack, &ack).0, 200);
    agent.renew(&manager);
    // An answer that tells of a new key, a tag that is unknown, a term that ends.
    manager.says(&["key", "rotate"]);
    assert!(agent.entitle(&manager, &keys, 15).key_set.is_some());
    let mut request = agent.entitlement(&[("cps", 15), ("nonsense", 1)]);
    request.tags[1].optional = true;
    assert_eq!(agent.send(&manager, Endpoint::Entitlement, &request).0, 200);
    assert_eq!(agent.refusal(&manager, Endpoint::Entitlement, &request), (409, RefusalCode::Replayed));
    assert_eq!(agent.refusal(&manager, Endpoint::Report, &json!({})).0, 400);
    let goodbye = agent.goodbye();
    assert_eq!(agent.send(&manager, Endpoint::Deregistration, &goodbye).0, 200);
    let late = agent.entitlement(&[("cps", 15)]);
    assert_eq!(agent.refusal(&manager, Endpoint::Entitlement, &late), (403, RefusalCode::InstanceRemoved));
    let held = agent.documented.borrow().clone();
    for endpoint in Endpoint::ALL {
        assert!(held.contains(&(endpoint, 200)), "{endpoint:?}: {held:?}");
    }

    // What isn't as documented is noticed.
    let told = |typ: Typ, message: &Value| {
        let envelope = Envelope::seal(typ, message, &agent.key).unwrap();
        documented::request(manager.document(), Endpoint::Entitlement, &envelope)
    };
    let whole = serde_json::to_value(&late).unwrap();
    assert_eq!(told(Typ::Entitlement, &whole), Ok(()));
    assert!(told(Typ::Report, &whole).is_err(), "another type");
    for (pointer, value) in [("/tags/0/requested", json!("15")), ("/header/nonce", Value::Null), ("/tags/0", json!({}))]
    {
        let mut wrong = whole.clone();
        *wrong.pointer_mut(pointer).unwrap() = value;
        assert!(told(Typ::Entitlement, &wrong).is_err(), "{pointer}");
    }
    let mut more = whole;
    more["tags"][0]["unheard"] = json!(1);
    assert!(told(Typ::Entitlement, &more).unwrap_err().contains("unheard isn't documented"));
}
