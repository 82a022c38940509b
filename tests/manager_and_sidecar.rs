//! A real sidecar and a real license manager, over HTTPS: registration, authorization, shortage, deregistration.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::manager_api::rig::Manager;
use crate::support::process::Process;
use crate::support::within;

const PATIENCE: Duration = Duration::from_secs(30);

struct Sidecar {
    process: Process,
    dir: tempfile::TempDir,
}

impl Sidecar {
    fn start(manager: &Manager) -> Self {
        Self::with(manager, "")
    }

    /// Fifty calls per second: ten licenses.
    fn with(manager: &Manager, further: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let text = format!(
            "[node]\nname = \"sip-a\"\ndata_dir = \"{data}\"\n[listen]\nresp = [\"unix:callgate.sock\"]\ndatagram = []\nhttp = \"off\"\n\
             [license]\ncount = 50\nsessions = 5\nurl = \"https://localhost:{port}/SmartTransport\"\ntrust = \"file\"\n\
             ca_file = \"{ca}\"\nretry_jitter = false\n{further}",
            data = dir.path().join("data").display(),
            port = manager.address.port(),
            ca = manager.data_dir().join("ca.pem").display(),
        );
        std::fs::write(dir.path().join("callgate.toml"), text).unwrap();
        let mut sidecar = Self { process: Self::spawn(&dir), dir };
        sidecar.wait();
        sidecar
    }

    fn spawn(dir: &tempfile::TempDir) -> Process {
        let mut command = Command::new(env!("CARGO_BIN_EXE_callgate"));
        command.arg("serve").arg("--config").arg(dir.path().join("callgate.toml")).env_clear();
        command.env("XDG_STATE_HOME", dir.path().join("state"));
        Process::start("sidecar", &mut command, &dir.path().join("log"))
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("data/admin.sock")
    }

    fn wait(&mut self) {
        let ready = within(PATIENCE, || self.process.running() && UnixStream::connect(self.socket()).is_ok());
        assert!(ready, "{}", self.process.log());
        assert!(within(PATIENCE, || self.ask("GET", "/readyz", "").0 == 200), "{}", self.process.log());
    }

    fn ask(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let mut stream = UnixStream::connect(self.socket()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let kind = if body.is_empty() { "" } else { "content-type: application/json\r\n" };
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{kind}content-length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, serde_json::from_str(body).unwrap_or(Value::Null))
    }

    fn command(&self, command: &str, body: &Value) -> (u16, Value) {
        self.ask("POST", &format!("/v1/admin/license/{command}"), &body.to_string())
    }

    fn license(&self) -> Value {
        self.ask("GET", "/v1/license", "").1
    }

    fn until(&self, state: &str) {
        let reached = within(PATIENCE, || self.license()["state"] == state);
        assert!(reached, "{state} did not come: {}\n{}", self.license(), self.process.log());
    }

    fn alarms(&self) -> Vec<String> {
        let (_, alarms) = self.ask("GET", "/v1/alarms", "");
        alarms["active"].as_array().unwrap().iter().map(|alarm| alarm["id"].as_str().unwrap().to_owned()).collect()
    }

    fn admits(&self, id: &str) -> bool {
        self.ask("POST", &format!("/v1/admit?id={id}"), "").0 == 200
    }
}

fn bought(cps: u32) -> Manager {
    let manager = Manager::start();
    manager.says(&["pool", "add", "open.cps", &cps.to_string()]);
    manager.says(&["pool", "add", "open.session", "100"]);
    manager
}

fn registered(manager: &Manager) -> Sidecar {
    let sidecar = Sidecar::start(manager);
    let (status, done) = sidecar.command("register", &json!({ "token": manager.token(&[]).reveal() }));
    assert_eq!((status, done["in_progress"].as_bool()), (200, Some(true)), "{done}");
    sidecar
}

