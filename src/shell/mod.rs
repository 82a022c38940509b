//! The shell: drivers around the pure modules. Everything that waits, reads a clock, or touches a socket or a disk.

pub mod clock;
pub mod cluster;
pub mod config;
pub mod context;
pub mod housekeeping;
pub mod journal;
pub mod license;
pub mod listeners;
pub mod notices;
pub mod notify;
pub mod process;
pub mod store;
pub mod telemetry;
pub mod wiring;

pub use context::{Context, Phase};
