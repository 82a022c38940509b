//! Child processes: this program's own subcommands, each with its log, none of which outlives the demo.
//!
//! What must stay true: children are started by the thread that lives as long as the demo (the kernel ends them with it);
//! they see nothing of the user's environment; they are in process groups of their own, so that Ctrl-C reaches the demo
//! alone, which stops them in order.

use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::pace::Pace;
use super::workspace::Workspace;
use crate::cli::Failure;
use crate::shell::process::ENDS_WITH;

/// How long children may take to stop before they are killed.
const STOP_TIME: Duration = Duration::from_secs(10);
/// How often their end is looked for.
const LOOK: Duration = Duration::from_millis(20);
/// The last lines of a log that a person is shown.
const LOG_LINES: usize = 15;

/// A running child.
#[derive(Debug)]
pub(super) struct Child {
    pub(super) name: String,
    process: std::process::Child,
    log: PathBuf,
    ended: Option<ExitStatus>,
}

/// Which program the children are, and what surrounds them.
#[derive(Debug)]
pub(super) struct Program {
    path: PathBuf,
    home: PathBuf,
}

impl Program {
    /// This very program.
    ///
    /// # Errors
    /// If the operating system doesn't tell where it is.
    pub(super) fn this(workspace: &Workspace) -> io::Result<Self> {
        Ok(Self { path: std::env::current_exe()?, home: workspace.path().to_owned() })
    }

    /// A subcommand. `name` keeps apart what several sidecars of one user share elsewhere: each is a host of its own here.
    fn command(&self, name: &str, words: &[&str]) -> Command {
        let mut command = Command::new(&self.path);
        command.args(words).env_clear().env(ENDS_WITH, std::process::id().to_string());
        command.env("HOME", &self.home).env("XDG_STATE_HOME", self.home.join(format!("{name}-outside")));
        command.current_dir(&self.home).stdin(Stdio::null()).process_group(0);
        command
    }

    /// Starts a subcommand that runs until it is stopped; what it prints goes to `NAME.log`.
    ///
    /// # Errors
    /// If it can't be started.
    pub(super) fn start(&self, name: &str, words: &[&str]) -> Result<Child, Failure> {
        let log = self.home.join(format!("{name}.log"));
        let spawn = || {
            let out = File::create_new(&log)?;
            let err = out.try_clone()?;
            self.command(name, words).stdout(out).stderr(err).spawn()
        };
        match spawn() {
            Ok(process) => Ok(Child { name: name.to_owned(), process, log, ended: None }),
            Err(error) => Err(Failure::Refused(format!("{name} can't be started: {error}"))),
        }
    }

    /// Runs a subcommand to its end, with `out` as its standard output.
    ///
    /// # Errors
    /// If it fails: with what it said.
    pub(super) fn run(&self, words: &[&str], out: impl Into<Stdio>) -> Result<(), Failure> {
        let failed = |why: String| Failure::Refused(format!("`callgate {}` failed: {why}", words.join(" ")));
        let done = self.command("tools", words).stdout(out).stderr(Stdio::piped()).output();
        let done = done.map_err(|error| failed(error.to_string()))?;
        if done.status.success() {
            return Ok(());
        }
        Err(failed(String::from_utf8_lossy(&done.stderr).trim().to_owned()))
    }
}

impl Child {
    /// Its process id.
    pub(super) fn id(&self) -> u32 {
        self.process.id()
    }

    /// How it ended, if it has.
    pub(super) fn ended(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            // An error here means that nobody is there to wait for, which a child of ours never is.
            self.ended = self.process.try_wait().ok().flatten();
        }
        self.ended
    }

    fn signal(&mut self, signal: Signal) {
        if self.ended().is_none() {
            // It may have ended in this very moment: nothing to signal then.
            let _ = kill_process(Pid::from_child(&self.process), signal);
        }
    }

    /// A sentence about its end, with the last lines of its log.
    pub(super) fn obituary(&mut self) -> String {
        let how = self.ended().map_or_else(|| "still runs".to_owned(), |status| format!("ended: {status}"));
        self.told(&how)
    }

    /// A sentence about it, with the last lines of its log.
    pub(super) fn told(&self, what: &str) -> String {
        let lines = log_end(&self.log);
        if lines.is_empty() {
            return format!("{} {what}; its log is empty", self.name);
        }
        format!("{} {what}. The last lines of its log:\n{lines}", self.name)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.ended().is_none() {
            self.signal(Signal::KILL);
            // Killed: it ends at once.
            let _ = self.process.wait();
        }
    }
}

/// Stops children by SIGTERM, all at once, and waits for them. Those that don't stop in time are killed, at once if a
/// second signal comes; they are returned.
pub(super) fn stop(children: &mut [Child], pace: &mut Pace) -> Vec<String> {
    for child in &mut *children {
        child.signal(Signal::TERM);
    }
    let mut waited = Duration::ZERO;
    while children.iter_mut().any(|child| child.ended().is_none()) {
        let impatient = pace.pause(LOOK).is_err() && pace.signals() > 1;
        waited += LOOK;
        if impatient || waited >= STOP_TIME {
            break;
        }
    }
    let mut stubborn = Vec::new();
    for child in children {
        if child.ended().is_none() {
            stubborn.push(child.name.clone());
            child.signal(Signal::KILL);
            // Killed: it ends at once.
            let _ = child.process.wait();
        }
    }
    stubborn
}

fn log_end(log: &Path) -> String {
    let text = std::fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let last = lines.get(lines.len().saturating_sub(LOG_LINES)..).unwrap_or_default();
    last.iter().map(|line| format!("    {line}\n")).collect::<String>().trim_end().to_owned()
}