#[test]
fn a_sidecar_registers_is_authorized_and_gives_everything_back() {
    let mut manager = bought(20);
    let mut sidecar = registered(&manager);
    sidecar.until("authorized");
    let token = manager.token(&[]);
    let (status, refused) = sidecar.command("register", &json!({ "token": token.reveal() }));
    assert_eq!((status, refused["code"].as_str()), (409, Some("already_registered")), "{refused}");
    let (status, probe) = sidecar.command("test-connection", &json!({}));
    assert_eq!((status, &probe["failed"]), (200, &Value::Null), "{probe}");
    // The registration survives a kill, and so does what was granted.
    sidecar.process.signal(Signal::KILL);
    sidecar.process.wait(PATIENCE);
    sidecar.process = Sidecar::spawn(&sidecar.dir);
    sidecar.wait();
    sidecar.until("authorized");
    assert!(sidecar.admits("a"));
    // Calls flow, and the verdict stands, while the manager is away.
    manager.stop();
    let (status, _) = sidecar.command("renew-auth", &json!({}));
    assert_eq!(status, 200);
    assert!(
        within(PATIENCE, || sidecar.alarms().iter().any(|alarm| alarm == "AUTH_RENEW_FAILED")),
        "{:?}",
        sidecar.alarms()
    );
    assert!(sidecar.license()["state"] == "authorized" && sidecar.admits("b"));
    manager.restart_after_stop();
    let (status, _) = sidecar.command("deregister", &json!({}));
    assert_eq!(status, 200);
    sidecar.until("evaluation");
    let text = std::fs::read_to_string(sidecar.dir.path().join("log")).unwrap();
    assert!(!text.contains(token.reveal()), "a token is in the log");
}

#[test]
fn more_than_was_bought_is_out_of_compliance_until_more_is_bought() {
    let manager = bought(4);
    let sidecar = registered(&manager);
    sidecar.until("out_of_compliance");
    assert!(sidecar.alarms().iter().any(|alarm| alarm == "OOC"), "{:?}", sidecar.alarms());
    assert!(sidecar.admits("a"), "under this profile calls are admitted, with an alarm");
    manager.says(&["pool", "add", "open.cps", "6"]);
    assert_eq!(sidecar.command("renew-auth", &json!({})).0, 200);
    sidecar.until("authorized");
    assert!(within(PATIENCE, || !sidecar.alarms().iter().any(|alarm| alarm == "OOC")), "{:?}", sidecar.alarms());
    // A count of one's own is asked for at once, and kept over a restart.
    let (status, done) = sidecar.command("count", &json!({ "count": 60 }));
    assert_eq!(status, 200, "{done}");
    sidecar.until("out_of_compliance");
    assert_eq!(sidecar.command("count", &json!({ "count": 61 })).0, 400);
    assert_eq!(sidecar.command("count", &json!({ "count": null })).0, 200);
    sidecar.until("authorized");
}

#[test]
fn a_manager_sees_the_counted_ports() {
    let manager = Manager::start();
    for tag in ["essential", "advanced", "tracking"] {
        manager.says(&["pool", "add", &format!("ncs540.{tag}"), "50"]);
    }
    let ports = "profile = \"ncs540\"\nenabled = true\n[license.ports.a]\ngbps = 100\nfeatures = \"l3vpn\"\ncard = \"0/0\"\n\
                 [license.ports.b]\ngbps = 25\n";
    let sidecar = Sidecar::with(&manager, ports);
    assert_eq!(sidecar.command("register", &json!({ "token": manager.token(&[]).reveal() })).0, 200);
    sidecar.until("authorized");
    let pools: Value = serde_json::from_str(&manager.says(&["pool", "list", "--format", "json"])).unwrap();
    let in_use = |tag: &str| {
        let pools = pools["items"].as_array().unwrap();
        pools.iter().find(|pool| pool["tag"] == format!("ncs540.{tag}")).map(|pool| pool["in_use"].clone())
    };
    assert_eq!(in_use("essential"), Some(13.into()), "{pools}");
    assert_eq!(in_use("advanced"), Some(10.into()), "{pools}");
    assert_eq!(in_use("tracking"), Some(2.into()), "{pools}");
    let (_, usage) = sidecar.ask("GET", "/v1/license?page=usage", "");
    assert!(usage.to_string().contains("ncs540.essential"), "{usage}");
}

