//! Errors as RFC 9457 wants them.

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{Response, StatusCode};
use serde_json::{Map, Value, json};

use crate::manager::domain::OperatorRefused;
use crate::manager::service::Unavailable;

/// The content type.
pub(super) const PROBLEM: &str = "application/problem+json";

/// An answer that isn't what was asked for.
#[derive(Debug, Clone)]
pub(super) struct Problem {
    status: StatusCode,
    title: String,
    detail: String,
    more: Map<String, Value>,
    retry_after_s: Option<u64>,
}

impl Problem {
    pub(super) fn new(status: StatusCode, title: &str, detail: impl Into<String>) -> Self {
        Self { status, title: title.to_owned(), detail: detail.into(), more: Map::new(), retry_after_s: None }
    }

    pub(super) fn bad(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "the request can't be understood", detail)
    }

    /// A member that isn't accepted.
    pub(super) fn field(field: &str, found: &str, accepted: &str) -> Self {
        let found: String = found.chars().take(200).collect();
        let mut problem = Self::bad(format!("{field}: found {found}; accepted: {accepted}"));
        problem.more = [("field", field.into()), ("found", found.into()), ("accepted", accepted.into())]
            .map(|(name, value): (&str, Value)| (name.to_owned(), value))
            .into_iter()
            .collect();
        problem
    }

    pub(super) fn missing(what: &str, id: &str) -> Self {
        let id: String = id.chars().take(200).collect();
        Self::new(StatusCode::NOT_FOUND, "no such object", format!("there is no {what} {id:?}"))
    }

    pub(super) fn failed(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "the manager failed", detail)
    }

    /// A failure whose details are for the log alone.
    pub(super) fn hidden(error: &dyn std::error::Error) -> Self {
        tracing::error!(%error, "an operation failed");
        Self::failed("the log says why")
    }

    pub(super) fn unauthorized(detail: &str) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "authentication is needed", detail)
    }

    pub(super) fn later(mut self, seconds: u64) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }

    pub(super) const fn status(&self) -> StatusCode {
        self.status
    }

    pub(super) fn response(&self) -> Response<Body> {
        let mut body = json!({ "status": self.status.as_u16(), "title": self.title, "detail": self.detail });
        if let Some(fields) = body.as_object_mut() {
            fields.extend(self.more.clone());
        }
        let mut response = with_body(self.status, PROBLEM, body.to_string());
        let headers = response.headers_mut();
        if let Some(seconds) = self.retry_after_s {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"callgate manager\""));
        }
        response
    }
}

/// A body of this type. Nothing that the manager says is for caches.
pub(super) fn with_body(status: StatusCode, content_type: &'static str, body: impl Into<Body>) -> Response<Body> {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    for (name, value) in [("cache-control", "no-store"), ("x-content-type-options", "nosniff")] {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    response
}

impl From<OperatorRefused> for Problem {
    fn from(refused: OperatorRefused) -> Self {
        let told = refused.to_string();
        match refused {
            OperatorRefused::Forbidden { .. } => Self::new(StatusCode::FORBIDDEN, "the role doesn't allow it", told),
            OperatorRefused::NotFound { .. } => Self::new(StatusCode::NOT_FOUND, "no such object", told),
            OperatorRefused::Invalid { field, found, accepted } => Self::field(field, &found, &accepted),
            OperatorRefused::Full { .. } => Self::new(StatusCode::CONFLICT, "there is no room", told),
            OperatorRefused::Conflict(_) => Self::new(StatusCode::CONFLICT, "not in its present state", told),
            OperatorRefused::ConfirmationNeeded(preview) => {
                let mut problem = Self::new(StatusCode::CONFLICT, "the effect must be confirmed first", told);
                problem.more.insert("preview".to_owned(), serde_json::to_value(preview).unwrap_or_default());
                problem
            }
        }
    }
}

/// Why nothing can be done now, without the database's own words, which are for the log.
pub(super) fn outward(unavailable: &Unavailable) -> String {
    match unavailable {
        Unavailable::Busy { .. } | Unavailable::Stopped => unavailable.to_string(),
        Unavailable::CannotWrite { disk_full: true, .. } => {
            "the license manager cannot write: the disk or its quota is full".to_owned()
        }
        Unavailable::CannotWrite { disk_full: false, .. } => {
            "the license manager cannot write to its database; its log says why".to_owned()
        }
        Unavailable::Unstorable { .. } => {
            "the database does not take what this request leads to; the license manager's log says why".to_owned()
        }
    }
}

impl From<Unavailable> for Problem {
    fn from(unavailable: Unavailable) -> Self {
        let seconds = match &unavailable {
            // Later it will be no other.
            Unavailable::Unstorable { .. } => return Self::failed(outward(&unavailable)),
            Unavailable::Busy { .. } => 1,
            Unavailable::CannotWrite { .. } | Unavailable::Stopped => 10,
        };
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "not available now", outward(&unavailable)).later(seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_database_says_stays_inside() {
        for disk_full in [true, false] {
            let why = Unavailable::CannotWrite { reason: "SELECT secret FROM host".into(), disk_full };
            assert!(!format!("{:?}", Problem::from(why)).contains("SELECT"));
        }
    }
}
