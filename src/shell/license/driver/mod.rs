//! Drives the pure agent: carries out its effects in their order, and brings it time, answers and use.
//!
//! The order is the safety: a state is on disk before anything that follows from it binds a call, leaves this host or is
//! told. If it cannot be written, what follows is dropped and tried again later. What must stay true: an agent that stopped
//! or hangs changes no verdict; it is started again from its stored state ([`Supervisor`]).

mod prepared;
mod requests;
mod stores;
mod supervisor;
mod task;

pub use prepared::{Prepared, Sources};
pub use stores::OpenError;
pub use supervisor::{LAST_SAVE, Supervisor};

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) use tests::{Defects, evaluating};
