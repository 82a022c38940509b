//! Front ends: RESP and HTTP over TCP and Unix sockets, datagrams over UDP and Unix sockets.
//!
//! [`Listeners::start`] binds every address before it starts a thread, so that whoever calls it learns of a taken port at
//! once; then RESP and datagrams run on the reactors (one by default), HTTP and the admin socket on one more thread, each thread with a
//! current-thread runtime of its own. [`Running::drain`] ends all of it: no new connections, what was sent is answered,
//! then sockets close.
//!
//! Several reactors accept from the same sockets; a connection stays with the reactor that accepted it, and the gate lets
//! any thread decide about any call.
//!
//! Stops at the gate: what is admitted is decided in [`crate::admission`]; what bytes mean, in [`crate::codec`].

mod accept;
mod access;
mod datagram;
mod decision_log;
mod http;
mod peers;
mod resp;
mod running;
mod settings;
mod shared;
mod socket;
mod status;

pub use access::Access;
pub use running::{Drained, Listeners, Running, StartError};
pub use settings::{ConnectionLimits, DatagramEndpoint, Endpoint, ExposureError, Settings, check_exposure};
pub use socket::BindError;
