use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use proptest::prelude::*;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, SanType};

use super::*;
use crate::units::UnixMillis;

fn entropy(seed: u8) -> Entropy {
    Entropy::from_seed([seed; 32])
}

fn key(seed: u8) -> SecretKey {
    SecretKey::from_seed([seed; 32])
}

fn header(seed: u8) -> RequestHeader {
    let mut entropy = entropy(seed);
    RequestHeader {
        udi: Udi::generate("callgate", &mut entropy),
        seq: 7,
        nonce: Nonce::generate(&mut entropy),
        sent_at: UnixMillis(1_700_000_000_000),
        agent_version: "0.1.0".to_owned(),
    }
}

fn sealed() -> (Envelope, Acknowledgement) {
    let message =
        Acknowledgement { header: header(1), acknowledged: Acknowledged::Registration { instance: "i-1".to_owned() } };
    (Envelope::seal(Typ::Ack, &message, &key(1)).unwrap(), message)
}

/// The members of an envelope's JSON, to be tampered with.
fn members(envelope: &Envelope) -> serde_json::Map<String, serde_json::Value> {
    serde_json::from_slice(&envelope.to_bytes()).unwrap()
}

fn tampered(change: impl FnOnce(&mut serde_json::Map<String, serde_json::Value>)) -> Envelope {
    let mut members = members(&sealed().0);
    change(&mut members);
    Envelope::parse(&serde_json::to_vec(&members).unwrap()).unwrap()
}

#[test]
fn what_was_sealed_opens_with_the_key_that_sealed_it_and_with_no_other() {
    let (envelope, message) = sealed();
    let carried = Envelope::parse(&envelope.to_bytes()).unwrap();
    assert_eq!(carried.open::<Acknowledgement>(Typ::Ack, &key(1).public()).unwrap(), message);
    assert_eq!(carried.kid, key(1).public().id());
    let other = carried.open::<Acknowledgement>(Typ::Ack, &key(2).public());
    assert_eq!(other, Err(EnvelopeError::Signature { kid: key(1).public().id() }));
}

#[test]
fn a_message_of_one_type_never_passes_for_another() {
    let (envelope, _) = sealed();
    let asked = envelope.open::<Acknowledgement>(Typ::Report, &key(1).public());
    assert_eq!(asked, Err(EnvelopeError::Typ { found: "ack", expected: "report" }));
    let relabelled = tampered(|members| {
        members.insert("typ".to_owned(), "report".into());
    });
    assert!(matches!(
        relabelled.open::<Acknowledgement>(Typ::Report, &key(1).public()),
        Err(EnvelopeError::Signature { .. })
    ));
}

#[test]
fn the_algorithm_is_never_taken_from_the_message() {
    for algorithm in ["none", "HS256", "ed25519", ""] {
        let envelope = tampered(|members| {
            members.insert("alg".to_owned(), algorithm.into());
        });
        let opened = envelope.open::<Acknowledgement>(Typ::Ack, &key(1).public());
        assert_eq!(opened, Err(EnvelopeError::Algorithm { found: algorithm.to_owned() }));
    }
}

#[test]
fn the_same_content_in_other_bytes_is_not_what_was_signed() {
    let envelope = tampered(|members| {
        let payload = members["payload_b64"].as_str().unwrap();
        let mut bytes = URL_SAFE_NO_PAD.decode(payload).unwrap();
        // One blank more: equal as JSON.
        bytes.push(b' ');
        members.insert("payload_b64".to_owned(), URL_SAFE_NO_PAD.encode(bytes).into());
    });
    assert!(envelope.peek::<Acknowledgement>().is_ok());
    assert!(matches!(
        envelope.open::<Acknowledgement>(Typ::Ack, &key(1).public()),
        Err(EnvelopeError::Signature { .. })
    ));
}

#[test]
fn bytes_that_are_no_envelope_are_refused_by_name() {
    let html = Envelope::parse(b"<html>Please log in</html>");
    assert!(matches!(html, Err(EnvelopeError::Shape(_))), "{html:?}");
    let large = Envelope::parse(&vec![b' '; ENVELOPE_BYTES_MAX + 1]);
    assert_eq!(large, Err(EnvelopeError::TooLarge { found: ENVELOPE_BYTES_MAX + 1 }));
    let mut stray = members(&sealed().0);
    stray.insert("crit".to_owned(), true.into());
    assert!(matches!(Envelope::parse(&serde_json::to_vec(&stray).unwrap()), Err(EnvelopeError::Shape(_))));
}

