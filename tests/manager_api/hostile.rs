//! What nobody should send.

use std::io::{Read, Write};

use callgate::protocol::{ENVELOPE_BYTES_MAX, Endpoint, Envelope, RefusalCode, SecretKey};
use rcgen::{CertificateParams, DistinguishedName, KeyPair, PKCS_ED25519, SanType};
use rustls::pki_types::CertificateDer;

use super::rig::{Agent, Identity, Manager};

#[test]
fn garbage_gets_a_signed_no_and_too_much_of_it_none_at_all() {
    let manager = Manager::start();
    let agent = Agent::new(1);
    for endpoint in Endpoint::ALL {
        for body in [&b""[..], b"{", b"null", b"\xff\xfe", b"<html>", b"{\"alg\":\"none\"}", &[b'['; 10_000]] {
            let (status, envelope) = agent.send_bytes(&manager, endpoint, body);
            assert_eq!(
                (status, agent.refused(&envelope).code),
                (400, RefusalCode::BadRequest),
                "{endpoint:?} {body:?}"
            );
        }
        let huge = vec![b' '; ENVELOPE_BYTES_MAX + 1];
        assert_eq!(manager.exchange(None, "POST", endpoint.path(), "", &huge).status, 413);
        assert_eq!(manager.exchange(None, "GET", endpoint.path(), "", b"").status, 405);
    }
    assert_eq!(manager.ask("GET", "/healthz", None, "").status, 200);
}

#[test]
fn a_client_certificate_of_a_foreign_root_or_of_another_instance_opens_nothing() {
    let manager = Manager::start();
    manager.says(&["pool", "add", "cps", "20"]);
    let token = manager.token(&["--uses", "2"]);
    let (mut one, mut two) = (Agent::new(1), Agent::new(2));
    one.register(&manager, &token);
    let keys = two.register(&manager, &token).key_set;

    // Two's certificate and One's message, signed by either.
    let own = std::mem::replace(&mut one.identity, two.identity.take());
    let request = one.entitlement(&[("cps", 15)]);
    assert_eq!(one.refusal(&manager, Endpoint::Entitlement, &request), (401, RefusalCode::BadSignature));
    let forged = Envelope::seal(Endpoint::Entitlement.request(), &request, &two.key).unwrap();
    let (status, envelope) = one.send_bytes(&manager, Endpoint::Entitlement, &forged.to_bytes());
    assert_eq!((status, one.refused(&envelope).code), (401, RefusalCode::BadSignature));

    // No certificate.
    two.identity = one.identity.take();
    let request = one.entitlement(&[("cps", 15)]);
    assert_eq!(one.refusal(&manager, Endpoint::Entitlement, &request), (401, RefusalCode::BadSignature));

    // One that says all the right things, signed by itself.
    let key = SecretKey::from_seed([5; 32]);
    let pair = KeyPair::from_pkcs8_der_and_sign_algo(&key.pkcs8_der().as_slice().into(), &PKCS_ED25519).unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.subject_alt_names = vec![SanType::URI(format!("urn:callgate:udi:{}", one.udi).try_into().unwrap())];
    let der = params.self_signed(&pair).unwrap().der().to_vec();
    let held = std::mem::replace(&mut one.key, key.clone());
    one.identity = Some(Identity { chain: vec![CertificateDer::from(der)], key });
    let request = one.entitlement(&[("cps", 15)]);
    assert_eq!(one.refusal(&manager, Endpoint::Entitlement, &request), (401, RefusalCode::BadSignature));

    // After all that, both are as they were.
    (one.key, one.identity) = (held, own);
    one.entitle(&manager, &keys, 15);
    two.entitle(&manager, &keys, 5);
}

