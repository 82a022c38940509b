//! Crashes and failures at every step, damage at every byte, copies of other machines.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::state_journal::FOREIGN_MAX;
use super::*;
use crate::license::agent::{Agent, AgentState, Setup, Stored, TransportClass, UsageClass};
use crate::license::{BuiltinProfile, Profile};
use crate::protocol::{Entropy, RegistrationToken};
use crate::shell::license::overrides::Overrides;
use crate::shell::store::{CopyState, MachineKey, StoreError};
use crate::units::{Now, Tick, UnixMillis};

fn seal() -> Seal {
    Seal::new(MachineKey::derive(b"this machine"))
}

/// A state; `number` tells one from another.
pub(crate) fn state(number: u64) -> AgentState {
    let setup = Setup {
        profile: Arc::new(Profile::builtin(BuiltinProfile::Open).unwrap()),
        enabled: None,
        usage: UsageClass::Production,
        requested: Vec::new(),
        export_control: false,
        overage_allowed: true,
        overage_of: std::collections::BTreeMap::new(),
        transport: TransportClass::Direct,
        addresses: crate::license::agent::Addresses::default(),
        hostname: "host".to_owned(),
        withhold_hostname: false,
        renew_on_hostname_change: true,
        retry_jitter: true,
        trusted_root: None,
        version: "1".to_owned(),
        fingerprint: seal().fingerprint(),
    };
    let now = Now { tick: Tick::from_secs(1), wall: UnixMillis(1_800_000_000_000) };
    let mut state = Agent::start(setup, Stored::default(), now, [3; 32]).state().clone();
    state.message_seq = number;
    state.token = Some(RegistrationToken::generate(&mut Entropy::from_seed([5; 32])));
    state
}

fn open(dir: &Path, outside: Option<&Path>) -> (StateJournal<HostDisk>, FoundState) {
    StateJournal::open(HostDisk, dir, outside, seal()).unwrap()
}

fn number(found: &FoundState) -> Option<u64> {
    found.state.as_ref().map(|state| state.message_seq)
}

fn places(dir: &Path) -> [PathBuf; 2] {
    [dir.join("license/state"), dir.join("node/license-state")]
}

#[test]
fn what_was_saved_last_is_found_in_two_directories_and_not_readable_by_others() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, found) = open(dir.path(), None);
    assert!(found.fresh() && found.restored().is_none() && found.lost().is_none());
    assert!(journal.save(&state(1)).unwrap().is_none());
    assert!(journal.save(&state(2)).unwrap().is_none());
    let (_, found) = open(dir.path(), None);
    assert_eq!(*found.state.clone().unwrap(), state(2));
    assert!(found.restored().is_none());
    let token = state(2).token.unwrap().reveal().to_owned();
    for place in places(dir.path()) {
        let bytes = std::fs::read(&place).unwrap();
        assert!(!bytes.windows(token.len()).any(|window| window == token.as_bytes()), "the token is in clear");
        assert_eq!(std::fs::metadata(&place).unwrap().permissions().mode() & 0o777, 0o600);
    }
    assert_ne!(places(dir.path())[0].parent(), places(dir.path())[1].parent());
}

#[test]
fn a_copy_truncated_at_any_byte_or_changed_at_any_byte_gives_way_to_the_other_and_that_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, _) = open(dir.path(), None);
    journal.save(&state(7)).unwrap();
    // Each byte of the one copy; of the other, and for changes, a sample: each case decrypts and parses a whole state.
    for (place, step) in places(dir.path()).into_iter().zip([1, 17]) {
        let whole = std::fs::read(&place).unwrap();
        for length in (0..whole.len()).step_by(step) {
            std::fs::write(&place, &whole[..length]).unwrap();
            let (_, found) = open(dir.path(), None);
            assert_eq!(number(&found), Some(7), "{length} bytes of {}", place.display());
            let told = found.restored().expect("told");
            assert!(told.contains(&place.display().to_string()), "{told}");
        }
        for at in (0..40).chain((40..whole.len()).step_by(29)) {
            let mut changed = whole.clone();
            changed[at] ^= 0x20;
            std::fs::write(&place, &changed).unwrap();
            let (_, found) = open(dir.path(), None);
            assert_eq!(number(&found), Some(7), "byte {at} of {}", place.display());
            assert!(found.restored().is_some(), "byte {at}");
        }
        std::fs::write(&place, &whole).unwrap();
    }
}

