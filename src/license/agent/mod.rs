//! The licensing agent: a state machine without a clock, a socket or a disk.
//!
//! Driving it:
//!
//! 1. [`Agent::start`] with what the store found (or nothing), then drain [`Agent::poll_action`].
//! 2. Sleep until [`Agent::poll_timeout`], a command, an answer, or a second has passed. Then call
//!    [`Agent::handle_timeout`], [`Agent::handle_command`] or [`Agent::handle_response`], and drain the actions again.
//!    Once a second also [`Agent::observe`] with what is used.
//! 3. Carry actions out in their order, each before the next: `Persist` means on disk, fsync included. If it fails, call
//!    [`Agent::persist_failed`] at once: the state is again what is on disk, and nothing behind the failed action happened.
//! 4. At the end call [`Agent::stop`] and drain the actions once more.
//!
//! What must stay true: the verdict is what table 4.6 of the transition rules makes of the state, at each step; evaluation
//! time is never given back; grant numbers rise; an event that no rule names changes nothing and is counted.

mod action;
mod alarms;
mod answers;
mod authorization;
mod command;
mod commands;
mod contact;
mod core;
pub mod enforcement;
mod registration;
mod requests;
mod start;
mod state;
pub(super) mod text;
mod timers;
mod use_of_licenses;

pub use action::{
    Action, Alarm, AlarmKind, AlarmLevel, ClientIdentity, Exchange, ExchangeId, Limits, Notice, Outgoing,
    TransportFailure, TransportStep, TypeCap, UsageNow,
};
pub use command::{Command, CommandRefused, Done};
pub use core::Agent;
pub use state::{
    Addresses, AgentState, Attempt, Authorization, Client, Contact, Deadlines, Enforced, Failure, Goodbye, Identity,
    Leaving, Membership, MessageStatistics, PendingKey, Registration, Requested, Secret, Setup, Standing, Stored,
    TransportClass, UsageClass,
};
pub use text::{nothing_granted, nothing_of};

#[cfg(test)]
mod tests;
