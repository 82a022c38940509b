use proptest::prelude::*;

use super::*;
use crate::admission::{Admit, Answer, CallId, Cause, Decision, Kind, Name, Request};
use crate::units::UnixMillis;

/// Everything that the input says, as text; stops at a protocol error.
fn read(mut input: &[u8]) -> Vec<String> {
    let mut said = Vec::new();
    let mut args = Args::new();
    loop {
        match frame::next(input, &Limits::default(), &mut args) {
            Ok(Progress::Complete { consumed }) => {
                if !args.is_empty() {
                    said.push(match Command::parse(&args) {
                        Ok(command) => format!("{command:?}"),
                        Err(error) => format!("-{error}"),
                    });
                }
                input = &input[consumed..];
            }
            Ok(Progress::Incomplete { .. }) => return said,
            Err(error) => {
                said.push(format!("protocol: {error}"));
                return said;
            }
        }
    }
}

fn parse_line(line: &str) -> String {
    read(format!("{line}\r\n").as_bytes()).join("; ")
}

fn protocol_error(input: &[u8]) -> String {
    frame::next(input, &Limits::default(), &mut Args::new()).expect_err("refused").to_string()
}

#[test]
fn an_admit_with_every_option_is_understood_in_any_case() {
    let line =
        b"admit c-1 trunk t Tenant n KIND registration webrtc TYPE room UNITS 5 SEQ 4294967295 emergency PRIORITY \
                 TTL 0 ENCRYPTED proxy p DEADLINE 18446744073709551615\n";
    let mut args = Args::new();
    frame::next(line, &Limits::default(), &mut args).unwrap();
    let Command::Decide(Request::Admit(admit), DecideForm::Full) = Command::parse(&args).unwrap() else {
        panic!("an admit")
    };
    let name = |text: &'static str| Some(Name::new(text.as_bytes()).unwrap());
    let expected = Admit {
        id: CallId::new(b"c-1").unwrap(),
        seq: Some(u32::MAX),
        trunk: name("t"),
        tenant: name("n"),
        kind: Kind::Registration,
        webrtc: true,
        license_type: name("room"),
        units: 5,
        emergency: true,
        priority: true,
        ttl_s: Some(0),
        encrypted: true,
        proxy: name("p"),
        deadline: Some(UnixMillis(u64::MAX)),
    };
    assert_eq!(admit, expected);
}

#[test]
fn errors_say_what_was_found_and_what_is_accepted() {
    let rows = [
        ("FROB x", "unknown command 'FROB'; accepted are ADMIT,"),
        ("ADMIT", "wrong number of arguments: 0; accepted is ADMIT id [TRUNK name]"),
        ("ADMIT ''", "id has 0 bytes; accepted are 1 to 512"),
        ("ADMIT a COLOR red", "unknown option 'COLOR' of ADMIT; accepted are TRUNK,"),
        ("ADMIT a SEQ", "option SEQ has no value; accepted is a whole number from 0 to 4294967295"),
        ("ADMIT a SEQ -1", "SEQ is '-1'; accepted is a whole number from 0 to 4294967295"),
        ("ADMIT a SEQ +1", "SEQ is '+1'; accepted"),
        ("ADMIT a SEQ 4294967296", "SEQ is '4294967296'; accepted"),
        ("ADMIT a SEQ 99999999999999999999999", "SEQ is '99999999999999999999999'; accepted"),
        ("ADMIT a SEQ 1 seq 2", "option SEQ is given twice"),
        ("ADMIT a WEBRTC WEBRTC", "option WEBRTC is given twice"),
        ("ADMIT a UNITS 0", "UNITS is '0'; accepted is a whole number from 1 to 1000"),
        ("ADMIT a UNITS 1001", "UNITS is '1001'; accepted is a whole number from 1 to 1000"),
        ("ADMIT a KIND fax", "KIND is 'fax'; accepted is call or registration"),
        ("ADMIT a TRUNK ''", "TRUNK has 0 bytes; accepted are 1 to 128"),
        ("ADMIT a TTL soon", "TTL is 'soon'; accepted"),
        (
            "ADMIT a DEADLINE 18446744073709551616",
            "DEADLINE is '18446744073709551616'; accepted is a whole number of milliseconds",
        ),
        ("CONFIRM a TRUNK b", "unknown option 'TRUNK' of CONFIRM; accepted are SEQ, TTL"),
        ("RELEASE", "wrong number of arguments: 0; accepted is RELEASE id"),
        ("RELEASE a REASON", "option REASON has no value"),
        ("REFRESH", "wrong number of arguments: 0; accepted is REFRESH id [id ...]"),
        ("REFRESH a ''", "id has 0 bytes"),
        ("PROXY p", "wrong number of arguments: 1; accepted is PROXY name epoch"),
        ("PROXY p now", "epoch is 'now'; accepted is a whole number"),
        ("RESYNC", "wrong number of arguments: 0; accepted is RESYNC BEGIN proxy"),
        ("RESYNC STOP", "unknown subcommand 'STOP' of RESYNC; accepted are BEGIN, ADD, END, ABORT"),
        ("RESYNC ADD 1", "wrong number of arguments: 1; accepted is RESYNC ADD token id"),
        ("RESYNC END x", "token is 'x'; accepted is the number that RESYNC BEGIN answered"),
        ("CLIENT REPLY OFF", "unknown subcommand 'OFF' of CLIENT REPLY"),
        ("SELECT one", "database is 'one'"),
        ("CONFIG SET a b", "unknown subcommand 'SET' of CONFIG; accepted are GET"),
        ("HELLO x", "protocol version is 'x'; accepted is 2 or 3"),
        ("HELLO 3 AUTH me", "wrong number of arguments: 2; accepted is HELLO"),
    ];
    for (line, expected) in rows {
        let said = parse_line(line);
        assert!(said.starts_with(&format!("-{expected}")), "{line}: {said}");
    }
    let long_id = format!("ADMIT {}", "x".repeat(513));
    assert_eq!(parse_line(&long_id), "-id has 513 bytes; accepted are 1 to 512");
    let long_name = format!("ADMIT a PROXY {}", "x".repeat(129));
    assert_eq!(parse_line(&long_name), "-PROXY has 129 bytes; accepted are 1 to 128");
}

