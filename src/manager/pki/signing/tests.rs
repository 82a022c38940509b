use super::*;
use crate::protocol::{Entropy, Udi, verify_chain};

const NOW: UnixMillis = UnixMillis(1_800_000_000_000);

const SERIAL: [u8; 16] = [0x49, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9];

fn days(count: u64) -> UnixMillis {
    UnixMillis(NOW.0 + count * DAY_MS)
}

fn udi() -> Udi {
    Udi::generate("callgate", &mut Entropy::from_seed([1; 32]))
}

fn order(udi: &Udi, at: UnixMillis) -> IdOrder<'_> {
    let key = SecretKey::from_seed([2; 32]).public();
    IdOrder { udi, key, serial: &SERIAL, validity: Validity::days_from(at, 365) }
}

#[test]
fn an_id_certificate_leads_to_the_root_and_names_instance_key_and_serial() {
    let dir = tempfile::tempdir().unwrap();
    let (keys, made) = SigningKeys::open(dir.path(), NOW).unwrap();
    assert!(made);
    let (signing, udi) = (keys.current(), udi());
    let chain = signing.issue(&order(&udi, NOW)).unwrap();
    let id = verify_chain(&chain, &signing.root(), NOW, 0).unwrap();
    assert_eq!((id.udi, id.key), (udi.clone(), SecretKey::from_seed([2; 32]).public()));
    assert_eq!(id.serial, "49".to_owned() + &"09".repeat(15));
    assert_eq!(signing.issue(&order(&udi, NOW)).unwrap(), chain, "the same order gives the same certificate");
    assert!(verify_chain(&chain, &signing.root(), days(366), 0).is_err(), "its year is over");
    let other = SecretKey::from_seed([7; 32]).public();
    assert!(verify_chain(&chain, &other, NOW, 0).is_err(), "another root");
}

#[test]
fn keys_are_made_once_and_read_again() {
    let dir = tempfile::tempdir().unwrap();
    let (first, _) = SigningKeys::open(dir.path(), NOW).unwrap();
    let (second, made) = SigningKeys::open(dir.path(), days(1)).unwrap();
    assert!(!made);
    assert_eq!(first.current().issuer_id(), second.current().issuer_id());
    assert_eq!(first.current().key_set_envelope(), second.current().key_set_envelope());
}

#[test]
fn a_rotation_raises_the_set_keeps_the_old_key_and_signs_with_the_new_one() {
    let dir = tempfile::tempdir().unwrap();
    let (keys, _) = SigningKeys::open(dir.path(), NOW).unwrap();
    let old = keys.current();
    assert!(!old.rotation_due(days(291)) && old.rotation_due(days(292)), "80 % of 365 days");
    let new = keys.rotate(days(292)).unwrap();
    assert!(!new.rotation_due(days(293)));
    assert_ne!(new.issuer_id(), old.issuer_id());
    let set = KeySet::open(new.key_set_envelope(), &old.root(), old.key_set().seq + 1).unwrap();
    assert!(set.find(&old.issuer_id()).is_some() && set.find(&new.issuer_id()).is_some());
    assert!(KeySet::open(old.key_set_envelope(), &old.root(), set.seq).is_err(), "the old set cannot be replayed");
    // What the old key signed on its last day lives its whole year.
    let udi = udi();
    let chain = old.issue(&order(&udi, days(364))).unwrap();
    assert!(verify_chain(&chain, &new.root(), days(364 + 364), 0).is_ok());
    let (reopened, _) = SigningKeys::open(dir.path(), days(293)).unwrap();
    assert_eq!(reopened.current().issuer_id(), new.issuer_id());
    // Later rotations drop the keys whose time is over, from the set and from the disk.
    let third = keys.rotate(days(500)).unwrap();
    assert!(third.key_set().find(&old.issuer_id()).is_none());
    assert!(!issuer_path(dir.path(), &old.issuer_id(), "key").exists());
    assert!(issuer_path(dir.path(), &new.issuer_id(), "key").exists());
}

