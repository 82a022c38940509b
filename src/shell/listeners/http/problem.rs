//! Errors as RFC 9457 wants them.

use http_body_util::{Either, Full};
use hyper::body::Bytes;
use hyper::header::{CONNECTION, CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};

use super::Body;
use crate::codec::http::FieldError;
use crate::codec::http::reply::{PROBLEM_CONTENT_TYPE, Problem};

/// A body of this type.
pub(super) fn with_body(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Either::Left(Full::new(body.into())));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// A problem that no field is at fault for.
pub(super) fn plain(status: StatusCode, title: &str, detail: &str) -> Response<Body> {
    let problem = Problem::new(status.as_u16(), title, detail.to_owned());
    with_body(status, PROBLEM_CONTENT_TYPE, problem.json())
}

/// The front end buffers as much as it may for all its clients; the connection ends behind this.
pub(super) fn no_buffers() -> Response<Body> {
    let mut refused = plain(
        StatusCode::SERVICE_UNAVAILABLE,
        "too many bytes are buffered",
        "for all clients together; send smaller requests, or fewer at once",
    );
    refused.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    refused
}

/// A field that can't be understood.
pub(super) fn field(error: &FieldError) -> Response<Body> {
    with_body(StatusCode::BAD_REQUEST, PROBLEM_CONTENT_TYPE, Problem::field(error).json())
}