#[test]
fn broken_protocol_is_told_apart_and_ends_the_connection() {
    let rows: [(&[u8], &str); 20] = [
        (b"*-1\r\n", "array of '-1' elements; accepted are 0 to 1024"),
        (b"*1025\r\n", "array of '1025' elements"),
        (b"*99999999999999999999\r\n", "array of '99999999999999999999' elements"),
        (b"*x\r\n", "array of 'x' elements"),
        (b"*\r\n", "array of '' elements"),
        (b"*1\n", "array of '1' elements"),
        (b"*1\rx", "array of '1' elements"),
        (b"*11111111111111111111111111111111111111111111", "array of '1111111111"),
        (b"*1\r\n*1\r\n", "an array inside a command"),
        (b"*1\r\n:1\r\n", "element begins with ':'"),
        (b"*1\r\n$-1\r\n", "a null bulk string inside a command"),
        (b"*1\r\n$-2\r\n", "bulk string of '-2' bytes; accepted are 0 to 65536"),
        (b"*1\r\n$65537\r\n", "bulk string of '65537' bytes"),
        (b"*1\r\n$18446744073709551615\r\n", "bulk string of '18446744073709551615' bytes"),
        (b"*1\r\n$3\r\nabcd\r\n", "bulk string is followed by 'd\\r'"),
        (b"$4\r\nPING\r\n", "a command begins with '$'"),
        (b"\x16\x03\x01", "a command begins with '\\x16'"),
        (b"GET / HTTP/1.1\r\n", "this is the RESP port"),
        (b"Host: x\r\n", "this is the RESP port"),
        (b"ADMIT \"a\r\n", "unbalanced or escaped quotes"),
    ];
    for (input, expected) in rows {
        let said = protocol_error(input);
        assert!(said.starts_with(expected), "{}: {said}", input.escape_ascii());
    }
    assert!(protocol_error(&[b'a'; 65_536]).starts_with("inline command without a line end in 65536 bytes"));
    let many_words = format!("{}\n", "a ".repeat(1025));
    assert!(protocol_error(many_words.as_bytes()).starts_with("inline command of more than 1024 words"));
    let limits = Limits { request_bytes_max: 100, ..Limits::default() };
    let claimed = frame::next(b"*3\r\n$5\r\nADMIT\r\n$90\r\n", &limits, &mut Args::new()).unwrap_err();
    assert!(claimed.to_string().starts_with("command of at least 112 bytes; accepted are at most 100"), "{claimed}");
}

#[test]
fn a_claimed_length_asks_for_no_more_than_a_request_may_weigh() {
    let mut args = Args::new();
    let progress = frame::next(b"*2\r\n$65536\r\nx", &Limits::default(), &mut args).unwrap();
    let Progress::Incomplete { needed } = progress else { panic!("incomplete") };
    assert!(needed > 65_536 && needed <= Limits::default().request_bytes_max, "{needed}");
}

#[test]
fn empty_lines_and_empty_arrays_are_nothing() {
    assert_eq!(read(b"\r\n\n*0\r\nPING\r\n"), ["Ping(None)"]);
}