#[test]
fn without_the_roots_key_everything_runs_but_a_rotation_which_says_what_it_needs() {
    let dir = tempfile::tempdir().unwrap();
    let (keys, _) = SigningKeys::open(dir.path(), NOW).unwrap();
    let root_key = std::fs::read(dir.path().join(ROOT_KEY)).unwrap();
    std::fs::remove_file(dir.path().join(ROOT_KEY)).unwrap();
    assert!(!keys.root_is_online());
    let (keys, made) = SigningKeys::open(dir.path(), days(1)).unwrap();
    assert!(!made);
    let told = keys.rotate(days(300)).unwrap_err().to_string();
    assert!(told.contains("root.key") && told.contains("put"), "{told}");
    files::write_key(&dir.path().join(ROOT_KEY), &SecretKey::from_seed([5; 32]).pkcs8_der()).unwrap();
    assert!(matches!(keys.rotate(days(300)), Err(RotateError::OtherRoot { .. })));
    std::fs::write(dir.path().join(ROOT_KEY), root_key).unwrap();
    keys.rotate(days(300)).unwrap();
}

#[test]
fn keys_that_are_half_there_stop_the_start_and_nothing_is_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let (keys, _) = SigningKeys::open(dir.path(), NOW).unwrap();
    let id = keys.current().issuer_id();
    for name in [ROOT_PEM.to_owned(), format!("{ISSUER}{id}.key"), format!("{ISSUER}{id}.pem")] {
        let path = dir.path().join(&name);
        let held = std::fs::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let told = SigningKeys::open(dir.path(), NOW).unwrap_err().to_string();
        assert!(told.contains(&name), "{told}");
        std::fs::write(&path, held).unwrap();
    }
    std::fs::write(dir.path().join(KEY_SET), b"{}").unwrap();
    assert!(SigningKeys::open(dir.path(), NOW).unwrap_err().to_string().contains(KEY_SET));
}

#[test]
fn a_first_start_cut_short_anywhere_is_finished_by_the_next() {
    let dir = tempfile::tempdir().unwrap();
    drop(SigningKeys::open(dir.path(), NOW).unwrap());
    // Behind the issuer's files, before the set.
    std::fs::remove_file(dir.path().join(KEY_SET)).unwrap();
    let (keys, made) = SigningKeys::open(dir.path(), NOW).unwrap();
    assert!(made);
    let root = keys.current().root();
    // Behind the root's key, before its certificate.
    std::fs::remove_file(dir.path().join(KEY_SET)).unwrap();
    std::fs::remove_file(dir.path().join(ROOT_PEM)).unwrap();
    let (keys, made) = SigningKeys::open(dir.path(), NOW).unwrap();
    assert!(made);
    assert_eq!(keys.current().root(), root);
}

#[test]
fn so_many_rotations_in_a_row_that_agents_would_refuse_the_set_are_refused_here() {
    let dir = tempfile::tempdir().unwrap();
    let (keys, _) = SigningKeys::open(dir.path(), NOW).unwrap();
    for n in 2..=KEYS_GOOD_MAX {
        let signing = keys.rotate(days(1)).unwrap();
        assert_eq!(signing.key_set().keys.len(), n);
        KeySet::open(signing.key_set_envelope(), &signing.root(), 0).unwrap();
    }
    assert!(matches!(keys.rotate(days(1)), Err(RotateError::Full)));
    keys.rotate(days(366)).unwrap();
}

#[test]
fn a_revoked_key_leaves_the_set_at_once_and_if_it_signed_another_one_signs() {
    let dir = tempfile::tempdir().unwrap();
    let (keys, _) = SigningKeys::open(dir.path(), NOW).unwrap();
    let first = keys.current().issuer_id();
    let second = keys.rotate(days(1)).unwrap().issuer_id();
    let signing = keys.revoke(&first, days(2)).unwrap();
    assert_eq!((signing.issuer_id(), signing.key_set().seq), (second.clone(), 3));
    assert!(signing.key_set().find(&first).is_none() && !issuer_path(dir.path(), &first, "key").exists());
    let signing = keys.revoke(&second, days(3)).unwrap();
    assert_ne!(signing.issuer_id(), second);
    assert_eq!((signing.key_set().seq, signing.key_set().keys.len()), (4, 1));
    KeySet::open(signing.key_set_envelope(), &signing.root(), 4).unwrap();
    let (again, _) = SigningKeys::open(dir.path(), days(3)).unwrap();
    assert_eq!(again.current().issuer_id(), signing.issuer_id());
    let told = keys.revoke(&first, days(4)).unwrap_err().to_string();
    assert!(told.contains(&first.0) && told.contains(&signing.issuer_id().0), "{told}");
}

#[test]
fn an_issuer_key_ends_when_the_set_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let signing = SigningKeys::open(dir.path(), NOW).unwrap().0.current();
    assert!(!signing.issuer_ended(days(364)) && signing.issuer_ended(days(365)));
}