#[test]
fn with_both_copies_lost_the_registration_is_lost_and_said_to_be() {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, _) = open(dir.path(), None);
    journal.save(&state(7)).unwrap();
    for place in places(dir.path()) {
        std::fs::write(place, b"rubbish").unwrap();
    }
    let (mut journal, found) = open(dir.path(), None);
    assert_eq!(number(&found), None);
    assert!(found.lost().unwrap().contains("its registration is lost"));
    journal.save(&state(8)).unwrap();
    assert_eq!(number(&open(dir.path(), None).1), Some(8));
}

#[test]
fn the_higher_save_wins_wherever_it_is_and_the_next_one_is_higher_than_both() {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, _) = open(dir.path(), None);
    journal.save(&state(1)).unwrap();
    let [first, second] = places(dir.path());
    let old = std::fs::read(&first).unwrap();
    journal.save(&state(2)).unwrap();
    for place in [first, second] {
        let new = std::fs::read(&place).unwrap();
        std::fs::write(&place, &old).unwrap();
        let (mut journal, found) = open(dir.path(), None);
        assert_eq!(number(&found), Some(2));
        journal.save(&state(3)).unwrap();
        assert_eq!(number(&open(dir.path(), None).1), Some(3));
        std::fs::write(&place, new).unwrap();
        journal.save(&state(2)).unwrap();
    }
}

#[test]
fn a_lost_state_directory_gets_its_own_registration_back_from_outside_and_no_other_ones() {
    let (home, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (one, other) = (home.path().join("one"), home.path().join("other"));
    open(&one, Some(outside.path())).0.save(&state(1)).unwrap();
    assert!(open(&other, Some(outside.path())).1.fresh(), "two sidecars of one user are two instances");
    std::fs::remove_dir_all(&one).unwrap();
    let (_, found) = open(&one, Some(outside.path()));
    assert_eq!(number(&found), Some(1));
    assert!(found.restored().is_some());
    // Without a place outside nothing is found, and nothing fails.
    std::fs::write(home.path().join("file"), b"").unwrap();
    let (mut journal, _) = open(&other, Some(&home.path().join("file")));
    assert!(journal.save(&state(2)).unwrap().is_none());
}

#[test]
fn copies_of_another_machine_are_not_taken() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path(), None).0.save(&state(7)).unwrap();
    let elsewhere = Seal::new(MachineKey::derive(b"another machine"));
    let (_, found) = StateJournal::open(HostDisk, dir.path(), None, elsewhere).unwrap();
    assert_eq!(number(&found), None);
    assert!(found.copies.iter().all(|(_, state)| *state == CopyState::Foreign));
    assert!(found.lost().unwrap().contains("another machine"));
}

/// Every file of a directory whose name holds `part`.
fn named(dir: &Path, part: &str) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.retain(|path| path.to_string_lossy().contains(part));
    found.sort();
    found
}

#[test]
fn copies_of_another_identity_are_kept_aside_and_come_back_once_the_mistake_is_corrected() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path(), None).0.save(&state(7)).unwrap();
    // More wrong starts than are kept: what was there first stays.
    for wrong in 0..FOREIGN_MAX + 3 {
        let wrong = Seal::new(MachineKey::derive(format!("wrong {wrong}").as_bytes()));
        let (mut journal, found) = StateJournal::open(HostDisk, dir.path(), None, wrong).unwrap();
        let lost = found.lost().unwrap();
        assert!(lost.contains("license.stable_id") && lost.contains(".foreign-"), "{lost}");
        journal.save(&state(100)).unwrap();
        // A second save sets nothing aside: what stands there is its own.
        journal.save(&state(101)).unwrap();
    }
    for place in places(dir.path()) {
        let kept = named(place.parent().unwrap(), "foreign-");
        assert_eq!(kept.len(), usize::try_from(FOREIGN_MAX).unwrap());
        std::fs::rename(&kept[0], &place).unwrap();
    }
    let (_, found) = open(dir.path(), None);
    assert_eq!(*found.state.unwrap(), state(7));
}

