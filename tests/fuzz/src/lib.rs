//! What each decoder promises for any input, as functions that panic when a promise is broken. cargo-fuzz runs them on
//! inputs of its own, the test suite on the seeds and on mutations of them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use callgate::admission::{RECORD_VERSION, record_codec};
use callgate::cluster::{
    Frames, LENGTH_BYTES, WireError, decode_datagram, decode_message, encode_datagram, encode_message,
};
use callgate::codec::datagram::{ANSWER_BYTES, Answered, Bad, Messages, REQUESTS_MAX, encode as datagram_encode};
use callgate::codec::http::{Body, Fields, Operation, encode as http_encode};
use callgate::codec::resp::{Args, Command, Limits, Progress, encode as resp_encode, frame};
use callgate::protocol::{
    Endpoint, Entropy, Envelope, GrantAnswer, KeySet, RegistrationRequest, RegistrationToken, SecretKey, Udi,
    parse_certificate, read_certificate_request, verify_chain,
};
use callgate::units::UnixMillis;

/// Whatever the bytes: no panic; what is understood is understood the same when it is encoded again; what is incomplete
/// asks for more than there is and for no more than a request may weigh; what is complete stays so with bytes behind it.
pub fn resp_request(input: &[u8]) {
    let limits = Limits { request_bytes_max: 4096, bulk_bytes_max: 2048, inline_bytes_max: 1024, elements_max: 64 };
    let mut rest = input;
    let mut args = Args::new();
    loop {
        match frame::next(rest, &limits, &mut args) {
            Err(_) => return,
            Ok(Progress::Incomplete { needed }) => {
                assert!(needed > rest.len() && needed <= limits.request_bytes_max.max(rest.len() + 1), "{needed}");
                return;
            }
            Ok(Progress::Complete { consumed }) => {
                assert!((1..=rest.len()).contains(&consumed));
                let (this, behind) = rest.split_at(consumed);
                let mut alone = Args::new();
                assert_eq!(frame::next(this, &limits, &mut alone), Ok(Progress::Complete { consumed }));
                assert_eq!(alone, args);
                if !args.is_empty()
                    && let Ok(command) = Command::parse(&args)
                {
                    same_again(&command);
                }
                rest = behind;
            }
        }
    }
}

fn same_again(command: &Command<'_, '_>) {
    let mut encoded = Vec::new();
    resp_encode::command(&mut encoded, command);
    let mut args = Args::new();
    let progress = frame::next(&encoded, &Limits::default(), &mut args);
    assert_eq!(progress, Ok(Progress::Complete { consumed: encoded.len() }), "{command:?}");
    assert_eq!(Command::parse(&args).as_ref(), Ok(command));
}

/// Whatever the bytes: no panic; what is understood is encoded to the very same bytes; answers are bounded, and never
/// longer than what they answer; what reads as an answer is written as it was read, and is no request.
pub fn datagram(input: &[u8]) {
    let mut answered = 0;
    let mut again = Vec::new();
    for read in Messages::new(input) {
        match read {
            Ok(read) => {
                answered += 1;
                again.clear();
                datagram_encode::message(&mut again, read.request_id, &read.message);
                assert!(input.windows(again.len()).any(|window| window == again), "{read:?}");
            }
            Err(Bad::Answer { .. }) => answered += 1,
            Err(Bad::Drop(_)) => {}
        }
    }
    assert!(answered <= REQUESTS_MAX + 1 && answered * ANSWER_BYTES <= input.len());
    if let Ok(answer) = Answered::read(input) {
        assert_eq!(Answered::read(&answer.to_bytes()), Ok(answer));
        assert!(Messages::new(input).all(|read| matches!(read, Err(Bad::Drop(_)))));
    }
}

/// The first byte picks the operation and where the fields stand, the rest is query or body. Whatever the bytes: no panic;
/// what is understood is understood the same when it is encoded again, as a query and, where it can be said so, as JSON.
pub fn http_body(input: &[u8]) {
    let Some((pick, rest)) = input.split_first() else { return };
    let operation = Operation::ALL[usize::from(pick / 3) % Operation::ALL.len()];
    let text = String::from_utf8_lossy(rest);
    let (query, body) = match pick % 3 {
        0 => ("", Body::Json(rest)),
        1 => ("", Body::Form(rest)),
        _ => (&*text, Body::None),
    };
    let Ok(fields) = Fields::read(operation, query, body) else { return };
    let Ok(decoded) = fields.decode() else { return };
    assert_eq!(http_encode::operation(&decoded), operation);
    let query = http_encode::query(&decoded);
    let again = Fields::read(operation, &query, Body::None).expect("what was encoded is readable");
    assert_eq!(again.decode().as_ref(), Ok(&decoded), "{query}");
    if let Some(json) = http_encode::json(&decoded) {
        let again = Fields::read(operation, "", Body::Json(json.as_bytes())).expect("what was encoded is readable");
        assert_eq!(again.decode().as_ref(), Ok(&decoded), "{json}");
    }
}

