//! The evaluation account on disk: two copies under `data_dir` and one outside it, each with an authentication code.
//!
//! The copy with more time used wins, whatever became of the others: a restored backup or a lost file gives nothing
//! back while another copy lives. The copy outside belongs to the user on this host, not to one sidecar: another
//! `data_dir` doesn't start evaluation anew, and of several sidecars the one that used most counts. What must stay true:
//! `save` never writes less used time than was read or written before, in any place; where the machine's identity
//! changed, the time used stays. Deleting every copy restarts evaluation; nothing on the host can prevent that, and
//! `open` says that it happened.

use std::fs::File;
use std::path::{Path, PathBuf};

use subtle::ConstantTimeEq;

use super::{MachineKey, StoreError, make_private_dir, read_bounded, write_atomically};
use crate::license::EvaluationAccount;
use crate::units::UnixMillis;

const MAGIC: &[u8; 6] = b"CGEVAL";
const VERSION: u16 = 1;
const MAC_BYTES: usize = 32;
/// magic 6, version u16; saves, used_s, limit_s, granted_at, saved_at u64 each; clean stop u8.
const CONTENT_BYTES: usize = 8 + 5 * 8 + 1;
const FILE_BYTES: usize = CONTENT_BYTES + MAC_BYTES;

/// What was found in one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CopyState {
    /// A good copy.
    Good,
    /// No file.
    Missing,
    /// A whole account whose authentication code isn't this machine's: copied, altered, or the machine's identity is
    /// another one now. Its used time counts if there is no good copy.
    Foreign,
    /// A file that is not a good copy, and why. It will be overwritten by the next save.
    Damaged(String),
    /// A file that the operating system doesn't let us read, and why.
    Unreadable(String),
}

/// What `open` found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// The account with the most time used; `None` if there was none: evaluation starts anew.
    pub account: Option<EvaluationAccount>,
    /// No copy was of this machine: the account is what a copy of another identity says.
    pub adopted: bool,
    /// Each place under `data_dir`, and what was found there.
    pub copies: Vec<(PathBuf, CopyState)>,
    /// The place outside, and what was found there. That it is missing or unreadable is nothing to worry about.
    pub outside: Option<(PathBuf, CopyState)>,
}

impl Loaded {
    /// No place under `data_dir` holds anything: a new one.
    #[must_use]
    pub fn fresh(&self) -> bool {
        self.copies.iter().all(|(_, state)| *state == CopyState::Missing)
    }

    /// A sentence for people, or `None` if nothing deserves one.
    #[must_use]
    pub fn complaint(&self) -> Option<String> {
        let inside = self.copies.iter().filter_map(|(path, state)| {
            let reason = match state {
                CopyState::Good => return None,
                CopyState::Missing => return Some(format!("{} is missing", path.display())),
                CopyState::Foreign => FOREIGN,
                CopyState::Damaged(reason) | CopyState::Unreadable(reason) => reason,
            };
            Some(format!("{} is unusable: {reason}", path.display()))
        });
        let outside = self.outside.iter().filter_map(|(path, state)| {
            let reason = match state {
                CopyState::Good | CopyState::Missing | CopyState::Unreadable(_) => return None,
                CopyState::Foreign => FOREIGN,
                CopyState::Damaged(reason) => reason,
            };
            Some(format!("{} is unusable: {reason}", path.display()))
        });
        let bad: Vec<String> = inside.chain(outside).collect();
        let outcome = match (&self.account, self.adopted) {
            (Some(_), false) => "another copy is used and all are written again",
            (Some(_), true) => "no copy is of this machine; the time used that they name still counts",
            (None, _) => "no evaluation account was found; evaluation starts with all its hours",
        };
        if bad.is_empty() { None } else { Some(format!("{}; {outcome}", bad.join("; "))) }
    }
}

const FOREIGN: &str = "its authentication code is not of this machine: it was copied from another one or altered, or this \
                       machine's identity changed";

/// A save that did not reach every place under `data_dir`.
#[derive(Debug, thiserror::Error)]
#[error("the evaluation account was saved in {saved} of {places} places: {first}")]
pub struct SaveError {
    /// In how many places it was saved.
    pub saved: usize,
    /// Of how many.
    pub places: usize,
    /// The first failure.
    pub first: StoreError,
}

/// Reads and writes the copies.
#[derive(Debug)]
pub struct EvaluationStore {
    places: Vec<PathBuf>,
    outside: Option<PathBuf>,
    key: MachineKey,
    saves: u64,
    used_floor_s: u64,
}