#[test]
fn the_largest_message_that_seals_can_be_read_again() {
    let text = "x".repeat(ENVELOPE_BYTES_MAX / 4 * 3 - 1024 - 2);
    let envelope = Envelope::seal(Typ::Ack, &text, &key(1)).unwrap();
    assert!(Envelope::parse(&envelope.to_bytes()).is_ok());
    let more = "x".repeat(text.len() + 1);
    assert!(matches!(Envelope::seal(Typ::Ack, &more, &key(1)), Err(EnvelopeError::TooLarge { .. })));
}

#[test]
fn a_type_is_written_as_it_is_signed() {
    for endpoint in Endpoint::ALL {
        for typ in [endpoint.request(), endpoint.answer()] {
            assert_eq!(serde_json::to_value(typ).unwrap(), typ.name());
        }
        assert!(endpoint.path().ends_with(endpoint.request().name()));
    }
    for typ in [Typ::Refusal, Typ::KeySet] {
        assert_eq!(serde_json::to_value(typ).unwrap(), typ.name());
    }
}

#[test]
fn a_signature_is_that_of_the_published_test_vector() {
    // RFC 8032, section 7.1, test 2.
    fn hex<const N: usize>(text: &str) -> [u8; N] {
        std::array::from_fn(|place| u8::from_str_radix(&text[place * 2..place * 2 + 2], 16).unwrap())
    }
    let key = SecretKey::from_seed(hex::<32>("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb"));
    let public: [u8; 32] = hex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c");
    let signature: [u8; 64] = hex(
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    );
    assert_eq!(key.public().as_bytes(), &public);
    assert_eq!(key.sign(&[0x72]), signature);
    assert!(key.public().verifies(&[0x72], &signature));
    assert!(!key.public().verifies(&[0x73], &signature));
}

#[test]
fn a_key_of_small_order_verifies_nothing() {
    // The neutral element: with a lax verifier, one signature of it fits every message.
    let mut neutral = [0; 32];
    neutral[0] = 1;
    let weak = PublicKey::from_bytes(&neutral);
    let mut signature = [0; 64];
    signature[0] = 1;
    assert!(weak.is_none_or(|weak| !weak.verifies(b"anything", &signature)));
}

#[test]
fn secrets_show_nothing_when_printed() {
    let token = RegistrationToken::generate(&mut entropy(3));
    assert!(!format!("{token:?}").contains(&token.reveal()[4..10]));
    let key = key(9);
    let seed = URL_SAFE_NO_PAD.encode(key.seed().as_slice());
    assert!(!format!("{key:?}").contains(&seed[..8]));
    assert!(!format!("{:?}", entropy(3)).contains('3'));
}

#[test]
fn a_typing_error_in_a_token_is_found_before_it_is_sent() {
    let token = RegistrationToken::generate(&mut entropy(4));
    let text = token.reveal().to_owned();
    assert_eq!(text.parse::<RegistrationToken>().as_ref(), Ok(&token));
    assert_eq!(format!("  {text}\n").parse::<RegistrationToken>().as_ref(), Ok(&token), "a file ends with a line feed");
    let mut missed = 0;
    for place in 4..text.len() {
        let mut typed = text.clone().into_bytes();
        typed[place] = if typed[place] == b'a' { b'b' } else { b'a' };
        missed += i32::from(String::from_utf8(typed).unwrap().parse::<RegistrationToken>().is_ok());
    }
    assert_eq!(missed, 0, "one wrong character is always found");
    let swapped: String = text[..4].chars().chain(text[4..].chars().rev()).collect();
    assert!(swapped.parse::<RegistrationToken>().is_err());
    let cut = text[..20].parse::<RegistrationToken>().unwrap_err().to_string();
    assert!(cut.contains("found 20 characters") && cut.contains("accepted: 40"), "{cut}");
    assert!(!cut.contains(&text[8..20]), "an error never repeats the token");
}

#[test]
fn two_tokens_differ_and_their_hashes_too() {
    let mut entropy = entropy(5);
    let tokens: Vec<_> = (0..100).map(|_| RegistrationToken::generate(&mut entropy)).collect();
    let hashes: std::collections::HashSet<_> = tokens.iter().map(RegistrationToken::hash).collect();
    assert_eq!(hashes.len(), 100);
    let hash = tokens[0].hash();
    assert_eq!(TokenHash::from_hex(&hash.to_string()), Some(hash));
    assert_eq!(TokenHash::from_hex("é".repeat(32).as_str()), None);
}

