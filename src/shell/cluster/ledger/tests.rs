use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::cluster::{Class, Epoch, Kind, Licenses, NodeName, ResourceId, Seq};

fn place(dir: &Path) -> LedgerPlace {
    LedgerPlace { dir: dir.join("cluster"), machine: "m1".to_owned(), outside: Some(dir.join("outside/node.mark")) }
}

fn cps() -> ResourceId {
    ResourceId { name: "cps".into(), kind: Kind::Rate, class: Class::License }
}

fn loan(to: &str, out: u32) -> Record {
    let borrower: NodeName = to.parse().unwrap();
    let resource = ResourceId { name: "session".into(), kind: Kind::Session, class: Class::Hard };
    let (seq, binc) = (Seq(u64::from(out)), Incarnation(3));
    Record::Loan { resource, borrower, binc, out: Licenses(out), seq, k: Licenses(out) }
}

fn home(count: u32) -> Record {
    Record::Home { resource: cps(), epoch: Epoch(1), home: Licenses(count), fixed_share: Licenses(0) }
}

fn outs(ledger: &Ledger) -> Vec<Record> {
    ledger.records.values().cloned().collect()
}

#[test]
fn each_opening_raises_the_incarnation_of_the_same_ledger_and_brings_back_what_was_written() {
    let dir = tempfile::tempdir().unwrap();
    let mut first = LedgerFile::open(&place(dir.path())).unwrap();
    assert_eq!((first.ledger.inc, first.ledger.records.len()), (Incarnation(1), 0));
    first.file.persist(&[home(20), loan("sip-b", 3)]).unwrap();
    first.file.persist(&[loan("sip-b", 7), loan("sip-c", 1)]).unwrap();
    drop(first.file);
    let second = LedgerFile::open(&place(dir.path())).unwrap();
    assert_eq!((second.ledger.id, second.ledger.inc), (first.ledger.id, Incarnation(2)));
    assert_eq!(outs(&second.ledger), [home(20), loan("sip-b", 7), loan("sip-c", 1)]);
    assert_eq!(second.warnings, Vec::<String>::new());
    let mode = std::fs::metadata(place(dir.path()).dir.join(FILE)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_second_process_is_refused_while_the_first_holds_it() {
    let dir = tempfile::tempdir().unwrap();
    let _first = LedgerFile::open(&place(dir.path())).unwrap();
    let told = LedgerFile::open(&place(dir.path())).unwrap_err();
    assert!(matches!(told, LedgerError::Taken { .. }), "{told}");
}

#[test]
fn a_ledger_that_is_gone_is_not_replaced_until_an_operator_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let place = place(dir.path());
    let id = LedgerFile::open(&place).unwrap().ledger.id;
    std::fs::remove_file(place.dir.join(FILE)).unwrap();
    let told = LedgerFile::open(&place).unwrap_err().to_string();
    assert!(
        told.contains(&format!("{:032x}", id.0)) && told.contains("move ledger.redb and ledger.mark away"),
        "{told}"
    );
    std::fs::remove_file(place.dir.join("ledger.mark")).unwrap();
    let anew = LedgerFile::open(&place).unwrap();
    assert_ne!(anew.ledger.id, id);
    assert_eq!(anew.ledger.inc, Incarnation(1));
}

#[test]
fn a_ledger_restored_from_yesterday_is_refused_also_with_its_mark() {
    let dir = tempfile::tempdir().unwrap();
    let place = place(dir.path());
    drop(LedgerFile::open(&place).unwrap());
    let (ledger, mark) = (place.dir.join(FILE), place.dir.join("ledger.mark"));
    let yesterday = (std::fs::read(&ledger).unwrap(), std::fs::read(&mark).unwrap());
    drop(LedgerFile::open(&place).unwrap());
    drop(LedgerFile::open(&place).unwrap());
    std::fs::write(&ledger, &yesterday.0).unwrap();
    let told = LedgerFile::open(&place).unwrap_err();
    assert!(matches!(told, LedgerError::Restored { found: 1, last: 3, .. }), "{told}");
    std::fs::write(&mark, &yesterday.1).unwrap();
    let told = LedgerFile::open(&place).unwrap_err();
    assert!(matches!(told, LedgerError::Restored { found: 1, last: 3, .. }), "the copy outside knows: {told}");
}

#[test]
fn a_ledger_copied_to_another_machine_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    drop(LedgerFile::open(&place(dir.path())).unwrap());
    let elsewhere = LedgerPlace { machine: "m2".to_owned(), outside: None, ..place(dir.path()) };
    let told = LedgerFile::open(&elsewhere).unwrap_err().to_string();
    assert!(told.contains("ledger of another machine") && told.contains("license.stable_id"), "{told}");
}

#[test]
fn a_later_format_is_refused_and_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let place = place(dir.path());
    drop(LedgerFile::open(&place).unwrap());
    let path = place.dir.join(FILE);
    let database = Database::open(&path).unwrap();
    let transaction = database.begin_write().unwrap();
    transaction.open_table(META).unwrap().insert(META_FORMAT, 2_u64.to_le_bytes().as_slice()).unwrap();
    transaction.commit().unwrap();
    drop(database);
    let told = LedgerFile::open(&place).unwrap_err().to_string();
    assert!(told.contains("format version 2; this callgate reads up to 1"), "{told}");
    let database = Database::open(&path).unwrap();
    let meta = database.begin_read().unwrap().open_table(META).unwrap();
    assert_eq!(meta.get(META_INC).unwrap().unwrap().value(), 1_u64.to_le_bytes());
}

