//! What was decided about which call, at level `debug`: ids name people, so no level above shows them.
//!
//! Nothing is formatted unless that level is on: ask [`on`] first.

use crate::admission::{Answer, Request};

/// Whether decisions are logged now.
#[inline]
pub(super) fn on() -> bool {
    tracing::enabled!(tracing::Level::DEBUG)
}

/// One decision.
#[cold]
pub(super) fn tell(request: &Request<'_>, answer: &Answer) {
    let command = match request {
        Request::Admit(_) => "admit",
        Request::Confirm { .. } => "confirm",
        Request::Release { .. } => "release",
        Request::Refresh { .. } => "refresh",
    };
    let id = request.id();
    let id = id.bytes().escape_ascii();
    match answer {
        Answer::Decision(decision) => {
            tracing::debug!(command, %id, admitted = decision.admitted, cause = decision.cause.name(), "decided");
        }
        Answer::Known(known) => tracing::debug!(command, %id, known, "decided"),
    }
}
