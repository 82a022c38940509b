//! The agents' API: signed messages in, signed answers out.
//!
//! 1. The envelope is parsed, within its bound; 2. the client certificate is verified up to the signing root; 3. the
//!    signature is verified ([`AgentRequest::open`]); 4. the domain decides, and what it changed is committed; 5. the answer
//!    is signed, here and not in the service's loop.
//!
//! What must stay true: every answer to something that could be an envelope is signed, also a no; nothing is signed before
//! it was committed.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::http::header::{HeaderValue, RETRY_AFTER};
use axum::http::{Response, StatusCode};

use super::operation::has_huge_number;
use super::problem::{Problem, outward, with_body};
use super::{Api, Peer};
use crate::manager::domain::{AgentReply, AgentRequest, Caller, CallerCertificate, IssueCertificate, refusal};
use crate::manager::pki::{IdOrder, PkiError, Signing, Validity};
use crate::manager::service::Unavailable;
use crate::protocol::{
    DeregistrationRequest, Endpoint, Envelope, EnvelopeError, GrantAnswer, Refusal, RefusalCode, RegistrationAnswer,
    RenewAnswer, Typ,
};
use crate::units::UnixMillis;

/// The content type of envelopes.
const JSON: &str = "application/json";

/// The status that carries a refusal.
pub(super) const fn status_of(code: RefusalCode) -> StatusCode {
    match code {
        RefusalCode::TokenUnknown
        | RefusalCode::TokenExpired
        | RefusalCode::TokenRevoked
        | RefusalCode::TokenUsedUp
        | RefusalCode::TokenNotForProduct
        | RefusalCode::TokenNotFromHere
        | RefusalCode::ProductNotAllowed
        | RefusalCode::MachineKnown
        | RefusalCode::InstanceRemoved => StatusCode::FORBIDDEN,
        RefusalCode::CertificateRevoked | RefusalCode::BadSignature => StatusCode::UNAUTHORIZED,
        RefusalCode::AlreadyRegistered | RefusalCode::Duplicate | RefusalCode::Replayed => StatusCode::CONFLICT,
        RefusalCode::ClockSkew | RefusalCode::BadRequest => StatusCode::BAD_REQUEST,
        RefusalCode::Busy => StatusCode::SERVICE_UNAVAILABLE,
    }
}

/// Answers one message.
pub(super) async fn answer(
    api: &Arc<Api>,
    endpoint: Endpoint,
    peer: &Peer,
    body: Result<Bytes, Problem>,
) -> Response<Body> {
    let now = api.service.now();
    let signing = api.keys.current();
    if signing.issuer_ended(now) {
        // Agents would refuse it; and a signature that should not be is worse than none.
        tracing::error!(issuer = %signing.issuer_id(), "nothing is signed: the issuer key's time is over; rotate it");
        let told = "the issuer key's time is over, and nothing is signed until there is another one";
        return Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not available now", told).later(60).response();
    }
    let outcome = match body {
        Ok(body) => take(api, endpoint, peer, &body, &signing, now).await,
        Err(problem) => return problem.response(),
    };
    match outcome {
        Ok(reply) => match seal(&signing, reply) {
            Ok(envelope) => with_body(StatusCode::OK, JSON, envelope.to_bytes()),
            Err(error) => {
                tracing::error!(%error, endpoint = endpoint.path(), "an answer was committed and cannot be signed");
                Problem::failed("the answer cannot be signed; the log says why").response()
            }
        },
        Err((status, mut refusal)) => {
            refusal.key_set = Some(signing.key_set_envelope().clone());
            refusal.root = Some(signing.root());
            let retry_after = refusal.retry_after_s;
            tracing::info!(
                endpoint = endpoint.path(),
                code = refusal.code.name(),
                udi = refusal.udi.as_ref().map(ToString::to_string),
                address = peer.address.map(|address| address.to_string()),
                "an agent's message was refused: {}",
                refusal.text
            );
            match signing.seal(Typ::Refusal, &*refusal) {
                Ok(envelope) => {
                    let mut response = with_body(status, JSON, envelope.to_bytes());
                    if let Some(seconds) = retry_after {
                        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
                    }
                    response
                }
                Err(error) => Problem::failed(error.to_string()).response(),
            }
        }
    }
}

/// An answer to sign, never a refusal; or a refusal and its status.
type Outcome = Result<AgentReply, (StatusCode, Box<Refusal>)>;

