//! Answers: made by the sidecar, read by clients.

use super::decode::{ErrorCode, Fault, Verb, u16_at, u32_at, u64_at};
use super::{ANSWER_BIT, ANSWER_BYTES, MAGIC, VERSION};
use crate::admission::{Answer, Cause, Decision};

/// What a request is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// To an ADMIT.
    Decision {
        /// It may start.
        admitted: bool,
        /// Why, by number. One that is not known is a newer sidecar's.
        cause: u8,
        /// The SIP status to refuse with; 0 if admitted.
        sip_status: u16,
        /// Milliseconds for a Retry-After; 0 for none.
        retry_after_ms: u32,
        /// Seconds; 0 if refused.
        lease_s: u32,
    },
    /// To what else was understood: known, released, done.
    Known(bool),
    /// It could not be understood.
    Error(Fault),
}

impl From<&Answer> for Outcome {
    fn from(answer: &Answer) -> Self {
        match answer {
            Answer::Decision(decision) => Self::from(decision),
            Answer::Known(known) => Self::Known(*known),
        }
    }
}

impl From<&Decision> for Outcome {
    fn from(decision: &Decision) -> Self {
        Self::Decision {
            admitted: decision.admitted,
            cause: decision.cause.code(),
            sip_status: decision.sip_status,
            retry_after_ms: u32::from(decision.retry_after_s) * 1_000,
            lease_s: decision.lease_s,
        }
    }
}

/// One answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answered {
    /// The request's.
    pub request_id: u64,
    /// The request's verb, as it was sent.
    pub verb: u8,
    /// What it is answered.
    pub outcome: Outcome,
}

/// Bytes that are no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadAnswer {
    /// Not 32 bytes, or not this version's.
    #[error("{found} bytes that are no answer; accepted is an answer of {ANSWER_BYTES} bytes and version {VERSION}")]
    NotAnAnswer {
        /// How many there were.
        found: usize,
    },
    /// An outcome or an error that this version does not have.
    #[error("outcome {outcome} with error {error} is not known")]
    Unknown {
        /// The outcome's number.
        outcome: u8,
        /// The error's number.
        error: u8,
    },
}

const NO: u8 = 0;
const YES: u8 = 1;
const ERROR: u8 = 2;

impl Answered {
    /// Its bytes.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; ANSWER_BYTES] {
        let mut out = [0; ANSWER_BYTES];
        let (mut cause, mut error) = (Cause::Ok.code(), 0);
        let outcome = match self.outcome {
            Outcome::Decision { admitted, cause: why, sip_status, retry_after_ms, lease_s } => {
                cause = why;
                put(&mut out, 16, &retry_after_ms.to_le_bytes());
                put(&mut out, 20, &lease_s.to_le_bytes());
                put(&mut out, 24, &sip_status.to_le_bytes());
                if admitted { YES } else { NO }
            }
            Outcome::Known(known) if known => YES,
            Outcome::Known(_) => NO,
            Outcome::Error(Fault { error: what, accepted: (from, to) }) => {
                error = what.code();
                put(&mut out, 26, &from.to_le_bytes());
                put(&mut out, 28, &to.to_le_bytes());
                ERROR
            }
        };
        put(&mut out, 0, &[MAGIC, VERSION, self.verb | ANSWER_BIT, outcome]);
        put(&mut out, 4, &u16::try_from(ANSWER_BYTES).unwrap_or(0).to_le_bytes());
        put(&mut out, 6, &[cause, error]);
        put(&mut out, 8, &self.request_id.to_le_bytes());
        out
    }

    /// The answer in these bytes.
    ///
    /// # Errors
    /// If they are no answer of this version.
    pub fn read(bytes: &[u8]) -> Result<Self, BadAnswer> {
        let no = BadAnswer::NotAnAnswer { found: bytes.len() };
        let answer: &[u8; ANSWER_BYTES] = bytes.try_into().map_err(|_| no)?;
        let [magic, version, verb, outcome, ..] = *answer;
        if magic != MAGIC
            || version != VERSION
            || verb & ANSWER_BIT == 0
            || usize::from(u16_at(answer, 4)) != ANSWER_BYTES
        {
            return Err(no);
        }
        let verb = verb & !ANSWER_BIT;
        let unknown = BadAnswer::Unknown { outcome, error: answer[7] };
        let outcome = match outcome {
            ERROR => Outcome::Error(Fault {
                error: ErrorCode::from_code(answer[7]).ok_or(unknown)?,
                accepted: (u16_at(answer, 26), u16_at(answer, 28)),
            }),
            NO | YES if verb == Verb::Admit.code() => Outcome::Decision {
                admitted: outcome == YES,
                cause: answer[6],
                sip_status: u16_at(answer, 24),
                retry_after_ms: u32_at(answer, 16),
                lease_s: u32_at(answer, 20),
            },
            NO | YES => Outcome::Known(outcome == YES),
            _ => return Err(unknown),
        };
        Ok(Self { request_id: u64_at(answer, 8), verb, outcome })
    }
}

/// Writes `bytes` where an answer has them.
fn put(out: &mut [u8; ANSWER_BYTES], at: usize, bytes: &[u8]) {
    for (slot, byte) in out.iter_mut().skip(at).zip(bytes) {
        *slot = *byte;
    }
}
