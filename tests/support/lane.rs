//! A lane: a network namespace with loopback up, so that fixed SIP ports never clash and scenarios run beside one
//! another, and a temporary directory. Both go when the lane goes; after a failure the directory stays, for reading.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

use tempfile::TempDir;

use super::process::Process;

static NEXT: AtomicU32 = AtomicU32::new(0);

/// The names of our namespaces: this, the id of the process that made it, a number.
const PREFIX: &str = "callgate-t";

#[derive(Debug)]
pub(crate) struct Lane {
    namespace: String,
    dir: Option<TempDir>,
}

impl Lane {
    /// Opens a lane, and removes what a killed test run may have left.
    pub(crate) fn open(name: &str) -> Self {
        sweep();
        let namespace = format!("{PREFIX}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        ip(&["netns", "add", &namespace]);
        let dir =
            tempfile::Builder::new().prefix(&format!("callgate-{name}-")).tempdir().expect("a temporary directory");
        let lane = Self { namespace, dir: Some(dir) };
        ip(&["-n", &lane.namespace, "link", "set", "lo", "up"]);
        lane
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.as_ref().expect("the lane is open").path()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir().join(name)
    }

    /// A command that will run inside the lane. `ip netns exec` becomes the program: its id is the child's.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace]).arg(program).current_dir(self.dir());
        command
    }

    /// Starts `command` with `NAME.log` in the lane's directory as its log.
    pub(crate) fn start(&self, name: &str, command: &mut Command) -> Process {
        Process::start(name, command, &self.path(&format!("{name}.log")))
    }

    /// Runs a command inside the lane to its end.
    pub(crate) fn run(&self, program: &str, arguments: &[&str]) -> Output {
        self.command(program).args(arguments).output().unwrap_or_else(|e| {
            panic!("{program} does not start: {e}; tests/run-all.sh installs what these tests need")
        })
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        let _gone = Command::new("ip").args(["netns", "del", &self.namespace]).output();
        if std::thread::panicking()
            && let Some(dir) = self.dir.take()
        {
            eprintln!("the lane's files stay in {}", dir.keep().display());
        }
    }
}

fn ip(arguments: &[&str]) {
    let output = Command::new("ip").args(arguments).output().expect("`ip` runs: Debian's package iproute2");
    assert!(
        output.status.success(),
        "`ip {}` failed: {}\nThese tests need network namespaces, and so root or CAP_SYS_ADMIN.",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Removes namespaces of test runs that no longer exist, with what still runs inside them.
fn sweep() {
    let Ok(list) = Command::new("ip").args(["netns", "list"]).output() else { return };
    for line in String::from_utf8_lossy(&list.stdout).lines() {
        let Some(name) = line.split_whitespace().next() else { continue };
        let Some(owner) = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').nth(1)) else { continue };
        if Path::new("/proc").join(owner).exists() {
            continue;
        }
        if let Ok(inside) = Command::new("ip").args(["netns", "pids", name]).output() {
            for pid in String::from_utf8_lossy(&inside.stdout).split_whitespace() {
                let _gone = Command::new("kill").args(["-9", pid]).output();
            }
        }
        let _gone = Command::new("ip").args(["netns", "del", name]).output();
    }
}