#[test]
fn a_udi_reads_as_it_was_written_and_nothing_else_reads_as_one() {
    let mut entropy = entropy(6);
    let udi = Udi::generate("SIP Proxy/14", &mut entropy);
    assert_eq!(udi.pid(), "SIP-Proxy-14");
    assert_eq!(udi.serial().len(), 11);
    assert_eq!(udi.to_string().parse::<Udi>(), Ok(udi.clone()));
    assert_ne!(udi, Udi::generate("SIP Proxy/14", &mut entropy));
    let text = udi.to_string();
    for wrong in [
        text.to_lowercase(),
        text.replace(",UUID:", ",uuid:"),
        text.replacen("PID:", "PID:,", 1),
        format!("{text} "),
        text[..text.len() - 1].to_owned(),
        String::new(),
    ] {
        assert!(wrong.parse::<Udi>().is_err(), "{wrong}");
    }
    let long = "x".repeat(10_000).parse::<Udi>().unwrap_err();
    assert!(long.to_string().len() < 400, "an error stays readable");
}

struct Authority {
    root: SecretKey,
    root_der: Vec<u8>,
    chain: Vec<String>,
    udi: Udi,
    instance: SecretKey,
}

/// rcgen, signing with our keys, as a manager does.
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

fn params(from: i32, to: i32, ca: bool) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.not_before = rcgen::date_time_ymd(from, 1, 1);
    params.not_after = rcgen::date_time_ymd(to, 1, 1);
    params.serial_number = Some(rcgen::SerialNumber::from(42_u64));
    if ca {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    }
    params
}

fn authority(issuer_is_ca: bool) -> Authority {
    let (root_key, issuer_key, instance) = (key(11), key(12), key(13));
    let udi = Udi::generate("callgate", &mut entropy(13));
    let root = CertifiedIssuer::self_signed(params(2020, 2040, true), remote(&root_key)).unwrap();
    let issuer = CertifiedIssuer::signed_by(params(2020, 2030, issuer_is_ca), remote(&issuer_key), &root).unwrap();
    let mut leaf = params(2024, 2025, false);
    leaf.subject_alt_names = vec![SanType::URI(format!("urn:callgate:udi:{udi}").try_into().unwrap())];
    let leaf = leaf.signed_by(&remote(&instance), &issuer).unwrap();
    let root_der = root.der().to_vec();
    let chain = vec![STANDARD.encode(leaf.der()), STANDARD.encode(issuer.der())];
    Authority { root: root_key, root_der, chain, udi, instance }
}

/// The first of July of 2024.
const JULY_2024: UnixMillis = UnixMillis(1_719_792_000_000);
const HOUR_MS: u64 = 3_600_000;

#[test]
fn a_chain_that_leads_to_the_root_says_whose_it_is() {
    let authority = authority(true);
    let id = verify_chain(&authority.chain, &authority.root.public(), JULY_2024, HOUR_MS).unwrap();
    assert_eq!(id.udi, authority.udi);
    assert_eq!(id.key, authority.instance.public());
    assert_eq!(id.serial, "2a");
    assert_eq!(id.not_before, UnixMillis(1_704_067_200_000));
    assert_eq!(id.not_after, UnixMillis(1_735_689_600_000));
    let der = STANDARD.decode(&authority.chain[0]).unwrap();
    assert_eq!(parse_certificate(&der).unwrap(), id);
}

#[test]
fn a_chain_of_another_root_or_out_of_its_time_or_through_no_authority_is_refused() {
    let authority = self::authority(true);
    let root = authority.root.public();
    let verify = |chain: &[String], now| verify_chain(chain, &root, now, HOUR_MS);
    let foreign = verify_chain(&authority.chain, &key(99).public(), JULY_2024, HOUR_MS);
    assert!(matches!(foreign, Err(CertificateError::Signature { .. })), "{foreign:?}");
    let not_before = 1_704_067_200_000;
    assert!(verify(&authority.chain, UnixMillis(not_before - HOUR_MS)).is_ok(), "clocks may differ by an hour");
    let early = verify(&authority.chain, UnixMillis(not_before - HOUR_MS - 1000));
    assert!(matches!(early, Err(CertificateError::Time { .. })), "{early:?}");
    let late = verify(&authority.chain, UnixMillis(1_735_689_600_000 + HOUR_MS + 1000));
    assert!(matches!(late, Err(CertificateError::Time { .. })), "{late:?}");
    assert!(verify(&authority.chain[..1], JULY_2024).is_err(), "the issuer is missing");
    assert!(verify(&[], JULY_2024).is_err());
    assert!(verify(&vec![authority.chain[0].clone(); 5], JULY_2024).is_err());
    let through_leaf = self::authority(false);
    let error = verify(&through_leaf.chain, JULY_2024).unwrap_err().to_string();
    assert!(error.contains("no certificate authority"), "{error}");
    let root_alone = verify(&[STANDARD.encode(&authority.root_der)], JULY_2024).unwrap_err().to_string();
    assert!(root_alone.contains("names no UDI"), "{root_alone}");
}

