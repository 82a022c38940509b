//! The commands as people meet them, before a sidecar that answers what a real one would.

use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{CommandFactory, Parser};
use parking_lot::Mutex;
use serde_json::json;

use super::*;

const NOW: UnixMillis = UnixMillis(1_700_000_133_000);

/// A sidecar's admin socket with canned answers. Remembers what was asked.
pub(super) struct Sidecar {
    _directory: tempfile::TempDir,
    socket: PathBuf,
    pub(super) asked: Arc<Mutex<Vec<String>>>,
}

impl Sidecar {
    /// Answers requests whose first line and body contain the text on the left; the first such counts.
    pub(super) fn answering(answers: Vec<(&'static str, u16, Value)>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("admin.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let remember = Arc::clone(&asked);
        // The thread ends with the test's process; it holds nothing but this socket.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                let Some(request) = request_of(&mut stream) else { continue };
                remember.lock().push(request.clone());
                let answer = answers.iter().find(|(part, ..)| request.contains(part));
                let missing = json!({ "title": "no such path", "detail": format!("nothing for {request}") });
                let (status, body) = answer.map_or((404, missing), |(_, status, body)| (*status, body.clone()));
                let body = body.to_string();
                let _ = write!(
                    stream,
                    "HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                    body.len()
                );
            }
        });
        Self { _directory: directory, socket, asked }
    }

    pub(super) fn run(&self, arguments: &[&str]) -> Result<String, Failure> {
        self.run_with(arguments, "")
    }

    pub(super) fn run_with(&self, arguments: &[&str], input: &str) -> Result<String, Failure> {
        let socket = self.socket.to_str().unwrap();
        run_command(&[arguments, &["--admin", socket]].concat(), Inputs::default(), input)
    }
}

/// `GET /path {"body":1}`, or nothing if the other side only looked whether somebody is there.
fn request_of(stream: &mut impl Read) -> Option<String> {
    let mut bytes = Vec::new();
    let mut byte = [0];
    while !bytes.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte).ok()? == 0 {
            return None;
        }
        bytes.push(byte[0]);
    }
    let head = String::from_utf8(bytes).ok()?.to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).and_then(|n| n.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body).ok()?;
    let line = head.lines().next()?.trim_end_matches(" http/1.1").to_owned();
    Some(format!("{line} {}", String::from_utf8_lossy(&body)).trim_end().to_owned())
}

pub(super) fn run_command(arguments: &[&str], inputs: Inputs, input: &str) -> Result<String, Failure> {
    let cli = Cli::try_parse_from([&["callgate"], arguments].concat()).unwrap_or_else(|error| panic!("{error}"));
    let mut output = Vec::new();
    let surroundings = Surroundings { inputs, now: NOW, input: input.as_bytes(), output: &mut output };
    run(cli.command, cli.format, surroundings)?;
    Ok(String::from_utf8(output).unwrap())
}

fn home() -> Inputs {
    Inputs { environment: [("HOME".to_owned(), "/users/op".to_owned())].into(), host_name: "sip-a".to_owned() }
}

fn call(number: u64) -> Value {
    json!({
        "key": format!("{number:032x}"), "id": format!("call-{number}@sip-a.example.com"), "kind": "call", "phase": "talk",
        "suspect": false, "emergency": false, "forced": false, "webrtc": false, "seq": 1, "trunk": "carrier-a",
        "tenant": null, "proxy": "kamailio-1", "type": "session", "license_tier": null, "units": 1,
        "admitted_at": 1_700_000_000_000_u64, "lease_left_s": 43_127
    })
}

fn changed(mut call: Value, fields: Value) -> Value {
    for (name, value) in fields.as_object().unwrap() {
        call[name] = value.clone();
    }
    call
}

fn hostile() -> Value {
    changed(
        call(3),
        json!({ "id": "evil\u{1b}[2J\u{202e}id", "trunk": null, "phase": "setup", "suspect": true, "emergency": true, "forced": true, "lease_left_s": 12 }),
    )
}

