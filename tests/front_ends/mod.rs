//! The front ends over real sockets: what good clients get, and what hostile ones don't.

#![expect(clippy::unwrap_used, reason = "a test says what it expected by failing")]

mod datagram;
mod datagram_c;
mod http;
mod http_hostile;
pub(crate) mod openapi;
mod resp;
mod resp_hostile;
mod rig;
