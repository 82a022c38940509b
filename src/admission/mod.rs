//! The gate: who may start, and what is live. PURE.
//!
//! A proxy's request comes in as a [`Request`], the answer goes out as a [`Decision`]; what must survive the process goes out as
//! [`Record`]s. Time and randomness are arguments. Where limits come from (licenses, loans) is not known here: others resize them.
//!
//! | file | what it holds |
//! |---|---|
//! | `request`, `policy`, `view`, `record` | the words: what is asked, decided, shown, kept |
//! | `gate` | batches, shards, names; the public face |
//! | `decide` | the order of one decision |
//! | `shard` | one shard's entries: opened, renewed, closed |
//! | `table`, `index`, `entry`, `prefetch` | the session table: a line per call, found by key, ended by time |
//! | `resources`, `groups`, `license_types` | what a call takes: rates, export control, trunks, tenants, licenses |
//! | `proxies`, `resync` | epochs, suspects, RESYNC |
//! | `pools` | the limits that a cluster moves |
//! | `housekeep`, `report`, `recover` | what other threads do: time, status, restarts |

mod decide;
mod entry;
mod gate;
mod groups;
mod housekeep;
mod index;
mod license_types;
mod policy;
mod pools;
mod prefetch;
mod proxies;
mod record;
pub mod record_codec;
mod recover;
mod report;
mod request;
mod resources;
mod resync;
mod shard;
mod table;
mod usage;
mod view;

pub use gate::{Gate, PolicyRefused, ResyncError, ResyncOutcome, ResyncToken};
pub use housekeep::Housekeeping;
pub use policy::*;
pub use pools::{NodePool, OfferedTotal};
pub use record::*;
pub use recover::Recovery;
pub use request::*;
pub use resync::ProxyEpoch;
pub use usage::{Usage, Used};
pub use view::*;

#[cfg(test)]
mod gate_tests;
