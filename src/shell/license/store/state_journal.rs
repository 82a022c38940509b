//! The agent's state on disk: two copies in directories of their own under `data_dir`, and one outside it.
//!
//! Each copy is replaced as a whole: written beside, fsync, rename, fsync of the directory; one copy after the other. Each
//! carries the number of its save, and the highest whole one wins. So a crash at any instant leaves the old state or the new
//! one, never a mixture, and a damaged copy costs nothing while another lives. The copy outside is a convenience: it brings
//! the registration back when `data_dir` was lost, and no failure to write it counts.
//!
//! What this build cannot use is not destroyed. A whole copy that isn't understood (a later version wrote it) ends the start;
//! a copy that another machine sealed (or this one, under another identity) is renamed to `NAME.foreign-N` before the first
//! write in its place: with the identity corrected and the file moved back it is in force again. Sealing is [`Seal`]'s: see there
//! what it protects, and against whom it doesn't.
//!
//! Evaluation time has a store of its own (`shell/store`), whose rule is stricter: it is never given back, not even by
//! losing this one.

use std::io;
use std::path::{Path, PathBuf};

use super::disk::Disk;
use super::seal::{NotOpened, Seal};
use crate::license::agent::AgentState;
use crate::shell::store::{CopyState, StoreError};

const MAGIC: &[u8; 8] = b"CGLICENS";
const VERSION: u16 = 1;
/// magic 8, version u16, number of the save u64.
const HEAD_BYTES: usize = 8 + 2 + 8;

/// How many copies of other machines are kept beside each place. The first ones stay; the last is replaced.
pub(super) const FOREIGN_MAX: u32 = 4;

/// The largest state that is read, in bytes.
const FILE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// What `open` found.
#[derive(Debug)]
pub struct FoundState {
    /// The newest whole state.
    pub state: Option<Box<AgentState>>,
    /// Each place under `data_dir`, and what was found there.
    pub copies: Vec<(PathBuf, CopyState)>,
    /// The place outside, and what was found there.
    pub outside: Option<(PathBuf, CopyState)>,
}

impl FoundState {
    /// Nothing was found anywhere: a first start.
    #[must_use]
    pub fn fresh(&self) -> bool {
        self.all().all(|(_, state)| *state == CopyState::Missing)
    }

    /// A copy was lost or damaged, and another was taken: a sentence for people.
    #[must_use]
    pub fn restored(&self) -> Option<String> {
        let bad = self.bad();
        (self.state.is_some() && !bad.is_empty())
            .then(|| format!("{}; another copy of the license state is used and all are written again", bad.join("; ")))
    }

    /// There was a state, and no copy of it can be used: a sentence for people.
    #[must_use]
    pub fn lost(&self) -> Option<String> {
        let mut bad = self.bad();
        bad.extend(self.outside.iter().filter_map(told));
        let aside = if self.all().any(|(_, state)| *state == CopyState::Foreign) {
            "; copies of another identity are kept beside as NAME.foreign-N: if the machine-id or license.stable_id is \
             wrong, correct it, stop the sidecar, move them back to NAME and start it"
        } else {
            ""
        };
        let bad = bad.join("; ");
        (self.state.is_none() && !self.fresh())
            .then(|| format!("{bad}; no copy of the license state is usable: its registration is lost{aside}"))
    }

    fn all(&self) -> impl Iterator<Item = &(PathBuf, CopyState)> {
        self.copies.iter().chain(&self.outside)
    }

    fn bad(&self) -> Vec<String> {
        self.copies.iter().filter_map(told).collect()
    }
}

fn told((path, state): &(PathBuf, CopyState)) -> Option<String> {
    let path = path.display();
    match state {
        CopyState::Good => None,
        CopyState::Missing => Some(format!("{path} is missing")),
        CopyState::Foreign => Some(format!("{path} was sealed by another machine, or this machine's identity changed")),
        CopyState::Damaged(reason) | CopyState::Unreadable(reason) => Some(format!("{path} is unusable: {reason}")),
    }
}

/// A save that reached no place under `data_dir`.
#[derive(Debug, thiserror::Error)]
#[error("the license state was saved nowhere: {0}")]
pub struct NotSaved(pub StoreError);