#[test]
fn a_message_of_another_type_or_with_any_byte_changed_is_refused() {
    let manager = Manager::start();
    manager.says(&["pool", "add", "cps", "20"]);
    let mut agent = Agent::new(1);
    let keys = agent.register(&manager, &manager.token(&[])).key_set;
    let request = agent.entitlement(&[("cps", 15)]);
    let envelope = Envelope::seal(Endpoint::Entitlement.request(), &request, &agent.key).unwrap();
    for other in [Endpoint::Report, Endpoint::Renew, Endpoint::Deregistration, Endpoint::Ack, Endpoint::Registration] {
        let (status, answer) = agent.send_bytes(&manager, other, &envelope.to_bytes());
        assert_eq!((status, agent.refused(&answer).code), (400, RefusalCode::BadRequest), "{other:?}");
    }
    let text = String::from_utf8(envelope.to_bytes()).unwrap();
    let payload = text.find("payload_b64\":\"").unwrap() + "payload_b64\":\"".len();
    for at in [payload, payload + 41, text.len() - 10] {
        let mut bytes = text.clone().into_bytes();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        let (status, answer) = agent.send_bytes(&manager, Endpoint::Entitlement, &bytes);
        assert!(status == 400 || status == 401, "{at}: {status} {:?}", agent.refused(&answer));
    }
    agent.entitle(&manager, &keys, 15);
}

#[test]
fn numbers_that_no_database_holds_are_refused_to_whoever_sends_them_and_harm_nobody_else() {
    let manager = Manager::start();
    manager.says(&["pool", "add", "cps", "20"]);
    let mut agent = Agent::new(1);
    let keys = agent.register(&manager, &manager.token(&[])).key_set;
    let mut request = agent.entitlement(&[("cps", 15)]);
    request.eval_used_s = u64::MAX;
    assert_eq!(agent.refusal(&manager, Endpoint::Entitlement, &request), (400, RefusalCode::BadRequest));
    let request = agent.entitlement(&[("cps", u64::MAX)]);
    assert_eq!(agent.refusal(&manager, Endpoint::Entitlement, &request), (400, RefusalCode::BadRequest));
    let owner = manager.owner_key();
    let lot = format!("{{\"tag\":\"cps\",\"quantity\":1,\"end\":{}}}", u64::MAX);
    assert_eq!(manager.ask("POST", "/v1/lots", Some(&owner), &lot).status, 400);
    assert_eq!(manager.ask("POST", "/v1/tokens", Some(&owner), "[null]").status, 400);
    assert_eq!(manager.ask("GET", "/v1/usage?until=18446744073709551615", Some(&owner), "").status, 400);
    assert_eq!(manager.ask("GET", "/readyz", None, "").status, 200);
    agent.entitle(&manager, &keys, 15);
}

#[test]
fn what_is_no_tls_no_http_or_too_much_of_a_head_harms_nobody() {
    let manager = Manager::start();
    let mut plain = std::net::TcpStream::connect(manager.address).unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    let mut bytes = Vec::new();
    // A TLS alert or nothing: not an answer in the clear.
    let _ = plain.read_to_end(&mut bytes);
    assert!(!bytes.starts_with(b"HTTP"), "{bytes:?}");

    for head in [format!("x: {}\r\n", "y".repeat(40_000)), "x: y\r\n".repeat(100)] {
        assert_eq!(manager.exchange(None, "GET", "/healthz", &head, b"").status, 431);
    }
    assert_eq!(manager.exchange(None, "G\x01T", "/healthz", "", b"").status, 400);
    // A connection that stays open and says nothing keeps nobody waiting.
    let _silent: Vec<_> = (0..20).map(|_| std::net::TcpStream::connect(manager.address).unwrap()).collect();
    assert_eq!(manager.ask("GET", "/healthz", None, "").status, 200);
}

#[test]
fn registrations_from_one_address_are_limited_and_everything_else_goes_on() {
    let manager = Manager::with("[limits]\nregistrations_per_minute = 2\n");
    manager.says(&["pool", "add", "cps", "20"]);
    let mut agent = Agent::new(1);
    let keys = agent.register(&manager, &manager.token(&[])).key_set;
    let token = manager.token(&[]);
    let mut other = Agent::new(2);
    let request = other.registration(&token);
    assert_eq!(other.send(&manager, Endpoint::Registration, &request).0, 200);
    let mut third = Agent::new(3);
    let request = third.registration(&token);
    let (status, envelope) = third.send(&manager, Endpoint::Registration, &request);
    let refusal = third.refused(&envelope);
    assert_eq!((status, refusal.code), (429, RefusalCode::Busy));
    assert!(refusal.retry_after_s.is_some_and(|seconds| (1..=30).contains(&seconds)), "{refusal:?}");
    agent.entitle(&manager, &keys, 15);
}
