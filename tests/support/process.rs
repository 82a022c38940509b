//! A child process that ends with its guard: by its own id or its own process group's, never by a name.

use std::fs::File;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};

/// A running child, alone in its process group; whatever it forks ends with it.
#[derive(Debug)]
pub(crate) struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    ended: Option<ExitStatus>,
}

impl Process {
    /// Starts `command`; what it prints goes to `log`.
    pub(crate) fn start(name: &str, command: &mut Command, log: &Path) -> Self {
        let out =
            File::options().create(true).append(true).open(log).unwrap_or_else(|e| panic!("{}: {e}", log.display()));
        let err = out.try_clone().expect("a second handle of the log");
        let child =
            command.stdin(Stdio::null()).stdout(out).stderr(err).process_group(0).spawn().unwrap_or_else(|e| {
                panic!("{name} does not start: {e}; tests/run-all.sh installs what these tests need")
            });
        Self { name: name.to_owned(), child, log: log.to_owned(), ended: None }
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).expect("a process id")
    }

    /// Sends a signal to it and all its children.
    pub(crate) fn signal(&self, signal: Signal) {
        if self.ended.is_none() {
            let group = Pid::from_raw(i32::try_from(self.child.id()).expect("a process id")).expect("not zero");
            // It may have ended by itself a moment ago: nothing to signal then.
            let _gone = kill_process_group(group, signal);
        }
    }

    pub(crate) fn running(&mut self) -> bool {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().expect("the child can be waited for");
        }
        self.ended.is_none()
    }

    /// Waits for its end. After `limit` it fails with the log's end.
    pub(crate) fn wait(&mut self, limit: Duration) -> ExitStatus {
        if !super::within(limit, || !self.running()) {
            panic!("{} still runs after {limit:?}; its log ends:\n{}", self.name, tail(&self.log()));
        }
        self.ended.expect("it has ended")
    }

    /// Ends it and all its children without a word.
    pub(crate) fn kill(&mut self) {
        self.signal(Signal::KILL);
        let status = self.wait(Duration::from_secs(5));
        assert!(status.signal().is_some() || status.code().is_some(), "{} has ended", self.name);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("---- {} ({}) ----\n{}", self.name, self.log.display(), tail(&self.log()));
        }
        if self.ended.is_none() {
            // A stopped process hears KILL too.
            self.signal(Signal::KILL);
            let _reaped = self.child.wait();
        }
    }
}

/// The last lines of a log.
pub(crate) fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(25)..].join("\n")
}
