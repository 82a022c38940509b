//! `callgate serve` as an operator meets it: start, answers, reload, drain, a second instance, a kill.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(15);

/// A sidecar of the real binary in a directory of its own, on ports that the system chose.
struct Sidecar {
    child: Child,
    dir: PathBuf,
    addresses: Value,
}

fn configure(dir: &Path, further: &str) {
    let text = format!(
        "{further}\n[listen]\nresp = [\"127.0.0.1:0\"]\ndatagram = [\"127.0.0.1:0\"]\nhttp = \"127.0.0.1:0\"\n\
         drain_time = \"0s\"\n",
    );
    std::fs::write(dir.join("callgate.toml"), text).unwrap();
}

fn spawn(dir: &Path) -> Child {
    let log = std::fs::File::options().create(true).append(true).open(dir.join("log")).unwrap();
    Command::new(env!("CARGO_BIN_EXE_callgate"))
        .args(["serve", "--config"])
        .arg(dir.join("callgate.toml"))
        .env_clear()
        .env("CALLGATE_NODE__DATA_DIR", dir.join("data"))
        .env("XDG_STATE_HOME", dir.join("state"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap()
}

fn log(dir: &Path) -> String {
    std::fs::read_to_string(dir.join("log")).unwrap_or_default()
}

fn within<T>(dir: &Path, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "{what} did not happen; the log:\n{}", log(dir));
        std::thread::sleep(Duration::from_millis(10));
    }
}

impl Sidecar {
    fn start(dir: &Path) -> Self {
        let mut child = spawn(dir);
        let pid = u64::from(child.id());
        let addresses = within(dir, "the start", || {
            assert!(child.try_wait().unwrap().is_none(), "it ended; the log:\n{}", log(dir));
            let text = std::fs::read(dir.join("data/addresses.json")).ok()?;
            // After a kill the file of the life before is still there.
            serde_json::from_slice::<Value>(&text).ok().filter(|found| found["pid"] == pid)
        });
        Self { child, dir: dir.to_owned(), addresses }
    }