fn status() -> Value {
    json!({
        "node": "sip-a", "version": "0.1.0", "uptime_s": 133, "phase": "ready", "mode": "enforce", "draining": false,
        "calls": { "live": 1234 }, "registrations": { "live": 5 }, "suspect_live": 2, "admitted_total": 1_234_567,
        "emergency_total": 3, "forced_total": 4, "refused_total": { "cps": 30, "trunk-cps": 2, "sessions": 0 },
        "would_refuse_total": { "cps": 0 }, "released_total": 1_233_000, "lapsed_total": 1, "suspects_freed_total": 0,
        "duplicates_total": 17,
        "limits": [
            { "name": "cps", "limit": 100, "used": 90, "peak": 100 },
            { "name": "sessions:session", "limit": null, "used": 1234, "peak": 2000 },
            { "name": "trunk-cps:carrier-a", "limit": 50, "used": 5, "peak": 50 }
        ],
        "license": { "state": "evaluation", "profile": "open", "evaluation_left_s": 7_775_900 },
        "alarms": [{ "id": "CAP_NEAR" }]
    })
}

#[test]
fn the_arguments_are_sound() {
    Cli::command().debug_assert();
}

#[test]
fn every_command_says_what_it_does_and_how() {
    fn walk(command: clap::Command, name: &str, told: &mut String) {
        let subcommands: Vec<_> = command.get_subcommands().filter(|sub| sub.get_name() != "help").cloned().collect();
        let help = command.term_width(100).render_long_help().to_string();
        // A command that only leads to others has no example of its own.
        assert!(!subcommands.is_empty() || help.contains("Example"), "{name} shows an example");
        told.push_str(&format!("=== {name} --help\n{help}\n\n"));
        for sub in subcommands {
            let name = format!("{name} {}", sub.get_name());
            walk(sub, &name, told);
        }
    }
    let mut told = String::new();
    let mut command = Cli::command();
    command.build();
    walk(command, "callgate", &mut told);
    insta::assert_snapshot!(told);
}

#[test]
fn wrong_usage_is_told_with_what_is_accepted() {
    let mut told = String::new();
    for arguments in [
        &["callgate", "serv"][..],
        &["callgate", "calls", "release"],
        &["callgate", "--format", "xml", "status"],
        &["callgate", "serve", "--set", "license.count"],
        &["callgate", "calls", "list", "--limit", "0"],
    ] {
        let error = Cli::try_parse_from(arguments).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{arguments:?}");
        told.push_str(&format!("{error}\n"));
    }
    insta::assert_snapshot!(told);
}

#[test]
fn status_reads_as_a_page() {
    insta::assert_snapshot!(Sidecar::answering(vec![("get /v1/status", 200, status())]).run(&["status"]).unwrap());
}

#[test]
fn calls_are_a_table_and_the_next_page_is_named() {
    let page = json!({ "calls": [call(1), call(2), hostile()], "next_cursor": "77" });
    let sidecar = Sidecar::answering(vec![("get /v1/calls?limit=3", 200, page)]);
    insta::assert_snapshot!(sidecar.run(&["calls", "list", "--limit", "3"]).unwrap());
}

#[test]
fn filters_go_on_over_pages_until_enough_or_the_end() {
    let sidecar = Sidecar::answering(vec![
        ("cursor=77", 200, json!({ "calls": [hostile()], "next_cursor": null })),
        ("get /v1/calls?limit=50", 200, json!({ "calls": [call(1), call(2)], "next_cursor": "77" })),
    ]);
    let listed = |arguments: &[&str]| {
        let text = sidecar.run(&[&["calls", "list", "--format", "json"], arguments].concat()).unwrap();
        let listed: Value = serde_json::from_str(&text).unwrap();
        listed["calls"].as_array().unwrap().len()
    };
    assert_eq!(listed(&[]), 3);
    assert_eq!(listed(&["--suspect"]), 1);
    assert_eq!(listed(&["--trunk", "carrier-a"]), 2);
    assert_eq!(listed(&["--trunk", "carrier-a", "--phase", "setup"]), 0);
    assert_eq!(listed(&["--proxy", "kamailio-1", "--phase", "talk"]), 2);
    assert_eq!(sidecar.run(&["calls", "list", "--tenant", "nobody"]).unwrap(), "No such call is live.\n");
}

#[test]
fn one_call_is_shown_whole_by_key_or_by_id() {
    let sidecar = Sidecar::answering(vec![
        ("get /v1/calls/0000", 200, changed(call(1), json!({ "license_tier": "premium" }))),
        ("get /v1/calls?limit", 200, json!({ "calls": [call(2), call(1)], "next_cursor": null })),
    ]);
    insta::assert_snapshot!(sidecar.run(&["calls", "show", "00000000000000000000000000000001"]).unwrap());
    assert!(sidecar.run(&["calls", "show", "call-1@sip-a.example.com"]).unwrap().contains("call-1@"));
    insta::assert_snapshot!(sidecar.run(&["calls", "show", "nobody\u{7}"]).unwrap_err());
}