/// A ledger with two batches, and what it says.
fn written(dir: &Path) -> (LedgerPlace, Vec<u8>, Vec<Record>) {
    let place = LedgerPlace { outside: None, ..place(dir) };
    let mut opened = LedgerFile::open(&place).unwrap();
    opened.file.persist(&[home(20), loan("sip-b", 3)]).unwrap();
    let many: Vec<Record> = (0..200_u32).map(|node| loan(&format!("sip-{node}"), node)).collect();
    opened.file.persist(&many).unwrap();
    opened.file.persist(&[loan("sip-b", 7)]).unwrap();
    drop(opened.file);
    let records = outs(&LedgerFile::open(&place).unwrap().ledger);
    let bytes = std::fs::read(place.dir.join(FILE)).unwrap();
    (place, bytes, records)
}

/// Opens a changed ledger: whole, or refused; never with something else in it.
fn judged(place: &LedgerPlace, bytes: &[u8], records: &[Record], what: &str) -> bool {
    std::fs::write(place.dir.join(FILE), bytes).unwrap();
    match LedgerFile::open(place) {
        Ok(opened) => {
            assert_eq!(outs(&opened.ledger), records, "{what}: opened with other records");
            true
        }
        Err(LedgerError::Damaged { .. } | LedgerError::Newer { .. }) => false,
        Err(other) => panic!("{what}: {other}"),
    }
}

#[test]
fn a_ledger_cut_anywhere_is_refused_and_never_taken_for_a_shorter_one() {
    let dir = tempfile::tempdir().unwrap();
    let (place, bytes, records) = written(dir.path());
    let mark = std::fs::read(place.dir.join("ledger.mark")).unwrap();
    // Every byte of the head, where a cut is likeliest to look like something else; then every page's edges.
    let edges = (1..).map(|page| page * 4096).take_while(|edge| *edge < bytes.len());
    let cuts = (0..330).chain(edges.flat_map(|edge| [edge - 1, edge, edge + 1])).chain([bytes.len() - 1]);
    let mut refused = 0;
    for cut in cuts.filter(|cut| *cut < bytes.len()) {
        std::fs::write(place.dir.join("ledger.mark"), &mark).unwrap();
        let whole = judged(&place, &bytes[..cut], &records, &format!("cut at {cut} of {}", bytes.len()));
        refused += usize::from(!whole);
    }
    assert!(refused > 330, "{refused}");
}

#[test]
fn a_ledger_cut_at_each_byte_of_its_ends_and_at_many_between_is_refused_and_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let (place, bytes, _) = written(dir.path());
    let (path, length) = (place.dir.join(FILE), bytes.len());
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    // Shorter and shorter: a megabyte, of which few pages hold anything.
    let cuts =
        (1..=1024).map(|less| length - less).chain((4096..length - 1024).rev().step_by(509)).chain((0..4096).rev());
    for cut in cuts {
        file.set_len(u64::try_from(cut).unwrap()).unwrap();
        let told = LedgerFile::open(&place).unwrap_err();
        assert!(matches!(told, LedgerError::Damaged { .. }), "cut at {cut} of {length}: {told}");
        assert_eq!(std::fs::metadata(&path).unwrap().len(), u64::try_from(cut).unwrap());
    }
}

#[test]
fn a_ledger_with_a_changed_byte_is_whole_or_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (place, bytes, records) = written(dir.path());
    let mark = std::fs::read(place.dir.join("ledger.mark")).unwrap();
    for at in (0..bytes.len()).step_by((bytes.len() / 150).max(1)) {
        let mut changed = bytes.clone();
        changed[at] ^= 0x5a;
        std::fs::write(place.dir.join("ledger.mark"), &mark).unwrap();
        judged(&place, &changed, &records, &format!("byte {at} changed"));
    }
}

#[test]
fn what_is_no_ledger_at_all_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let place = place(dir.path());
    make_private_dir(&place.dir).unwrap();
    for content in [&b""[..], b"hello", &[0; 9000]] {
        std::fs::write(place.dir.join(FILE), content).unwrap();
        let told = LedgerFile::open(&place).unwrap_err();
        assert!(matches!(told, LedgerError::Damaged { .. }), "{told}");
    }
}

#[test]
fn what_a_crash_left_of_a_first_start_is_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let place = place(dir.path());
    make_private_dir(&place.dir).unwrap();
    std::fs::write(place.dir.join(FRESH), b"half").unwrap();
    assert_eq!(LedgerFile::open(&place).unwrap().ledger.inc, Incarnation(1));
}

#[test]
fn after_a_failed_write_the_same_batch_is_taken_by_the_same_file_alone() {
    let dir = tempfile::tempdir().unwrap();
    let place = place(dir.path());
    let mut opened = LedgerFile::open(&place).unwrap();
    // As after a failure of the disk.
    opened.file.database = None;
    opened.file.persist(&[home(20)]).unwrap();
    opened.file.database = None;
    std::fs::remove_file(place.dir.join(FILE)).unwrap();
    std::fs::remove_file(place.dir.join("ledger.mark")).unwrap();
    drop(LedgerFile::open(&place).unwrap());
    let told = opened.file.persist(&[home(20)]).unwrap_err();
    assert!(told.to_string().contains("another one took its place"), "{told}");
}