#[test]
fn inline_words_may_be_quoted() {
    assert_eq!(parse_line("ECHO \"a b\""), parse_line("ECHO 'a b'"));
    assert_eq!(
        parse_line("ECHO \"a\"b").as_str(),
        "protocol: unbalanced or escaped quotes in an inline command; send it as an array instead"
    );
}

#[test]
fn replies_read_as_redis_clients_expect() {
    let decision = Decision { admitted: false, cause: Cause::Cps, sip_status: 503, retry_after_s: 4, lease_s: 0 };
    let mut out = Vec::new();
    reply::answer(&mut out, &Answer::Decision(decision), DecideForm::Full);
    reply::answer(&mut out, &Answer::Decision(decision), DecideForm::Bool);
    reply::answer(&mut out, &Answer::Known(true), DecideForm::Known);
    reply::error(&mut out, "ERR", &"a\r\nb");
    reply::null(&mut out, Protocol::Resp2);
    reply::null(&mut out, Protocol::Resp3);
    reply::map(&mut out, 2, Protocol::Resp2);
    reply::map(&mut out, 2, Protocol::Resp3);
    assert_eq!(
        String::from_utf8(out).unwrap(),
        "*5\r\n:0\r\n$3\r\ncps\r\n:503\r\n:4\r\n:0\r\n:0\r\n:1\r\n-ERR a  b\r\n$-1\r\n_\r\n*4\r\n%2\r\n"
    );
}

fn words() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let word = prop_oneof![
        4 => proptest::sample::select(vec![
            "ADMIT", "admit.bool", "CONFIRM", "RELEASE", "REFRESH", "PROXY", "RESYNC", "BEGIN", "ADD", "END", "ABORT", "STATUS", "INFO",
            "PING", "ECHO", "HELLO", "AUTH", "SELECT", "CLIENT", "ID", "SETNAME", "COMMAND", "COUNT", "DOCS", "QUIT", "RESET", "CONFIG",
            "GET", "TRUNK", "TENANT", "KIND", "call", "registration", "WEBRTC", "TYPE", "UNITS", "SEQ", "EMERGENCY", "PRIORITY", "TTL",
            "ENCRYPTED", "DEADLINE", "REASON", "1", "2", "3", "77", "4294967295", "4294967296", "-1", "",
        ]).prop_map(|word| word.as_bytes().to_vec()),
        1 => proptest::collection::vec(any::<u8>(), 0..20),
    ];
    proptest::collection::vec(word, 1..12)
}

fn encoded(words: &[Vec<u8>]) -> Vec<u8> {
    let mut out = Vec::new();
    encode::args(&mut out, &words.iter().map(Vec::as_slice).collect::<Vec<_>>());
    out
}

proptest! {
    #[test]
    fn a_command_that_is_encoded_again_decodes_to_the_same(words in words()) {
        let input = encoded(&words);
        let mut args = Args::new();
        frame::next(&input, &Limits::default(), &mut args).unwrap();
        if let Ok(command) = Command::parse(&args) {
            let mut again = Vec::new();
            encode::command(&mut again, &command);
            let mut args = Args::new();
            let progress = frame::next(&again, &Limits::default(), &mut args).unwrap();
            prop_assert_eq!(progress, Progress::Complete { consumed: again.len() });
            prop_assert_eq!(Command::parse(&args).unwrap(), command);
        }
    }

    #[test]
    fn input_cut_at_any_byte_says_the_same(first in words(), second in words()) {
        let whole = [encoded(&first), b"PING\r\n".to_vec(), encoded(&second)].concat();
        let expected = read(&whole);
        for cut in 0..whole.len() {
            let mut args = Args::new();
            // What the first part alone completes, and then the rest together with what was left.
            let (mut at, mut said) = (0, Vec::new());
            for end in [cut, whole.len()] {
                while let Ok(Progress::Complete { consumed }) = frame::next(&whole[at..end], &Limits::default(), &mut args) {
                    said.push(match Command::parse(&args) { Ok(command) => format!("{command:?}"), Err(error) => format!("-{error}") });
                    at += consumed;
                }
                if let Ok(Progress::Incomplete { needed }) = frame::next(&whole[at..end], &Limits::default(), &mut args) {
                    prop_assert!(needed > end - at);
                    prop_assert!(end == whole.len() || needed <= whole.len() - at, "asked for more than there ever is");
                }
            }
            prop_assert_eq!(&said, &expected);
        }
    }

    #[test]
    fn garbage_never_panics(input in proptest::collection::vec(prop_oneof![Just(b'*'), Just(b'$'), Just(b'\r'), Just(b'\n'), Just(b'1'), any::<u8>()], 0..80)) {
        let _ = read(&input);
    }
}
