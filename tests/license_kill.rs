//! Licensing killed at any moment: what is read back is exactly the state that was acknowledged last, or the one that was
//! being written, never a mixture; and evaluation time never falls.
//!
//! A child process saves one state after the other and says on its standard output which it begins and which is saved. The
//! parent kills it, each time at another moment, and reads. The next child goes on with the same files.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use callgate::license::agent::{Agent, AgentState, Failure, Setup, Stored, TransportClass, UsageClass};
use callgate::license::{BuiltinProfile, Profile};
use callgate::shell::license::store::{HostDisk, Seal, StateJournal};
use callgate::shell::store::{EvaluationStore, MachineKey};
use callgate::units::{Now, Tick, UnixMillis};

const DIR_VARIABLE: &str = "CALLGATE_TEST_LICENSE_DIR";
const KILLS: u64 = 300;

fn key() -> MachineKey {
    MachineKey::derive(b"the machine of this test")
}

fn open(dir: &Path) -> (StateJournal<HostDisk>, Option<Box<AgentState>>) {
    let (journal, found) = StateJournal::open(HostDisk, dir, None, Seal::new(key())).expect("it opens after a kill");
    assert_eq!(found.lost(), None, "no kill costs the registration");
    (journal, found.state)
}

fn first() -> AgentState {
    let setup = Setup {
        profile: Arc::new(Profile::builtin(BuiltinProfile::Open).expect("built in")),
        enabled: None,
        usage: UsageClass::Production,
        requested: Vec::new(),
        export_control: false,
        overage_allowed: true,
        overage_of: std::collections::BTreeMap::new(),
        transport: TransportClass::Direct,
        addresses: callgate::license::agent::Addresses::default(),
        hostname: "host".to_owned(),
        withhold_hostname: false,
        renew_on_hostname_change: true,
        retry_jitter: true,
        trusted_root: None,
        version: "1".to_owned(),
        fingerprint: "print".to_owned(),
    };
    let now = Now { tick: Tick::from_secs(1), wall: UnixMillis(1_800_000_000_000) };
    Agent::start(setup, Stored::default(), now, [3; 32]).state().clone()
}

/// State `number`: every part of it says the number, and its size changes from one to the next.
fn state(base: &AgentState, number: u64) -> AgentState {
    let mut state = base.clone();
    state.message_seq = number;
    state.last_grant_seq = number;
    state.evaluation.used_s = number;
    let text = format!("{number} ").repeat(usize::try_from(number % 97 * 20).expect("small"));
    state.latest_failure = Some(Failure { code: number.to_string(), text, at: UnixMillis(number) });
    state.unexpected.insert("number".to_owned(), number);
    state
}

#[test]
#[ignore = "the child of the next test"]
fn child_that_saves_until_it_is_killed() {
    let Some(dir) = std::env::var_os(DIR_VARIABLE) else { return };
    let dir = Path::new(&dir);
    let (mut journal, found) = open(dir);
    let (mut evaluation, _) = EvaluationStore::open(dir, None, key()).expect("it opens");
    let base = found.expect("the parent saved the first one");
    let mut out = std::io::stdout().lock();
    for number in base.message_seq + 1.. {
        let next = state(&base, number);
        writeln!(out, "\nsaving {number}").expect("the parent reads");
        out.flush().expect("the parent reads");
        assert!(journal.save(&next).expect("saved").is_none());
        evaluation.save(&next.evaluation).expect("saved");
        writeln!(out, "\nsaved {number}").expect("the parent reads");
        out.flush().expect("the parent reads");
    }
}

#[test]
fn three_hundred_kills_leave_the_acknowledged_state_or_the_next_and_never_lower_evaluation() {
    let dir = tempfile::tempdir().expect("a directory");
    let base = first();
    open(dir.path()).0.save(&state(&base, 0)).expect("saved");
    // The newest found, the newest that the child said is saved everywhere, and how many kills hit a save.
    let (mut before, mut acknowledged, mut in_the_middle) = (0, 0, 0);
    for round in 0..KILLS {
        let mut child = Command::new(std::env::current_exe().expect("this test"))
            .args(["--exact", "license_kill::child_that_saves_until_it_is_killed", "--ignored", "--nocapture"])
            .env(DIR_VARIABLE, dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the child starts");
        let mut lines = BufReader::new(child.stdout.take().expect("its output")).split(b'\n');
        let random = round.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
        let kill_after = random % 7;
        let (mut seen, mut killed, mut saving, mut saved) = (0, false, before, before);
        while let Some(Ok(line)) = lines.next() {
            let number = |word: &[u8]| {
                // A line that the kill cut is not a whole number, or one that is too low: no harm.
                line.strip_prefix(word).and_then(|rest| std::str::from_utf8(rest).ok()?.parse::<u64>().ok())
            };
            if let Some(number) = number(b"saving ") {
                (saving, seen) = (saving.max(number), seen + 1);
            } else if let Some(number) = number(b"saved ") {
                (saved, seen) = (saved.max(number), seen + 1);
                acknowledged = acknowledged.max(number);
            }
            if !killed && seen > kill_after {
                // Somewhere within a save: one takes a few milliseconds, or a fraction of one.
                std::thread::sleep(Duration::from_micros(random / 7 % 2000));
                child.kill().expect("SIGKILL");
                killed = true;
            }
        }
        child.wait().expect("the child is gone");
        assert!(killed, "round {round}: the child ended by itself");
        let found = open(dir.path()).1.expect("a state is always found");
        let number = found.message_seq;
        // The child says what it begins before it begins.
        assert!((saved..=saving.max(saved + 1)).contains(&number), "round {round}: {saved} <= {number} <= {saving}");
        assert_eq!(*found, state(&base, number), "round {round}: a mixture");
        let (_, accounts) = EvaluationStore::open(dir.path(), None, key()).expect("it opens after a kill");
        let used = accounts.account.map_or(0, |account| account.used_s);
        // The account apart may be one save behind the state: a start takes the higher of both.
        assert!(
            used >= acknowledged && found.evaluation.used_s >= before,
            "round {round}: {used} after {acknowledged}"
        );
        in_the_middle += u64::from(number > saved);
        before = number;
    }
    assert!(before > KILLS && in_the_middle > 0, "{before} states, {in_the_middle} kills in the middle of a save");
}
