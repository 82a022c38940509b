//! Drives the pure core: carries out what it wants done, and hands in what comes.
//!
//! | part | what it does |
//! |---|---|
//! | `prepared` | from the files to a core that can be driven: what must be known before the first call is judged |
//! | `shown` | what people see and ask of it |
//! | `task` | one task that owns the core |
//! | `tally` | what peers were told, in figures |
//! | `supervisor` | starts it again if it ends |
//!
//! What must stay true: a record is durable before the core hears that it is; the incarnation is durable before the first
//! message; while no driver runs the gate's limits only fall, by the ends that are set in them.

mod prepared;
mod shown;
mod supervisor;
mod tally;
mod task;

#[cfg(test)]
mod tests;

pub use self::prepared::{ClusterError, MakePools, Prepared};
pub use self::supervisor::{ClusterSupervisor, LAST_WORDS};
