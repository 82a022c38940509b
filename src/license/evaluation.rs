//! The evaluation account: running time that nothing gives back.
//!
//! Running time is measured on the boot clock, so that no change of the wall clock gives any of it back. The agent adds to
//! it, and keeping it on disk is the shell's (`shell/store`). What must stay true: nothing lowers
//! [`EvaluationAccount::used_s`].

use serde::{Deserialize, Serialize};

use super::profile::Profile;
use crate::units::UnixMillis;

/// What a stop that could not save its account costs, in seconds: the longest time between two saves.
pub const UNCLEAN_STOP_COST_S: u64 = 60;

/// What is kept of the evaluation between starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct EvaluationAccount {
    /// Seconds of running time used. Never falls.
    pub used_s: u64,
    /// Seconds granted, when the account was opened.
    pub limit_s: u64,
    /// When it was opened, by the wall clock; for people.
    pub granted_at: UnixMillis,
    /// When it was saved last, by the wall clock; counts only under `eval.count_offline`.
    pub saved_at: UnixMillis,
    /// It was saved by a clean stop.
    pub clean_stop: bool,
}

impl EvaluationAccount {
    /// A new account.
    #[must_use]
    pub fn open(profile: &Profile, wall: UnixMillis) -> Self {
        let limit_s = profile.eval.limit_s();
        Self { used_s: 0, limit_s, granted_at: wall, saved_at: wall, clean_stop: true }
    }
}
