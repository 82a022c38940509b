//! Datagrams: admission in a fixed layout, for proxies with a native client and for load tests.
//!
//! A datagram holds 1 to [`REQUESTS_MAX`] requests, one behind the other; its answer is one datagram that holds their
//! answers in the same order. All numbers are little-endian, nothing is padded or aligned. Version 1.
//!
//! A request, [`HEAD_BYTES`] and then what the lengths say:
//!
//! | at | bytes | what |
//! |---|---|---|
//! | 0 | 1 | magic, `0xC9` |
//! | 1 | 1 | version, 1 |
//! | 2 | 1 | verb: 1 ADMIT, 2 CONFIRM, 3 RELEASE, 4 REFRESH, 5 PROXY, 6 AUTH, 7 PING |
//! | 3 | 1 | kind (ADMIT): 0 call, 1 registration |
//! | 4 | 2 | length of the request, this head included |
//! | 6 | 2 | flags: 1 SEQ is said, 2 TTL is said, 4 DEADLINE is said, 8 EMERGENCY, 16 PRIORITY, 32 WEBRTC, 64 ENCRYPTED |
//! | 8 | 8 | request id: any number, echoed in the answer |
//! | 16 | 4 | SEQ |
//! | 20 | 4 | TTL in seconds |
//! | 24 | 8 | DEADLINE in milliseconds of Unix time (ADMIT); the epoch (PROXY) |
//! | 32 | 2 | UNITS (ADMIT), 1 to 1000 |
//! | 34 | 2 | length of the call's id, 1 to 512; of the password (AUTH) |
//! | 36 | 1 | length of the trunk's name, 0 for none |
//! | 37 | 1 | length of the tenant's name, 0 for none |
//! | 38 | 1 | length of the license type's name, 0 for none |
//! | 39 | 1 | length of the proxy's name, 0 for none |
//! | 40 | | id, trunk, tenant, license type, proxy, one behind the other |
//!
//! What a verb does not have is zero: ADMIT has everything; CONFIRM id, SEQ, TTL; RELEASE id, SEQ; REFRESH id; PROXY the
//! proxy's name and its epoch; AUTH a password; PING nothing. They mean what they mean over RESP. AUTH opens the rest of
//! its own datagram where a password is configured: a datagram knows no connection.
//!
//! An answer, [`ANSWER_BYTES`]:
//!
//! | at | bytes | what |
//! |---|---|---|
//! | 0 | 1 | magic, `0xC9` |
//! | 1 | 1 | version, 1 |
//! | 2 | 1 | the request's verb, plus 128 |
//! | 3 | 1 | outcome: 0 no (refused, unknown, nothing to release), 1 yes, 2 error |
//! | 4 | 2 | length of the answer, 32 |
//! | 6 | 1 | cause (ADMIT), by number: [`Cause::code`]; 0 is `ok` |
//! | 7 | 1 | error, by number: [`ErrorCode`]; 0 for none |
//! | 8 | 8 | request id |
//! | 16 | 4 | retry after so many milliseconds, 0 for no such advice |
//! | 20 | 4 | lease in seconds, 0 if refused |
//! | 24 | 2 | SIP status to refuse with, 0 if admitted |
//! | 26 | 2 | with an error: the least that is accepted |
//! | 28 | 2 | with an error: the most that is accepted |
//! | 30 | 2 | zero |
//!
//! A refusal is an answer, never an error. An answer lost is asked for again, with the same id and SEQ: that is a
//! retransmission to the gate, which consumes nothing. A cause keeps its number for ever; new ones come behind.
//!
//! The first 16 bytes of a request are the same in every version, so that one of another version is told what is
//! accepted and the requests behind it are read. What has no magic, is shorter than an answer, or is itself an answer,
//! is not answered, and nothing behind it is read. Answers are never longer than what they answer: a forged source gains
//! nothing.
//!
//! ```
//! use callgate::admission::{Admit, CallId, Request};
//! use callgate::codec::datagram::{Message, Messages, encode};
//! let message = Message::Decide(Request::Admit(Admit::call(CallId::new(b"abc").unwrap())));
//! let mut datagram = Vec::new();
//! encode::message(&mut datagram, 7, &message);
//! let read = Messages::new(&datagram).next().unwrap().unwrap();
//! assert_eq!((read.request_id, read.message), (7, message));
//! ```
//!
//! [`Cause::code`]: crate::admission::Cause::code

mod answer;
mod decode;
pub mod encode;

pub use answer::{Answered, BadAnswer, Outcome};
pub use decode::{Bad, ErrorCode, Fault, Message, Messages, Read, Stray, Verb};

use crate::admission::{ID_BYTES_MAX, NAME_BYTES_MAX};

/// The first byte of every request and answer.
pub const MAGIC: u8 = 0xC9;
/// The version of this layout.
pub const VERSION: u8 = 1;
/// Bytes of a request before its id.
pub const HEAD_BYTES: usize = 40;
/// Bytes of an answer.
pub const ANSWER_BYTES: usize = 32;
/// Requests of one datagram; one more is told so, and nothing behind it is read.
pub const REQUESTS_MAX: usize = 64;
/// Bytes of the longest request.
pub const REQUEST_BYTES_MAX: usize = HEAD_BYTES + ID_BYTES_MAX + 4 * NAME_BYTES_MAX;
/// Bytes of the longest datagram that is read; what is longer is cut there.
pub const DATAGRAM_BYTES_MAX: usize = 8_192;
/// What an answer's verb has and a request's has not.
pub const ANSWER_BIT: u8 = 0x80;

/// The bits of a request's flags.
pub mod flag {
    /// SEQ is said.
    pub const SEQ: u16 = 1;
    /// TTL is said.
    pub const TTL: u16 = 2;
    /// DEADLINE is said.
    pub const DEADLINE: u16 = 4;
    /// EMERGENCY.
    pub const EMERGENCY: u16 = 8;
    /// PRIORITY.
    pub const PRIORITY: u16 = 16;
    /// WEBRTC.
    pub const WEBRTC: u16 = 32;
    /// ENCRYPTED.
    pub const ENCRYPTED: u16 = 64;
    /// All of them.
    pub const ALL: u16 = 127;
}

#[cfg(test)]
mod tests;
