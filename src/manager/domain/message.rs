//! The agent's side of the face: messages in, answers out. Signatures are verified here, without any state; whether the
//! key that signed is the instance's is judged when the message is taken.

use core::net::IpAddr;

use serde::Deserialize;

use super::ids::InstanceId;
use super::record::Certificate;
use crate::protocol::{
    AckAnswer, Acknowledgement, AnswerHeader, DeregistrationAnswer, DeregistrationRequest, EntitlementRequest,
    Envelope, EnvelopeError, Grant, Nonce, PublicKey, Refusal, RefusalCode, RegistrationRequest, RenewRequest,
    ReportRequest, RequestHeader, Typ, Udi, read_certificate_request,
};
use crate::units::UnixMillis;

/// Who called.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Caller {
    /// From where.
    pub address: Option<IpAddr>,
    /// The client certificate, verified up to our root; `None` if none was shown.
    pub certificate: Option<CallerCertificate>,
}

/// A client certificate that leads to our root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallerCertificate {
    /// For whom.
    pub udi: Udi,
    /// For which key.
    pub key: PublicKey,
    /// Valid to.
    pub not_after: UnixMillis,
}

/// A message whose signature was verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentRequest {
    pub(super) message: Message,
    /// The key that signed it.
    pub(super) signer: PublicKey,
}

/// What it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Message {
    Registration(Box<RegistrationRequest>),
    Entitlement(EntitlementRequest),
    /// With the new key, which the certificate request proves to be held.
    Renew(Box<RenewRequest>, PublicKey),
    Report(ReportRequest),
    Deregistration(DeregistrationRequest),
    Ack(Acknowledgement),
}

/// The answer. What is signed and what needs a certificate is left to those who hold the keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AgentReply {
    /// To `registration`.
    Registered(Box<Registered>),
    /// To `entitlement` and `report`.
    Granted(Box<Granted>),
    /// To `renew`.
    Renewed(Box<Renewed>),
    /// To `deregistration`.
    Deregistered(DeregistrationAnswer),
    /// To `ack`.
    Acknowledged(AckAnswer),
    /// No. `key_set` and `root` are left out.
    Refused(Box<Refusal>),
}

/// A [`RegistrationAnswer`](crate::protocol::RegistrationAnswer) without certificates and keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registered {
    /// To what.
    pub header: AnswerHeader,
    /// The instance's id.
    pub instance: InstanceId,
    /// The smart account's name.
    pub account: String,
    /// The virtual account's name.
    pub virtual_account: String,
    /// The export flag.
    pub export_allowed: bool,
    /// The certificate to issue.
    pub certificate: IssueCertificate,
}

/// A [`GrantAnswer`](crate::protocol::GrantAnswer) without the key set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Granted {
    /// To what.
    pub header: AnswerHeader,
    /// What is granted.
    pub grant: Grant,
}

/// A [`RenewAnswer`](crate::protocol::RenewAnswer) without certificates and keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Renewed {
    /// To what.
    pub header: AnswerHeader,
    /// The certificate to issue.
    pub certificate: IssueCertificate,
}

/// An id certificate to issue. The same instruction makes the same certificate, as long as the issuer is the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssueCertificate {
    /// For whom.
    pub udi: Udi,
    /// For which key.
    pub key: PublicKey,
    /// Serial number and validity.
    pub certificate: Certificate,
}

/// What a message without a client certificate is told.
const NO_CERTIFICATE: &str = "no client certificate arrived; a proxy or a firewall that ends TLS on the way is the most \
                              likely cause: let it pass this connection through untouched";

/// The header alone, to learn whose message it is.
#[derive(Deserialize)]
struct HeaderOnly {
    header: RequestHeader,
}

