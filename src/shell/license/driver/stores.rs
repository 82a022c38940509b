//! Everything that the driver keeps between starts, and what it found.

use std::path::{Path, PathBuf};

use crate::license::agent::{AgentState, Stored};
use crate::license::usage::Usage;
use crate::license::{EvaluationAccount, Profile};
use crate::shell::license::store::{HostDisk, NotSaved, Seal, StateJournal};
use crate::shell::store::{EvaluationStore, MachineKey, SaveError, StoreError, read_bounded, write_atomically};

/// The largest usage file that is read, in bytes.
const USAGE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// What a save did.
#[derive(Debug, Default)]
pub(super) struct Saved {
    /// Some place could not be written, and others were.
    pub(super) degraded: Option<String>,
}

/// Why the stores cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A copy is there that cannot be read, or is of a later version.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The first state can be written nowhere.
    #[error(
        "{0}; without a record of its running time the sidecar does not start: check space and rights of node.data_dir"
    )]
    NotSaved(String),
}

/// The stores.
#[derive(Debug)]
pub(super) struct Stores {
    journal: StateJournal<HostDisk>,
    evaluation: EvaluationStore,
    usage: PathBuf,
}

/// What was found in them.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) stored: Stored,
    /// What deserves an alarm about the evaluation account.
    pub(super) evaluation_complaint: Option<String>,
    /// What deserves one about what was used.
    pub(super) usage_complaint: Option<String>,
    /// Every copy of a state is lost.
    pub(super) lost: Option<String>,
}

impl Stores {
    /// Opens them and reads everything.
    ///
    /// # Errors
    /// See [`OpenError::Store`].
    pub(super) fn open(
        data_dir: &Path,
        outside: Option<&Path>,
        stable_id: Option<&str>,
        profile: &Profile,
    ) -> Result<(Self, Found, Seal), OpenError> {
        let (key, _) = MachineKey::of_host(stable_id);
        let seal = Seal::new(key.clone());
        let (evaluation, accounts) = EvaluationStore::open(data_dir, outside, key)?;
        let (journal, found) = StateJournal::open(HostDisk, data_dir, outside, seal.clone())?;
        let granted_s = profile.eval.limit_s();
        // What another identity grants itself is not believed; what it used is.
        let account = accounts.account.map(|account| EvaluationAccount {
            limit_s: if accounts.adopted { account.limit_s.min(granted_s) } else { account.limit_s },
            ..account
        });
        let mut evaluation_complaint = None;
        if !accounts.fresh() {
            evaluation_complaint = accounts.complaint();
        } else if let Some(account) = account {
            let hours = account.used_s / crate::license::HOUR_S;
            tracing::info!(hours, "a new state directory; evaluation goes on where this user's sidecars left it");
        }
        let stores = Self { journal, evaluation, usage: data_dir.join("license/usage") };
        let (usage, usage_complaint) = match stores.read_usage() {
            Ok(usage) => (usage, None),
            Err(complaint) => (None, Some(complaint)),
        };
        let (restored, lost) = (found.restored(), found.lost());
        let found = Found {
            stored: Stored { state: found.state, account, restored, usage },
            evaluation_complaint,
            usage_complaint,
            lost,
        };
        Ok((stores, found, seal))
    }

    /// Keeps the state, and the evaluation account in its own store. Waits for the disk.
    ///
    /// # Errors
    /// If the state could be written nowhere.
    pub(super) fn save(&mut self, state: &AgentState) -> Result<Saved, String> {
        let degraded = self.journal.save(state).map_err(|NotSaved(error)| NotSaved(error).to_string())?;
        let mut degraded = degraded.map(|error| format!("a copy of the license state was not written: {error}"));
        if let Err(error @ SaveError { .. }) = self.evaluation.save(&state.evaluation) {
            degraded = degraded.or_else(|| Some(error.to_string()));
        }
        Ok(Saved { degraded })
    }

    /// Keeps the use.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(super) fn save_usage(&self, usage: &[u8]) -> Result<(), String> {
        let write = || {
            self.usage.parent().map_or(Ok(()), crate::shell::store::make_private_dir)?;
            write_atomically(&self.usage, usage)
        };
        write().map_err(|error| format!("the record of what was used is not kept: {error}"))
    }

    fn read_usage(&self) -> Result<Option<Usage>, String> {
        let bytes = read_bounded(&self.usage, USAGE_BYTES_MAX)
            .map_err(|error| format!("the record of what was used cannot be read and begins anew: {error}"))?;
        let usage = bytes.map(|bytes| Usage::decode(&bytes)).transpose();
        usage.map_err(|error| format!("the record of what was used is damaged and begins anew: {error}"))
    }
}
