//! Marks of a ledger: which one was opened last, and how often. One lies beside the ledger, one outside of the state
//! directory: who restores the ledger, or the whole directory, from a backup doesn't take back both.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{LedgerError, LedgerPlace};
use crate::cluster::{Incarnation, LedgerId};
use crate::shell::store::{make_private_dir, read_bounded, write_atomically};

const BESIDE: &str = "ledger.mark";
const BYTES_MAX: usize = 4096;

/// What a mark says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mark {
    #[serde(with = "hexadecimal")]
    pub(super) ledger: u128,
    pub(super) incarnation: u64,
}

/// The marks of a place.
#[derive(Debug, Default)]
pub(super) struct Marks {
    pub(super) beside: Option<Mark>,
    outside: Option<Mark>,
}

impl Marks {
    /// The highest mark of a ledger.
    pub(super) fn of(&self, ledger: LedgerId) -> Option<&Mark> {
        let both = [&self.beside, &self.outside];
        both.into_iter().flatten().filter(|mark| mark.ledger == ledger.0).max_by_key(|mark| mark.incarnation)
    }
}

impl Mark {
    pub(super) const fn of(ledger: LedgerId, inc: Incarnation) -> Self {
        Self { ledger: ledger.0, incarnation: inc.0 }
    }

    /// Both marks. One that isn't readable tells nothing: it is a second witness, not the ledger.
    pub(super) fn read_all(place: &LedgerPlace) -> Marks {
        Marks { beside: read(&place.dir.join(BESIDE)), outside: place.outside.as_deref().and_then(read) }
    }

    /// Writes both marks.
    ///
    /// # Errors
    /// If the one beside the ledger cannot be written. The one outside may be on a disk that isn't there: a warning.
    pub(super) fn write_all(&self, place: &LedgerPlace) -> Result<Vec<String>, LedgerError> {
        let text = serde_json::to_string(self).unwrap_or_default();
        write_atomically(&place.dir.join(BESIDE), text.as_bytes())?;
        let outside = place.outside.as_ref().map(|path: &PathBuf| {
            if let Some(dir) = path.parent() {
                make_private_dir(dir)?;
            }
            write_atomically(path, text.as_bytes())
        });
        Ok(match outside {
            Some(Err(error)) => vec![format!(
                "a state directory restored from a backup would not be noticed: its second witness is not written: {error}"
            )],
            Some(Ok(())) | None => Vec::new(),
        })
    }
}

fn read(path: &Path) -> Option<Mark> {
    let bytes = read_bounded(path, BYTES_MAX).ok()??;
    serde_json::from_slice(&bytes).ok()
}

/// 128 bits are more than JSON's readers take as a number.
mod hexadecimal {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(value: &u128, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{value:032x}"))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u128, D::Error> {
        let text = String::deserialize(deserializer)?;
        u128::from_str_radix(&text, 16).map_err(D::Error::custom)
    }
}