/// The best of what was read so far.
#[derive(Default)]
struct Best {
    good: Option<(u64, EvaluationAccount)>,
    foreign: Option<(u64, EvaluationAccount)>,
    saves_seen: u64,
}

impl Best {
    /// Looks into one place.
    ///
    /// # Errors
    /// If a later version wrote it.
    fn look(&mut self, place: &Path, key: &MachineKey) -> Result<CopyState, StoreError> {
        let bytes = match read_bounded(place, FILE_BYTES) {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return Ok(CopyState::Missing),
            Err(error) => return Ok(CopyState::Unreadable(error.to_string())),
        };
        Ok(match parse(&bytes, key, place)? {
            Parsed::Good(found) => {
                self.saves_seen = self.saves_seen.max(found.0);
                keep_more(&mut self.good, found);
                CopyState::Good
            }
            Parsed::Foreign(found) => {
                keep_more(&mut self.foreign, found);
                CopyState::Foreign
            }
            Parsed::Damaged(reason) => CopyState::Damaged(reason),
        })
    }
}

/// Of two that used the same time the later one is kept: it knows whether the stop was clean.
fn keep_more(kept: &mut Option<(u64, EvaluationAccount)>, found: (u64, EvaluationAccount)) {
    let rank = |(saves, account): &(u64, EvaluationAccount)| (account.used_s, *saves);
    if kept.as_ref().is_none_or(|kept| rank(kept) < rank(&found)) {
        *kept = Some(found);
    }
}

impl EvaluationStore {
    /// Reads every copy. `outside` is the directory of the copy that doesn't depend on `data_dir`.
    ///
    /// # Errors
    /// If there is no good copy and one under `data_dir` exists that cannot be read (that is no reason to start
    /// evaluation anew), or a later version wrote one of those.
    pub fn open(data_dir: &Path, outside: Option<&Path>, key: MachineKey) -> Result<(Self, Loaded), StoreError> {
        let places = vec![data_dir.join("license/evaluation"), data_dir.join("node/evaluation")];
        let mut best = Best::default();
        let mut copies = Vec::with_capacity(places.len());
        for place in &places {
            copies.push((place.clone(), best.look(place, &key)?));
        }
        let outside = outside.map(|dir| dir.join("evaluation")).and_then(|place| match best.look(&place, &key) {
            Ok(state) => Some((place, state)),
            Err(error) => {
                tracing::info!("the copy of the evaluation account outside data_dir is left alone: {error}");
                None
            }
        });
        let unreadable = copies.iter().find_map(|(path, state)| match state {
            CopyState::Unreadable(reason) => Some((path, reason)),
            CopyState::Good | CopyState::Missing | CopyState::Foreign | CopyState::Damaged(_) => None,
        });
        if let (None, Some((path, reason))) = (&best.good, unreadable) {
            return Err(StoreError::NoGoodCopy { path: path.clone(), reason: reason.clone() });
        }
        let adopted = best.good.is_none() && best.foreign.is_some();
        let account = best.good.or(best.foreign).map(|(_, account)| account);
        let used_floor_s = account.map_or(0, |account| account.used_s);
        let outside_place = outside.as_ref().map(|(place, _)| place.clone());
        let store = Self { places, outside: outside_place, key, saves: best.saves_seen, used_floor_s };
        Ok((store, Loaded { account, adopted, copies, outside }))
    }

    /// Writes every copy, one after the other: a crash between leaves one old and one new. Syncs to disk: call it off
    /// the fast path. The place outside is written where that works.
    ///
    /// # Errors
    /// If a copy under `data_dir` could not be written; the others are written all the same.
    pub fn save(&mut self, account: &EvaluationAccount) -> Result<(), SaveError> {
        self.used_floor_s = self.used_floor_s.max(account.used_s);
        self.saves = self.saves.saturating_add(1);
        let account = EvaluationAccount { used_s: self.used_floor_s, ..*account };
        let bytes = format(self.saves, &account, &self.key);
        let mut saved = 0;
        let mut first = None;
        for place in &self.places {
            match write(place, &bytes) {
                Ok(()) => saved += 1,
                Err(error) => first = first.or(Some(error)),
            }
        }
        let places = self.places.len().saturating_add(self.outside.iter().len());
        match self.outside.as_ref().map(|place| self.save_outside(place, &account, &bytes)) {
            Some(Ok(())) => saved += 1,
            Some(Err(error)) => {
                tracing::debug!("the evaluation account has no copy outside data_dir: {error}");
            }
            None => {}
        }
        first.map_or(Ok(()), |first| Err(SaveError { saved, places, first }))
    }

