use proptest::prelude::*;

use super::*;
use crate::admission::{Admit, CallId, Cause, Decision, Kind, Name, Request};
use crate::units::UnixMillis;

fn call(id: &[u8]) -> Message<'_> {
    Message::Decide(Request::Admit(Admit::call(CallId::new(id).unwrap())))
}

fn encoded(request_id: u64, message: &Message<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    encode::message(&mut out, request_id, message);
    out
}

fn read_all(datagram: &[u8]) -> Vec<Result<Read<'_>, Bad>> {
    Messages::new(datagram).collect()
}

/// What one changed byte sequence is told.
fn told(datagram: &[u8]) -> (ErrorCode, (u16, u16)) {
    match read_all(datagram).first() {
        Some(Err(Bad::Answer { request_id: 9, fault, .. })) => (fault.error, fault.accepted),
        other => panic!("no answer with its request id: {other:?}"),
    }
}

fn with(message: &Message<'_>, at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut datagram = encoded(9, message);
    datagram[at..at + bytes.len()].copy_from_slice(bytes);
    datagram
}

#[test]
fn the_layout_is_the_documented_one_byte_by_byte() {
    let name = |text: &'static str| Some(Name::new(text.as_bytes()).unwrap());
    let admit = Admit {
        id: CallId::new(b"id").unwrap(),
        seq: Some(0x0403_0201),
        trunk: name("t"),
        tenant: name("te"),
        kind: Kind::Registration,
        webrtc: true,
        license_type: name("typ"),
        units: 258,
        emergency: true,
        priority: true,
        ttl_s: Some(5),
        encrypted: true,
        proxy: name("prox"),
        deadline: Some(UnixMillis(0x0807_0605_0403_0201)),
    };
    let bytes = encoded(0x1817_1615_1413_1211, &Message::Decide(Request::Admit(admit)));
    let expected = [
        &[0xC9, 1, 1, 1, 52, 0, 127, 0][..],
        &[0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18],
        &[1, 2, 3, 4, 5, 0, 0, 0],
        &[1, 2, 3, 4, 5, 6, 7, 8],
        &[2, 1, 2, 0, 1, 2, 3, 4],
        b"idttetypprox",
    ]
    .concat();
    assert_eq!(bytes, expected);
    let refused = Decision { admitted: false, cause: Cause::Cps, sip_status: 503, retry_after_s: 4, lease_s: 0 };
    let answer = Answered { request_id: 258, verb: Verb::Admit.code(), outcome: Outcome::from(&refused) };
    let expected = [
        &[0xC9, 1, 0x81, 0, 32, 0, 3, 0][..],
        &[2, 1, 0, 0, 0, 0, 0, 0],
        &[0xA0, 0x0F, 0, 0, 0, 0, 0, 0],
        &[0xF7, 1, 0, 0, 0, 0, 0, 0],
    ]
    .concat();
    assert_eq!(answer.to_bytes(), expected[..]);
}