#[test]
fn a_backup_is_restored_and_a_factory_reset_keeps_or_drops_licensing_over_the_admin_api() {
    let manager = bought(20);
    let sidecar = registered(&manager);
    sidecar.until("authorized");
    assert_eq!(sidecar.command("count", &json!({ "count": 30 })).0, 200);
    let (status, backup) = sidecar.command("backup", &json!({}));
    assert_eq!(status, 200, "{backup}");
    let count = |sidecar: &Sidecar| sidecar.ask("GET", "/v1/status", "").1["license"]["cps"].clone();
    let in_force = count(&sidecar);

    // What is no backup changes nothing.
    let (status, refused) = sidecar.command("restore", &json!({ "format": "something else" }));
    assert_eq!(status, 400, "{refused}");
    assert_eq!(sidecar.license()["state"], "authorized");
    let (status, refused) = sidecar.command("factory-reset", &json!({ "keep": true }));
    assert_eq!(status, 400, "{refused}");

    // With licensing kept: registered, and out of contact until the first contact.
    let (status, done) = sidecar.command("factory-reset", &json!({ "keep_licensing": true }));
    assert_eq!((status, done["in_progress"].as_bool()), (200, Some(false)), "{done}");
    assert_eq!(sidecar.license()["registration"], "registered");
    // What was on its way may have ended it already.
    assert!(within(PATIENCE, || sidecar.process.log().contains("REG_DOWN")), "{}", sidecar.process.log());
    assert_eq!(sidecar.command("renew-auth", &json!({})).0, 200);
    assert!(within(PATIENCE, || !sidecar.alarms().iter().any(|alarm| alarm == "REG_DOWN")), "{:?}", sidecar.alarms());

    // Without: the licenses are given back, and what operators changed is taken back.
    let (status, done) = sidecar.command("factory-reset", &json!({ "keep_licensing": false }));
    assert_eq!((status, done["in_progress"].as_bool()), (200, Some(true)), "{done}");
    let gone = within(PATIENCE, || sidecar.license()["registration"] == "unregistered");
    assert!(gone, "{}", sidecar.license());
    let overrides = sidecar.dir.path().join("data/license/overrides.json");
    assert!(within(PATIENCE, || !std::fs::read_to_string(&overrides).unwrap_or_default().contains("30")), "{in_force}");

    // The backup brings both back: the manager has removed the instance, and says so.
    let (status, done) = sidecar.command("restore", &backup);
    assert_eq!(status, 200, "{done}");
    assert!(within(PATIENCE, || std::fs::read_to_string(&overrides).unwrap_or_default().contains("30")));
    let judged = within(PATIENCE, || sidecar.alarms().iter().any(|alarm| alarm == "ID_REVOKED"));
    assert!(judged, "{:?} {}", sidecar.alarms(), sidecar.license());
}

#[test]
fn a_bad_token_registers_nothing_and_says_why() {
    let manager = bought(20);
    let sidecar = Sidecar::start(&manager);
    // Before anything is registered the way works all the same; registering is what comes next.
    let (status, probe) = sidecar.command("test-connection", &json!({}));
    let last = probe["steps"].as_array().unwrap().last().unwrap();
    assert_eq!((status, &probe["failed"], &last["outcome"]), (200, &Value::Null, &json!("next")), "{probe}");
    let (status, refused) = sidecar.command("register", &json!({ "token": "cgt_mistyped" }));
    assert_eq!(status, 400, "{refused}");
    let token = manager.token(&[]);
    let list: Value = serde_json::from_str(&manager.says(&["token", "list", "--format", "json"])).unwrap();
    manager.says(&["token", "revoke", list["items"][0]["id"].as_str().unwrap()]);
    assert_eq!(sidecar.command("register", &json!({ "token": token.reveal() })).0, 200);
    let failed = within(PATIENCE, || sidecar.license()["registration"] == "failed");
    assert!(failed, "{}", sidecar.license());
    assert!(sidecar.alarms().iter().any(|alarm| alarm == "REG_FAILED"), "{:?}", sidecar.alarms());
    assert_eq!(sidecar.license()["state"], "evaluation");
}

/// What came to a webhook of this host, as JSON; each is answered with 204.
fn webhook() -> (u16, std::sync::mpsc::Receiver<Value>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sender, received) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut reader = std::io::BufReader::new(stream.unwrap());
            let mut length = 0;
            loop {
                let mut line = String::new();
                std::io::BufRead::read_line(&mut reader, &mut line).unwrap();
                if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
                if line.trim().is_empty() {
                    break;
                }
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            reader.into_inner().write_all(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n").unwrap();
            if sender.send(serde_json::from_slice(&body).unwrap()).is_err() {
                return;
            }
        }
    });
    (port, received)
}