    /// Writes the copy that sidecars of one user share, unless another sidecar's holds more used time.
    fn save_outside(&self, place: &Path, account: &EvaluationAccount, bytes: &[u8]) -> Result<(), StoreError> {
        let dir = place.parent().unwrap_or(Path::new("."));
        make_private_dir(dir)?;
        // Two that write at once would spoil each other's file. Who comes second has a turn at its next save.
        let turn = File::open(dir).map_err(|source| StoreError::io("open", dir, source))?;
        if turn.try_lock().is_err() {
            return Ok(());
        }
        let mut other = Best::default();
        other.look(place, &self.key)?;
        if other.good.is_some_and(|(_, other)| other.used_s > account.used_s) {
            return Ok(());
        }
        write_atomically(place, bytes)
    }
}

fn write(place: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    place.parent().map_or(Ok(()), make_private_dir)?;
    write_atomically(place, bytes)
}

fn format(saves: u64, account: &EvaluationAccount, key: &MachineKey) -> Vec<u8> {
    let EvaluationAccount { used_s, limit_s, granted_at, saved_at, clean_stop } = *account;
    let mut bytes = Vec::with_capacity(FILE_BYTES);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    for word in [saves, used_s, limit_s, granted_at.0, saved_at.0] {
        bytes.extend_from_slice(&word.to_le_bytes());
    }
    bytes.push(u8::from(clean_stop));
    let mac = key.mac(&bytes);
    bytes.extend_from_slice(&mac);
    bytes
}

enum Parsed {
    Good((u64, EvaluationAccount)),
    Foreign((u64, EvaluationAccount)),
    Damaged(String),
}

