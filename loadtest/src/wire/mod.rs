//! What goes over the wire: questions to bytes, bytes to answers. PURE.
//!
//! Stops at the bytes: sockets are [`crate::drive`]'s.

mod http;
pub mod resp;

/// A protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wire {
    /// RESP 2, as Redis speaks it.
    Resp,
    /// HTTP/1.1 with a connection that stays open.
    Http,
}

/// An answer, as far as a load test looks at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reply<'a> {
    /// What sort of answer.
    pub kind: Kind,
    /// A number: whether admitted, known or released; else the number itself.
    pub number: i64,
    /// The cause of a decision, or a text or error itself.
    pub text: &'a [u8],
}

/// The sort of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A decision about a call: admitted or not, with its cause.
    Decision,
    /// A number.
    Number,
    /// A text, or nothing.
    Text,
    /// The other side did not understand, or could not answer.
    Error,
}

/// Bytes that are no answer of this protocol: the connection is of no use any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the answer is not {expected}")]
pub struct WireError {
    /// What it should have been.
    pub expected: &'static str,
}

impl Wire {
    /// Asks whether this call may start.
    pub fn admit(self, out: &mut Vec<u8>, id: &[u8], trunk: Option<&str>) {
        match self {
            Self::Resp => match trunk {
                None => resp::command(out, &[b"ADMIT", id]),
                Some(trunk) => resp::command(out, &[b"ADMIT", id, b"TRUNK", trunk.as_bytes()]),
            },
            Self::Http => http::ask(out, "admit", id, trunk),
        }
    }

    /// Says that this call was answered.
    pub fn confirm(self, out: &mut Vec<u8>, id: &[u8]) {
        match self {
            Self::Resp => resp::command(out, &[b"CONFIRM", id]),
            Self::Http => http::ask(out, "confirm", id, None),
        }
    }

    /// Says that this call has ended.
    pub fn release(self, out: &mut Vec<u8>, id: &[u8]) {
        match self {
            Self::Resp => resp::command(out, &[b"RELEASE", id]),
            Self::Http => http::ask(out, "release", id, None),
        }
    }

    /// Asks how the limiter is: an answer whose text is a JSON document, where it knows the question.
    pub fn status(self, out: &mut Vec<u8>) {
        match self {
            Self::Resp => resp::command(out, &[b"STATUS"]),
            Self::Http => out.extend_from_slice(b"GET /v1/status HTTP/1.1\r\nHost: callgate\r\n\r\n"),
        }
    }

    /// The first answer in `input` and how many bytes it takes; `None` while it isn't whole.
    ///
    /// # Errors
    /// Bytes that are no answer.
    pub fn parse(self, input: &[u8]) -> Result<Option<(Reply<'_>, usize)>, WireError> {
        match self {
            Self::Resp => resp::parse(input),
            Self::Http => http::parse(input),
        }
    }

    /// How many questions a connection can carry at once.
    #[must_use]
    pub fn pipeline_max(self) -> usize {
        match self {
            Self::Resp => usize::MAX,
            Self::Http => 1,
        }
    }
}