/// Reads and writes the copies.
#[derive(Debug)]
pub struct StateJournal<D: Disk> {
    disk: D,
    seal: Seal,
    places: Vec<PathBuf>,
    outside: Option<PathBuf>,
    saves: u64,
    /// Places where another machine's copy still stands, with the name of that machine.
    foreign: Vec<(PathBuf, String)>,
}

#[derive(Default)]
struct Best {
    saves: u64,
    state: Option<Box<AgentState>>,
    newer: Option<(PathBuf, u16)>,
    /// The newest copy that is whole and authentic, and not understood: number of its save, where, why.
    unknown: Option<(u64, PathBuf, String)>,
    foreign: Vec<(PathBuf, String)>,
}

impl<D: Disk> StateJournal<D> {
    /// Reads every copy. `outside` is the directory that doesn't depend on `data_dir`; each `data_dir` has its own place in
    /// it, so that two sidecars of one user never share an identity.
    ///
    /// # Errors
    /// If no copy is good and one cannot be read, or was written by a later version: that is no reason to begin as if there
    /// had been none. And if the newest copy is authentic and not understood, whatever the others say.
    pub fn open(
        disk: D,
        data_dir: &Path,
        outside: Option<&Path>,
        seal: Seal,
    ) -> Result<(Self, FoundState), StoreError> {
        let places = vec![data_dir.join("license/state"), data_dir.join("node/license-state")];
        let outside = outside.map(|dir| {
            let own = seal.name_of(data_dir.as_os_str().as_encoded_bytes());
            dir.join(format!("license-{own}")).join("state")
        });
        let mut journal = Self { disk, seal, places, outside, saves: 0, foreign: Vec::new() };
        let mut best = Best::default();
        let copies: Vec<_> =
            journal.places.iter().map(|place| (place.clone(), journal.look(place, &mut best))).collect();
        let outside = journal.outside.as_ref().map(|place| (place.clone(), journal.look(place, &mut best)));
        journal.saves = best.saves;
        journal.foreign = best.foreign;
        if let Some((saves, path, reason)) = best.unknown
            && (best.state.is_none() || saves > best.saves)
        {
            return Err(StoreError::UnknownState { path, reason, version: env!("CARGO_PKG_VERSION") });
        }
        if best.state.is_none() {
            if let Some((path, found)) = best.newer {
                return Err(StoreError::NewerVersion { path, found, supported: VERSION });
            }
            for (path, state) in &copies {
                if let CopyState::Unreadable(reason) = state {
                    return Err(StoreError::NoGoodState { path: path.clone(), reason: reason.clone() });
                }
            }
        }
        Ok((journal, FoundState { state: best.state, copies, outside }))
    }

    fn look(&self, place: &Path, best: &mut Best) -> CopyState {
        let bytes = match self.disk.read(place, FILE_BYTES_MAX) {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return CopyState::Missing,
            Err(error) => return CopyState::Unreadable(error.to_string()),
        };
        let damaged = |reason: String| CopyState::Damaged(reason);
        let Some((head, sealed)) = bytes.split_first_chunk::<HEAD_BYTES>() else {
            return damaged(format!("it has {} bytes", bytes.len()));
        };
        let Some((version, saves)) = parse_head(head) else {
            return damaged("it is not a license state".to_owned());
        };
        if version > VERSION {
            best.newer = Some((place.to_owned(), version));
            return damaged(format!("it says that it has format version {version}"));
        }
        let plain = match self.seal.open(sealed, head) {
            Ok(plain) => plain,
            Err(NotOpened::Foreign) => {
                best.foreign.push((place.to_owned(), Seal::sealer_of(sealed).unwrap_or_default()));
                return CopyState::Foreign;
            }
            Err(NotOpened::Key) => {
                return CopyState::Unreadable("the cipher doesn't take this machine's key".to_owned());
            }
            Err(NotOpened::Damaged) => return damaged("it was changed, or is not whole".to_owned()),
        };
        let state = match serde_json::from_slice::<AgentState>(&plain) {
            Ok(state) => Box::new(state),
            Err(error) => {
                // The values are never repeated: one may be a secret.
                let error = format!("{:?} error in column {}", error.classify(), error.column());
                if best.unknown.as_ref().is_none_or(|(newest, ..)| saves > *newest) {
                    best.unknown = Some((saves, place.to_owned(), error.clone()));
                }
                return damaged(format!("it is whole, and not understood ({error})"));
            }
        };
        if best.state.is_none() || saves > best.saves {
            best.saves = saves;
            best.state = Some(state);
        }
        CopyState::Good
    }

