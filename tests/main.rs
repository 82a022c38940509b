//! The integration harness: one binary, a module per scenario, so that the project is linked once.
//!
//! Tests that need programs beside Rust (a proxy, SIPp, redis-cli) are marked `ignored`; `tests/run-all.sh` installs
//! what they need and runs them.

#![expect(clippy::expect_used, clippy::unwrap_used, reason = "a test says what it expected by failing")]
#![expect(clippy::disallowed_methods, reason = "these tests drive real processes in real time")]

mod clients;
mod cluster;
mod counting_allocator;
mod demo;
mod e2e;
mod front_ends;
mod fuzz_smoke;
mod journal_kill;
mod license_kill;
mod licensing;
mod manager_and_sidecar;
mod manager_api;
mod manager_store;
mod memory;
mod notices;
mod serve;
mod soak;
mod support;
mod tidy;
