//! What an operator changed by command: kept in `data_dir`, laid over the configuration, and shown by `config show`.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::shell::store::{StoreError, read_bounded, write_atomically};
use crate::units::LicensedRate;

/// The file below `data_dir`.
pub const OVERRIDES_FILE: &str = "license/overrides.json";

const FILE_BYTES_MAX: usize = 16 * 1024;

/// Values that lie over the configuration's. `None`: the configuration's value is in force.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Overrides {
    /// `license.enabled`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// `license.count`, in calls per second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u32>,
    /// `license.sessions`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sessions: Option<u32>,
}

impl Overrides {
    /// Those of a state directory. A file that cannot be understood is as none, and told.
    #[must_use]
    pub fn read(data_dir: &Path) -> (Self, Option<String>) {
        let path = Self::path(data_dir);
        let told = |what: String| {
            let text = format!("{} is not used: {what}; `callgate license count N` writes it anew", path.display());
            (Self::default(), Some(text))
        };
        match read_bounded(&path, FILE_BYTES_MAX) {
            Ok(None) => (Self::default(), None),
            Err(error) => told(error.to_string()),
            Ok(Some(bytes)) => match serde_json::from_slice::<Self>(&bytes) {
                Ok(found) if found.count.is_none_or(|count| LicensedRate::new(count).is_ok()) => (found, None),
                Ok(_) => told("its count is no multiple of 5".to_owned()),
                Err(error) => told(error.to_string()),
            },
        }
    }

    /// Writes them. None at all is an empty file's worth.
    ///
    /// # Errors
    /// If they cannot be written.
    pub fn write(&self, data_dir: &Path) -> Result<(), StoreError> {
        let path = Self::path(data_dir);
        path.parent().map_or(Ok(()), crate::shell::store::make_private_dir)?;
        // Three numbers are always written.
        write_atomically(&path, serde_json::to_string(self).unwrap_or_default().as_bytes())
    }

    /// Nothing is overridden.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn path(data_dir: &Path) -> PathBuf {
        data_dir.join(OVERRIDES_FILE)
    }
}
