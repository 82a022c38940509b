//! A real sidecar in a lane: `callgate serve` with a configuration of its own, asked over its admin socket.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use super::lane::Lane;
use super::process::Process;
use super::resp::Client;
use super::within;

/// What differs between scenarios; the rest is as `callgate serve` defaults, which the lane's own loopback allows.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// Calls per second: a multiple of five.
    pub(crate) count: u32,
    pub(crate) setup_s: u32,
    pub(crate) talk_s: u32,
    pub(crate) suspect_grace_s: u32,
    /// The address that the front ends bind.
    pub(crate) host: &'static str,
    /// Further keys of `[license]`.
    pub(crate) license: String,
    /// Further keys of `[admission]`, and whole tables.
    pub(crate) admission: String,
    pub(crate) tables: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            count: 1000,
            setup_s: 300,
            talk_s: 43_260,
            suspect_grace_s: 60,
            host: "127.0.0.1",
            license: String::new(),
            admission: String::new(),
            tables: String::new(),
        }
    }
}

#[derive(Debug)]
pub(crate) struct Sidecar {
    process: Process,
    command: Vec<PathBuf>,
    data_dir: PathBuf,
}

/// The counts that every scenario ends with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) live: u64,
    pub(crate) admitted: u64,
    pub(crate) refused: u64,
    pub(crate) released: u64,
    pub(crate) lapsed: u64,
}

impl Sidecar {
    pub(crate) fn start(lane: &Lane, settings: &Settings) -> Self {
        let Settings { count, setup_s, talk_s, suspect_grace_s, host, license, admission, tables } = settings;
        let data_dir = lane.path("data");
        let file = lane.path("callgate.toml");
        let text = format!(
            r#"
[node]
name = "test"
data_dir = "{data}"
max_call_rate = 100000
[license]
profile = "open"
count = {count}
{license}
[listen]
resp = ["{host}:7500", "unix:{data}/callgate.sock"]
datagram = []
http = "{host}:7501"
[admission]
suspect_grace = "{suspect_grace_s}s"
{admission}
[admission.leases]
setup = "{setup_s}s"
talk = "{talk_s}s"
{tables}
"#,
            data = data_dir.display()
        );
        std::fs::write(&file, text).expect("the configuration can be written");
        // Another binary can be put in its place: a release build, a package.
        let binary = std::env::var_os("CALLGATE_TEST_BINARY").unwrap_or_else(|| env!("CARGO_BIN_EXE_callgate").into());
        let command = vec![PathBuf::from(binary), "serve".into(), "--config".into(), file];
        let process = Self::spawn(lane, &command);
        let mut sidecar = Self { process, command, data_dir };
        sidecar.wait_ready();
        sidecar
    }

    fn spawn(lane: &Lane, command: &[PathBuf]) -> Process {
        // The record of running time that a user's sidecars share is the lane's own.
        let state = lane.path("state");
        lane.start("sidecar", lane.command(&command[0]).args(&command[1..]).env("XDG_STATE_HOME", state))
    }

    fn wait_ready(&mut self) {
        let socket = self.data_dir.join("callgate.sock");
        let ready = within(Duration::from_secs(15), || {
            self.process.running() && Client::connect(&socket).is_ok_and(|mut client| client.ask(&["PING"]).is_ok())
        });
        assert!(ready, "the sidecar does not answer; its log:\n{}", self.process.log());
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again with the same configuration and state.
    pub(crate) fn restart(&mut self, lane: &Lane) {
        self.process = Self::spawn(lane, &self.command);
        self.wait_ready();
    }

    /// Hangs it: it keeps its sockets and says nothing.
    pub(crate) fn freeze(&self) {
        self.process.signal(Signal::STOP);
    }

    pub(crate) fn thaw(&self) {
        self.process.signal(Signal::CONT);
    }

    pub(crate) fn data_dir(&self) -> &std::path::Path {
        &self.data_dir
    }

    /// `GET /v1/status`, over the admin socket.
    pub(crate) fn status(&self) -> Value {
        let mut stream =
            UnixStream::connect(self.data_dir.join("admin.sock")).expect("the admin socket takes a connection");
        stream.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout can be set");
        stream
            .write_all(b"GET /v1/status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            .expect("the request can be sent");
        let mut answer = Vec::new();
        let mut chunk = [0; 8192];
        // Read until the body is whole: a mock or an old server may not close.
        loop {
            let text = String::from_utf8_lossy(&answer).into_owned();
            if let Some((_, body)) = text.split_once("\r\n\r\n")
                && let (Some(from), Some(to)) = (body.find('{'), body.rfind('}'))
                && let Ok(value) = serde_json::from_str(&body[from..=to])
            {
                return value;
            }
            let read = stream.read(&mut chunk).expect("the status can be read");
            assert!(read > 0, "no status in the answer: {text}");
            answer.extend_from_slice(&chunk[..read]);
        }
    }

    pub(crate) fn counts(&self) -> Counts {
        let status = self.status();
        let number = |path: &str| {
            status.pointer(path).and_then(Value::as_u64).unwrap_or_else(|| panic!("no number at {path} in {status}"))
        };
        let refused = status.pointer("/refused_total").and_then(Value::as_object).expect("refusals by cause");
        Counts {
            live: number("/calls/live"),
            admitted: number("/admitted_total"),
            refused: refused.values().filter_map(Value::as_u64).sum(),
            released: number("/released_total"),
            lapsed: number("/lapsed_total"),
        }
    }

    /// A total of the status.
    pub(crate) fn total(&self, name: &str) -> u64 {
        self.status().get(name).and_then(Value::as_u64).unwrap_or_else(|| panic!("no number {name} in the status"))
    }

    /// Refusals of one cause.
    pub(crate) fn refused(&self, cause: &str) -> u64 {
        self.status().pointer(&format!("/refused_total/{cause}")).and_then(Value::as_u64).unwrap_or(0)
    }

    /// Waits until no call is live, and returns the counts of that moment.
    pub(crate) fn wait_idle(&self, limit: Duration) -> Counts {
        let idle = within(limit, || self.counts().live == 0);
        let counts = self.counts();
        assert!(idle, "calls are still live after {limit:?}: {counts:?}");
        counts
    }
}
