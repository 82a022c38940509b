//! HTTP/1.1, as much of it as callgate's answers need: a status line, a length, a body of JSON.

use serde::Deserialize;

use super::{Kind, Reply, WireError};

const WRONG: WireError = WireError { expected: "HTTP/1.1 with a Content-Length" };
const HEAD_MAX: usize = 16 * 1024;

/// Writes a question: the fields are query parameters, the body is empty.
pub(super) fn ask(out: &mut Vec<u8>, what: &str, id: &[u8], trunk: Option<&str>) {
    out.extend_from_slice(b"POST /v1/");
    out.extend_from_slice(what.as_bytes());
    out.extend_from_slice(b"?id=");
    escape(out, id);
    if let Some(trunk) = trunk {
        out.extend_from_slice(b"&trunk=");
        escape(out, trunk.as_bytes());
    }
    out.extend_from_slice(b" HTTP/1.1\r\nHost: callgate\r\nContent-Length: 0\r\n\r\n");
}

/// Percent-encodes all but RFC 3986's unreserved characters.
fn escape(out: &mut Vec<u8>, text: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for byte in text {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(*byte);
        } else {
            out.push(b'%');
            out.extend([byte >> 4, byte & 15].map(|digit| DIGITS[usize::from(digit)]));
        }
    }
}

#[derive(Deserialize)]
struct Body<'a> {
    admitted: Option<bool>,
    #[serde(borrow)]
    cause: Option<&'a str>,
    known: Option<bool>,
    released: Option<bool>,
}

/// The first answer and its length.
pub(super) fn parse(input: &[u8]) -> Result<Option<(Reply<'_>, usize)>, WireError> {
    let Some(end) = input.windows(4).position(|window| window == b"\r\n\r\n") else {
        return if input.len() > HEAD_MAX { Err(WRONG) } else { Ok(None) };
    };
    let head = std::str::from_utf8(&input[..end]).map_err(|_| WRONG)?;
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 ")).ok_or(WRONG)?;
    let status: u16 = status.get(..3).and_then(|code| code.parse().ok()).ok_or(WRONG)?;
    let length = lines.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    let from = end + 4;
    let to = from.checked_add(length.ok_or(WRONG)?).ok_or(WRONG)?;
    let Some(body) = input.get(from..to) else { return Ok(None) };
    Ok(Some((reply(status, body), to)))
}

fn reply(status: u16, body: &[u8]) -> Reply<'_> {
    let error = Reply { kind: Kind::Error, number: i64::from(status), text: body };
    if status != 200 && status != 429 {
        return error;
    }
    match serde_json::from_slice::<Body<'_>>(body) {
        Ok(Body { admitted: Some(admitted), cause, .. }) => {
            Reply { kind: Kind::Decision, number: admitted.into(), text: cause.unwrap_or("").as_bytes() }
        }
        Ok(Body { known: Some(yes), .. } | Body { released: Some(yes), .. }) => {
            Reply { kind: Kind::Number, number: yes.into(), text: b"" }
        }
        Ok(_) if status == 200 => Reply { kind: Kind::Text, number: 0, text: body },
        Ok(_) | Err(_) => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Wire;

    #[test]
    fn questions_carry_their_fields_in_the_query() {
        let mut out = Vec::new();
        Wire::Http.admit(&mut out, b"a&b@c", Some("x y"));
        let text = String::from_utf8(out).unwrap();
        assert!(text.starts_with("POST /v1/admit?id=a%26b%40c&trunk=x%20y HTTP/1.1\r\n"), "{text}");
        assert!(text.ends_with("\r\nContent-Length: 0\r\n\r\n"));
    }

    #[test]
    fn answers_are_read_once_they_are_whole() {
        let admitted = r#"{"admitted":true,"cause":"ok","sip_status":0,"retry_after_s":0,"lease_s":300}"#;
        let refused = r#"{"admitted":false,"cause":"cps","sip_status":503,"retry_after_s":4,"lease_s":0}"#;
        let problem = r#"{"title":"no id"}"#;
        for (status, body, kind, number, text) in [
            ("200 OK", admitted, Kind::Decision, 1, "ok"),
            ("429 Too Many Requests", refused, Kind::Decision, 0, "cps"),
            ("200 OK", r#"{"released":true}"#, Kind::Number, 1, ""),
            ("200 OK", r#"{"known":false}"#, Kind::Number, 0, ""),
            ("400 Bad Request", problem, Kind::Error, 400, problem),
            ("200 OK", r#"{"limits":[]}"#, Kind::Text, 0, r#"{"limits":[]}"#),
        ] {
            let bytes = format!(
                "HTTP/1.1 {status}\r\ncontent-type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
            let reply = Reply { kind, number, text: text.as_bytes() };
            assert_eq!(parse(bytes.as_bytes()), Ok(Some((reply, bytes.len()))));
            for part in 0..bytes.len() {
                assert_eq!(parse(&bytes.as_bytes()[..part]), Ok(None));
            }
        }
    }

    #[test]
    fn what_is_no_answer_is_said_so() {
        for bytes in ["+OK\r\n\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 abc\r\nContent-Length: 0\r\n\r\n"] {
            assert_eq!(parse(bytes.as_bytes()), Err(WRONG), "{bytes}");
        }
    }
}