#[test]
fn what_cannot_be_understood_is_told_what_is_accepted_under_its_request_id() {
    let release = Message::Decide(Request::Release { id: CallId::new(b"abc").unwrap(), seq: None });
    let proxy = Message::Proxy { name: Name::new(b"p").unwrap(), epoch: 1 };
    let rows = [
        (with(&call(b"abc"), 1, &[2]), ErrorCode::Version, (1, 1)),
        (with(&call(b"abc"), 1, &[0]), ErrorCode::Version, (1, 1)),
        (with(&call(b"abc"), 2, &[8]), ErrorCode::Verb, (1, 7)),
        (with(&call(b"abc"), 2, &[0]), ErrorCode::Verb, (1, 7)),
        (with(&call(b"abc"), 3, &[2]), ErrorCode::Kind, (0, 1)),
        (with(&call(b"abc"), 4, &[39, 0]), ErrorCode::Length, (40, 1064)),
        (with(&call(b"abc"), 4, &[44, 0]), ErrorCode::Length, (40, 1064)),
        (with(&call(b"abc"), 4, &[42, 0]), ErrorCode::Length, (40, 1064)),
        (with(&call(b"abc"), 4, &[255, 255]), ErrorCode::Length, (40, 1064)),
        (with(&call(b"abc"), 6, &[128, 0]), ErrorCode::Flags, (0, 127)),
        (with(&release, 6, &[2, 0]), ErrorCode::Flags, (0, 1)),
        (with(&call(b"abc"), 16, &[1]), ErrorCode::Field, (0, 0)),
        (with(&call(b"abc"), 20, &[1]), ErrorCode::Field, (0, 0)),
        (with(&call(b"abc"), 31, &[1]), ErrorCode::Field, (0, 0)),
        (with(&call(b"abc"), 32, &[0, 0]), ErrorCode::Units, (1, 1000)),
        (with(&call(b"abc"), 32, &[233, 3]), ErrorCode::Units, (1, 1000)),
        (with(&call(b"abc"), 34, &[0, 0]), ErrorCode::Id, (1, 512)),
        (with(&call(b"abc"), 34, &[1, 2]), ErrorCode::Id, (1, 512)),
        (with(&call(b"abc"), 34, &[4, 0]), ErrorCode::Length, (40, 1064)),
        (with(&call(b"abc"), 36, &[1]), ErrorCode::Length, (40, 1064)),
        (with(&release, 3, &[1]), ErrorCode::Field, (0, 0)),
        (with(&release, 32, &[1]), ErrorCode::Field, (0, 0)),
        (with(&release, 39, &[1]), ErrorCode::Field, (0, 0)),
        (with(&Message::Ping, 34, &[1]), ErrorCode::Field, (0, 0)),
        (with(&proxy, 39, &[0]), ErrorCode::Length, (40, 1064)),
    ];
    for (datagram, error, accepted) in rows {
        assert_eq!(told(&datagram), (error, accepted), "{datagram:?}");
    }
    let mut long_name = encoded(9, &call(b"a"));
    long_name.extend([b'n'; 129]);
    long_name[4..6].copy_from_slice(&(40 + 1 + 129_u16).to_le_bytes());
    long_name[37] = 129;
    assert_eq!(told(&long_name), (ErrorCode::Name, (1, 128)));
    let mut no_name = encoded(9, &Message::Ping);
    no_name[2] = Verb::Proxy.code();
    assert_eq!(told(&no_name), (ErrorCode::Name, (1, 128)));
}

#[test]
fn a_newer_version_or_an_unknown_verb_does_not_hide_the_requests_behind_it() {
    let mut newer = with(&call(b"abc"), 1, &[2]);
    newer.extend([0; 2_000]);
    newer[4..6].copy_from_slice(&2_043_u16.to_le_bytes());
    let unknown = with(&call(b"abc"), 2, &[77]);
    let datagram = [newer, unknown, encoded(1, &call(b"x"))].concat();
    let read = read_all(&datagram);
    assert_eq!(read.len(), 3);
    assert_eq!(read[2], Ok(Read { request_id: 1, message: call(b"x") }));
}

#[test]
fn what_is_no_request_is_not_answered_and_ends_the_reading() {
    let good = encoded(1, &call(b"x"));
    let answer = Answered { request_id: 1, verb: 1, outcome: Outcome::Known(true) }.to_bytes();
    let rows: [(&[u8], Stray); 5] = [
        (b"", Stray::Short),
        (&good[..31], Stray::Short),
        (&[b'*'; 64], Stray::Magic),
        (&answer, Stray::Answer),
        (&[0; 64], Stray::Magic),
    ];
    for (bytes, why) in rows {
        assert_eq!(read_all(bytes), [Err(Bad::Drop(why))]);
        let behind = [&good[..], bytes, &good].concat();
        let read = read_all(&behind);
        // A short rest takes the bytes behind it for its own.
        assert!(read.len() <= 3 && read[0].is_ok(), "{read:?}");
    }
}

#[test]
fn a_datagram_holds_64_requests_and_the_next_is_told_so() {
    let datagram: Vec<u8> = (0..70).flat_map(|n| encoded(n, &call(b"x"))).collect();
    let read = read_all(&datagram);
    assert_eq!(read.len(), 65);
    assert!(read[..64].iter().all(Result::is_ok));
    let fault = Fault { error: ErrorCode::Count, accepted: (1, 64) };
    assert_eq!(read[64], Err(Bad::Answer { request_id: 64, verb: 1, fault }));
}

#[test]
fn verbs_errors_and_causes_are_found_by_their_numbers() {
    for (place, verb) in (1..).zip(Verb::ALL) {
        assert_eq!((verb.code(), Verb::from_code(place)), (place, Some(verb)));
    }
    for (place, error) in (1..).zip(ErrorCode::ALL) {
        assert_eq!((error.code(), ErrorCode::from_code(place)), (place, Some(error)));
    }
    assert_eq!((Verb::from_code(0), ErrorCode::from_code(0)), (None, None));
}

