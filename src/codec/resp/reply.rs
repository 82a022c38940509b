//! Answers to bytes, in RESP 2 or 3.

use super::command::DecideForm;
use crate::admission::{Answer, Decision};

/// The protocol that a connection speaks: 2 until `HELLO 3`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Protocol {
    /// RESP 2.
    #[default]
    Resp2,
    /// RESP 3: maps and a null of its own.
    Resp3,
}

fn prefixed(out: &mut Vec<u8>, prefix: u8, value: u64) {
    out.push(prefix);
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// `:n`
#[inline]
pub fn integer(out: &mut Vec<u8>, value: u64) {
    // Most integers here are 0, 1, or a count below ten.
    match u8::try_from(value) {
        Ok(digit @ 0..=9) => out.extend_from_slice(&[b':', b'0' + digit, b'\r', b'\n']),
        _ => prefixed(out, b':', value),
    }
}

/// `+text`: the text must have no line break.
pub fn simple(out: &mut Vec<u8>, text: &str) {
    out.push(b'+');
    out.extend_from_slice(text.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// `-CODE message`; line breaks in the message become blanks.
pub fn error(out: &mut Vec<u8>, code: &str, message: &dyn std::fmt::Display) {
    out.push(b'-');
    out.extend_from_slice(code.as_bytes());
    out.push(b' ');
    let text = message.to_string();
    out.extend(text.bytes().map(|byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { byte }));
    out.extend_from_slice(b"\r\n");
}

/// `$n` and the bytes.
#[inline]
pub fn bulk(out: &mut Vec<u8>, bytes: &[u8]) {
    prefixed(out, b'$', u64::try_from(bytes.len()).unwrap_or(u64::MAX));
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
}

/// Nothing.
pub fn null(out: &mut Vec<u8>, protocol: Protocol) {
    match protocol {
        Protocol::Resp2 => out.extend_from_slice(b"$-1\r\n"),
        Protocol::Resp3 => out.extend_from_slice(b"_\r\n"),
    }
}

/// The head of an array of `len` elements.
pub fn array(out: &mut Vec<u8>, len: usize) {
    prefixed(out, b'*', u64::try_from(len).unwrap_or(u64::MAX));
}

/// The head of a map of `pairs` keys and values: in RESP 2 a flat array.
pub fn map(out: &mut Vec<u8>, pairs: usize, protocol: Protocol) {
    match protocol {
        Protocol::Resp2 => array(out, pairs * 2),
        Protocol::Resp3 => prefixed(out, b'%', u64::try_from(pairs).unwrap_or(u64::MAX)),
    }
}

/// A gate's answer in the form that its command asked for.
#[inline]
pub fn answer(out: &mut Vec<u8>, answer: &Answer, form: DecideForm) {
    match (answer, form) {
        (Answer::Decision(decision), DecideForm::Full) => full(out, decision),
        (Answer::Decision(decision), DecideForm::Bool | DecideForm::Known) => {
            integer(out, u64::from(decision.admitted));
        }
        (Answer::Known(known), DecideForm::Full | DecideForm::Bool | DecideForm::Known) => {
            integer(out, u64::from(*known));
        }
    }
}

/// Admitted, cause, SIP status, retry-after seconds, lease seconds.
fn full(out: &mut Vec<u8>, decision: &Decision) {
    out.extend_from_slice(if decision.admitted { b"*5\r\n:1\r\n" } else { b"*5\r\n:0\r\n" });
    bulk(out, decision.cause.name().as_bytes());
    integer(out, u64::from(decision.sip_status));
    integer(out, u64::from(decision.retry_after_s));
    integer(out, u64::from(decision.lease_s));
}