/// Whatever the bytes: no panic; what is a record of this version is encoded to the very same bytes, and a version that
/// is not known is an error.
pub fn journal_record(input: &[u8]) {
    record_codec::assert_round_trip(RECORD_VERSION, input);
    assert!(record_codec::decode(RECORD_VERSION + 1, input).is_err());
}

/// The first byte picks what the rest is read as. Whatever the bytes: no panic; what reads as an envelope, a UDI or a token
/// is written as it was read; nothing that a fuzzer makes up is believed.
pub fn protocol(input: &[u8]) {
    let Some((pick, rest)) = input.split_first() else { return };
    let root = SecretKey::from_seed([1; 32]).public();
    let text = String::from_utf8_lossy(rest);
    match pick % 5 {
        0 => {
            if let Ok(envelope) = Envelope::parse(rest) {
                assert_eq!(Envelope::parse(&envelope.to_bytes()).as_ref(), Ok(&envelope));
                assert!(envelope.verify(&root).is_err());
                for endpoint in Endpoint::ALL {
                    assert!(envelope.open::<serde_json::Value>(endpoint.request(), &root).is_err());
                }
                let _ = envelope.peek::<RegistrationRequest>();
                let _ = envelope.peek::<GrantAnswer>();
                let _ = KeySet::open(&envelope, &root, 0);
            }
        }
        1 => {
            if let Ok(udi) = text.parse::<Udi>() {
                assert_eq!(udi.to_string(), text);
            }
        }
        2 => {
            if let Ok(token) = text.parse::<RegistrationToken>() {
                assert_eq!(token.reveal(), text.trim());
            }
        }
        3 => {
            let _ = parse_certificate(rest);
            let chain = [STANDARD.encode(rest)];
            assert!(verify_chain(&chain, &root, UnixMillis(1_719_792_000_000), 0).is_err());
        }
        _ => {
            let udi = Udi::generate("callgate", &mut Entropy::from_seed([20; 32]));
            if let Ok(key) = read_certificate_request(&STANDARD.encode(rest), &udi) {
                assert_eq!(key, SecretKey::from_seed([20; 32]).public(), "only the seeds' own request is signed");
            }
        }
    }
}

/// The first byte picks message, datagram or a stream of frames. Whatever the bytes: no panic; what is understood is
/// understood the same when it is written again; a version that isn't known is named.
pub fn cluster_wire(input: &[u8]) {
    let Some((pick, rest)) = input.split_first() else { return };
    match pick % 3 {
        0 => match decode_message(rest) {
            Ok(message) => {
                let again = encode_message(&message).expect("what was read can be written");
                assert_eq!(decode_message(&again[LENGTH_BYTES..]), Ok(message));
            }
            Err(WireError::Version { found }) => assert_eq!(rest.first(), Some(&found)),
            Err(_) => {}
        },
        1 => {
            if let Ok(datagram) = decode_datagram(rest) {
                let again = encode_datagram(&datagram).expect("what was read can be written");
                assert_eq!(decode_datagram(&again).as_ref(), Ok(&datagram));
            }
        }
        _ => {
            let mut whole = Frames::new();
            whole.push(rest);
            let all: Vec<_> = std::iter::from_fn(|| whole.next()).collect();
            let mut piecemeal = Frames::new();
            let mut pieces = Vec::new();
            for byte in rest {
                piecemeal.push(&[*byte]);
                while let Some(message) = piecemeal.next() {
                    let is_lost = matches!(message, Err(WireError::TooLong { .. }));
                    pieces.push(message);
                    if is_lost {
                        assert_eq!(pieces, all, "however it was cut");
                        return;
                    }
                }
            }
            assert_eq!(pieces, all, "however it was cut");
            assert!(all.iter().flatten().all(|message| encode_message(message).is_ok()));
        }
    }
}
