//! Bytes to requests, answers to bytes. PURE: no socket, no clock; what arrives and what leaves are byte slices.
//!
//! A decoder borrows from the buffer that it reads and allocates nothing for an ordinary request. What it is given is
//! hostile until proven otherwise: every length is bounded before anything is sized by it, and no input panics.
//!
//! | module | speaks |
//! |---|---|
//! | [`resp`] | RESP 2 and 3, as Redis clients do |
//! | [`datagram`] | a fixed layout in UDP and Unix datagrams |
//! | [`http`] | the bodies and query strings of the HTTP interface |

pub mod datagram;
mod excerpt;
pub mod http;
pub mod resp;

pub use excerpt::Excerpt;
