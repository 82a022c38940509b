//! A gate with its front ends on ephemeral ports, and plain sockets to talk to them.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use callgate::admission::{Bounds, Gate, Policy};
use callgate::shell::config::{Config, Role, Secret, Token};
use callgate::shell::journal::ShardJournal;
use callgate::shell::listeners::{Access, Drained, Endpoint, Listeners, Running, Settings};
use callgate::shell::telemetry::Counters;
use callgate::shell::{Context, Phase};
use callgate::units::{Cps, HashKey};

/// How long a test waits for what must come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Rig {
    pub(crate) context: Arc<Context>,
    // Goes, with its sockets, when the rig goes.
    _dir: tempfile::TempDir,
    running: Option<Running>,
    pub(crate) resp: SocketAddr,
    pub(crate) resp_socket: PathBuf,
    pub(crate) http: SocketAddr,
    pub(crate) admin: PathBuf,
}

/// Whether this is a process for this test alone; if not, runs it in one and fails if it fails there. Memory is measured
/// for whole processes: beside other tests it says nothing.
pub(crate) fn alone(module: &str, test: &str) -> bool {
    const ALONE: &str = "CALLGATE_TEST_ALONE";
    if std::env::var_os(ALONE).is_some() {
        return true;
    }
    let path = module.split_once("::").map_or(module, |(_, inside)| inside);
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("{path}::{test}"), "--nocapture"])
        .env(ALONE, "1")
        .output()
        .unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.contains("1 passed"), "in a process of its own: {said}");
    false
}

/// A policy under which a test meets no limit unless it wants to.
pub(crate) fn open_policy() -> Policy {
    Policy { rate: Some(Cps::saturating(1_000_000)), ..Policy::default() }
}

impl Rig {
    pub(crate) fn new() -> Self {
        Self::with(open_policy(), |_| {})
    }

    pub(crate) fn with(policy: Policy, change: impl FnOnce(&mut Settings)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = Config::defaults("test-node", dir.path());
        let bounds = Bounds { calls_max: 65_536, ..Bounds::default() };
        let gate = Gate::new(policy, bounds, HashKey::from_bytes([7; 16]), 1, vec![ShardJournal::off()]);
        let context = Arc::new(Context::new(gate, config, Counters::default()));
        context.set_phase(Phase::Ready);
        let resp_socket = dir.path().join("callgate.sock");
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let mut settings = Settings {
            resp: vec![Endpoint::Tcp(any), Endpoint::Unix { path: resp_socket.clone(), mode: 0o660 }],
            http: Some(any),
            admin_socket: Some(dir.path().join("admin.sock")),
            reactors: 1,
            ..Settings::default()
        };
        change(&mut settings);
        let running = Listeners::start(Arc::clone(&context), settings).unwrap();
        let Some(Endpoint::Tcp(resp)) = running.resp.first().cloned() else { panic!("RESP over TCP is on") };
        let http = running.http.expect("HTTP is on");
        let admin = running.admin_socket.clone().expect("the admin socket is on");
        Self { context, _dir: dir, running: Some(running), resp, resp_socket, http, admin }
    }

    pub(crate) fn running(&self) -> &Running {
        self.running.as_ref().expect("it runs")
    }

    pub(crate) fn resp(&self) -> Client<TcpStream> {
        Client::tcp(self.resp)
    }

    pub(crate) fn http(&self) -> Client<TcpStream> {
        Client::tcp(self.http)
    }

    pub(crate) fn admin(&self) -> Client<UnixStream> {
        Client::new(UnixStream::connect(&self.admin).unwrap())
    }

    pub(crate) fn drain(&mut self, timeout: Duration) -> Drained {
        self.running.take().expect("it runs").drain(timeout)
    }

    /// A good client of either front end is served.
    pub(crate) fn still_serves(&self) {
        let mut resp = self.resp();
        resp.send("ADMIT still-serves\r\n");
        assert_eq!(resp.line(), "*5");
        let answer = self.http().exchange("GET", "/healthz", &[], "");
        assert_eq!(answer.status, 200);
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            running.drain(Duration::ZERO);
        }
    }
}