#[test]
fn what_is_no_answer_is_told_from_one() {
    let good = Answered { request_id: 1, verb: 1, outcome: Outcome::Known(true) }.to_bytes();
    assert!(Answered::read(&good[..31]).is_err());
    for (at, value) in [(0, 0), (1, 2), (2, 1), (3, 3), (4, 31)] {
        let mut other = good;
        other[at] = value;
        assert!(Answered::read(&other).is_err(), "{at}");
    }
}

fn name() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>(), 0..=128)
}

fn maybe(name: &[u8]) -> Option<Name<'_>> {
    Name::new(name).ok()
}

proptest! {
    #[test]
    fn a_request_decodes_to_what_was_encoded(
        (pick, id, names) in (0..7_u8, proptest::collection::vec(any::<u8>(), 1..=512), proptest::array::uniform4(name())),
        (request_id, long, seq, ttl_s) in (any::<u64>(), any::<u64>(), any::<Option<u32>>(), any::<Option<u32>>()),
        (units, flags) in (1..=1000_u16, any::<[bool; 6]>()),
    ) {
        let id = CallId::new(&id).unwrap();
        let [trunk, tenant, license_type, proxy] = names.each_ref().map(|name| maybe(name));
        let [webrtc, emergency, priority, encrypted, registration, deadline] = flags;
        let message = match pick {
            0 => Message::Decide(Request::Confirm { id, seq, ttl_s }),
            1 => Message::Decide(Request::Release { id, seq }),
            2 => Message::Decide(Request::Refresh { id }),
            3 => Message::Proxy { name: proxy.unwrap_or(Name::new(b"p").unwrap()), epoch: long },
            4 => Message::Auth(id),
            5 => Message::Ping,
            _ => Message::Decide(Request::Admit(Admit {
                id, seq, trunk, tenant, license_type, proxy, webrtc, emergency, priority, encrypted, ttl_s, units,
                kind: if registration { Kind::Registration } else { Kind::Call },
                deadline: deadline.then_some(UnixMillis(long)),
            })),
        };
        let bytes = encoded(request_id, &message);
        prop_assert!(bytes.len() <= REQUEST_BYTES_MAX);
        prop_assert_eq!(read_all(&bytes), vec![Ok(Read { request_id, message })]);
        // Cut anywhere, nothing is understood, and nothing beyond the request is made up.
        for cut in 0..bytes.len() {
            prop_assert!(read_all(&bytes[..cut]).iter().all(Result::is_err));
        }
    }

    #[test]
    fn an_answer_reads_as_it_was_written(
        request_id in any::<u64>(), verb in 1..8_u8, yes in any::<bool>(), cause in any::<u8>(), sip_status in any::<u16>(),
        retry_after_ms in any::<u32>(), lease_s in any::<u32>(), error in 1..=12_u8, accepted in any::<(u16, u16)>(),
    ) {
        let decision = Outcome::Decision { admitted: yes, cause, sip_status, retry_after_ms, lease_s };
        let fault = Fault { error: ErrorCode::from_code(error).unwrap(), accepted };
        let known = if verb == 1 { decision } else { Outcome::Known(yes) };
        for outcome in [known, Outcome::Error(fault)] {
            let answer = Answered { request_id, verb, outcome };
            prop_assert_eq!(Answered::read(&answer.to_bytes()), Ok(answer));
        }
    }

    #[test]
    fn answers_are_never_longer_than_what_they_answer(
        parts in proptest::collection::vec((any::<bool>(), proptest::collection::vec(any::<u8>(), 0..80), 0..80_u8), 0..80)
    ) {
        let mut datagram = Vec::new();
        for (good, mut bytes, length) in parts {
            if !good {
                // As near to a request as garbage gets.
                for (slot, byte) in bytes.iter_mut().zip([MAGIC, VERSION, 3, 0, length, 0]) {
                    *slot = byte;
                }
                datagram.extend(bytes);
            } else {
                datagram.extend(encoded(1, &call(b"a")));
            }
        }
        let answered = Messages::new(&datagram).filter(|read| !matches!(read, Err(Bad::Drop(_)))).count();
        prop_assert!(answered * ANSWER_BYTES <= datagram.len());
    }
}
