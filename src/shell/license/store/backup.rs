//! Backups of the licensing of one sidecar: what `license backup` writes and `license restore` reads.
//!
//! In clear: when and where it was made, and the operator's own counts. Sealed as the state itself is: everything else, so
//! that a backup gives nothing away and is of use on the machine that made it alone. A token is never in it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::seal::{NotOpened, Seal, SealError};
use crate::license::agent::AgentState;
use crate::shell::license::overrides::Overrides;
use crate::units::UnixMillis;

const VERSION: u32 = 1;
const AROUND: &[u8] = b"callgate license backup, version 1";

/// The largest backup that is read, in bytes.
pub const BACKUP_BYTES_MAX: usize = 8 * 1024 * 1024;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    callgate_license_backup: u32,
    made_at: UnixMillis,
    node: String,
    udi: String,
    fingerprint: String,
    #[serde(default)]
    overrides: Overrides,
    state: String,
}

/// What a backup says.
#[derive(Debug)]
pub struct Backup {
    /// When it was made.
    pub made_at: UnixMillis,
    /// On which node.
    pub node: String,
    /// Of which instance.
    pub udi: String,
    /// On which machine: its fingerprint.
    pub fingerprint: String,
    /// The operator's own counts.
    pub overrides: Overrides,
    /// The state; `None`: another machine made it.
    pub state: Option<Box<AgentState>>,
}

/// Why a backup is not taken. Nothing changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BackupError {
    /// Not one at all.
    #[error("not a license backup: {0}; accepted: a file that `callgate license backup` wrote")]
    Shape(String),
    /// Of another version.
    #[error("a license backup of version {found}; accepted: version {VERSION}")]
    Version {
        /// Which.
        found: u32,
    },
    /// Not as it was written.
    #[error("the license backup was changed, or is not whole")]
    Damaged,
    /// It cannot be sealed.
    #[error("the backup cannot be sealed: {0}")]
    NotSealed(#[from] SealError),
    /// The cipher takes no key of this machine.
    #[error("the cipher doesn't take this machine's key")]
    NoKey,
}

/// A backup of this state.
///
/// # Errors
/// If it cannot be sealed.
pub fn write_backup(
    state: &AgentState,
    overrides: &Overrides,
    node: &str,
    now: UnixMillis,
    seal: &Seal,
) -> Result<String, BackupError> {
    let mut state = state.clone();
    state.token = None;
    let plain =
        zeroize::Zeroizing::new(serde_json::to_vec(&state).map_err(|error| BackupError::Shape(error.to_string()))?);
    let sealed = seal.close(&plain, AROUND)?;
    let file = File {
        callgate_license_backup: VERSION,
        made_at: now,
        node: node.to_owned(),
        udi: state.udi.to_string(),
        fingerprint: seal.fingerprint(),
        overrides: overrides.clone(),
        state: STANDARD.encode(sealed),
    };
    serde_json::to_string_pretty(&file).map_err(|error| BackupError::Shape(error.to_string()))
}

/// What a backup says.
///
/// # Errors
/// If it is none, or not as it was written.
pub fn read_backup(bytes: &[u8], seal: &Seal) -> Result<Backup, BackupError> {
    let file: File = serde_json::from_slice(bytes).map_err(|error| BackupError::Shape(error.to_string()))?;
    if file.callgate_license_backup != VERSION {
        return Err(BackupError::Version { found: file.callgate_license_backup });
    }
    let sealed = STANDARD.decode(&file.state).map_err(|_| BackupError::Damaged)?;
    let state = match seal.open(&sealed, AROUND) {
        Ok(plain) => Some(serde_json::from_slice(&plain).map_err(|error| BackupError::Shape(error.to_string()))?),
        Err(NotOpened::Foreign) if file.fingerprint != seal.fingerprint() => None,
        Err(NotOpened::Key) => return Err(BackupError::NoKey),
        Err(NotOpened::Foreign | NotOpened::Damaged) => return Err(BackupError::Damaged),
    };
    Ok(Backup {
        made_at: file.made_at,
        node: file.node,
        udi: file.udi,
        fingerprint: file.fingerprint,
        overrides: file.overrides,
        state,
    })
}
