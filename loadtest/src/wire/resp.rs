//! RESP 2: commands as arrays of bulk strings; answers of any type, of which the outermost is kept.

use super::{Kind, Reply, WireError};

const WRONG: WireError = WireError { expected: "RESP" };
/// Arrays within arrays that are followed.
const DEPTH_MAX: u8 = 8;

/// Writes a command.
pub fn command(out: &mut Vec<u8>, parts: &[&[u8]]) {
    header(out, b'*', parts.len());
    for part in parts {
        header(out, b'$', part.len());
        out.extend_from_slice(part);
        out.extend_from_slice(b"\r\n");
    }
}

fn header(out: &mut Vec<u8>, kind: u8, length: usize) {
    out.push(kind);
    match u8::try_from(length) {
        Ok(length) if length < 10 => out.push(b'0' + length),
        Ok(length) if length < 100 => out.extend_from_slice(&[b'0' + length / 10, b'0' + length % 10]),
        Ok(_) | Err(_) => out.extend_from_slice(length.to_string().as_bytes()),
    }
    out.extend_from_slice(b"\r\n");
}

/// The first answer and its length. An array is a decision: its first number says whether, its first text why.
pub(super) fn parse(input: &[u8]) -> Result<Option<(Reply<'_>, usize)>, WireError> {
    let Some((kind, text, mut used)) = line(input)? else { return Ok(None) };
    let reply = match kind {
        b'+' => Reply { kind: Kind::Text, number: 0, text },
        b'-' => Reply { kind: Kind::Error, number: 0, text },
        b':' => Reply { kind: Kind::Number, number: number(text)?, text: b"" },
        b'$' => match bulk(input, text, used)? {
            None => return Ok(None),
            Some((text, end)) => {
                used = end;
                Reply { kind: Kind::Text, number: 0, text }
            }
        },
        b'*' => {
            let mut reply = Reply { kind: Kind::Decision, number: 0, text: b"" };
            let count = number(text)?;
            for position in 0..count {
                match element(input, used, 0)? {
                    None => return Ok(None),
                    Some((found, end)) => {
                        used = end;
                        match found {
                            Element::Number(value) if position == 0 => reply.number = value,
                            Element::Text(value) if position == 1 => reply.text = value,
                            Element::Number(_) | Element::Text(_) | Element::Other => {}
                        }
                    }
                }
            }
            reply
        }
        _ => return Err(WRONG),
    };
    Ok(Some((reply, used)))
}

enum Element<'a> {
    Number(i64),
    Text(&'a [u8]),
    Other,
}

fn element(input: &[u8], at: usize, depth: u8) -> Result<Option<(Element<'_>, usize)>, WireError> {
    let rest = input.get(at..).unwrap_or_default();
    let Some((kind, text, length)) = line(rest)? else { return Ok(None) };
    let used = at + length;
    Ok(match kind {
        b':' => Some((Element::Number(number(text)?), used)),
        b'+' | b'-' => Some((Element::Text(text), used)),
        b'$' => bulk(input, text, used)?.map(|(text, end)| (Element::Text(text), end)),
        b'*' if depth < DEPTH_MAX => {
            let mut used = used;
            for _ in 0..number(text)? {
                match element(input, used, depth + 1)? {
                    None => return Ok(None),
                    Some((_, end)) => used = end,
                }
            }
            Some((Element::Other, used))
        }
        _ => return Err(WRONG),
    })
}

/// A line's type, its text, and its length with the line's end.
type Line<'a> = (u8, &'a [u8], usize);

/// The first line.
fn line(input: &[u8]) -> Result<Option<Line<'_>>, WireError> {
    // Lines are short: a search by bytes is as quick as any.
    let Some(end) = input.iter().position(|byte| *byte == b'\n') else { return Ok(None) };
    let text = input[..end].strip_suffix(b"\r").ok_or(WRONG)?;
    let (kind, text) = text.split_first().ok_or(WRONG)?;
    Ok(Some((*kind, text, end + 1)))
}

