//! Requests to query strings and JSON bodies: for tests, fuzzing, and clients in Rust.

use serde_json::{Map, Value, json};

use super::decode::{Decoded, Resync, Target};
use super::fields::Operation;
use crate::admission::{Admit, CallId, Kind, Name, Request};
use crate::units::CallKey;

/// The operation that this request is for.
#[must_use]
pub const fn operation(decoded: &Decoded<'_>) -> Operation {
    match decoded {
        Decoded::Decide(Request::Admit(_)) => Operation::Admit,
        Decoded::Decide(Request::Confirm { .. }) => Operation::Confirm,
        Decoded::Decide(Request::Release { .. }) => Operation::Release,
        Decoded::Decide(Request::Refresh { .. }) | Decoded::Refresh(_) => Operation::Refresh,
        Decoded::Proxy(..) => Operation::Proxy,
        Decoded::Resync(_) => Operation::Resync,
        Decoded::ReleaseCall(_) => Operation::ReleaseCall,
    }
}

/// A field's value before it is written.
enum Part<'a> {
    Bytes(&'a [u8]),
    Number(u64),
    Flag,
    Ids(&'a [CallId<'a>]),
    Word(&'static str),
    Key(CallKey),
}

type Parts<'a> = Vec<(&'static str, Part<'a>)>;

fn admit<'a>(admit: &Admit<'a>, parts: &mut Parts<'a>) {
    let mut name = |field, name: Option<Name<'a>>| parts.extend(name.map(|name| (field, Part::Bytes(name.bytes()))));
    name("trunk", admit.trunk);
    name("tenant", admit.tenant);
    name("type", admit.license_type);
    name("proxy", admit.proxy);
    let mut number = |field, number: Option<u64>| parts.extend(number.map(|number| (field, Part::Number(number))));
    number("seq", admit.seq.map(u64::from));
    number("units", Some(u64::from(admit.units)));
    number("ttl", admit.ttl_s.map(u64::from));
    number("deadline", admit.deadline.map(|deadline| deadline.0));
    let mut flag = |field, set: bool| parts.extend(set.then_some((field, Part::Flag)));
    flag("webrtc", admit.webrtc);
    flag("emergency", admit.emergency);
    flag("priority", admit.priority);
    flag("encrypted", admit.encrypted);
    match admit.kind {
        Kind::Call => {}
        Kind::Registration => parts.push(("kind", Part::Word("registration"))),
    }
}

fn parts<'a>(decoded: &'a Decoded<'a>) -> Parts<'a> {
    let mut parts = Parts::new();
    match decoded {
        Decoded::Decide(request) => {
            parts.push(("id", Part::Bytes(request.id().bytes())));
            let mut number = |field, value: &Option<u32>| {
                parts.extend(value.map(|value| (field, Part::Number(u64::from(value)))));
            };
            match request {
                Request::Admit(asked) => admit(asked, &mut parts),
                Request::Confirm { seq, ttl_s, .. } => {
                    number("seq", seq);
                    number("ttl", ttl_s);
                }
                Request::Release { seq, .. } => number("seq", seq),
                Request::Refresh { .. } => {}
            }
        }
        Decoded::Refresh(ids) => parts.push(("ids", Part::Ids(ids))),
        Decoded::Proxy(proxy, epoch) => {
            parts.extend([("proxy", Part::Bytes(proxy.bytes())), ("epoch", Part::Number(*epoch))]);
        }
        Decoded::Resync(Resync::Begin(proxy)) => {
            parts.extend([("op", Part::Word("begin")), ("proxy", Part::Bytes(proxy.bytes()))]);
        }
        Decoded::Resync(Resync::Add(token, ids)) => {
            parts.extend([("op", Part::Word("add")), ("token", Part::Number(token.0)), ("ids", Part::Ids(ids))]);
        }
        Decoded::Resync(Resync::End(token)) => {
            parts.extend([("op", Part::Word("end")), ("token", Part::Number(token.0))]);
        }
        Decoded::ReleaseCall(Target::Key(key)) => parts.push(("key", Part::Key(*key))),
        Decoded::ReleaseCall(Target::Id(id)) => parts.push(("id", Part::Bytes(id.bytes()))),
        Decoded::Resync(Resync::Abort(token)) => {
            parts.extend([("op", Part::Word("abort")), ("token", Part::Number(token.0))]);
        }
    }
    parts
}

/// The request as a query string. Any byte can be said this way.
#[must_use]
pub fn query(decoded: &Decoded<'_>) -> String {
    let mut query = Vec::new();
    for (name, part) in parts(decoded) {
        match part {
            Part::Bytes(bytes) => query.push(format!("{name}={}", percent(bytes))),
            Part::Number(number) => query.push(format!("{name}={number}")),
            Part::Flag => query.push(format!("{name}=1")),
            Part::Word(word) => query.push(format!("{name}={word}")),
            Part::Key(key) => query.push(format!("{name}={}", call_key(key))),
            Part::Ids(ids) => query.extend(ids.iter().map(|id| format!("{name}={}", percent(id.bytes())))),
        }
    }
    query.join("&")
}

/// The request as a JSON body; `None` if a name in it isn't UTF-8. Ids that aren't go in hexadecimal, all of a list or none.
#[must_use]
pub fn json(decoded: &Decoded<'_>) -> Option<String> {
    let mut object = Map::new();
    for (name, part) in parts(decoded) {
        let (name, value) = match part {
            Part::Bytes(bytes) => match std::str::from_utf8(bytes) {
                Ok(text) => (name.to_owned(), json!(text)),
                Err(_) if name == "id" => ("id_hex".to_owned(), json!(hex(bytes))),
                Err(_) => return None,
            },
            Part::Number(number) => (name.to_owned(), json!(number)),
            Part::Flag => (name.to_owned(), json!(true)),
            Part::Word(word) => (name.to_owned(), json!(word)),
            Part::Key(key) => (name.to_owned(), json!(call_key(key))),
            Part::Ids(ids) => {
                let texts: Result<Vec<&str>, _> = ids.iter().map(|id| std::str::from_utf8(id.bytes())).collect();
                match texts {
                    Ok(texts) => (name.to_owned(), json!(texts)),
                    Err(_) => {
                        let texts: Vec<String> = ids.iter().map(|id| hex(id.bytes())).collect();
                        (format!("{name}_hex"), json!(texts))
                    }
                }
            }
        };
        object.insert(name, value);
    }
    Some(Value::Object(object).to_string())
}

/// Every byte but letters, digits and a few marks as `%xx`.
#[must_use]
pub fn percent(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
            text + char::from(*byte).encode_utf8(&mut [0; 4])
        }
        _ => text + &format!("%{byte:02X}"),
    })
}

/// Bytes as hexadecimal digits.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

/// A call's key as 32 hexadecimal digits.
#[must_use]
pub fn call_key(key: CallKey) -> String {
    format!("{:016x}{:016x}", key.high, key.low)
}
