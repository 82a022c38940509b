//! What the licensing agent needs of the world: a way to the manager, a place to keep its state, and somebody who drives it.
//!
//! | module | what it does |
//! |---|---|
//! | [`driver`] | carries out the agent's effects in their order, and starts it again if it ends |
//! | [`handle`] | how everything else asks it |
//! | [`store`] | keeps the agent's state: sealed, in several copies, durable before anything follows from it; backups |
//! | [`overrides`] | what an operator changed by command |
//! | [`transport`] | carries a request to the license manager, and says on which step of the way it failed |
//!
//! What must stay true: nothing here decides what licensing does. Bytes go in and out; what they mean is the pure agent's
//! ([`crate::license::agent`]).

pub mod driver;
pub mod handle;
pub mod overrides;
pub mod setup;
pub mod status;
pub mod store;
pub mod tell;
pub mod transport;