/// A bulk string's text and where it ends; nothing where its length is -1.
fn bulk<'a>(input: &'a [u8], length: &[u8], at: usize) -> Result<Option<(&'a [u8], usize)>, WireError> {
    let Ok(length) = usize::try_from(number(length)?) else { return Ok(Some((b"", at))) };
    let end = at.checked_add(length).ok_or(WRONG)?;
    let Some(after) = input.get(end..).and_then(|rest| rest.get(..2)) else { return Ok(None) };
    if after != b"\r\n" {
        return Err(WRONG);
    }
    Ok(Some((&input[at..end], end + 2)))
}

fn number(text: &[u8]) -> Result<i64, WireError> {
    let (negative, digits) = match text.split_first() {
        Some((b'-', digits)) => (true, digits),
        Some(_) | None => (false, text),
    };
    if digits.is_empty() || digits.len() > 18 {
        return Err(WRONG);
    }
    let mut value = 0_i64;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return Err(WRONG);
        }
        value = value * 10 + i64::from(digit - b'0');
    }
    Ok(if negative { -value } else { value })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn commands_are_arrays_of_bulk_strings() {
        let mut out = Vec::new();
        command(&mut out, &[b"ADMIT", b"call-000001", &[b'x'; 120]]);
        assert!(out.starts_with(b"*3\r\n$5\r\nADMIT\r\n$11\r\ncall-000001\r\n$120\r\nxxx"));
        assert!(out.ends_with(b"xxx\r\n"));
    }

    #[test]
    fn answers_are_read_once_they_are_whole() {
        let decision = Reply { kind: Kind::Decision, number: 1, text: b"ok" };
        let refusal = Reply { kind: Kind::Decision, number: 0, text: b"trunk-cps" };
        let cases: [(&[u8], Reply<'_>); 8] = [
            (b"*5\r\n:1\r\n$2\r\nok\r\n:0\r\n:0\r\n:300\r\n", decision),
            (b"*5\r\n:0\r\n+trunk-cps\r\n:480\r\n:0\r\n:0\r\n", refusal),
            (b":-17\r\n", Reply { kind: Kind::Number, number: -17, text: b"" }),
            (b"+PONG\r\n", Reply { kind: Kind::Text, number: 0, text: b"PONG" }),
            (b"$4\r\n{\r\n}\r\n", Reply { kind: Kind::Text, number: 0, text: b"{\r\n}" }),
            (b"$-1\r\n", Reply { kind: Kind::Text, number: 0, text: b"" }),
            (b"-ERR unknown command\r\n", Reply { kind: Kind::Error, number: 0, text: b"ERR unknown command" }),
            (b"*2\r\n*1\r\n:1\r\n$2\r\nok\r\n", Reply { kind: Kind::Decision, number: 0, text: b"ok" }),
        ];
        for (bytes, reply) in cases {
            assert_eq!(parse(bytes), Ok(Some((reply, bytes.len()))));
            for part in 0..bytes.len() {
                assert_eq!(parse(&bytes[..part]), Ok(None), "{part} bytes of {}", bytes.escape_ascii());
            }
            let twice = bytes.repeat(2);
            assert_eq!(parse(&twice), Ok(Some((reply, bytes.len()))));
        }
    }

    #[test]
    fn what_is_no_answer_is_said_so() {
        for bytes in [&b"HTTP/1.1 200 OK\r\n"[..], b":x\r\n", b"$3\r\nabcde\r\n", b":1\n", b"\r\n", b"*1\r\n?\r\n"] {
            assert_eq!(parse(bytes), Err(WRONG), "{}", bytes.escape_ascii());
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_read_beyond_them(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(Some((_, used))) = parse(&bytes) {
                prop_assert!(used <= bytes.len());
            }
        }
    }
}