#[test]
fn release_refuses_when_nobody_can_be_asked_and_says_what_it_would_do_where() {
    let sidecar = Sidecar::answering(vec![
        ("get /v1/calls/", 200, call(1)),
        ("get /v1/status", 200, status()),
        ("post /v1/admin/calls/release", 200, json!({ "released": true })),
    ]);
    let key = "00000000000000000000000000000001";
    let mut output = Vec::new();
    let client = Client::connect(
        &Candidates::find(&AdminArgs { admin: Some(sidecar.socket.clone()), config: None }, Inputs::default()).unwrap(),
    )
    .unwrap();
    let mut release = |consent, answer: &str| {
        output.clear();
        let result = calls::release(&client, key, &consent, Format::Text, NOW, &mut answer.as_bytes(), &mut output);
        (result.map_err(|failure| failure.to_string()), String::from_utf8(output.clone()).unwrap())
    };
    let nobody = release(Consent::NobodyToAsk, "");
    let no = release(Consent::Ask, "n\n");
    assert!(!sidecar.asked.lock().iter().any(|request| request.starts_with("post")), "nothing was released");
    let yes = release(Consent::Ask, "y\n");
    let given = release(Consent::Given, "");
    let posted =
        sidecar.asked.lock().iter().filter(|request| request.contains(key) && request.starts_with("post")).count();
    assert_eq!(posted, 2);
    insta::assert_debug_snapshot!((nobody, no, yes, given));
}

#[test]
fn alarms_say_what_now_next_and_what_to_do() {
    let near = json!({
        "id": "CAP_NEAR", "subject": "cps", "severity": "warning", "since": 1_700_000_000_000_u64, "cleared_at": null,
        "what": "Calls per second: 90 of 100.", "effect": "No call is refused.", "next": "At 100 new calls are refused.",
        "remedy": "Raise license.count, or shed load."
    });
    let over =
        changed(near.clone(), json!({ "id": "CAP_REACHED", "severity": "major", "cleared_at": 1_700_000_060_000_u64 }));
    let sidecar = Sidecar::answering(vec![
        ("history=true", 200, json!({ "active": [near], "history": [over] })),
        ("get /v1/alarms", 200, json!({ "active": [] })),
    ]);
    insta::assert_snapshot!(sidecar.run(&["alarms", "--history"]).unwrap());
    assert_eq!(sidecar.run(&["alarms"]).unwrap(), "No alarm is active.\n");
}

#[test]
fn drain_undrain_and_reload_say_what_happened() {
    let sidecar = Sidecar::answering(vec![
        ("post /v1/admin/drain", 200, json!({ "draining": true })),
        ("post /v1/admin/undrain", 200, json!({ "draining": false })),
        ("post /v1/admin/reload", 200, json!({ "changed": ["license.count", "trunk"] })),
    ]);
    let mut told = String::new();
    for command in ["drain", "undrain", "reload"] {
        told.push_str(&sidecar.run(&[command]).unwrap());
    }
    insta::assert_snapshot!(told);
    let refused = json!({ "title": "the new configuration was refused, the old one stays", "detail": "…", "reasons": ["node.name cannot change", "callgate.toml:2: license.count\n    found:    42"] });
    let refused = Sidecar::answering(vec![("reload", 409, refused)]).run(&["reload"]).unwrap_err();
    assert_eq!(refused.exit_code(), 1);
    insta::assert_snapshot!("a_refused_reload", refused);
}

