//! callgate: a call-admission sidecar for SIP proxies.
//!
//! A proxy asks, per call, "may this call start?". The answer comes from memory on the same host; everything slow
//! happens beside that path and only changes the numbers that the path reads.
//!
//! # The layers
//!
//! Imports point downwards only. What stands above the line is pure: no sockets, no files, no threads, no clock and no
//! random source of its own; time, randomness and bytes come in as arguments, effects go out as values.
//! `cargo check --no-default-features --lib` builds that part alone.
//!
//! | module | what it holds |
//! |---|---|
//! | [`units`] | newtypes for every quantity that crosses a module |
//! | `sync` | the synchronisation primitives, or loom's |
//! | [`limits`] | what the fast path reads and the slow path resizes |
//! | [`admission`] | the gate: who may start, and what is live |
//! | [`license`] | the licensing agent: profiles, states, evaluation, grants, usage |
//! | [`cluster`] | peers lend each other unused licenses, and never one too many |
//! | [`protocol`] | signed messages between agent and license manager |
//! | [`notice`] | what operators are told: alarms and alerts in four formats, filtered and damped |
//! | [`manager::domain`] | the license manager's decisions |
//! | [`node`] | joins licensing and limits: a grant becomes a resize |
//! | [`codec`] | bytes to requests, decisions to bytes |
//! | | *above: pure; below: the feature `shell`* |
//! | `shell` | drivers: clocks, sockets, files, threads, signals |
//! | `cli` | operator commands |
//! | `demo` | all of it on one host, for a newcomer: starts the program's own subcommands |
//!
//! # Driving it as a library
//!
//! 1. Make a [`Gate`](admission::Gate) from a policy, bounds and a hash key.
//! 2. Read both clocks once per batch, after the bytes were read: [`Now`](units::Now).
//! 3. [`Gate::run`](admission::Gate::run) the batch; write the answers.
//! 4. Call [`Gate::housekeep`](admission::Gate::housekeep) every 50 ms or so: leases end, suspects are freed.
//!
#![doc = include_str!("glossary.md")]

pub mod admission;
pub mod cluster;
pub mod codec;
pub mod license;
pub mod limits;
pub mod manager;
pub mod node;
pub mod notice;
pub mod protocol;
mod sync;
pub mod units;

#[cfg(feature = "shell")]
pub mod cli;
#[cfg(feature = "shell")]
pub mod demo;
#[cfg(feature = "shell")]
pub mod shell;