    /// Keeps a state: when this returns, at least one copy of it is on the disk itself. Waits for the disk.
    ///
    /// # Errors
    /// If no copy under `data_dir` could be written. The next start finds the old state or this one.
    pub fn save(&mut self, state: &AgentState) -> Result<Option<StoreError>, NotSaved> {
        self.saves = self.saves.saturating_add(1);
        let mut saved = 0;
        let mut first = None;
        match self.encode(state) {
            Ok(bytes) => {
                for place in self.places.clone() {
                    match self.set_aside(&place).and_then(|()| self.write(&place, &bytes)) {
                        Ok(()) => saved += 1,
                        Err(error) => first = first.or(Some(error)),
                    }
                }
                let outside = self.outside.clone();
                let written = outside.map(|place| self.set_aside(&place).and_then(|()| self.write(&place, &bytes)));
                if let Some(Err(error)) = written {
                    tracing::debug!("the license state has no copy outside data_dir: {error}");
                }
            }
            Err(error) => first = Some(error),
        }
        match first {
            None => Ok(None),
            Some(error) if saved > 0 => Ok(Some(error)),
            Some(error) => Err(NotSaved(error)),
        }
    }

    /// Renames another machine's copy, so that the write that follows destroys nothing.
    fn set_aside(&mut self, place: &Path) -> Result<(), StoreError> {
        let Some(at) = self.foreign.iter().position(|(foreign, _)| foreign == place) else { return Ok(()) };
        let told = |path: &Path| {
            let path = path.to_owned();
            move |source| StoreError::Io { action: "keep another machine's copy as", path, source }
        };
        let mut aside = place.with_extension(format!("foreign-{FOREIGN_MAX}"));
        for number in 1..FOREIGN_MAX {
            let free = place.with_extension(format!("foreign-{number}"));
            if self.disk.read(&free, 0).map_err(told(&free))?.is_none() {
                aside = free;
                break;
            }
        }
        self.disk.rename(place, &aside).map_err(told(&aside))?;
        let (_, machine) = self.foreign.swap_remove(at);
        tracing::warn!(machine, "a license state of another machine is kept as {}", aside.display());
        Ok(())
    }

    fn encode(&self, state: &AgentState) -> Result<Vec<u8>, StoreError> {
        let place = self.places.first().cloned().unwrap_or_default();
        let plain = zeroize::Zeroizing::new(serde_json::to_vec(state).map_err(|error| StoreError::Io {
            action: "encode the license state for",
            path: place,
            source: io::Error::other(error),
        })?);
        let mut bytes = Vec::with_capacity(HEAD_BYTES + plain.len() + 64);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&self.saves.to_le_bytes());
        let sealed = self.seal.close(&plain, &bytes).map_err(|error| StoreError::Io {
            action: "seal the license state for",
            path: self.places.first().cloned().unwrap_or_default(),
            source: io::Error::other(error),
        })?;
        bytes.extend_from_slice(&sealed);
        Ok(bytes)
    }

    fn write(&self, place: &Path, bytes: &[u8]) -> Result<(), StoreError> {
        let dir = place.parent().unwrap_or(Path::new("."));
        let told = |action: &'static str, path: &Path| {
            let path = path.to_owned();
            move |source| StoreError::Io { action, path, source }
        };
        self.disk.make_dir(dir).map_err(told("make the directory", dir))?;
        let beside = place.with_extension("new");
        self.disk.write_durably(&beside, bytes).map_err(told("write", &beside))?;
        self.disk.rename(&beside, place).map_err(told("replace", place))?;
        self.disk.sync_dir(dir).map_err(told("sync the directory", dir))
    }
}

fn parse_head(head: &[u8; HEAD_BYTES]) -> Option<(u16, u64)> {
    let rest = head.strip_prefix(MAGIC)?;
    let (version, rest) = rest.split_first_chunk::<2>()?;
    let saves = rest.first_chunk::<8>()?;
    Some((u16::from_le_bytes(*version), u64::from_le_bytes(*saves)))
}