#[test]
fn a_lost_manager_is_told_to_the_operators_webhook_and_so_is_its_return() {
    let mut manager = bought(20);
    let (port, received) = webhook();
    let sidecar = Sidecar::with(
        &manager,
        &format!(
            "[[alarms.destination]]\nname = \"ops\"\nkind = \"webhook\"\nurl = \"http://127.0.0.1:{port}/\"\n\
             categories = [\"license\"]\nattach = [\"license summary\"]\n"
        ),
    );
    let until = |id: &str, change: &str| {
        let deadline = std::time::Instant::now() + PATIENCE;
        while let Ok(told) = received.recv_timeout(deadline.saturating_duration_since(std::time::Instant::now())) {
            if told["id"] == id && told["change"] == change {
                return told;
            }
        }
        panic!("{id} was not told as {change}: {:?}\n{}", sidecar.alarms(), sidecar.process.log());
    };
    let (status, results) = sidecar.ask("POST", "/v1/admin/alarms/test?destination=ops", "");
    assert_eq!((status, &results["results"][0]["sent"]), (200, &Value::Bool(true)), "{results}");
    assert_eq!(until("TEST", "test")["source"], "sip-a");
    assert_eq!(sidecar.ask("POST", "/v1/admin/alarms/test?destination=nobody", "").0, 404);
    let (status, done) = sidecar.command("register", &json!({ "token": manager.token(&[]).reveal() }));
    assert_eq!(status, 200, "{done}");
    sidecar.until("authorized");
    manager.stop();
    // Each renewal that an operator asks for is a contact; three that fail are a manager that is down.
    let down = within(PATIENCE, || {
        sidecar.command("renew-auth", &json!({}));
        std::thread::sleep(Duration::from_millis(200));
        sidecar.alarms().iter().any(|alarm| alarm == "AUTH_DOWN")
    });
    assert!(down, "{:?}\n{}", sidecar.alarms(), sidecar.process.log());
    let told = until("AUTH_DOWN", "raised");
    assert_eq!((&told["aliases"][0], &told["severity"]), (&json!("30044"), &json!("major")), "{told}");
    assert!(told["source"].as_str().unwrap().contains("SN:"), "{told}");
    let attempts = told["attempts"].as_array().unwrap();
    assert!(!attempts.is_empty() && attempts.len() <= 5, "{told}");
    assert!(attempts.iter().any(|attempt| attempt["failure"].is_string()), "{told}");
    assert_eq!(told["attachments"][0]["command"], "license summary");
    assert!(told["attachments"][0]["text"].as_str().unwrap().contains("profile open"), "{told}");
    for field in ["what", "effect", "next", "remedy"] {
        assert!(!told[field].as_str().unwrap().is_empty(), "{field}: {told}");
    }
    manager.restart_where_it_was();
    let back = within(PATIENCE, || {
        sidecar.command("renew-auth", &json!({}));
        std::thread::sleep(Duration::from_millis(200));
        !sidecar.alarms().iter().any(|alarm| alarm == "AUTH_DOWN")
    });
    assert!(back, "{:?}\n{}", sidecar.alarms(), sidecar.process.log());
    assert_eq!(until("AUTH_DOWN", "cleared")["since"], told["since"]);
}

#[test]
fn a_managers_alerts_are_told_to_its_webhook_raised_and_cleared_and_its_audit_log_on_request() {
    let (port, received) = webhook();
    let manager = Manager::with(&format!(
        "[[alerts.destination]]\nname = \"ops\"\nkind = \"webhook\"\nurl = \"http://127.0.0.1:{port}/\"\n\
         severity = \"info\"\ncategories = [\"pool\", \"audit\"]\n"
    ));
    let until = |id: &str, change: &str| {
        let deadline = std::time::Instant::now() + PATIENCE;
        while let Ok(told) = received.recv_timeout(deadline.saturating_duration_since(std::time::Instant::now())) {
            if told["id"] == id && told["change"] == change {
                return told;
            }
        }
        panic!("{id} was not told as {change}");
    };
    assert!(manager.says(&["alert", "test"]).contains("ops (webhook)"));
    until("TEST", "test");
    manager.says(&["pool", "add", "open.cps", "4"]);
    manager.says(&["pool", "add", "open.session", "100"]);
    let audited = until("AUDIT", "happened");
    assert!(audited["what"].as_str().unwrap().contains("4 of open.cps"), "{audited}");
    let sidecar = registered(&manager);
    sidecar.until("out_of_compliance");
    let told = until("insufficient_licenses", "raised");
    assert!(told["what"].as_str().unwrap().contains("open.cps is short by 6"), "{told}");
    assert!(told["source"].as_str().unwrap().starts_with("manager "), "{told}");
    manager.says(&["pool", "add", "open.cps", "6"]);
    assert_eq!(until("insufficient_licenses", "cleared")["since"], told["since"]);
}
