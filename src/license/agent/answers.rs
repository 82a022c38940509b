//! Answers: what of a reply is believed.
//!
//! What must stay true: only what a key of the pinned key set signed, for this instance and this very request, and not too
//! far from effective time, is an answer or a refusal. Everything else is a failure of the way. (Row 44.)

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::action::{AlarmKind, Exchange, TransportStep};
use super::core::Agent;
use super::requests::{InFlight, Purpose};
use super::state::Failure;
use crate::license::SKEW_MAX_MS;
use crate::license::when::when;
use crate::protocol::{
    AnswerHeader, Envelope, EnvelopeError, GrantAnswer, KeySet, PublicKey, Refusal, RefusalCode, RegistrationAnswer,
    RenewAnswer, Typ,
};
use crate::units::UnixMillis;

/// What came back.
#[derive(Debug)]
pub(super) enum Reply<T> {
    /// The manager's answer.
    Answer(Box<T>),
    /// The manager's no.
    Refused(Box<Refusal>),
    /// Something that looks like an answer and is not to be believed.
    Doubtful(Failure),
    /// Nothing of the manager's.
    Lost(Failure, Option<u64>),
}

/// An answer that carries the common header.
pub(super) trait Answer: DeserializeOwned {
    fn header(&self) -> &AnswerHeader;
}

impl Answer for RegistrationAnswer {
    fn header(&self) -> &AnswerHeader {
        &self.header
    }
}

impl Answer for GrantAnswer {
    fn header(&self) -> &AnswerHeader {
        &self.header
    }
}

impl Answer for RenewAnswer {
    fn header(&self) -> &AnswerHeader {
        &self.header
    }
}

impl Answer for crate::protocol::DeregistrationAnswer {
    fn header(&self) -> &AnswerHeader {
        &self.header
    }
}

impl Answer for crate::protocol::AckAnswer {
    fn header(&self) -> &AnswerHeader {
        &self.header
    }
}

/// The key set that any message may bring along.
#[derive(Deserialize)]
struct Brought {
    key_set: Option<Envelope>,
    root: Option<PublicKey>,
    issued_at: Option<UnixMillis>,
    header: Option<BroughtHeader>,
}

#[derive(Deserialize)]
struct BroughtHeader {
    issued_at: UnixMillis,
}

impl Agent {
    /// The root that is trusted, if one is yet.
    fn trusted_root(&self) -> Option<PublicKey> {
        self.setup.trusted_root.or(self.state.identity.root)
    }

    /// What came back for a request. A newer key set that it brings is taken, as the root signed it.
    pub(super) fn read<T: Answer>(&mut self, exchange: &InFlight, outcome: &Exchange) -> Reply<T> {
        let now = self.clock.now();
        let (status, retry_after_s, body) = match outcome {
            Exchange::Failed(failure) => {
                return Reply::Lost(Failure::transport(failure.step, &failure.text, now), None);
            }
            Exchange::Answered { status, retry_after_s, body } => (*status, *retry_after_s, body),
        };
        let unsigned = |reason: &str| {
            let step = if (200..300).contains(&status) { TransportStep::Http } else { TransportStep::Status };
            let text = format!("HTTP status {status} and no signed message: {reason}");
            Reply::Lost(Failure::transport(step, &text, now), retry_after_s)
        };
        let envelope = match Envelope::parse(body) {
            Ok(envelope) => envelope,
            Err(error) => return unsigned(&error.to_string()),
        };
        let expected = exchange.purpose.endpoint().answer();
        let doubtful = |code: &str, text: String| Failure { code: code.to_owned(), text, at: now };
        if envelope.typ == Typ::Refusal {
            // A no that cannot be believed is worth as much as a page of a captive portal.
            return match self.open::<Refusal>(&envelope, Typ::Refusal, exchange) {
                Ok(refusal) if refusal.in_reply_to == Some(exchange.nonce) => {
                    if !self.agrees(refusal.issued_at) {
                        let detail = skew(refusal.issued_at, now);
                        self.stand(AlarmKind::ClockSkew, detail.clone());
                        self.skewed_at = Some(self.clock.offset_ms());
                        if refusal.code != RefusalCode::ClockSkew {
                            return Reply::Doubtful(doubtful("clock_skew", detail));
                        }
                    }
                    self.heard();
                    Reply::Refused(Box::new(refusal))
                }
                Ok(_) => unsigned("a refusal of another request"),
                Err(error) => unsigned(&error.text),
            };
        }
        let answer: T = match self.open(&envelope, expected, exchange) {
            Ok(answer) => answer,
            Err(failure) => return Reply::Doubtful(failure),
        };
        let header = answer.header();
        if header.udi != self.state.udi {
            let text = format!("the answer is for {}; this instance is {}", header.udi, self.state.udi);
            return Reply::Doubtful(doubtful("foreign_udi", text));
        }
        if header.in_reply_to != exchange.nonce || header.seq != exchange.seq {
            let text = "the answer belongs to another request: it was replayed or mixed up".to_owned();
            return Reply::Doubtful(doubtful("nonce_mismatch", text));
        }
        if !self.agrees(header.issued_at) {
            let detail = skew(header.issued_at, now);
            self.stand(AlarmKind::ClockSkew, detail.clone());
            self.skewed_at = Some(self.clock.offset_ms());
            return Reply::Doubtful(doubtful("clock_skew", detail));
        }
        self.unstand(AlarmKind::ClockSkew);
        self.heard();
        Reply::Answer(Box::new(answer))
    }

