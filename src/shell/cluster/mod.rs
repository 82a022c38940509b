//! What a node of a cluster needs of the world: certificates, a way to its peers, a ledger on disk, and somebody who drives
//! the pure [`crate::cluster`].
//!
//! | module | what it does |
//! |---|---|
//! | [`ca`] | makes the cluster's certificate authority and its nodes' certificates |
//! | [`identity`] | reads a node's certificate, its key and the authorities that it believes |
//! | [`transport`] | QUIC between peers: both sides known by certificate, bounded queues, reconnection |
//! | [`ledger`] | keeps what must survive a crash: durable before anything follows from it |
//! | [`driver`] | carries out what the core wants done, and starts it again if it ends |
//! | `etcd` | the same where etcd lends instead of the peers; in builds that have it |
//! | [`handle`] | how everything else asks it |
//! | [`status`], [`tell`] | what people see of it: figures, alarms |
//! | [`setup`], [`pools`] | from the configuration and the gate to what the core is told |
//!
//! What must stay true: nothing here decides who may hold which license, and nothing here is on the way of a call.

pub mod ca;
pub mod driver;
#[cfg(feature = "etcd")]
pub mod etcd;
pub mod handle;
pub mod identity;
pub mod ledger;
pub mod pools;
pub mod setup;
pub mod status;
pub mod tell;
pub mod transport;
