//! The fuzz targets' promises, on stable and in seconds: every committed seed, and mutations of them.
//!
//! cargo-fuzz looks further (see `tests/fuzz/Cargo.toml`); what it finds is committed as a seed, and stays found.

#![expect(clippy::unwrap_used, reason = "a test says what it expected by failing")]

#[expect(unreachable_pub, reason = "a library of its own for cargo-fuzz")]
#[path = "fuzz/src/lib.rs"]
mod promises;

use std::path::Path;

use proptest::prelude::*;
use proptest::sample::{Index, select};

fn seeds(target: &str) -> Vec<Vec<u8>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/seeds").join(target);
    let mut files: Vec<_> = std::fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 10, "{} has {} seeds", dir.display(), files.len());
    files.iter().map(|file| std::fs::read(file).unwrap()).collect()
}

/// One small change, as a fuzzer makes them.
#[derive(Debug, Clone)]
enum Change {
    Flip(Index, u8),
    Insert(Index, Vec<u8>),
    Remove(Index, usize),
    Repeat(Index, usize),
    Cut(Index),
}

fn change() -> impl Strategy<Value = Change> {
    let words: Vec<&'static [u8]> = vec![
        b"\r\n",
        b"$-1\r\n",
        b"*",
        b"*3\r\n",
        b"$",
        b":",
        b"-1",
        b"18446744073709551616",
        b"4294967296",
        b"0",
        b"ADMIT",
        b"SEQ",
        b"{",
        b"}",
        b"[",
        b"]",
        b"\"",
        b"\\",
        b"%",
        b"%ff",
        b"&",
        b"=",
        b"id",
        b"null",
        b"true",
        b"1e999",
        b"\xff",
        b"\x00",
        b"'",
        b"\n",
    ];
    prop_oneof![
        (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Change::Flip(at, byte)),
        (any::<Index>(), select(words)).prop_map(|(at, word)| Change::Insert(at, word.to_vec())),
        (any::<Index>(), 1..8_usize).prop_map(|(at, count)| Change::Remove(at, count)),
        (any::<Index>(), 1..64_usize).prop_map(|(at, count)| Change::Repeat(at, count)),
        any::<Index>().prop_map(Change::Cut),
    ]
}

fn changed(mut input: Vec<u8>, changes: &[Change]) -> Vec<u8> {
    for change in changes {
        let len = input.len();
        match change {
            Change::Flip(at, byte) if len > 0 => input[at.index(len)] ^= byte,
            Change::Insert(at, word) => {
                let at = at.index(len + 1);
                input.splice(at..at, word.iter().copied());
            }
            Change::Remove(at, count) if len > 0 => {
                let at = at.index(len);
                input.drain(at..len.min(at + count));
            }
            Change::Repeat(at, count) if len > 0 => {
                let at = at.index(len);
                let piece = input[at..len.min(at + count)].to_vec();
                input.splice(at..at, piece);
            }
            Change::Cut(at) => input.truncate(at.index(len + 1)),
            Change::Flip(..) | Change::Remove(..) | Change::Repeat(..) => {}
        }
    }
    input
}

fn replay(target: &str, promise: fn(&[u8])) {
    let seeds = seeds(target);
    seeds.iter().for_each(|seed| promise(seed));
    let config = ProptestConfig { cases: 4_000, failure_persistence: None, ..ProptestConfig::default() };
    let inputs = (select(seeds), proptest::collection::vec(change(), 1..6));
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let result = runner.run(&inputs, |(seed, changes)| {
        promise(&changed(seed, &changes));
        Ok(())
    });
    if let Err(error) = result {
        panic!("{target}: {error}");
    }
}

#[test]
fn resp_requests_keep_their_promises() {
    replay("resp_request", promises::resp_request);
}

#[test]
fn datagrams_keep_their_promises() {
    replay("datagram", promises::datagram);
}

#[test]
fn http_bodies_keep_their_promises() {
    replay("http_body", promises::http_body);
}

#[test]
fn journal_records_keep_their_promises() {
    replay("journal_record", promises::journal_record);
}

#[test]
fn protocol_messages_keep_their_promises() {
    replay("protocol", promises::protocol);
}

#[test]
fn messages_between_nodes_keep_their_promises() {
    replay("cluster_wire", promises::cluster_wire);
}

/// Writes the seeds of `protocol` anew; by hand, when the messages change.
#[test]
#[ignore = "writes files: run by hand when the protocol's messages change"]
fn write_the_seeds_of_protocol() {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use callgate::protocol::*;
    use callgate::units::UnixMillis;

    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/seeds/protocol");
    std::fs::create_dir_all(&dir).unwrap();
    let mut entropy = Entropy::from_seed([20; 32]);
    let key = SecretKey::from_seed([20; 32]);
    let udi = Udi::generate("callgate", &mut entropy);
    let token = RegistrationToken::generate(&mut entropy);
    let csr = certificate_request(&udi, &key).unwrap();
    let header = RequestHeader {
        udi: udi.clone(),
        seq: 1,
        nonce: Nonce::generate(&mut entropy),
        sent_at: UnixMillis(1_719_792_000_000),
        agent_version: "0.1.0".to_owned(),
    };
    let registration = RegistrationRequest {
        header: header.clone(),
        token: token.clone(),
        certificate_request_b64: csr.clone(),
        info: InstanceInfo { hostname: Some("sip-a".to_owned()), ..InstanceInfo::default() },
        force: false,
        eval_used_s: 3600,
        last_grant_seq: 0,
    };
    let entitlement = EntitlementRequest {
        header: header.clone(),
        tags: vec![TagRequest { tag: "open.cps".to_owned(), requested: 20, optional: false }],
        eval_used_s: 3600,
        last_grant_seq: 3,
    };
    let ack = Acknowledgement { header, acknowledged: Acknowledged::Registration { instance: "i-1".to_owned() } };
    let set = KeySet {
        seq: 1,
        issued_at: UnixMillis(1_719_792_000_000),
        keys: vec![SignedKey {
            key: key.public(),
            key_use: KeyUse::Issuer,
            not_before: UnixMillis(0),
            not_after: UnixMillis(1_800_000_000_000),
        }],
    };
    let sealed =
        |typ, message: &dyn Fn() -> serde_json::Value| Envelope::seal(typ, &message(), &key).unwrap().to_bytes();
    let seeds: Vec<(&str, u8, Vec<u8>)> = vec![
        ("registration", 0, sealed(Typ::Registration, &|| serde_json::to_value(&registration).unwrap())),
        ("entitlement", 0, sealed(Typ::Entitlement, &|| serde_json::to_value(&entitlement).unwrap())),
        ("ack", 0, sealed(Typ::Ack, &|| serde_json::to_value(&ack).unwrap())),
        ("key_set", 0, sealed(Typ::KeySet, &|| serde_json::to_value(&set).unwrap())),
        ("html", 0, b"<html><body>Please log in</body></html>".to_vec()),
        ("udi", 1, udi.to_string().into_bytes()),
        ("udi_short", 1, b"PID:a,SN:b,UUID:c".to_vec()),
        ("token", 2, token.reveal().as_bytes().to_vec()),
        ("token_short", 2, b"cgt_abc".to_vec()),
        ("certificate_empty", 3, vec![0x30, 0x00]),
        ("certificate_request_as_certificate", 3, STANDARD.decode(&csr).unwrap()),
        ("certificate_request", 4, STANDARD.decode(&csr).unwrap()),
    ];
    for (name, pick, bytes) in seeds {
        std::fs::write(dir.join(name), [vec![pick], bytes].concat()).unwrap();
    }
}
