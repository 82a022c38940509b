//! A private PostgreSQL for one test: a cluster of its own in a temporary directory, on a socket there, stopped and
//! removed with its guard. `CALLGATE_TEST_POSTGRES=postgres://...` uses a server that runs already instead:
//! then each test makes a database of its own there, and drops it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use sqlx::{Connection, Executor};
use tempfile::TempDir;

use super::process::{Process, tail};

const SERVER_VARIABLE: &str = "CALLGATE_TEST_POSTGRES";
static NEXT: AtomicU32 = AtomicU32::new(0);

/// A server, and how to reach its databases.
pub(crate) struct Postgres {
    /// The address of the server's own database, without a path.
    base: String,
    _cluster: Option<Cluster>,
}

struct Cluster {
    process: Process,
    /// Removed after the process has ended: fields drop in order.
    _dir: TempDir,
}

impl Postgres {
    /// Starts a cluster with `fsync = on`, or takes the one that the environment names.
    pub(crate) fn start() -> Self {
        if let Ok(url) = std::env::var(SERVER_VARIABLE) {
            let base = url.split('?').next().unwrap_or(&url).trim_end_matches('/').to_owned();
            let base = match base.rsplit_once('/') {
                Some((server, _)) if server.contains("://") && !server.ends_with('/') => server.to_owned(),
                _ => base,
            };
            return Self { base, _cluster: None };
        }
        let programs = programs();
        let dir = tempfile::Builder::new().prefix("callgate-postgres-").tempdir().expect("a temporary directory");
        let data = dir.path().join("data");
        if is_root() {
            // PostgreSQL refuses to run as root.
            own(dir.path(), "postgres");
        }
        let made = as_user(&programs.join("initdb"))
            .arg("-D")
            .arg(&data)
            .args(["--username=callgate", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"])
            .output()
            .expect("initdb starts; tests/run-all.sh installs the package postgresql");
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        let socket = dir.path().to_str().expect("a temporary directory is UTF-8");
        let mut process = Process::start(
            "postgres",
            as_user(&programs.join("postgres")).arg("-D").arg(&data).args([
                "-c",
                "fsync=on",
                "-c",
                "listen_addresses=",
                "-c",
                &format!("unix_socket_directories={socket}"),
                "-c",
                "max_connections=40",
                "-c",
                "shared_buffers=32MB",
            ]),
            &dir.path().join("postgres.log"),
        );
        let up = super::within(Duration::from_secs(60), || !process.running() || ready(&programs, socket));
        assert!(up && process.running(), "PostgreSQL does not come up:\n{}", tail(&process.log()));
        Self {
            base: format!("postgres://callgate@{}", socket.replace('/', "%2F")),
            _cluster: Some(Cluster { process, _dir: dir }),
        }
    }

    /// Makes an empty database and returns its address.
    pub(crate) async fn database(&self) -> String {
        let name = format!("callgate_t{}_{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        self.execute(&format!("DROP DATABASE IF EXISTS {name}")).await;
        self.execute(&format!("CREATE DATABASE {name}")).await;
        format!("{}/{name}", self.base)
    }

    /// Drops a database that [`database`](Self::database) made, whoever is connected.
    pub(crate) async fn drop_database(&self, url: &str) {
        let name = url.rsplit_once('/').expect("a database's address").1;
        self.execute(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await;
    }

    /// Breaks a database's connections and takes no new ones; or takes them again.
    pub(crate) async fn close_database(&self, url: &str, closed: bool) {
        let name = url.rsplit_once('/').expect("a database's address").1;
        self.execute(&format!("ALTER DATABASE {name} ALLOW_CONNECTIONS {}", !closed)).await;
        if closed {
            self.execute(&format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"))
                .await;
        }
    }

    /// Stops the server's processes, as a host that hangs does: connections stay, and nobody answers. `None` with a server
    /// that the environment names: it isn't ours to stop.
    pub(crate) fn freeze(&self) -> Option<Frozen> {
        let server = self._cluster.as_ref()?.process.pid();
        let stop = |pid: i32| Pid::from_raw(pid).is_some_and(|pid| kill_process(pid, Signal::STOP).is_ok());
        // The one that starts the others first.
        let mut stopped = vec![server];
        assert!(stop(server), "the server runs");
        for entry in std::fs::read_dir("/proc").expect("/proc").flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
            let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
            // "PID (NAME) STATE PARENT ..."
            let parent = stat.rsplit(") ").next().and_then(|rest| rest.split(' ').nth(1)?.parse::<i32>().ok());
            if parent == Some(server) && stop(pid) {
                stopped.push(pid);
            }
        }
        Some(Frozen(stopped))
    }

    async fn execute(&self, sql: &str) {
        let mut connection =
            sqlx::PgConnection::connect(&format!("{}/postgres", self.base)).await.expect("the server answers");
        connection.execute(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }
}

/// A server that hangs until this is dropped.
pub(crate) struct Frozen(Vec<i32>);

impl Drop for Frozen {
    fn drop(&mut self) {
        for pid in self.0.iter().rev().copied().filter_map(Pid::from_raw) {
            // It may have been killed meanwhile.
            let _gone = kill_process(pid, Signal::CONT);
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // SIGINT is "fast shutdown". setpriv became the server, so the process is the server.
        self.process.signal(Signal::INT);
        if !super::within(Duration::from_secs(10), || !self.process.running()) {
            self.process.signal(Signal::KILL);
        }
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The newest server's programs.
fn programs() -> PathBuf {
    let mut found: Vec<(u32, PathBuf)> = std::fs::read_dir("/usr/lib/postgresql")
        .expect("/usr/lib/postgresql: tests/run-all.sh installs the package postgresql")
        .flatten()
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .filter(|(_, bin)| bin.join("initdb").exists())
        .collect();
    found.sort();
    found.pop().expect("a server below /usr/lib/postgresql: tests/run-all.sh installs the package postgresql").1
}

/// A command as a user that may run a server.
fn as_user(program: &Path) -> Command {
    let mut command = if is_root() {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=postgres", "--regid=postgres", "--init-groups"]).arg(program);
        command
    } else {
        Command::new(program)
    };
    command.current_dir("/").env("LC_ALL", "C");
    command
}

fn own(dir: &Path, user: &str) {
    let done = Command::new("chown").arg(user).arg(dir).status().expect("chown starts");
    assert!(done.success(), "the user {user} exists: the package postgresql makes it");
}

fn ready(programs: &Path, socket: &str) -> bool {
    Command::new(programs.join("pg_isready"))
        .args(["-q", "-h", socket, "-U", "callgate", "-d", "postgres"])
        .status()
        .is_ok_and(|status| status.success())
}
