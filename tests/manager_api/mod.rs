//! `callgate manager serve` as agents and operators meet it: the real binary, real mTLS, a simulated agent.

mod agents;
mod documented;
mod hostile;
mod operators;
mod reports;
pub(crate) mod rig;
