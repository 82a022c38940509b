//! Requests to bytes, for clients and tests.

use super::decode::Message;
use super::{HEAD_BYTES, MAGIC, VERSION, flag};
use crate::admission::{CallId, Kind, Name, Request};

/// What the head says beside lengths, verb and request id.
#[derive(Default)]
struct Fields<'a> {
    kind: u8,
    flags: u16,
    seq: Option<u32>,
    ttl_s: Option<u32>,
    long: u64,
    units: u16,
    id: &'a [u8],
    /// Trunk, tenant, license type, proxy.
    names: [Option<Name<'a>>; 4],
}

fn fields<'a>(message: &Message<'a>) -> Fields<'a> {
    match *message {
        Message::Decide(Request::Admit(admit)) => {
            let bit = |set, bit| if set { bit } else { 0 };
            Fields {
                kind: match admit.kind {
                    Kind::Call => 0,
                    Kind::Registration => 1,
                },
                flags: bit(admit.deadline.is_some(), flag::DEADLINE)
                    | bit(admit.emergency, flag::EMERGENCY)
                    | bit(admit.priority, flag::PRIORITY)
                    | bit(admit.webrtc, flag::WEBRTC)
                    | bit(admit.encrypted, flag::ENCRYPTED),
                seq: admit.seq,
                ttl_s: admit.ttl_s,
                long: admit.deadline.map_or(0, |deadline| deadline.0),
                units: admit.units,
                id: admit.id.bytes(),
                names: [admit.trunk, admit.tenant, admit.license_type, admit.proxy],
            }
        }
        Message::Decide(Request::Confirm { id, seq, ttl_s }) => {
            Fields { seq, ttl_s, id: id.bytes(), ..Fields::default() }
        }
        Message::Decide(Request::Release { id, seq }) => Fields { seq, id: id.bytes(), ..Fields::default() },
        Message::Decide(Request::Refresh { id }) => Fields { id: id.bytes(), ..Fields::default() },
        Message::Proxy { name, epoch } => {
            Fields { long: epoch, names: [None, None, None, Some(name)], ..Fields::default() }
        }
        Message::Auth(password) => Fields { id: CallId::bytes(password), ..Fields::default() },
        Message::Ping => Fields::default(),
    }
}

/// Appends one request.
pub fn message(out: &mut Vec<u8>, request_id: u64, message: &Message<'_>) {
    let fields = fields(message);
    let name = |name: &Option<Name<'_>>| name.map_or(0, |name| name.bytes().len());
    let length = HEAD_BYTES + fields.id.len() + fields.names.iter().map(name).sum::<usize>();
    // Every part is bounded by its type: none of these numbers is cut.
    let short = |length| u16::try_from(length).unwrap_or(u16::MAX).to_le_bytes();
    let said = |value: Option<u32>, bit| if value.is_some() { bit } else { 0 };
    let flags = fields.flags | said(fields.seq, flag::SEQ) | said(fields.ttl_s, flag::TTL);
    out.reserve(length);
    out.extend_from_slice(&[MAGIC, VERSION, message.verb().code(), fields.kind]);
    out.extend_from_slice(&short(length));
    out.extend_from_slice(&flags.to_le_bytes());
    out.extend_from_slice(&request_id.to_le_bytes());
    out.extend_from_slice(&fields.seq.unwrap_or(0).to_le_bytes());
    out.extend_from_slice(&fields.ttl_s.unwrap_or(0).to_le_bytes());
    out.extend_from_slice(&fields.long.to_le_bytes());
    out.extend_from_slice(&fields.units.to_le_bytes());
    out.extend_from_slice(&short(fields.id.len()));
    out.extend(fields.names.iter().map(|of| u8::try_from(name(of)).unwrap_or(u8::MAX)));
    out.extend_from_slice(fields.id);
    for name in fields.names.iter().flatten() {
        out.extend_from_slice(name.bytes());
    }
}
