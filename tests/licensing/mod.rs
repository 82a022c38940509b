//! Licensing from end to end: real managers, real sidecars, real proxies, real databases, and clocks that run ahead.
//!
//! They need network namespaces and Debian packages that `tests/run-all.sh` installs, and run in its stage `licensing`.

mod calls;
mod caps;
mod changes;
mod faults;
mod proxies;
mod registration;
mod rig;
mod story;
