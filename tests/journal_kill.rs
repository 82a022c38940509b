//! A sidecar killed at any moment: every call whose answer was sent is known again, and every call whose release was
//! answered is not; nor is one whose release came first.
//!
//! A child process runs a gate on a journal and says on its standard output which operations were answered. The parent
//! kills it after a number of them that differs each time, recovers, and compares. The next child goes on with the same
//! journal, so that rotation, snapshots and removal are killed in the middle too.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use callgate::admission::{Admit, Answer, Bounds, CallId, Cause, Gate, Leases, Policy, Request};
use callgate::shell::clock::Clock;
use callgate::shell::journal::{self, DamageKind, Host, JournalConfig, ShardJournal};
use callgate::units::HashKey;

const DIR_VARIABLE: &str = "CALLGATE_TEST_JOURNAL_DIR";
const ROUNDS: u64 = 30;

fn config(dir: &Path) -> JournalConfig {
    JournalConfig {
        segment_bytes: 1024 * 1024,
        sync_interval_ms: 50,
        compact_bytes_min: 512 * 1024,
        ..JournalConfig::new(dir.to_owned(), 1)
    }
}

fn gate(journals: Vec<ShardJournal>) -> Gate<ShardJournal> {
    // Tombstones that no round outlives.
    let leases = Leases { tombstone_s: 3600, ..Leases::default() };
    let policy = Policy { rate: None, leases, ..Policy::default() };
    Gate::new(policy, Bounds::default(), HashKey::from_bytes([7; 16]), 1, journals)
}

/// What an operation asks, and what its id is known as behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    /// Admitted: live.
    Live,
    /// Released.
    Gone,
    /// Released before its call came: that comes late.
    Late,
}

/// Operation `number` of a round: calls are admitted, two of three are released soon after, and some releases come first.
fn operation(round: u64, number: u64) -> (String, Known) {
    match number % 6 {
        2 => (format!("call-{round}-{}", number - 2), Known::Gone),
        4 => (format!("call-{round}-{}", number - 1), Known::Gone),
        5 => (format!("call-{round}-{number}"), Known::Late),
        _ => (format!("call-{round}-{number}"), Known::Live),
    }
}

#[test]
#[ignore = "the child of the next test"]
fn child_that_answers_until_it_is_killed() {
    let Some(dir) = std::env::var_os(DIR_VARIABLE) else { return };
    let round = std::env::var("CALLGATE_TEST_ROUND").expect("a round").parse().expect("a number");
    let mut opened = journal::open(&config(Path::new(&dir)), Host::this()).expect("the journal opens");
    let gate = Arc::new(gate(opened.journals));
    gate.recover(&mut opened.replay, 0, Clock.now());
    let source: Arc<dyn journal::SnapshotSource> = Arc::<Gate<ShardJournal>>::clone(&gate);
    let keeper = opened.keeper.start(source, opened.replay.report(), |_| {}).expect("it starts");
    let mut out = std::io::stdout().lock();
    for number in 0_u64.. {
        let (id, known) = operation(round, number);
        let id = CallId::new(id.as_bytes()).expect("an id");
        let request = match known {
            Known::Live => Request::Admit(Admit::call(id)),
            Known::Gone | Known::Late => Request::Release { id, seq: None },
        };
        gate.run(&[request], Clock.now(), |answer| match answer {
            Answer::Decision(decision) => assert!(decision.admitted, "{decision:?}"),
            Answer::Known(_) => {}
        });
        if keeper.stats().dropped_records_total > 0 {
            // A machine too busy to prepare segments: what was answered so far still counts.
            writeln!(out, "\ndropped").expect("the parent reads");
            out.flush().expect("the parent reads");
            std::thread::park();
        }
        writeln!(out, "\nanswered {number}").expect("the parent reads");
        out.flush().expect("the parent reads");
    }
}

#[test]
fn every_answered_call_is_known_after_a_kill_at_any_moment() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut expected: BTreeMap<String, Known> = BTreeMap::new();
    let mut answered_total = 0;
    // A torn tail stays in its segment, and is reported at each recovery, until that segment is compacted away.
    let mut torn_before = BTreeSet::new();
    for round in 0..ROUNDS {
        let mut child = Command::new(std::env::current_exe().expect("this test"))
            .args(["--exact", "journal_kill::child_that_answers_until_it_is_killed", "--ignored", "--nocapture"])
            .env(DIR_VARIABLE, dir.path())
            .env("CALLGATE_TEST_ROUND", round.to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the child starts");
        let stdout = child.stdout.take().expect("its output");
        // From none at all to a few thousand, in no order.
        let kill_after = (round * 2_654_435_761) % 4001;
        let mut killed = false;
        let mut answered = None;
        for line in BufReader::new(stdout).split(b'\n') {
            let line = line.expect("readable");
            if let Some(number) = line.strip_prefix(b"answered ") {
                // A line cut by the kill names a number that is too short, hence too low or none: no harm.
                let number = std::str::from_utf8(number).ok().and_then(|text| text.parse::<u64>().ok());
                answered = answered.max(number);
            }
            if !killed && (answered.is_some_and(|answered| answered >= kill_after) || line == b"dropped") {
                child.kill().expect("SIGKILL");
                killed = true;
            }
        }
        child.wait().expect("the child is gone");
        let answered = answered.expect("the child answered something");
        answered_total += answered;
        for number in 0..=answered {
            let (id, known) = operation(round, number);
            expected.insert(id, known);
        }
        // What came after the last answer may or may not have happened.
        for number in answered + 1..answered + 2 {
            expected.remove(&operation(round, number).0);
        }
        let mut opened = journal::open(&config(dir.path()), Host::this()).expect("it opens after a kill");
        let gate = gate(opened.journals);
        let recovery = gate.recover(&mut opened.replay, 0, Clock.now());
        let report = opened.replay.report();
        let torn: BTreeSet<_> = report.damage.iter().map(|damage| (damage.file.clone(), damage.offset)).collect();
        let new = torn.difference(&torn_before).count();
        assert!(new <= 1, "a kill tears at most the record that was being written: {:?}", report.damage);
        assert!(report.damage.iter().all(|damage| damage.kind == DamageKind::Tail), "{:?}", report.damage);
        torn_before = torn;
        assert_eq!(recovery.dropped, 0);
        for (id, known) in &expected {
            let id = CallId::new(id.as_bytes()).expect("an id");
            let found = gate.call(id, Clock.now());
            assert_eq!(found.is_some(), *known == Known::Live, "round {round}, {id:?}");
            if *known == Known::Late {
                let cause = gate.admit(&Admit::call(id), Clock.now()).cause;
                assert_eq!(cause, Cause::Late, "round {round}, {id:?}");
            }
            assert!(found.is_none_or(|call| call.suspect), "a recovered call is suspect");
        }
    }
    assert!(answered_total > 10_000, "the children got somewhere: {answered_total}");
}