#[test]
fn where_no_sidecar_runs_the_message_says_where_it_looked_and_how_to_start() {
    let elsewhere = |environment: &[(&str, &str)]| Inputs {
        environment: environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        host_name: String::new(),
    };
    let find = |inputs| Candidates::find(&AdminArgs::default(), inputs).unwrap();
    let default = find(elsewhere(&[("HOME", "/nowhere/user")]));
    let expected =
        ["/nowhere/user/.local/state/callgate/admin.sock", "/var/lib/callgate/admin.sock"].map(PathBuf::from);
    assert_eq!(default.sockets, expected, "the user's own, then the packaged service's");
    let variable = find(elsewhere(&[("CALLGATE_NODE__DATA_DIR", "/nowhere/state")]));
    assert_eq!(variable.sockets, [PathBuf::from("/nowhere/state/admin.sock")]);
    let named = run_command(&["status", "--admin", "/nowhere/admin.sock"], Inputs::default(), "").unwrap_err();
    let sockets = vec!["/nowhere/a/admin.sock".into(), "/nowhere/b/admin.sock".into()];
    let both = Candidates { sockets, problems: None, guessed: false };
    let both = Client::connect(&both).unwrap_err();
    assert_eq!([&named, &both].map(Failure::exit_code), [69, 69]);
    insta::assert_snapshot!(format!("{named}\n\n{both}"));
}

#[test]
fn a_socket_that_a_killed_sidecar_left_is_told_apart() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("admin.sock");
    drop(UnixListener::bind(&socket).unwrap());
    let failure = run_command(&["status", "--admin", socket.to_str().unwrap()], Inputs::default(), "").unwrap_err();
    assert_eq!(failure.exit_code(), 69);
    assert!(failure.to_string().contains("nobody listens there"), "{failure}");
}

#[test]
fn a_configuration_file_leads_to_its_sidecars_socket_without_reading_its_secrets() {
    let sidecar = Sidecar::answering(vec![("get /v1/status", 200, status())]);
    let state = sidecar.socket.parent().unwrap();
    let file = state.join("callgate.toml");
    std::fs::write(&file, "[node]\ndata_dir = '.'\n[listen]\npassword_file = '/nowhere/secret'\n").unwrap();
    let told = run_command(&["status", "--config", file.to_str().unwrap()], Inputs::default(), "").unwrap();
    assert!(told.starts_with("sip-a:"), "{told}");
    let mistyped = state.join("calgate.toml");
    let wrong = run_command(&["status", "--config", mistyped.to_str().unwrap()], Inputs::default(), "").unwrap_err();
    assert_eq!(wrong.exit_code(), 64, "no other sidecar is asked in the stead of one whose file isn't there");
}

#[test]
fn a_configuration_with_errors_leads_to_its_sidecar_all_the_same_with_a_warning() {
    let sidecar = Sidecar::answering(vec![("get /v1/status", 200, status()), ("post /v1/admin/drain", 200, json!({}))]);
    let state = sidecar.socket.parent().unwrap();
    let file = state.join("callgate.toml");
    let args = AdminArgs { admin: None, config: Some(file.clone()) };
    for (text, errors) in [
        ("[node]\ndata_dir = '.'\n[license]\ncount = 42\n", "an error"),
        ("[node]\ndata_dir = '.'\nx = 1\n[lisense]\n", "2 errors"),
        ("[node]\ndata_dir = '.'\n[license]\ncount = = 5\n", "error"),
        ("[license\n[node]\ndata_dir = '.'\n", "error"),
    ] {
        std::fs::write(&file, text).unwrap();
        let found = Candidates::find(&args, Inputs::default()).unwrap();
        let (warning, guessed) = (found.warning().unwrap_or_default(), found.guessed);
        assert!(warning.contains(errors) && warning.contains("callgate config check") && !guessed, "{text}: {warning}");
        let told = run_command(&["status", "--config", file.to_str().unwrap()], Inputs::default(), "");
        assert!(told.unwrap().starts_with("sip-a:"), "{text}");
        run_command(&["drain", "--config", file.to_str().unwrap()], Inputs::default(), "").unwrap();
    }
    std::fs::write(&file, "[node]\ndata_dir = '.'\n").unwrap();
    assert_eq!(Candidates::find(&args, Inputs::default()).unwrap().warning(), None, "nothing is wrong");
}

