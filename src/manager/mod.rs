//! The license manager: who bought what, who may use it, and who does.
//!
//! [`domain`] decides and is pure: it is told the time, given randomness, and says which records changed. Everything that
//! waits stands under the feature `shell` beside it. What must stay true: an answer leaves only after the changes that it
//! tells of were committed; nothing here imports the agent's side (`license`), the two share
//! [`protocol`](crate::protocol).

pub mod domain;

#[cfg(feature = "shell")]
mod api;

#[cfg(feature = "shell")]
pub mod pki;
#[cfg(feature = "shell")]
pub mod serve;
#[cfg(feature = "shell")]
pub mod service;
#[cfg(feature = "shell")]
pub mod store;
