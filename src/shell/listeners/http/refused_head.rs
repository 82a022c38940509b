//! The answer to a request's head that can't be understood.
//!
//! hyper gives it by itself, before anybody here sees a request, and without a body. On its way out it gets the body that
//! every other error has. It is the last answer of its connection.

use hyper::StatusCode;
use hyper::body::Bytes;

use super::{HEAD_BYTES_MAX, HEADERS_MAX};
use crate::codec::http::reply::{PROBLEM_CONTENT_TYPE, Problem};

const END: &[u8] = b"\r\n\r\n";
const EMPTY: &str = "\r\ncontent-length: 0";

/// What to write in place of these bytes of hyper's, if they end in such an answer.
pub(super) fn answer(bytes: &[u8]) -> Option<Bytes> {
    // Answers from here have a body, and end with it.
    let head = bytes.strip_suffix(END)?;
    // Answers to earlier requests may stand before it.
    let start = memchr::memmem::rfind(head, b"HTTP/1.")?;
    let (before, own) = head.split_at_checked(start)?;
    let own = std::str::from_utf8(own).ok().filter(|own| own.contains(EMPTY))?;
    let status = StatusCode::from_bytes(own.split(' ').nth(1)?.as_bytes()).ok()?;
    let (title, detail) = match status {
        StatusCode::BAD_REQUEST => (
            "the head can't be understood",
            "send HTTP/1.1: a request line such as POST /v1/admit HTTP/1.1, then headers of the form name: value"
                .to_owned(),
        ),
        StatusCode::URI_TOO_LONG => ("the path is too long", "send the fields as a JSON body".to_owned()),
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => {
            ("the head is too large", format!("a head has at most {HEAD_BYTES_MAX} bytes and {HEADERS_MAX} headers"))
        }
        _ => return None,
    };
    let body = Problem::new(status.as_u16(), title, detail).json();
    let fields = format!("\r\ncontent-type: {PROBLEM_CONTENT_TYPE}\r\ncontent-length: {}", body.len());
    Some([before, own.replacen(EMPTY, &fields, 1).as_bytes(), END, body.as_bytes()].concat().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_without_a_body_gets_one_and_what_stands_before_it_stays() {
        let before = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
        for (status, title) in [
            ("400 Bad Request", "the head can't be understood"),
            ("414 URI Too Long", "the path is too long"),
            ("431 Request Header Fields Too Large", "the head is too large"),
        ] {
            let own = format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: 0\r\ndate: today\r\n\r\n");
            for before in ["", before] {
                let told = answer(format!("{before}{own}").as_bytes()).unwrap();
                let told = std::str::from_utf8(&told).unwrap().strip_prefix(before).unwrap();
                let (head, body) = told.split_once("\r\n\r\n").unwrap();
                assert!(head.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{head}");
                assert!(head.contains("content-type: application/problem+json"), "{head}");
                assert!(head.contains(&format!("content-length: {}\r\n", body.len())), "{head}");
                let body: serde_json::Value = serde_json::from_str(body).unwrap();
                assert_eq!(body["title"], title);
                assert_eq!(body["status"].to_string(), status[..3]);
            }
        }
    }

    #[test]
    fn every_other_answer_stays_as_it_is() {
        for own in [
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}",
            "HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 400 Bad Request\r\ncontent-length: 4\r\n\r\n\r\n\r\n",
            "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n",
            "\r\n\r\n",
            "",
        ] {
            assert_eq!(answer(own.as_bytes()), None, "{own:?}");
        }
    }
}