pub(crate) fn password(settings: &mut Settings) {
    settings.access.resp_password = Some(Secret::new(b"correct horse"));
}

pub(crate) fn tokens(settings: &mut Settings) {
    let token = |text: &str, role| Token { secret: Secret::new(text.as_bytes()), role };
    settings.access = Access {
        resp_password: None,
        http_tokens: vec![token("ask-only", Role::Admission), token("all-mighty", Role::Admin)],
    };
}

/// A stream with a timeout for both directions.
pub(crate) trait Timed: Read + Write {
    fn patience(&self, time: Duration);
}

impl Timed for TcpStream {
    fn patience(&self, time: Duration) {
        self.set_read_timeout(Some(time)).unwrap();
        self.set_write_timeout(Some(time)).unwrap();
    }
}

impl Timed for UnixStream {
    fn patience(&self, time: Duration) {
        self.set_read_timeout(Some(time)).unwrap();
        self.set_write_timeout(Some(time)).unwrap();
    }
}

/// One plain connection.
pub(crate) struct Client<S: Timed> {
    pub(crate) stream: BufReader<S>,
}

/// An HTTP answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

impl Client<TcpStream> {
    pub(crate) fn tcp(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        Self::new(stream)
    }
}

impl<S: Timed> Client<S> {
    pub(crate) fn new(stream: S) -> Self {
        stream.patience(PATIENCE);
        Self { stream: BufReader::new(stream) }
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.get_mut().write_all(bytes.as_ref()).unwrap();
    }

    /// Sends what the other side takes before it closes.
    pub(crate) fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.get_mut().write_all(bytes.as_ref()).is_ok()
    }

    /// One line without its end; empty at the end of the stream.
    pub(crate) fn line(&mut self) -> String {
        let mut line = Vec::new();
        match self.stream.read_until(b'\n', &mut line) {
            Err(error) if error.kind() != std::io::ErrorKind::ConnectionReset => panic!("no line: {error}"),
            Ok(_) | Err(_) => {}
        }
        String::from_utf8_lossy(&line).trim_end().to_owned()
    }

    pub(crate) fn lines(&mut self, count: usize) -> Vec<String> {
        (0..count).map(|_| self.line()).collect()
    }

    pub(crate) fn ask(&mut self, command: &str) -> String {
        self.send(format!("{command}\r\n"));
        self.line()
    }

    /// Everything until the other side closes.
    pub(crate) fn until_closed(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        match self.stream.read_to_end(&mut all) {
            Ok(_) => all,
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => all,
            Err(error) => panic!("the connection stays open: {error}"),
        }
    }

    pub(crate) fn is_closed(&mut self) -> bool {
        self.until_closed();
        true
    }

    /// One HTTP request, and its answer.
    pub(crate) fn exchange(&mut self, method: &str, target: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut request = format!("{method} {target} HTTP/1.1\r\nhost: test\r\n");
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        if !body.is_empty() || method == "POST" {
            request.push_str(&format!("content-length: {}\r\n", body.len()));
        }
        request.push_str("\r\n");
        request.push_str(body);
        self.send(request);
        self.answer()
    }

    pub(crate) fn post_json(&mut self, target: &str, body: &str) -> Answer {
        self.exchange("POST", target, &[("content-type", "application/json")], body)
    }

    /// The next HTTP answer.
    pub(crate) fn answer(&mut self) -> Answer {
        let status_line = self.line();
        let status = status_line.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.unwrap_or_else(|| panic!("no status line: {status_line:?}"));
        let mut headers = Vec::new();
        loop {
            let line = self.line();
            let Some((name, value)) = line.split_once(": ") else { break };
            headers.push((name.to_ascii_lowercase(), value.to_owned()));
        }
        let mut answer = Answer { status, headers, body: String::new() };
        if let Some(length) = answer.header("content-length").and_then(|length| length.parse::<usize>().ok()) {
            let mut body = vec![0; length];
            self.stream.read_exact(&mut body).unwrap();
            answer.body = String::from_utf8(body).unwrap();
        }
        answer
    }
}