impl AgentRequest {
    /// The message of an envelope, if the key that it must be signed with signed it: for a registration the key of its
    /// certificate request, for all others that of the caller's certificate.
    ///
    /// A goodbye comes also from an agent that deleted its certificate; for that, and for nothing else, `known` gives the
    /// instance's keys ([`Domain::instance_keys`](super::Domain::instance_keys)).
    ///
    /// # Errors
    /// A refusal if it isn't, cannot be read, or no certificate was shown. None of them ends a registration: who sent the
    /// message is not known.
    pub fn open(
        envelope: &Envelope,
        caller: &Caller,
        known: impl FnOnce(&Udi) -> Vec<PublicKey>,
        now: UnixMillis,
    ) -> Result<Self, Box<Refusal>> {
        let refuse = |error: &EnvelopeError, header: Option<&RequestHeader>| {
            let code = match error {
                EnvelopeError::Signature { .. } | EnvelopeError::Algorithm { .. } => RefusalCode::BadSignature,
                EnvelopeError::Shape(_)
                | EnvelopeError::TooLarge { .. }
                | EnvelopeError::Typ { .. }
                | EnvelopeError::Payload(_) => RefusalCode::BadRequest,
            };
            Box::new(refusal(header, now, code, error.to_string()))
        };
        let header = envelope.peek::<HeaderOnly>().map_err(|error| refuse(&error, None))?.header;
        let no = |code, text: &str| Box::new(refusal(Some(&header), now, code, text.to_owned()));
        if envelope.typ == Typ::Registration {
            let peeked: RegistrationRequest = envelope.peek().map_err(|error| refuse(&error, Some(&header)))?;
            let key = read_certificate_request(&peeked.certificate_request_b64, &peeked.header.udi)
                .map_err(|error| no(RefusalCode::BadRequest, &error.to_string()))?;
            let request = envelope.open(Typ::Registration, &key).map_err(|error| refuse(&error, Some(&header)))?;
            return Ok(Self { message: Message::Registration(Box::new(request)), signer: key });
        }
        let signer = match &caller.certificate {
            Some(certificate) if certificate.udi == header.udi => certificate.key,
            Some(certificate) => {
                let text = format!("the message is {}'s, the client certificate {}'s", header.udi, certificate.udi);
                return Err(no(RefusalCode::BadSignature, &text));
            }
            None if envelope.typ == Typ::Deregistration => {
                let keys = known(&header.udi);
                let signer = keys.iter().find(|key| envelope.open::<DeregistrationRequest>(envelope.typ, key).is_ok());
                *signer.or(keys.first()).ok_or_else(|| {
                    no(RefusalCode::BadSignature, "no such product instance is known here; an operator may look for it")
                })?
            }
            None => return Err(no(RefusalCode::BadSignature, NO_CERTIFICATE)),
        };
        let message = match envelope.typ {
            Typ::Entitlement => envelope.open(envelope.typ, &signer).map(Message::Entitlement),
            Typ::Report => envelope.open(envelope.typ, &signer).map(Message::Report),
            Typ::Deregistration => envelope.open(envelope.typ, &signer).map(Message::Deregistration),
            Typ::Ack => envelope.open(envelope.typ, &signer).map(Message::Ack),
            Typ::Renew => {
                let request = envelope.open::<RenewRequest>(envelope.typ, &signer);
                let request = request.map_err(|error| refuse(&error, Some(&header)))?;
                let key = read_certificate_request(&request.certificate_request_b64, &request.header.udi)
                    .map_err(|error| no(RefusalCode::BadRequest, &error.to_string()))?;
                Ok(Message::Renew(Box::new(request), key))
            }
            Typ::Registration
            | Typ::RegistrationAnswer
            | Typ::GrantAnswer
            | Typ::RenewAnswer
            | Typ::DeregistrationAnswer
            | Typ::AckAnswer
            | Typ::Refusal
            | Typ::KeySet => Err(EnvelopeError::Typ { found: envelope.typ.name(), expected: "a request" }),
        };
        Ok(Self { message: message.map_err(|error| refuse(&error, Some(&header)))?, signer })
    }

    /// The message's header.
    #[must_use]
    pub fn header(&self) -> &RequestHeader {
        match &self.message {
            Message::Registration(request) => &request.header,
            Message::Entitlement(request) => &request.header,
            Message::Renew(request, _) => &request.header,
            Message::Report(request) => &request.header,
            Message::Deregistration(request) => &request.header,
            Message::Ack(request) => &request.header,
        }
    }
}

/// A refusal of a message with this header.
#[must_use]
pub fn refusal(header: Option<&RequestHeader>, now: UnixMillis, code: RefusalCode, text: String) -> Refusal {
    let nonce: Option<Nonce> = header.map(|header| header.nonce);
    Refusal {
        in_reply_to: nonce,
        udi: header.map(|header| header.udi.clone()),
        issued_at: now,
        code,
        text,
        retry_after_s: (code == RefusalCode::Busy).then_some(60),
        key_set: None,
        root: None,
    }
}