async fn take(
    api: &Arc<Api>,
    endpoint: Endpoint,
    peer: &Peer,
    body: &[u8],
    signing: &Signing,
    now: UnixMillis,
) -> Outcome {
    let no = |code: RefusalCode, text: String| {
        api.service.metrics().count_refusal(code);
        (status_of(code), Box::new(refusal(None, now, code, text)))
    };
    // Whoever shows no certificate costs work without having shown who they are.
    let unknown =
        endpoint == Endpoint::Registration || (endpoint == Endpoint::Deregistration && !peer.identity.is_some());
    if unknown
        && let Some(address) = peer.address
        && let Err(seconds) = api.registrations.take(address, api.clock.tick())
    {
        let text = format!("too many registrations or deregistrations from {address}; the next in {seconds} s");
        let (_, mut refusal) = no(RefusalCode::Busy, text);
        refusal.retry_after_s = Some(seconds);
        return Err((StatusCode::TOO_MANY_REQUESTS, refusal));
    }
    let envelope = Envelope::parse(body).map_err(|error| no(RefusalCode::BadRequest, error.to_string()))?;
    if envelope.typ != endpoint.request() {
        let (found, expected) = (envelope.typ.name(), endpoint.request().name());
        return Err(no(RefusalCode::BadRequest, format!("a message of type {found}; expected {expected}")));
    }
    // One agent's nonsense must not fail the commit that it shares with others.
    let payload = envelope.peek().map_err(|error| no(RefusalCode::BadRequest, error.to_string()))?;
    if has_huge_number(&payload) {
        return Err(no(RefusalCode::BadRequest, format!("a number above {}", i64::MAX)));
    }
    let certificate = match peer.identity.verify(&signing.root(), now) {
        Ok(id) => Some(CallerCertificate { udi: id.udi, key: id.key, not_after: id.not_after }),
        // A new registration mends an expired certificate; a goodbye may come without one.
        Err(_) if !peer.identity.is_some() || matches!(endpoint, Endpoint::Registration | Endpoint::Deregistration) => {
            None
        }
        // Nothing that would end a registration: whose message this is, is not known.
        Err(error) => {
            let text = format!("{error}; if the agent shows another certificate, a proxy on the way ends TLS");
            return Err(no(RefusalCode::BadSignature, text));
        }
    };
    let mut known = Vec::new();
    if certificate.is_none()
        && endpoint == Endpoint::Deregistration
        && let Ok(goodbye) = envelope.peek::<DeregistrationRequest>()
    {
        let udi = goodbye.header.udi;
        let key = api.service.read(move |domain, _| domain.instance_keys(&udi)).await;
        known = key.map_err(|error| unavailable(&error, now))?;
    }
    let caller = Caller { address: peer.address, certificate };
    let unproven = caller.certificate.is_none() && endpoint == Endpoint::Deregistration;
    let request = AgentRequest::open(&envelope, &caller, |_| known, now).map_err(|mut refusal| {
        if unproven && matches!(refusal.code, RefusalCode::BadSignature | RefusalCode::InstanceRemoved) {
            // One answer for both: nobody learns from outside who is registered here.
            refusal.code = RefusalCode::InstanceRemoved;
            refusal.text = "no product instance of this name and key is registered here".to_owned();
        }
        api.service.metrics().count_refusal(refusal.code);
        (status_of(refusal.code), refusal)
    })?;
    peer.known.store(true, std::sync::atomic::Ordering::Relaxed);
    match api.service.agent(request, caller).await.map_err(|error| unavailable(&error, now))? {
        AgentReply::Refused(refusal) => Err((status_of(refusal.code), refusal)),
        reply @ (AgentReply::Registered(_)
        | AgentReply::Granted(_)
        | AgentReply::Renewed(_)
        | AgentReply::Deregistered(_)
        | AgentReply::Acknowledged(_)) => Ok(reply),
    }
}

fn unavailable(error: &Unavailable, now: UnixMillis) -> (StatusCode, Box<Refusal>) {
    let mut refusal = refusal(None, now, RefusalCode::Busy, outward(error));
    refusal.retry_after_s = Some(match error {
        Unavailable::Busy { .. } => 5,
        Unavailable::CannotWrite { .. } | Unavailable::Stopped | Unavailable::Unstorable { .. } => 60,
    });
    (StatusCode::SERVICE_UNAVAILABLE, Box::new(refusal))
}

/// Why a committed answer could not be made.
#[derive(Debug, thiserror::Error)]
enum SealError {
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    #[error(transparent)]
    Pki(#[from] PkiError),
    #[error("the serial number {0:?} is not in hexadecimal digits")]
    Serial(String),
}

fn issue(signing: &Signing, order: &IssueCertificate) -> Result<Vec<String>, SealError> {
    let serial = unhex(&order.certificate.serial).ok_or_else(|| SealError::Serial(order.certificate.serial.clone()))?;
    let validity = Validity { not_before: order.certificate.not_before, not_after: order.certificate.not_after };
    Ok(signing.issue(&IdOrder { udi: &order.udi, key: order.key, serial: &serial, validity })?)
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    if digits.is_empty() || !digits.len().is_multiple_of(2) || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok()).collect()
}

fn seal(signing: &Signing, reply: AgentReply) -> Result<Envelope, SealError> {
    let key_set = signing.key_set_envelope().clone();
    Ok(match reply {
        AgentReply::Registered(registered) => {
            let answer = RegistrationAnswer {
                certificate_chain_b64: issue(signing, &registered.certificate)?,
                header: registered.header,
                instance: registered.instance.to_string(),
                account: registered.account,
                virtual_account: registered.virtual_account,
                root_b64: signing.root_b64(),
                root: signing.root(),
                key_set,
                export_allowed: registered.export_allowed,
            };
            signing.seal(Typ::RegistrationAnswer, &answer)?
        }
        AgentReply::Granted(granted) => {
            // Agents learn of a rotation by the first message that the new key signs. Before the first there is nothing to learn.
            let key_set = (signing.key_set().seq > 1).then_some(key_set);
            let answer = GrantAnswer { header: granted.header, grant: granted.grant, key_set };
            signing.seal(Typ::GrantAnswer, &answer)?
        }
        AgentReply::Renewed(renewed) => {
            let certificate_chain_b64 = issue(signing, &renewed.certificate)?;
            signing.seal(Typ::RenewAnswer, &RenewAnswer { header: renewed.header, certificate_chain_b64, key_set })?
        }
        AgentReply::Deregistered(answer) => signing.seal(Typ::DeregistrationAnswer, &answer)?,
        AgentReply::Acknowledged(answer) => signing.seal(Typ::AckAnswer, &answer)?,
        AgentReply::Refused(refusal) => signing.seal(Typ::Refusal, &*refusal)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serials_are_read_from_their_digits_alone() {
        assert_eq!(unhex("4a0f"), Some(vec![0x4a, 0x0f]));
        for wrong in ["", "4", "zz", "+1", "äö"] {
            assert_eq!(unhex(wrong), None, "{wrong}");
        }
    }
}