/// Writes copies whose plain text is `text`, as save number `saves`.
fn forge(place: &Path, saves: u64, text: &[u8]) {
    let mut bytes = b"CGLICENS\x01\0".to_vec();
    bytes.extend_from_slice(&saves.to_le_bytes());
    let sealed = seal().close(text, &bytes).unwrap();
    bytes.extend_from_slice(&sealed);
    std::fs::write(place, bytes).unwrap();
}

#[test]
fn an_authentic_copy_that_is_not_understood_ends_the_start_and_stays_unless_it_is_the_older_one() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path(), None).0.save(&state(7)).unwrap();
    let [first, _] = places(dir.path());
    let mut text = serde_json::to_value(state(8)).unwrap();
    text["authorization"] = serde_json::json!("a word of the next version");
    let text = text.to_string().into_bytes();
    forge(&first, 2, &text);
    let before = std::fs::read(&first).unwrap();
    let refused = StateJournal::open(HostDisk, dir.path(), None, seal()).unwrap_err();
    assert!(matches!(refused, StoreError::UnknownState { .. }), "{refused}");
    assert!(refused.to_string().contains("newer") && !refused.to_string().contains("a word of"), "{refused}");
    assert_eq!(std::fs::read(&first).unwrap(), before);
    forge(&first, 0, &text);
    assert_eq!(number(&open(dir.path(), None).1), Some(7), "an older copy is not needed");
}

#[test]
fn a_state_of_an_earlier_version_without_the_newest_fields_is_understood() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path(), None).0.save(&state(7)).unwrap();
    let mut text = serde_json::to_value(state(8)).unwrap();
    let fields = text.as_object_mut().unwrap();
    for name in ["statistics", "unexpected", "standing", "warned", "goodbye", "reported_until", "leaving", "force"] {
        fields.remove(name).unwrap();
    }
    for (group, field) in [("contact", "id_first_failure"), ("deadlines", "revocation_grace_end")] {
        fields[group].as_object_mut().unwrap().remove(field).unwrap();
    }
    fields.insert("of_a_later_version".to_owned(), serde_json::json!(1));
    for place in places(dir.path()) {
        forge(&place, 9, text.to_string().as_bytes());
    }
    let found = open(dir.path(), None).1.state.unwrap();
    assert_eq!((found.message_seq, found.udi), (8, state(8).udi));
}

#[test]
fn a_state_of_a_later_version_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path(), None).0.save(&state(7)).unwrap();
    for place in places(dir.path()) {
        let mut bytes = std::fs::read(&place).unwrap();
        bytes[8] = 9;
        std::fs::write(&place, bytes).unwrap();
    }
    let refused = StateJournal::open(HostDisk, dir.path(), None, seal()).unwrap_err();
    assert!(matches!(refused, StoreError::NewerVersion { found: 9, .. }), "{refused}");
}

#[test]
fn a_copy_that_cannot_be_read_is_no_reason_to_start_unregistered() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path(), None).0.save(&state(7)).unwrap();
    let [first, second] = places(dir.path());
    std::fs::remove_file(&first).unwrap();
    std::fs::create_dir(&first).unwrap();
    assert_eq!(number(&open(dir.path(), None).1), Some(7), "the other copy is good");
    std::fs::remove_file(&second).unwrap();
    let refused = StateJournal::open(HostDisk, dir.path(), None, seal()).unwrap_err();
    assert!(matches!(refused, StoreError::NoGoodState { .. }), "{refused}");
}

/// A disk on which the step of a number fails, and with `dead` every one after it (a crash).
#[derive(Debug)]
struct Failing {
    steps: Arc<parking_lot::Mutex<u32>>,
    fail_at: u32,
    dead: bool,
    torn: Cell<bool>,
}

impl Failing {
    fn step(&self) -> io::Result<()> {
        let mut steps = self.steps.lock();
        *steps += 1;
        let fails = if self.dead { *steps >= self.fail_at } else { *steps == self.fail_at };
        if fails { Err(io::Error::from(io::ErrorKind::StorageFull)) } else { Ok(()) }
    }
}

impl Disk for Failing {
    fn read(&self, path: &Path, bytes_max: usize) -> io::Result<Option<Vec<u8>>> {
        HostDisk.read(path, bytes_max)
    }

    fn make_dir(&self, dir: &Path) -> io::Result<()> {
        self.step()?;
        HostDisk.make_dir(dir)
    }

