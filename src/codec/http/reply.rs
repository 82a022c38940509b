//! Answers as JSON.

use std::fmt::Write;

use serde::Serialize;

use super::fields::FieldError;
use crate::admission::{Decision, ResyncOutcome, ResyncToken};

/// The content type of an error's body (RFC 9457).
pub const PROBLEM_CONTENT_TYPE: &str = "application/problem+json";

/// Appends the answer to an admit.
pub fn decision(out: &mut String, decision: &Decision) {
    // Writing to a String can't fail; a cause's name needs no escapes.
    let _ = write!(
        out,
        r#"{{"admitted":{},"cause":"{}","sip_status":{},"retry_after_s":{},"lease_s":{}}}"#,
        decision.admitted,
        decision.cause.name(),
        decision.sip_status,
        decision.retry_after_s,
        decision.lease_s
    );
}

/// The answer to a confirm: `{"known":true}`.
#[must_use]
pub fn known(known: bool) -> String {
    format!(r#"{{"known":{known}}}"#)
}

/// The answer to a release: `{"released":true}`.
#[must_use]
pub fn released(released: bool) -> String {
    format!(r#"{{"released":{released}}}"#)
}

/// The answer to a refresh: how many were known.
#[must_use]
pub fn refreshed(known: usize) -> String {
    format!(r#"{{"known":{known}}}"#)
}

/// The answer to a proxy's epoch: `{"accepted":true}`.
#[must_use]
pub fn accepted() -> String {
    r#"{"accepted":true}"#.to_owned()
}

/// The answer to `op begin`. A string: a token may be beyond what some JSON readers keep exactly.
#[must_use]
pub fn token(token: ResyncToken) -> String {
    format!(r#"{{"token":"{}"}}"#, token.0)
}

/// The answer to `op add`.
#[must_use]
pub fn added(count: usize) -> String {
    format!(r#"{{"added":{count}}}"#)
}

/// The answer to `op end`.
#[must_use]
pub fn outcome(outcome: &ResyncOutcome) -> String {
    format!(r#"{{"kept":{},"adopted":{},"released":{}}}"#, outcome.kept, outcome.adopted, outcome.released)
}

/// An error's body (RFC 9457). `field`, `found` and `accepted` are there when a field is at fault.
#[derive(Debug, Clone, Serialize)]
pub struct Problem<'a> {
    /// The status, again.
    pub status: u16,
    /// What kind of problem, in a few words.
    pub title: &'a str,
    /// What happened here.
    pub detail: String,
    /// The field at fault.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<&'a str>,
    /// What was found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub found: Option<&'a str>,
    /// What is accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accepted: Option<&'a str>,
}

impl<'a> Problem<'a> {
    /// A problem that no field is at fault for.
    #[must_use]
    pub const fn new(status: u16, title: &'a str, detail: String) -> Self {
        Self { status, title, detail, field: None, found: None, accepted: None }
    }

    /// A field that can't be understood.
    #[must_use]
    pub fn field(error: &'a FieldError) -> Self {
        Self {
            status: 400,
            title: "the request can't be understood",
            detail: error.to_string(),
            field: Some(&error.field),
            found: Some(&error.found),
            accepted: Some(&error.accepted),
        }
    }

    /// As JSON.
    #[must_use]
    pub fn json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}