    fn resp(&self, command: &str) -> String {
        let mut stream = TcpStream::connect(self.addresses["resp"][0].as_str().unwrap()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(format!("{command}\r\n").as_bytes()).unwrap();
        let mut lines = BufReader::new(stream);
        let mut answer = String::new();
        lines.read_line(&mut answer).unwrap();
        let more: usize = answer.strip_prefix('*').map_or(0, |n| n.trim().parse().unwrap());
        // Elements are one line each, but bulk strings, which are two.
        for _ in 0..more {
            let mut line = String::new();
            lines.read_line(&mut line).unwrap();
            if line.starts_with('$') {
                line.clear();
                lines.read_line(&mut line).unwrap();
            }
            answer.push_str(&line);
        }
        answer.replace("\r\n", " ").trim_end().to_owned()
    }

    fn http(&self, request: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.addresses["http"].as_str().unwrap()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(stream, "{request} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
        (status, answer.split_once("\r\n\r\n").unwrap().1.to_owned())
    }

    fn metric(&self, line: &str) -> f64 {
        let (_, page) = self.http("GET /metrics");
        let value = page.lines().find_map(|found| found.strip_prefix(line)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("no {line} in\n{page}")).parse().unwrap()
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    fn wait(&mut self) -> ExitStatus {
        within(&self.dir, "the end", || self.child.try_wait().unwrap())
    }
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        if self.child.try_wait().ok().flatten().is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

#[test]
fn a_started_sidecar_answers_on_every_front_end_and_a_sigterm_ends_it_with_0() {
    let dir = tempfile::tempdir().unwrap();
    configure(dir.path(), "");
    let mut sidecar = Sidecar::start(dir.path());
    assert_eq!(sidecar.resp("PING"), "+PONG");
    assert_eq!(sidecar.http("GET /healthz").0, 200);
    assert_eq!(sidecar.http("GET /readyz").0, 200);
    assert!(sidecar.resp("ADMIT a-call").starts_with("*5 :1 ok :0 :0 :300"));
    let (status, page) = sidecar.http("GET /metrics");
    assert_eq!(status, 200);
    assert!(page.ends_with("# EOF\n"));
    assert!(page.contains("\ncallgate_admitted_total{cause=\"ok\"} 1\n") && page.contains("\ncallgate_calls_live 1\n"));
    sidecar.signal(Signal::TERM);
    assert_eq!(sidecar.wait().code(), Some(0), "{}", log(dir.path()));
    assert!(!dir.path().join("data/addresses.json").exists(), "nothing listens any more");
    let told = log(dir.path());
    assert!(told.contains("is ready") && told.contains("draining") && !told.contains("a-call"), "{told}");
}

#[test]
fn a_drain_refuses_new_calls_before_anything_closes() {
    let dir = tempfile::tempdir().unwrap();
    configure(dir.path(), "");
    let text = std::fs::read_to_string(dir.path().join("callgate.toml")).unwrap();
    std::fs::write(dir.path().join("callgate.toml"), text.replace("\"0s\"", "\"30s\"")).unwrap();
    let mut sidecar = Sidecar::start(dir.path());
    sidecar.signal(Signal::TERM);
    // A sidecar that is still starting isn't ready either: the page says which it is.
    within(dir.path(), "the drain", || sidecar.http("GET /readyz").1.contains("draining").then_some(()));
    assert!(sidecar.resp("ADMIT late-comer").starts_with("*5 :0 draining :503"));
    assert_eq!(sidecar.http("GET /healthz").0, 200, "it lives, it only takes no new calls");
    sidecar.signal(Signal::INT);
    assert_eq!(sidecar.wait().code(), Some(1), "a second signal stops it at once");
}

#[test]
fn a_reload_takes_over_what_it_can_and_refuses_the_rest_whole() {
    let dir = tempfile::tempdir().unwrap();
    configure(dir.path(), "[license]\ncount = 5");
    let sidecar = Sidecar::start(dir.path());
    let limit = || sidecar.metric("callgate_limit_units{limit=\"cps\"}");
    assert_eq!(limit(), 5.0);

    configure(dir.path(), "[license]\ncount = 50");
    sidecar.signal(Signal::HUP);
    let applied = || sidecar.metric("callgate_reloads_total{result=\"applied\"}");
    within(dir.path(), "the reload", || (applied() == 1.0).then_some(()));
    assert_eq!(limit(), 50.0);

    configure(dir.path(), "[license]\ncount = 42");
    sidecar.signal(Signal::HUP);
    let refused = || sidecar.metric("callgate_reloads_total{result=\"refused\"}");
    within(dir.path(), "the refusal", || (refused() == 1.0).then_some(()));
    assert_eq!(limit(), 50.0, "the old configuration stays");
    assert_eq!(sidecar.metric("callgate_alarm_active{alarm=\"RELOAD_REFUSED\"}"), 1.0);
    // The log is written behind what it tells of.
    within(dir.path(), "a line about it", || {
        let told = log(dir.path());
        (told.contains("license.count") && told.contains("40 and 45")).then_some(())
    });

    configure(dir.path(), "[license]\ncount = 55");
    sidecar.signal(Signal::HUP);
    within(dir.path(), "the second reload", || (applied() == 2.0).then_some(()));
    assert_eq!(limit(), 55.0);
    assert_eq!(sidecar.metric("callgate_alarm_active{alarm=\"RELOAD_REFUSED\"}"), 0.0);
}

#[test]
fn a_second_sidecar_on_the_same_state_is_refused_and_the_first_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    configure(dir.path(), "");
    let sidecar = Sidecar::start(dir.path());
    let mut second = spawn(dir.path());
    let status = within(dir.path(), "the refusal", || second.try_wait().unwrap());
    assert_eq!(status.code(), Some(1));
    let told = log(dir.path());
    assert!(told.contains(&format!("pid {}", sidecar.child.id())) && told.contains("data_dir"), "{told}");
    assert_eq!(sidecar.resp("PING"), "+PONG");
}

#[test]
fn after_kill_9_every_answered_call_is_known_again_and_evaluation_gives_nothing_back() {
    let dir = tempfile::tempdir().unwrap();
    configure(dir.path(), "");
    let mut sidecar = Sidecar::start(dir.path());
    for call in 0..20 {
        assert!(sidecar.resp(&format!("ADMIT call-{call} SEQ 1 TRUNK carrier")).starts_with("*5 :1 ok"));
    }
    assert_eq!(sidecar.resp("RELEASE call-0"), ":1");
    let left = sidecar.metric("callgate_evaluation_left_seconds");
    sidecar.signal(Signal::KILL);
    sidecar.wait();

    let mut sidecar = Sidecar::start(dir.path());
    assert_eq!(sidecar.metric("callgate_calls_live"), 19.0);
    assert_eq!(sidecar.metric("callgate_suspects_live"), 19.0);
    assert!(sidecar.resp("ADMIT call-7 SEQ 1").starts_with("*5 :1 duplicate"));
    for call in 1..20 {
        assert_eq!(sidecar.resp(&format!("RELEASE call-{call}")), ":1");
    }
    assert_eq!(sidecar.metric("callgate_calls_live"), 0.0);
    assert!(sidecar.metric("callgate_evaluation_left_seconds") <= left - 60.0, "an unclean stop costs its minute");
    sidecar.signal(Signal::TERM);
    assert_eq!(sidecar.wait().code(), Some(0));
}

#[test]
fn an_address_that_others_can_reach_needs_a_secret() {
    let dir = tempfile::tempdir().unwrap();
    configure(dir.path(), "");
    let text = std::fs::read_to_string(dir.path().join("callgate.toml")).unwrap();
    std::fs::write(dir.path().join("callgate.toml"), text.replace("127.0.0.1:0", "0.0.0.0:0")).unwrap();
    let mut child = spawn(dir.path());
    let status = within(dir.path(), "the refusal", || child.try_wait().unwrap());
    let told = log(dir.path());
    assert_eq!(status.code(), Some(64), "{told}");
    assert!(told.contains("listen.password_file") || told.contains("listen.tokens_file"), "{told}");
    assert!(!dir.path().join("data").exists(), "nothing was touched");
}

#[test]
fn a_wrong_configuration_ends_with_64_and_names_file_line_key_found_and_accepted() {
    let dir = tempfile::tempdir().unwrap();
    configure(dir.path(), "[license]\ncount = 42");
    let mut child = spawn(dir.path());
    let status = within(dir.path(), "the refusal", || child.try_wait().unwrap());
    let told = log(dir.path());
    assert_eq!(status.code(), Some(64), "{told}");
    for part in ["callgate.toml:2", "license.count", "42", "40 and 45"] {
        assert!(told.contains(part), "no {part} in\n{told}");
    }
}

#[test]
fn alarms_log_and_the_level_debug_do_what_they_say() {
    for (log_alarms, level) in [(false, "debug"), (true, "info")] {
        let dir = tempfile::tempdir().unwrap();
        configure(
            dir.path(),
            &format!(
                "[admission]\nmode = \"shadow\"\n[alarms]\nlog = {log_alarms}\n[telemetry]\nlog_level = \"{level}\"\n"
            ),
        );
        let mut sidecar = Sidecar::start(dir.path());
        assert!(sidecar.resp("ADMIT a-call").starts_with("*5 :1 "));
        sidecar.signal(Signal::TERM);
        assert_eq!(sidecar.wait().code(), Some(0), "{}", log(dir.path()));
        let told = log(dir.path());
        assert_eq!(told.contains("alarm=\"SHADOW\""), log_alarms, "{told}");
        assert_eq!(told.contains("a-call"), level == "debug", "{told}");
        assert!(told.contains("stopped;"), "the last line is written too: {told}");
    }
}