    /// Takes the time of an answer to a request of now.
    fn agrees(&mut self, theirs: UnixMillis) -> bool {
        let was = self.clock.now();
        let agrees = self.clock.confirm(theirs).is_ok();
        if self.clock.now() < was {
            self.brought_back(was);
        }
        self.time_mended |= self.clock.now().0.abs_diff(was.0) > SKEW_MAX_MS;
        agrees
    }

    /// The message in an envelope, if a key signed it that the trusted root vouches for at its time.
    fn open<T: DeserializeOwned>(
        &mut self,
        envelope: &Envelope,
        expected: Typ,
        exchange: &InFlight,
    ) -> Result<T, Failure> {
        let now = self.clock.now();
        let failure = |code: &str, text: String| Failure { code: code.to_owned(), text, at: now };
        let unreadable = |error: EnvelopeError| failure("bad_signature", error.to_string());
        let first = matches!(exchange.purpose, Purpose::Registration | Purpose::Move);
        // Read, not believed: which keys it wants to be verified with, and its time.
        let brought: Brought = envelope.peek().map_err(unreadable)?;
        let held = match (exchange.purpose, &self.state.goodbye) {
            (Purpose::Goodbye, Some(goodbye)) => Some(goodbye.key_set.clone()),
            _ => self.state.identity.key_set.clone(),
        };
        let trusted = match (exchange.purpose, &self.state.goodbye) {
            (Purpose::Goodbye, Some(goodbye)) => self.setup.trusted_root.or(goodbye.root),
            _ => self.trusted_root(),
        };
        let root = match (trusted, brought.root) {
            (Some(trusted), Some(found)) if found != trusted => {
                let text = format!(
                    "signed under root {}; trusted is root {}: if the manager was rebuilt, `callgate license register \
                     --force` while unregistered, or a factory reset, forgets the old root, unless `license.root_key` names it",
                    found.id(),
                    trusted.id()
                );
                return Err(failure("foreign_root", text));
            }
            (Some(trusted), _) => Some(trusted),
            // Trust on first use: before a registration there is nothing to compare with.
            (None, found) if first => found,
            (None, _) => None,
        };
        let newer = match (&brought.key_set, root) {
            (Some(set), Some(root)) => {
                let seq = held.as_ref().map_or(0, |held| held.seq);
                match KeySet::open(set, &root, seq) {
                    Ok(set) => Some(set),
                    Err(error) => return Err(failure("bad_key_set", error.to_string())),
                }
            }
            _ => None,
        };
        let key_set = newer.clone().or(held);
        let signed = key_set.as_ref().and_then(|set| set.find(&envelope.kid));
        let Some(signed) = signed else {
            let text = format!("signed with key {}, which is not in the key set", envelope.kid);
            return Err(failure("unknown_key", text));
        };
        let issued_at = brought.issued_at.or(brought.header.map(|header| header.issued_at)).unwrap_or(now);
        if issued_at < signed.not_before || issued_at > signed.not_after {
            let text = format!(
                "key {} signs from {} to {}; the message says {}",
                envelope.kid,
                when(signed.not_before),
                when(signed.not_after),
                when(issued_at)
            );
            return Err(failure("key_not_valid", text));
        }
        let message = envelope.open(expected, &signed.key).map_err(unreadable)?;
        if let (Purpose::Goodbye, Some(goodbye)) = (exchange.purpose, &mut self.state.goodbye) {
            goodbye.key_set = newer.unwrap_or_else(|| goodbye.key_set.clone());
            return Ok(message);
        }
        // Rotation: the root's word is enough to replace the set, once one is pinned.
        if let Some(set) = newer
            && self.state.identity.root.is_some()
            && self.state.identity.root == root
        {
            self.state.identity.key_set = Some(set);
        }
        Ok(message)
    }
}

fn skew(theirs: UnixMillis, ours: UnixMillis) -> String {
    format!(
        "the manager's clock says {} and this host's {}; accepted: one hour of difference",
        when(theirs),
        when(ours)
    )
}