    fn write_durably(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        if let Err(error) = self.step() {
            // A full disk takes some of it.
            self.torn.set(true);
            HostDisk.write_durably(path, &bytes[..bytes.len() / 2])?;
            return Err(error);
        }
        HostDisk.write_durably(path, bytes)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step()?;
        HostDisk.rename(from, to)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.step()?;
        HostDisk.sync_dir(dir)
    }
}

/// Steps of one save: four for each of three places.
const STEPS: u32 = 12;

#[test]
fn a_failure_at_any_step_leaves_the_old_state_or_the_new_one_and_a_success_the_new_one() {
    let mut outcomes: BTreeMap<(bool, bool), u32> = BTreeMap::new();
    for dead in [false, true] {
        for fail_at in 1..=STEPS + 1 {
            let (dir, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
            let steps = Arc::new(parking_lot::Mutex::new(0));
            open(dir.path(), Some(outside.path())).0.save(&state(1)).unwrap();
            let disk = Failing { steps: Arc::clone(&steps), fail_at, dead, torn: Cell::new(false) };
            let (mut journal, _) = StateJournal::open(disk, dir.path(), Some(outside.path()), seal()).unwrap();
            let saved = journal.save(&state(2));
            let (_, found) = open(dir.path(), Some(outside.path()));
            let found = found.state.expect("a state is always found");
            assert!(*found == state(1) || *found == state(2), "a mixture after step {fail_at}");
            if saved.is_ok() {
                assert_eq!(*found, state(2), "what was said to be saved is, after step {fail_at}");
            }
            *outcomes.entry((dead, saved.is_ok())).or_default() += 1;
            // And the next one finds the disk well again.
            open(dir.path(), Some(outside.path())).0.save(&state(3)).unwrap();
            assert_eq!(number(&open(dir.path(), Some(outside.path())).1), Some(3));
        }
    }
    // One failing step costs one copy, never the save; a dead disk costs the save until its first copy is complete.
    assert_eq!(outcomes[&(false, true)], STEPS + 1);
    assert_eq!((outcomes[&(true, false)], outcomes[&(true, true)]), (4, STEPS + 1 - 4));
}

#[test]
fn a_backup_comes_back_on_its_own_machine_without_the_token_and_shows_no_secret() {
    let overrides = Overrides { count: Some(200), ..Overrides::default() };
    let text = write_backup(&state(7), &overrides, "sip-a", UnixMillis(5), &seal()).unwrap();
    let token = state(7).token.unwrap();
    assert!(!text.contains(token.reveal()));
    let backup = read_backup(text.as_bytes(), &seal()).unwrap();
    assert_eq!(*backup.state.unwrap(), AgentState { token: None, ..state(7) });
    assert_eq!((backup.overrides, backup.node.as_str(), backup.made_at), (overrides, "sip-a", UnixMillis(5)));
    assert_eq!(backup.udi, state(7).udi.to_string());
}

#[test]
fn a_backup_of_another_machine_says_so_and_a_changed_one_is_refused() {
    let text = write_backup(&state(7), &Overrides::default(), "sip-a", UnixMillis(5), &seal()).unwrap();
    let elsewhere = Seal::new(MachineKey::derive(b"another machine"));
    let backup = read_backup(text.as_bytes(), &elsewhere).unwrap();
    assert!(backup.state.is_none() && backup.fingerprint == seal().fingerprint());
    let mut file: serde_json::Value = serde_json::from_str(&text).unwrap();
    let sealed = file["state"].as_str().unwrap().to_owned();
    for end in [0, 4, sealed.len() / 8 * 4, sealed.len() - 4] {
        file["state"] = serde_json::json!(sealed[..end]);
        let refused = read_backup(file.to_string().as_bytes(), &seal()).unwrap_err();
        assert_eq!(refused, BackupError::Damaged, "{end}");
    }
    for rubbish in [&b""[..], b"{}", b"\xff", &text.as_bytes()[..text.len() / 2]] {
        assert!(matches!(read_backup(rubbish, &seal()).unwrap_err(), BackupError::Shape(_)));
    }
    file["callgate_license_backup"] = serde_json::json!(2);
    assert_eq!(read_backup(file.to_string().as_bytes(), &seal()).unwrap_err(), BackupError::Version { found: 2 });
}