fn parse(bytes: &[u8], key: &MachineKey, path: &Path) -> Result<Parsed, StoreError> {
    let Some((found, _)) = bytes.strip_prefix(MAGIC).and_then(|rest| rest.split_first_chunk::<2>()) else {
        return Ok(Parsed::Damaged(format!("it is not an evaluation account ({} bytes)", bytes.len())));
    };
    // A later version may be longer: look at the version before the length. A flipped bit here reads as damage if the
    // file has this version's length and another version's number would need a matching code.
    let found = u16::from_le_bytes(*found);
    let Ok(whole): Result<&[u8; FILE_BYTES], _> = bytes.try_into() else {
        if found > VERSION && bytes.len() > FILE_BYTES {
            return Err(StoreError::NewerVersion { path: path.to_owned(), found, supported: VERSION });
        }
        return Ok(Parsed::Damaged(format!("it has {} bytes; it needs {FILE_BYTES}", bytes.len())));
    };
    let (content, mac) = whole.split_at(CONTENT_BYTES);
    let ours = bool::from(key.mac(content).ct_eq(mac));
    if ours && found > VERSION {
        return Err(StoreError::NewerVersion { path: path.to_owned(), found, supported: VERSION });
    }
    let (words, rest) = content.get(8..).unwrap_or_default().as_chunks::<8>();
    let ([saves, used_s, limit_s, granted_at, saved_at], [clean_stop @ (0 | 1)], VERSION) = (words, rest, found) else {
        return Ok(Parsed::Damaged("its fields are not those of version 1".to_owned()));
    };
    let account = EvaluationAccount {
        used_s: u64::from_le_bytes(*used_s),
        limit_s: u64::from_le_bytes(*limit_s),
        granted_at: UnixMillis(u64::from_le_bytes(*granted_at)),
        saved_at: UnixMillis(u64::from_le_bytes(*saved_at)),
        clean_stop: *clean_stop != 0,
    };
    let read = (u64::from_le_bytes(*saves), account);
    Ok(if ours { Parsed::Good(read) } else { Parsed::Foreign(read) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::license::agent::{Agent, Setup, Stored, TransportClass, UsageClass};
    use crate::license::{BuiltinProfile, Profile};
    use crate::units::{Now, Tick};

    fn key() -> MachineKey {
        MachineKey::derive(b"this machine")
    }

    fn account(used_s: u64) -> EvaluationAccount {
        EvaluationAccount {
            used_s,
            limit_s: 7_776_000,
            granted_at: UnixMillis(1),
            saved_at: UnixMillis(2),
            clean_stop: true,
        }
    }

    fn setup() -> Setup {
        Setup {
            profile: std::sync::Arc::new(Profile::builtin(BuiltinProfile::Open).unwrap()),
            enabled: None,
            usage: UsageClass::Production,
            requested: Vec::new(),
            export_control: false,
            overage_allowed: true,
            overage_of: std::collections::BTreeMap::new(),
            transport: TransportClass::Direct,
            addresses: crate::license::agent::Addresses::default(),
            hostname: String::new(),
            withhold_hostname: true,
            renew_on_hostname_change: false,
            retry_jitter: false,
            trusted_root: None,
            version: String::new(),
            fingerprint: String::new(),
        }
    }

    fn open(dir: &Path) -> (EvaluationStore, Loaded) {
        EvaluationStore::open(dir, None, key()).unwrap()
    }

    fn used(dir: &Path) -> Option<u64> {
        open(dir).1.account.map(|account| account.used_s)
    }

    fn places(dir: &Path) -> [PathBuf; 2] {
        [dir.join("license/evaluation"), dir.join("node/evaluation")]
    }

    #[test]
    fn a_hundred_restarts_give_back_nothing_whatever_the_wall_clock_does() {
        let dir = tempfile::tempdir().unwrap();
        let mut before = 0;
        for run in 0..100_u64 {
            let (mut store, loaded) = open(dir.path());
            // The wall clock runs backwards from start to start; the boot clock begins anew each time.
            let now = Now { tick: Tick::from_secs(run), wall: UnixMillis(1_000_000_000 - run * 1_000_000) };
            let stored = Stored { state: None, account: loaded.account, usage: None, restored: None };
            let mut agent = Agent::start(setup(), stored, now, [7; 32]);
            agent.handle_timeout(Now { tick: now.tick.plus_secs(7), ..now });
            let clean_stop = run % 3 != 0;
            store.save(&EvaluationAccount { clean_stop, ..agent.state().evaluation }).unwrap();
            let after = used(dir.path()).unwrap();
            assert!(after >= before + 7, "run {run}: {before} then {after}");
            before = after;
        }
        assert!(before >= 700 + 33 * 60);
    }

    #[test]
    fn the_copy_with_more_time_used_wins_and_the_other_is_healed() {
        let dir = tempfile::tempdir().unwrap();
        let (mut store, loaded) = open(dir.path());
        assert_eq!(loaded.account, None);
        assert!(loaded.complaint().unwrap().contains("starts with all its hours"));
        store.save(&account(100)).unwrap();
        let old = std::fs::read(&places(dir.path())[0]).unwrap();
        store.save(&account(200)).unwrap();
        for place in places(dir.path()) {
            std::fs::write(&place, &old).unwrap();
            let (mut store, loaded) = open(dir.path());
            assert_eq!(loaded.account.unwrap().used_s, 200);
            assert_eq!(loaded.complaint(), None);
            store.save(&account(150)).unwrap();
            assert_eq!(used(dir.path()), Some(200), "a save never lowers the time used");
        }
    }

    #[test]
    fn a_copy_cut_at_any_byte_or_with_any_bit_flipped_falls_back_to_the_other() {
        let dir = tempfile::tempdir().unwrap();
        let (mut store, _) = open(dir.path());
        store.save(&account(500)).unwrap();
        let good = std::fs::read(&places(dir.path())[0]).unwrap();
        for place in places(dir.path()) {
            for at in 0..good.len() {
                let mut flipped = good.clone();
                flipped[at] ^= 1;
                for bytes in [&good[..at], &flipped[..]] {
                    std::fs::write(&place, bytes).unwrap();
                    let (_, loaded) = open(dir.path());
                    assert_eq!(loaded.account, Some(account(500)), "byte {at}");
                    assert!(loaded.complaint().unwrap().contains("another copy is used"), "byte {at}");
                }
            }
            std::fs::remove_file(&place).unwrap();
            assert_eq!(used(dir.path()), Some(500));
            std::fs::write(&place, &good).unwrap();
        }
    }

    #[test]
    fn a_kill_between_the_two_writes_leaves_the_newer_one_to_be_found() {
        let dir = tempfile::tempdir().unwrap();
        let (mut store, _) = open(dir.path());
        store.save(&account(10)).unwrap();
        let old = std::fs::read(&places(dir.path())[1]).unwrap();
        store.save(&EvaluationAccount { clean_stop: false, ..account(10) }).unwrap();
        std::fs::write(&places(dir.path())[1], &old).unwrap();
        std::fs::write(places(dir.path())[1].with_extension("new"), b"half").unwrap();
        let (_, loaded) = open(dir.path());
        assert!(!loaded.account.unwrap().clean_stop, "of two with the same time the later one counts");
    }

    #[test]
    fn where_the_machines_identity_changed_the_most_time_used_still_counts_and_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let (mut store, _) = EvaluationStore::open(dir.path(), None, MachineKey::derive(b"another")).unwrap();
        store.save(&account(10)).unwrap();
        let old = std::fs::read(&places(dir.path())[0]).unwrap();
        store.save(&account(500)).unwrap();
        std::fs::write(&places(dir.path())[0], old).unwrap();
        let (mut store, loaded) = open(dir.path());
        assert_eq!((loaded.account, loaded.adopted), (Some(account(500)), true));
        let told = loaded.complaint().unwrap();
        assert!(told.contains("not of this machine") && told.contains("still counts"), "{told}");
        store.save(&account(20)).unwrap();
        let (_, loaded) = open(dir.path());
        assert_eq!((loaded.account, loaded.adopted), (Some(account(500)), false));
    }

    #[test]
    fn a_good_copy_counts_beside_a_foreign_one_that_names_more() {
        let dir = tempfile::tempdir().unwrap();
        open(dir.path()).0.save(&account(10)).unwrap();
        let bytes = format(9, &account(1_000_000), &MachineKey::derive(b"another"));
        std::fs::write(&places(dir.path())[1], bytes).unwrap();
        let (_, loaded) = open(dir.path());
        assert_eq!((loaded.account, loaded.adopted), (Some(account(10)), false));
        assert!(loaded.complaint().unwrap().contains("not of this machine"));
    }

    #[test]
    fn another_data_dir_gives_nothing_back_and_the_sidecar_that_used_most_counts() {
        let [one, two, three, outside] = [(); 4].map(|()| tempfile::tempdir().unwrap());
        let open = |dir: &tempfile::TempDir| EvaluationStore::open(dir.path(), Some(outside.path()), key()).unwrap();
        let (mut first, _) = open(&one);
        first.save(&account(77)).unwrap();
        let (mut second, loaded) = open(&two);
        assert!(loaded.fresh());
        assert_eq!(loaded.account, Some(account(77)));
        second.save(&account(100)).unwrap();
        first.save(&account(80)).unwrap();
        assert_eq!(open(&three).1.account, Some(account(100)), "the record outside never falls");
        // Its own record is not raised by another's while it runs; the next start takes the larger.
        assert_eq!(open(&one).1.account, Some(account(100)));
    }

    #[test]
    fn a_place_outside_that_cannot_be_used_is_no_error_and_no_complaint() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, b"not a directory").unwrap();
        let data = dir.path().join("data");
        let (mut store, _) = EvaluationStore::open(&data, Some(&file), key()).unwrap();
        store.save(&account(5)).unwrap();
        let (_, loaded) = EvaluationStore::open(&data, Some(&file), key()).unwrap();
        assert!(matches!(loaded.outside, Some((_, CopyState::Unreadable(_)))), "{loaded:?}");
        assert_eq!((loaded.account, loaded.complaint()), (Some(account(5)), None));
    }

    #[test]
    fn an_unreadable_copy_matters_only_where_no_other_is_good() {
        let dir = tempfile::tempdir().unwrap();
        open(dir.path()).0.save(&account(5)).unwrap();
        let [bad, good] = places(dir.path());
        std::fs::remove_file(&bad).unwrap();
        std::fs::create_dir(&bad).unwrap();
        let (_, loaded) = open(dir.path());
        assert_eq!(loaded.account, Some(account(5)));
        assert!(loaded.complaint().unwrap().contains("cannot read"), "{:?}", loaded.complaint());
        std::fs::remove_file(good).unwrap();
        let told = EvaluationStore::open(dir.path(), None, key()).unwrap_err().to_string();
        assert!(told.contains("license/evaluation") && told.contains("no other copy"), "{told}");
    }

    #[test]
    fn a_place_that_cannot_be_written_does_not_keep_the_other_from_being_saved() {
        let dir = tempfile::tempdir().unwrap();
        let (mut store, _) = open(dir.path());
        std::fs::write(dir.path().join("license"), b"a file where the directory should be").unwrap();
        let told = store.save(&account(5)).unwrap_err().to_string();
        assert!(told.starts_with("the evaluation account was saved in 1 of 2 places"), "{told}");
        std::fs::remove_file(dir.path().join("license")).unwrap();
        assert_eq!(used(dir.path()), Some(5));
    }

    #[test]
    fn an_account_of_a_later_version_is_refused_by_number() {
        let dir = tempfile::tempdir().unwrap();
        let (mut store, _) = open(dir.path());
        store.save(&account(5)).unwrap();
        let mut later = std::fs::read(&places(dir.path())[0]).unwrap();
        later[6] = 2;
        later.push(0);
        std::fs::write(&places(dir.path())[0], &later).unwrap();
        let told = EvaluationStore::open(dir.path(), None, key()).unwrap_err().to_string();
        assert!(told.contains("format version 2") && told.contains("reads up to 1"), "{told}");
    }
}
