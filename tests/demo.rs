//! `callgate demo` as a newcomer meets it, and as a machine does: it ends with 0 and figures that hold, it can be stopped at
//! any time, and nothing of it stays.
//!
//! `tests/run-all.sh` runs them: they take their time.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::support::process::Process;
use crate::support::within;

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

struct Demo {
    process: Process,
    dir: TempDir,
}

impl Demo {
    fn start(words: &[&str]) -> Self {
        Self::in_directory(tempfile::tempdir().unwrap(), words)
    }

    fn in_directory(dir: TempDir, words: &[&str]) -> Self {
        fs::create_dir_all(dir.path().join("tmp")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_callgate"));
        command.arg("demo").args(words).env_clear().env("TMPDIR", dir.path().join("tmp"));
        let process = Process::start("demo", &mut command, &dir.path().join("log"));
        Self { process, dir }
    }

    /// Until calls come.
    fn calling(mut self) -> Self {
        let calling = within(PATIENCE, || {
            assert!(self.process.running(), "it ended; its log:\n{}", self.process.log());
            self.process.log().contains("all are connected")
        });
        assert!(calling, "{}", self.process.log());
        self
    }

    /// The process ids of what it started.
    fn children(&self) -> Vec<(i32, String)> {
        let own = self.dir.path().display().to_string();
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let Some(id) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            let words = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let words = String::from_utf8_lossy(&words).replace('\0', " ");
            if words.contains(&own) {
                found.push((id, words));
            }
        }
        found
    }

    /// What lies in the directory where temporary ones are made.
    fn left(&self) -> Vec<PathBuf> {
        fs::read_dir(self.dir.path().join("tmp")).unwrap().map(|entry| entry.unwrap().path()).collect()
    }

    fn nothing_stays(&self) {
        assert_eq!(self.children(), []);
        assert_eq!(self.left(), Vec::<PathBuf>::new());
    }

    fn end(&mut self) -> Option<i32> {
        self.process.wait(PATIENCE).code()
    }

    /// The summary for machines.
    fn summary(&self) -> Value {
        let log = self.process.log();
        let line = log.lines().rfind(|line| line.starts_with('{')).unwrap_or_else(|| panic!("no summary in\n{log}"));
        serde_json::from_str(line).unwrap()
    }
}

#[test]
#[ignore = "takes real time; run by tests/run-all.sh"]
fn a_headless_demo_admits_more_than_a_static_split_and_no_second_holds_more_than_was_bought() {
    let mut demo = Demo::start(&["--headless", "--seconds", "8"]);
    assert_eq!(demo.end(), Some(0), "{}", demo.process.log());
    let summary = demo.summary();
    let number =
        |pointer: &str| summary.pointer(pointer).and_then(Value::as_u64).unwrap_or_else(|| panic!("{pointer}"));
    assert_eq!((summary["ok"].as_bool(), number("/seconds"), number("/bought")), (Some(true), 8, 300));
    assert_eq!(number("/offered"), number("/admitted") + number("/refused"));
    assert!(number("/offered") > 1000 && number("/fullest_second") <= 300, "{summary}");
    assert!(number("/admitted") > number("/static_split_admitted"), "{summary}");
    assert!(number("/nodes/0/most_borrowed") > 0 && number("/nodes/1/most_lent") > 0, "{summary}");
    assert_eq!(number("/live_calls_left"), 0);
    assert_eq!(summary["nodes"].as_array().map(Vec::len), Some(3));
    demo.nothing_stays();
}

#[test]
#[ignore = "takes real time; run by tests/run-all.sh"]
fn ctrl_c_ends_it_with_a_summary_and_leaves_no_process_and_no_directory() {
    let mut demo = Demo::start(&[]).calling();
    let children = demo.children();
    assert_eq!(children.len(), 4, "a manager and three sidecars: {children:?}");
    let token = demo.left()[0].join("token");
    let secret = fs::read_to_string(&token).unwrap();
    assert_eq!(fs::metadata(&token).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(secret.trim().len() > 20 && children.iter().all(|(_, words)| !words.contains(secret.trim())));
    let live = within(PATIENCE, || demo.process.log().contains("| together"));
    assert!(live, "{}", demo.process.log());
    demo.process.signal(Signal::INT);
    assert_eq!(demo.end(), Some(0), "{}", demo.process.log());
    assert!(demo.process.log().contains("were admitted"), "{}", demo.process.log());
    demo.nothing_stays();
}

#[test]
#[ignore = "takes real time; run by tests/run-all.sh"]
fn a_signal_while_it_is_set_up_ends_it_at_once_and_nothing_stays() {
    let mut demo = Demo::start(&["--headless"]);
    assert!(within(PATIENCE, || !demo.children().is_empty()), "{}", demo.process.log());
    demo.process.signal(Signal::TERM);
    assert_eq!(demo.end(), Some(1), "{}", demo.process.log());
    demo.nothing_stays();
}

#[test]
#[ignore = "takes real time; run by tests/run-all.sh"]
fn what_it_started_dies_with_a_demo_that_is_killed_and_the_next_one_removes_its_directory() {
    let mut demo = Demo::start(&["--headless"]).calling();
    assert_eq!(demo.children().len(), 4);
    demo.process.kill();
    assert!(within(PATIENCE, || demo.children().is_empty()), "{:?}", demo.children());
    assert_eq!(demo.left().len(), 1);
    let Demo { process, dir } = demo;
    drop(process);
    let mut next = Demo::in_directory(dir, &["--headless", "--seconds", "1"]);
    assert_eq!(next.end(), Some(0), "{}", next.process.log());
    next.nothing_stays();
}

#[test]
#[ignore = "takes real time; run by tests/run-all.sh"]
fn a_sidecar_that_dies_is_told_with_its_log_and_the_demo_ends_with_1() {
    let mut demo = Demo::start(&["--headless"]).calling();
    let children = demo.children();
    let (sidecar, _) = children.iter().find(|(_, words)| words.contains("sip-b.toml")).unwrap();
    kill_process(Pid::from_raw(*sidecar).unwrap(), Signal::KILL).unwrap();
    assert_eq!(demo.end(), Some(1), "{}", demo.process.log());
    let summary = demo.summary();
    let broken = summary["broken"].to_string();
    assert!(broken.contains("sip-b ended: signal: 9") && broken.contains("Registered in virtual account"), "{summary}");
    assert_eq!(summary["ok"], false);
    demo.nothing_stays();
}
