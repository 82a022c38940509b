//! `callgate manager serve`: configuration, start order, stop.
//!
//! 1. the log; 2. the data directory, for this process alone; 3. signing keys, TLS certificate; 4. the database and the
//!    service on it; 5. listeners, `addresses.json`; 6. ready. A stop goes the other way: no new connections, answers under
//!    way, then the service with what waits, then the files.

mod alerting;
mod config;
mod run;

pub use config::{Database, MANAGER_SOCKET, ManagerConfig, ManagerLoader, default_file};
pub use run::{ServeError, database_url, serve};