#[test]
fn where_errors_hide_the_state_directory_the_default_one_is_looked_at_and_nothing_changed() {
    let sidecar = Sidecar::answering(vec![("get /v1/status", 200, status())]);
    let state = sidecar.socket.parent().unwrap().to_str().unwrap();
    let inputs = || Inputs { environment: [("STATE_DIRECTORY".to_owned(), state.to_owned())].into(), ..home() };
    let file = format!("{state}/callgate.toml");
    for text in ["[node]\ndata_dirr = '.'\n", "[node]\ndata_dir = 7\n", "[node\ndata_dir = '.'\n", "\0\n", "= = ="] {
        std::fs::write(&file, text).unwrap();
        let found = Candidates::find(&AdminArgs { admin: None, config: Some(file.clone().into()) }, inputs()).unwrap();
        assert!(found.guessed && found.warning().unwrap().contains("looking in the default ones"), "{text}: {found:?}");
        let told = run_command(&["status", "--config", &file], inputs(), "").unwrap();
        assert!(told.starts_with("sip-a:"), "{told}");
        for command in
            [&["drain"][..], &["calls", "release", "--yes", &"0".repeat(32)], &["license", "disable", "--yes"]]
        {
            let refused = run_command(&[command, &["--config", &file]].concat(), inputs(), "").unwrap_err();
            assert_eq!(refused.exit_code(), 1, "{command:?}: {refused}");
        }
    }
    assert!(!sidecar.asked.lock().iter().any(|asked| asked.starts_with("post")), "nothing was changed");
}

#[test]
fn an_empty_history_of_alarms_is_told_as_such() {
    let sidecar = Sidecar::answering(vec![("get /v1/alarms", 200, json!({ "active": [], "history": [] }))]);
    assert_eq!(sidecar.run(&["alarms"]).unwrap(), "No alarm is active.\n");
    let told = sidecar.run(&["alarms", "--history"]).unwrap();
    assert_eq!(told, "No alarm is active.\n\nNone was cleared since the sidecar started.\n");
}

#[test]
fn config_check_says_ok_with_a_summary_or_every_error_with_64() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("callgate.toml");
    let check = |text: &str, format: &str| {
        std::fs::write(&file, text).unwrap();
        let told =
            run_command(&["config", "check", "--format", format, "--config", file.to_str().unwrap()], home(), "");
        let hide = |text: String| text.replace(directory.path().to_str().unwrap(), "/etc/callgate");
        told.map(hide)
            .map_err(|failure| (failure.exit_code(), hide(failure.to_string()), hide(failure.to_json().to_string())))
    };
    let good =
        check("[license]\nsessions = 500\n[listen]\ndatagram = ['127.0.0.1:7500']\n[[trunk]]\nname = 'a'\n", "text");
    let json = check("[license]\ncount = 5\n", "json");
    let bad = check("[license]\ncount = 42\n", "text");
    assert_eq!(bad.as_ref().unwrap_err().0, 64);
    let (_, text, as_json) = bad.unwrap_err();
    insta::assert_snapshot!(format!("{}\n{}\n{text}\n\n{as_json}", good.unwrap(), json.unwrap()));
}

#[test]
fn config_show_is_a_file_and_config_default_too() {
    let shown =
        run_command(&["config", "show", "--set", "license.count=50", "--log-level", "warn"], home(), "").unwrap();
    assert!(shown.contains("count = 50") && shown.contains("# flag --set"), "{shown}");
    assert!(shown.contains("# flag --log-level"), "{shown}");
    assert!(toml::from_str::<toml::Table>(&shown).is_ok());
    let shown: Value =
        serde_json::from_str(&run_command(&["config", "show", "--format", "json"], home(), "").unwrap()).unwrap();
    assert_eq!(shown["keys"][0], json!({ "key": "node.name", "value": "sip-a", "origin": "default" }));
    let default = run_command(&["config", "default"], home(), "").unwrap();
    assert_eq!(default, crate::shell::config::default_file());
}

#[test]
fn manual_pages_and_completions_are_there_for_every_command() {
    let directory = tempfile::tempdir().unwrap();
    let target = directory.path().join("man1");
    let told = run_command(&["man", target.to_str().unwrap()], home(), "").unwrap();
    for name in
        ["callgate", "callgate-serve", "callgate-calls-release", "callgate-config-default", "callgate-license-status"]
    {
        let page = std::fs::read_to_string(Path::new(&target).join(format!("{name}.1"))).unwrap();
        assert!(page.contains(".SH NAME") && page.contains(".SH DESCRIPTION"), "{name}");
    }
    assert!(told.contains("pages are in"), "{told}");
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = run_command(&["completions", shell], home(), "").unwrap();
        assert!(script.contains("callgate") && script.len() > 1_000, "{shell}");
    }
}

#[test]
fn a_closed_pipe_is_no_failure() {
    let closed = Failure::Output(std::io::ErrorKind::BrokenPipe.into());
    assert_eq!(closed.exit_code(), 0);
    assert_eq!(Failure::Output(std::io::ErrorKind::StorageFull.into()).exit_code(), 1);
}