#[test]
fn a_certificate_request_is_for_the_udi_and_the_key_that_made_it() {
    let udi = Udi::generate("callgate", &mut entropy(20));
    let request = certificate_request(&udi, &key(20)).unwrap();
    assert_eq!(read_certificate_request(&request, &udi), Ok(key(20).public()));
    let other = Udi::generate("callgate", &mut entropy(21));
    let error = read_certificate_request(&request, &other).unwrap_err().to_string();
    assert!(error.contains(&udi.to_string()) && error.contains(&other.to_string()), "{error}");
    let mut der = STANDARD.decode(&request).unwrap();
    let last = der.len() - 1;
    der[last] ^= 1;
    let forged = read_certificate_request(&STANDARD.encode(&der), &udi);
    assert!(matches!(forged, Err(CertificateError::Signature { .. })), "{forged:?}");
    assert!(matches!(read_certificate_request("AAAA", &udi), Err(CertificateError::Shape { .. })));
    assert!(read_certificate_request(&"A".repeat(1 << 20), &udi).is_err(), "bounded");
}

#[test]
fn the_pkcs8_form_of_a_key_is_what_tls_libraries_read() {
    // RFC 8410, section 10.3: its private key.
    let published = STANDARD.decode("MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC").unwrap();
    let seed = <[u8; 32]>::try_from(&published[16..]).unwrap();
    assert_eq!(*SecretKey::from_seed(seed).pkcs8_der(), published);
}

#[test]
fn an_old_key_set_does_not_replace_a_newer_one() {
    let root = key(30);
    let set = |seq| KeySet {
        seq,
        issued_at: JULY_2024,
        keys: vec![SignedKey {
            key: key(31).public(),
            key_use: KeyUse::Issuer,
            not_before: UnixMillis(0),
            not_after: UnixMillis(u64::MAX),
        }],
    };
    let sealed = |seq| Envelope::seal(Typ::KeySet, &set(seq), &root).unwrap();
    assert_eq!(KeySet::open(&sealed(5), &root.public(), 5), Ok(set(5)));
    assert_eq!(KeySet::open(&sealed(4), &root.public(), 5), Err(KeySetError::Old { found: 4, held: 5 }));
    assert!(matches!(KeySet::open(&sealed(6), &key(32).public(), 5), Err(KeySetError::Envelope(_))));
    assert!(set(1).find(&key(31).public().id()).is_some());
    assert!(set(1).find(&key(32).public().id()).is_none());
    let empty = Envelope::seal(Typ::KeySet, &KeySet { keys: Vec::new(), ..set(9) }, &root).unwrap();
    assert_eq!(KeySet::open(&empty, &root.public(), 5), Err(KeySetError::Count { found: 0 }));
}

#[test]
fn a_no_is_of_one_class_at_most() {
    for code in [
        RefusalCode::TokenUnknown,
        RefusalCode::AlreadyRegistered,
        RefusalCode::InstanceRemoved,
        RefusalCode::Duplicate,
        RefusalCode::CertificateRevoked,
        RefusalCode::Replayed,
        RefusalCode::ClockSkew,
        RefusalCode::Busy,
    ] {
        assert!(!(code.ends_registration() && code.is_passing()), "{code:?}");
        assert_eq!(serde_json::to_value(code).unwrap(), code.name());
    }
}

proptest! {
    #[test]
    fn no_change_of_one_byte_of_an_envelope_is_believed(place in any::<prop::sample::Index>(), flip in 1..=255_u8) {
        let (envelope, message) = sealed();
        let mut bytes = envelope.to_bytes();
        let place = place.index(bytes.len());
        bytes[place] ^= flip;
        let opened = Envelope::parse(&bytes)
            .and_then(|envelope| envelope.open::<Acknowledgement>(Typ::Ack, &key(1).public()));
        // The key's name alone is not signed: it only says where to look.
        if let Ok(opened) = opened {
            prop_assert_eq!(opened, message);
            prop_assert_ne!(Envelope::parse(&bytes).unwrap().kid, envelope.kid);
        }
    }

    #[test]
    fn no_change_of_one_byte_of_a_certificate_is_believed(place in any::<prop::sample::Index>(), flip in 1..=255_u8) {
        let authority = authority(true);
        let mut der = STANDARD.decode(&authority.chain[0]).unwrap();
        let place = place.index(der.len());
        der[place] ^= flip;
        let chain = [STANDARD.encode(der), authority.chain[1].clone()];
        prop_assert!(verify_chain(&chain, &authority.root.public(), JULY_2024, HOUR_MS).is_err());
    }
}
